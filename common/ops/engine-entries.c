/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's steps over entries of snapshot tables. */
#include "common/ops/engine-parts.h"

#include <string.h>

#include "common/io/image-read.h"

/* ---- tasks ---- */

static SnapsetChild *
create_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
            GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));
    return snapset_qemu_create(engine->tools, &target, engine->journal->tag);
}

/* What a recovery finds later than this after the start was made by somebody else. */
#define MADE_WITHIN_SECONDS 60

/*
 * The entry that this operation made; NULL: there is none. After a crash somebody else may have
 * made one of the same name in an image that had none yet; from then on that every image has ours
 * is known, however long it took.
 */
static const SnapsetEntry *
find_made(const SnapsetEngine *engine, const SnapsetImage *image)
{
    const SnapsetJournal *journal = engine->journal;

    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        gint64 age = (gint64)entry->moment.date_sec - journal->started;
        if (strcmp(entry->tag, journal->tag) == 0 &&
            (!engine->is_recovery || journal->phase != SNAPSET_PHASE_MAKE ||
             (age >= -1 && age <= MADE_WITHIN_SECONDS)))
            return entry;
    }
    return NULL;
}

static SnapsetChild *
apply_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
           GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));
    const SnapsetEntry *made = find_made(engine, image);
    return made == NULL ? NULL : snapset_qemu_apply(engine->tools, &target, image, made, error);
}

static SnapsetChild *
delete_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
            GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));
    const SnapsetEntry *made = find_made(engine, image);
    return made == NULL ? NULL : snapset_qemu_delete(engine->tools, &target, image, made, error);
}

static const SnapsetEntry *
find_exact(const SnapsetImage *image, const char *id, const char *tag, guint64 binding)
{
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        if (snapset_identity_binding(&entry->derived) == binding && strcmp(entry->id, id) == 0 &&
            strcmp(entry->tag, tag) == 0)
            return entry;
    }
    return NULL;
}

/* @data: a GPtrArray of SnapsetEntry *, as read before. */
static SnapsetChild *
apply_entry(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
            GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));
    const SnapsetEntry *wanted = ((GPtrArray *)data)->pdata[index];

    if (wanted == NULL)
        return NULL;
    const SnapsetEntry *entry =
        find_exact(image, wanted->id, wanted->tag, snapset_identity_binding(&wanted->derived));
    if (entry == NULL) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "the snapshot has disappeared");
        return NULL;
    }
    return snapset_qemu_apply(engine->tools, &target, image, entry, error);
}

/* The next doomed entry that is still there; NULL: all are gone. */
static const SnapsetEntry *
next_doomed(const SnapsetEngine *engine, guint index, const SnapsetImage *image)
{
    const GPtrArray *doomed = snapset_engine_image(engine, index)->doomed;

    for (guint i = 0; i < doomed->len; i++) {
        const SnapsetDoomed *one = doomed->pdata[i];
        const SnapsetEntry *entry = find_exact(image, one->id, one->tag, one->binding);
        if (entry != NULL)
            return entry;
    }
    return NULL;
}

/* @data: a gboolean that is set when there is one to delete. */
static SnapsetChild *
delete_doomed(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
              GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));
    const SnapsetEntry *entry = next_doomed(engine, index, image);

    if (entry == NULL)
        return NULL;
    *(gboolean *)data = TRUE;
    return snapset_qemu_delete(engine->tools, &target, image, entry, error);
}

/* ---- steps ---- */

gboolean
snapset_engine_make(SnapsetEngine *engine, GError **error)
{
    return snapset_engine_run(engine, create_made, NULL, error);
}

gboolean
snapset_engine_apply(SnapsetEngine *engine, GPtrArray *entries, GError **error)
{
    engine->journal->phase = SNAPSET_PHASE_APPLY;
    return snapset_journal_write(engine->journal, error) &&
           snapset_engine_run(engine, apply_entry, entries, error);
}

/*
 * A snapshot that was taken later would hide what was written before it. QEMU puts new ones at the
 * table's end.
 */
static gboolean
is_last(const SnapsetEntry *made, const SnapsetImage *image)
{
    return made == snapset_image_entry(image, image->entries->len - 1);
}

gboolean
snapset_engine_is_unwritten(const SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        g_autoptr(SnapsetImage) image = snapset_engine_read(engine, i, error);
        if (image == NULL)
            return FALSE;
        const SnapsetEntry *made = find_made(engine, image);
        if (made == NULL ||
            (is_last(made, image) &&
             snapset_image_is_unwritten(snapset_engine_handle(engine, i)->fd, image)))
            continue;
        snapset_throw(error, SNAPSET_ERROR_PENDING, "it was %s since; going back would lose that",
                      is_last(made, image) ? "written to" : "taken a snapshot of");
        return snapset_name_error(error, image->filename);
    }
    return TRUE;
}

gboolean
snapset_entries_undo(SnapsetEngine *engine, GError **error)
{
    if (engine->journal->tag == NULL)
        return TRUE;
    if (engine->journal->phase == SNAPSET_PHASE_APPLY &&
        !snapset_engine_run(engine, apply_made, NULL, error))
        return FALSE;
    return snapset_engine_run(engine, delete_made, NULL, error);
}

gboolean
snapset_entries_delete(SnapsetEngine *engine, GError **error)
{
    guint rounds = 0;
    gboolean any;

    for (guint i = 0; i < engine->handles->len; i++)
        rounds = MAX(rounds, snapset_engine_image(engine, i)->doomed->len);
    if (rounds == 0)
        return TRUE;
    do { /* one entry an image and round, and a last round that finds nothing */
        any = FALSE;
        if (!snapset_engine_run(engine, delete_doomed, &any, error))
            return FALSE;
    } while (any && rounds-- > 0);
    return !any || snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU did not delete the snapshot");
}

gboolean
snapset_entries_are_whole(const SnapsetEngine *engine)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const GPtrArray *doomed = snapset_engine_image(engine, i)->doomed;
        if (doomed->len == 0)
            continue;
        g_autoptr(SnapsetImage) image = snapset_engine_read(engine, i, NULL);
        for (guint j = 0; j < doomed->len; j++) {
            const SnapsetDoomed *one = doomed->pdata[j];
            if (image == NULL || find_exact(image, one->id, one->tag, one->binding) == NULL)
                return FALSE;
        }
    }
    return TRUE;
}
