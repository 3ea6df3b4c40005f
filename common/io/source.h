/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person named as an image, with the options that qemu-img needs to open it. */
#pragma once

#include <glib.h>

#include "common/core/error.h"

/* One image as named: a file name, or with --image-opts a string of options. */
typedef struct {
    char *name;    /* as given; of --image-opts the file's name, if it is a local one */
    char *path;    /* the local file it is about; NULL: not a local file */
    char *options; /* for qemu-img --image-opts; NULL: made from the path */
    char *format;  /* -f; NULL: found out */
    gboolean has_other_options; /* in @options, beside those that name file and format */
} SnapsetSource;

/*
 * Names follow QEMU's rules: a colon before the first slash makes a protocol ("nbd:...",
 * "json:{...}"), which is not a local file, except for "file:". With @image_opts, @name is
 * "driver=...,file.filename=...". FALSE with SNAPSET_ERROR_USAGE when it makes no sense.
 */
SnapsetSource *snapset_source_new(const char *name, const char *format, gboolean image_opts,
                                  GError **error);

/* The local file or block device @path of @format, whatever its name looks like; both copied. */
SnapsetSource *snapset_source_new_file(const char *path, const char *format);
void snapset_source_free(SnapsetSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetSource, snapset_source_free)
