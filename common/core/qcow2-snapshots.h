/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 snapshot table, from bytes to values; stricter than QEMU, which reads on silently past
 * the end of the file, or in a table that overlaps the header.
 */
#pragma once

#include "common/core/qcow2-parse.h"

/* One row of the snapshot table; the strings are borrowed from the table's bytes. */
typedef struct {
    guint64 l1_offset;
    guint32 l1_size;
    SnapsetBytes id;
    SnapsetBytes name;
    guint32 date_sec, date_nsec;
    guint64 vm_clock_nsec;
    guint64 vm_state_size; /* bytes */
    guint64 disk_size;     /* bytes; the header's virtual size when the entry has none */
    gboolean incomplete;   /* version 3, but without the extra data the specification demands */
} SnapsetQcow2Snapshot;

/*
 * Parse all rows. @table are the bytes at the header's snapshot_offset.
 *
 * Returns a GArray of SnapsetQcow2Snapshot, or NULL with SNAPSET_ERROR_MALFORMED, or with
 * SNAPSET_ERROR_SHORT and the number of table bytes wanted in @ret_wanted.
 */
GArray *snapset_qcow2_parse_snapshots(SnapsetBytes table, const SnapsetQcow2Header *header,
                                      guint64 file_size, gsize *ret_wanted, GError **error);

/* How many table bytes hold @count entries of usual length: a first guess for reading. */
gsize snapset_qcow2_snapshot_table_guess(guint32 count);
