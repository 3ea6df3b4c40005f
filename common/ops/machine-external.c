/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * External snapshots of a running machine: the overlays are made and stamped first, then QEMU puts
 * them on top of all images in one transaction.
 */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/live.h"
#include "common/core/rules.h"
#include "common/ops/engine-parts.h"
#include "common/ops/machine.h"
#include "common/ops/overlays.h"

/* ---- what stands against it ---- */

static void
check_base(SnapsetMachine *machine, guint index)
{
    const SnapsetImage *image = snapset_set_image(machine->set, index);

    if (!image->is_local)
        snapset_set_report(machine->set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "run this on the host, and in the folder, that QEMU runs in",
                           "it is no file that is here, and an overlay must name it");
    else if (image->header != NULL && image->header->crypt_method != 0)
        snapset_set_report(machine->set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                           "it is encrypted, and what is written to an overlay would not be");
}

static void
judge(SnapsetMachine *machine, const char *tag)
{
    SnapsetSet *set = machine->set;
    g_autoptr(SnapsetLiveRequest) request =
        snapset_machine_request(machine, SNAPSET_LIVE_EXTERNAL, tag, NULL);

    request->in_transaction = TRUE;
    snapset_machine_check_command(machine, "transaction");
    for (guint i = 0; i < set->images->len; i++)
        check_base(machine, i);
    snapset_rules_coverage(machine->all, request, set->report);
    snapset_rules_create(set->catalog, tag, set->report);
    snapset_rules_links(set->catalog, set->report);
}

/* ---- the overlays ---- */

/* NULL for an image that the report says no to. */
static GPtrArray *
plan_overlays(SnapsetMachine *machine, const SnapsetExternal *external,
              const SnapsetOverlayOptions *options, GError **error)
{
    SnapsetSet *set = machine->set;
    g_autoptr(GPtrArray) plans =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_overlay_plan_free);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        gboolean inferred = FALSE;
        SnapsetUuid parent = snapset_lineage_next_parent(set->catalog, i, &inferred);
        g_ptr_array_add(plans, NULL);
        if (!image->is_local)
            continue;
        SnapsetOverlayPlan *plan = snapset_overlay_plan_new(
            set, i, image->filename, image->format, external->tag, FALSE, options, plans, error);
        if (plan == NULL) {
            snapset_name_error(error, image->filename);
            return NULL;
        }
        plan->ledger = snapset_lineage_overlay(external, &parent, inferred, FALSE);
        plans->pdata[i] = plan;
    }
    return g_steal_pointer(&plans);
}

/* ---- QEMU's part ---- */

static char *
node_name(const SnapsetExternal *external, guint index)
{
    char digits[SNAPSET_UUID_SHORT_DIGITS + 1];

    snapset_uuid_format_short(&external->identity, digits);
    return g_strdup_printf("snapshot-set-%s-%u", digits, index);
}

/*
 * Is the overlay to be a node of a name before the transaction? An image whose node was given no
 * name is one of a drive's, whose overlays QEMU opens itself, as it did that.
 */
static gboolean
takes_node(const SnapsetMachine *machine, guint index)
{
    return snapset_machine_disk(machine, index)->is_named &&
           snapset_qmp_has_command(machine->qmp, "blockdev-snapshot");
}

/* Have QEMU open the overlay, which takes over what is known of how the image is open. */
static gboolean
add_node(SnapsetMachine *machine, guint index, const char *node, const char *path, GError **error)
{
    const SnapsetQmpDisk *disk = snapset_machine_disk(machine, index);
    gboolean unmap = g_strcmp0(disk->detect_zeroes, "unmap") == 0;
    g_autoptr(JsonNode) added = snapset_qmp_execute(
        machine->qmp, "blockdev-add",
        g_variant_new_parsed(
            "{'driver': <'qcow2'>, 'node-name': <%s>, 'backing': <@mv nothing>,"
            " 'cache': <{'direct': %b, 'no-flush': %b}>, 'detect-zeroes': <%s>, 'discard': <%s>,"
            " 'file': <{'driver': 'file', 'filename': %s}>}",
            node, disk->cache_direct, disk->cache_no_flush,
            disk->detect_zeroes != NULL ? disk->detect_zeroes : "off", unmap ? "unmap" : "ignore",
            path),
        error);
    return added != NULL;
}

/* The overlay's part of the transaction. */
static GVariant *
action(const SnapsetMachine *machine, guint index, const char *node, const char *path)
{
    const SnapsetQmpDisk *disk = snapset_machine_disk(machine, index);

    if (takes_node(machine, index))
        return g_variant_new_parsed(
            "{'type': <'blockdev-snapshot'>, 'data': <{'node': %s, 'overlay': %s}>}", disk->node,
            node);
    return g_variant_new_parsed("{'type': <'blockdev-snapshot-sync'>, 'data': <{%s: %s,"
                                " 'snapshot-file': %s, 'format': 'qcow2', 'mode': 'existing'}>}",
                                disk->device != NULL ? "device" : "node-name",
                                disk->device != NULL ? disk->device : disk->node, path);
}

