/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See wire.h. */
#include "libvirt-hooks/guard/wire.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static SnapsetSide
other(SnapsetSide side)
{
    return side == SNAPSET_CLIENT ? SNAPSET_QEMU : SNAPSET_CLIENT;
}

static void
close_fds(SnapsetWire *wire, SnapsetFlow *flow, SnapsetSide side)
{
    for (uint32_t i = 0; i < flow->fds; i++)
        if (wire->fds[side][i] >= 0)
            close(wire->fds[side][i]);
    flow->fds = 0;
}

/* An empty buffer starts again at its front; one that is used up moves to its twin. */
static void
make_room(SnapsetWire *wire, SnapsetState *state, SnapsetSide side)
{
    SnapsetFlow *flow = &state->flow[side];
    const char *from = snapset_region_bytes(wire->region, state, side);
    uint32_t gone = flow->sent;

    if (gone == 0 || (gone < flow->fill && flow->fill < SNAPSET_HOLD))
        return;
    if (gone < flow->fill) {
        flow->twin = !flow->twin;
        memcpy(snapset_region_bytes(wire->region, state, side), from + gone, flow->fill - gone);
    }
    flow->fill -= gone;
    flow->scanned -= gone;
    flow->safe -= gone;
    flow->sent = 0;
    flow->begin -= flow->begin < gone ? flow->begin : gone;
    flow->fds_from -= flow->fds_from < gone ? flow->fds_from : gone;
    flow->fds_to -= flow->fds_to < gone ? flow->fds_to : gone;
}

bool
snapset_wire_has_room(const SnapsetWire *wire, SnapsetSide side)
{
    const SnapsetFlow *flow = &snapset_region_state(wire->region)->flow[side];

    return !flow->eof && flow->scanned == flow->fill && flow->sent == flow->safe &&
           flow->fill - flow->sent < SNAPSET_HOLD;
}

/* Descriptors of a new set take the place of those before, as in QEMU. */
static void
take_fds(SnapsetWire *wire, SnapsetFlow *flow, SnapsetSide side, uint32_t from, bool own)
{
    struct msghdr *message = &wire->region->op.header.msg_hdr;
    struct cmsghdr *control = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;

    if (message->msg_flags & MSG_CTRUNC)
        flow->fds_lost = true;
    if (!control || control->cmsg_type != SCM_RIGHTS || control->cmsg_level != SOL_SOCKET)
        return;
    close_fds(wire, flow, side);
    flow->fds = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    flow->fds_from = from;
    flow->fds_to = flow->fill;
    memcpy(wire->fds[side], CMSG_DATA(control), flow->fds * sizeof(int));
    if (own)
        return;
    flow->fds = 0;
    flow->fds_lost = true;
}

/* Take over into @state what the call in `op` has moved; @own: it was this process's call. */
static void
settle(SnapsetWire *wire, SnapsetState *state, bool own)
{
    SnapsetOp *op = &wire->region->op;
    SnapsetFlow *flow = &state->flow[op->side];
    uint32_t moved = op->header.msg_len, from = flow->fill;

    switch (op->kind) {
    case SNAPSET_OP_READ:
        flow->fill += moved;
        take_fds(wire, flow, op->side, from, own);
        break;
    case SNAPSET_OP_PASS:
        flow->sent += moved;
        if (flow->fds && op->header.msg_hdr.msg_controllen)
            close_fds(wire, flow, op->side);
        break;
    case SNAPSET_OP_INJECT:
        state->injected += moved;
        break;
    case SNAPSET_OP_ANSWER:
        state->answered += moved;
        break;
    case SNAPSET_OP_NONE:
        break;
    }
}

static void
prepare(SnapsetWire *wire, SnapsetOpKind kind, SnapsetSide side, char *bytes, size_t length)
{
    SnapsetOp *op = &wire->region->op;

    /* in this order: a relay killed in between must leave either no call or this one */
    op->kind = SNAPSET_OP_NONE;
    atomic_thread_fence(memory_order_seq_cst);
    op->vector = (struct iovec){bytes, length};
    op->header = (struct mmsghdr){.msg_hdr = {.msg_iov = &op->vector, .msg_iovlen = 1}};
    op->side = side;
    atomic_store(&op->seq, snapset_region_state(wire->region)->seq);
    op->kind = kind;
    atomic_thread_fence(memory_order_seq_cst);
}

static void
commit_op(SnapsetWire *wire)
{
    settle(wire, snapset_region_begin(wire->region), true);
    snapset_region_commit(wire->region);
}

void
snapset_wire_resume(SnapsetWire *wire)
{
    SnapsetState *state = snapset_region_begin(wire->region);
    const SnapsetOp *op = &wire->region->op;

    memset(wire->fds, -1, sizeof wire->fds);
    if (op->kind != SNAPSET_OP_NONE && op->seq == state->seq && op->header.msg_len > 0)
        settle(wire, state, false);
    for (int side = 0; side < 2; side++) {
        /* those went with the process that had them */
        state->flow[side].fds_lost |= state->flow[side].fds > 0;
        state->flow[side].fds = 0;
    }
    snapset_region_commit(wire->region);
}

