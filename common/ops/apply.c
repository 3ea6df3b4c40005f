/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Applying a snapshot to all images. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/ops/create.h"
#include "common/ops/external.h"
#include "common/ops/space.h"

/* What is applied, and what is kept of the state before. */
typedef struct {
    const SnapsetSnapshot *target;
    GPtrArray *entries;              /* of SnapsetEntry *, one an image; NULL: left as it is */
    const SnapsetNewSnapshot *saved; /* NULL: the state before is not kept */
} Plan;

/* A tag that is neither tag nor ID of any entry. */
static char *
undo_tag(const SnapsetSet *set)
{
    for (;;) {
        SnapsetUuid uuid = snapset_new_identity();
        char digits[SNAPSET_UUID_SHORT_DIGITS + 1];
        snapset_uuid_format_short(&uuid, digits);
        char *tag = g_strdup_printf("snapshot-set-undo-%s", digits);
        gboolean taken = FALSE;
        for (guint i = 0; i < set->images->len; i++) {
            const SnapsetImage *image = snapset_set_image(set, i);
            taken |= snapset_image_count_tag(image, tag) + snapset_image_count_id(image, tag) > 0;
        }
        if (!taken)
            return tag;
        g_free(tag);
    }
}

static GPtrArray *
target_entries(const SnapsetSet *set, const SnapsetSnapshot *target)
{
    GPtrArray *entries = g_ptr_array_new();
    for (guint i = 0; i < set->images->len; i++)
        g_ptr_array_add(entries, (gpointer)snapset_snapshot_entry(target, i));
    return entries;
}

/* Every entry must be one that qemu-img can be told to apply. */
static gboolean
check_addresses(const SnapsetSet *set, const Plan *plan, GError **error)
{
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetEntry *entry = plan->entries->pdata[i];
        const SnapsetImage *image = snapset_set_image(set, i);
        SnapsetQemuTarget target = snapset_handle_target(snapset_set_handle(set, i));
        if (entry == NULL || target.path == NULL)
            continue;
        g_autoptr(SnapsetChild) child =
            snapset_qemu_apply(set->tools, &target, image, entry, error);
        if (child == NULL) {
            snapset_name_error(error, image->filename);
            return FALSE;
        }
    }
    return TRUE;
}

/* After the apply: the image stands at the snapshot; what was saved has its record. */
static GBytes *
ledger_after(SnapsetSet *set, guint index, const Plan *plan, const SnapsetEntry *saved)
{
    const SnapsetEntry *applied = plan->entries->pdata[index];
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);

    if (plan->saved != NULL) {
        g_ptr_array_add(ledger->records, snapset_create_record(set, index, plan->saved, saved));
        ledger->current = plan->saved->identity;
    }
    if (applied != NULL) {
        snapset_lineage_thaw(ledger);
        ledger->current = applied->identity;
    }
    return snapset_set_encode(set, index, ledger, plan->saved != NULL);
}

/* Deleting the undo entries, or keeping them as the saved snapshot, and the stamps. */
static gboolean
plan_finish(SnapsetSet *set, SnapsetEngine *engine, const Plan *plan, GError **error)
{
    guint at = 0;

    for (guint i = 0; i < set->images->len; i++) {
        if (plan->saved == NULL && plan->entries->pdata[i] == NULL)
            continue;
        SnapsetJournalImage *image = snapset_engine_image(engine, at);
        g_autoptr(SnapsetImage) now = snapset_engine_read(engine, at++, error);
        if (now == NULL)
            return FALSE;
        const SnapsetEntry *made = snapset_image_find_tag(now, engine->journal->tag);
        if (made == NULL) {
            snapset_throw(error, SNAPSET_ERROR_FAILED, "the undo snapshot is gone");
            return snapset_name_error(error, now->filename);
        }
        if (plan->saved == NULL)
            snapset_journal_doom(image, made->id, made->tag,
                                 snapset_identity_binding(&made->derived));
        image->after = ledger_after(set, i, plan, made);
    }
    return TRUE;
}

