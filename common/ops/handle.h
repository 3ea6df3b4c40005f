/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One image file on this host: where it is, and its lock. */
#pragma once

#include "common/io/file.h"
#include "common/io/qemu-img.h"
#include "common/io/source.h"

typedef struct {
    const SnapsetSource *source;
    SnapsetSource *own_source; /* the same, if nobody else keeps it; else NULL */
    char *path;                /* absolute, links resolved; NULL: not a local file */
    SnapsetFd fd;              /* open read-write and locked; -1: not for writing */
    gboolean is_block;
} SnapsetHandle;

/* A handle that is not open; borrows @source. */
SnapsetHandle *snapset_handle_new(const SnapsetSource *source);

/* Open @handle for writing; from then on no link may stand in the file's place. */
gboolean snapset_handle_open_file(SnapsetHandle *handle, GError **error);

/* A handle for a local image, open read-write and locked. NULL with SNAPSET_ERROR_LOCKED, ... */
SnapsetHandle *snapset_handle_open(const SnapsetSource *source, GError **error);
void snapset_handle_free(SnapsetHandle *handle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetHandle, snapset_handle_free)

/* The handle as qemu-img wants it; borrows from the handle. */
SnapsetQemuTarget snapset_handle_target(const SnapsetHandle *handle);

/*
 * The same for the backing file that was read as @read, which must still be that. NULL with
 * SNAPSET_ERROR_LOCKED, SNAPSET_ERROR_CHANGING, ..., naming the file.
 */
SnapsetHandle *snapset_handle_open_link(const SnapsetImage *read, GError **error);

/*
 * How somebody who called an image @named would call the file @path, absolute and real: by its
 * bare name, or through the same folder, if it is in that; else by all of it. Caller frees.
 */
char *snapset_path_beside(const char *named, const char *path);

/* Put an image's name before the error's message. Returns FALSE. */
gboolean snapset_name_error(GError **error, const char *filename);
