/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking an external snapshot: every image is frozen, and gets an overlay. */
#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/io/chain.h"
#include "common/io/stamp.h"
#include "common/ops/operations.h"
#include "common/ops/overlays.h"

/* What is written where: parallel to the images of the set. */
typedef struct {
    GPtrArray *overlays; /* of SnapsetOverlayPlan * */
    GPtrArray *frozen;   /* of GBytes *: the ledger of the frozen image; NULL: it is not stamped */
    const SnapsetOverlayOptions *options;
} Plan;

static void
plan_clear(Plan *plan)
{
    g_ptr_array_unref(plan->overlays);
    g_ptr_array_unref(plan->frozen);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

/* What image @index will say when it is frozen; NULL: it cannot be sealed. */
static GBytes *
frozen_ledger(const SnapsetSet *set, guint index, const SnapsetExternal *external,
              const SnapsetUuid *parent, gboolean inferred)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    const SnapsetHandle *handle = snapset_set_handle(set, index);
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);

    if (image->header == NULL || handle->fd < 0)
        return NULL;
    snapset_lineage_freeze(ledger, external, parent, inferred);
    g_autoptr(GBytes) bytes = snapset_image_encode(image, ledger, NULL);
    return bytes != NULL && snapset_stamp_would_seal(handle->fd, ledger) ? g_steal_pointer(&bytes)
                                                                         : NULL;
}

static gboolean
plan_image(SnapsetSet *set, guint index, const SnapsetExternal *external, Plan *plan,
           GError **error)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    const char *path = snapset_set_handle(set, index)->is_block
                           ? ((SnapsetSource *)set->sources->pdata[index])->path
                           : snapset_set_handle(set, index)->path;
    gboolean inferred = FALSE;
    SnapsetUuid parent = snapset_lineage_next_parent(set->catalog, index, &inferred);

    if (path == NULL) /* which the report says */
        return TRUE;
    SnapsetOverlayPlan *overlay =
        snapset_overlay_plan_new(set, index, path, image->format, external->tag, FALSE,
                                 plan->options, plan->overlays, error);
    if (overlay == NULL)
        return snapset_name_error(error, image->filename);
    GBytes *frozen = frozen_ledger(set, index, external, &parent, inferred);
    overlay->ledger = snapset_lineage_overlay(external, &parent, inferred, frozen != NULL);
    plan->overlays->pdata[index] = overlay;
    plan->frozen->pdata[index] = frozen;
    return TRUE;
}

/* By the name that the overlay will call it, an image must have the backing file that it has now.
 */
static void
judge_chain(SnapsetSet *set, guint index, const SnapsetOverlayPlan *overlay)
{
    const SnapsetImage *image = snapset_set_image(set, index);

    if (overlay == NULL || image->backing == NULL || image->backing->len == 0 ||
        snapset_chain_leads_to(image, overlay->base, image->backing->pdata[0]))
        return;
    snapset_set_report(set, index, SNAPSET_RULE_CHAIN_BROKEN,
                       "name the image without a link, or give its backing file an absolute name "
                       "with qemu-img rebase -u",
                       "its relative backing file name leads elsewhere from where it really is");
}

/* An image that keeps no record of its own is no reason to refuse; but it has to be said. */
static void
note_unsealed(SnapsetSet *set, const Plan *plan)
{
    for (guint i = 0; i < set->images->len; i++) {
        g_autofree char *name = snapset_format_escaped(snapset_set_image(set, i)->filename);
        if (plan->frozen->pdata[i] == NULL)
            snapset_set_note(set,
                             "%s cannot be sealed: nothing will tell if it is written to "
                             "under its overlay",
                             name);
    }
}

static gboolean
put_to_use(gpointer data, GError **error)
{
    const Plan *plan = data;
    return snapset_overlays_use(plan->overlays, plan->options, error);
}

static gboolean
carry_out(SnapsetSet *set, Plan *plan, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};

    if (!snapset_engine_init(&engine, "create", set, NULL, error))
        return FALSE;
    engine.proves_current = TRUE;
    engine.journal->is_handed_over = plan->options->use != NULL;
    engine.last_step = put_to_use;
    engine.last_data = plan;
    for (guint i = 0; i < set->images->len; i++) {
        SnapsetJournalImage *image = snapset_engine_image(&engine, i);
        const SnapsetLedger *ledger = snapset_set_image(set, i)->ledger;
        g_autoptr(SnapsetLedger) before =
            ledger != NULL ? snapset_ledger_copy(ledger) : snapset_ledger_new();
        snapset_overlays_add(image, plan->overlays->pdata[i]);
        if (plan->frozen->pdata[i] == NULL)
            continue;
        image->after = g_bytes_ref(plan->frozen->pdata[i]);
        image->before = snapset_ledger_encode(before, SNAPSET_SLOT_SIZE_MAX, error);
        if (image->before == NULL)
            return FALSE;
    }
    return snapset_overlays_make(&engine, plan->overlays, error) &&
           snapset_engine_commit(&engine, error);
}

gboolean
snapset_create_external(SnapsetSet *set, const char *tag, const char *description,
                        const SnapsetOverlayOptions *options, gboolean dry_run,
                        SnapsetUuid *ret_identity, GError **error)
{
    SnapsetExternal external = {tag, description, snapset_new_external_identity(),
                                set->images->len};
    g_auto(Plan) plan = {g_ptr_array_new_with_free_func((GDestroyNotify)snapset_overlay_plan_free),
                         g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref), options};

    if (description != NULL && !snapset_description_check(description, error))
        return FALSE;
    g_ptr_array_set_size(plan.overlays, set->images->len);
    g_ptr_array_set_size(plan.frozen, set->images->len);
    for (guint i = 0; i < set->images->len; i++) {
        if (!plan_image(set, i, &external, &plan, error))
            return FALSE;
        judge_chain(set, i, plan.overlays->pdata[i]);
    }
    snapset_rules_create(set->catalog, tag, set->report);
    snapset_rules_overlays(set->catalog, set->report);
    snapset_overlays_judge(set, tag, plan.overlays);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    note_unsealed(set, &plan);
    snapset_overlays_note(set);
    snapset_overlays_move(set, plan.overlays);
    if (dry_run)
        return TRUE;
    *ret_identity = external.identity;
    return carry_out(set, &plan, error) && snapset_overlays_replace(set, plan.overlays, error);
}
