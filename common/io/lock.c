/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's image locks, taken as a writer takes them. */
#include "common/io/lock.h"

#include <errno.h>
#include <fcntl.h>

#include "common/io/file.h"

/* Permissions: 0 consistent-read, 1 write, 2 write-unchanged, 3 resize. */
#define USED_BASE 100
#define UNSHARED_BASE 200
#define PERMISSIONS 4

static const int used[] = {0, 1, 3};
static const int unshared[] = {0, 1, 2, 3};

/* "SSET": far from any byte that QEMU or libvirt locks. */
#define OPERATION_BYTE 0x53534554

static int
lock_byte(int fd, int command, short type, off_t byte, struct flock *ret_lock)
{
    *ret_lock = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int result;
    do {
        result = fcntl(fd, command, ret_lock);
    } while (result < 0 && errno == EINTR);
    return result;
}

static gboolean
set_byte(int fd, short type, off_t byte, GError **error)
{
    struct flock lock;

    if (lock_byte(fd, F_OFD_SETLK, type, byte, &lock) == 0)
        return TRUE;
    if (errno == EAGAIN || errno == EACCES)
        return snapset_throw(error, SNAPSET_ERROR_LOCKED, "another process has it open");
    return snapset_throw_errno(error, errno, "the file system does not lock it");
}

static gboolean
test_byte(int fd, off_t byte, GError **error)
{
    struct flock lock;

    if (lock_byte(fd, F_OFD_GETLK, F_WRLCK, byte, &lock) < 0)
        return snapset_throw_errno(error, errno, "the file system does not lock it");
    if (lock.l_type == F_UNLCK)
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_LOCKED, "another process has it open");
}

/* Set first, test second: of two that open at once, at least one sees the other. */
static gboolean
take_qemu_bytes(int fd, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(used); i++) {
        if (!set_byte(fd, F_RDLCK, USED_BASE + used[i], error))
            return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(unshared); i++) {
        if (!set_byte(fd, F_RDLCK, UNSHARED_BASE + unshared[i], error))
            return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(used); i++) {
        if (!test_byte(fd, UNSHARED_BASE + used[i], error))
            return FALSE;
    }
    for (int i = 0; i < PERMISSIONS; i++) {
        if (!test_byte(fd, USED_BASE + i, error))
            return FALSE;
    }
    return TRUE;
}

void
snapset_lock_yield(int fd)
{
    struct flock lock = {.l_type = F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = USED_BASE,
                         .l_len = UNSHARED_BASE + PERMISSIONS - USED_BASE};
    fcntl(fd, F_OFD_SETLK, &lock);
}

gboolean
snapset_lock_resume(int fd, GError **error)
{
    if (take_qemu_bytes(fd, error))
        return TRUE;
    snapset_lock_yield(fd);
    return FALSE;
}

gboolean
snapset_lock_operation(int fd, GError **error)
{
    return set_byte(fd, F_WRLCK, OPERATION_BYTE, error);
}

gboolean
snapset_lock_image(int fd, GError **error)
{
    struct flock lock;

    if (!snapset_lock_operation(fd, error))
        return FALSE;
    if (snapset_lock_resume(fd, error))
        return TRUE;
    lock_byte(fd, F_OFD_SETLK, F_UNLCK, OPERATION_BYTE, &lock);
    return FALSE;
}

gboolean
snapset_lock_is_held(const char *path)
{
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = USED_BASE,
                         .l_len = UNSHARED_BASE + PERMISSIONS - USED_BASE};
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
