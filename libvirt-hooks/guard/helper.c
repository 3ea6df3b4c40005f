/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See helper.h. */
#include "libvirt-hooks/guard/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    const char *task, *event;
    int command, output, reply; /* 0, 1, 3 */
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
    dup2(child->output, 1);
    dup2(null, 2);
    dup2(child->reply, REPLY_FD);
    syscall(SYS_close_range, REPLY_FD + 1, ~0U, 0);
    execl(child->setup->program, "snapshot-set-judge", child->task, "--domain",
          child->setup->domain, (char *)NULL);
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
    close_if_open(helper->command_fd);
    close_if_open(helper->reply_fd);
    helper->pid_fd = helper->output_fd = helper->command_fd = helper->reply_fd = -1;
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

static const SnapsetHelper idle = {
    .pid_fd = -1, .output_fd = -1, .command_fd = -1, .reply_fd = -1, .deadline = INT64_MAX};

static bool
start(SnapsetHelper *helper, const SnapsetHelperSetup *setup, const char *task, const char *event)
{
    Child child = {setup, task, event, -1, -1, -1, getpid()};
    bool started = false;

    reap_stopped();
    *helper = idle;
    /* before it is executed: should it be replaced in between, that is noticed */
    if (stat(setup->program, &helper->program) < 0)
        helper->program = (struct stat){0};
    if (open_pipe(&helper->command_fd, &child.command, true) &&
        open_pipe(&helper->output_fd, &child.output, false) &&
        open_pipe(&helper->reply_fd, &child.reply, true))
        started = spawn(helper, &child);
    else
        helper->failure = "no file descriptors left for it";
    close_if_open(child.command);
    close_if_open(child.output);
    close_if_open(child.reply);
    if (!started)
        forget(helper);
    return started;
}

/* Write @input, or an empty line, and its end. */
static void
give(int *fd, SnapsetSpan input)
{
    /* the longest fits into an empty pipe (SNAPSET_HOLD); one that ended is found out later */
    ssize_t done = input.length > 0 ? write(*fd, input.at, input.length) : write(*fd, "\n", 1);

    (void)done;
    close(*fd);
    *fd = -1;
}

bool
snapset_helper_start_judge(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                           const char *event)
{
    bool started = start(helper, setup, "judge", event);

    helper->judging = true;
    return started;
}

bool
snapset_helper_start_recorder(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                              const char *event, SnapsetSpan command)
{
    bool started = start(helper, setup, "record", event);

    if (started)
        give(&helper->command_fd, command);
    return started;
}

bool
snapset_helper_is_waiting(const SnapsetHelper *helper)
{
    return helper->pid != 0 && (helper->judging ? helper->command_fd : helper->reply_fd) >= 0;
}

bool
snapset_helper_is_current(const SnapsetHelper *helper, const SnapsetHelperSetup *setup)
{
    struct stat now, then = helper->program;

    return stat(setup->program, &now) == 0 && now.st_dev == then.st_dev &&
           now.st_ino == then.st_ino && now.st_ctim.tv_sec == then.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == then.st_ctim.tv_nsec;
}

void
snapset_helper_go(SnapsetHelper *helper, SnapsetSpan input, int limit)
{
    give(helper->judging ? &helper->command_fd : &helper->reply_fd, input);
    helper->deadline = snapset_now() + limit;
}

int
snapset_helper_poll(const SnapsetHelper *helper, struct pollfd *ret_polls)
{
    int count = 0;

    if (helper->pid == 0 || snapset_helper_is_waiting(helper))
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

/* A judge that allows is not done: it waits for the reply, as the recorder. */
static SnapsetHelperResult
read_verdict(SnapsetHelper *helper)
{
    if (strcmp(helper->output, "allow") == 0) {
        helper->judging = false;
        helper->length = 0;
        helper->deadline = INT64_MAX;
        return SNAPSET_HELPER_ALLOWED;
    }
    if (take_text(helper, "deny ")) {
        forget(helper);
        return SNAPSET_HELPER_DENIED;
    }
    if (take_text(helper, "unable ")) {
        forget(helper);
        return fail(helper, helper->output);
    }
    snapset_helper_stop(helper);
    return fail(helper, "it answered neither allow nor deny");
}

/* The line that it has said, up to @end. Who has said the last one ends by itself. */
static SnapsetHelperResult
read_line(SnapsetHelper *helper, char *end)
{
    if (end + 1 != helper->output + helper->length) {
        snapset_helper_stop(helper);
        return fail(helper, "it did not answer with one line");
    }
    *end = '\0';
    if (helper->judging)
        return read_verdict(helper);
    if (strcmp(helper->output, "recorded") == 0) {
        forget(helper);
        return SNAPSET_HELPER_ALLOWED;
    }
    snapset_helper_stop(helper);
    return fail(helper, "it did not say that it has");
}

/* Why one ended without a word. */
static const char *
reason(int status)
{
    if (WIFSIGNALED(status))
        return "it was killed";
    if (WEXITSTATUS(status) == 127)
        return "it cannot be run";
    return WEXITSTATUS(status) != 0 ? "it failed" : "it did not answer with one line";
}

SnapsetHelperResult
snapset_helper_check(SnapsetHelper *helper)
{
    int status;
    bool ended = waitpid(helper->pid, &status, WNOHANG) == helper->pid;
    char *end;

    read_output(helper);
    if (ended) {
        /* what it may have left behind in its group has no business to go on */
        kill(-helper->pid, SIGKILL);
        forget(helper);
    }
    end = memchr(helper->output, '\n', helper->length);
    if (end)
        return read_line(helper, end);
    if (ended)
        return fail(helper, reason(status));
    if (snapset_now() < helper->deadline)
        return SNAPSET_HELPER_RUNNING;
    snapset_helper_stop(helper);
    return fail(helper, "it took too long");
}
