/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What create, apply and delete have in common: steps that are carried out on all images at once
 * under a journal, and that can be finished or undone by the journal alone.
 *
 *     snapset_engine_make()     phase make: an entry called journal->tag in every image
 *     snapset_engine_apply()    phase apply
 *     snapset_engine_finish()   phase finish: doomed entries deleted, ledgers stamped
 *     snapset_engine_undo()     whatever the phase: back to how it was before
 *
 * Every step finds out from the images what is left to do, so that doing it again after a crash is
 * harmless. The caller holds the locks of all handles; they are given up only while qemu-img works.
 */
#pragma once

#include "common/io/journal.h"
#include "common/ops/set.h"

typedef struct {
    SnapsetJournal *journal;
    GPtrArray *handles; /* of SnapsetHandle *, borrowed, parallel to the journal's images */
    GPtrArray *before;  /* of SnapsetImage *, borrowed, likewise; NULL: in a recovery */
    const SnapsetQemuTools *tools;
    SnapsetProgress progress; /* NULL: none */
    gpointer progress_data;
    gboolean is_recovery; /* others may have used the images since: nothing is sealed */
    gboolean keeps_seals; /* only what was sealed before is sealed */
} SnapsetEngine;

/* Make an entry called journal->tag in every image; no image has it yet. */
gboolean snapset_engine_make(SnapsetEngine *engine, GError **error);

/*
 * Apply in each image its entry of @entries (of SnapsetEntry *, parallel to the journal's images;
 * NULL: leave that image as it is). Moves the journal to phase apply first.
 */
gboolean snapset_engine_apply(SnapsetEngine *engine, GPtrArray *entries, GError **error);

/* Delete what is doomed and stamp the new ledgers. The journal is on disk in phase finish. */
gboolean snapset_engine_finish(SnapsetEngine *engine, GError **error);

/*
 * The operation went well: move the journal to phase finish, finish, and remove it. On failure
 * everything is undone; only what another snapshot was applied to stays SNAPSET_ERROR_PENDING.
 */
gboolean snapset_engine_commit(SnapsetEngine *engine, GError **error);

/* TRUE when no doomed entry has been deleted anywhere yet. */
gboolean snapset_engine_is_untouched(SnapsetEngine *engine);

/*
 * May an interrupted apply be undone without losing anything? FALSE with SNAPSET_ERROR_PENDING
 * when a machine, or anyone, has written to an image since.
 */
gboolean snapset_engine_is_unwritten(const SnapsetEngine *engine, GError **error);

/* Bring all images back to how they were; not in phase finish. */
gboolean snapset_engine_undo(SnapsetEngine *engine, GError **error);

/*
 * A step failed with *@error: undo the operation and remove the journal, or, when even that fails,
 * turn *@error into SNAPSET_ERROR_PENDING and keep the journal. Returns FALSE.
 */
gboolean snapset_engine_abort(SnapsetEngine *engine, GError **error);

/* The operation could not be finished: turn *@error into SNAPSET_ERROR_PENDING. Returns FALSE. */
gboolean snapset_engine_leave_pending(SnapsetEngine *engine, GError **error);

/*
 * An engine over the images of @set for which @wanted (NULL: all) holds a non-NULL item; makes the
 * journal, in phase make.
 */
gboolean snapset_engine_init(SnapsetEngine *ret_engine, const char *operation, SnapsetSet *set,
                             GPtrArray *wanted, GError **error);
void snapset_engine_clear(SnapsetEngine *engine);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SnapsetEngine, snapset_engine_clear)

/* The image @index as it is now. Caller frees; NULL with an error that names it. */
SnapsetImage *snapset_engine_read(const SnapsetEngine *engine, guint index, GError **error);

/* The journal's image @index; borrowed. */
SnapsetJournalImage *snapset_engine_image(const SnapsetEngine *engine, guint index);
