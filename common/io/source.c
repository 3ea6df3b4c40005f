/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person named as an image. */
#include "common/io/source.h"

#include <string.h>

#include "common/core/overlay-name.h"

/*
 * The value of @key in "key=value,key=value", where ",," stands for a comma in a value and the last
 * of several counts (util/qemu-option.c); NULL: not there. Caller frees.
 */
static char *
option_value(const char *options, const char *key)
{
    const char *at = options;
    char *value = NULL;

    while (*at != '\0') {
        GString *item = g_string_new(NULL);
        for (; *at != '\0' && (*at != ',' || at[1] == ','); at++) {
            g_string_append_c(item, *at);
            at += *at == ',';
        }
        at += *at == ',';
        g_autofree char *text = g_string_free(item, FALSE);
        char *equals = strchr(text, '=');
        if (equals != NULL && strlen(key) == (gsize)(equals - text) &&
            strncmp(text, key, equals - text) == 0) {
            g_free(value);
            value = g_strdup(equals + 1);
        }
    }
    return value;
}

static gboolean
parse_options(SnapsetSource *source, GError **error)
{
    g_autofree char *driver = option_value(source->name, "driver");
    g_autofree char *file_driver = option_value(source->name, "file.driver");
    g_autofree char *file = option_value(source->name, "file.filename");
    g_autofree char *plain = option_value(source->name, "filename");

    if (file == NULL && plain == NULL && file_driver == NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "'%s' names no file: --image-opts wants driver=FORMAT,"
                             "file.filename=FILE,...",
                             source->name);
    source->options = g_strdup(source->name);
    if (driver != NULL && source->format == NULL)
        source->format = g_steal_pointer(&driver);
    if (file_driver == NULL || strcmp(file_driver, "file") == 0 ||
        strcmp(file_driver, "host_device") == 0)
        source->path = file != NULL ? g_steal_pointer(&file) : g_steal_pointer(&plain);
    if (source->path != NULL) {
        g_free(source->name);
        source->name = g_strdup(source->path);
    }
    return TRUE;
}

SnapsetSource *
snapset_source_new(const char *name, const char *format, gboolean image_opts, GError **error)
{
    g_autoptr(SnapsetSource) source = g_new0(SnapsetSource, 1);

    source->name = g_strdup(name);
    source->format = g_strdup(format);
    if (*name == '\0') {
        snapset_throw(error, SNAPSET_ERROR_USAGE, "an image name may not be empty");
        return NULL;
    }
    if (image_opts) {
        if (!parse_options(source, error))
            return NULL;
    } else if (g_str_has_prefix(name, "file:")) {
        source->path = g_strdup(name + strlen("file:"));
    } else if (!snapset_overlay_names_protocol(name)) {
        source->path = g_strdup(name);
    }
    return g_steal_pointer(&source);
}

SnapsetSource *
snapset_source_new_file(const char *path, const char *format)
{
    SnapsetSource *source = g_new0(SnapsetSource, 1);

    source->name = g_strdup(path);
    source->path = g_strdup(path);
    source->format = g_strdup(format);
    return source;
}

void
snapset_source_free(SnapsetSource *source)
{
    if (source == NULL)
        return;
    g_free(source->name);
    g_free(source->path);
    g_free(source->options);
    g_free(source->format);
    g_free(source);
}
