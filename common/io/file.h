/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files: descriptors that close themselves, whole reads and writes, and the folders of our state.
 *
 * snapset_pwrite_synced() is the one place that writes into an image.
 */
#pragma once

#include <gio/gio.h>

#include "common/core/bytes.h"
#include "common/core/error.h"

/* A descriptor that g_auto(SnapsetFd) closes; start with -1. */
typedef int SnapsetFd;

/* Close, keeping errno; -1 is nothing to close. */
void snapset_close(SnapsetFd fd);
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(SnapsetFd, snapset_close, -1)

/* Take the descriptor out of a g_auto variable. */
static inline int
snapset_steal_fd(SnapsetFd *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/* What tells two names of one file apart: a block device is known by its number. */
typedef struct {
    guint64 device, inode;
    guint64 size; /* bytes; of a block device too */
    gint64 mtime; /* microseconds since 1970 */
    gboolean is_regular, is_block;
} SnapsetFileStatus;

/* fstat(), and the size of a block device. FALSE with SNAPSET_ERROR_FAILED. */
gboolean snapset_file_status(int fd, SnapsetFileStatus *ret_status, GError **error);

/*
 * Read @size bytes at @offset, or fewer: *ret_read says how many. Fewer means the end of the file
 * on any local disk; who depends on it asks once more for what is missing.
 */
gboolean snapset_pread(int fd, void *buffer, gsize size, guint64 offset, gsize *ret_read,
                       GError **error);

/* Write all of @bytes at @offset and return once they are on disk (fdatasync). */
gboolean snapset_pwrite_synced(int fd, GBytes *bytes, guint64 offset, GError **error);

/*
 * Make the new, empty file @path, which none may be there yet, for nobody but its owner to read:
 * as root that is @owner and @group. Open for reading and writing when returned; -1 on failure.
 */
SnapsetFd snapset_file_make(const char *path, guint owner, guint group, GError **error);

/* Give the file @temporary its name @path, which nothing may have yet. On disk when TRUE. */
gboolean snapset_file_publish(const char *temporary, const char *path, GError **error);

/*
 * Is @path the regular file of that inode? Device numbers need not survive a restart of the host.
 * *ret_is_there tells whether anything is there.
 */
gboolean snapset_file_is(const char *path, guint64 inode, gboolean *ret_is_there);

/* Remove @path; no failure when it is gone already. On disk when TRUE. */
gboolean snapset_file_remove(const char *path, GError **error);

/*
 * The folder of our state: $SNAPSHOT_SET_STATE_DIR, else /var/lib/snapshot-set for root, else the
 * user's own. Made when missing if @create. Caller frees; NULL on failure.
 */
char *snapset_state_dir(gboolean create, GError **error);
