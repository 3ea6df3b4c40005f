/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What create, apply and delete have in common: steps that are carried out on all images at once
 * under a journal, and that can be finished or undone by the journal alone.
 *
 *     snapset_engine_make()     phase make: an entry called journal->tag in every image
 *     snapset_overlays_make()   phase make: an overlay on every image (common/ops/overlays.h)
 *     snapset_engine_apply()    phase apply
 *     snapset_engine_merge()    phase merge: overlays written into their backing files
 *     snapset_engine_finish()   phase finish: doomed entries deleted, ledgers stamped, ...
 *     snapset_engine_undo()     in phases make and apply: back to how it was before
 *
 * Every step finds out from the images what is left to do, so that doing it again after a crash is
 * harmless. The caller holds the locks of all handles; they are given up only while qemu-img works.
 */
#pragma once

#include "common/io/journal.h"
#include "common/io/stamp.h"
#include "common/ops/set.h"

/*
 * What others have to do once all files are as they shall be. When it fails everything is undone;
 * but with SNAPSET_ERROR_PENDING, when nobody can tell what they did, it is left to a recovery.
 */
typedef gboolean (*SnapsetLastStep)(gpointer data, GError **error);

typedef struct {
    SnapsetJournal *journal;
    GPtrArray *handles; /* of SnapsetHandle *, borrowed, parallel to the journal's images */
    GPtrArray *before;  /* of SnapsetImage *, borrowed, likewise; NULL: in a recovery */
    GPtrArray *opened;  /* of SnapsetHandle *: those that are the engine's own; NULL: none */
    const SnapsetQemuTools *tools;
    SnapsetProgress progress; /* NULL: none */
    gpointer progress_data;
    gboolean is_in_use;      /* by a running machine: nothing is locked, or written to */
    gboolean is_recovery;    /* others may have used the images since: nothing is sealed */
    gboolean proves_current; /* afterwards it is certain where the images stand: they are sealed */
    GPtrArray *notes;        /* of char *: in a recovery, what a person should know; NULL: nobody */
    SnapsetLastStep last_step; /* NULL: none */
    gpointer last_data;
} SnapsetEngine;

/* ---- over a set ---- */

/*
 * An engine over the images of @set for which @wanted (NULL: all) holds a non-NULL item; makes the
 * journal, in phase make.
 */
gboolean snapset_engine_init(SnapsetEngine *ret_engine, const char *operation, SnapsetSet *set,
                             GPtrArray *wanted, GError **error);

/* The same over no image yet. */
gboolean snapset_engine_init_empty(SnapsetEngine *ret_engine, const char *operation,
                                   SnapsetSet *set, GError **error);

/* Add a file, read as @image, which is open and locked as @handle. */
SnapsetJournalImage *snapset_engine_add(SnapsetEngine *engine, SnapsetHandle *handle,
                                        const SnapsetImage *image);

/*
 * Add link @link of image @index of @set, opened and locked if it is not the image itself, unless
 * it is there already: *ret_at is its position. FALSE with an error; that somebody else uses it is
 * SNAPSET_ERROR_REFUSED, and in the set's report.
 */
gboolean snapset_engine_add_link(SnapsetEngine *engine, SnapsetSet *set, guint index, guint link,
                                 guint *ret_at, GError **error);

/* The position of the file that was read as @image; it is there. */
guint snapset_engine_position(const SnapsetEngine *engine, const SnapsetImage *image);

/* Free what it holds; the journal's file stays. */
void snapset_engine_clear(SnapsetEngine *engine);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SnapsetEngine, snapset_engine_clear)

/* ---- steps ---- */

/* Make an entry called journal->tag in every image; no image has it yet. */
gboolean snapset_engine_make(SnapsetEngine *engine, GError **error);

/*
 * Apply in each image its entry of @entries (of SnapsetEntry *, parallel to the journal's images;
 * NULL: leave that image as it is). Moves the journal to phase apply first.
 */
gboolean snapset_engine_apply(SnapsetEngine *engine, GPtrArray *entries, GError **error);

/* Write merged overlays into their backing files. The journal is on disk in phase merge. */
gboolean snapset_engine_merge(SnapsetEngine *engine, GError **error);

/*
 * Delete what is doomed, name the new backing files, stamp the new ledgers, give new overlays
 * their names, remove merged ones. The journal is on disk in phase finish.
 */
gboolean snapset_engine_finish(SnapsetEngine *engine, GError **error);

/* Stamp the new ledgers and nothing else. */
gboolean snapset_engine_stamp(SnapsetEngine *engine, GError **error);

/*
 * The operation went well: move the journal to phase finish, finish, and remove it. On failure
 * everything is undone; only what another snapshot was applied to, or what was merged, stays
 * SNAPSET_ERROR_PENDING.
 */
gboolean snapset_engine_commit(SnapsetEngine *engine, GError **error);

/* TRUE when no doomed entry has been deleted anywhere yet. */
gboolean snapset_engine_is_untouched(SnapsetEngine *engine);

/*
 * May an interrupted apply be undone without losing anything? FALSE with SNAPSET_ERROR_PENDING
 * when a machine, or anyone, has written to an image since.
 */
gboolean snapset_engine_is_unwritten(const SnapsetEngine *engine, GError **error);

/* Bring all images back to how they were; in phases make and apply. */
gboolean snapset_engine_undo(SnapsetEngine *engine, GError **error);

/*
 * A step failed with *@error: undo the operation and remove the journal, or, when even that fails,
 * turn *@error into SNAPSET_ERROR_PENDING and keep the journal. Returns FALSE.
 */
gboolean snapset_engine_abort(SnapsetEngine *engine, GError **error);

/* Everything is done: remove the journal. While it is there the operation counts as pending. */
gboolean snapset_engine_end(SnapsetEngine *engine, GError **error);

/* The operation could not be finished: turn *@error into SNAPSET_ERROR_PENDING. Returns FALSE. */
gboolean snapset_engine_leave_pending(SnapsetEngine *engine, GError **error);

/* ---- for steps ---- */

/* The image @index as it is now. Caller frees; NULL with an error that names it. */
SnapsetImage *snapset_engine_read(const SnapsetEngine *engine, guint index, GError **error);

/* The journal's image @index, its handle, and whether it is a qcow2 image; borrowed. */
SnapsetJournalImage *snapset_engine_image(const SnapsetEngine *engine, guint index);
SnapsetHandle *snapset_engine_handle(const SnapsetEngine *engine, guint index);
gboolean snapset_engine_is_qcow2(const SnapsetEngine *engine, guint index);

/*
 * Makes the child that works on image @index, which now is as in @image (NULL: no qcow2 image);
 * NULL without an error when there is nothing to do.
 */
typedef SnapsetChild *(*SnapsetTask)(const SnapsetEngine *engine, guint index,
                                     const SnapsetImage *image, gpointer data, GError **error);

/* Run @task on every image at once. FALSE with the first error, after all have ended. */
gboolean snapset_engine_run(const SnapsetEngine *engine, SnapsetTask task, gpointer data,
                            GError **error);

/* Tell the person something, in a recovery. */
void snapset_engine_note(SnapsetEngine *engine, const char *format, ...) G_GNUC_PRINTF(2, 3);
