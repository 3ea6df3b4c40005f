/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's stream: what is owed, what is done, and what waits until it is recorded. */
#include "libvirt-hooks/guard/relay-parts.h"

#include <string.h>

bool
snapset_job_is_open(const SnapsetJob *job)
{
    return job->state == SNAPSET_JOB_OPEN || job->state == SNAPSET_JOB_ENDED;
}

static bool
has_open_jobs(const SnapsetState *state)
{
    for (int i = 0; i < SNAPSET_JOBS; i++)
        if (snapset_job_is_open(&state->jobs[i]))
            return true;
    return false;
}

bool
snapset_qemu_by_line(const SnapsetState *state)
{
    return (state->phase != SNAPSET_PASS && state->phase != SNAPSET_STREAM) || has_open_jobs(state);
}

static SnapsetSpan
message(SnapsetRelay *relay, const SnapsetState *state)
{
    const SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];

    return (SnapsetSpan){snapset_region_bytes(relay->region, state, SNAPSET_QEMU) + flow->begin,
                         flow->scanned - flow->begin};
}

SnapsetSpan
snapset_qemu_reply(SnapsetRelay *relay)
{
    const SnapsetState *state = snapset_region_state(relay->region);
    SnapsetSpan reply = message(relay, state);

    reply.length = state->reply;
    return reply;
}

static void
record(SnapsetRelay *relay, SnapsetState *state, int slot)
{
    state->recording = slot;
    state->reply = state->released ? 0 : message(relay, state).length;
}

/* What the reply says about the job @id: whether it is listed, has ended, and well. */
static void
find_job(SnapsetSpan reply, const char *id, bool *ret_listed, bool *ret_ended, bool *ret_good)
{
    SnapsetSpan list = {0}, job = {0}, value;

    *ret_listed = *ret_ended = *ret_good = false;
    if (snapset_read_member(reply, "return", &list) != 1)
        return;
    while (!*ret_listed && snapset_read_element(list, &job)) {
        *ret_listed = snapset_read_member(job, "id", &value) == 1 && snapset_read_is(value, id) &&
                      snapset_read_member(job, "status", &value) == 1;
        *ret_ended = *ret_listed && snapset_read_is(value, "concluded");
        *ret_good = *ret_ended && snapset_read_member(job, "error", &value) == 0;
    }
}

/* Look for our jobs in a reply that may be one to query-jobs; begins the recording of the first one
 * found done. */
static void
examine_jobs(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetSpan reply = message(relay, state), value;
    bool failed = snapset_read_member(reply, "return", &value) == 0;

    for (int i = 0; i < SNAPSET_JOBS && state->recording < 0; i++) {
        SnapsetJob *job = &state->jobs[i];
        bool listed, ended, good;

        if (!snapset_job_is_open(job))
            continue;
        find_job(reply, relay->region->job_ids[i], &listed, &ended, &good);
        if (good)
            record(relay, state, i);
        else if (ended)
            job->state = SNAPSET_JOB_FREE;
        else if (listed)
            job->state = SNAPSET_JOB_OPEN;
        else if (state->hidden && !failed) {
            job->state = SNAPSET_JOB_FREE;
            relay->setup->trouble("not recorded", "a snapshot job ended unseen");
        }
    }
}

static void
watched_reply(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetJob *job = &state->jobs[state->await];
    bool good = state->flow[SNAPSET_QEMU].frame.seen & SNAPSET_SEEN_RETURN;
    SnapsetSpan text;

    if (good && job->flags & SNAPSET_WATCH_HMP && !state->released)
        good = snapset_read_member(message(relay, state), "return", &text) == 1 &&
               !snapset_read_contains(text, "Error");
    if (good && !(job->flags & SNAPSET_WATCH_JOB)) {
        record(relay, state, state->await);
        return;
    }
    job->state = good ? SNAPSET_JOB_OPEN : SNAPSET_JOB_FREE;
    state->phase = SNAPSET_PASS;
}

static void
event(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetSpan line = message(relay, state), name, data, id, status;

    if (snapset_read_member(line, "event", &name) != 1 ||
        !snapset_read_is(name, "JOB_STATUS_CHANGE") ||
        snapset_read_member(line, "data", &data) != 1 ||
        snapset_read_member(data, "id", &id) != 1 ||
        snapset_read_member(data, "status", &status) != 1)
        return;
    for (int i = 0; i < SNAPSET_JOBS; i++) {
        SnapsetJob *job = &state->jobs[i];

        if (!snapset_job_is_open(job) || !snapset_read_is(id, relay->region->job_ids[i]))
            continue;
        if (snapset_read_is(status, "concluded"))
            job->state = SNAPSET_JOB_ENDED;
        if (!snapset_read_is(status, "null"))
            continue;
        job->state = SNAPSET_JOB_FREE;
        relay->setup->trouble("not recorded", "a snapshot job was dismissed by somebody else");
    }
}

