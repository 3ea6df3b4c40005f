/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plugins of the dispatcher: executables called qemu-img-NAME.
 *
 * They are looked for in the directory of the installed commands, then in $PATH, then beside the
 * dispatcher itself (so that a build tree works). qemu-img's own commands always win: no plugin
 * takes the name of one.
 */
#pragma once

#include <limits.h>

/* Write the path of the plugin @name into @ret_path: 0, or -1 with errno ENOENT. */
int snapset_find_plugin(const char *name, char ret_path[static PATH_MAX]);

/* Print the names of all plugins as a paragraph of `qemu-img --help`; nothing when there is none.
 */
void snapset_print_plugins(void);
