/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hook's work, in a process that can be given up.
 *
 * Whoever touches a disk on a file system that hangs is deaf to all signals but SIGKILL, and
 * sometimes to that. libvirt waits for its hook without limit, holding the domain meanwhile, and
 * for everybody who has the hook's standard streams. So a worker does what may hang, without these
 * streams, and the hook itself only waits for it, for a limited time.
 */
#pragma once

#include <glib.h>

/* What the hook will report: shared with the worker, and as good without its end as with it. */
typedef struct {
    int exit_code;        /* 0: pass, 1: refuse */
    char text[16 * 1024]; /* what the person at virsh is told; "": nothing */
} SnapsetOutcome;

/* One that passes; never freed. */
SnapsetOutcome *snapset_outcome_new(void);

/* From now on: pass; refuse, with this text. */
void snapset_outcome_pass(SnapsetOutcome *outcome);
void snapset_outcome_refuse(SnapsetOutcome *outcome, const char *format, ...) G_GNUC_PRINTF(2, 3);

typedef void SnapsetWork(SnapsetOutcome *outcome, gpointer data);

/*
 * Do @work in a process of its own, and end that, with all it has started, after @seconds. NULL
 * when it came to its end; else why not, and @outcome is what it was made last.
 */
const char *snapset_supervise(guint seconds, SnapsetWork *work, SnapsetOutcome *outcome,
                              gpointer data);
