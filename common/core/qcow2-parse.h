/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 header and header extensions, from bytes to values.
 *
 * What QEMU refuses is refused here with the same meaning; what QEMU reads on silently (an image
 * cut short) is refused too. Fails with SNAPSET_ERROR_SHORT when the bytes given end too early
 * though the file goes on, and says how many it wants.
 */
#pragma once

#include "common/core/bytes.h"
#include "common/core/error.h"
#include "common/core/qcow2-format.h"

/* A header extension; offsets from the start of the file. */
typedef struct {
    guint32 type;
    guint32 length;      /* of the data, without padding */
    guint32 data_offset; /* of the data; the type stands 8 bytes before it */
} SnapsetQcow2Extension;

/* Only the first SSET extension is kept in @sset; a second one is counted. */
typedef struct {
    guint32 version;
    guint32 cluster_bits;
    guint64 cluster_size; /* bytes */
    guint64 virtual_size; /* bytes */
    guint32 crypt_method;
    guint64 l1_offset;
    guint32 l1_size; /* entries */
    guint64 reftable_offset;
    guint32 reftable_clusters;
    guint32 snapshot_count;
    guint64 snapshot_offset;
    guint64 incompatible, compatible, autoclear;
    guint32 refcount_order;
    guint32 header_length;
    guint8 compression_type;
    guint64 backing_offset; /* 0: no backing file */
    guint32 backing_length;

    GArray *extensions;     /* of SnapsetQcow2Extension, in file order, without the end marker */
    guint32 extensions_end; /* where the end marker stands, or where the area ends without one */
    gboolean has_end_marker;
    guint32 end_marker_length;         /* the length field of the end marker; QEMU writes 0 */
    const SnapsetQcow2Extension *sset; /* borrowed from @extensions; NULL: none */
    guint sset_count;
    gboolean has_bitmaps;
} SnapsetQcow2Header;

void snapset_qcow2_header_free(SnapsetQcow2Header *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetQcow2Header, snapset_qcow2_header_free)

/* TRUE when @bytes begin with the qcow2 magic. */
gboolean snapset_qcow2_has_magic(SnapsetBytes bytes);

/*
 * Parse the header and its extensions out of the first @bytes of a file of @file_size bytes.
 *
 * Returns NULL with SNAPSET_ERROR_NOT_QCOW2, SNAPSET_ERROR_MALFORMED, or SNAPSET_ERROR_SHORT and
 * then @ret_wanted is how many bytes from the start of the file are needed (at most a cluster).
 */
SnapsetQcow2Header *snapset_qcow2_parse_header(SnapsetBytes bytes, guint64 file_size,
                                               gsize *ret_wanted, GError **error);
