/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Deleting external snapshots: their overlays are merged into the backing files. */
#include <string.h>

#include "common/core/lineage.h"
#include "common/core/overlay-name.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/ops/engine.h"
#include "common/ops/external.h"
#include "common/ops/stretch.h"

/* ---- planning ---- */

/*
 * Lock every file that takes part: from two overlays above each stretch down to the one below; and
 * the image itself, by which an interrupted deletion is found, and others are kept away.
 */
static gboolean
open_files(SnapsetSet *set, SnapsetEngine *engine, GArray *stretches, GError **error)
{
    guint at = 0;

    for (guint i = 0; i < stretches->len; i++) {
        const SnapsetStretch *stretch = snapset_stretch_at(stretches, i);
        if (!snapset_engine_add_link(engine, set, stretch->image, 0, &at, error))
            return FALSE;
        for (guint link = MAX(stretch->top, 2) - 2; link <= snapset_stretch_base(stretch); link++) {
            if (!snapset_engine_add_link(engine, set, stretch->image, link, &at, error))
                return FALSE;
        }
    }
    return TRUE;
}

/* Where link @link of the stretch's chain is among the engine's files. */
static guint
position_of(const SnapsetEngine *engine, const SnapsetSet *set, const SnapsetStretch *stretch,
            guint link)
{
    return snapset_engine_position(engine, snapset_stretch_link(set, stretch, link));
}

/* A name of the backing file like the one that stands in the overlay. */
static char *
backing_name(const SnapsetImage *overlay, const SnapsetHandle *handle, const SnapsetImage *base,
             const SnapsetHandle *base_handle)
{
    if (base_handle->is_block)
        return g_canonicalize_filename(base->filename, NULL);
    g_autofree char *folder = g_path_get_dirname(handle->path);
    return snapset_overlay_names_relative(overlay->backing_filename)
               ? snapset_overlay_relative(folder, base_handle->path)
               : g_strdup(base_handle->path);
}

/* The records of the deleted snapshots in the overlays of image @index. */
static void
forget_chosen(SnapsetLedger *ledger, GPtrArray *chosen, guint index)
{
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetEntry *entry = snapset_snapshot_entry(chosen->pdata[i], index);
        if (entry != NULL)
            snapset_lineage_forget(ledger, entry->record);
    }
}

/* What the file below says once it holds all that was above; NULL: it keeps no record. */
static gboolean
plan_base(SnapsetSet *set, SnapsetEngine *engine, const SnapsetStretch *stretch, GPtrArray *chosen,
          gboolean *ret_is_sealed, GError **error)
{
    guint at = position_of(engine, set, stretch, snapset_stretch_base(stretch));
    SnapsetJournalImage *journal_image = snapset_engine_image(engine, at);
    const SnapsetImage *base = engine->before->pdata[at];
    const SnapsetImage *top = snapset_stretch_link(set, stretch, stretch->top);
    g_autoptr(GPtrArray) above = g_ptr_array_new();
    g_autoptr(SnapsetLedger) ledger = snapset_lineage_ledger(base);

    *ret_is_sealed = FALSE;
    journal_image->is_merged_into = TRUE;
    journal_image->is_sealed = top->sealed; /* what is true of its content from now on */
    if (!snapset_stamp_is_possible(base, NULL))
        return TRUE;
    for (guint link = stretch->bottom + 1; link-- > stretch->top;)
        g_ptr_array_add(above, snapset_stretch_link(set, stretch, link)->ledger);
    g_autoptr(SnapsetLedger) merged = snapset_lineage_merge(ledger, above);
    forget_chosen(merged, chosen, stretch->image);
    journal_image->after = snapset_image_encode(base, merged, error);
    if (journal_image->after == NULL)
        return snapset_name_error(error, base->filename);
    *ret_is_sealed =
        top->sealed && snapset_stamp_would_seal(snapset_engine_handle(engine, at)->fd, merged);
    return TRUE;
}

/*
 * Clusters that can hold a record have a reserve for names (common/core/stamp-plan.h); of smaller
 * ones nobody knows before QEMU has tried.
 */
static gboolean
check_room(const SnapsetImage *overlay, const char *backing, GError **error)
{
    gsize length = strlen(backing);
    gboolean is_tight = overlay->header->cluster_size < SNAPSET_STAMP_CLUSTER_MIN &&
                        length > strlen(overlay->backing_filename);

    if (length <= QCOW2_BACKING_NAME_MAX && !is_tight)
        return TRUE;
    snapset_throw(error, SNAPSET_ERROR_FAILED,
                  "its header may have no room for the name of its new backing file");
    return snapset_name_error(error, overlay->filename);
}

