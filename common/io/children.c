/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running many child processes at once. */
#include "common/io/children.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io/file.h"

/* Where a child finds the descriptor that it inherits. */
#define INHERITED_FD 3

SnapsetChild *
snapset_child_new(char **argv, const char *shown_name, const char *input)
{
    SnapsetChild *child = g_new0(SnapsetChild, 1);
    child->argv = argv;
    child->shown_name = g_strdup(shown_name);
    child->input = g_strdup(input);
    child->output = g_string_new(NULL);
    child->errors = g_string_new(NULL);
    memset(child->pipes, -1, sizeof child->pipes);
    return child;
}

void
snapset_child_free(SnapsetChild *child)
{
    if (child == NULL)
        return;
    g_strfreev(child->argv);
    g_free(child->shown_name);
    g_free(child->input);
    g_string_free(child->output, TRUE);
    g_string_free(child->errors, TRUE);
    g_clear_error(&child->failure);
    g_free(child);
}

/* argv as G_SPAWN_FILE_AND_ARGV_ZERO wants it: the file first, then what the program sees. */
static GPtrArray *
spawn_arguments(const SnapsetChild *child)
{
    GPtrArray *arguments = g_ptr_array_new();
    g_ptr_array_add(arguments, child->argv[0]);
    g_ptr_array_add(arguments, child->shown_name != NULL ? child->shown_name : child->argv[0]);
    for (guint i = 1; child->argv[i] != NULL; i++)
        g_ptr_array_add(arguments, child->argv[i]);
    g_ptr_array_add(arguments, NULL);
    return arguments;
}

static gboolean
start(SnapsetChild *child, char **environment, int inherited)
{
    g_autoptr(GPtrArray) arguments = spawn_arguments(child);
    const int targets[] = {INHERITED_FD};
    /* All our descriptors are close-on-exec, and leaving them to that lets GLib use posix_spawn. */
    GSpawnFlags flags = G_SPAWN_FILE_AND_ARGV_ZERO | G_SPAWN_DO_NOT_REAP_CHILD |
                        G_SPAWN_LEAVE_DESCRIPTORS_OPEN | G_SPAWN_CLOEXEC_PIPES;

    return g_spawn_async_with_pipes_and_fds(
        NULL, (const char *const *)arguments->pdata, (const char *const *)environment, flags, NULL,
        NULL, -1, -1, -1, &inherited, targets, inherited >= 0 ? 1 : 0, &child->pid,
        &child->pipes[0], &child->pipes[1], &child->pipes[2], &child->failure);
}

static void
close_pipe(SnapsetChild *child, int which)
{
    snapset_close(child->pipes[which]);
    child->pipes[which] = -1;
}

static void
feed(SnapsetChild *child)
{
    gsize left = child->input != NULL ? strlen(child->input) - child->input_done : 0;
    gssize put = left > 0 ? write(child->pipes[0], child->input + child->input_done, left) : 0;

    if (put < 0 && errno == EINTR)
        return;
    if (put > 0)
        child->input_done += put;
    if (put < 0 || (gsize)put == left)
        close_pipe(child, 0);
}

static void
drain(SnapsetChild *child, int which)
{
    char buffer[4096];
    gssize got = read(child->pipes[which], buffer, sizeof buffer);

    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0)
        close_pipe(child, which);
    else
        g_string_append_len(which == 1 ? child->output : child->errors, buffer, got);
}

static gboolean
has_open_pipe(const SnapsetChild *child)
{
    return child->pipes[0] >= 0 || child->pipes[1] >= 0 || child->pipes[2] >= 0;
}

