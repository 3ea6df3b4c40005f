/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files: descriptors, whole reads and writes, the folders of our state. */
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void
snapset_close(SnapsetFd fd)
{
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
}

gboolean
snapset_file_status(int fd, SnapsetFileStatus *ret_status, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return snapset_throw_errno(error, errno, "cannot stat");
    SnapsetFileStatus status = {
        .device = st.st_dev,
        .inode = st.st_ino,
        .size = st.st_size,
        .mtime = st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000,
        .is_regular = S_ISREG(st.st_mode),
        .is_block = S_ISBLK(st.st_mode),
    };
    if (status.is_block) {
        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0)
            return snapset_throw_errno(error, errno, "cannot find the size of the device");
        status.device = st.st_rdev;
        status.inode = 0;
        status.size = end;
    }
    *ret_status = status;
    return TRUE;
}

gboolean
snapset_pread(int fd, void *buffer, gsize size, guint64 offset, gsize *ret_read, GError **error)
{
    gssize got;

    if (offset > (guint64)G_MAXINT64 - size) { /* past any end */
        *ret_read = 0;
        return TRUE;
    }
    do {
        got = pread(fd, buffer, size, offset);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return snapset_throw_errno(error, errno, "cannot read");
    *ret_read = got;
    return TRUE;
}

gboolean
snapset_pwrite_synced(int fd, GBytes *bytes, guint64 offset, GError **error)
{
    gsize size = 0;
    const guint8 *data = g_bytes_get_data(bytes, &size);

    while (size > 0) {
        gssize put = pwrite(fd, data, size, offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return snapset_throw_errno(error, errno, "cannot write");
        data += put;
        offset += put;
        size -= put;
    }
    if (fdatasync(fd) < 0)
        return snapset_throw_errno(error, errno, "cannot write to disk");
    return TRUE;
}

/* ---- names in folders ---- */

SnapsetFd
snapset_file_make(const char *path, guint owner, guint group, GError **error)
{
    g_auto(SnapsetFd) fd =
        open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);

    if (fd < 0) {
        snapset_throw_errno(error, errno, "cannot make '%s'", path);
        return -1;
    }
    if (geteuid() == 0 && fchown(fd, owner, group) < 0) {
        snapset_throw_errno(error, errno, "cannot give '%s' to its owner", path);
        unlink(path);
        return -1;
    }
    return snapset_steal_fd(&fd);
}

static gboolean
sync_folder_of(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_auto(SnapsetFd) fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return snapset_throw_errno(error, errno, "cannot write folder '%s' to disk", folder);
    return TRUE;
}

gboolean
snapset_file_publish(const char *temporary, const char *path, GError **error)
{
    gboolean done = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0;

    /* Not every file system can; network ones have links instead. */
    if (!done && (errno == EINVAL || errno == ENOSYS))
        done = link(temporary, path) == 0 && unlink(temporary) == 0;
    if (!done)
        return snapset_throw_errno(error, errno, "cannot make '%s'", path);
    return sync_folder_of(path, error);
}

gboolean
snapset_file_is(const char *path, guint64 inode, gboolean *ret_is_there)
{
    struct stat st;

    *ret_is_there = lstat(path, &st) == 0;
    return *ret_is_there && S_ISREG(st.st_mode) && st.st_ino == inode;
}

gboolean
snapset_file_remove(const char *path, GError **error)
{
    if (unlink(path) == 0)
        return sync_folder_of(path, error);
    return errno == ENOENT || snapset_throw_errno(error, errno, "cannot remove '%s'", path);
}

/* ---- our state ---- */

char *
snapset_state_dir(gboolean create, GError **error)
{
    const char *named = g_getenv("SNAPSHOT_SET_STATE_DIR");
    g_autofree char *dir = NULL;

    if (named != NULL && *named != '\0')
        dir = g_strdup(named);
    else if (geteuid() == 0)
        dir = g_strdup(SNAPSET_SYSTEM_STATE_DIR);
    else
        dir = g_build_filename(g_get_user_state_dir(), "snapshot-set", NULL);
    if (create && g_mkdir_with_parents(dir, 0700) < 0) {
        snapset_throw_errno(error, errno, "cannot make the state folder '%s'", dir);
        return NULL;
    }
    return g_steal_pointer(&dir);
}
