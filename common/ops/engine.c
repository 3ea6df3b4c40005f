/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps that are carried out on all images at once under a journal. */
#include "common/ops/engine.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "common/io/stamp.h"
#include "common/ops/engine-parts.h"

SnapsetJournalImage *
snapset_engine_image(const SnapsetEngine *engine, guint index)
{
    return engine->journal->images->pdata[index];
}

SnapsetHandle *
snapset_engine_handle(const SnapsetEngine *engine, guint index)
{
    return engine->handles->pdata[index];
}

gboolean
snapset_engine_is_qcow2(const SnapsetEngine *engine, guint index)
{
    return strcmp(snapset_engine_image(engine, index)->format, "qcow2") == 0;
}

SnapsetImage *
snapset_engine_read(const SnapsetEngine *engine, guint index, GError **error)
{
    const SnapsetHandle *handle = snapset_engine_handle(engine, index);
    SnapsetImage *image =
        snapset_image_read_fd(handle->fd, handle->source->name, SNAPSET_READ_NEWEST, NULL, error);

    if (image == NULL)
        snapset_name_error(error, handle->source->name);
    return image;
}

void
snapset_engine_note(SnapsetEngine *engine, const char *format, ...)
{
    va_list args;

    if (engine->notes == NULL)
        return;
    va_start(args, format);
    g_ptr_array_add(engine->notes, g_strdup_vprintf(format, args));
    va_end(args);
}

/* ---- one child an image ---- */

/* qemu-img opens the path: it must still lead to the file that is locked. */
static gboolean
check_path(const SnapsetHandle *handle, GError **error)
{
    struct stat by_path;
    struct stat by_fd;

    if (lstat(handle->path, &by_path) == 0 && fstat(handle->fd, &by_fd) == 0 &&
        by_path.st_dev == by_fd.st_dev && by_path.st_ino == by_fd.st_ino)
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "another file has taken its place");
}

/* The child of image @index; NULL without an error when there is nothing to do. */
static SnapsetChild *
make_child(const SnapsetEngine *engine, SnapsetTask task, guint index, gpointer data,
           GError **error)
{
    const SnapsetHandle *handle = snapset_engine_handle(engine, index);
    g_autoptr(SnapsetImage) image = NULL;
    g_autoptr(GError) failure = NULL;

    if (snapset_engine_is_qcow2(engine, index)) {
        image = snapset_engine_read(engine, index, error);
        if (image == NULL)
            return NULL;
    }
    g_autoptr(SnapsetChild) child = task(engine, index, image, data, &failure);
    if (failure == NULL && (child == NULL || check_path(handle, &failure)))
        return g_steal_pointer(&child);
    g_propagate_error(error, g_steal_pointer(&failure));
    snapset_name_error(error, handle->source->name);
    return NULL;
}

/* Take all locks again. FALSE with the first error, after all were tried. */
static gboolean
resume_all(const SnapsetEngine *engine, GError **error)
{
    gboolean good = TRUE;

    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetHandle *handle = snapset_engine_handle(engine, i);
        if (snapset_lock_resume(handle->fd, good ? error : NULL))
            continue;
        if (good)
            snapset_name_error(error, handle->source->name);
        good = FALSE;
    }
    return good;
}

gboolean
snapset_engine_run(const SnapsetEngine *engine, SnapsetTask task, gpointer data, GError **error)
{
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (guint i = 0; i < engine->handles->len; i++) {
        g_autoptr(GError) failure = NULL;
        SnapsetChild *child = make_child(engine, task, i, data, &failure);
        if (failure != NULL) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        if (child == NULL)
            continue;
        g_ptr_array_add(children, child);
        g_ptr_array_add(names, snapset_engine_handle(engine, i)->source->name);
    }
    if (children->len == 0)
        return TRUE;
    /* A child may have to open others of the files than the one it works on. */
    for (guint i = 0; !engine->is_in_use && i < engine->handles->len; i++)
        snapset_lock_yield(snapset_engine_handle(engine, i)->fd);
    snapset_children_run(children, engine->journal->lock, engine->progress, engine->progress_data);
    gboolean good = engine->is_in_use || resume_all(engine, error);
    for (guint i = 0; good && i < children->len; i++) {
        good = snapset_qemu_succeeded(children->pdata[i], error);
        if (!good)
            snapset_name_error(error, names->pdata[i]);
    }
    return good;
}

