/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the real qemu-img is, when a program of ours called qemu-img may stand before it. */
#include "common/io/find-qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linkers put notes right after the program headers; a dispatcher's mark ends before this. */
#define MARK_AREA 4096

bool
snapset_next_directory(const char **list, char ret_directory[static PATH_MAX])
{
    while (*list && **list) {
        const char *element = *list;
        size_t length = strcspn(element, ":");
        *list = element + length + (element[length] == ':');
        if (element[0] == '/' && length < PATH_MAX) {
            memcpy(ret_directory, element, length);
            ret_directory[length] = '\0';
            return true;
        }
    }
    return false;
}

int
snapset_own_directory(char ret_directory[static PATH_MAX])
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        return -1;
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    memcpy(ret_directory, path, strlen(path) + 1);
    return 0;
}

bool
snapset_is_executable(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && eaccess(path, X_OK) == 0;
}

static bool
is_running_program(const struct stat *file)
{
    struct stat self;
    return stat("/proc/self/exe", &self) == 0 && self.st_dev == file->st_dev &&
           self.st_ino == file->st_ino;
}

static bool
has_mark(int fd)
{
    char head[MARK_AREA];
    ssize_t length = read(fd, head, sizeof head);
    return length > 0 &&
           memmem(head, length, SNAPSET_DISPATCHER_MARK, sizeof SNAPSET_DISPATCHER_MARK) != NULL;
}

/* A file that cannot be read cannot be told by its mark; the running program always can. */
static bool
is_dispatcher(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
        return false;
    if (is_running_program(&status))
        return true;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return false;
    bool marked = has_mark(fd);
    close(fd);
    return marked;
}

static bool
find_in(const char *directory, char ret_path[static PATH_MAX])
{
    static const char *const names[] = {"qemu-img.real", "qemu-img"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        if (length < PATH_MAX && snapset_is_executable(path) && !is_dispatcher(path)) {
            memcpy(ret_path, path, length + 1);
            return true;
        }
    }
    return false;
}

int
snapset_find_qemu_img(char ret_path[static PATH_MAX])
{
    const char *given = getenv("SNAPSHOT_SET_QEMU_IMG");
    if (given && given[0] == '/' && strlen(given) < PATH_MAX && !is_dispatcher(given)) {
        memcpy(ret_path, given, strlen(given) + 1);
        return 0;
    }
    const char *list = getenv("PATH");
    char directory[PATH_MAX];
    while (snapset_next_directory(&list, directory)) {
        if (find_in(directory, ret_path))
            return 0;
    }
    if (find_in("/usr/bin", ret_path))
        return 0;
    errno = ENOENT;
    return -1;
}
