/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the relay share: relay.c is the loop, relay-client.c and relay-qemu.c decide
 * about the two streams. Each decision changes the state in one commit.
 */
#pragma once

#include "libvirt-hooks/guard/relay.h"
#include "libvirt-hooks/guard/watch.h"
#include "libvirt-hooks/guard/wire.h"

typedef struct {
    SnapsetRegion *region;
    const SnapsetRelaySetup *setup;
    SnapsetWire wire;
    SnapsetHelper helper;
    int ready_for;         /* what the helper is for (relay.c) */
    bool ahead;            /* it was started before it was needed */
    int64_t judge_from;    /* ms: when to start a judge ahead */
    int64_t crowded_until; /* us: others want the processor */
    int life;              /* of the setup, or what took its place */
} SnapsetRelay;

/* Decide about what was read from the client, from QEMU. False: nothing more to decide now. */
bool snapset_client_advance(SnapsetRelay *relay);
bool snapset_qemu_advance(SnapsetRelay *relay);

/* The command that the judge is asked about, and the judge's word on it. */
SnapsetSpan snapset_client_command(SnapsetRelay *relay);
void snapset_client_allow(SnapsetRelay *relay);
void snapset_client_deny(SnapsetRelay *relay, const char *reason);

/* The reply being recorded, and that it was. */
SnapsetSpan snapset_qemu_reply(SnapsetRelay *relay);
void snapset_qemu_recorded(SnapsetRelay *relay);

/* Whether what a client may read next must come line by line. */
bool snapset_qemu_by_line(const SnapsetState *state);

/* Whether a job that was started is not known to have ended. */
bool snapset_job_is_open(const SnapsetJob *job);
