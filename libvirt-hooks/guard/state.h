/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a relay knows, in memory that outlives it.
 *
 * One shared anonymous mapping is made before the first relay starts. It holds everything: bytes
 * read and not yet written, where both streams stand, which command waits for what. A relay that
 * is killed at any instruction can be replaced by another one on the same two sockets, which loses
 * and repeats no byte. Two rules make that so:
 *
 * - The state proper (SnapsetState) exists twice. Changes are made to the spare copy, and storing
 *   its number in `current` commits them all at once. The large buffers are written only where no
 *   committed state says that something stands; moving what is left in a buffer to its front copies
 *   it to the buffer's twin.
 *
 * - Reading and writing sockets is sendmmsg() and recvmmsg() of one message whose header lies in
 *   `op`: the kernel itself stores there how much was moved, before it can deliver a kill. `op.seq`
 *   names the state under which the call was made. A new relay that finds the committed state still
 *   there looks at the length and goes on as if it had made the call itself.
 *
 * What cannot be kept: file descriptors that were received and not yet passed on die with the
 * process; the command they came with is then refused. A judge or recorder dies with its relay and,
 * where it was at work, is started again by the next one, so a recorder may see one event twice:
 * the variable SNAPSHOT_SET_EVENT in its environment is then the same.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "libvirt-hooks/guard/qmp-frame.h"

enum {
    SNAPSET_HOLD = 64 * 1024,    /* longest command judged, longest reply recorded */
    SNAPSET_FDS = 16,            /* with one command; as many as QEMU takes */
    SNAPSET_JOBS = 4,            /* snapshot jobs at once */
    SNAPSET_JOB_ID = 512,        /* longest name of one; libvirt makes it of the 255 of a tag */
    SNAPSET_ID = 4096,           /* longest "id" echoed in a refusal */
    SNAPSET_REASON = 4096,       /* longest reason given for a refusal */
    SNAPSET_LINE_END_WAIT = 100, /* ms that a refusal waits for the line end of its command */
    SNAPSET_QUIET = 20,          /* ms without a command, after which a judge is started ahead */
};

typedef enum {
    SNAPSET_CLIENT,
    SNAPSET_QEMU
} SnapsetSide;

/* Bytes of one direction on their way: sent <= safe <= scanned <= fill. */
typedef struct {
    uint32_t twin;    /* which of the two buffers holds them */
    uint32_t fill;    /* end of what was read */
    uint32_t scanned; /* end of what the frame has seen */
    uint32_t safe;    /* end of what may be passed on */
    uint32_t sent;    /* end of what was */
    uint32_t begin;   /* of the message that is being scanned */
    uint32_t fds;     /* descriptors that came with the bytes from fds_from to fds_to */
    uint32_t fds_from, fds_to;
    bool fds_lost; /* some that belong to the next message are gone */
    bool eof;
    SnapsetFrame frame;
} SnapsetFlow;

/* What the client's stream waits for. */
typedef enum {
    SNAPSET_PASS,     /* nothing: messages pass as they become whole */
    SNAPSET_STREAM,   /* a plain command too long to hold passes as it comes */
    SNAPSET_DRAIN,    /* the end of a command too long to judge, to be refused */
    SNAPSET_SWALLOW,  /* the end of the line after what is no message, to be refused */
    SNAPSET_SKIP,     /* the same, but QEMU answers it */
    SNAPSET_HELD,     /* all replies owed, before a watched command is looked at */
    SNAPSET_PROBE,    /* QEMU's answer to our own query-jobs */
    SNAPSET_JUDGE,    /* the judge */
    SNAPSET_LINE_END, /* the line end of a refused command */
    SNAPSET_ANSWER,   /* the refusal to be written */
    SNAPSET_AWAIT,    /* QEMU's answer to a watched command */
} SnapsetPhase;

typedef enum {
    SNAPSET_JOB_FREE,
    SNAPSET_JOB_STARTING,
    SNAPSET_JOB_OPEN,
    SNAPSET_JOB_ENDED
} SnapsetJobState;

/* A watched command that QEMU was given, until it is recorded. Slots also serve commands that start
 * no job, for the time until their reply. */
typedef struct {
    SnapsetJobState state;
    uint32_t length; /* of the command in the region's `commands` */
    uint32_t flags;
} SnapsetJob;

typedef struct {
    uint64_t seq; /* of the commit */
    SnapsetFlow flow[2];
    SnapsetPhase phase;
    uint32_t owed;             /* replies QEMU still owes, the greeting among them */
    uint32_t inject, injected; /* bytes of ours for QEMU, and how many it got */
    uint32_t answer, answered; /* bytes of ours for the client */
    int64_t deadline;          /* of SNAPSET_LINE_END and the swallowing phases; ms, 0: none */
    bool oob;                  /* out-of-band execution is on: nothing can be told by order */
    bool probed;               /* the held command's jobs were asked for */
    bool shut;                 /* QEMU was told the client's end */
    bool released;             /* the message being scanned on QEMU's side is passed on already */
    bool line_end;             /* QEMU's side: nothing was passed on since the last line end */
    bool drop_line;            /* QEMU's side: the rest of the line is not for the client */
    int32_t recording;         /* the slot whose recorder runs, or -1 */
    uint32_t reply;            /* bytes of the reply to be recorded, 0: it was too long */
    bool hidden;               /* the reply being recorded is not for the client */
    uint32_t await;            /* the slot SNAPSET_AWAIT is about */
    uint64_t events;           /* recorded so far */
    SnapsetJob jobs[SNAPSET_JOBS];
} SnapsetState;

typedef enum {
    SNAPSET_OP_NONE,
    SNAPSET_OP_READ,   /* from `side` */
    SNAPSET_OP_PASS,   /* what came from `side`, to the other */
    SNAPSET_OP_INJECT, /* to QEMU */
    SNAPSET_OP_ANSWER, /* to the client */
} SnapsetOpKind;

typedef struct {
    struct mmsghdr header;
    struct iovec vector;
    union {
        char bytes[CMSG_SPACE(SNAPSET_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    SnapsetOpKind kind;
    SnapsetSide side;
    _Atomic uint64_t seq;
} SnapsetOp;

typedef struct {
    SnapsetState state[2];
    _Atomic uint32_t current;
    SnapsetOp op;
    char bytes[2][2][SNAPSET_HOLD]; /* by side and twin */
    char commands[SNAPSET_JOBS][SNAPSET_HOLD];
    char job_ids[SNAPSET_JOBS][SNAPSET_JOB_ID];
    char inject[SNAPSET_FRAME_CLOSING];
    char answer[SNAPSET_ID + 6 * SNAPSET_REASON];
    uint64_t born; /* names this region among all of this host */
} SnapsetRegion;

/* Make the region; NULL with errno on failure. */
SnapsetRegion *snapset_region_new(void);

/* Make it ready for a new pair of connections; jobs that were open stay so. */
void snapset_region_reset(SnapsetRegion *region);

/* The committed state. */
static inline const SnapsetState *
snapset_region_state(const SnapsetRegion *region)
{
    return &region->state[region->current];
}

/* A copy of it to change; and to make the changes count. */
SnapsetState *snapset_region_begin(SnapsetRegion *region);
void snapset_region_commit(SnapsetRegion *region);

/* The buffer of @flow, which is that of @side. */
static inline char *
snapset_region_bytes(SnapsetRegion *region, const SnapsetState *state, SnapsetSide side)
{
    return region->bytes[side][state->flow[side].twin];
}
