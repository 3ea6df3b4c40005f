/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folders for tests. */
#include "tests/unit/scratch.h"

#include <glib/gstdio.h>
#include <unistd.h>

char *
scratch_new(void)
{
    const char *base = g_access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    char *folder = g_build_filename(base, "snapshot-set-test-XXXXXX", NULL);

    if (g_mkdtemp(folder) == NULL)
        g_error("cannot make a folder in '%s'", base);
    return folder;
}

static void
remove_tree(const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

void
scratch_free(char *folder)
{
    remove_tree(folder);
    g_free(folder);
}
