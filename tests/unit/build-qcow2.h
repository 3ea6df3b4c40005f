/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of qcow2 images for tests, laid out as QEMU lays them out: header, reference count
 * table, reference count block, L1 table and snapshot table, a cluster each and in this order.
 */
#pragma once

#include "common/core/image.h"

#define BUILD_VIRTUAL_SIZE 1048576
#define BUILD_L1_CLUSTER 3
#define BUILD_SNAPSHOT_CLUSTER 4
#define BUILD_CLUSTERS 5

typedef enum {
    BUILD_NO_TABLE,
    BUILD_QEMU_TABLE, /* the feature name table that QEMU 7.2 to 10.0 write */
    BUILD_OLD_TABLE,  /* the shorter one of QEMU before 5.1 */
} BuildTable;

/* What the first cluster holds; all zero is version 3 without anything optional. */
typedef struct {
    gboolean v2;
    guint32 cluster_bits; /* 0: 16 */
    const char *backing, *backing_format;
    guint32 backing_gap; /* bytes left free between the end marker and the backing file name */
    BuildTable table;
    gboolean bitmaps, luks;
    guint32 foreign_length;      /* of an unknown extension; 0: none */
    const SnapsetLedger *ledger; /* of an SSET extension; NULL: none */
    guint32 slot_size;           /* of that extension */
} BuildQcow2;

/* The whole first cluster. */
GByteArray *build_qcow2(const BuildQcow2 *what);

/* The size of the file that it begins. */
guint64 build_qcow2_file_size(const BuildQcow2 *what);

/* The image that common/io/image-read.h makes of these bytes when there are no entries. */
SnapsetImage *build_qcow2_image(SnapsetBytes bytes, guint64 file_size, GError **error);

/* A number of @size bytes to be written at @offset; a size of 0 ends a list of them. */
typedef struct {
    guint32 offset, size;
    guint64 value;
} BuildPatch;

void build_patch(guint8 *bytes, const BuildPatch *patches, gsize count);

/*
 * Append an entry as it stands in a snapshot table: @extra_size bytes of extra data, padded to a
 * multiple of 8 before it if the last one was not.
 */
void build_snapshot(GByteArray *table, const char *id, const char *name, guint32 extra_size,
                    guint64 number);
