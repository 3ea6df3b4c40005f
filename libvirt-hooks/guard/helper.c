/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See helper.h. */
#include "libvirt-hooks/guard/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    REPLY_FD = 3
};

/* In the environment from the start, so that naming an event allocates nothing. */
static char event_variable[96] = "SNAPSHOT_SET_EVENT=";

bool
snapset_helper_prepare(void)
{
    return putenv(event_variable) == 0;
}

static void
name_event(const char *event)
{
    char *value = strchr(event_variable, '=') + 1;

    snprintf(value, event_variable + sizeof event_variable - value, "%s", event);
}

int64_t
snapset_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* A file in memory that holds @bytes, to be read from its start; above the numbers that a child's
 * own descriptors get. */
static int
memory_file(SnapsetSpan bytes)
{
    int low = memfd_create("qmp", MFD_CLOEXEC), fd = -1;

    if (low >= 0)
        fd = fcntl(low, F_DUPFD_CLOEXEC, REPLY_FD + 1);
    if (low >= 0)
        close(low);
    if (fd >= 0 && pwrite(fd, bytes.at, bytes.length, 0) == (ssize_t)bytes.length)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Let the OOM killer have it: less than the guest depends on it. */
static void
offer_to_oom_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "0", 1) == 1)
        close(fd);
}

static void
reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
}

typedef struct {
    const SnapsetHelperSetup *setup;
    const char *event;
    int command, reply, output; /* reply: -1 for the judge */
    pid_t relay;
} Child;

static void __attribute__((noreturn)) become_helper(const Child *child)
{
    int null = open("/dev/null", O_RDWR);

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->relay)
        _exit(126);
    offer_to_oom_killer();
    reset_signals();
    name_event(child->event);
    dup2(child->command, 0);
    dup2(child->output >= 0 ? child->output : null, 1);
    dup2(null, 2);
    if (child->reply >= 0)
        dup2(child->reply, REPLY_FD);
    syscall(SYS_close_range, child->reply >= 0 ? REPLY_FD + 1 : REPLY_FD, ~0U, 0);
    execl(child->setup->program, "snapshot-set-judge", child->reply >= 0 ? "record" : "judge",
          "--domain", child->setup->domain, (char *)NULL);
    _exit(127);
}

static bool
spawn(SnapsetHelper *helper, Child *child)
{
    helper->pid = fork();
    if (helper->pid == 0)
        become_helper(child);
    if (helper->pid < 0) {
        helper->pid = 0;
        helper->failure = "cannot start a process for it";
        return false;
    }
    setpgid(helper->pid, helper->pid);
    helper->pid_fd = syscall(SYS_pidfd_open, helper->pid, 0);
    return true;
}

static void
close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void
forget(SnapsetHelper *helper)
{
    close_if_open(helper->pid_fd);
    close_if_open(helper->output_fd);
    close_if_open(helper->input_fd);
    helper->pid_fd = helper->output_fd = helper->input_fd = -1;
    helper->pid = 0;
}

/* A pipe, the child's end of it above the numbers that its own descriptors get. */
static bool
open_pipe(int *ret_ours, int *ret_child, bool child_reads)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    *ret_ours = ends[child_reads ? 1 : 0];
    *ret_child = fcntl(ends[child_reads ? 0 : 1], F_DUPFD_CLOEXEC, REPLY_FD + 1);
    close(ends[child_reads ? 0 : 1]);
    if (*ret_child >= 0 && child_reads) /* the child waits in read() */
        fcntl(*ret_child, F_SETFL, 0);
    return *ret_child >= 0;
}

