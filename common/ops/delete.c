/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Deleting snapshots from all images. */
#include "common/ops/delete.h"

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/ops/engine.h"
#include "common/ops/external.h"

void
snapset_deleted_free(SnapsetDeleted *deleted)
{
    g_free(deleted->tag);
    g_free(deleted);
}

GPtrArray *
snapset_delete_choose(const SnapsetSet *set, SnapsetSnapshot *snapshot, gboolean children)
{
    GPtrArray *chosen = g_ptr_array_new();

    if (children) {
        g_autoptr(GPtrArray) descendants = snapset_lineage_descendants(set->catalog, snapshot);
        for (guint i = descendants->len; i-- > 0;)
            g_ptr_array_add(chosen, descendants->pdata[i]);
    }
    g_ptr_array_add(chosen, snapshot);
    return chosen;
}

/* Every entry must be one that QEMU can be told to delete. */
static gboolean
check_addresses(const SnapsetSet *set, GPtrArray *chosen, GError **error)
{
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetMember *member = snapset_snapshot_member(snapshot, j);
            const SnapsetImage *image = snapset_set_image(set, member->image);
            SnapsetQemuTarget target =
                snapset_handle_target(snapset_set_handle(set, member->image));
            g_autoptr(SnapsetChild) child =
                snapset_qemu_delete(set->tools, &target, image, member->entry, error);
            if (child == NULL) {
                snapset_name_error(error, image->filename);
                return FALSE;
            }
        }
    }
    return TRUE;
}

/* What is to be deleted from one image, and what its record says afterwards. */
static void
plan_image(SnapsetSet *set, guint index, GPtrArray *chosen, SnapsetJournalImage *journal_image)
{
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);
    gboolean changed = FALSE;

    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetEntry *entry = snapset_snapshot_entry(chosen->pdata[i], index);
        if (entry == NULL)
            continue;
        snapset_journal_doom(journal_image, entry->id, entry->tag,
                             snapset_identity_binding(&entry->derived));
        snapset_lineage_remove(ledger, &entry->identity);
        changed = TRUE;
    }
    /* An image that was never stamped has nothing to say about what is gone. */
    if (changed && snapset_set_image(set, index)->ledger != NULL)
        journal_image->after = snapset_set_encode(set, index, ledger, FALSE);
}

static gboolean
carry_out(SnapsetSet *set, SnapsetEngine *engine, GPtrArray *chosen, GError **error)
{
    for (guint i = 0; i < set->images->len; i++)
        plan_image(set, i, chosen, snapset_engine_image(engine, i));
    engine->journal->phase = SNAPSET_PHASE_FINISH;
    if (!snapset_journal_write(engine->journal, error)) {
        snapset_journal_remove(engine->journal, NULL);
        return FALSE;
    }
    if (snapset_engine_finish(engine, error))
        return snapset_engine_end(engine, error);
    if (snapset_engine_is_untouched(engine) && snapset_journal_remove(engine->journal, NULL)) {
        g_autofree char *message = g_strdup((*error)->message);
        g_clear_error(error);
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s; nothing was deleted", message);
    }
    return snapset_engine_leave_pending(engine, error);
}

GPtrArray *
snapset_delete_describe(GPtrArray *chosen)
{
    GPtrArray *deleted = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_deleted_free);
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        SnapsetDeleted *one = g_new0(SnapsetDeleted, 1);
        one->identity = snapshot->identity;
        one->tag = g_strdup(snapshot->tag);
        g_ptr_array_add(deleted, one);
    }
    return deleted;
}

/* One kind at a time: the ones are entries in files that the others are. */
gboolean
snapset_delete_check_kinds(GPtrArray *chosen, gboolean *ret_external, GError **error)
{
    guint external = 0;

    for (guint i = 0; i < chosen->len; i++)
        external += snapset_snapshot_is_external(chosen->pdata[i]) != FALSE;
    *ret_external = external > 0;
    for (guint i = 0; external > 0 && external < chosen->len && i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        if (snapset_snapshot_is_external(snapshot))
            continue;
        g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "internal and external snapshots are not deleted together: delete %s "
                             "by itself first",
                             quoted);
    }
    return TRUE;
}

static gboolean
delete_internal(SnapsetSet *set, GPtrArray *chosen, gboolean dry_run, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};

    if (!check_addresses(set, chosen, error))
        return FALSE;
    return dry_run || (snapset_engine_init(&engine, "delete", set, NULL, error) &&
                       carry_out(set, &engine, chosen, error) && snapset_set_reload(set, error));
}

gboolean
snapset_delete(SnapsetSet *set, const char *selector, gboolean children, gboolean dry_run,
               GPtrArray **ret_deleted, GError **error)
{
    SnapsetSnapshot *snapshot = snapset_selector_resolve(selector, set->catalog, set->report);
    g_autoptr(GPtrArray) chosen = NULL;
    g_autoptr(GPtrArray) deleted = NULL;
    gboolean external = FALSE;

    if (snapshot != NULL) {
        chosen = snapset_delete_choose(set, snapshot, children);
        for (guint i = 0; i < chosen->len; i++)
            snapset_rules_delete(set->catalog, chosen->pdata[i], set->report);
    }
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_return_val_if_fail(snapshot != NULL, FALSE);
    if (!snapset_delete_check_kinds(chosen, &external, error))
        return FALSE;
    deleted = snapset_delete_describe(chosen);
    if (!(external ? snapset_delete_external(set, chosen, dry_run, error)
                   : delete_internal(set, chosen, dry_run, error)))
        return FALSE;
    *ret_deleted = g_steal_pointer(&deleted);
    return TRUE;
}
