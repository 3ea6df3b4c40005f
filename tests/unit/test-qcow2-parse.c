/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 parser over malformed headers: a valid image, patched, and what becomes of it. What the
 * real QEMU says to the same patches is in tests/cli/malformed.sh.
 */
#include "common/core/qcow2-parse.h"

#include <string.h>

#include "tests/unit/build-qcow2.h"

#define ACCEPTED -1
#define MALFORMED SNAPSET_ERROR_MALFORMED
#define NOT_QCOW2 SNAPSET_ERROR_NOT_QCOW2

/* Bases, by what is built. Without a table the end marker stands at 112, in version 2 at 72. */
static const BuildQcow2 plain = {0};
static const BuildQcow2 old = {.v2 = TRUE};
static const BuildQcow2 luks = {.luks = TRUE};       /* its extension's data at 120 */
static const BuildQcow2 bitmaps = {.bitmaps = TRUE}; /* the same */
static const BuildQcow2 backed = {.backing = "base.img", .backing_gap = 392}; /* name at 512 */
static const BuildQcow2 small = {.cluster_bits = 9};
static const BuildQcow2 four_k = {.cluster_bits = 12};
static const BuildQcow2 eight_k = {.cluster_bits = 13};
static const BuildQcow2 sixteen_k = {.cluster_bits = 14};

#define CLUSTER 65536
#define FILE_SIZE (BUILD_CLUSTERS * CLUSTER)
/* clang-format off */
#define EXTENSION(type, length) {112, 4, (type)}, {116, 4, (length)}
/* clang-format on */
#define UNKNOWN 0x12345678
#define BIT(n) (G_GUINT64_CONSTANT(1) << (n))

