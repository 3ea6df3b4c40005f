/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's stream: which commands pass, wait, or are refused. */
#include "libvirt-hooks/guard/relay-parts.h"

#include <stdio.h>
#include <string.h>

static const char query_jobs[] = "{\"execute\": \"query-jobs\"}\r\n";

static SnapsetSpan
message(SnapsetRelay *relay, const SnapsetState *state)
{
    const SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];

    return (SnapsetSpan){snapset_region_bytes(relay->region, state, SNAPSET_CLIENT) + flow->begin,
                         flow->scanned - flow->begin};
}

SnapsetSpan
snapset_client_command(SnapsetRelay *relay)
{
    return message(relay, snapset_region_state(relay->region));
}

/* @text as the inside of a JSON string, printable ASCII on one line. */
static size_t
quote(char *bytes, const char *text)
{
    size_t length = 0;

    for (; *text; text++) {
        unsigned char byte = *text;

        if (byte == '"' || byte == '\\')
            bytes[length++] = '\\';
        bytes[length++] = byte < ' ' ? ' ' : byte > '~' ? '?' : byte;
    }
    return length;
}

/* Make the answer that refuses @command; it may be a mere beginning, or empty. */
static void
make_answer(SnapsetRelay *relay, SnapsetState *state, SnapsetSpan command, const char *reason)
{
    static const char middle[] =
        "\"error\": {\"class\": \"GenericError\", \"desc\": \"snapshot-set: ";
    static const char end[] = "\"}}\r\n";
    char *at = relay->region->answer;
    SnapsetSpan id;
    size_t length;

    *at++ = '{';
    if (snapset_read_member(command, "id", &id) > 0 &&
        (length = snapset_read_copy(id, at + 6, SNAPSET_ID)) > 0) {
        memcpy(at, "\"id\": ", 6);
        memcpy(at + 6 + length, ", ", 2);
        at += 6 + length + 2;
    }
    at = mempcpy(at, middle, strlen(middle));
    at += quote(at, reason);
    at = mempcpy(at, end, strlen(end));
    state->answer = at - relay->region->answer;
    state->answered = 0;
    relay->setup->refused(reason);
}

static void
refuse(SnapsetRelay *relay, SnapsetState *state, const char *reason)
{
    make_answer(relay, state, message(relay, state), reason);
    state->flow[SNAPSET_CLIENT].fds_lost = false;
    state->phase = SNAPSET_LINE_END;
    state->deadline = snapset_now() + SNAPSET_LINE_END_WAIT;
}

static void
pass_on(SnapsetState *state)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];

    flow->safe = flow->begin = flow->scanned;
    state->owed++;
    state->probed = false;
    state->phase = SNAPSET_PASS;
}

/* Whether jobs have ended, or may have, whose outcome must be known before this command passes. */
static bool
needs_probe(const SnapsetState *state, SnapsetSpan command)
{
    bool ended = false;

    for (int i = 0; i < SNAPSET_JOBS; i++)
        ended |= state->jobs[i].state == SNAPSET_JOB_ENDED;
    return ended && !state->oob && !state->probed && !snapset_watch_is(command, "query-jobs") &&
           !snapset_watch_is(command, "qmp_capabilities");
}

/* Where no judge waits yet: its start would take the processor from what the client is at. But
 * libvirt stops the guest before it takes or loads a snapshot. */
static void
expect_snapshot(SnapsetRelay *relay, SnapsetSpan command)
{
    relay->judge_from = snapset_watch_is(command, "stop") ? 0 : snapset_now() + SNAPSET_QUIET;
}

static void
message_end(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetSpan command = message(relay, state);
    unsigned flags;
    SnapsetCommand kind = snapset_watch_classify(command, &flags);

    if (state->flow[SNAPSET_CLIENT].fds_lost)
        refuse(relay, state, "file descriptors that came with this command were lost");
    else if (kind == SNAPSET_COMMAND_BROKEN)
        refuse(relay, state, "JSON parse error, duplicate or clashing key");
    else if (kind == SNAPSET_COMMAND_WATCHED || needs_probe(state, command))
        state->phase = SNAPSET_HELD;
    else {
        state->oob |= snapset_watch_enables_oob(command);
        expect_snapshot(relay, command);
        pass_on(state);
    }
}

/* A message fills the buffer and is not whole. */
static void
outgrown(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];
    SnapsetSpan beginning = message(relay, state);
    unsigned flags;

    if (snapset_watch_classify(beginning, &flags) == SNAPSET_COMMAND_PLAIN && !flow->fds_lost &&
        !snapset_watch_is_open(beginning)) {
        pass_on(state);
        state->phase = SNAPSET_STREAM;
        return;
    }
    make_answer(relay, state, beginning, "a command this long cannot be judged");
    flow->fds_lost = false;
    state->phase = SNAPSET_DRAIN;
}

