/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps that are carried out on all images at once under a journal. */
#include "common/ops/engine.h"

#include <string.h>
#include <sys/stat.h>

#include "common/core/format.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "common/io/stamp.h"

SnapsetJournalImage *
snapset_engine_image(const SnapsetEngine *engine, guint index)
{
    return engine->journal->images->pdata[index];
}

static SnapsetHandle *
handle_at(const SnapsetEngine *engine, guint index)
{
    return engine->handles->pdata[index];
}

static SnapsetImage *
read_image(const SnapsetHandle *handle, GError **error)
{
    SnapsetImage *image =
        snapset_image_read_fd(handle->fd, handle->source->name, SNAPSET_READ_NEWEST, NULL, error);
    if (image == NULL)
        snapset_name_error(error, handle->source->name);
    return image;
}

/* ---- one child an image ---- */

/*
 * Makes the child that works on image @index, which now is as in @image; NULL without an error
 * when there is nothing to do.
 */
typedef SnapsetChild *(*Task)(const SnapsetEngine *engine, guint index, const SnapsetImage *image,
                              gpointer data, GError **error);

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

/* The children of all images that have something to do; others are NULL. NULL on error. */
static GPtrArray *
make_children(const SnapsetEngine *engine, Task task, gpointer data, GPtrArray *todo,
              GError **error)
{
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);

    for (guint i = 0; i < engine->handles->len; i++) {
        g_autoptr(GError) failure = NULL;
        SnapsetHandle *handle = handle_at(engine, i);
        g_autoptr(SnapsetImage) image = read_image(handle, error);
        if (image == NULL)
            return NULL;
        SnapsetChild *child = task(engine, i, image, data, &failure);
        if (failure != NULL || (child != NULL && !check_path(handle, &failure))) {
            snapset_child_free(child);
            g_propagate_error(error, g_steal_pointer(&failure));
            snapset_name_error(error, handle->source->name);
            return NULL;
        }
        if (child != NULL) {
            g_ptr_array_add(children, child);
            g_ptr_array_add(todo, handle);
        }
    }
    return g_steal_pointer(&children);
}

/* Run @task on every image at once. FALSE with the first error, after all have ended. */
static gboolean
run(const SnapsetEngine *engine, Task task, gpointer data, GError **error)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();
    g_autoptr(GPtrArray) children = make_children(engine, task, data, todo, error);
    gboolean good = TRUE;

    if (children == NULL)
        return FALSE;
    for (guint i = 0; i < todo->len; i++)
        snapset_lock_yield(((SnapsetHandle *)todo->pdata[i])->fd);
    snapset_children_run(children, engine->journal->lock, engine->progress, engine->progress_data);
    for (guint i = 0; i < todo->len; i++) {
        const SnapsetHandle *handle = todo->pdata[i];
        g_autoptr(GError) failure = NULL;
        gboolean locked = snapset_lock_resume(handle->fd, &failure);
        if (locked && snapset_qemu_succeeded(children->pdata[i], &failure))
            continue;
        if (good) {
            g_propagate_error(error, g_steal_pointer(&failure));
            snapset_name_error(error, handle->source->name);
        }
        good = FALSE;
    }
    return good;
}

/* ---- tasks ---- */

static SnapsetChild *
create_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
            GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(handle_at(engine, index));
    return snapset_qemu_create(engine->tools, &target, engine->journal->tag);
}

/* What a recovery finds later than this after the start was made by somebody else. */
#define MADE_WITHIN_SECONDS 60

/*
 * The entry that this operation made; NULL: there is none. After a crash somebody else may have
 * made one of the same name.
 */
static const SnapsetEntry *
find_made(const SnapsetEngine *engine, const SnapsetImage *image)
{
    const SnapsetJournal *journal = engine->journal;

    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        gint64 age = (gint64)entry->moment.date_sec - journal->started;
        if (strcmp(entry->tag, journal->tag) == 0 &&
            (!engine->is_recovery || (age >= -1 && age <= MADE_WITHIN_SECONDS)))
            return entry;
    }
    return NULL;
}

