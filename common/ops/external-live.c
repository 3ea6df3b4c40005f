/* SPDX-License-Identifier: GPL-2.0-or-later */
/* External snapshots of images that a running machine has open. */
#include "common/ops/external-live.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/io/lock.h"
#include "common/ops/engine-parts.h"

static void
check_base(SnapsetSet *set, guint index)
{
    const SnapsetImage *image = snapset_set_image(set, index);

    if (!image->is_local)
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "run this on the host, and in the folder, that QEMU runs in",
                           "it is no file that is here, and an overlay must name it");
    else if (image->header != NULL && image->header->crypt_method != 0)
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                           "it is encrypted, and what is written to an overlay would not be");
}

/* NULL for an image that the report says no to. */
static GPtrArray *
plan_overlays(SnapsetSet *set, const SnapsetExternal *external,
              const SnapsetOverlayOptions *options, GError **error)
{
    g_autoptr(GPtrArray) plans =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_overlay_plan_free);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        const SnapsetSource *source = set->sources->pdata[i];
        gboolean inferred = FALSE;
        SnapsetUuid parent = snapset_lineage_next_parent(set->catalog, i, &inferred);
        g_ptr_array_add(plans, NULL);
        if (!image->is_local)
            continue;
        SnapsetOverlayPlan *plan = snapset_overlay_plan_new(
            set, i, source->path, image->format, external->tag, FALSE, options, plans, error);
        if (plan == NULL) {
            snapset_name_error(error, image->filename);
            return NULL;
        }
        plan->ledger = snapset_lineage_overlay(external, &parent, inferred, FALSE);
        plans->pdata[i] = plan;
    }
    return g_steal_pointer(&plans);
}

/* Whether the machine goes on in them must be certain before an overlay may go. */
static gboolean
take_back(SnapsetEngine *engine, GError **error)
{
    if (!g_error_matches(*error, SNAPSET_ERROR, SNAPSET_ERROR_PENDING))
        return snapset_engine_abort(engine, error);
    g_prefix_error(error, "nobody can tell whether the snapshot was taken, so the overlays stay: ");
    return snapset_engine_leave_pending(engine, error);
}

/* QEMU has the images locked; but of commands of ours only one may put overlays on them. */
static gboolean
open_images(SnapsetSet *set, GError **error)
{
    for (guint i = 0; i < set->handles->len; i++) {
        SnapsetHandle *handle = set->handles->pdata[i];
        g_autoptr(GError) failure = NULL;
        if (snapset_handle_open_file(handle, &failure) &&
            snapset_lock_operation(handle->fd, &failure))
            continue;
        if (g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED)) {
            snapset_set_report(set, i, SNAPSET_RULE_IMAGE_LOCKED, "try again when that has ended",
                               "another command works on it");
            return snapset_report_verdict(set->report, error);
        }
        g_propagate_error(error, g_steal_pointer(&failure));
        return snapset_name_error(error, snapset_set_image(set, i)->filename);
    }
    return TRUE;
}

static gboolean
carry_out(SnapsetSet *set, GPtrArray *plans, const SnapsetOverlayOptions *options, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};

    if (!open_images(set, error))
        return FALSE;
    if (!snapset_engine_init(&engine, "create", set, NULL, error))
        return FALSE;
    engine.is_in_use = TRUE;
    for (guint i = 0; i < plans->len; i++)
        snapset_overlays_add(snapset_engine_image(&engine, i), plans->pdata[i]);
    if (!snapset_overlays_make(&engine, plans, error))
        return FALSE;
    if (!snapset_overlays_publish(&engine, error) || !snapset_overlays_use(plans, options, error))
        return take_back(&engine, error);
    return snapset_journal_remove(engine.journal, error);
}

gboolean
snapset_external_live(SnapsetSet *set, const SnapsetExternal *external,
                      const SnapsetOverlayOptions *options, gboolean dry_run, GPtrArray **ret_plans,
                      GError **error)
{
    if (external->description != NULL && !snapset_description_check(external->description, error))
        return FALSE;
    if (set->tools == NULL)
        set->tools = snapset_qemu_tools_new(NULL, error);
    if (set->tools == NULL)
        return FALSE;
    for (guint i = 0; i < set->images->len; i++)
        check_base(set, i);
    snapset_rules_create(set->catalog, external->tag, set->report);
    snapset_rules_overlays(set->catalog, set->report);
    g_autoptr(GPtrArray) plans = plan_overlays(set, external, options, error);
    if (plans == NULL)
        return FALSE;
    snapset_overlays_judge(set, external->tag, plans);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    snapset_overlays_note(set);
    snapset_overlays_move(set, plans);
    if (!dry_run && !carry_out(set, plans, options, error))
        return FALSE;
    *ret_plans = g_steal_pointer(&plans);
    return TRUE;
}

/* ---- afterwards ---- */

SnapsetLiveEvent *
snapset_external_live_event(const SnapsetSet *set, GPtrArray *plans)
{
    const SnapsetOverlayPlan *first = plans->pdata[0];
    const SnapsetRecord *named = first->ledger->records->pdata[0];
    SnapsetLiveEvent *event = snapset_live_event_new(SNAPSET_LIVE_EVENT_EXTERNAL, named->tag);

    for (guint i = 0; i < MIN(plans->len, set->images->len); i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        const SnapsetRecord *record = plan->ledger->records->pdata[0];
        if (!image->is_local || snapset_image_link_count(image) < 2)
            continue;
        const SnapsetImage *base = snapset_image_link(image, 1);
        snapset_live_event_add_image(event, base->filename, base->inode, &record->parent,
                                     !(record->flags & SNAPSET_RECORD_PARENT_INFERRED));
        snapset_live_event_add_image(event, image->filename, image->inode, &record->identity, TRUE);
    }
    return event;
}

gboolean
snapset_external_live_check(const SnapsetSet *set, GPtrArray *plans, GError **error)
{
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (i < set->images->len && strcmp(snapset_set_image(set, i)->filename, plan->path) == 0)
            continue;
        g_autofree char *name = snapset_format_quoted(plan->path);
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "the snapshot has been taken, and %s is not in use", name);
    }
    return TRUE;
}