/* Those that were ended, and have died since. */
static void
reap_stopped(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

/* Spawn @child, whose descriptors are ready if @is_ready, and close them here. */
static bool
start(SnapsetHelper *helper, Child *child, bool is_ready)
{
    bool started = is_ready && spawn(helper, child);

    if (!is_ready)
        helper->failure = "no file descriptors or memory left for it";
    close_if_open(child->output);
    close_if_open(child->command);
    close_if_open(child->reply);
    if (!started)
        forget(helper);
    return started;
}

static const SnapsetHelper idle = {
    .pid_fd = -1, .output_fd = -1, .input_fd = -1, .deadline = INT64_MAX};

bool
snapset_helper_start_judge(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                           const char *event)
{
    Child child = {setup, event, -1, -1, -1, getpid()};

    reap_stopped();
    *helper = idle;
    helper->judging = true;
    return start(helper, &child,
                 open_pipe(&helper->input_fd, &child.command, true) &&
                     open_pipe(&helper->output_fd, &child.output, false));
}

bool
snapset_helper_start_recorder(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                              const char *event, SnapsetSpan command)
{
    Child child = {setup, event, -1, -1, -1, getpid()};

    reap_stopped();
    *helper = idle;
    child.command = memory_file(command);
    return start(helper, &child,
                 child.command >= 0 && open_pipe(&helper->input_fd, &child.reply, true));
}

bool
snapset_helper_is_waiting(const SnapsetHelper *helper)
{
    return helper->pid != 0 && helper->input_fd >= 0;
}

void
snapset_helper_go(SnapsetHelper *helper, SnapsetSpan input, int limit)
{
    /* the longest fits into an empty pipe (SNAPSET_HOLD); one that ended is found out later */
    ssize_t done = input.length > 0 ? write(helper->input_fd, input.at, input.length)
                                    : write(helper->input_fd, "\n", 1);

    (void)done;
    close(helper->input_fd);
    helper->input_fd = -1;
    helper->deadline = snapset_now() + limit;
}

int
snapset_helper_poll(const SnapsetHelper *helper, struct pollfd *ret_polls)
{
    int count = 0;

    if (helper->pid == 0)
        return 0;
    if (helper->pid_fd >= 0)
        ret_polls[count++] = (struct pollfd){helper->pid_fd, POLLIN, 0};
    if (helper->output_fd >= 0)
        ret_polls[count++] = (struct pollfd){helper->output_fd, POLLIN, 0};
    return count;
}

static void
read_output(SnapsetHelper *helper)
{
    size_t room = sizeof helper->output - 1 - helper->length;
    ssize_t got = 0;

    while (room > 0 && helper->output_fd >= 0 &&
           (got = read(helper->output_fd, helper->output + helper->length, room)) > 0) {
        helper->length += got;
        room -= got;
    }
    if (helper->output_fd >= 0 && (room == 0 || got == 0 || (got < 0 && errno != EAGAIN))) {
        close(helper->output_fd);
        helper->output_fd = -1;
    }
}

/* One that hangs on a disk may not even die: nobody waits for it. */
void
snapset_helper_stop(SnapsetHelper *helper)
{
    if (helper->pid == 0)
        return;
    kill(-helper->pid, SIGKILL);
    kill(helper->pid, SIGKILL);
    forget(helper);
}

static SnapsetHelperResult
fail(SnapsetHelper *helper, const char *why)
{
    helper->failure = why;
    return SNAPSET_HELPER_FAILED;
}

/* Whether the answer is @word and a text; the text is then all that is left of it. */
static bool
take_text(SnapsetHelper *helper, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(helper->output, word, length) != 0 || helper->output[length] == '\0')
        return false;
    memmove(helper->output, helper->output + length, strlen(helper->output + length) + 1);
    return true;
}

/* The judge's words: one line, and nothing else. */
static SnapsetHelperResult
read_verdict(SnapsetHelper *helper)
{
    char *end = memchr(helper->output, '\n', helper->length);

    if (!end || end + 1 != helper->output + helper->length)
        return fail(helper, "it did not answer with one line");
    *end = '\0';
    if (strcmp(helper->output, "allow") == 0)
        return SNAPSET_HELPER_ALLOWED;
    if (take_text(helper, "deny "))
        return SNAPSET_HELPER_DENIED;
    if (take_text(helper, "unable "))
        return fail(helper, helper->output);
    return fail(helper, "it answered neither allow nor deny");
}

static SnapsetHelperResult
read_status(SnapsetHelper *helper, int status)
{
    if (WIFSIGNALED(status))
        return fail(helper, "it was killed");
    if (WEXITSTATUS(status) == 127)
        return fail(helper, "it cannot be run");
    if (WEXITSTATUS(status) != 0)
        return fail(helper, "it failed");
    return helper->judging ? read_verdict(helper) : SNAPSET_HELPER_ALLOWED;
}

SnapsetHelperResult
snapset_helper_check(SnapsetHelper *helper)
{
    int status;

    read_output(helper);
    if (waitpid(helper->pid, &status, WNOHANG) == helper->pid) {
        read_output(helper);
        /* what it may have left behind in its group has no business to go on */
        kill(-helper->pid, SIGKILL);
        forget(helper);
        return read_status(helper, status);
    }
    if (snapset_now() < helper->deadline)
        return SNAPSET_HELPER_RUNNING;
    snapset_helper_stop(helper);
    return fail(helper, "it took too long");
}
