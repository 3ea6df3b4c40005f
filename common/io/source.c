/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person named as an image. */
#include "common/io/source.h"

#include <string.h>

#include "common/core/overlay-name.h"

/*
 * The next "key=value" of *at, which is moved on: a comma ends it, and ",," stands for one
 * (util/qemu-option.c).
 */
static char *
next_option(const char **at)
{
    GString *option = g_string_new(NULL);

    for (; **at != '\0' && (**at != ',' || (*at)[1] == ','); (*at)++) {
        g_string_append_c(option, **at);
        *at += **at == ',';
    }
    *at += **at == ',';
    return g_string_free(option, FALSE);
}

/* The options that parse_options() understands; of several the last counts. */
typedef struct {
    char *driver, *file_driver, *file, *filename;
    gboolean others;
} Options;

static void
options_clear(Options *options)
{
    g_free(options->driver);
    g_free(options->file_driver);
    g_free(options->file);
    g_free(options->filename);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static void
read_options(Options *options, const char *text)
{
    struct {
        const char *key;
        char **value;
    } const known[] = {
        {"driver=", &options->driver},
        {"file.driver=", &options->file_driver},
        {"file.filename=", &options->file},
        {"filename=", &options->filename},
    };

    while (*text != '\0') {
        g_autofree char *option = next_option(&text);
        gsize i = 0;
        while (i < G_N_ELEMENTS(known) && !g_str_has_prefix(option, known[i].key))
            i++;
        if (i == G_N_ELEMENTS(known)) {
            options->others = TRUE;
            continue;
        }
        g_free(*known[i].value);
        *known[i].value = g_strdup(option + strlen(known[i].key));
    }
}

static gboolean
is_file_driver(const char *driver)
{
    return strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0;
}

static gboolean
parse_options(SnapsetSource *source, GError **error)
{
    g_auto(Options) options = {0};

    read_options(&options, source->name);
    if (options.file == NULL && options.filename == NULL && options.file_driver == NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "'%s' names no file: --image-opts wants driver=FORMAT,"
                             "file.filename=FILE,...",
                             source->name);
    source->options = g_strdup(source->name);
    source->has_other_options = options.others;
    if (options.driver != NULL && source->format == NULL) /* a file's driver takes it as it is */
        source->format = g_strdup(is_file_driver(options.driver) ? "raw" : options.driver);
    if (options.file_driver == NULL || is_file_driver(options.file_driver))
        source->path = g_strdup(options.file != NULL ? options.file : options.filename);
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
