/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs as values: text and back, prefixes, the version and variant bits. */
#include "common/core/uuid.h"

#include <string.h>

static const SnapsetUuid sample = {{0x6f, 0x1c, 0x0b, 0x52, 0xaa, 0xbb, 0x8c, 0xdd, 0x9e, 0xff,
                                    0x01, 0x02, 0x03, 0x04, 0x05, 0x06}};
#define SAMPLE "6f1c0b52-aabb-8cdd-9eff-010203040506"

static void
test_format(void)
{
    char text[SNAPSET_UUID_TEXT_SIZE];
    char digits[SNAPSET_UUID_SHORT_DIGITS + 1];

    snapset_uuid_format(&sample, text);
    g_assert_cmpstr(text, ==, SAMPLE);
    snapset_uuid_format_short(&sample, digits);
    g_assert_cmpstr(digits, ==, "6f1c0b52");
    snapset_uuid_format(&snapset_uuid_nil, text);
    g_assert_cmpstr(text, ==, "00000000-0000-0000-0000-000000000000");
}

static void
test_parse(void)
{
    static const struct {
        const char *text;
        gboolean valid;
    } rows[] = {
        {SAMPLE, TRUE},
        {"6F1C0B52-AABB-8CDD-9EFF-010203040506", TRUE},
        {"", FALSE},
        {"6f1c", FALSE},
        {"6f1c0b52-aabb-8cdd-9eff-01020304050", FALSE},
        {"6f1c0b52-aabb-8cdd-9eff-0102030405060", FALSE},
        {"6f1c0b52aabb8cdd9eff010203040506", FALSE},
        {"6f1c0b52-aabb-8cdd-9eff-01020304050g", FALSE},
        {"6f1c0b52-aabb-8cdd-9eff_010203040506", FALSE},
        {"6f1c0b5-2aabb-8cdd-9eff-010203040506", FALSE},
        {"{f1c0b52-aabb-8cdd-9eff-010203040506", FALSE},
        {" 6f1c0b52-aabb-8cdd-9eff-01020304050", FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        SnapsetUuid uuid = {{0x55}};
        g_test_message("'%s'", rows[i].text);
        g_assert_cmpint(snapset_uuid_parse(rows[i].text, &uuid), ==, rows[i].valid);
        if (rows[i].valid)
            g_assert_true(snapset_uuid_equal(&uuid, &sample));
        else
            g_assert_cmphex(uuid.bytes[0], ==, 0x55);
    }
}

static void
test_prefix(void)
{
    static const struct {
        const char *text;
        gboolean valid, fits;
    } rows[] = {
        {"", FALSE, TRUE},
        {"6", FALSE, TRUE},
        {"6f1", FALSE, TRUE},
        {"6f1c", TRUE, TRUE},
        {"6F1C", TRUE, TRUE},
        {"6f1d", TRUE, FALSE},
        {"6f1c0b52", TRUE, TRUE},
        {"6f1c0b52-", TRUE, TRUE},
        {"6f1c0b52a", FALSE, FALSE},
        {"6f1c0b52-a", TRUE, TRUE},
        {"6f1c0b52-aabb-8cdd-9eff-010203040507", TRUE, FALSE},
        {SAMPLE, TRUE, TRUE},
        {SAMPLE "0", FALSE, FALSE},
        {"-6f1c", FALSE, FALSE},
        {"6f1c-", FALSE, FALSE},
        {"6f1g", FALSE, FALSE},
        {"6f1\xc3\xa9", FALSE, FALSE},
        {"    ", FALSE, FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("'%s'", rows[i].text);
        g_assert_cmpint(snapset_uuid_prefix_is_valid(rows[i].text), ==, rows[i].valid);
        g_assert_cmpint(snapset_uuid_has_prefix(&sample, rows[i].text), ==, rows[i].fits);
    }
}

/* RFC 9562, sections 5.4 and 5.8: the version in the 7th byte, the variant in the 9th. */
static void
test_version_bits(void)
{
    guint8 ones[SNAPSET_UUID_SIZE];
    guint8 zeros[SNAPSET_UUID_SIZE] = {0};
    memset(ones, 0xff, sizeof ones);
    const struct {
        SnapsetUuid uuid;
        const char *text;
    } rows[] = {
        {snapset_uuid_from_digest(ones), "ffffffff-ffff-8fff-bfff-ffffffffffff"},
        {snapset_uuid_from_digest(zeros), "00000000-0000-8000-8000-000000000000"},
        {snapset_uuid_from_random(ones), "ffffffff-ffff-4fff-bfff-ffffffffffff"},
        {snapset_uuid_from_random(zeros), "00000000-0000-4000-8000-000000000000"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char text[SNAPSET_UUID_TEXT_SIZE];
        snapset_uuid_format(&rows[i].uuid, text);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_equal(void)
{
    g_assert_true(snapset_uuid_is_nil(&snapset_uuid_nil));
    g_assert_false(snapset_uuid_is_nil(&sample));
    for (gsize i = 0; i < SNAPSET_UUID_SIZE; i++) {
        SnapsetUuid other = sample;
        SnapsetUuid barely = snapset_uuid_nil;
        other.bytes[i] ^= 1;
        barely.bytes[i] = 1;
        g_assert_false(snapset_uuid_equal(&sample, &other));
        g_assert_false(snapset_uuid_equal_func(&sample, &other));
        g_assert_false(snapset_uuid_is_nil(&barely));
    }
    SnapsetUuid copy = sample;
    g_assert_true(snapset_uuid_equal_func(&sample, &copy));
    g_assert_cmpuint(snapset_uuid_hash(&sample), ==, snapset_uuid_hash(&copy));
}

/* Version 1: the time comes back, and the first digits tell neighbours apart. */
static void
test_time(void)
{
    static const guint8 zeros[SNAPSET_UUID_SIZE];
    static const guint8 ones[SNAPSET_UUID_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const guint64 times[] = {0, 1, 999, 1795290621689, 0xffffffffull * 1000, 60000000000000};
    char text[SNAPSET_UUID_TEXT_SIZE];

    for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
        SnapsetUuid low = snapset_uuid_from_time(times[i], zeros);
        SnapsetUuid high = snapset_uuid_from_time(times[i], ones);
        SnapsetUuid next = snapset_uuid_from_time(times[i] + 1, zeros);
        g_assert_cmpuint(snapset_uuid_time(&low), ==, times[i]);
        g_assert_cmpuint(snapset_uuid_time(&high), ==, times[i]);
        g_assert_cmpuint(snapset_load_be32(low.bytes), !=, snapset_load_be32(next.bytes));
        g_assert_cmphex(high.bytes[6] >> 4, ==, 1);
        g_assert_cmphex(high.bytes[8] >> 6, ==, 2);
        g_assert_cmphex(low.bytes[10] & 1, ==, 1); /* a node that is random */
    }
    /* RFC 9562, appendix A.1 */
    SnapsetUuid sample_v1 = snapset_uuid_nil;
    g_assert_true(snapset_uuid_parse("C232AB00-9414-11EC-B3C8-9F6BDECED846", &sample_v1));
    g_assert_cmpuint(snapset_uuid_time(&sample_v1), ==, 1645557742000);
    SnapsetUuid made = snapset_uuid_from_time(1645557742000, zeros);
    snapset_uuid_format(&made, text);
    g_assert_cmpstr(text, ==, "c232ab00-9414-11ec-8000-010000000000");
}

/* Other versions tell no time, nor does one from before 1970. */
static void
test_no_time(void)
{
    SnapsetUuid old = snapset_uuid_nil;
    SnapsetUuid digest = snapset_uuid_from_digest(sample.bytes);
    SnapsetUuid random = snapset_uuid_from_random(sample.bytes);

    old.bytes[6] = 0x10;
    g_assert_cmpuint(snapset_uuid_time(&old), ==, 0);
    g_assert_cmpuint(snapset_uuid_time(&digest), ==, 0);
    g_assert_cmpuint(snapset_uuid_time(&random), ==, 0);
    g_assert_cmpuint(snapset_uuid_time(&snapset_uuid_nil), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/uuid/format", test_format);
    g_test_add_func("/uuid/parse", test_parse);
    g_test_add_func("/uuid/prefix", test_prefix);
    g_test_add_func("/uuid/version-bits", test_version_bits);
    g_test_add_func("/uuid/equal", test_equal);
    g_test_add_func("/uuid/time", test_time);
    g_test_add_func("/uuid/no-time", test_no_time);
    return g_test_run();
}
