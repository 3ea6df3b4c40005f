/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving bytes and file descriptors between the sockets and the region, so that a kill at any time
 * neither loses nor repeats a byte (state.h says how).
 *
 * All calls return at once. Each changes and commits the state by itself.
 */
#pragma once

#include "libvirt-hooks/guard/state.h"

typedef struct {
    SnapsetRegion *region;
    int socket[2];           /* by SnapsetSide; not blocking */
    int fds[2][SNAPSET_FDS]; /* received and not yet passed on, by side they came from */
    bool client_gone;        /* nobody reads what is for the client */
} SnapsetWire;

typedef enum {
    SNAPSET_WIRE_DONE,  /* something was moved, or an end seen */
    SNAPSET_WIRE_LATER, /* not now: wait until the socket is ready */
} SnapsetWireResult;

/* Finish what a killed predecessor had under way. To be called first. */
void snapset_wire_resume(SnapsetWire *wire);

/* Read what there is, room permitting; sets the flow's `eof` at the end. */
SnapsetWireResult snapset_wire_read(SnapsetWire *wire, SnapsetSide side);

/* Pass on what is safe of what came from @side. */
SnapsetWireResult snapset_wire_pass(SnapsetWire *wire, SnapsetSide side);

/* Write what is left of our own bytes for QEMU, of our own answer to the client. */
SnapsetWireResult snapset_wire_inject(SnapsetWire *wire);
SnapsetWireResult snapset_wire_answer(SnapsetWire *wire);

/* Whether there is room to read more from @side now. */
bool snapset_wire_has_room(const SnapsetWire *wire, SnapsetSide side);

/* In @state: take what stands between `sent` and `scanned` out of the stream without passing it on.
 * All before it must have been sent. Descriptors that came with it are closed. */
void snapset_wire_discard(SnapsetWire *wire, SnapsetState *state, SnapsetSide side);
