/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's steps over overlays that are merged into their backing files. */
#include "common/ops/engine-parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/io/chain.h"

/*
 * After a crash the machine may have gone on with the overlay that it wrote to: what it wrote then
 * has to be merged too, for as long as that overlay is there. While its seal is whole nobody wrote
 * to it since it was merged, and then the machine may have gone on with the backing file.
 */
static gboolean
needs_commit(const SnapsetEngine *engine, const SnapsetJournalImage *image,
             const SnapsetImage *overlay)
{
    return image->commit_into != NULL && (engine->journal->phase == SNAPSET_PHASE_MERGE ||
                                          (image->is_active && !overlay->sealed));
}

static SnapsetChild *
commit(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
       GError **error)
{
    const SnapsetJournalImage *journal_image = snapset_engine_image(engine, index);
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));

    return needs_commit(engine, journal_image, image)
               ? snapset_qemu_commit(engine->tools, &target, journal_image->commit_into)
               : NULL;
}

static gboolean
merges(const SnapsetEngine *engine)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        if (snapset_engine_image(engine, i)->commit_into != NULL)
            return TRUE;
    }
    return FALSE;
}

/* Nothing is removed before what took its place is on disk. */
static gboolean
sync_all(const SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetHandle *handle = snapset_engine_handle(engine, i);
        if (fdatasync(handle->fd) < 0)
            return snapset_throw_errno(error, errno, "cannot write '%s' to disk",
                                       handle->source->name);
    }
    return TRUE;
}

/*
 * qemu-img first opens a backing file to read and then changes its mind, which leaves the seal
 * alone (block.c, bdrv_reopen): that goes first.
 */
static gboolean
break_seals(const SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetHandle *handle = snapset_engine_handle(engine, i);
        if (snapset_engine_image(engine, i)->is_merged_into && snapset_engine_is_qcow2(engine, i) &&
            !snapset_break_seal(handle->fd, error))
            return snapset_name_error(error, handle->source->name);
    }
    return TRUE;
}

/* From now on the backing file may be used: see needs_commit(). */
static gboolean
seal_merged(const SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetHandle *handle = snapset_engine_handle(engine, i);
        if (snapset_engine_image(engine, i)->is_active && !snapset_seal(handle->fd, error))
            return snapset_name_error(error, handle->source->name);
    }
    return TRUE;
}

gboolean
snapset_engine_merge(SnapsetEngine *engine, GError **error)
{
    return !merges(engine) ||
           (break_seals(engine, error) && snapset_engine_run(engine, commit, NULL, error) &&
            sync_all(engine, error) && seal_merged(engine, error));
}

static SnapsetChild *
rebase(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
       GError **error)
{
    const SnapsetJournalImage *journal_image = snapset_engine_image(engine, index);
    SnapsetQemuTarget target = snapset_handle_target(snapset_engine_handle(engine, index));

    if (journal_image->backing == NULL ||
        g_strcmp0(image->backing_filename, journal_image->backing) == 0)
        return NULL;
    return snapset_qemu_rebase(engine->tools, &target, journal_image->backing,
                               journal_image->backing_format);
}

/* The merge again, after a crash: not a third time, if this too is interrupted. */
static gboolean
merge_again(SnapsetEngine *engine, GError **error)
{
    if (!merges(engine))
        return TRUE;
    if (!snapset_engine_merge(engine, error))
        return FALSE;
    engine->journal->phase = SNAPSET_PHASE_FINISH;
    return snapset_journal_write(engine->journal, error);
}

gboolean
snapset_merge_switch(SnapsetEngine *engine, GError **error)
{
    return (!engine->is_recovery || merge_again(engine, error)) &&
           snapset_engine_run(engine, rebase, NULL, error);
}

/* ---- seals after a recovery ---- */

/* The file of this operation that @overlay stands on, as it is now; NULL: none of it. */
static SnapsetImage *
read_base(const SnapsetEngine *engine, const SnapsetImage *overlay, const char *path)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        SnapsetFileStatus status;
        if (!snapset_engine_is_qcow2(engine, i) ||
            !snapset_file_status(snapset_engine_handle(engine, i)->fd, &status, NULL))
            continue;
        SnapsetImage base = {.device = status.device, .inode = status.inode};
        if (snapset_chain_leads_to(overlay, path, &base))
            return snapset_engine_read(engine, i, NULL);
    }
    return NULL;
}

static gboolean
settle(SnapsetEngine *engine, guint index, GError **error)
{
    const char *path = snapset_engine_handle(engine, index)->path;
    g_autoptr(SnapsetImage) overlay = snapset_engine_read(engine, index, error);

    if (overlay == NULL)
        return FALSE;
    g_autoptr(SnapsetImage) base = read_base(engine, overlay, path);
    if (base == NULL || !snapset_chain_has_changed(overlay, base))
        return TRUE;
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(overlay->ledger);
    for (guint i = 0; i < ledger->records->len; i++)
        ((SnapsetRecord *)ledger->records->pdata[i])->flags &= ~SNAPSET_RECORD_BASE_SEALED;
    g_autoptr(GBytes) bytes = snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, error);
    g_autofree char *name = snapset_format_quoted(path);
    snapset_engine_note(engine,
                        "nothing proves any more that the backing file of %s stays as it is", name);
    return bytes != NULL &&
           snapset_engine_stamp_bytes(engine, index, bytes, SNAPSET_SEAL_KEEP, error);
}

gboolean
snapset_merge_settle(SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; merges(engine) && i < engine->handles->len; i++) {
        const SnapsetJournalImage *image = snapset_engine_image(engine, i);
        if (!image->is_removed && snapset_engine_is_qcow2(engine, i) && !settle(engine, i, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- files that are no longer needed ---- */

gboolean
snapset_merge_clean(SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetJournalImage *image = snapset_engine_image(engine, i);
        gboolean is_there = FALSE;
        if (!image->is_removed)
            continue;
        if (image->is_active)
            snapset_engine_note(engine, "%s -> %s", image->path, image->commit_into);
        if (snapset_file_is(image->path, image->inode, &is_there)) {
            if (!snapset_file_remove(image->path, error))
                return FALSE;
        } else if (is_there && image->inode != 0) { /* no device, which stays */
            return snapset_throw(error, SNAPSET_ERROR_FAILED, "'%s' is another file now",
                                 image->path);
        }
    }
    return TRUE;
}
