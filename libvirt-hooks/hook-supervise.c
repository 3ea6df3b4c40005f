/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See hook-supervise.h. */
#include "libvirt-hooks/hook-supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

SnapsetOutcome *
snapset_outcome_new(void)
{
    static SnapsetOutcome unshared; /* the worker's words are lost then, but those before it hold */
    void *shared = mmap(NULL, sizeof(SnapsetOutcome), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return shared != MAP_FAILED ? shared : &unshared;
}

void
snapset_outcome_pass(SnapsetOutcome *outcome)
{
    outcome->exit_code = 0;
    outcome->text[0] = '\0';
}

void
snapset_outcome_refuse(SnapsetOutcome *outcome, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_vsnprintf(outcome->text, sizeof outcome->text, format, args);
    va_end(args);
    outcome->exit_code = 1;
}

static void
become_worker(const sigset_t *ended)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setpgid(0, 0);
    sigprocmask(SIG_UNBLOCK, ended, NULL);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
}

/* Wait until the clock shows @end at most. FALSE: @pid still runs. */
static gboolean
wait_until(pid_t pid, const sigset_t *ended, gint64 end, int *ret_status)
{
    gint64 left;

    while (waitpid(pid, ret_status, WNOHANG) == 0) {
        left = end - g_get_monotonic_time();
        if (left <= 0)
            return FALSE;
        struct timespec limit = {left / G_USEC_PER_SEC, left % G_USEC_PER_SEC * 1000};
        sigtimedwait(ended, NULL, &limit);
    }
    return TRUE;
}

const char *
snapset_supervise(guint seconds, SnapsetWork *work, SnapsetOutcome *outcome, gpointer data)
{
    gint64 end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    sigset_t ended;
    int status = 0;

    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    pid_t pid = fork();
    if (pid < 0)
        return "could not start a process";
    if (pid == 0) {
        become_worker(&ended);
        work(outcome, data);
        exit(0);
    }
    setpgid(pid, pid);
    if (!wait_until(pid, &ended, end, &status)) {
        kill(-pid, SIGKILL); /* and no waiting for what does not even die */
        return "took too long";
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "crashed";
}
