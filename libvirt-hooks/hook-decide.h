/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the hook does with an event, as a pure function: no file, no clock, no process.
 *
 * Events and when libvirt calls them: https://libvirt.org/hooks.html, "/etc/libvirt/hooks/qemu".
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/report.h"

typedef enum {
    SNAPSET_EVENT_PREPARE, /* before a start, also of a revert: may refuse */
    SNAPSET_EVENT_START,   /* the monitor's socket listens, QEMU does not run yet: may refuse */
    SNAPSET_EVENT_STARTED, /* the guest runs: a failing hook would kill it */
    SNAPSET_EVENT_RELEASE, /* everything is closed */
    SNAPSET_EVENT_OTHER,   /* everything else: passes */
} SnapsetHookEvent;

/* libvirt's words for an event; unknown ones, which later versions may bring, are OTHER. */
SnapsetHookEvent snapset_hook_event(const char *operation, const char *sub_operation);

typedef struct {
    int exit_code;  /* 0: go on; 1: refused */
    char *refusal;  /* what the person at virsh is told; NULL: nothing */
    GPtrArray *log; /* of char *: warnings for the system's log */
} SnapsetDecision;

SnapsetDecision *snapset_decision_new(void);
void snapset_decision_free(SnapsetDecision *decision);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetDecision, snapset_decision_free)

/*
 * Decide @event over the images of the domain. @report brings the policy, and what was found
 * before; it is filled.
 */
SnapsetDecision *snapset_hook_decide(SnapsetHookEvent event, const SnapsetCatalog *catalog,
                                     SnapsetReport *report);
