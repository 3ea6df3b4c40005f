/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which headers QEMU itself would write just so, and which may therefore be sealed. That QEMU does
 * is in tests/crash/stamp.sh.
 */
#include "common/core/qcow2-canonical.h"
#include "common/core/qcow2-parse.h"

#include "tests/unit/build-qcow2.h"

#define BIT(n) (G_GUINT64_CONSTANT(1) << (n))

static const BuildQcow2 plain = {0};
static const BuildQcow2 old = {.v2 = TRUE};

/*
 * The base is what QEMU writes for an image with everything: backing format at 112, crypto at 128,
 * feature table at 152, bitmaps at 544, SSET at 576.
 */
static const BuildQcow2 full = {.backing = "base.img",
                                .backing_format = "qcow2",
                                .luks = TRUE,
                                .table = BUILD_QEMU_TABLE,
                                .bitmaps = TRUE,
                                .slot_size = 512};
static const BuildQcow2 least = {.table = BUILD_QEMU_TABLE};
static const BuildQcow2 least_sset = {.table = BUILD_QEMU_TABLE, .slot_size = 512};
static const BuildQcow2 least_backed = {.table = BUILD_QEMU_TABLE, .backing = "base.img"};
static const BuildQcow2 least_four_k = {.cluster_bits = 12};
static const BuildQcow2 table_in_four_k = {.cluster_bits = 12, .table = BUILD_QEMU_TABLE};
static const BuildQcow2 least_eight_k = {.cluster_bits = 13, .table = BUILD_QEMU_TABLE};
static const BuildQcow2 old_table = {.table = BUILD_OLD_TABLE};
static const BuildQcow2 foreign = {.table = BUILD_QEMU_TABLE, .foreign_length = 8};
static const BuildQcow2 foreign_and_sset = {
    .table = BUILD_QEMU_TABLE, .foreign_length = 8, .slot_size = 512};
static const BuildQcow2 gap = {.table = BUILD_QEMU_TABLE, .backing = "base.img", .backing_gap = 8};
static const BuildQcow2 with_bitmaps = {.table = BUILD_QEMU_TABLE, .bitmaps = TRUE};

/* clang-format off */
static const struct {
    const char *name;
    const BuildQcow2 *base;
    BuildPatch patches[3];
    gboolean canonical;
} canonicals[] = {
    {"least", &least, {{0}}, TRUE},
    {"least-sset", &least_sset, {{0}}, TRUE},
    {"least-backed", &least_backed, {{0}}, TRUE},
    {"full", &full, {{0}}, TRUE},
    {"four-k", &least_four_k, {{0}}, TRUE},
    {"eight-k", &least_eight_k, {{0}}, TRUE},
    {"sealed", &least_sset, {{88, 8, BIT(63)}}, TRUE},
    {"lazy-refcounts", &least, {{80, 8, 1}}, TRUE},
    {"zstd", &least, {{72, 8, BIT(3)}, {104, 1, 1}}, TRUE},
    {"extended-l2", &least, {{72, 8, BIT(4)}}, TRUE},
    {"with-bitmaps", &with_bitmaps, {{0}}, TRUE},
    {"version-2", &old, {{0}}, FALSE},
    {"no-feature-table", &plain, {{0}}, FALSE},
    {"feature-table-where-clusters-are-small", &table_in_four_k, {{0}}, FALSE},
    {"old-feature-table", &old_table, {{0}}, FALSE},
    {"feature-table-other-name", &least, {{122, 1, 'D'}}, FALSE},
    {"feature-table-other-bit", &least, {{121, 1, 7}}, FALSE},
    {"feature-table-garbage-behind-a-name", &least, {{140, 1, 1}}, FALSE},
    {"foreign-extension", &foreign, {{0}}, FALSE},
    {"foreign-extension-and-sset", &foreign_and_sset, {{0}}, FALSE},
    {"header-length-104", &least, {{100, 4, 104}, {104, 8, 0x464f524500000000}}, FALSE},
    {"garbage-in-the-header's-padding", &least, {{111, 1, 1}}, FALSE},
    {"end-marker-of-some-length", &least, {{508, 4, 8}}, FALSE},
    {"gap-before-the-backing-name", &gap, {{0}}, FALSE},
    {"backing-length-without-offset", &least, {{16, 4, 5}}, FALSE},
    {"garbage-behind-the-end-marker", &least, {{512, 1, 1}}, FALSE},
    {"garbage-behind-the-backing-name", &least_backed, {{520, 1, 1}}, FALSE},
    {"garbage-at-the-cluster's-end", &least, {{65535, 1, 1}}, FALSE},
    {"garbage-in-an-extension's-padding", &full, {{127, 1, 1}}, FALSE},
    {"unknown-in-the-backing-format's-place", &full, {{112, 4, 0x464f5245}}, FALSE},
    {"sset-before-the-backing-format", &least_four_k, {{112, 4, 0x53534554}, {120, 4, 0xe2792aca}},
     FALSE},
    {"backing-format-before-sset", &least_four_k, {{112, 4, 0xe2792aca}, {120, 4, 0x53534554}},
     TRUE},
    {"backing-format-twice", &least_four_k, {{112, 4, 0xe2792aca}, {120, 4, 0xe2792aca}}, FALSE},
    /* QEMU drops stale bitmaps, rounds the size, and writes the name up to its first zero byte */
    {"stale-bitmaps", &with_bitmaps, {{88, 8, 0}}, FALSE},
    {"size-of-no-sectors", &least, {{24, 8, 1000}}, FALSE},
    {"zero-byte-in-the-backing-name", &least_backed, {{514, 1, 0}}, FALSE},
    {"empty-backing-name", &least_backed, {{16, 4, 0}, {512, 8, 0}}, TRUE},
    {"other-auto-clear-bit", &least, {{88, 8, BIT(63) | BIT(5)}}, FALSE},
};
/* clang-format on */

static void
test_canonical(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) built = build_qcow2(canonicals[row].base);
    gsize wanted = 0;
    g_autoptr(GError) error = NULL;

    build_patch(built->data, canonicals[row].patches, G_N_ELEMENTS(canonicals[row].patches));
    SnapsetBytes bytes = {built->data, built->len};
    g_autoptr(SnapsetQcow2Header) header = snapset_qcow2_parse_header(
        bytes, build_qcow2_file_size(canonicals[row].base), &wanted, &error);
    g_assert_no_error(error);
    if (header == NULL)
        return;
    g_assert_cmpint(snapset_qcow2_header_is_canonical(bytes, header), ==,
                    canonicals[row].canonical);
}

/* Without the bytes that make it so, a header is not known to be canonical. */
static void
test_canonical_needs_bytes(void)
{
    g_autoptr(GByteArray) built = build_qcow2(&full);
    gsize wanted = 0;
    g_autoptr(SnapsetQcow2Header) header = snapset_qcow2_parse_header(
        (SnapsetBytes){built->data, built->len}, build_qcow2_file_size(&full), &wanted, NULL);
    gsize end = header->backing_offset + header->backing_length;

    for (gsize size = 0; size < end; size++) {
        g_autofree guint8 *bytes = g_memdup2(built->data, size);
        g_assert_false(snapset_qcow2_header_is_canonical((SnapsetBytes){bytes, size}, header));
    }
    g_assert_true(snapset_qcow2_header_is_canonical((SnapsetBytes){built->data, end}, header));
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/qcow2-canonical/" folder "/%s", (rows)[i].name); \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("header", canonicals, test_canonical)
    g_test_add_func("/qcow2-canonical/needs-bytes", test_canonical_needs_bytes);
    return g_test_run();
}