static gboolean
run_transaction(SnapsetMachine *machine, const SnapsetExternal *external, GPtrArray *plans,
                GError **error)
{
    GVariantBuilder actions;

    g_variant_builder_init(&actions, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; i < plans->len; i++) {
        g_autofree char *node = node_name(external, i);
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        g_variant_builder_add_value(&actions, action(machine, i, node, plan->path));
    }
    g_autoptr(JsonNode) done = snapset_qmp_execute(
        machine->qmp, "transaction",
        g_variant_new_parsed("{'actions': <%@aa{sv}>}", g_variant_builder_end(&actions)), error);
    return done != NULL;
}

/* Have QEMU close the first @count of the overlays again. */
static void
remove_nodes(SnapsetMachine *machine, const SnapsetExternal *external, guint count)
{
    for (guint i = 0; i < count; i++) {
        g_autofree char *node = node_name(external, i);
        g_autoptr(JsonNode) removed =
            takes_node(machine, i)
                ? snapset_qmp_execute(machine->qmp, "blockdev-del",
                                      g_variant_new_parsed("{'node-name': <%s>}", node), NULL)
                : NULL;
    }
}

/* All images get their overlays, or none. */
static gboolean
put_on_top(SnapsetMachine *machine, const SnapsetExternal *external, GPtrArray *plans,
           GError **error)
{
    guint added = 0;
    gboolean good = TRUE;

    for (; good && added < plans->len; added++) {
        g_autofree char *node = node_name(external, added);
        const SnapsetOverlayPlan *plan = plans->pdata[added];
        good = !takes_node(machine, added) || add_node(machine, added, node, plan->path, error);
    }
    if (good && run_transaction(machine, external, plans, error))
        return TRUE;
    remove_nodes(machine, external, added);
    return FALSE;
}

/* ---- together ---- */

/* Whether QEMU has done it must be certain before an overlay may go. */
static gboolean
take_back(SnapsetMachine *machine, SnapsetEngine *engine, GError **error)
{
    if (snapset_qmp_is_alive(machine->qmp))
        return snapset_engine_abort(engine, error);
    g_prefix_error(error, "nobody can tell whether the snapshot was taken, so the overlays stay: ");
    return snapset_engine_leave_pending(engine, error);
}

static gboolean
carry_out(SnapsetMachine *machine, const SnapsetExternal *external, GPtrArray *plans,
          GError **error)
{
    SnapsetSet *set = machine->set;
    g_auto(SnapsetEngine) engine = {0};

    for (guint i = 0; i < set->handles->len; i++) {
        if (!snapset_handle_open_file(set->handles->pdata[i], error))
            return snapset_name_error(error, snapset_set_image(set, i)->filename);
    }
    if (!snapset_engine_init(&engine, "create", set, NULL, error))
        return FALSE;
    engine.is_in_use = TRUE;
    for (guint i = 0; i < plans->len; i++)
        snapset_overlays_add(snapset_engine_image(&engine, i), plans->pdata[i]);
    if (!snapset_overlays_make(&engine, plans, error))
        return FALSE;
    if (!snapset_overlays_publish(&engine, error) || !put_on_top(machine, external, plans, error))
        return take_back(machine, &engine, error);
    return snapset_journal_remove(engine.journal, error);
}

/* ---- what was done ---- */

/* The images in pairs: where each of them stood, and its overlay. @data: the plans. */
static SnapsetLiveEvent *
event_of(const SnapsetMachine *machine, gconstpointer data)
{
    const GPtrArray *plans = data;
    const SnapsetOverlayPlan *first = plans->pdata[0];
    const SnapsetRecord *named = first->ledger->records->pdata[0];
    SnapsetLiveEvent *event = snapset_live_event_new(SNAPSET_LIVE_EVENT_EXTERNAL, named->tag);

    for (guint i = 0; i < MIN(plans->len, machine->set->images->len); i++) {
        const SnapsetImage *image = snapset_set_image(machine->set, i);
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

/* QEMU must now have every overlay open as the disk that it was made for. */
static gboolean
check_done(SnapsetMachine *machine, GPtrArray *plans, GError **error)
{
    snapset_machine_hold(machine);
    if (!snapset_machine_note(machine, event_of, plans, error))
        return FALSE;
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (i < machine->set->images->len &&
            strcmp(snapset_set_image(machine->set, i)->filename, plan->path) == 0)
            continue;
        g_autofree char *name = snapset_format_quoted(plan->path);
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "QEMU has taken the snapshot, and %s is not in use", name);
    }
    return TRUE;
}

gboolean
snapset_machine_create_external(SnapsetMachine *machine, const char *tag, const char *description,
                                const SnapsetOverlayOptions *options, gboolean dry_run,
                                SnapsetUuid *ret_identity, GError **error)
{
    SnapsetSet *set = machine->set;
    SnapsetExternal external = {tag, description, snapset_new_external_identity(),
                                set->images->len};

    if (description != NULL && !snapset_description_check(description, error))
        return FALSE;
    set->tools = snapset_qemu_tools_new(NULL, error);
    if (set->tools == NULL)
        return FALSE;
    judge(machine, tag);
    g_autoptr(GPtrArray) plans = plan_overlays(machine, &external, options, error);
    if (plans == NULL)
        return FALSE;
    snapset_overlays_judge(set, tag, plans);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    snapset_overlays_note(set);
    snapset_overlays_move(set, plans);
    if (dry_run)
        return TRUE;
    *ret_identity = external.identity;
    return carry_out(machine, &external, plans, error) && check_done(machine, plans, error);
}