/* clang-format off */
static const struct {
    const char *name;
    const BuildQcow2 *base;
    BuildPatch patches[4];
    gint64 file_size; /* 0: as built; less than 0: so many bytes are all of the file */
    int code;         /* SnapsetErrorCode, or ACCEPTED */
    const char *message;
} headers[] = {
    {"plain", &plain, {{0}}, 0, ACCEPTED, NULL},
    {"version-2", &old, {{0}}, 0, ACCEPTED, NULL},
    {"luks", &luks, {{0}}, 0, ACCEPTED, NULL},
    {"bitmaps", &bitmaps, {{0}}, 0, ACCEPTED, NULL},
    {"backed", &backed, {{0}}, 0, ACCEPTED, NULL},
    {"small-clusters", &small, {{0}}, 0, ACCEPTED, NULL},
    {"H1-magic", &plain, {{0, 4, 0x514649fa}}, 0, NOT_QCOW2, "not in qcow2 format"},
    {"H1-empty-file", &plain, {{0}}, -1, NOT_QCOW2, "not in qcow2 format"},
    {"H1-3-bytes", &plain, {{0}}, -3, NOT_QCOW2, "not in qcow2 format"},
    {"H1-4-bytes", &plain, {{0}}, -4, MALFORMED, "header too short"},
    {"H2-version-0", &plain, {{4, 4, 0}}, 0, MALFORMED, "version 0"},
    {"H2-version-1", &plain, {{4, 4, 1}}, 0, MALFORMED, "version 1"},
    {"H2-version-4", &plain, {{4, 4, 4}}, 0, MALFORMED, "version 4"},
    {"H2-version-most", &plain, {{4, 4, G_MAXUINT32}}, 0, MALFORMED, "version 4294967295"},
    {"H3-cluster-bits-0", &plain, {{20, 4, 0}}, 0, MALFORMED, "cluster size 2^0"},
    {"H3-cluster-bits-8", &plain, {{20, 4, 8}}, 0, MALFORMED, "cluster size 2^8"},
    {"H3-cluster-bits-22", &plain, {{20, 4, 22}}, 0, MALFORMED, "cluster size 2^22"},
    {"H3-cluster-bits-64", &plain, {{20, 4, 64}}, 0, MALFORMED, "cluster size 2^64"},
    {"H3-cluster-bits-most", &plain, {{20, 4, G_MAXUINT32}}, 0, MALFORMED, "cluster size"},
    {"H4-header-length-most", &plain, {{100, 4, G_MAXUINT32}}, 0, MALFORMED,
     "header exceeds cluster size"},
    {"H4-header-length-7fffffff", &plain, {{100, 4, 0x7fffffff}}, 0, MALFORMED,
     "header exceeds cluster size"},
    {"H4-header-length-cluster-and-1", &plain, {{100, 4, CLUSTER + 1}}, 0, MALFORMED,
     "header exceeds cluster size"},
    {"H5-header-length-0", &plain, {{100, 4, 0}}, 0, MALFORMED, "header too short"},
    {"H5-header-length-103", &plain, {{100, 4, 103}}, 0, MALFORMED, "header too short"},
    {"H5-header-length-104", &plain, {{100, 4, 104}}, 0, ACCEPTED, NULL},
    {"H5-file-of-71-bytes", &plain, {{0}}, -71, MALFORMED, "header too short"},
    {"H5-file-of-103-bytes", &plain, {{0}}, -103, MALFORMED, "header too short"},
    {"H5-version-2-file-of-71-bytes", &old, {{0}}, -71, MALFORMED, "header too short"},
    {"H6-refcount-order-6", &plain, {{96, 4, 6}}, 0, ACCEPTED, NULL},
    {"H6-refcount-order-7", &plain, {{96, 4, 7}}, 0, MALFORMED, "entry width too large"},
    {"H6-refcount-order-most", &plain, {{96, 4, G_MAXUINT32}}, 0, MALFORMED,
     "entry width too large"},
    {"H7-incompatible-bit-63", &plain, {{72, 8, BIT(63)}}, 0, MALFORMED, "0x8000000000000000"},
    {"H7-incompatible-bit-5", &plain, {{72, 8, BIT(5)}}, 0, MALFORMED, "0x20"},
    {"H7-incompatible-known-and-unknown", &plain, {{72, 8, BIT(61) | BIT(62) | 1}}, 0, MALFORMED,
     "0x6000000000000000"},
    {"H7-compatible-all", &plain, {{80, 8, G_MAXUINT64}}, 0, ACCEPTED, NULL},
    {"H7-autoclear-all", &plain, {{88, 8, G_MAXUINT64}}, 0, ACCEPTED, NULL},
    {"H8-compression-bit-without-type", &plain, {{72, 8, BIT(3)}}, 0, MALFORMED,
     "compression type 0"},
    {"H9-compression-type-without-bit", &plain, {{104, 1, 1}}, 0, MALFORMED, "compression type 1"},
    {"H9-compression-type-9", &plain, {{72, 8, BIT(3)}, {104, 1, 9}}, 0, MALFORMED,
     "unknown compression type 9"},
    {"H9-compression-zstd", &plain, {{72, 8, BIT(3)}, {104, 1, 1}}, 0, ACCEPTED, NULL},
    {"H9-compression-type-behind-the-header", &plain, {{100, 4, 104}, {104, 1, 1}}, 0, ACCEPTED,
     NULL}, /* it is an extension's type then */
    {"H10-extended-l2-512", &small, {{72, 8, BIT(4)}}, 0, MALFORMED, "subcluster size 16"},
    {"H10-extended-l2-8k", &eight_k, {{72, 8, BIT(4)}}, 0, MALFORMED, "subcluster size 256"},
    {"H10-extended-l2-16k", &sixteen_k, {{72, 8, BIT(4)}}, 0, ACCEPTED, NULL},
    {"H11-crypt-method-1", &plain, {{32, 4, 1}}, 0, ACCEPTED, NULL},
    {"H11-crypt-method-3", &plain, {{32, 4, 3}}, 0, MALFORMED, "encryption method 3"},
    {"H11-crypt-method-most", &plain, {{32, 4, G_MAXUINT32}}, 0, MALFORMED,
     "encryption method 4294967295"},
    {"H12-size-2^62", &plain, {{24, 8, BIT(62)}}, 0, MALFORMED, "too big"},
    {"H12-size-2^63", &plain, {{24, 8, BIT(63)}}, 0, MALFORMED, "too big"},
    {"H12-size-2^64-1", &plain, {{24, 8, G_MAXUINT64}}, 0, MALFORMED, "too big"},
    {"H12-size-past-the-l1-table", &plain, {{24, 8, BIT(29) + 1}}, 0, MALFORMED,
     "L1 table is too small"},
    {"H12-size-that-the-l1-table-covers", &plain, {{24, 8, BIT(29)}}, 0, ACCEPTED, NULL},
    {"H12-size-that-extended-l2-does-not", &plain, {{24, 8, BIT(29)}, {72, 8, BIT(4)}}, 0,
     MALFORMED, "L1 table is too small"},
    {"H12-size-that-extended-l2-does", &plain, {{24, 8, BIT(28)}, {72, 8, BIT(4)}}, 0, ACCEPTED,
     NULL},
    {"H12-size-0", &plain, {{24, 8, 0}}, 0, ACCEPTED, NULL},
    {"H13-backing-offset-most", &plain, {{8, 8, G_MAXUINT64}}, 0, MALFORMED,
     "invalid backing file offset"},
    {"H13-backing-offset-past-the-cluster", &plain, {{8, 8, CLUSTER + 1}}, 0, MALFORMED,
     "invalid backing file offset"},
    {"H13-backing-offset-at-the-cluster's-end", &plain, {{8, 8, CLUSTER}}, 0, ACCEPTED, NULL},
    {"H14-backing-size-most", &backed, {{16, 4, G_MAXUINT32}}, 0, MALFORMED, "name too long"},
    {"H14-backing-size-1024", &backed, {{16, 4, 1024}}, 0, MALFORMED, "name too long"},
    {"H14-backing-size-1023", &backed, {{16, 4, 1023}}, 0, ACCEPTED, NULL},
    {"H14-backing-name-past-the-cluster", &backed, {{8, 8, 65530}, {16, 4, 20}}, 0, MALFORMED,
     "name too long"},
    {"H14-backing-name-to-the-cluster's-end", &backed, {{8, 8, 65530}, {16, 4, 6}}, 0, ACCEPTED,
     NULL},
    {"H14-backing-size-without-offset", &plain, {{16, 4, G_MAXUINT32}}, 0, ACCEPTED, NULL},
    {"H14-backing-name-past-the-file", &backed, {{0}}, -515, MALFORMED, "past the end of the file"},
    {"H15-dirty", &plain, {{72, 8, BIT(0)}}, 0, ACCEPTED, NULL},
    {"H15-corrupt", &plain, {{72, 8, BIT(1)}}, 0, ACCEPTED, NULL},
    {"H16-data-file", &plain, {{72, 8, BIT(2)}}, 0, ACCEPTED, NULL},
    {"Q16-backing-offset-inside-the-header", &plain, {{8, 8, 50}, {16, 4, 4}}, 0, MALFORMED,
     "inside the header"},
    {"Q16-backing-offset-before-the-header's-end", &plain, {{8, 8, 111}, {16, 4, 4}}, 0, MALFORMED,
     "inside the header"},
    {"Q16-backing-offset-at-the-header's-end", &plain, {{8, 8, 112}, {16, 4, 4}}, 0, ACCEPTED,
     NULL},
    {"Q11-header-length-105", &plain, {{100, 4, 105}}, 0, ACCEPTED, NULL},
    {"Q11-header-length-of-a-cluster", &plain, {{100, 4, CLUSTER}}, 0, ACCEPTED, NULL},
    {"Q12-autoclear-without-bitmaps", &plain, {{88, 8, BIT(0)}}, 0, ACCEPTED, NULL},
    {"Q17-size-of-1000", &plain, {{24, 8, 1000}}, 0, ACCEPTED, NULL},
    {"R1-refcount-clusters-most", &plain, {{56, 4, G_MAXUINT32}}, 0, MALFORMED,
     "reference count table too large"},
    {"R1-refcount-clusters-20001", &plain, {{56, 4, 20001}}, 0, MALFORMED,
     "reference count table too large"},
    {"R1-refcount-clusters-129", &plain, {{56, 4, 129}}, 0, MALFORMED,
     "reference count table too large"},
    {"R1-refcount-clusters-128", &plain, {{56, 4, 128}}, 0, ACCEPTED, NULL},
    {"R2-refcount-clusters-0", &plain, {{56, 4, 0}}, 0, MALFORMED,
     "does not contain a reference count table"},
    {"R3-refcount-offset-1234567890abcdef", &plain, {{48, 8, 0x1234567890abcdef}}, 0, MALFORMED,
     "reference count table offset invalid"},
    {"R3-refcount-offset-ffffffffffff0000", &plain, {{48, 8, 0xffffffffffff0000}}, 0, MALFORMED,
     "reference count table offset invalid"},
    {"R3-refcount-offset-unaligned", &plain, {{48, 8, 0x10008}}, 0, MALFORMED,
     "reference count table offset invalid"},
    {"R3-refcount-table-past-the-file", &plain, {{48, 8, FILE_SIZE}}, 0, MALFORMED, "truncated"},
    {"L1-size-most", &plain, {{36, 4, G_MAXUINT32}}, 0, MALFORMED, "active L1 table too large"},
    {"L1-size-7fffffff", &plain, {{36, 4, 0x7fffffff}}, 0, MALFORMED, "active L1 table too large"},
    {"L1-size-4194305", &plain, {{36, 4, 4194305}}, 0, MALFORMED, "active L1 table too large"},
    {"L1-size-4194304", &plain, {{36, 4, 4194304}}, FILE_SIZE + 33554432, ACCEPTED, NULL},
    {"L2-offset-7fffffffffff0000", &plain, {{36, 4, 8192}, {40, 8, 0x7fffffffffff0000}}, 0,
     MALFORMED, "active L1 table offset invalid"},
    {"L2-offset-unaligned", &plain, {{40, 8, 0x30008}}, 0, MALFORMED,
     "active L1 table offset invalid"},
    {"L2-offset-past-2^63", &plain, {{40, 8, BIT(63)}}, 0, MALFORMED,
     "active L1 table offset invalid"},
    {"L2-table-past-the-file", &plain, {{40, 8, FILE_SIZE}}, 0, MALFORMED, "truncated"},
    {"L2-table-half-past-the-file", &plain, {{36, 4, 9}}, 3 * CLUSTER + 71, MALFORMED, "truncated"},
    {"L2-table-to-the-file's-end", &plain, {{36, 4, 9}}, 3 * CLUSTER + 72, ACCEPTED, NULL},
    {"L3-size-0", &plain, {{36, 4, 0}}, 0, MALFORMED, "L1 table is too small"},
    /* qemu-img create of an image of size 0 writes this; it was refused once */
    {"L3-size-0-of-an-image-of-size-0", &plain, {{24, 8, 0}, {36, 4, 0}, {40, 8, 0}}, 0, ACCEPTED,
     NULL},
    {"E1-unknown-7fffffff", &plain, {EXTENSION(UNKNOWN, 0x7fffffff)}, 0, MALFORMED,
     "extension too large"},
    {"E1-unknown-ffffffff", &plain, {EXTENSION(UNKNOWN, G_MAXUINT32)}, 0, MALFORMED,
     "extension too large"},
    {"E1-unknown-past-the-cluster", &plain, {EXTENSION(UNKNOWN, CLUSTER - 120 + 1)}, 0, MALFORMED,
     "extension too large"},
    {"Q13-unknown-to-the-cluster's-end", &plain, {EXTENSION(UNKNOWN, CLUSTER - 120)}, 0, ACCEPTED,
     NULL},
    {"Q13-unknown-3-bytes-before-the-end", &plain, {EXTENSION(UNKNOWN, CLUSTER - 120 - 3)}, 0,
     ACCEPTED, NULL},
    {"E2-unknown-past-the-backing-name", &backed, {EXTENSION(UNKNOWN, 393)}, 0, MALFORMED,
     "extension too large"},
    {"E2-extension-header-cut-by-the-backing-name", &backed, {{8, 8, 116}}, 0, MALFORMED,
     "extension too large"},
    {"E2-extension-header-up-to-the-backing-name", &backed, {{8, 8, 120}}, 0, ACCEPTED, NULL},
    {"Q14-no-end-marker", &backed, {EXTENSION(UNKNOWN, 392)}, 0, ACCEPTED, NULL},
    {"Q14-no-end-marker-but-padding", &backed, {EXTENSION(UNKNOWN, 389)}, 0, ACCEPTED, NULL},
    {"E3-end-marker-ffffffff", &plain, {EXTENSION(0, G_MAXUINT32)}, 0, MALFORMED,
     "extension too large"},
    {"Q15-end-marker-of-some-length", &plain, {EXTENSION(0, 8)}, 0, ACCEPTED, NULL},
    {"E4-backing-format-16", &plain, {EXTENSION(0xe2792aca, 16)}, 0, MALFORMED,
     "16 bytes is too long"},
    {"E4-backing-format-15", &plain, {EXTENSION(0xe2792aca, 15)}, 0, ACCEPTED, NULL},
    {"Q15-backing-format-empty", &plain, {EXTENSION(0xe2792aca, 0)}, 0, ACCEPTED, NULL},
    {"Q15-feature-table-47", &plain, {EXTENSION(0x6803f857, 47)}, 0, ACCEPTED, NULL},
    {"E5-crypto-without-luks", &luks, {{32, 4, 0}}, 0, MALFORMED, "without LUKS encryption"},
    {"E5-crypto-with-aes", &luks, {{32, 4, 1}}, 0, MALFORMED, "without LUKS encryption"},
    {"E6-crypto-15", &luks, {{116, 4, 15}}, 0, MALFORMED, "15 bytes instead of 16"},
    {"E6-crypto-17", &luks, {{116, 4, 17}}, 0, MALFORMED, "17 bytes instead of 16"},
    {"E7-crypto-offset", &luks, {{120, 8, 4660}}, 0, MALFORMED,
     "not a multiple of the cluster size"},
    {"E8-crypto-missing", &plain, {{32, 4, 2}}, 0, MALFORMED, "missing encryption header"},
    {"E9-bitmaps-23", &bitmaps, {{116, 4, 23}}, 0, MALFORMED, "invalid length"},
    {"E9-bitmaps-25", &bitmaps, {{116, 4, 25}}, 0, MALFORMED, "invalid length"},
    {"E9-bitmaps-0", &bitmaps, {{116, 4, 0}}, 0, MALFORMED, "invalid length"},
    {"E9-bitmaps-23-without-autoclear", &bitmaps, {{116, 4, 23}, {88, 8, 0}}, 0, MALFORMED,
     "invalid length"},
    {"E10-bitmaps-reserved", &bitmaps, {{124, 4, 1}}, 0, MALFORMED, "reserved field is not zero"},
    {"E11-bitmaps-count-0", &bitmaps, {{120, 4, 0}}, 0, MALFORMED, "names 0 bitmaps"},
    {"E11-bitmaps-count-65536", &bitmaps, {{120, 4, 65536}}, 0, MALFORMED, "names 65536 bitmaps"},
    {"E11-bitmaps-count-65535", &bitmaps, {{120, 4, 65535}}, 0, ACCEPTED, NULL},
    {"E12-bitmaps-directory-unaligned", &bitmaps, {{136, 8, 0x10008}}, 0, MALFORMED,
     "directory offset invalid"},
    {"E12-bitmaps-directory-2^40", &bitmaps, {{128, 8, BIT(40)}}, 0, MALFORMED,
     "directory is too large"},
    {"E12-bitmaps-directory-67107841", &bitmaps, {{128, 8, 67107841}}, 0, MALFORMED,
     "directory is too large"},
    {"E12-bitmaps-directory-67107840", &bitmaps, {{128, 8, 67107840}}, 0, ACCEPTED, NULL},
    {"Q19-bitmaps-without-autoclear", &bitmaps, {{88, 8, 0}}, 0, ACCEPTED, NULL},
    /* QEMU does not look into bitmaps that it takes for lost */
    {"Q19-broken-bitmaps-without-autoclear", &bitmaps, {{88, 8, 0}, {120, 8, 1}, {136, 8, 1}}, 0,
     ACCEPTED, NULL},
    {"data-file-name", &plain, {EXTENSION(0x44415441, 100)}, 0, ACCEPTED, NULL},
    {"two-sset", &plain, {EXTENSION(0x53534554, 0), {120, 4, 0x53534554}, {124, 4, 0}}, 0,
     ACCEPTED, NULL},
    {"extension-past-the-file", &plain, {EXTENSION(UNKNOWN, 1000)}, -600, MALFORMED,
     "past the end of the file"},
    {"extension-header-past-the-file", &plain, {{0}}, -119, MALFORMED, "past the end of the file"},
    {"S1-count-most", &plain, {{60, 4, G_MAXUINT32}}, 0, MALFORMED, "snapshot table too large"},
    {"S1-count-7fffffff", &plain, {{60, 4, 0x7fffffff}}, 0, MALFORMED, "snapshot table too large"},
    {"S1-count-65537", &plain, {{60, 4, 65537}}, 0, MALFORMED, "snapshot table too large"},
    {"S1-count-65536", &plain, {{60, 4, 65536}}, 0, ACCEPTED, NULL},
    {"S2-offset-ffffffffffff0000", &plain, {{60, 4, 1}, {64, 8, 0xffffffffffff0000}}, 0, MALFORMED,
     "snapshot table offset invalid"},
    {"S2-offset-ffffffffffff0000-without-snapshots", &plain, {{64, 8, 0xffffffffffff0000}}, 0,
     MALFORMED, "snapshot table offset invalid"},
    {"S2-offset-unaligned", &plain, {{60, 4, 1}, {64, 8, 0x40001}}, 0, MALFORMED,
     "snapshot table offset invalid"},
    {"S2-offset-unaligned-without-snapshots", &plain, {{64, 8, 0x40001}}, 0, MALFORMED,
     "snapshot table offset invalid"},
    {"S2-offset-aligned-to-8", &plain, {{60, 4, 1}, {64, 8, 0x40008}}, 0, MALFORMED,
     "snapshot table offset invalid"},
    {"four-k-unknown-to-the-end", &four_k, {EXTENSION(UNKNOWN, 4096 - 120)}, 0, ACCEPTED, NULL},
    {"four-k-unknown-past-the-end", &four_k, {EXTENSION(UNKNOWN, 4096 - 119)}, 0, MALFORMED,
     "extension too large"},
    {"version-2-unknown", &old, {{72, 4, UNKNOWN}, {76, 4, CLUSTER - 80}}, 0, ACCEPTED, NULL},
    {"version-2-unknown-too-long", &old, {{72, 4, UNKNOWN}, {76, 4, CLUSTER - 79}}, 0, MALFORMED,
     "extension too large"},
    {"version-2-has-no-features", &old, {{72, 8, 0}, {80, 8, G_MAXUINT64}}, 0, ACCEPTED, NULL},
    {"version-2-bitmaps-are-stale", &old, {{72, 4, 0x23852875}, {76, 4, 24}}, 0, ACCEPTED, NULL},
};
/* clang-format on */

