/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See status.h. */
#include "libvirt-hooks/guard/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void
run_folder(char *path, size_t room)
{
    const char *chosen = getenv("SNAPSHOT_SET_RUN_DIR"), *below = "";
    const char *user = geteuid() == 0 ? NULL : user_folder(&below);

    if (chosen && *chosen)
        snprintf(path, room, "%s", chosen);
    else
        snprintf(path, room, "%s%s/snapshot-set", user ? user : "/run", below);
}

void
snapset_status_open(SnapsetStatus *status, pid_t pid)
{
    char path[4096];
    size_t length;

    run_folder(path, sizeof path - 8);
    mkdir(path, 0755);
    strcat(path, "/guards");
    mkdir(path, 0755);
    status->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    length = snprintf(status->name, sizeof status->name - 32, "%s", status->domain);
    if (length > sizeof status->name - 33)
        length = sizeof status->name - 33;
    for (char *at = status->name; *at; at++)
        if (*at == '/' || (at == status->name && *at == '.'))
            *at = '_';
    snprintf(status->name + length, 32, "-%d", (int)pid);
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

/* ---- printing ---------------------------------------------------------------------------------
 */

static const char *const keys[] = {"domain", "pid", "since", "monitor", "refused", "reason"};
enum {
    KEY_COUNT = sizeof keys / sizeof *keys
};

static void
print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void
print_json(char *const *values, bool first)
{
    printf("%s\n  {", first ? "" : ",");
    for (int i = 0; i < KEY_COUNT; i++) {
        printf("%s\"%s\": ", i ? ", " : "", keys[i]);
        if (!values[i])
            printf("null");
        else if (i == 1)
            printf("%s", values[i]);
        else
            print_json_string(values[i]);
    }
    printf("}");
}

static void
print_row(char *const *values, bool first)
{
    static char *const titles[] = {"DOMAIN", "PID", "SINCE", "", "REFUSED", "REASON"};

    if (first)
        print_row(titles, false);
    printf("%-20s %7s  %-20s  %-20s  %s\n", values[0] ? values[0] : "-", values[1],
           values[2] ? values[2] : "-", values[4] ? values[4] : "-", values[5] ? values[5] : "-");
}

/* Split the file's text into the values of the keys; the file's name tells the process. */
static void
split(char *text, char **values)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strchr(line, ' ');

        if (!value)
            continue;
        *value++ = '\0';
        for (int i = 0; i < KEY_COUNT; i++)
            if (strcmp(keys[i], line) == 0)
                values[i] = value;
    }
}

/* Whether the process @pid is a guard, and not merely waits to be reaped. */
static bool
is_alive(const char *pid)
{
    char path[64], text[256], *name, *state;
    int fd;
    ssize_t got;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    name = strchr(text, '(');
    state = strrchr(text, ')');
    return name && state && strncmp(name, "(snapset-", 9) == 0 && strncmp(state, ") Z", 3) != 0;
}

/* Print the guard of the file @name. False: it is not one that runs. */
static bool
print_one(int folder, const char *name, int json, bool first)
{
    const char *dash = strrchr(name, '-');
    char text[8192], *values[KEY_COUNT] = {NULL};
    ssize_t got;
    int fd;

    if (!dash || name[0] == '.')
        return false;
    if (!is_alive(dash + 1)) {
        unlinkat(folder, name, 0);
        return false;
    }
    fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return false;
    text[got] = '\0';
    split(text, values);
    values[1] = (char *)dash + 1;
    (json ? print_json : print_row)(values, first);
    return true;
}

int
snapset_status_print(int json)
{
    char path[4096];
    struct dirent **entries;
    bool first = true;
    int count, folder;

    run_folder(path, sizeof path - 8);
    strcat(path, "/guards");
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    count = folder < 0 ? 0 : scandirat(folder, ".", &entries, NULL, alphasort);
    printf("%s", json ? "[" : "");
    for (int i = 0; i < count; i++) {
        first &= !print_one(folder, entries[i]->d_name, json, first);
        free(entries[i]);
    }
    if (count > 0)
        free(entries);
    printf("%s", json ? "\n]\n" : "");
    return 0;
}
