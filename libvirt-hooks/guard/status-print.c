/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listing the guards that run; the one part of the program that allocates. See status.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvirt-hooks/guard/status.h"

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
    char path[SNAPSET_RUN_FOLDER + sizeof SNAPSET_GUARDS];
    struct dirent **entries;
    bool first = true;
    int count, folder;

    snapset_status_run_folder(path);
    strcat(path, SNAPSET_GUARDS);
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
