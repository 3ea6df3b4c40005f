/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See insert.h. */
#include "libvirt-hooks/guard/insert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 16
};

static int
new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

typedef int Call(int fd, const struct sockaddr *address, socklen_t length);

/* bind() or connect() by a name in the folder. */
static int
call_in_folder(int folder, Call *call, int fd, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int rc, error;

    strncpy(address.sun_path, name, sizeof address.sun_path - 1);
    if (fchdir(folder) != 0)
        return -1;
    rc = call(fd, (struct sockaddr *)&address, sizeof address);
    error = errno;
    if (chdir("/") != 0)
        return -1;
    errno = error;
    return rc;
}

static bool
open_folder(SnapsetPlace *place, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    int length = slash ? slash - path : 0;

    if (!slash || length >= (int)sizeof folder || strlen(slash + 1) >= sizeof place->name ||
        slash[1] == '\0') {
        errno = EINVAL;
        return false;
    }
    snprintf(folder, sizeof folder, "%.*s/", length, path);
    strcpy(place->name, slash + 1);
    place->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return place->folder >= 0;
}

static bool
exists(const SnapsetPlace *place, const char *name, mode_t type)
{
    struct stat status;

    return fstatat(place->folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           (type == 0 || (status.st_mode & S_IFMT) == type);
}

/* Our socket under a name of its own, listening, for its owner only. */
static bool
prepare_socket(SnapsetPlace *place, const char *name)
{
    mode_t mask = umask(077);
    struct stat status;
    int rc;

    place->listener = new_socket();
    rc = place->listener < 0 ? -1 : call_in_folder(place->folder, bind, place->listener, name);
    umask(mask);
    if (rc != 0 || listen(place->listener, BACKLOG) != 0 ||
        fstatat(place->folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    place->inode = status.st_ino;
    return true;
}

static bool
swap(const SnapsetPlace *place, const char *ours)
{
    if (renameat(place->folder, place->name, place->folder, SNAPSET_QEMU_SOCKET) != 0)
        return false;
    if (renameat(place->folder, ours, place->folder, place->name) == 0)
        return true;
    snapset_place_give_back(place);
    return false;
}

bool
snapset_place_take(SnapsetPlace *place, const char *path, const char **ret_why)
{
    char ours[64];

    *place = (SnapsetPlace){.folder = -1, .listener = -1};
    *ret_why = "cannot open its folder";
    if (!open_folder(place, path))
        return false;
    *ret_why = "it is no socket";
    errno = ENOTSOCK;
    if (!exists(place, place->name, S_IFSOCK))
        return false;
    *ret_why = "it is guarded already";
    errno = EEXIST;
    if (exists(place, SNAPSET_QEMU_SOCKET, 0))
        return false;
    snprintf(ours, sizeof ours, ".snapshot-set-%d", (int)getpid());
    *ret_why = "cannot put a socket beside it";
    if (prepare_socket(place, ours) && swap(place, ours))
        return true;
    int error = errno;
    unlinkat(place->folder, ours, 0);
    errno = error;
    return false;
}

void
snapset_place_give_back(const SnapsetPlace *place)
{
    renameat(place->folder, SNAPSET_QEMU_SOCKET, place->folder, place->name);
}

bool
snapset_place_is_ours(const SnapsetPlace *place)
{
    struct stat status;

    return fstatat(place->folder, place->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           status.st_ino == place->inode;
}

void
snapset_place_remove(const SnapsetPlace *place)
{
    if (!snapset_place_is_ours(place))
        return;
    unlinkat(place->folder, place->name, 0);
    unlinkat(place->folder, SNAPSET_QEMU_SOCKET, 0);
}

int
snapset_place_connect(const SnapsetPlace *place)
{
    int fd = new_socket(), error;

    if (fd < 0 || call_in_folder(place->folder, connect, fd, SNAPSET_QEMU_SOCKET) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}
