/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keeper: owns the socket that clients connect to, and starts a relay for each client, one
 * after another. It holds duplicates of the relay's two sockets and reads neither, so that nobody
 * notices when the relay dies: it starts another one, which goes on from the shared state.
 * Should the keeper die instead, the relay divides in two and its parent half is the new keeper.
 *
 * What can go wrong, and what then happens:
 *
 *     relay killed or crashed      a new one goes on; after a pause, if the last few came nowhere
 *     keeper killed                the relay makes a new one; without a client there is nobody left
 *                                  and the next client cannot connect
 *     both killed at once          the client sees the end of the monitor; libvirt kills the guest
 *     QEMU ends                    its last words are passed on, then the client is closed
 *     the client ends              what it sent whole is passed on, then QEMU's side is closed
 *     the guest is gone            the socket is removed, the keeper ends
 *
 * SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ and their like are ignored: a guest must not die because a
 * service is stopped or a file is too long. The OOM killer leaves both alone. Of root's
 * capabilities the keeper keeps only CAP_DAC_OVERRIDE, which it and the judge need to reach files
 * of other users; the relay does not use it, and the judge has it by being executed by root.
 * no_new_privs is not set, because it would forbid an LSM to put the judge in a domain of its own.
 * Neither can be dumped or traced: passwords pass through a monitor.
 */
#pragma once

#include "libvirt-hooks/guard/insert.h"
#include "libvirt-hooks/guard/relay.h"
#include "libvirt-hooks/guard/status.h"

typedef struct {
    SnapsetPlace place;
    SnapsetRelaySetup setup;
    const char *domain, *monitor;
} SnapsetKeeperSetup;

/* Become the keeper of @setup, in a process of its own whose inherited descriptors are /dev/null;
 * @ready is written to and closed once clients can connect. Returns when the guest is gone. */
int snapset_keeper_run(const SnapsetKeeperSetup *setup, int ready);