static void
expect(gconstpointer result, const GError *error, int code, const char *message)
{
    if (code == ACCEPTED) {
        g_assert_no_error(error);
        g_assert_nonnull(result);
        return;
    }
    g_assert_null(result);
    g_assert_error(error, SNAPSET_ERROR, code);
    if (error != NULL && strstr(error->message, message) == NULL)
        g_assert_cmpstr(error->message, ==, message);
}

static void
test_header(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    gint64 file_size = headers[row].file_size;
    g_autoptr(GByteArray) built = build_qcow2(headers[row].base);
    gsize size = built->len;
    gsize wanted = 0;
    g_autoptr(GError) error = NULL;

    build_patch(built->data, headers[row].patches, G_N_ELEMENTS(headers[row].patches));
    if (file_size == 0)
        file_size = build_qcow2_file_size(headers[row].base);
    if (file_size < 0) {
        file_size = -file_size - (file_size == -1);
        size = file_size;
    }
    g_autofree guint8 *bytes = g_memdup2(built->data, size); /* no byte more, for the sanitizers */
    g_autoptr(SnapsetQcow2Header) header =
        snapset_qcow2_parse_header((SnapsetBytes){bytes, size}, file_size, &wanted, &error);
    expect(header, error, headers[row].code, headers[row].message);
    g_assert_cmpuint(wanted, ==, 0);
}

