/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See keeper.h. */
#include "libvirt-hooks/guard/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "libvirt-hooks/guard/log.h"
#include "libvirt-hooks/guard/privileges.h"

enum {
    LOOK_AROUND = 1000, /* ms between looks whether the socket is still there */
    RETRY = 10,         /* ms between attempts to reach a QEMU that is slow to accept */
    ENDING = 200,       /* ms that a QEMU which closed its side gets to end */
    QUICK_RESTARTS = 3, /* relays replaced at once though none came far; later ones after a pause */
    FAR = 3,            /* commits */
    RESTART_PAUSE = 500, /* ms */
};

static struct {
    const SnapsetKeeperSetup *setup;
    SnapsetStatus *status;
    SnapsetRegion *region;
    int client, qemu; /* of the connection that is relayed */
    int life[2];      /* open for writing in the keeper alone: its end is the keeper's end */
} guard = {.client = -1, .qemu = -1, .life = {-1, -1}};

static void
pause_for(int milliseconds)
{
    poll(NULL, 0, milliseconds);
}

static void
refused(const char *reason)
{
    guard.status->refused = time(NULL);
    snprintf(guard.status->reason, sizeof guard.status->reason, "%s", reason);
    snapset_guard_log(LOG_WARNING, "domain '%s': refused: %s", guard.setup->domain, reason);
    snapset_status_write(guard.status);
}

static void
trouble(const char *what, const char *why)
{
    snapset_guard_log(LOG_ERR, "domain '%s': %s: %s", guard.setup->domain, what, why);
}

/* ---- one connection ---------------------------------------------------------------------------
 */

static int serve(pid_t relay);

/* In the relay whose keeper died: the parent half keeps, the child half goes on relaying. */
static int
succeed(void)
{
    int life[2];
    pid_t relay;

    if (pipe2(life, O_CLOEXEC) != 0)
        return -1;
    relay = fork();
    if (relay < 0) {
        close(life[0]);
        close(life[1]);
        return -1;
    }
    close(guard.life[0]);
    memcpy(guard.life, life, sizeof life);
    if (relay == 0) {
        close(life[1]);
        guard.life[1] = -1;
        return life[0];
    }
    snapset_guard_log(LOG_WARNING, "domain '%s': the keeper died, process %d is the new one",
                      guard.setup->domain, (int)getpid());
    _exit(serve(relay));
}

static void __attribute__((noreturn)) become_relay(void)
{
    SnapsetRelaySetup setup = guard.setup->setup;

    prctl(PR_SET_NAME, "snapset-relay");
    close(guard.life[1]);
    guard.life[1] = -1;
    snapset_lower_privileges();
    setup.refused = refused;
    setup.trouble = trouble;
    setup.life = guard.life[0];
    setup.succeed = succeed;
    _exit(snapset_relay_run(guard.region, guard.client, guard.qemu, &setup) ? 1 : 0);
}

static pid_t
start_relay(void)
{
    pid_t pid;

    while ((pid = fork()) < 0)
        pause_for(RESTART_PAUSE);
    if (pid == 0)
        become_relay();
    return pid;
}

/* Keep one connection alive until its relay ends by itself. Returns whether QEMU ended it. */
static bool
keep_connection(pid_t relay)
{
    uint64_t reached = snapset_region_state(guard.region)->seq, before;
    int status, restarts = 0;

    for (;;) {
        while (waitpid(relay, &status, 0) < 0 && errno == EINTR)
            continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
            break;
        snapset_guard_log(LOG_ERR, "domain '%s': the relay died, a new one goes on",
                          guard.setup->domain);
        before = reached;
        reached = snapset_region_state(guard.region)->seq;
        restarts = reached - before > FAR ? 0 : restarts + 1;
        if (restarts > QUICK_RESTARTS)
            pause_for(RESTART_PAUSE);
        relay = start_relay();
    }
    close(guard.client);
    close(guard.qemu);
    guard.client = guard.qemu = -1;
    return WEXITSTATUS(status) == 1;
}

/* ---- one after another ------------------------------------------------------------------------
 */

/* The next client; -1: nobody can come any more. */
static int
next_client(void)
{
    struct pollfd listener = {guard.setup->place.listener, POLLIN, 0};
    int client;

    for (;;) {
        if (!snapset_place_is_ours(&guard.setup->place))
            return -1;
        if (poll(&listener, 1, LOOK_AROUND) <= 0)
            continue;
        client = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client >= 0)
            return client;
    }
}

/* QEMU for this client; -1: there is none any more. */
static int
reach_qemu(void)
{
    for (;;) {
        int qemu = snapset_place_connect(&guard.setup->place);

        if (qemu >= 0 || (errno != EAGAIN && errno != EINTR && errno != EMFILE && errno != ENFILE))
            return qemu;
        pause_for(RETRY);
    }
}

/* Whether QEMU, which has just closed its side unasked, is gone as a whole: then nobody listens
 * there. One that takes longer to end is found gone by the next client, or by its folder's end. */
static bool
is_gone(void)
{
    struct pollfd listener = {guard.setup->place.listener, POLLIN, 0};
    int qemu;

    if (poll(&listener, 1, ENDING) > 0)
        return false;
    qemu = snapset_place_connect(&guard.setup->place);
    if (qemu >= 0)
        close(qemu);
    return qemu < 0 && errno != EAGAIN;
}

static void
finish(void)
{
    snapset_place_remove(&guard.setup->place);
    snapset_status_remove(guard.status);
}

/* Serve clients, the first of them by the relay @relay if that is not 0, until the guest is gone.
 */
static int
serve(pid_t relay)
{
    prctl(PR_SET_NAME, "snapset-guard");
    snapset_raise_privileges();
    snapset_status_name(guard.status, getpid());
    snapset_status_write(guard.status);
    for (;;) {
        if (relay > 0 && keep_connection(relay) && is_gone())
            break;
        guard.client = next_client();
        guard.qemu = guard.client < 0 ? -1 : reach_qemu();
        if (guard.qemu < 0)
            break;
        snapset_region_reset(guard.region);
        relay = start_relay();
    }
    finish();
    return 0;
}

static void
ignore_signals(void)
{
    static const int ignored[] = {SIGTERM, SIGHUP,  SIGPIPE, SIGINT, SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGXFSZ, SIGXCPU};

    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

int
snapset_keeper_run(const SnapsetKeeperSetup *setup, int ready)
{
    guard.setup = setup;
    guard.status = snapset_status_new(setup->domain, setup->monitor);
    guard.region = snapset_region_new();
    if (!guard.status || !guard.region || pipe2(guard.life, O_CLOEXEC) != 0 ||
        !snapset_helper_prepare())
        return 1;
    ignore_signals();
    snapset_protect_from_oom_killer();
    snapset_keep_file_privileges();
    prctl(PR_SET_DUMPABLE, 0);
    if (write(ready, "", 1) != 1)
        return 1;
    close(ready);
    return serve(0);
}