/* ---- stamping ---- */

gboolean
snapset_engine_has_content(const SnapsetImage *image, GBytes *encoded)
{
    if (image->ledger == NULL || image->ledger_state != SNAPSET_LEDGER_GOOD)
        return FALSE;
    SnapsetBytes bytes = {g_bytes_get_data(encoded, NULL), g_bytes_get_size(encoded)};
    g_autoptr(SnapsetLedger) left = snapset_ledger_copy(image->ledger);
    g_autoptr(SnapsetLedger) right = snapset_ledger_decode(bytes);
    if (right == NULL)
        return FALSE;
    left->sequence = right->sequence = 1;
    g_autoptr(GBytes) a = snapset_ledger_encode(left, SNAPSET_SLOT_SIZE_MAX, NULL);
    g_autoptr(GBytes) b = snapset_ledger_encode(right, SNAPSET_SLOT_SIZE_MAX, NULL);
    return a != NULL && b != NULL && g_bytes_equal(a, b);
}

gboolean
snapset_engine_stamp_bytes(const SnapsetEngine *engine, guint index, GBytes *encoded,
                           SnapsetSeal seal, GError **error)
{
    const SnapsetHandle *handle = snapset_engine_handle(engine, index);
    SnapsetBytes bytes = {g_bytes_get_data(encoded, NULL), g_bytes_get_size(encoded)};
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_decode(bytes);

    if (ledger == NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "the journal holds a damaged record");
    return snapset_stamp(handle->fd, ledger, seal, error) ||
           snapset_name_error(error, handle->source->name);
}

/* A seal says that the record's current still holds; only who knows that may set one. */
static SnapsetSeal
seal_of(const SnapsetEngine *engine, const SnapsetJournalImage *image, const SnapsetImage *now)
{
    if (engine->is_recovery)
        return SNAPSET_SEAL_KEEP;
    if (engine->proves_current || image->is_sealed)
        return SNAPSET_SEAL_SET;
    return now->sealed ? SNAPSET_SEAL_BREAK : SNAPSET_SEAL_KEEP; /* it was set on the way here */
}

static gboolean
stamp_image(const SnapsetEngine *engine, guint index, GError **error)
{
    const SnapsetJournalImage *image = snapset_engine_image(engine, index);

    if (image->after == NULL)
        return TRUE;
    g_autoptr(SnapsetImage) now = snapset_engine_read(engine, index, error);
    if (now == NULL)
        return FALSE;
    SnapsetSeal seal = seal_of(engine, image, now);
    if (snapset_engine_has_content(now, image->after) && (now->sealed || seal == SNAPSET_SEAL_KEEP))
        return TRUE;
    /* Stamped by somebody else since the crash: what is there now is newer than our plan. */
    if (engine->is_recovery && now->ledger != NULL && now->ledger->sequence != image->sequence)
        return TRUE;
    return snapset_engine_stamp_bytes(engine, index, image->after, seal, error);
}

