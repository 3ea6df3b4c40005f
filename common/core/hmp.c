/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A line of QEMU's human monitor, split as QEMU splits it. */
#include "common/core/hmp.h"

#include <string.h>

/* isspace(3), whatever the locale; g_ascii_isspace() leaves out the vertical tab. */
static gboolean
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *
skip_blanks(const char *at)
{
    while (is_blank(*at))
        at++;
    return at;
}

/* QEMU ends a name at a blank or at a slash. */
static char *
take_name(const char **at)
{
    const char *start = skip_blanks(*at);
    const char *end = start;

    while (*end != '\0' && *end != '/' && !is_blank(*end))
        end++;
    *at = end;
    gsize length = MIN((gsize)(end - start), SNAPSET_HMP_NAME_SIZE - 1);
    return g_strndup(start, length);
}

/* The character that a backslash and @escape stand for; 0: QEMU rejects it. */
static char
unescape(char escape)
{
    switch (escape) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case '\\':
    case '\'':
    case '"':
        return escape;
    default:
        return 0;
    }
}

/* The word after an opening quote, and @at past the closing one; NULL when QEMU rejects it. */
static char *
take_quoted(const char **at)
{
    g_autoptr(GString) word = g_string_new(NULL);
    const char *end = *at;

    for (; *end != '\0' && *end != '"'; end++) {
        char c = *end;
        if (c == '\\') {
            c = unescape(*++end);
            if (c == 0)
                return NULL;
        }
        if (word->len < SNAPSET_HMP_WORD_SIZE - 1)
            g_string_append_c(word, c);
    }
    if (*end != '"')
        return NULL;
    *at = end + 1;
    return g_string_free(g_steal_pointer(&word), FALSE);
}

static char *
take_bare(const char **at)
{
    const char *end = *at;

    while (*end != '\0' && !is_blank(*end))
        end++;
    char *word = g_strndup(*at, MIN(end - *at, SNAPSET_HMP_WORD_SIZE - 1));
    *at = end;
    return word;
}

void
snapset_hmp_parse(const char *line, char **ret_name, char ***ret_words)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    const char *at = line;

    *ret_name = take_name(&at);
    *ret_words = NULL;
    /* what follows a slash is a word like any other */
    for (at = skip_blanks(at); *at != '\0'; at = skip_blanks(at)) {
        gboolean quoted = *at == '"';
        at += quoted;
        char *word = quoted ? take_quoted(&at) : take_bare(&at);
        if (word == NULL)
            return;
        g_ptr_array_add(words, word);
    }
    g_ptr_array_add(words, NULL);
    *ret_words = (char **)g_ptr_array_free(g_steal_pointer(&words), FALSE);
}