static SnapsetChild *
apply_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
           GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(handle_at(engine, index));
    const SnapsetEntry *made = find_made(engine, image);
    return made == NULL ? NULL : snapset_qemu_apply(engine->tools, &target, image, made, error);
}

static SnapsetChild *
delete_made(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
            GError **error)
{
    SnapsetQemuTarget target = snapset_handle_target(handle_at(engine, index));
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
    SnapsetQemuTarget target = snapset_handle_target(handle_at(engine, index));
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
    SnapsetQemuTarget target = snapset_handle_target(handle_at(engine, index));
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
    return run(engine, create_made, NULL, error);
}

gboolean
snapset_engine_apply(SnapsetEngine *engine, GPtrArray *entries, GError **error)
{
    engine->journal->phase = SNAPSET_PHASE_APPLY;
    return snapset_journal_write(engine->journal, error) &&
           run(engine, apply_entry, entries, error);
}

gboolean
snapset_engine_is_unwritten(const SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        g_autoptr(SnapsetImage) image = snapset_engine_read(engine, i, error);
        if (image == NULL)
            return FALSE;
        if (find_made(engine, image) == NULL ||
            snapset_image_is_unwritten(handle_at(engine, i)->fd, image))
            continue;
        snapset_throw(error, SNAPSET_ERROR_PENDING,
                      "it was written to since; going back would lose that");
        return snapset_name_error(error, image->filename);
    }
    return TRUE;
}

/* The same content, whatever its sequence. */
static gboolean
has_content(const SnapsetImage *image, const SnapsetLedger *after)
{
    if (image->ledger == NULL || image->ledger_state != SNAPSET_LEDGER_GOOD)
        return FALSE;
    g_autoptr(SnapsetLedger) left = snapset_ledger_copy(image->ledger);
    g_autoptr(SnapsetLedger) right = snapset_ledger_copy(after);
    left->sequence = right->sequence = 1;
    g_autoptr(GBytes) a = snapset_ledger_encode(left, SNAPSET_SLOT_SIZE_MAX, NULL);
    g_autoptr(GBytes) b = snapset_ledger_encode(right, SNAPSET_SLOT_SIZE_MAX, NULL);
    return a != NULL && b != NULL && g_bytes_equal(a, b);
}

static gboolean
may_seal(const SnapsetEngine *engine, guint index)
{
    if (engine->is_recovery)
        return FALSE;
    return !engine->keeps_seals || ((SnapsetImage *)engine->before->pdata[index])->sealed;
}

static gboolean
stamp_image(const SnapsetEngine *engine, guint index, GError **error)
{
    const SnapsetJournalImage *image = snapset_engine_image(engine, index);
    const SnapsetHandle *handle = handle_at(engine, index);

    if (image->after == NULL)
        return TRUE;
    SnapsetBytes bytes = {g_bytes_get_data(image->after, NULL), g_bytes_get_size(image->after)};
    g_autoptr(SnapsetLedger) after = snapset_ledger_decode(bytes);
    if (after == NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "the journal holds a damaged record");
    g_autoptr(SnapsetImage) now = read_image(handle, error);
    if (now == NULL)
        return FALSE;
    if (has_content(now, after) && (now->sealed || !may_seal(engine, index)))
        return TRUE;
    /* Stamped by somebody else since the crash: what is there now is newer than our plan. */
    if (engine->is_recovery && now->ledger != NULL && now->ledger->sequence != image->sequence)
        return TRUE;
    return snapset_stamp(handle->fd, after, may_seal(engine, index), error) ||
           snapset_name_error(error, handle->source->name);
}

