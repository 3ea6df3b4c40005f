/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running many child processes at once, and waiting for all of them.
 *
 *     children = g_ptr_array_new_with_free_func(snapset_child_free)
 *     g_ptr_array_add(children, snapset_child_new(argv, NULL)) ...
 *     snapset_children_run(children, ...)
 *     snapset_child_succeeded(child, &error) for each
 */
#pragma once

#include <glib.h>

#include "common/core/error.h"

typedef struct {
    char **argv;      /* argv[0] is the program's path; it sees "qemu-img" if @shown_name says so */
    char *shown_name; /* what it gets as its own argv[0]; NULL: the path */
    char *input;      /* what it reads on standard input; NULL: nothing */
    gboolean shows_progress; /* it prints "(12.34/100%)" as it goes on, and nothing else */
    GString *output;         /* its standard output */
    GString *errors;         /* its standard error */
    int wait_status;         /* as waitpid() gives it */
    GError *failure;         /* it could not be run at all; NULL: it ran */
    GPid pid;
    int pipes[3]; /* open ends while it runs; -1: closed */
    gsize input_done;
} SnapsetChild;

/* Takes over @argv (NULL-terminated); copies the rest. */
SnapsetChild *snapset_child_new(char **argv, const char *shown_name, const char *input);
void snapset_child_free(SnapsetChild *child);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetChild, snapset_child_free)

/* Called in between: how much of all is done, from 0 to 1, which comes last and once. */
typedef void (*SnapsetProgress)(double done, gpointer data);

/*
 * Run all, a few at a time, and return when the last has ended. @inherited is a descriptor that
 * every child keeps open (-1: none): a lock on it lasts as long as any child does. @progress may
 * be NULL.
 */
void snapset_children_run(GPtrArray *children, int inherited, SnapsetProgress progress,
                          gpointer data);

/*
 * TRUE when the child ended with status 0. Else FALSE with SNAPSET_ERROR_FAILED: its last complaint
 * on standard error without the program's name, or the signal that ended it, which means "cannot
 * tell" and never "no".
 */
gboolean snapset_child_succeeded(const SnapsetChild *child, GError **error);
