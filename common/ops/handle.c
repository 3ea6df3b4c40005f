/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One image file on this host: where it is, and its lock. */
#include "common/ops/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/format.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"

gboolean
snapset_name_error(GError **error, const char *filename)
{
    g_autofree char *quoted = snapset_format_quoted(filename);
    g_prefix_error(error, "%s: ", quoted);
    return FALSE;
}

char *
snapset_path_beside(const char *named, const char *path)
{
    g_autofree char *beside = g_path_get_dirname(named);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    char *real = realpath(beside, NULL);
    gboolean is_same = g_strcmp0(real, folder) == 0;

    free(real);
    if (!is_same)
        return g_strdup(path);
    return strchr(named, '/') == NULL ? g_steal_pointer(&name)
                                      : g_build_filename(beside, name, NULL);
}

SnapsetHandle *
snapset_handle_new(const SnapsetSource *source)
{
    SnapsetHandle *handle = g_new0(SnapsetHandle, 1);
    handle->source = source;
    handle->fd = -1;
    return handle;
}

void
snapset_handle_free(SnapsetHandle *handle)
{
    if (handle == NULL)
        return;
    g_free(handle->path);
    snapset_source_free(handle->own_source);
    snapset_close(handle->fd);
    g_free(handle);
}

gboolean
snapset_handle_open_file(SnapsetHandle *handle, GError **error)
{
    g_autofree char *resolved = NULL;
    char *path = realpath(handle->source->path, NULL);

    if (path == NULL)
        return snapset_throw_errno(error, errno, "cannot open");
    resolved = g_strdup(path);
    free(path);
    handle->fd = open(resolved, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (handle->fd < 0)
        return snapset_throw_errno(error, errno, "cannot open for writing");
    SnapsetFileStatus status;
    if (!snapset_file_status(handle->fd, &status, error))
        return FALSE;
    handle->is_block = status.is_block;
    handle->path = g_steal_pointer(&resolved);
    return TRUE;
}

SnapsetHandle *
snapset_handle_open(const SnapsetSource *source, GError **error)
{
    g_autoptr(SnapsetHandle) handle = snapset_handle_new(source);

    if (!snapset_handle_open_file(handle, error) || !snapset_lock_image(handle->fd, error))
        return NULL;
    return g_steal_pointer(&handle);
}

SnapsetQemuTarget
snapset_handle_target(const SnapsetHandle *handle)
{
    return (SnapsetQemuTarget){handle->path, handle->source->options, handle->is_block};
}

/* ---- backing files ---- */

/* Is what is there now, under the lock, what the chain was read as? */
static gboolean
is_unchanged(const SnapsetHandle *handle, const SnapsetImage *read, GError **error)
{
    SnapsetFileStatus status;

    if (!snapset_file_status(handle->fd, &status, error))
        return FALSE;
    gboolean same = status.device == read->device && status.inode == read->inode;
    if (same && read->header != NULL) {
        g_autoptr(SnapsetImage) now =
            snapset_image_read_fd(handle->fd, read->filename, SNAPSET_READ_NEWEST, NULL, error);
        if (now == NULL)
            return FALSE;
        same = now->sealed == read->sealed && (now->ledger != NULL) == (read->ledger != NULL) &&
               (now->ledger == NULL || now->ledger->sequence == read->ledger->sequence) &&
               g_strcmp0(now->backing_filename, read->backing_filename) == 0;
    }
    return same || snapset_throw(error, SNAPSET_ERROR_CHANGING, "it has just been changed");
}

SnapsetHandle *
snapset_handle_open_link(const SnapsetImage *read, GError **error)
{
    SnapsetSource *source = snapset_source_new_file(read->filename, read->format);
    g_autoptr(SnapsetHandle) handle = snapset_handle_new(source);

    handle->own_source = source;
    if (snapset_handle_open_file(handle, error) && snapset_lock_image(handle->fd, error) &&
        is_unchanged(handle, read, error))
        return g_steal_pointer(&handle);
    snapset_name_error(error, read->filename);
    return NULL;
}