/* The next byte makes no sense. What QEMU has of this message already is brought to an end. */
static void
malformed(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];

    if (state->phase == SNAPSET_STREAM) {
        flow->safe = flow->scanned;
        state->inject = snapset_frame_closing(&flow->frame, relay->region->inject);
        state->injected = 0;
    } else if (state->phase == SNAPSET_PASS) {
        make_answer(relay, state, (SnapsetSpan){0}, "JSON parse error");
    }
    memset(&flow->frame, 0, sizeof flow->frame);
    flow->fds_lost = false;
    state->phase = state->phase == SNAPSET_STREAM ? SNAPSET_SKIP : SNAPSET_SWALLOW;
    state->deadline = snapset_now() + SNAPSET_LINE_END_WAIT;
}

static void
scan_byte(SnapsetRelay *relay, SnapsetState *state, unsigned char byte)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];
    bool between = flow->frame.depth == 0;
    SnapsetFrameStep step = snapset_frame_feed(&flow->frame, byte);

    if (step == SNAPSET_FRAME_BAD) {
        malformed(relay, state);
        return;
    }
    if (between)
        flow->begin = flow->scanned;
    flow->scanned++;
    if (step == SNAPSET_FRAME_SPACE) {
        flow->safe = flow->begin = flow->scanned;
    } else if (step == SNAPSET_FRAME_END && state->phase == SNAPSET_PASS) {
        message_end(relay, state);
    } else if (step == SNAPSET_FRAME_END && state->phase == SNAPSET_STREAM) {
        flow->safe = flow->begin = flow->scanned;
        state->phase = SNAPSET_PASS;
    } else if (step == SNAPSET_FRAME_END) {
        state->phase = SNAPSET_LINE_END;
        state->deadline = snapset_now() + SNAPSET_LINE_END_WAIT;
    }
}

static bool
is_scanning(const SnapsetState *state)
{
    return state->phase == SNAPSET_PASS || state->phase == SNAPSET_STREAM ||
           state->phase == SNAPSET_DRAIN;
}

static bool
scan(SnapsetRelay *relay)
{
    const SnapsetFlow *old = &snapset_region_state(relay->region)->flow[SNAPSET_CLIENT];
    SnapsetState *state;
    SnapsetFlow *flow;
    const char *bytes;
    uint32_t before;

    if (old->scanned == old->fill && old->fill - old->sent < SNAPSET_HOLD)
        return false;
    state = snapset_region_begin(relay->region);
    flow = &state->flow[SNAPSET_CLIENT];
    bytes = snapset_region_bytes(relay->region, state, SNAPSET_CLIENT);
    before = flow->scanned;

    while (flow->scanned < flow->fill && is_scanning(state))
        scan_byte(relay, state, bytes[flow->scanned]);
    if (state->phase == SNAPSET_PASS && flow->sent == flow->begin &&
        flow->scanned - flow->begin == SNAPSET_HOLD)
        outgrown(relay, state);
    if (state->phase == SNAPSET_STREAM)
        flow->safe = flow->scanned;
    if (state->phase == SNAPSET_DRAIN && flow->sent < flow->scanned)
        snapset_wire_discard(&relay->wire, state, SNAPSET_CLIENT);
    if (flow->scanned == before && is_scanning(state) &&
        flow->sent == snapset_region_state(relay->region)->flow[SNAPSET_CLIENT].sent &&
        state->phase == snapset_region_state(relay->region)->phase)
        return false;
    snapset_region_commit(relay->region);
    return true;
}

/* Take bytes out of the stream through the next line end; of blanks only, if @blanks. Tells
 * whether that is done: the line end is out, or something else stands there. */
static bool
take_line(SnapsetRelay *relay, SnapsetState *state, bool blanks)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];
    const char *bytes = snapset_region_bytes(relay->region, state, SNAPSET_CLIENT);
    bool done = false;

    while (flow->scanned < flow->fill && !done) {
        char byte = bytes[flow->scanned];

        if (blanks && byte != ' ' && byte != '\t' && byte != '\r' && byte != '\n') {
            done = true;
            break;
        }
        flow->scanned++;
        done = byte == '\n';
    }
    snapset_wire_discard(&relay->wire, state, SNAPSET_CLIENT);
    return done;
}

