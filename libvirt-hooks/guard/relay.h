/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection through the guard: from the client's socket to QEMU's, and what is decided on the
 * way. A relay is a process; the keeper (keeper.h) starts it, and starts another one in its place
 * should it die.
 *
 * What QEMU gets from a relay is whole messages, or messages that it is certain to see as one
 * (qmp-frame.h), and nothing that was not understood here: there is no input that QEMU divides
 * differently. What is malformed, ambiguous, or too long to be judged, the relay answers itself.
 * Since QEMU therefore owes exactly one reply for each message passed on, counting is enough to
 * know which reply belongs to which command, and a relay's own answer waits until none is owed.
 *
 * A watched command (watch.h) is held until all before it were answered, and the judge was asked.
 * It is not passed on before; nothing more is read from the client meanwhile, and all that QEMU
 * says is passed on. When it was done the recorder runs before the client sees the reply. For
 * commands that start a job, "done" is seen in whatever answer to query-jobs the client gets; a
 * client that saw the job end and sends something else first is made to wait for a query-jobs of
 * ours, which it does not see.
 */
#pragma once

#include <time.h>

#include "libvirt-hooks/guard/helper.h"
#include "libvirt-hooks/guard/state.h"

typedef struct {
    SnapsetHelperSetup helper;
    bool allow_on_failure; /* of the judge */
    void (*refused)(const char *reason);
    void (*trouble)(const char *what, const char *why);
    int life;             /* comes to its end when the keeper does */
    int (*succeed)(void); /* called then: makes a new keeper, returns the new `life`, -1: failed */
} SnapsetRelaySetup;

/* Relay until one side ends. Both sockets must be non-blocking. Tells whether QEMU ended first. */
bool snapset_relay_run(SnapsetRegion *region, int client, int qemu, const SnapsetRelaySetup *setup);