gboolean
snapset_engine_stamp(SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        if (!stamp_image(engine, i, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- the end of an operation ---- */

gboolean
snapset_engine_finish(SnapsetEngine *engine, GError **error)
{
    return snapset_entries_delete(engine, error) && snapset_merge_switch(engine, error) &&
           snapset_engine_stamp(engine, error) &&
           (!engine->is_recovery || snapset_merge_settle(engine, error)) &&
           snapset_overlays_publish(engine, error) && snapset_merge_clean(engine, error);
}

gboolean
snapset_engine_is_untouched(SnapsetEngine *engine)
{
    return snapset_entries_are_whole(engine);
}

gboolean
snapset_engine_undo(SnapsetEngine *engine, GError **error)
{
    return snapset_entries_undo(engine, error) && snapset_overlays_undo(engine, error);
}

gboolean
snapset_engine_end(SnapsetEngine *engine, GError **error)
{
    return snapset_journal_remove(engine->journal, error) ||
           snapset_engine_leave_pending(engine, error);
}

gboolean
snapset_engine_leave_pending(SnapsetEngine *engine, GError **error)
{
    g_autofree char *message = g_strdup((*error)->message);

    g_clear_error(error);
    return snapset_throw(error, SNAPSET_ERROR_PENDING,
                         "%s; '%s' is not finished: remove the cause, then run "
                         "'qemu-img snapshot-set recover'",
                         message, engine->journal->operation);
}

gboolean
snapset_engine_abort(SnapsetEngine *engine, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autofree char *first = g_strdup((*error)->message);

    g_clear_error(error);
    if (snapset_engine_undo(engine, &failure) && snapset_journal_remove(engine->journal, &failure))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s; all images are as they were", first);
    g_propagate_error(error, g_steal_pointer(&failure));
    g_prefix_error(error, "%s; and undoing it: ", first);
    return snapset_engine_leave_pending(engine, error);
}

/* Plan to delete what was made in image @index, and to write its old ledger again. */
static gboolean
plan_back(SnapsetEngine *engine, guint index, GError **error)
{
    SnapsetJournalImage *image = snapset_engine_image(engine, index);
    const SnapsetImage *before = engine->before->pdata[index];
    g_autoptr(SnapsetImage) now = snapset_engine_read(engine, index, error);

    if (now == NULL)
        return FALSE;
    const char *tag = engine->journal->tag;
    const SnapsetEntry *made = tag != NULL ? snapset_image_find_tag(now, tag) : NULL;
    if (made != NULL)
        snapset_journal_doom(image, made->id, made->tag, snapset_identity_binding(&made->derived));
    g_clear_pointer(&image->after, g_bytes_unref);
    if (now->ledger == NULL) /* it was not stamped yet */
        return TRUE;
    g_autoptr(SnapsetLedger) ledger =
        before->ledger != NULL ? snapset_ledger_copy(before->ledger) : snapset_ledger_new();
    image->after = snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, error);
    image->sequence = now->ledger->sequence;
    return image->after != NULL;
}

/* Some ledgers could not be stamped, and nothing was applied: bring the old ones back. */
static gboolean
take_back(SnapsetEngine *engine, GError **error)
{
    g_autofree char *first = g_strdup((*error)->message);
    gboolean planned = TRUE;

    g_clear_error(error);
    engine->proves_current = FALSE;
    for (guint i = 0; planned && i < engine->handles->len; i++)
        planned = plan_back(engine, i, error);
    if (planned && snapset_journal_write(engine->journal, error) &&
        snapset_engine_finish(engine, error) && snapset_journal_remove(engine->journal, error))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s; all images are as they were", first);
    g_prefix_error(error, "%s; and undoing it: ", first);
    return snapset_engine_leave_pending(engine, error);
}

static gboolean
makes_overlays(const SnapsetEngine *engine)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        if (snapset_engine_image(engine, i)->overlay != NULL)
            return TRUE;
    }
    return FALSE;
}

/* The overlays could not all be given their names: none shall have one. */
static gboolean
withdraw(SnapsetEngine *engine, GError **error)
{
    g_autoptr(GError) failure = NULL;

    engine->journal->phase = SNAPSET_PHASE_MAKE;
    if (snapset_journal_write(engine->journal, &failure))
        return snapset_engine_abort(engine, error);
    return snapset_engine_leave_pending(engine, error);
}

static gboolean
take_last_step(const SnapsetEngine *engine, GError **error)
{
    return engine->last_step == NULL || engine->last_step(engine->last_data, error);
}

gboolean
snapset_engine_commit(SnapsetEngine *engine, GError **error)
{
    SnapsetPhase before = engine->journal->phase;

    engine->journal->phase = SNAPSET_PHASE_FINISH;
    if (!snapset_journal_write(engine->journal, error)) {
        engine->journal->phase = before;
        return before == SNAPSET_PHASE_MERGE ? snapset_engine_leave_pending(engine, error)
                                             : snapset_engine_abort(engine, error);
    }
    if (snapset_engine_finish(engine, error) && take_last_step(engine, error))
        return snapset_engine_end(engine, error);
    if (before != SNAPSET_PHASE_MAKE ||
        g_error_matches(*error, SNAPSET_ERROR, SNAPSET_ERROR_PENDING))
        return snapset_engine_leave_pending(engine, error);
    return makes_overlays(engine) ? withdraw(engine, error) : take_back(engine, error);
}