static bool
finish_line(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];
    bool more = flow->fill > flow->sent, done;

    if (flow->sent < flow->safe || state->injected < state->inject)
        return false;
    done = take_line(relay, state, state->phase == SNAPSET_LINE_END);
    if (done || flow->eof || snapset_now() >= state->deadline)
        state->phase = state->phase == SNAPSET_SKIP ? SNAPSET_PASS : SNAPSET_ANSWER;
    else if (!more)
        return false;
    else if (state->phase != SNAPSET_LINE_END)
        state->deadline = snapset_now() + SNAPSET_LINE_END_WAIT;
    snapset_region_commit(relay->region);
    return true;
}

/* Look at the command that was held, now that nothing is owed for those before it. */
static bool
consider(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);
    SnapsetSpan command = message(relay, state);
    unsigned flags;

    if (state->flow[SNAPSET_CLIENT].sent < state->flow[SNAPSET_CLIENT].safe || state->owed > 0 ||
        state->injected < state->inject || state->recording >= 0 || state->hidden)
        return false;
    if (needs_probe(state, command)) {
        state->inject = strlen(query_jobs);
        state->injected = 0;
        memcpy(relay->region->inject, query_jobs, state->inject);
        state->owed++;
        state->phase = SNAPSET_PROBE;
    } else if (snapset_watch_classify(command, &flags) != SNAPSET_COMMAND_WATCHED) {
        pass_on(state);
    } else if (flags & SNAPSET_WATCH_ASK) {
        state->phase = SNAPSET_JUDGE;
    } else {
        snapset_client_allow(relay);
        return true;
    }
    snapset_region_commit(relay->region);
    return true;
}

static bool
answered(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);

    if (state->answered < state->answer)
        return false;
    state->answer = state->answered = 0;
    state->phase = SNAPSET_PASS;
    snapset_region_commit(relay->region);
    return true;
}

static bool
job_id(SnapsetSpan command, char *ret_id)
{
    SnapsetSpan arguments, id;

    return snapset_read_member(command, "arguments", &arguments) == 1 &&
           snapset_read_member(arguments, "job-id", &id) == 1 &&
           snapset_read_text(id, ret_id, SNAPSET_JOB_ID);
}

/* Let the line end that is there already go with its command: what comes later waits. */
static void
take_line_end(SnapsetRelay *relay, SnapsetState *state)
{
    SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];
    const char *bytes = snapset_region_bytes(relay->region, state, SNAPSET_CLIENT);

    while (flow->scanned < flow->fill &&
           (bytes[flow->scanned] == '\r' || bytes[flow->scanned] == '\n'))
        flow->scanned++;
}

void
snapset_client_allow(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);
    SnapsetSpan command = message(relay, state);
    uint32_t slot = 0;
    unsigned flags;

    snapset_watch_classify(command, &flags);
    while (slot < SNAPSET_JOBS && state->jobs[slot].state != SNAPSET_JOB_FREE)
        slot++;
    if (!(flags & SNAPSET_WATCH_RECORD) || state->oob) {
        if (state->oob)
            relay->setup->trouble("not recorded", "out-of-band execution is on");
        pass_on(state);
    } else if (slot == SNAPSET_JOBS) {
        refuse(relay, state, "too many snapshot jobs at once");
    } else if (flags & SNAPSET_WATCH_JOB && !job_id(command, relay->region->job_ids[slot])) {
        refuse(relay, state, "this command needs a job-id of at most 511 ASCII characters");
    } else {
        memcpy(relay->region->commands[slot], command.at, command.length);
        state->jobs[slot].state = SNAPSET_JOB_STARTING;
        state->jobs[slot].length = command.length;
        state->jobs[slot].flags = flags;
        state->await = slot;
        take_line_end(relay, state);
        pass_on(state);
        state->phase = SNAPSET_AWAIT;
    }
    snapset_region_commit(relay->region);
}

void
snapset_client_deny(SnapsetRelay *relay, const char *reason)
{
    SnapsetState *state = snapset_region_begin(relay->region);

    refuse(relay, state, reason);
    snapset_region_commit(relay->region);
}

bool
snapset_client_advance(SnapsetRelay *relay)
{
    switch (snapset_region_state(relay->region)->phase) {
    case SNAPSET_PASS:
    case SNAPSET_STREAM:
    case SNAPSET_DRAIN:
        return scan(relay);
    case SNAPSET_SWALLOW:
    case SNAPSET_SKIP:
    case SNAPSET_LINE_END:
        return finish_line(relay);
    case SNAPSET_HELD:
        return consider(relay);
    case SNAPSET_ANSWER:
        return answered(relay);
    default:
        return false;
    }
}