static void
message_end(SnapsetRelay *relay, SnapsetState *state)
{
    unsigned seen = state->flow[SNAPSET_QEMU].frame.seen;

    if (seen & SNAPSET_SEEN_EVENT || seen == 0) {
        if (!state->released && has_open_jobs(state))
            event(relay, state);
        return;
    }
    if (state->owed > 0)
        state->owed--;
    if (state->owed == 0 && state->phase == SNAPSET_PROBE)
        state->hidden = true;
    else if (state->owed == 0 && state->phase == SNAPSET_AWAIT)
        watched_reply(relay, state);
    if (state->phase != SNAPSET_AWAIT && !state->released && !state->oob && has_open_jobs(state))
        examine_jobs(relay, state);
}

static void
scan_byte(SnapsetRelay *relay, SnapsetState *state, unsigned char byte)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];
    bool between = flow->frame.depth == 0;
    SnapsetFrameStep step = snapset_frame_feed(&flow->frame, byte);

    /* what QEMU says wrong is passed on; the next line begins afresh */
    if (step == SNAPSET_FRAME_BAD)
        memset(&flow->frame, 0, sizeof flow->frame);
    if (between && step != SNAPSET_FRAME_SPACE) {
        flow->begin = flow->scanned;
        state->released = false;
    }
    flow->scanned++;
    if (step == SNAPSET_FRAME_END)
        message_end(relay, state);
    if (step != SNAPSET_FRAME_SPACE || byte != '\n')
        return;
    flow->safe = flow->scanned;
    state->line_end = true;
}

/* Whether the reply just scanned has to wait, or is not for the client. */
static bool
is_stopped(const SnapsetState *state)
{
    return state->recording >= 0 || state->hidden || state->drop_line;
}

/* Pass on what belongs to a message that is not whole yet, if nobody waits for the whole, or if it
 * is too long; the answer to our own query is dropped instead. */
static void
release(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];
    bool full = flow->scanned - flow->sent == SNAPSET_HOLD && flow->safe == flow->sent;

    if (is_stopped(state) || flow->safe == flow->scanned)
        return;
    if (snapset_qemu_by_line(state) && !full && !flow->eof)
        return;
    if (state->phase == SNAPSET_PROBE && full)
        snapset_wire_discard(&relay->wire, state, SNAPSET_QEMU);
    flow->safe = flow->scanned;
    state->released = true;
    state->line_end = state->phase == SNAPSET_PROBE && full;
}

/* Take our own query's reply out of the stream, once all before it is out. */
static bool
drop_hidden(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);
    SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];

    if (flow->sent < flow->safe || state->recording >= 0)
        return false;
    snapset_wire_discard(&relay->wire, state, SNAPSET_QEMU);
    state->hidden = false;
    state->drop_line = true;
    state->probed = true;
    state->phase = SNAPSET_HELD;
    snapset_region_commit(relay->region);
    return true;
}

static bool
drop_blanks(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);
    SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];
    const char *bytes = snapset_region_bytes(relay->region, state, SNAPSET_QEMU);
    char byte;

    if (flow->scanned == flow->fill)
        return false;
    byte = bytes[flow->scanned];
    if (byte == '\r' || byte == '\n') {
        flow->scanned++;
        snapset_wire_discard(&relay->wire, state, SNAPSET_QEMU);
    }
    state->drop_line = byte == '\r';
    snapset_region_commit(relay->region);
    return true;
}

bool
snapset_qemu_advance(SnapsetRelay *relay)
{
    const SnapsetState *committed = snapset_region_state(relay->region);
    const SnapsetFlow *before = &committed->flow[SNAPSET_QEMU];
    SnapsetState *state;
    SnapsetFlow *flow;
    const char *bytes;

    if (committed->hidden)
        return drop_hidden(relay);
    if (committed->drop_line)
        return drop_blanks(relay);
    if (committed->recording >= 0 ||
        (before->scanned == before->fill && before->safe == before->fill))
        return false;
    state = snapset_region_begin(relay->region);
    flow = &state->flow[SNAPSET_QEMU];
    bytes = snapset_region_bytes(relay->region, state, SNAPSET_QEMU);
    while (flow->scanned < flow->fill && !is_stopped(state))
        scan_byte(relay, state, bytes[flow->scanned]);
    release(relay, state);
    if (flow->scanned == before->scanned && flow->safe == before->safe)
        return false;
    snapset_region_commit(relay->region);
    return true;
}

void
snapset_qemu_recorded(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);

    state->jobs[state->recording].state = SNAPSET_JOB_FREE;
    state->recording = -1;
    state->events++;
    if (state->phase == SNAPSET_AWAIT)
        state->phase = SNAPSET_PASS;
    else if (!state->released)
        examine_jobs(relay, state);
    snapset_region_commit(relay->region);
}
