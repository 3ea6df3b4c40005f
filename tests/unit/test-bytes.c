/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checked access to foreign bytes: nothing outside, nothing that overflows. */
#include "common/core/bytes.h"

static const guint8 data[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};

static void
test_contain(void)
{
    static const struct {
        guint64 offset, length;
        gboolean inside;
    } rows[] = {
        {0, 0, TRUE},
        {0, 16, TRUE},
        {0, 17, FALSE},
        {1, 15, TRUE},
        {1, 16, FALSE},
        {15, 1, TRUE},
        {16, 0, TRUE},
        {16, 1, FALSE},
        {17, 0, FALSE},
        {G_MAXUINT64, 0, FALSE},
        {G_MAXUINT64, 1, FALSE},
        {G_MAXUINT64, G_MAXUINT64, FALSE},
        {1, G_MAXUINT64, FALSE},
        {16, G_MAXUINT64 - 15, FALSE}, /* the sum overflows to 0 */
        {8, G_MAXUINT64 - 7, FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        SnapsetBytes bytes = {data, sizeof data};
        SnapsetBytes run = {NULL, 99};
        g_test_message("%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT, rows[i].offset, rows[i].length);
        g_assert_cmpint(snapset_bytes_contain(bytes, rows[i].offset, rows[i].length), ==,
                        rows[i].inside);
        g_assert_cmpint(snapset_bytes_run(bytes, rows[i].offset, rows[i].length, &run), ==,
                        rows[i].inside);
        g_assert_true(run.data == (rows[i].inside ? data + rows[i].offset : NULL));
        g_assert_cmpuint(run.size, ==, rows[i].inside ? rows[i].length : 99);
    }
}

static void
test_load_store(void)
{
    guint8 out[10];

    /* one byte off, so that nothing depends on alignment */
    g_assert_cmphex(snapset_load_be16(data + 1), ==, 0x2345);
    g_assert_cmphex(snapset_load_be32(data + 1), ==, 0x23456789);
    g_assert_cmphex(snapset_load_be64(data), ==, 0x0123456789abcdef);
    memset(out, 0xee, sizeof out);
    snapset_store_be16(out + 1, 0x2345);
    g_assert_cmpmem(out, 4, "\xee\x23\x45\xee", 4);
    snapset_store_be32(out + 1, 0x23456789);
    g_assert_cmpmem(out, 6, "\xee\x23\x45\x67\x89\xee", 6);
    snapset_store_be64(out + 1, 0x0123456789abcdef);
    g_assert_cmpmem(out, 10, "\xee\x01\x23\x45\x67\x89\xab\xcd\xef\xee", 10);
}

static void
test_round_up(void)
{
    static const struct {
        guint64 value, unit, rounded;
        gboolean fits;
    } rows[] = {
        {0, 8, 0, TRUE},
        {1, 8, 8, TRUE},
        {7, 8, 8, TRUE},
        {8, 8, 8, TRUE},
        {9, 8, 16, TRUE},
        {5, 1, 5, TRUE},
        {1, 65536, 65536, TRUE},
        {G_MAXUINT64 - 7, 8, G_MAXUINT64 - 7, TRUE},
        {G_MAXUINT64 - 6, 8, 42, FALSE},
        {G_MAXUINT64, 8, 42, FALSE},
        {G_MAXUINT64, 1, G_MAXUINT64, TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint64 rounded = 42;
        g_assert_cmpint(snapset_round_up(rows[i].value, rows[i].unit, &rounded), ==, rows[i].fits);
        g_assert_cmpuint(rounded, ==, rows[i].rounded);
    }
}

static void
test_overlap(void)
{
    static const struct {
        guint64 a, a_length, b, b_length;
        gboolean overlap;
    } rows[] = {
        {0, 1, 0, 1, TRUE},
        {0, 10, 9, 1, TRUE},
        {0, 10, 10, 1, FALSE},
        {0, 10, 11, 1, FALSE},
        {5, 2, 0, 100, TRUE},
        {0, 0, 0, 1, FALSE}, /* nothing overlaps nothing */
        {0, 0, 0, 0, FALSE},
        {5, 0, 0, 10, FALSE},
        {G_MAXUINT64, G_MAXUINT64, 0, 1, FALSE},
        {G_MAXUINT64, 1, G_MAXUINT64, 1, TRUE},
        {1, G_MAXUINT64, G_MAXUINT64, 1, TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpint(
            snapset_ranges_overlap(rows[i].a, rows[i].a_length, rows[i].b, rows[i].b_length), ==,
            rows[i].overlap);
        g_assert_cmpint(
            snapset_ranges_overlap(rows[i].b, rows[i].b_length, rows[i].a, rows[i].a_length), ==,
            rows[i].overlap);
    }
}

static void
test_zero(void)
{
    static const guint8 zeros[9];
    guint8 last[9] = {0};

    last[8] = 1;
    g_assert_true(snapset_bytes_are_zero((SnapsetBytes){NULL, 0}));
    g_assert_true(snapset_bytes_are_zero((SnapsetBytes){zeros, 9}));
    g_assert_true(snapset_bytes_are_zero((SnapsetBytes){last, 8}));
    g_assert_false(snapset_bytes_are_zero((SnapsetBytes){last, 9}));
    g_assert_false(snapset_bytes_are_zero((SnapsetBytes){data, 1}));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bytes/contain", test_contain);
    g_test_add_func("/bytes/load-store", test_load_store);
    g_test_add_func("/bytes/round-up", test_round_up);
    g_test_add_func("/bytes/overlap", test_overlap);
    g_test_add_func("/bytes/zero", test_zero);
    return g_test_run();
}