/* ---- an engine over a set ---- */

gboolean
snapset_engine_init_empty(SnapsetEngine *ret_engine, const char *operation, SnapsetSet *set,
                          GError **error)
{
    g_autoptr(SnapsetJournal) journal = snapset_journal_new(operation, error);

    if (journal == NULL)
        return FALSE;
    *ret_engine = (SnapsetEngine){
        .handles = g_ptr_array_new(),
        .before = g_ptr_array_new(),
        .opened = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_handle_free),
        .tools = set->tools,
        .progress = set->progress,
        .progress_data = set->progress_data,
    };
    for (guint i = 0; i < set->tools->objects->len; i++)
        g_ptr_array_add(journal->objects, g_strdup(set->tools->objects->pdata[i]));
    ret_engine->journal = g_steal_pointer(&journal);
    return TRUE;
}

SnapsetJournalImage *
snapset_engine_add(SnapsetEngine *engine, SnapsetHandle *handle, const SnapsetImage *image)
{
    /* The number in a device's real name need not be its own after a restart of the host. */
    g_autofree char *path = handle->is_block ? g_canonicalize_filename(handle->source->path, NULL)
                                             : g_strdup(handle->path);
    SnapsetJournalImage *added = snapset_journal_add_image(
        engine->journal, path, handle->source->options, image->device, image->inode);

    g_free(added->format);
    added->format = g_strdup(image->format);
    added->sequence = image->ledger != NULL ? image->ledger->sequence : 0;
    added->is_sealed = image->sealed;
    g_ptr_array_add(engine->handles, handle);
    g_ptr_array_add(engine->before, (gpointer)image);
    return added;
}

gboolean
snapset_engine_init(SnapsetEngine *ret_engine, const char *operation, SnapsetSet *set,
                    GPtrArray *wanted, GError **error)
{
    if (!snapset_engine_init_empty(ret_engine, operation, set, error))
        return FALSE;
    for (guint i = 0; i < set->handles->len; i++) {
        if (wanted == NULL || wanted->pdata[i] != NULL)
            snapset_engine_add(ret_engine, set->handles->pdata[i], snapset_set_image(set, i));
    }
    return TRUE;
}

guint
snapset_engine_position(const SnapsetEngine *engine, const SnapsetImage *image)
{
    guint at = 0;

    while (at < engine->before->len && !snapset_image_file_equal(engine->before->pdata[at], image))
        at++;
    return at;
}

static gboolean
open_link(SnapsetEngine *engine, SnapsetSet *set, guint index, const SnapsetImage *image,
          GError **error)
{
    g_autoptr(GError) failure = NULL;
    SnapsetHandle *handle = snapset_handle_open_link(image, &failure);

    if (handle != NULL) {
        g_ptr_array_add(engine->opened, handle);
        snapset_engine_add(engine, handle, image);
        return TRUE;
    }
    if (!g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    snapset_set_report(set, index, SNAPSET_RULE_IMAGE_LOCKED,
                       "shut the machine down, or wait for the program that uses the file",
                       failure->message);
    return snapset_report_verdict(set->report, error);
}

gboolean
snapset_engine_add_link(SnapsetEngine *engine, SnapsetSet *set, guint index, guint link,
                        guint *ret_at, GError **error)
{
    const SnapsetImage *image = snapset_image_link(snapset_set_image(set, index), link);

    *ret_at = snapset_engine_position(engine, image);
    if (*ret_at < engine->before->len)
        return TRUE;
    if (link > 0)
        return open_link(engine, set, index, image, error);
    snapset_engine_add(engine, set->handles->pdata[index], image);
    return TRUE;
}

void
snapset_engine_clear(SnapsetEngine *engine)
{
    g_clear_pointer(&engine->journal, snapset_journal_free);
    g_clear_pointer(&engine->handles, g_ptr_array_unref);
    g_clear_pointer(&engine->before, g_ptr_array_unref);
    g_clear_pointer(&engine->opened, g_ptr_array_unref);
}
