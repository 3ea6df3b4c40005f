/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A line of the human monitor: it falls into words that, quoted again, fall into the same words. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/core/hmp.h"

/* The word in quotes, as QEMU's help tells people to write it. */
static void
append_quoted(GString *line, const char *word)
{
    g_string_append(line, " \"");
    for (; *word != '\0'; word++) {
        if (*word == '\n' || *word == '\r') {
            g_string_append(line, *word == '\n' ? "\\n" : "\\r");
            continue;
        }
        if (*word == '"' || *word == '\\')
            g_string_append_c(line, '\\');
        g_string_append_c(line, *word);
    }
    g_string_append_c(line, '"');
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *line = g_strndup((const char *)data, size);
    g_autofree char *name = NULL;
    g_auto(GStrv) words = NULL;

    snapset_hmp_parse(line, &name, &words);
    g_assert(strlen(name) < SNAPSET_HMP_NAME_SIZE);
    g_assert(strpbrk(name, " \t\n\v\f\r/") == NULL);
    if (words == NULL || *name == '\0')
        return 0;
    g_autoptr(GString) quoted = g_string_new(name);
    for (gsize i = 0; words[i] != NULL; i++) {
        g_assert(strlen(words[i]) < SNAPSET_HMP_WORD_SIZE);
        append_quoted(quoted, words[i]);
    }
    g_autofree char *name_again = NULL;
    g_auto(GStrv) again = NULL;
    snapset_hmp_parse(quoted->str, &name_again, &again);
    g_assert(strcmp(name, name_again) == 0);
    g_assert(again != NULL && g_strv_equal((const char *const *)words, (const char *const *)again));
    return 0;
}