/* The overlay that stands on the stretch stands on the file below it afterwards. */
static gboolean
plan_overlay(SnapsetSet *set, SnapsetEngine *engine, const SnapsetStretch *stretch,
             GPtrArray *chosen, gboolean base_is_sealed, GError **error)
{
    guint at = position_of(engine, set, stretch, stretch->top - 1);
    guint base_at = position_of(engine, set, stretch, snapset_stretch_base(stretch));
    SnapsetJournalImage *journal_image = snapset_engine_image(engine, at);
    const SnapsetImage *overlay = engine->before->pdata[at];
    const SnapsetImage *base = engine->before->pdata[base_at];
    const SnapsetImage *bottom = snapset_stretch_link(set, stretch, stretch->bottom);
    g_autoptr(SnapsetLedger) ledger = snapset_lineage_ledger(overlay);

    journal_image->backing = backing_name(overlay, snapset_engine_handle(engine, at), base,
                                          snapset_engine_handle(engine, base_at));
    journal_image->backing_format = g_strdup(snapset_chain_format(bottom, base));
    if (!check_room(overlay, journal_image->backing, error))
        return FALSE;
    if (overlay->ledger == NULL)
        return TRUE;
    forget_chosen(ledger, chosen, stretch->image);
    for (guint i = 0; !base_is_sealed && i < ledger->records->len; i++)
        ((SnapsetRecord *)ledger->records->pdata[i])->flags &= ~SNAPSET_RECORD_BASE_SEALED;
    journal_image->after = snapset_image_encode(overlay, ledger, error);
    return journal_image->after != NULL || snapset_name_error(error, overlay->filename);
}

static gboolean
plan_stretch(SnapsetSet *set, SnapsetEngine *engine, const SnapsetStretch *stretch,
             GPtrArray *chosen, GError **error)
{
    guint top = position_of(engine, set, stretch, stretch->top);
    guint base = position_of(engine, set, stretch, snapset_stretch_base(stretch));
    SnapsetJournalImage *journal_image = snapset_engine_image(engine, top);
    const char *stored = snapset_stretch_link(set, stretch, stretch->bottom)->backing_filename;
    gboolean base_is_sealed = FALSE;

    journal_image->commit_into = g_strdup(snapset_overlay_names_protocol(stored)
                                              ? stored
                                              : snapset_engine_handle(engine, base)->path);
    journal_image->is_active = stretch->top == 0;
    for (guint link = stretch->top; link <= stretch->bottom; link++)
        snapset_engine_image(engine, position_of(engine, set, stretch, link))->is_removed = TRUE;
    return plan_base(set, engine, stretch, chosen, &base_is_sealed, error) &&
           (stretch->top == 0 || plan_overlay(set, engine, stretch, chosen, base_is_sealed, error));
}

/* ---- carrying out ---- */

static gboolean
carry_out(SnapsetEngine *engine, GError **error)
{
    engine->journal->phase = SNAPSET_PHASE_MERGE;
    if (!snapset_journal_write(engine->journal, error)) {
        snapset_journal_remove(engine->journal, NULL);
        return FALSE;
    }
    return snapset_engine_merge(engine, error) ? snapset_engine_commit(engine, error)
                                               : snapset_engine_leave_pending(engine, error);
}

/* Where the active file itself was merged away, the one below takes its place. */
typedef struct {
    guint image;
    char *path, *shown, *format;
} Successor;

static void
successor_clear(gpointer data)
{
    Successor *successor = data;
    g_free(successor->path);
    g_free(successor->shown);
    g_free(successor->format);
}

static GArray *
find_successors(SnapsetSet *set, const SnapsetEngine *engine, GArray *stretches)
{
    GArray *successors = g_array_new(FALSE, FALSE, sizeof(Successor));

    g_array_set_clear_func(successors, successor_clear);
    for (guint i = 0; i < stretches->len; i++) {
        const SnapsetStretch *stretch = snapset_stretch_at(stretches, i);
        if (stretch->top != 0)
            continue;
        guint at = position_of(engine, set, stretch, snapset_stretch_base(stretch));
        const SnapsetImage *base = engine->before->pdata[at];
        const SnapsetHandle *handle = snapset_engine_handle(engine, at);
        const SnapsetSource *named = set->sources->pdata[stretch->image];
        char *path = handle->is_block ? g_canonicalize_filename(base->filename, NULL)
                                      : g_strdup(handle->path);
        Successor successor = {stretch->image, path, snapset_path_beside(named->path, path),
                               g_strdup(base->format)};
        g_array_append_val(successors, successor);
        snapset_set_add_move(set, stretch->image, successor.shown);
    }
    return successors;
}

/* Judge, lock and plan everything; nothing is on disk but the journal's lock. */
static gboolean
prepare(SnapsetSet *set, SnapsetEngine *engine, GArray *stretches, GPtrArray *chosen,
        GError **error)
{
    if (!open_files(set, engine, stretches, error) || !snapset_report_verdict(set->report, error))
        return FALSE;
    for (guint i = 0; i < stretches->len; i++) {
        if (!plan_stretch(set, engine, snapset_stretch_at(stretches, i), chosen, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
snapset_delete_external(SnapsetSet *set, GPtrArray *chosen, gboolean dry_run, GError **error)
{
    g_autoptr(GArray) stretches = snapset_stretches_find(set, chosen);
    g_auto(SnapsetEngine) engine = {0};

    if (!snapset_stretches_judge(set, chosen, stretches, error) ||
        !snapset_engine_init_empty(&engine, "delete", set, error))
        return FALSE;
    gboolean prepared = prepare(set, &engine, stretches, chosen, error);
    if (!prepared || dry_run)
        snapset_journal_remove(engine.journal, NULL);
    if (!prepared)
        return FALSE;
    g_autoptr(GArray) successors = find_successors(set, &engine, stretches);
    if (dry_run)
        return TRUE;
    if (!carry_out(&engine, error))
        return FALSE;
    snapset_engine_clear(&engine);
    for (guint i = 0; i < successors->len; i++) {
        const Successor *one = &g_array_index(successors, Successor, i);
        snapset_set_replace(set, one->image, one->path, one->shown, one->format);
    }
    return snapset_set_reload(set, error);
}
