/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the events of a domain's live journal make of the record of one of its images; values in,
 * values out.
 *
 * The journal may be replayed late, twice, or after others have changed the image and its record.
 * So what was recorded since is never taken back: an image that is sealed, or whose record names
 * another current than at the last start, gets the records that it lacks, and keeps its current.
 * And an entry that neither the journal nor a record tells of, because its event could not be
 * written or another host has it, leaves unknown where the image stood from then to the next event.
 */
#pragma once

#include "common/core/image.h"
#include "common/core/lineage.h"
#include "common/io/live-journal.h"

typedef struct {
    SnapsetUuid at;      /* where the image stands */
    gboolean is_changed; /* the ledger says more than the image's own */
    gboolean is_certain; /* the image stands at the ledger's current, if no other program moved it
                            after the events */
    const SnapsetLiveEvent *frozen_by; /* the external snapshot that it became the backing file of;
                                          NULL: none, or it was written to again since */
} SnapsetReplayed;

/* The external snapshot of @event as the records of @overlay say it; borrows from the event. */
SnapsetExternal snapset_replay_external(const SnapsetLiveEvent *event,
                                        const SnapsetLiveImage *overlay);

/* Apply @events (of SnapsetLiveEvent *) to @ledger, a copy of @image's or an empty one. */
SnapsetReplayed snapset_replay(const SnapsetImage *image, GPtrArray *events, SnapsetLedger *ledger);

/*
 * The ledger of link @link of @image without the external snapshots of @events whose overlays a job
 * has since merged away: what came from them then came from what they came from. Caller frees;
 * NULL: it names none.
 */
SnapsetLedger *snapset_replay_forget(const SnapsetImage *image, guint link, GPtrArray *events);

/*
 * Did a job move data into @image? QEMU opens a backing file to write when it is open already,
 * which leaves its seal alone (FORMAT.md, "The seal"): that proves nothing then.
 */
gboolean snapset_replay_moves_into(GPtrArray *events, const SnapsetImage *image);
