/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of the human monitor, as QEMU splits them (monitor/hmp.c); the case `arguments` of
 * tests/guard/real.py compares such lines with a real QEMU.
 */
#include "common/core/hmp.h"

#include <string.h>

/* "name|word|word"; "name!" when QEMU cannot read the words. */
static char *
split(const char *line)
{
    g_autofree char *name = NULL;
    g_auto(GStrv) words = NULL;

    snapset_hmp_parse(line, &name, &words);
    if (words == NULL)
        return g_strconcat(name, "!", NULL);
    g_autofree char *joined = g_strjoinv("|", words);
    return words[0] != NULL ? g_strconcat(name, "|", joined, NULL) : g_steal_pointer(&name);
}

static const struct {
    const char *name, *line, *want;
} rows[] = {
    {"empty", "", ""},
    {"bare", "savevm", "savevm"},
    {"word", "savevm b", "savevm|b"},
    {"blanks", " \t savevm\v\f b \n", "savevm|b"},
    {"quoted", "savevm \"b\"", "savevm|b"},
    {"quoted-blank", "savevm \"a b\"", "savevm|a b"},
    {"empty-word", "savevm \"\"", "savevm|"},
    {"escapes", "savevm \"\\\"\\'\\\\\\n\\r\"", "savevm|\"'\\\n\r"},
    {"utf-8", "savevm \"\303\251\"", "savevm|\303\251"},
    {"slash", "savevm/x y", "savevm|/x|y"},
    {"two", "savevm a b", "savevm|a|b"},
    {"joined-words", "delvm \"a\"b", "delvm|a|b"},
    {"quote-inside", "delvm a\"b c\"", "delvm|a\"b|c\""},
    {"unknown-escape", "savevm \"a\\b\"", "savevm!"},
    {"escaped-end", "savevm \"a\\\"", "savevm!"},
    {"no-end", "savevm \"a", "savevm!"},
    {"no-end-later", "savevm \"a\"b\"", "savevm|a|b\""},
    {"backslash-outside", "savevm a\\b", "savevm|a\\b"},

    /* where a name ends */
    {"only-blanks", " \t\v\f\r\n", ""},
    {"tab", "savevm\tx", "savevm|x"},
    {"line-feed", "savevm\nx", "savevm|x"},
    {"carriage-return", "savevm\rx", "savevm|x"},
    {"form-feed", "savevm\fx", "savevm|x"},
    {"vertical-tab", "savevm\vx", "savevm|x"}, /* passed for another command once */
    {"slash-and-blank", "savevm/ y", "savevm|/|y"},
    {"slash-alone", "savevm/", "savevm|/"},
    {"slash-first", "/savevm x", "|/savevm|x"},
    {"quote-in-name", "savevm\"x\"", "savevm\"x\""},
    {"name-in-quotes", "\"savevm\" x", "\"savevm\"|x"},
    {"no-break-space", "savevm\xc2\xa0x", "savevm\xc2\xa0x"},
    {"upper-case", "SAVEVM x", "SAVEVM|x"},

    /* words */
    {"word-ends-at-vertical-tab", "savevm x\vy", "savevm|x|y"},
    {"word-with-slash", "savevm a/b", "savevm|a/b"},
    {"word-in-single-quotes", "savevm 'x y'", "savevm|'x|y'"},
    {"word-not-utf-8", "savevm \xff\xc0\x80", "savevm|\xff\xc0\x80"},
    {"word-dash", "savevm -n", "savevm|-n"},
    {"quoted-after-slash-is-a-word", "savevm/\"x y\"", "savevm|/\"x|y\""},
    {"quoted-line-feed", "savevm \"x\ny\"", "savevm|x\ny"},
    {"escaped-backslash-at-end", "savevm \"x\\\\\"", "savevm|x\\"},

    /* what QEMU does not read */
    {"no-end-empty", "savevm \"", "savevm!"},
    {"no-end-in-escape", "savevm \"x\\", "savevm!"},
    {"escaped-tab", "savevm \"x\\ty\"", "savevm!"},
    {"escaped-zero", "savevm \"\\0\"", "savevm!"},
    {"escaped-blank", "savevm \"\\ \"", "savevm!"},
    {"no-end-of-second", "savevm x \"y", "savevm!"},
};

static void
test_row(gconstpointer data)
{
    const char *const *row = data;
    g_autofree char *got = split(row[1]);

    g_assert_cmpstr(got, ==, row[2]);
}

static void
expect_name_length(gsize given, gsize want)
{
    g_autofree char *line = g_strnfill(given, 'x');
    g_autofree char *got = split(line);

    g_assert_cmpuint(strlen(got), ==, want);
}

/* Longer names and words are cut where QEMU's buffers end. */
static void
test_long(void)
{
    expect_name_length(SNAPSET_HMP_NAME_SIZE - 1, SNAPSET_HMP_NAME_SIZE - 1);
    expect_name_length(SNAPSET_HMP_NAME_SIZE, SNAPSET_HMP_NAME_SIZE - 1);
    expect_name_length(60000, SNAPSET_HMP_NAME_SIZE - 1);
    g_autofree char *long_word = g_strnfill(3000, 'x');
    g_autofree char *bare = g_strconcat("savevm ", long_word, NULL);
    g_autofree char *quoted = g_strconcat("savevm \"", long_word, "\" y", NULL);
    g_autofree char *cut = g_strnfill(SNAPSET_HMP_WORD_SIZE - 1, 'x');
    g_autofree char *want = g_strconcat("savevm|", cut, NULL);
    g_autofree char *want_two = g_strconcat(want, "|y", NULL);

    g_autofree char *got = split(bare);
    g_assert_cmpstr(got, ==, want);
    g_autofree char *got_two = split(quoted);
    g_assert_cmpstr(got_two, ==, want_two);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/hmp/", rows[i].name, NULL);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/hmp/long", test_long);
    return g_test_run();
}
