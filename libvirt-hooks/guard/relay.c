/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The relay's loop: decide, write, run the judge and the recorder, wait, read. See relay.h. */
#include "libvirt-hooks/guard/relay-parts.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum {
    POLL_CLIENT,
    POLL_QEMU,
    POLL_LIFE,
    POLL_HELPER,
    POLL_COUNT = POLL_HELPER + 2
};

enum {
    BUSY_USEC = 250,       /* about what QEMU takes for a short command */
    CROWDED_USEC = 100000, /* so long nobody is kept from the processor again */
};

static const SnapsetState *
now(const SnapsetRelay *relay)
{
    return snapset_region_state(relay->region);
}

/* ---- judge and recorder -----------------------------------------------------------------------
 */

static void
refuse_unjudged(SnapsetRelay *relay)
{
    char reason[SNAPSET_REASON];

    snprintf(reason, sizeof reason,
             "the judge of snapshot commands failed: %.2000s; without its word none is allowed "
             "(on-judge-failure=deny)",
             relay->helper.failure);
    snapset_client_deny(relay, reason);
}

static void
judged(SnapsetRelay *relay, SnapsetHelperResult result)
{
    const SnapsetRelaySetup *setup = relay->setup;

    if (result == SNAPSET_HELPER_FAILED)
        setup->trouble(setup->allow_on_failure ? "judge failed, command allowed"
                                               : "judge failed, command refused",
                       relay->helper.failure);
    if (result == SNAPSET_HELPER_DENIED)
        snapset_client_deny(relay, relay->helper.output);
    else if (result == SNAPSET_HELPER_ALLOWED || setup->allow_on_failure)
        snapset_client_allow(relay);
    else
        refuse_unjudged(relay);
}

static void
finished_helper(SnapsetRelay *relay, SnapsetHelperResult result)
{
    if (now(relay)->recording < 0) {
        judged(relay, result);
        return;
    }
    if (result == SNAPSET_HELPER_FAILED)
        relay->setup->trouble("not recorded", relay->helper.failure);
    snapset_qemu_recorded(relay);
}

/* An event's name: the same for each attempt to record it. All relays of a guard share
 * the region, so its birth names the guard. */
static void
event_name(const SnapsetRelay *relay, char *name, size_t room)
{
    snprintf(name, room, "%" PRIu64 "-%" PRIu64, relay->region->born, now(relay)->events);
}

/* The command in a slot, which QEMU was given. */
static SnapsetSpan
slot_command(const SnapsetRelay *relay, int slot)
{
    return (SnapsetSpan){relay->region->commands[slot], now(relay)->jobs[slot].length};
}

/* What a helper is for: a slot, whose command is to be recorded, or one of these. */
enum {
    FOR_JUDGING = -1,
    FOR_NOTHING = -2
};

/* What is needed now. */
static int
needed(const SnapsetState *state)
{
    if (state->recording >= 0)
        return state->recording;
    return state->phase == SNAPSET_JUDGE ? FOR_JUDGING : FOR_NOTHING;
}

/* What is needed now, or next. There is always to be a judge that waits. */
static int
wanted(const SnapsetRelay *relay)
{
    const SnapsetState *state = now(relay);

    if (needed(state) != FOR_NOTHING)
        return needed(state);
    if (state->phase == SNAPSET_AWAIT)
        return state->await;
    for (int i = 0; i < SNAPSET_JOBS; i++)
        if (snapset_job_is_open(&state->jobs[i]))
            return i;
    if (relay->ready_for == FOR_JUDGING || snapset_now() >= relay->judge_from)
        return FOR_JUDGING;
    return FOR_NOTHING;
}

static bool
start_helper(SnapsetRelay *relay, int purpose)
{
    const SnapsetHelperSetup *setup = &relay->setup->helper;
    char event[64];

    event_name(relay, event, sizeof event);
    relay->ready_for = purpose;
    relay->ahead = purpose != needed(now(relay));
    return purpose == FOR_JUDGING ? snapset_helper_start_judge(&relay->helper, setup, event)
                                  : snapset_helper_start_recorder(&relay->helper, setup, event,
                                                                  slot_command(relay, purpose));
}

static void
end_helper(SnapsetRelay *relay, SnapsetHelperResult result)
{
    relay->ready_for = FOR_NOTHING;
    relay->judge_from = snapset_now() + SNAPSET_QUIET;
    finished_helper(relay, result);
    if (relay->helper.pid == 0)
        return;
    /* a judge that has allowed */
    if (now(relay)->phase == SNAPSET_AWAIT) {
        relay->ready_for = now(relay)->await;
        relay->ahead = true;
    } else {
        snapset_helper_stop(&relay->helper);
    }
}