static SnapsetWireResult
read_end(SnapsetWire *wire, SnapsetSide side)
{
    snapset_region_begin(wire->region)->flow[side].eof = true;
    snapset_region_commit(wire->region);
    return SNAPSET_WIRE_DONE;
}

static int
receive(SnapsetWire *wire, SnapsetSide side)
{
    SnapsetOp *op = &wire->region->op;
    SnapsetState *state = snapset_region_begin(wire->region);
    SnapsetFlow *flow = &state->flow[side];

    make_room(wire, state, side);
    if (flow->sent != snapset_region_state(wire->region)->flow[side].sent)
        snapset_region_commit(wire->region);
    prepare(wire, SNAPSET_OP_READ, side,
            snapset_region_bytes(wire->region, state, side) + flow->fill,
            SNAPSET_HOLD - flow->fill);
    op->header.msg_hdr.msg_control = op->control.bytes;
    op->header.msg_hdr.msg_controllen = sizeof op->control.bytes;
    return recvmmsg(wire->socket[side], &op->header, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
}

SnapsetWireResult
snapset_wire_read(SnapsetWire *wire, SnapsetSide side)
{
    int rc = receive(wire, side);

    /* a reset is reported once, before the bytes that still wait and the end after them */
    while (rc < 0 && (errno == ECONNRESET || errno == EINTR))
        rc = receive(wire, side);
    if (rc < 0)
        return errno == EAGAIN ? SNAPSET_WIRE_LATER : read_end(wire, side);
    if (wire->region->op.header.msg_len == 0)
        return read_end(wire, side);
    commit_op(wire);
    return SNAPSET_WIRE_DONE;
}

static void
attach_fds(SnapsetWire *wire, const SnapsetFlow *flow, SnapsetSide side)
{
    SnapsetOp *op = &wire->region->op;
    struct cmsghdr *control = &op->control.align;

    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(flow->fds * sizeof(int));
    memcpy(CMSG_DATA(control), wire->fds[side], flow->fds * sizeof(int));
    op->header.msg_hdr.msg_control = control;
    op->header.msg_hdr.msg_controllen = CMSG_SPACE(flow->fds * sizeof(int));
}

/* What the client can no longer be told is taken as told, and the end of QEMU as its end. */
static SnapsetWireResult
transmit(SnapsetWire *wire, SnapsetSide to)
{
    SnapsetOp *op = &wire->region->op;
    int rc;

    do
        rc = wire->client_gone && to == SNAPSET_CLIENT
                 ? 0
                 : sendmmsg(wire->socket[to], &op->header, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno == EAGAIN)
        return SNAPSET_WIRE_LATER;
    if (rc <= 0) {
        wire->client_gone |= to == SNAPSET_CLIENT;
        op->header.msg_len = op->vector.iov_len;
    }
    commit_op(wire);
    return SNAPSET_WIRE_DONE;
}

SnapsetWireResult
snapset_wire_pass(SnapsetWire *wire, SnapsetSide side)
{
    const SnapsetState *state = snapset_region_state(wire->region);
    const SnapsetFlow *flow = &state->flow[side];
    uint32_t end = flow->safe;
    bool with_fds = flow->fds > 0 && flow->safe > flow->fds_from;

    /* descriptors go with the first byte of what they came with, not with what was before */
    if (with_fds && flow->sent < flow->fds_from) {
        end = flow->fds_from;
        with_fds = false;
    }
    prepare(wire, SNAPSET_OP_PASS, side,
            snapset_region_bytes(wire->region, state, side) + flow->sent, end - flow->sent);
    if (with_fds)
        attach_fds(wire, flow, side);
    return transmit(wire, other(side));
}

SnapsetWireResult
snapset_wire_inject(SnapsetWire *wire)
{
    const SnapsetState *state = snapset_region_state(wire->region);

    prepare(wire, SNAPSET_OP_INJECT, SNAPSET_QEMU, wire->region->inject + state->injected,
            state->inject - state->injected);
    return transmit(wire, SNAPSET_QEMU);
}

SnapsetWireResult
snapset_wire_answer(SnapsetWire *wire)
{
    const SnapsetState *state = snapset_region_state(wire->region);

    prepare(wire, SNAPSET_OP_ANSWER, SNAPSET_CLIENT, wire->region->answer + state->answered,
            state->answer - state->answered);
    return transmit(wire, SNAPSET_CLIENT);
}

void
snapset_wire_discard(SnapsetWire *wire, SnapsetState *state, SnapsetSide side)
{
    SnapsetFlow *flow = &state->flow[side];

    flow->sent = flow->safe = flow->begin = flow->scanned;
    if (flow->fds && flow->fds_to <= flow->sent)
        close_fds(wire, flow, side);
}