gboolean
snapset_engine_finish(SnapsetEngine *engine, GError **error)
{
    guint rounds = 0;
    gboolean any;

    for (guint i = 0; i < engine->handles->len; i++)
        rounds = MAX(rounds, snapset_engine_image(engine, i)->doomed->len);
    do { /* one entry an image and round, and a last round that finds nothing */
        any = FALSE;
        if (!run(engine, delete_doomed, &any, error))
            return FALSE;
    } while (any && rounds-- > 0);
    if (any)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU did not delete the snapshot");
    for (guint i = 0; i < engine->handles->len; i++) {
        if (!stamp_image(engine, i, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
snapset_engine_is_untouched(SnapsetEngine *engine)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const GPtrArray *doomed = snapset_engine_image(engine, i)->doomed;
        g_autoptr(SnapsetImage) image = read_image(handle_at(engine, i), NULL);
        for (guint j = 0; j < doomed->len; j++) {
            const SnapsetDoomed *one = doomed->pdata[j];
            if (image == NULL || find_exact(image, one->id, one->tag, one->binding) == NULL)
                return FALSE;
        }
    }
    return TRUE;
}

gboolean
snapset_engine_undo(SnapsetEngine *engine, GError **error)
{
    if (engine->journal->tag == NULL)
        return TRUE;
    if (engine->journal->phase == SNAPSET_PHASE_APPLY && !run(engine, apply_made, NULL, error))
        return FALSE;
    return run(engine, delete_made, NULL, error);
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
    for (guint i = 0; planned && i < engine->handles->len; i++)
        planned = plan_back(engine, i, error);
    if (planned && snapset_journal_write(engine->journal, error) &&
        snapset_engine_finish(engine, error) && snapset_journal_remove(engine->journal, error))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s; all images are as they were", first);
    g_prefix_error(error, "%s; and undoing it: ", first);
    return snapset_engine_leave_pending(engine, error);
}

gboolean
snapset_engine_commit(SnapsetEngine *engine, GError **error)
{
    SnapsetPhase before = engine->journal->phase;

    engine->journal->phase = SNAPSET_PHASE_FINISH;
    if (!snapset_journal_write(engine->journal, error)) {
        engine->journal->phase = before;
        return snapset_engine_abort(engine, error);
    }
    if (snapset_engine_finish(engine, error))
        return snapset_journal_remove(engine->journal, error);
    return before == SNAPSET_PHASE_MAKE ? take_back(engine, error)
                                        : snapset_engine_leave_pending(engine, error);
}

SnapsetImage *
snapset_engine_read(const SnapsetEngine *engine, guint index, GError **error)
{
    return read_image(handle_at(engine, index), error);
}

/* ---- an engine over a set ---- */

gboolean
snapset_engine_init(SnapsetEngine *ret_engine, const char *operation, SnapsetSet *set,
                    GPtrArray *wanted, GError **error)
{
    g_autoptr(SnapsetJournal) journal = snapset_journal_new(operation, error);

    if (journal == NULL)
        return FALSE;
    *ret_engine = (SnapsetEngine){
        .handles = g_ptr_array_new(),
        .before = g_ptr_array_new(),
        .tools = set->tools,
        .progress = set->progress,
        .progress_data = set->progress_data,
    };
    for (guint i = 0; i < set->tools->objects->len; i++)
        g_ptr_array_add(journal->objects, g_strdup(set->tools->objects->pdata[i]));
    for (guint i = 0; i < set->handles->len; i++) {
        SnapsetHandle *handle = set->handles->pdata[i];
        const SnapsetImage *image = snapset_set_image(set, i);
        if (wanted != NULL && wanted->pdata[i] == NULL)
            continue;
        SnapsetJournalImage *added = snapset_journal_add_image(
            journal, handle->path, handle->source->options, image->device, image->inode);
        added->sequence = image->ledger != NULL ? image->ledger->sequence : 0;
        g_ptr_array_add(ret_engine->handles, handle);
        g_ptr_array_add(ret_engine->before, (gpointer)image);
    }
    ret_engine->journal = g_steal_pointer(&journal);
    return TRUE;
}

void
snapset_engine_clear(SnapsetEngine *engine)
{
    g_clear_pointer(&engine->journal, snapset_journal_free);
    g_clear_pointer(&engine->handles, g_ptr_array_unref);
    g_clear_pointer(&engine->before, g_ptr_array_unref);
}