/* Start what is wanted. What could not be started ahead is started when it is needed. */
static bool
begin_helper(SnapsetRelay *relay)
{
    int purpose = wanted(relay);

    if (purpose == FOR_NOTHING || (purpose == relay->ready_for && purpose != needed(now(relay)))) {
        if (purpose == FOR_NOTHING)
            relay->ready_for = FOR_NOTHING;
        return false;
    }
    if (!start_helper(relay, purpose) && !relay->ahead)
        end_helper(relay, SNAPSET_HELPER_FAILED);
    return true;
}

/* Whether the one that was started ahead still waits, and may be used. */
static bool
is_ready(SnapsetRelay *relay)
{
    return snapset_helper_check(&relay->helper) == SNAPSET_HELPER_RUNNING &&
           snapset_helper_is_current(&relay->helper, &relay->setup->helper);
}

/* There is one that waits: for what is needed now, or will be. */
static bool
advance_waiting(SnapsetRelay *relay)
{
    int purpose = needed(now(relay));

    if (purpose == FOR_NOTHING && wanted(relay) == relay->ready_for)
        return false;
    if (purpose != relay->ready_for || (relay->ahead && !is_ready(relay))) {
        snapset_helper_stop(&relay->helper);
        return true;
    }
    snapset_helper_go(&relay->helper,
                      purpose == FOR_JUDGING ? snapset_client_command(relay)
                                             : snapset_qemu_reply(relay),
                      relay->setup->helper.limit);
    return true;
}

/* Start, watch and finish what the state calls for. False: nothing to do now. */
static bool
advance_helper(SnapsetRelay *relay)
{
    SnapsetHelperResult result;

    if (relay->helper.pid == 0)
        return begin_helper(relay);
    if (snapset_helper_is_waiting(&relay->helper))
        return advance_waiting(relay);
    result = snapset_helper_check(&relay->helper);
    if (result == SNAPSET_HELPER_RUNNING)
        return false;
    end_helper(relay, result);
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef SnapsetWireResult Write(SnapsetWire *wire);

static SnapsetWireResult
pass_client(SnapsetWire *wire)
{
    return snapset_wire_pass(wire, SNAPSET_CLIENT);
}

static SnapsetWireResult
pass_qemu(SnapsetWire *wire)
{
    return snapset_wire_pass(wire, SNAPSET_QEMU);
}

static Write *
due_to_qemu(const SnapsetState *state)
{
    const SnapsetFlow *flow = &state->flow[SNAPSET_CLIENT];

    if (flow->sent < flow->safe)
        return pass_client;
    return state->injected < state->inject ? snapset_wire_inject : NULL;
}

/* Our answer goes between lines, when QEMU owes none, and once begun nothing goes before its end.
 */
static Write *
due_to_client(const SnapsetState *state)
{
    const SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];

    if (state->phase == SNAPSET_ANSWER && state->answered > 0)
        return state->answered < state->answer ? snapset_wire_answer : NULL;
    if (flow->sent < flow->safe)
        return pass_qemu;
    return state->phase == SNAPSET_ANSWER && state->owed == 0 && state->line_end
               ? snapset_wire_answer
               : NULL;
}

static bool
write_all(SnapsetRelay *relay)
{
    Write *to_qemu = due_to_qemu(now(relay)), *to_client = due_to_client(now(relay));
    bool moved = false;

    if (to_qemu)
        moved |= to_qemu(&relay->wire) == SNAPSET_WIRE_DONE;
    if (to_client)
        moved |= to_client(&relay->wire) == SNAPSET_WIRE_DONE;
    return moved;
}

/* ---- waiting and reading ----------------------------------------------------------------------
 */

static bool
wants_client(const SnapsetRelay *relay)
{
    SnapsetPhase phase = now(relay)->phase;

    return snapset_wire_has_room(&relay->wire, SNAPSET_CLIENT) &&
           (phase == SNAPSET_PASS || phase == SNAPSET_STREAM || phase == SNAPSET_DRAIN ||
            phase == SNAPSET_SWALLOW || phase == SNAPSET_SKIP || phase == SNAPSET_LINE_END);
}

static bool
wants_qemu(const SnapsetRelay *relay)
{
    const SnapsetState *state = now(relay);

    return snapset_wire_has_room(&relay->wire, SNAPSET_QEMU) && state->recording < 0 &&
           !state->hidden;
}

/* The client has said all and it was dealt with. */
static bool
client_done(const SnapsetState *state)
{
    return state->flow[SNAPSET_CLIENT].eof && !due_to_qemu(state) && state->recording < 0 &&
           (state->phase == SNAPSET_PASS || state->phase == SNAPSET_STREAM);
}

static bool
qemu_done(const SnapsetState *state)
{
    const SnapsetFlow *flow = &state->flow[SNAPSET_QEMU];

    return flow->eof && flow->sent == flow->fill && state->recording < 0;
}

/* A socket nobody reads or writes now is left out: its hang-up would be told again and again. */
static void
watch_socket(struct pollfd *poll, int fd, bool read, bool write, bool hang_up)
{
    *poll = (struct pollfd){read || write || hang_up ? fd : -1,
                            (read ? POLLIN : 0) | (write ? POLLOUT : 0), 0};
}