/* Fewer bytes than the file has: how many are wanted, and that these are enough. */
/* clang-format off */
static const struct {
    const char *name;
    const BuildQcow2 *base;
    BuildPatch patches[2];
    gsize given, wanted;
} shorts[] = {
    {"extension-header", &plain, {{0}}, 115, 120},
    {"extension-header-all-but-one", &plain, {{0}}, 119, 120},
    {"unknown-extension", &plain, {EXTENSION(UNKNOWN, 5000)}, 4096, 5120},
    {"extension-to-the-cluster's-end", &plain, {EXTENSION(UNKNOWN, CLUSTER - 120)}, 4096, CLUSTER},
    {"extension-header-behind-another", &plain, {EXTENSION(UNKNOWN, 4096 - 120)}, 4096, 4104},
    {"backing-name", &backed, {{0}}, 516, 520},
    {"backing-name-far-away", &backed, {{8, 8, 60000}, {16, 4, 1023}}, 32768, 61023},
};
/* clang-format on */

static void
test_short(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) built = build_qcow2(shorts[row].base);
    g_autoptr(GError) error = NULL;
    guint64 file_size = build_qcow2_file_size(shorts[row].base);
    gsize wanted = 0;

    build_patch(built->data, shorts[row].patches, G_N_ELEMENTS(shorts[row].patches));
    g_autofree guint8 *bytes = g_memdup2(built->data, shorts[row].given);
    g_autoptr(SnapsetQcow2Header) header = snapset_qcow2_parse_header(
        (SnapsetBytes){bytes, shorts[row].given}, file_size, &wanted, &error);
    expect(header, error, SNAPSET_ERROR_SHORT, "bytes are needed");
    g_assert_cmpuint(wanted, ==, shorts[row].wanted);
    /* each time more is given, more of it can be read, and in the end all */
    gsize given = wanted;
    for (guint i = 0; header == NULL && i < 8; i++) {
        g_clear_error(&error);
        header = snapset_qcow2_parse_header((SnapsetBytes){built->data, given}, file_size, &wanted,
                                            &error);
        g_assert_true(header != NULL || wanted > given);
        given = wanted;
    }
    g_assert_no_error(error);
    g_assert_nonnull(header);
}

