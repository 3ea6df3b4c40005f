/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Applying an external snapshot: new overlays on the frozen images; nothing else is touched. */
#include "common/ops/external.h"

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/overlay-name.h"
#include "common/core/rules.h"
#include "common/io/chain.h"
#include "common/ops/overlays.h"

/* What the new overlay says: the same of its backing file as the one that is there. */
static SnapsetLedger *
overlay_ledger(const SnapsetEntry *entry, const SnapsetImage *holder)
{
    SnapsetLedger *ledger = snapset_ledger_new();
    SnapsetRecord *record = snapset_record_copy(entry->record);

    if (!snapset_image_is_frozen_as(holder, &entry->identity)) /* if that was allowed */
        record->flags &= ~SNAPSET_RECORD_BASE_SEALED;
    g_ptr_array_add(ledger->records, record);
    ledger->current = entry->identity;
    return ledger;
}

static SnapsetOverlayPlan *
plan_image(SnapsetSet *set, const SnapsetMember *member, const SnapsetOverlayOptions *options,
           GPtrArray *plans, GError **error)
{
    const SnapsetImage *image = snapset_set_image(set, member->image);
    const SnapsetImage *overlay = snapset_image_link(image, member->link);
    const SnapsetImage *holder = snapset_catalog_holder(set->catalog, member);
    SnapsetOverlayOptions as_before = *options;

    if (holder == NULL) {
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "the file that holds the snapshot is out of "
                      "reach");
        return NULL;
    }
    const char *format = snapset_chain_format(overlay, holder);
    if (format == NULL) {
        g_autofree char *quoted = snapset_format_quoted(overlay->filename);
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "%s does not say which format its backing file has: name it with "
                      "'qemu-img rebase -u -b BACKING-FILE -F FORMAT'",
                      quoted);
        return NULL;
    }
    as_before.is_relative |= snapset_overlay_names_relative(overlay->backing_filename);
    SnapsetOverlayPlan *plan =
        snapset_overlay_plan_new(set, member->image, holder->filename, format, member->entry->tag,
                                 TRUE, &as_before, plans, error);
    if (plan != NULL)
        plan->ledger = overlay_ledger(member->entry, holder);
    return plan;
}

static GPtrArray *
plan_all(SnapsetSet *set, const SnapsetSnapshot *target, const SnapsetOverlayOptions *options,
         GError **error)
{
    g_autoptr(GPtrArray) plans =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_overlay_plan_free);

    g_ptr_array_set_size(plans, set->images->len);
    for (guint i = 0; i < target->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(target, i);
        plans->pdata[member->image] = plan_image(set, member, options, plans, error);
        if (plans->pdata[member->image] == NULL) {
            snapset_name_error(error, snapset_set_image(set, member->image)->filename);
            return NULL;
        }
    }
    return g_steal_pointer(&plans);
}

static gboolean
carry_out(SnapsetSet *set, GPtrArray *plans, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};
    g_autoptr(GPtrArray) wanted = g_ptr_array_new(); /* the plans without the gaps */

    if (!snapset_engine_init(&engine, "apply", set, plans, error))
        return FALSE;
    for (guint i = 0; i < plans->len; i++) {
        if (plans->pdata[i] == NULL)
            continue;
        snapset_overlays_add(snapset_engine_image(&engine, wanted->len), plans->pdata[i]);
        g_ptr_array_add(wanted, plans->pdata[i]);
    }
    return snapset_overlays_make(&engine, wanted, error) && snapset_engine_commit(&engine, error);
}

gboolean
snapset_apply_external(SnapsetSet *set, const SnapsetSnapshot *target, const char *save_tag,
                       const SnapsetOverlayOptions *options, gboolean dry_run, GError **error)
{
    if (save_tag != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "applying an external snapshot leaves the images named as they are: "
                             "there is nothing to save; to give their state a tag, take it with "
                             "'create TAG --external' first");
    snapset_rules_apply(set->catalog, target, set->report);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_autoptr(GPtrArray) plans = plan_all(set, target, options, error);
    if (plans == NULL)
        return FALSE;
    snapset_overlays_judge(set, target->tag, plans);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    for (guint i = 0; i < plans->len; i++) {
        g_autofree char *name = snapset_format_escaped(snapset_set_image(set, i)->filename);
        if (plans->pdata[i] == NULL)
            snapset_set_note(set, "%s: left as it is", name);
    }
    snapset_overlays_move(set, plans);
    if (dry_run)
        return TRUE;
    return carry_out(set, plans, error) && snapset_overlays_replace(set, plans, error);
}
