/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What overlays are called, and how they name their backing files. */
#include "common/core/overlay-name.h"

#include <string.h>

char *
snapset_overlay_name(const char *base, const char *tag, guint number)
{
    const char *suffix = strrchr(base, '.');
    int length = (int)(suffix != NULL && suffix != base ? (gsize)(suffix - base) : strlen(base));

    return number > 1 ? g_strdup_printf("%.*s.%s-%u", length, base, tag, number)
                      : g_strdup_printf("%.*s.%s", length, base, tag);
}

char *
snapset_overlay_relative(const char *folder, const char *path)
{
    g_auto(GStrv) from = g_strsplit(folder, "/", -1);
    g_auto(GStrv) to = g_strsplit(path, "/", -1);
    GString *name = g_string_new(NULL);
    guint common = 0;

    /* The last part of @path is the file itself. */
    while (from[common] != NULL && to[common + 1] != NULL && strcmp(from[common], to[common]) == 0)
        common++;
    for (char **part = from + common; *part != NULL; part++) {
        if (**part != '\0') /* the root folder splits into two empty parts */
            g_string_append(name, "../");
    }
    if (name->len == 0 && strchr(to[common], ':') != NULL)
        g_string_append(name, "./");
    g_autofree char *rest = g_strjoinv("/", to + common);
    g_string_append(name, rest);
    return g_string_free(name, FALSE);
}

gboolean
snapset_overlay_names_protocol(const char *backing)
{
    return backing[strcspn(backing, ":/")] == ':';
}

gboolean
snapset_overlay_names_relative(const char *backing)
{
    return *backing != '/' && !snapset_overlay_names_protocol(backing);
}