/* Every field where it belongs: each has a value of its own. */
static void
test_fields(void)
{
    BuildQcow2 what = {.backing = "base.img",
                       .backing_format = "raw",
                       .table = BUILD_QEMU_TABLE,
                       .bitmaps = TRUE,
                       .foreign_length = 13,
                       .slot_size = 512,
                       .cluster_bits = 12};
    g_autoptr(GByteArray) built = build_qcow2(&what);
    static const BuildPatch patches[] = {
        {24, 8, 0x12345}, {36, 4, 7},      {40, 8, 0x5000}, {48, 8, 0x6000}, {56, 4, 3},
        {60, 4, 9},       {64, 8, 0x7000}, {72, 8, 0x0b},   {80, 8, 0x1122}, {88, 8, 0x3345},
        {96, 4, 5},       {104, 1, 1},     {32, 4, 1},
    };
    static const guint32 types[] = {0xe2792aca, 0x6803f857, 0x23852875, 0x464f5245, 0x53534554};
    static const guint32 lengths[] = {3, 384, 24, 13, 16 + 1024};
    gsize wanted = 0;
    g_autoptr(GError) error = NULL;
    guint32 at = 112;

    build_patch(built->data, patches, G_N_ELEMENTS(patches));
    g_autoptr(SnapsetQcow2Header) h = snapset_qcow2_parse_header(
        (SnapsetBytes){built->data, built->len}, 0x10000, &wanted, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(h->version, ==, 3);
    g_assert_cmpuint(h->cluster_bits, ==, 12);
    g_assert_cmpuint(h->cluster_size, ==, 4096);
    g_assert_cmphex(h->virtual_size, ==, 0x12345);
    g_assert_cmpuint(h->crypt_method, ==, 1);
    g_assert_cmpuint(h->l1_size, ==, 7);
    g_assert_cmphex(h->l1_offset, ==, 0x5000);
    g_assert_cmphex(h->reftable_offset, ==, 0x6000);
    g_assert_cmpuint(h->reftable_clusters, ==, 3);
    g_assert_cmpuint(h->snapshot_count, ==, 9);
    g_assert_cmphex(h->snapshot_offset, ==, 0x7000);
    g_assert_cmphex(h->incompatible, ==, 0x0b);
    g_assert_cmphex(h->compatible, ==, 0x1122);
    g_assert_cmphex(h->autoclear, ==, 0x3345);
    g_assert_cmpuint(h->refcount_order, ==, 5);
    g_assert_cmpuint(h->header_length, ==, 112);
    g_assert_cmpuint(h->compression_type, ==, 1);
    g_assert_true(h->has_bitmaps);
    g_assert_cmpuint(h->extensions->len, ==, G_N_ELEMENTS(types));
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        const SnapsetQcow2Extension *e = &g_array_index(h->extensions, SnapsetQcow2Extension, i);
        g_assert_cmphex(e->type, ==, types[i]);
        g_assert_cmpuint(e->length, ==, lengths[i]);
        g_assert_cmpuint(e->data_offset, ==, at + 8);
        at += 8 + (lengths[i] + 7) / 8 * 8;
    }
    g_assert_true(h->sset == &g_array_index(h->extensions, SnapsetQcow2Extension, 4));
    g_assert_cmpuint(h->sset_count, ==, 1);
    g_assert_true(h->has_end_marker);
    g_assert_cmpuint(h->end_marker_length, ==, 0);
    g_assert_cmpuint(h->extensions_end, ==, at);
    g_assert_cmpuint(h->backing_offset, ==, at + 8);
    g_assert_cmpuint(h->backing_length, ==, 8);
}

