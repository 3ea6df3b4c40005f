/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as people read them. */
#include "common/core/format.h"

#include <string.h>
#include <time.h>

void
snapset_format_date(guint32 seconds, char text[SNAPSET_DATE_TEXT_SIZE])
{
    time_t when = seconds;
    struct tm local;

    if (localtime_r(&when, &local) == NULL ||
        strftime(text, SNAPSET_DATE_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &local) == 0)
        g_strlcpy(text, "-", SNAPSET_DATE_TEXT_SIZE);
}

void
snapset_format_clock(guint64 nanoseconds, char text[SNAPSET_DATE_TEXT_SIZE])
{
    guint64 seconds = nanoseconds / 1000000000;
    g_snprintf(text, SNAPSET_DATE_TEXT_SIZE, "%02" G_GUINT64_FORMAT ":%02u:%02u.%03u",
               seconds / 3600, (guint)(seconds / 60 % 60), (guint)(seconds % 60),
               (guint)(nanoseconds / 1000000 % 1000));
}

void
snapset_format_size(guint64 bytes, char text[SNAPSET_SIZE_TEXT_SIZE])
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    gsize unit = 0;
    double value = bytes;

    /* Like QEMU, change the unit before a fourth digit is needed. */
    while (value >= 1000.0 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_formatd(number, sizeof number, "%0.3g", value);
    g_snprintf(text, SNAPSET_SIZE_TEXT_SIZE, "%s %sB", number, units[unit]);
}

static void
append_byte(GString *out, guint8 byte)
{
    switch (byte) {
    case '\n':
        g_string_append(out, "\\n");
        break;
    case '\t':
        g_string_append(out, "\\t");
        break;
    case '\\':
        g_string_append(out, "\\\\");
        break;
    default:
        g_string_append_printf(out, "\\x%02x", byte);
        break;
    }
}

char *
snapset_format_escaped(const char *text)
{
    GString *out = g_string_sized_new(strlen(text));

    while (*text != '\0') {
        gunichar c = g_utf8_get_char_validated(text, -1);
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            append_byte(out, *text++);
        } else if (c == '\\' || g_unichar_iscntrl(c) || g_unichar_type(c) == G_UNICODE_FORMAT ||
                   g_unichar_type(c) == G_UNICODE_LINE_SEPARATOR ||
                   g_unichar_type(c) == G_UNICODE_PARAGRAPH_SEPARATOR) {
            const char *end = g_utf8_next_char(text);
            while (text < end)
                append_byte(out, *text++);
        } else {
            g_string_append_unichar(out, c);
            text = g_utf8_next_char(text);
        }
    }
    return g_string_free(out, FALSE);
}

char *
snapset_format_quoted(const char *text)
{
    g_autofree char *escaped = snapset_format_escaped(text);
    return g_strdup_printf("'%s'", escaped);
}

char *
snapset_format_selector(const char *tag)
{
    g_autofree char *escaped = snapset_format_escaped(tag);
    g_autofree char *selector = g_strconcat("tag=", tag, NULL);
    g_auto(GStrv) parts = g_strsplit(tag, "\\", -1);
    g_autofree char *doubled = g_strjoinv("\\\\", parts);

    /* A backslash is doubled in the escaped form, and harmless in quotes. */
    if (strcmp(escaped, doubled) != 0)
        return g_strdup("id=UUID");
    return g_shell_quote(selector);
}

void
snapset_format_disarm(char *text)
{
    for (; *text != '\0'; text++) {
        if (g_ascii_iscntrl(*text))
            *text = '?';
    }
}

char *
snapset_format_names(GPtrArray *names)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *name = snapset_format_escaped(names->pdata[i]);
        g_string_append_printf(out, "%s%s", i > 0 ? ", " : "", name);
    }
    return g_string_free(out, FALSE);
}
