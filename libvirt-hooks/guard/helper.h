/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running the judge, or the recorder, beside the relay's loop: one at a time, for a limited time.
 *
 *     PROGRAM judge --domain NAME    command on 0; "allow\n", "deny TEXT\n" or, when it cannot
 *                                    judge, "unable TEXT\n" on 1; having allowed it goes on as the
 *                                    recorder
 *     PROGRAM record --domain NAME   command on 0; once QEMU has carried it out, its reply on 3
 *                                    (an empty line: it was too long); "recorded\n" on 1
 *
 * Starting a process takes longer than all that it does here. So both are started before they are
 * needed, and wait for what they are to read: the judge for the command, then as the recorder for
 * the reply. The other recorder is for a command that needed no judge, or whose judge has died.
 * What ends 0 or 3 without a byte says that there is nothing to judge, nothing to be recorded.
 *
 * argv[0] is snapshot-set-judge; standard error is /dev/null. SNAPSHOT_SET_EVENT in the environment
 * names the event, the same when a recorder is run again for it. It has a process group of its own,
 * which is killed at the deadline, and it dies with the relay. Unlike the relay it may be chosen by
 * the OOM killer.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "libvirt-hooks/guard/qmp-read.h"

typedef struct {
    const char *program, *domain;
    int limit; /* ms */
} SnapsetHelperSetup;

typedef enum {
    SNAPSET_HELPER_RUNNING,
    SNAPSET_HELPER_ALLOWED, /* or: recorded */
    SNAPSET_HELPER_DENIED,
    SNAPSET_HELPER_FAILED, /* `failure` says why */
} SnapsetHelperResult;

typedef struct {
    pid_t pid; /* 0: none runs */
    int pid_fd, output_fd;
    int command_fd, reply_fd; /* what it was not given yet; else -1 */
    bool judging;             /* and has not allowed it yet */
    struct stat program;      /* as it was started */
    int64_t deadline;
    size_t length;
    char output[4096]; /* as its result is told: the text of a denial */
    const char *failure;
} SnapsetHelper;

/* To be called once, before any: makes room in the environment. */
bool snapset_helper_prepare(void);

/*
 * Start the judge, or the recorder of @command, which then wait. False: `failure` says why.
 */
bool snapset_helper_start_judge(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                                const char *event);
bool snapset_helper_start_recorder(SnapsetHelper *helper, const SnapsetHelperSetup *setup,
                                   const char *event, SnapsetSpan command);

/* Is there one that waits? */
bool snapset_helper_is_waiting(const SnapsetHelper *helper);

/* Is the program that waits still the one that would be started now? */
bool snapset_helper_is_current(const SnapsetHelper *helper, const SnapsetHelperSetup *setup);

/* The one that waits goes on, for @limit ms: a judge about this command, a recorder as QEMU has
 * carried its command out and given this reply. */
void snapset_helper_go(SnapsetHelper *helper, SnapsetSpan input, int limit);

/* What to poll for while it is at work; returns how many entries were written (at most 2). */
int snapset_helper_poll(const SnapsetHelper *helper, struct pollfd *ret_polls);

/* See how far it is. Anything but RUNNING is told once and ends it, but for a judge that allows: it
 * waits as the recorder. */
SnapsetHelperResult snapset_helper_check(SnapsetHelper *helper);

/* End it now, whatever it is at, and do not wait until it has died. */
void snapset_helper_stop(SnapsetHelper *helper);

/* Milliseconds of the monotonic clock. */
int64_t snapset_now(void);
