/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making overlays on a set of files: all or none.
 *
 *     plan = snapset_overlay_plan_new(...) for each file
 *     snapset_overlays_judge(set, plans)
 *     snapset_engine_add() and snapset_overlays_add() for each
 *     snapset_overlays_make(engine, plans, &error)
 *     snapset_engine_commit(engine, &error)
 *
 * Each is made under a name that nobody knows and gets its own only when all are whole and stamped.
 */
#pragma once

#include "common/ops/engine.h"
#include "common/ops/operations.h"

typedef struct {
    char *base;            /* the file it stands on: absolute; of a file that is no device, real */
    char *folder, *name;   /* where it is made, absolute and real, and as what */
    char *path;            /* both together */
    char *shown;           /* @path as a person would name it */
    char *backing;         /* @base as it is named in the overlay */
    char *format;          /* of @base */
    guint owner, group;    /* of @base */
    SnapsetLedger *ledger; /* what is stamped into it */
} SnapsetOverlayPlan;

void snapset_overlay_plan_free(SnapsetOverlayPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetOverlayPlan, snapset_overlay_plan_free)

/*
 * Plan an overlay for snapshot @tag on the file @base, in format @format, for image @index of the
 * set, which stands in for the folder where @options name none. With @anew it gets a name that
 * nothing has and that is not among @plans. NULL with an error.
 */
SnapsetOverlayPlan *snapset_overlay_plan_new(const SnapsetSet *set, guint index, const char *base,
                                             const char *format, const char *tag, gboolean anew,
                                             const SnapsetOverlayOptions *options, GPtrArray *plans,
                                             GError **error);

/* Add to the set's report what stands against making @plans (of SnapsetOverlayPlan * or NULL). */
void snapset_overlays_judge(SnapsetSet *set, const char *tag, GPtrArray *plans);

/* Note what of the images will be out of reach under overlays. */
void snapset_overlays_note(SnapsetSet *set);

/* Say in set->moves that the overlays take the images' place. */
void snapset_overlays_move(SnapsetSet *set, GPtrArray *plans);

/* Put them there, and load the set anew. */
gboolean snapset_overlays_replace(SnapsetSet *set, GPtrArray *plans, GError **error);

/* The journal's @image gets an overlay by @plan. */
void snapset_overlays_add(SnapsetJournalImage *image, const SnapsetOverlayPlan *plan);

/*
 * Write the journal and make the overlays, parallel to its images; then freeze the images that
 * have a ledger for it. FALSE with all undone, or SNAPSET_ERROR_PENDING.
 */
gboolean snapset_overlays_make(SnapsetEngine *engine, GPtrArray *plans, GError **error);

/* Have the overlays of @plans put to use, if anybody wants to (SnapsetOverlayUser). */
gboolean snapset_overlays_use(GPtrArray *plans, const SnapsetOverlayOptions *options,
                              GError **error);

/*
 * In a recovery, before an operation that made overlays is finished: was one of the frozen images
 * written to since? Then nobody uses the overlays, and it is to be undone.
 */
gboolean snapset_overlays_are_overtaken(const SnapsetEngine *engine);
