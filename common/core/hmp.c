/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A line of QEMU's human monitor, split as QEMU splits it. */
#include "common/core/hmp.h"

#include <string.h>

static const char *
skip_blanks(const char *at)
{
    while (*at != '\0' && g_ascii_isspace(*at))
        at++;
    return at;
}

/* QEMU ends a name at a blank or at a slash. */
static char *
take_name(const char **at)
{
    const char *start = skip_blanks(*at);
    const char *end = start;

    while (*end != '\0' && *end != '/' && !g_ascii_isspace(*end))
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

/* The word after an opening quote; NULL when QEMU rejects it. */
static char *
take_quoted(const char *at)
{
    g_autoptr(GString) word = g_string_new(NULL);

    for (; *at != '\0' && *at != '"'; at++) {
        char c = *at;
        if (c == '\\') {
            c = unescape(*++at);
            if (c == 0)
                return NULL;
        }
        if (word->len < SNAPSET_HMP_WORD_SIZE - 1)
            g_string_append_c(word, c);
    }
    if (*at != '"')
        return NULL;
    return g_string_free(g_steal_pointer(&word), FALSE);
}

gboolean
snapset_hmp_parse(const char *line, char **ret_name, char **ret_argument)
{
    const char *at = line;
    g_autofree char *name = take_name(&at);
    g_autofree char *argument = NULL;

    at = skip_blanks(at); /* what follows a slash is an argument like any other */
    if (*at == '"') {
        argument = take_quoted(at + 1);
        if (argument == NULL)
            return FALSE;
    } else if (*at != '\0') {
        gsize length = strcspn(at, " \t\n\v\f\r");
        argument = g_strndup(at, MIN(length, SNAPSET_HMP_WORD_SIZE - 1));
    }
    *ret_name = g_steal_pointer(&name);
    *ret_argument = g_steal_pointer(&argument);
    return TRUE;
}