/* Wait until some pipe of a running child can be served, and serve all that can. */
static void
serve(GPtrArray *running)
{
    g_autofree struct pollfd *fds = g_new0(struct pollfd, running->len * 3);

    for (guint i = 0; i < running->len * 3; i++) {
        const SnapsetChild *child = running->pdata[i / 3];
        fds[i] = (struct pollfd){child->pipes[i % 3], i % 3 == 0 ? POLLOUT : POLLIN, 0};
    }
    if (poll(fds, running->len * 3, -1) < 0)
        return; /* EINTR: the caller comes again */
    for (guint i = 0; i < running->len * 3; i++) {
        if (fds[i].fd < 0 || fds[i].revents == 0)
            continue;
        if (i % 3 == 0)
            feed(running->pdata[i / 3]);
        else
            drain(running->pdata[i / 3], i % 3);
    }
}

static void
reap(SnapsetChild *child)
{
    while (waitpid(child->pid, &child->wait_status, 0) < 0 && errno == EINTR)
        continue;
}

/* How far a child that runs has come, from 0 to below 1. */
static double
progress_of(const SnapsetChild *child)
{
    const char *last = child->shows_progress ? strrchr(child->output->str, '(') : NULL;
    return last != NULL ? CLAMP(g_ascii_strtod(last + 1, NULL) / 100, 0, 0.9999) : 0;
}

static double
sum_up(GPtrArray *running, guint done, guint total)
{
    double sum = done;

    for (guint i = 0; i < running->len; i++)
        sum += progress_of(running->pdata[i]);
    return sum / total;
}

void
snapset_children_run(GPtrArray *children, int inherited, SnapsetProgress progress, gpointer data)
{
    g_autoptr(GPtrArray) running = g_ptr_array_new();
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
    guint at_once = 2 * g_get_num_processors();
    guint next = 0;
    guint done = 0;
    double shown = 0;

    /* A dispatcher that stands in for the real qemu-img must not judge what we already judged. */
    environment = g_environ_setenv(environment, "SNAPSHOT_SET_INSIDE", "1", TRUE);
    signal(SIGPIPE, SIG_IGN);
    while (done < children->len) {
        while (running->len < at_once && next < children->len) {
            SnapsetChild *child = children->pdata[next++];
            if (start(child, environment, inherited))
                g_ptr_array_add(running, child);
            else
                done++;
        }
        if (running->len > 0)
            serve(running);
        for (guint i = running->len; i-- > 0;) {
            SnapsetChild *child = running->pdata[i];
            if (has_open_pipe(child))
                continue;
            reap(child);
            g_ptr_array_remove_index_fast(running, i);
            done++;
        }
        double now = progress != NULL ? sum_up(running, done, children->len) : shown;
        if (now > shown)
            progress(now, data);
        shown = MAX(now, shown);
    }
}

/*
 * What the program complained of last, without its name. QEMU's hints follow on lines of their own,
 * which do not begin with a name; they count when nothing else was said.
 */
static char *
complaint(const SnapsetChild *child)
{
    g_auto(GStrv) lines = g_strsplit(child->errors->str, "\n", -1);
    g_autofree char *name = g_path_get_basename(child->argv[0]);
    g_autofree char *prefix =
        g_strconcat(child->shown_name != NULL ? child->shown_name : name, ": ", NULL);
    const char *named = NULL;
    const char *last = "";

    for (guint i = 0; lines[i] != NULL; i++) {
        if (g_str_has_prefix(lines[i], prefix))
            named = lines[i] + strlen(prefix);
        if (*g_strstrip(lines[i]) != '\0')
            last = lines[i];
    }
    return g_utf8_make_valid(named != NULL ? named : last, -1);
}

gboolean
snapset_child_succeeded(const SnapsetChild *child, GError **error)
{
    if (child->failure != NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", child->failure->message);
    if (WIFSIGNALED(child->wait_status))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s was ended by signal %d, cannot tell",
                             child->argv[0], WTERMSIG(child->wait_status));
    if (child->wait_status == 0)
        return TRUE;
    g_autofree char *line = complaint(child);
    if (*line == '\0')
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s ended with status %d", child->argv[0],
                             WEXITSTATUS(child->wait_status));
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", line);
}
