/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the qcow2 format that snapshot-set reads, and the limits QEMU puts on them.
 *
 * Source of every offset: the qcow2 specification, docs/interop/qcow2.rst (before QEMU 10
 * qcow2.txt) in QEMU; section names are given below. Source of every limit: block/qcow2.h and the
 * checks in block/qcow2.c (qcow2_do_open) and block/qcow2-snapshot.c (qcow2_do_read_snapshots).
 * All integers are big-endian.
 */
#pragma once

#include <glib.h>

/*
 * Section "Header".
 *
 *     0  4  magic "QFI\xfb"          48  8  refcount table offset
 *     4  4  version                  56  4  refcount table clusters
 *     8  8  backing file name offset 60  4  number of snapshots
 *    16  4  backing file name length 64  8  snapshot table offset
 *    20  4  cluster bits             72  8  incompatible features     (version 3)
 *    24  8  virtual size             80  8  compatible features       (version 3)
 *    32  4  encryption method        88  8  auto-clear features       (version 3)
 *    36  4  L1 size, entries         96  4  refcount order            (version 3)
 *    40  8  L1 table offset         100  4  header length             (version 3)
 *                                   104  1  compression type          (if the length covers it)
 */
#define QCOW2_MAGIC 0x514649fb
#define QCOW2_AT_VERSION 4
#define QCOW2_AT_BACKING_OFFSET 8
#define QCOW2_AT_BACKING_LENGTH 16
#define QCOW2_AT_CLUSTER_BITS 20
#define QCOW2_AT_SIZE 24
#define QCOW2_AT_CRYPT_METHOD 32
#define QCOW2_AT_L1_SIZE 36
#define QCOW2_AT_L1_OFFSET 40
#define QCOW2_AT_REFTABLE_OFFSET 48
#define QCOW2_AT_REFTABLE_CLUSTERS 56
#define QCOW2_AT_SNAPSHOT_COUNT 60
#define QCOW2_AT_SNAPSHOT_OFFSET 64
#define QCOW2_AT_INCOMPATIBLE 72
#define QCOW2_AT_COMPATIBLE 80
#define QCOW2_AT_AUTOCLEAR 88
#define QCOW2_AT_REFCOUNT_ORDER 96
#define QCOW2_AT_HEADER_LENGTH 100
#define QCOW2_AT_COMPRESSION_TYPE 104

#define QCOW2_V2_HEADER_SIZE 72
#define QCOW2_V3_HEADER_SIZE_MIN 104
#define QCOW2_V3_HEADER_SIZE 112 /* what QEMU since 5.1 writes */

#define QCOW2_SECTOR_SIZE 512 /* what QEMU counts the virtual size in */
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_REFCOUNT_ORDER_MAX 6
#define QCOW2_REFCOUNT_ORDER_V2 4
#define QCOW2_BACKING_NAME_MAX 1023
#define QCOW2_BACKING_FORMAT_MAX 15
#define QCOW2_L1_BYTES_MAX (32 * 1024 * 1024)
#define QCOW2_REFTABLE_BYTES_MAX (8 * 1024 * 1024)
#define QCOW2_TABLE_ENTRY_SIZE 8 /* one entry of an L1 or refcount table */
#define QCOW2_CRYPT_METHOD_LUKS 2
#define QCOW2_COMPRESSION_TYPE_MAX 1

/* Section "Header", incompatible features. */
#define QCOW2_INCOMPATIBLE_DIRTY (G_GUINT64_CONSTANT(1) << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT (G_GUINT64_CONSTANT(1) << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE (G_GUINT64_CONSTANT(1) << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION (G_GUINT64_CONSTANT(1) << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (G_GUINT64_CONSTANT(1) << 4)
#define QCOW2_INCOMPATIBLE_KNOWN G_GUINT64_CONSTANT(0x1f)

/* Section "Header", auto-clear features. */
#define QCOW2_AUTOCLEAR_BITMAPS (G_GUINT64_CONSTANT(1) << 0)
/* Ours: set while nobody can have written to the image since it was stamped (FORMAT.md). */
#define QCOW2_AUTOCLEAR_SEAL (G_GUINT64_CONSTANT(1) << 63)

/* Section "Header extensions": u32 type, u32 length, data padded to a multiple of 8. */
#define QCOW2_EXTENSION_HEADER_SIZE 8
#define QCOW2_EXTENSION_END 0x00000000
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792aca
#define QCOW2_EXTENSION_FEATURE_TABLE 0x6803f857
#define QCOW2_EXTENSION_BITMAPS 0x23852875
#define QCOW2_EXTENSION_CRYPTO 0x0537be77
#define QCOW2_EXTENSION_DATA_FILE 0x44415441
#define QCOW2_EXTENSION_SSET 0x53534554

#define QCOW2_CRYPTO_EXTENSION_SIZE 16
#define QCOW2_BITMAPS_EXTENSION_SIZE 24
#define QCOW2_BITMAPS_MAX 65535
#define QCOW2_BITMAP_DIRECTORY_BYTES_MAX 67107840
#define QCOW2_FEATURE_NAME_SIZE 48 /* one row of the feature name table */

/*
 * Section "Snapshots": table entry, starting at a multiple of 8.
 *
 *     0  8  L1 table offset          20  4  date, nanoseconds
 *     8  4  L1 size, entries         24  8  VM clock, nanoseconds
 *    12  2  ID length                32  4  VM state size, 32 bits
 *    14  2  name length              36  4  size of the extra data
 *    16  4  date, seconds            40  .  extra data, ID, name, padding
 *
 * Extra data: 0 u64 VM state size, 8 u64 disk size, 16 u64 icount.
 */
#define QCOW2_SNAPSHOT_AT_L1_OFFSET 0
#define QCOW2_SNAPSHOT_AT_L1_SIZE 8
#define QCOW2_SNAPSHOT_AT_ID_LENGTH 12
#define QCOW2_SNAPSHOT_AT_NAME_LENGTH 14
#define QCOW2_SNAPSHOT_AT_DATE_SEC 16
#define QCOW2_SNAPSHOT_AT_DATE_NSEC 20
#define QCOW2_SNAPSHOT_AT_VM_CLOCK 24
#define QCOW2_SNAPSHOT_AT_VM_STATE_SIZE 32
#define QCOW2_SNAPSHOT_AT_EXTRA_SIZE 36
#define QCOW2_SNAPSHOT_HEADER_SIZE 40
#define QCOW2_SNAPSHOT_EXTRA_AT_VM_STATE_SIZE 0
#define QCOW2_SNAPSHOT_EXTRA_AT_DISK_SIZE 8
#define QCOW2_SNAPSHOT_EXTRA_AT_ICOUNT 16
#define QCOW2_SNAPSHOT_EXTRA_SIZE 24 /* what QEMU since 5.1 writes */
#define QCOW2_SNAPSHOT_EXTRA_MIN_V3 16
#define QCOW2_SNAPSHOT_EXTRA_MAX 1024
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_TABLE_BYTES_MAX (64 * 1024 * 1024)