static gboolean
carry_out(SnapsetSet *set, SnapsetEngine *engine, const Plan *plan, GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new();

    for (guint i = 0; i < set->images->len; i++) {
        if (plan->saved != NULL || plan->entries->pdata[i] != NULL)
            g_ptr_array_add(entries, plan->entries->pdata[i]);
    }
    engine->journal->tag = plan->saved != NULL ? g_strdup(plan->saved->tag) : undo_tag(set);
    if (!snapset_journal_write(engine->journal, error)) {
        snapset_journal_remove(engine->journal, NULL);
        return FALSE;
    }
    if (!snapset_engine_make(engine, error) || !snapset_engine_apply(engine, entries, error) ||
        !plan_finish(set, engine, plan, error))
        return snapset_engine_abort(engine, error);
    return snapset_engine_commit(engine, error);
}

/* What a person would not expect, and must be told. */
static void
note_results(SnapsetSet *set, const Plan *plan)
{
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        const SnapsetEntry *entry = plan->entries->pdata[i];
        g_autofree char *name = snapset_format_escaped(image->filename);
        if (entry == NULL) {
            snapset_set_note(set, "%s: left as it is", name);
        } else if (entry->disk_size != image->virtual_size) {
            char before[SNAPSET_SIZE_TEXT_SIZE];
            char after[SNAPSET_SIZE_TEXT_SIZE];
            snapset_format_size(image->virtual_size, before);
            snapset_format_size(entry->disk_size, after);
            snapset_set_note(set, "%s: virtual size goes from %s back to %s", name, before, after);
        }
    }
}

static gboolean
apply_internal(SnapsetSet *set, const SnapsetSnapshot *target, const char *save_tag,
               gboolean dry_run, GError **error)
{
    SnapsetNewSnapshot saved = {snapset_new_identity(), save_tag, NULL};
    g_autoptr(GPtrArray) entries = target_entries(set, target);
    g_auto(SnapsetEngine) engine = {0};

    snapset_rules_apply(set->catalog, target, set->report);
    snapset_space_check(set, save_tag != NULL ? NULL : entries);
    if (save_tag != NULL)
        snapset_create_judge(set, &saved);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    Plan plan = {target, entries, save_tag != NULL ? &saved : NULL};
    if (!check_addresses(set, &plan, error))
        return FALSE;
    note_results(set, &plan);
    if (dry_run)
        return TRUE;
    if (!snapset_engine_init(&engine, "apply", set, save_tag != NULL ? NULL : entries, error))
        return FALSE;
    engine.proves_current = TRUE;
    return carry_out(set, &engine, &plan, error) && snapset_set_reload(set, error);
}

gboolean
snapset_apply(SnapsetSet *set, const char *selector, const char *save_tag,
              const SnapsetOverlayOptions *overlays, gboolean dry_run, SnapsetUuid *ret_identity,
              GError **error)
{
    const SnapsetSnapshot *target = snapset_selector_resolve(selector, set->catalog, set->report);

    if (target == NULL) {
        if (save_tag != NULL) {
            SnapsetNewSnapshot saved = {snapset_new_identity(), save_tag, NULL};
            snapset_create_judge(set, &saved);
        }
        return snapset_report_verdict(set->report, error);
    }
    if (!snapset_snapshot_is_external(target) &&
        (overlays->folder != NULL || overlays->is_relative))
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--overlay-dir and --relative-backing go with an external snapshot");
    SnapsetUuid identity = target->identity;
    gboolean applied = snapset_snapshot_is_external(target)
                           ? snapset_apply_external(set, target, save_tag, overlays, dry_run, error)
                           : apply_internal(set, target, save_tag, dry_run, error);
    if (applied)
        *ret_identity = identity;
    return applied;
}
