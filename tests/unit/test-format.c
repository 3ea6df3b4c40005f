/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as people read them: as qemu-img prints them, and safe for a terminal. */
#include "common/core/format.h"

#include <string.h>
#include <time.h>

static void
test_date(void)
{
    static const struct {
        const char *zone;
        guint32 seconds;
        const char *text;
    } rows[] = {
        {"UTC", 0, "1970-01-01 00:00:00"},
        {"UTC", 1795290621, "2026-11-21 19:50:21"},
        {"UTC", G_MAXUINT32, "2106-02-07 06:28:15"},
        {"XXX-1", 1795290621, "2026-11-21 20:50:21"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char text[SNAPSET_DATE_TEXT_SIZE];
        g_setenv("TZ", rows[i].zone, TRUE);
        tzset();
        snapset_format_date(rows[i].seconds, text);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_clock(void)
{
    static const struct {
        guint64 nanoseconds;
        const char *text;
    } rows[] = {
        {0, "00:00:00.000"},
        {999999, "00:00:00.000"},
        {1000000, "00:00:00.001"},
        {141048000000, "00:02:21.048"},
        {59999999999, "00:00:59.999"},
        {3600000000000, "01:00:00.000"},
        {359999000000000, "99:59:59.000"},
        {360000000000000, "100:00:00.000"},
        {1795291200000000000, "498692:00:00.000"}, /* a host's clock in a VM clock's place */
        {G_MAXUINT64, "5124095:34:33.709"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char text[SNAPSET_DATE_TEXT_SIZE];
        snapset_format_clock(rows[i].nanoseconds, text);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

/* What util/cutils.c, size_to_str() in QEMU gives. */
static void
test_size(void)
{
    static const struct {
        guint64 bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {1, "1 B"},
        {999, "999 B"},
        {1000, "0.977 KiB"},
        {1023, "0.999 KiB"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {1023999, "1e+03 KiB"},
        {1024000, "0.977 MiB"},
        {1048576, "1 MiB"},
        {1195376, "1.14 MiB"},
        {123456789, "118 MiB"},
        {G_GUINT64_CONSTANT(1) << 40, "1 TiB"},
        {G_GUINT64_CONSTANT(1) << 50, "1 PiB"},
        {G_GUINT64_CONSTANT(1) << 60, "1 EiB"},
        {G_MAXUINT64, "16 EiB"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char text[SNAPSET_SIZE_TEXT_SIZE];
        snapset_format_size(rows[i].bytes, text);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_escaped(void)
{
    static const struct {
        const char *raw, *escaped;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"it's \"quoted\"", "it's \"quoted\""},
        {"gr\303\266\303\237e \360\237\222\276", "gr\303\266\303\237e \360\237\222\276"},
        {"a\nb\tc\rd", "a\\nb\\tc\\x0dd"},
        {"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"},
        {"\\n", "\\\\n"},
        {"\x7f", "\\x7f"},
        {"\x01\x1f", "\\x01\\x1f"},
        {"\302\23331m", "\\xc2\\x9b31m"},            /* U+009B, an escape in one character */
        {"\342\200\256evil", "\\xe2\\x80\\xaeevil"}, /* U+202E turns text around */
        {"\xe2\x80\x8b", "\\xe2\\x80\\x8b"},         /* U+200B, of no width */
        {"\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"}, /* line, paragraph */
        {"\xef\xbb\xbf", "\\xef\\xbb\\xbf"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"a\xc3", "a\\xc3"}, /* cut in the middle */
        {"\xc3(", "\\xc3("},
        {"\xc0\x80", "\\xc0\\x80"},                   /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* a surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* past U+10FFFF */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *escaped = snapset_format_escaped(rows[i].raw);
        g_autofree char *quoted = snapset_format_quoted(rows[i].raw);
        g_autofree char *expected = g_strdup_printf("'%s'", rows[i].escaped);
        g_assert_cmpstr(escaped, ==, rows[i].escaped);
        g_assert_cmpstr(quoted, ==, expected);
    }
}

/* Whatever the bytes: one line, valid UTF-8, nothing that moves a cursor. */
static void
test_escaped_is_safe(void)
{
    for (guint i = 0; i < 20000; i++) {
        char raw[8] = {0};
        for (gsize j = 0; j < 7; j++)
            raw[j] = g_test_rand_int_range(1, 256);
        g_autofree char *escaped = snapset_format_escaped(raw);
        g_assert_true(g_utf8_validate(escaped, -1, NULL));
        for (const char *at = escaped; *at != '\0'; at = g_utf8_next_char(at))
            g_assert_false(g_unichar_iscntrl(g_utf8_get_char(at)));
    }
}

/* A selector to be typed into a shell: exactly the tag, or no tag at all. */
static void
test_selector(void)
{
    static const struct {
        const char *tag, *selector;
    } rows[] = {
        {"x", "'tag=x'"},
        {"", "'tag='"},
        {"a b", "'tag=a b'"},
        {"$(x) `y` !z", "'tag=$(x) `y` !z'"},
        {"it's", "'tag=it'\\''s'"},
        {"a\\b", "'tag=a\\b'"},
        {"gr\303\266\303\237e", "'tag=gr\303\266\303\237e'"},
        {"\033[2J", "id=UUID"},
        {"a\nb", "id=UUID"},
        {"\xff", "id=UUID"},
        {"\xe2\x80\xae", "id=UUID"},
        {"\\\033[2J", "id=UUID"}, /* a backslash hides nothing */
        {"\\\xff", "id=UUID"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *selector = snapset_format_selector(rows[i].tag);
        g_assert_cmpstr(selector, ==, rows[i].selector);
        if (*selector != '\'')
            continue;
        g_auto(GStrv) words = NULL;
        g_assert_true(g_shell_parse_argv(selector, NULL, &words, NULL));
        g_assert_cmpstr(words[0] + strlen("tag="), ==, rows[i].tag);
    }
}

static void
test_disarm(void)
{
    char text[] = "a\033[2Jb\n\x7f\x01\xc3\xb6";
    char empty[] = "";

    snapset_format_disarm(text);
    g_assert_cmpstr(text, ==, "a?[2Jb???\xc3\xb6");
    snapset_format_disarm(empty);
    g_assert_cmpstr(empty, ==, "");
}

static void
test_names(void)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *none = snapset_format_names(names);
    g_assert_cmpstr(none, ==, "");
    g_ptr_array_add(names, (gpointer) "a.qcow2");
    g_autofree char *one = snapset_format_names(names);
    g_assert_cmpstr(one, ==, "a.qcow2");
    g_ptr_array_add(names, (gpointer) "b\n.qcow2");
    g_autofree char *two = snapset_format_names(names);
    g_assert_cmpstr(two, ==, "a.qcow2, b\\n.qcow2");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/format/date", test_date);
    g_test_add_func("/format/clock", test_clock);
    g_test_add_func("/format/size", test_size);
    g_test_add_func("/format/escaped", test_escaped);
    g_test_add_func("/format/escaped-is-safe", test_escaped_is_safe);
    g_test_add_func("/format/selector", test_selector);
    g_test_add_func("/format/disarm", test_disarm);
    g_test_add_func("/format/names", test_names);
    return g_test_run();
}