/* What the parser makes of the odd ones it accepts. */
static void
test_odd(void)
{
    static const struct {
        const BuildQcow2 *base;
        BuildPatch patches[4];
        gboolean has_end_marker, has_bitmaps;
        guint32 extensions_end, end_marker_length, sset_count, extensions;
    } rows[] = {
        {&plain, {{0}}, TRUE, FALSE, 112, 0, 0, 0},
        {&old, {{0}}, TRUE, FALSE, 72, 0, 0, 0},
        {&plain, {EXTENSION(0, 8)}, TRUE, FALSE, 112, 8, 0, 0},
        {&plain, {EXTENSION(UNKNOWN, CLUSTER - 120)}, FALSE, FALSE, CLUSTER, 0, 0, 1},
        {&backed, {EXTENSION(UNKNOWN, 389)}, FALSE, FALSE, 512, 0, 0, 1},
        {&plain, {EXTENSION(0x53534554, 0), {120, 4, 0x53534554}}, TRUE, FALSE, 128, 0, 2, 2},
        {&bitmaps, {{88, 8, 0}}, TRUE, FALSE, 144, 0, 0, 1},
        {&bitmaps, {{0}}, TRUE, TRUE, 144, 0, 0, 1},
        {&plain, {{100, 4, CLUSTER}}, FALSE, FALSE, CLUSTER, 0, 0, 0},
        {&plain, {{8, 8, 112}, {16, 4, 4}}, FALSE, FALSE, 112, 0, 0, 0},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) built = build_qcow2(rows[i].base);
        gsize wanted = 0;
        build_patch(built->data, rows[i].patches, G_N_ELEMENTS(rows[i].patches));
        g_autoptr(SnapsetQcow2Header) h = snapset_qcow2_parse_header(
            (SnapsetBytes){built->data, built->len}, FILE_SIZE, &wanted, NULL);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_nonnull(h);
        g_assert_cmpint(h->has_end_marker, ==, rows[i].has_end_marker);
        g_assert_cmpint(h->has_bitmaps, ==, rows[i].has_bitmaps);
        g_assert_cmpuint(h->extensions_end, ==, rows[i].extensions_end);
        g_assert_cmpuint(h->end_marker_length, ==, rows[i].end_marker_length);
        g_assert_cmpuint(h->sset_count, ==, rows[i].sset_count);
        g_assert_cmpuint(h->extensions->len, ==, rows[i].extensions);
    }
}

/* As many empty extensions as a cluster holds (Q13). */
static void
test_many_extensions(void)
{
    g_autoptr(GByteArray) built = build_qcow2(&plain);
    gsize wanted = 0;

    for (guint32 at = 112; at < CLUSTER; at += 8)
        snapset_store_be32(built->data + at, UNKNOWN);
    g_autoptr(SnapsetQcow2Header) h = snapset_qcow2_parse_header(
        (SnapsetBytes){built->data, built->len}, FILE_SIZE, &wanted, NULL);
    g_assert_nonnull(h);
    g_assert_cmpuint(h->extensions->len, ==, 8178);
    g_assert_false(h->has_end_marker);
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/qcow2-parse/" folder "/%s", (rows)[i].name);     \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("header", headers, test_header)
    ADD_ROWS("short", shorts, test_short)
    g_test_add_func("/qcow2-parse/fields", test_fields);
    g_test_add_func("/qcow2-parse/odd", test_odd);
    g_test_add_func("/qcow2-parse/many-extensions", test_many_extensions);
    return g_test_run();
}
