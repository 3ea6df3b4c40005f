/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the real qemu-img is, when a program of ours called qemu-img may stand before it.
 *
 * The C library is all this needs: the dispatcher, which links nothing of ours, compiles it in.
 * No function here allocates memory or leaves a descriptor open; all are safe in any thread that
 * does not run while another one changes the environment.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The dispatcher carries these bytes in an ELF note, that is on its first page. They tell it from
 * the real qemu-img wherever it was installed, copied, linked or built, and however many of them
 * stand on PATH.
 */
#define SNAPSET_DISPATCHER_MARK "snapshot-set dispatcher"

/*
 * Find the real qemu-img and write its path into @ret_path. The first that exists of
 *   1. $SNAPSHOT_SET_QEMU_IMG, an absolute path, taken as it is (it need not exist: running it
 *      tells what is wrong with it), but not if it names the dispatcher;
 *   2. in each directory of $PATH, qemu-img.real (what a package's diversion calls the original),
 *      then qemu-img;
 *   3. the same in /usr/bin.
 * Only executable regular files count, and never the running program or a dispatcher.
 *
 * Returns 0, or -1 with errno ENOENT and @ret_path untouched.
 */
int snapset_find_qemu_img(char ret_path[static PATH_MAX]);

/*
 * Walk a list of directories like $PATH: copy the next one into @ret_directory, step *@list over
 * it, and return true; false at the end. Start with *@list at the list, or NULL for none. Relative
 * and empty elements are skipped: they would mean another program in each working directory.
 */
bool snapset_next_directory(const char **list, char ret_directory[static PATH_MAX]);

/* Write the directory that holds the running program into @ret_directory: 0, or -1 with errno. */
int snapset_own_directory(char ret_directory[static PATH_MAX]);

/* Whether @path is a regular file that this process may execute. */
bool snapset_is_executable(const char *path);