static int
time_left(const SnapsetRelay *relay)
{
    const SnapsetState *state = now(relay);
    int64_t until = INT64_MAX, clock;

    if (state->phase == SNAPSET_SWALLOW || state->phase == SNAPSET_SKIP ||
        state->phase == SNAPSET_LINE_END)
        until = state->deadline;
    if (relay->helper.pid && relay->helper.deadline < until)
        until = relay->helper.deadline;
    if (relay->ready_for == FOR_NOTHING && relay->judge_from < until)
        until = relay->judge_from;
    if (until == INT64_MAX)
        return -1;
    clock = snapset_now();
    if (relay->helper.pid && relay->helper.pid_fd < 0 && clock + 10 < until)
        until = clock + 10;
    return until > clock ? until - clock : 0;
}

/* The keeper died. The judge at work is a child of this process, which is not to be the relay any
 * more: it is asked again. */
static void
succeed_keeper(SnapsetRelay *relay)
{
    snapset_helper_stop(&relay->helper);
    relay->ready_for = FOR_NOTHING;
    relay->life = relay->setup->succeed();
}

static int64_t
microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* How often somebody else got the processor that this process could have used. */
static long
yielded(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/*
 * Being woken up from an idle processor costs more than all the rest of a round trip: so for a
 * moment after there was something to do, the relay looks for more before it sleeps. Not where
 * others want the processor: then the waking is quick, and they would have to wait.
 */
static int
wait_for(SnapsetRelay *relay, struct pollfd *polls, int count, int timeout)
{
    int64_t start = microseconds();
    int ready = 0;

    while (ready == 0 && start >= relay->crowded_until && microseconds() < start + BUSY_USEC) {
        long before = yielded();

        sched_yield();
        if (yielded() != before)
            relay->crowded_until = start + CROWDED_USEC;
        ready = poll(polls, count, 0);
    }
    return ready ? ready : poll(polls, count, timeout);
}

/* Wait for something to do and read what came. False: the client is gone for good. */
static bool
wait_and_read(SnapsetRelay *relay)
{
    const SnapsetState *state = now(relay);
    struct pollfd polls[POLL_COUNT];
    bool done = client_done(state);
    int count = POLL_HELPER;

    watch_socket(&polls[POLL_CLIENT], relay->wire.socket[SNAPSET_CLIENT], wants_client(relay),
                 due_to_client(state) != NULL, done);
    watch_socket(&polls[POLL_QEMU], relay->wire.socket[SNAPSET_QEMU], wants_qemu(relay),
                 due_to_qemu(state) != NULL, false);
    polls[POLL_LIFE] = (struct pollfd){relay->life, POLLIN, 0};
    count += snapset_helper_poll(&relay->helper, polls + count);
    if (wait_for(relay, polls, count, time_left(relay)) < 0)
        return true;
    if (polls[POLL_LIFE].revents) {
        succeed_keeper(relay);
        return true;
    }
    if (done && polls[POLL_CLIENT].revents & (POLLHUP | POLLERR))
        return false;
    if (wants_client(relay) && polls[POLL_CLIENT].revents & (POLLIN | POLLHUP | POLLERR))
        snapset_wire_read(&relay->wire, SNAPSET_CLIENT);
    if (wants_qemu(relay) && polls[POLL_QEMU].revents & (POLLIN | POLLHUP | POLLERR))
        snapset_wire_read(&relay->wire, SNAPSET_QEMU);
    return true;
}

/* Tell QEMU of the client's end. */
static void
pass_end(SnapsetRelay *relay)
{
    SnapsetState *state = snapset_region_begin(relay->region);

    shutdown(relay->wire.socket[SNAPSET_QEMU], SHUT_WR);
    state->shut = true;
    snapset_region_commit(relay->region);
}

bool
snapset_relay_run(SnapsetRegion *region, int client, int qemu, const SnapsetRelaySetup *setup)
{
    SnapsetRelay relay = {.region = region,
                          .setup = setup,
                          .life = setup->life,
                          .ready_for = FOR_NOTHING,
                          .judge_from = snapset_now() + SNAPSET_QUIET,
                          .wire = {.region = region, .socket = {client, qemu}}};
    bool here = true;

    snapset_wire_resume(&relay.wire);
    while (here && !qemu_done(now(&relay))) {
        if (snapset_client_advance(&relay) | snapset_qemu_advance(&relay) | advance_helper(&relay) |
            write_all(&relay))
            continue;
        if (client_done(now(&relay)) && relay.wire.client_gone)
            break;
        if (client_done(now(&relay)) && !now(&relay)->shut)
            pass_end(&relay);
        here = wait_and_read(&relay);
    }
    snapset_helper_stop(&relay.helper);
    return qemu_done(now(&relay)) && !now(&relay)->flow[SNAPSET_CLIENT].eof;
}
