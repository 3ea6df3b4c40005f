/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugins of the dispatcher: executables called qemu-img-NAME. */
#include "qemu-img-plugin/plugin-search.h"

#include "common/io/find-qemu-img.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "qemu-img-"

typedef struct {
    char **names;
    size_t count;
} NameList;

/* A directory's visitor; true ends the walk. */
typedef bool (*Visit)(const char *directory, void *data);

static bool
is_builtin(const char *name)
{
    static const char *const builtins[] = {
        "amend", "bench", "bitmap", "check",   "commit",   "compare", "convert", "create",
        "dd",    "info",  "map",    "measure", "snapshot", "rebase",  "resize",
    };
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
        if (strcmp(name, builtins[i]) == 0)
            return true;
    }
    return false;
}

static bool
may_be_plugin(const char *name)
{
    return name[0] != '\0' && name[0] != '-' && !strchr(name, '/') && !is_builtin(name);
}

static bool
plugin_path(const char *directory, const char *name, char ret_path[static PATH_MAX])
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/" PREFIX "%s", directory, name);
    if (length >= PATH_MAX || !snapset_is_executable(path))
        return false;
    memcpy(ret_path, path, length + 1);
    return true;
}

static bool
walk_directories(Visit visit, void *data)
{
    if (visit(SNAPSET_BINDIR, data))
        return true;
    char directory[PATH_MAX];
    const char *list = getenv("PATH");
    while (snapset_next_directory(&list, directory)) {
        if (visit(directory, data))
            return true;
    }
    return snapset_own_directory(directory) == 0 && visit(directory, data);
}

typedef struct {
    const char *name;
    char *ret_path;
} Search;

static bool
find_in(const char *directory, void *data)
{
    Search *search = data;
    return plugin_path(directory, search->name, search->ret_path);
}

int
snapset_find_plugin(const char *name, char ret_path[static PATH_MAX])
{
    Search search = {name, ret_path};
    if (may_be_plugin(name) && walk_directories(find_in, &search))
        return 0;
    errno = ENOENT;
    return -1;
}

/* Out of memory, the help is shorter. */
static void
add_name(NameList *list, const char *name)
{
    char **names = reallocarray(list->names, list->count + 1, sizeof *names);
    if (!names)
        return;
    list->names = names;
    char *copy = strdup(name);
    if (copy)
        list->names[list->count++] = copy;
}

static bool
is_printable(const char *name)
{
    for (; *name; name++) {
        if (iscntrl((unsigned char)*name))
            return false;
    }
    return true;
}

static bool
list_in(const char *directory, void *data)
{
    DIR *stream = opendir(directory);
    if (!stream)
        return false;
    for (const struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        const char *name = entry->d_name + strlen(PREFIX);
        char path[PATH_MAX];
        if (may_be_plugin(name) && is_printable(name) && plugin_path(directory, name, path))
            add_name(data, name);
    }
    closedir(stream);
    return false;
}

static int
compare_names(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

void
snapset_print_plugins(void)
{
    NameList list = {NULL, 0};
    walk_directories(list_in, &list);
    if (list.count > 0) {
        qsort(list.names, list.count, sizeof *list.names, compare_names);
        puts("\nPlugins:");
    }
    for (size_t i = 0; i < list.count; i++) {
        if (i == 0 || strcmp(list.names[i], list.names[i - 1]) != 0)
            printf("  %s\n", list.names[i]);
    }
    for (size_t i = 0; i < list.count; i++)
        free(list.names[i]);
    free(list.names);
}
