/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See status.h. */
#include "libvirt-hooks/guard/status.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a user's own libvirtd has its run folder. */
static const char *
user_folder(const char **ret_below)
{
    static const char *const variables[][2] = {
        {"XDG_RUNTIME_DIR", ""}, {"XDG_CACHE_HOME", ""}, {"HOME", "/.cache"}};

    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *folder = getenv(variables[i][0]);

        if (!folder || !*folder)
            continue;
        *ret_below = variables[i][1];
        return folder;
    }
    return NULL;
}

void
snapset_status_run_folder(char path[SNAPSET_RUN_FOLDER])
{
    const char *chosen = getenv("SNAPSHOT_SET_RUN_DIR"), *below = "";
    const char *user = geteuid() == 0 ? NULL : user_folder(&below);

    if (chosen && *chosen)
        snprintf(path, SNAPSET_RUN_FOLDER, "%s", chosen);
    else
        snprintf(path, SNAPSET_RUN_FOLDER, "%s%s/snapshot-set", user ? user : "/run", below);
}

static int
open_folder(void)
{
    char path[SNAPSET_RUN_FOLDER + sizeof SNAPSET_GUARDS];

    snapset_status_run_folder(path);
    mkdir(path, 0755);
    strcat(path, SNAPSET_GUARDS);
    mkdir(path, 0755);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

SnapsetStatus *
snapset_status_new(const char *domain, const char *monitor)
{
    SnapsetStatus *status =
        mmap(NULL, sizeof *status, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (status == MAP_FAILED)
        return NULL;
    status->domain = domain;
    status->monitor = monitor;
    status->since = time(NULL);
    status->folder = open_folder();
    return status;
}

void
snapset_status_name(SnapsetStatus *status, pid_t pid)
{
    char before[sizeof status->name];
    size_t length;

    strcpy(before, status->name);
    length = snprintf(status->name, sizeof status->name - 32, "%s", status->domain);
    if (length > sizeof status->name - 33)
        length = sizeof status->name - 33;
    for (char *at = status->name; *at; at++)
        if (*at == '/' || (at == status->name && *at == '.'))
            *at = '_';
    snprintf(status->name + length, 32, "-%d", (int)pid);
    if (before[0])
        renameat(status->folder, before, status->folder, status->name);
}

/* One line of the file: the value on one line, whatever it was. */
static void
put_line(char *text, size_t room, const char *key, const char *value)
{
    size_t length = strlen(text);

    length += snprintf(text + length, room - length, "%s ", key);
    for (; *value && length + 2 < room; value++)
        text[length++] = (unsigned char)*value < ' ' ? ' ' : *value;
    text[length++] = '\n';
    text[length] = '\0';
}

static void
put_time(char *text, size_t room, const char *key, time_t when)
{
    struct tm parts;
    char iso[32];

    gmtime_r(&when, &parts);
    strftime(iso, sizeof iso, "%Y-%m-%dT%H:%M:%SZ", &parts);
    put_line(text, room, key, iso);
}

void
snapset_status_write(const SnapsetStatus *status)
{
    char text[8192] = "", temporary[sizeof status->name + 8];
    bool written;
    int fd;

    if (status->folder < 0)
        return;
    put_line(text, sizeof text - 4096, "domain", status->domain);
    put_time(text, sizeof text - 4096, "since", status->since);
    put_line(text, sizeof text - 2048, "monitor", status->monitor);
    if (status->refused) {
        put_time(text, sizeof text - 1024, "refused", status->refused);
        put_line(text, sizeof text, "reason", status->reason);
    }
    snprintf(temporary, sizeof temporary, ".%s", status->name);
    fd = openat(status->folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    if (written)
        renameat(status->folder, temporary, status->folder, status->name);
}

void
snapset_status_remove(const SnapsetStatus *status)
{
    if (status->folder >= 0)
        unlinkat(status->folder, status->name, 0);
}
