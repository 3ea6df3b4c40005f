/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running the judge, or the recorder, beside the relay's loop: one at a time, for a limited time.
 *
 *     PROGRAM judge --domain NAME    command on 0; "allow\n", "deny TEXT\n" or, when it cannot
 *                                    judge, "unable TEXT\n" on 1; exit 0
 *     PROGRAM record --domain NAME   command on 0; once QEMU has carried it out, its reply on 3
 *                                    (an empty line: it was too long); exit 0
 *
 * A recorder is started while QEMU is at work, so that it is ready when QEMU is. What ends 3
 * without a byte is no word on the command: nothing is to be recorded then.
 *
 * argv[0] is snapshot-set-judge; standard error and, for the recorder, standard output are
 * /dev/null. SNAPSHOT_SET_EVENT in the environment names the event, the same when a recorder is run
 * again for it. It has a process group of its own, which is killed at the deadline, and it dies
 * with the relay. Unlike the relay it may be chosen by the OOM killer.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
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
    int reply_fd; /* of a recorder that waits for QEMU; else -1 */
    bool judging;
    int64_t deadline;
    size_t length;
    char output[4096]; /* NUL-terminated when the result is there: the text of a denial */
    const char *failure;
} SnapsetHelper;

/* To be called once, before any: makes room in the environment. */
bool snapset_helper_prepare(void);

/* Start one: the judge, or else a recorder, which then waits. False: `failure` says why. */
bool snapset_helper_start(SnapsetHelper *helper, const SnapsetHelperSetup *setup, const char *event,
                          SnapsetSpan command, bool judging);

/* Is there a recorder that waits for QEMU? */
bool snapset_helper_is_waiting(const SnapsetHelper *helper);

/* QEMU has carried the command out and said @reply: the waiting recorder goes on, for @limit ms. */
void snapset_helper_go(SnapsetHelper *helper, SnapsetSpan reply, int limit);

/* What to poll for while it runs; returns how many entries were written (at most 2). */
int snapset_helper_poll(const SnapsetHelper *helper, struct pollfd *ret_polls);

/* See how far it is. Anything but RUNNING ends it and is told once. */
SnapsetHelperResult snapset_helper_check(SnapsetHelper *helper);

/* End it now, whatever it is at, and do not wait until it has died. */
void snapset_helper_stop(SnapsetHelper *helper);

/* Milliseconds of the monotonic clock. */
int64_t snapset_now(void);
