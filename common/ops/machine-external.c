/* SPDX-License-Identifier: GPL-2.0-or-later */
/* External snapshots of a running machine, by one transaction of its QEMU. */
#include <string.h>

#include "common/core/live.h"
#include "common/io/json.h"
#include "common/ops/external-live.h"
#include "common/ops/machine.h"

/* A snapshot on its way to QEMU. */
typedef struct {
    SnapsetMachine *machine;
    SnapsetExternal external;
} Order;

static char *
node_name(const Order *order, guint index)
{
    char digits[SNAPSET_UUID_SHORT_DIGITS + 1];

    snapset_uuid_format_short(&order->external.identity, digits);
    return g_strdup_printf(SNAPSET_NODE_PREFIX "%s-%u", digits, index);
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
run_transaction(const Order *order, GPtrArray *paths, GError **error)
{
    GVariantBuilder actions;

    g_variant_builder_init(&actions, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; i < paths->len; i++) {
        g_autofree char *node = node_name(order, i);
        g_variant_builder_add_value(&actions, action(order->machine, i, node, paths->pdata[i]));
    }
    g_autoptr(JsonNode) done = snapset_qmp_execute(
        order->machine->qmp, "transaction",
        g_variant_new_parsed("{'actions': <%@aa{sv}>}", g_variant_builder_end(&actions)), error);
    return done != NULL;
}

/* Have QEMU close the first @count of the overlays again. */
static void
remove_nodes(const Order *order, guint count)
{
    SnapsetMachine *machine = order->machine;

    for (guint i = 0; i < count; i++) {
        g_autofree char *node = node_name(order, i);
        g_autoptr(JsonNode) removed =
            takes_node(machine, i)
                ? snapset_qmp_execute(machine->qmp, "blockdev-del",
                                      g_variant_new_parsed("{'node-name': <%s>}", node), NULL)
                : NULL;
    }
}

/* An overlay must come to stand on the file that it names: nobody may have put another there. */
static gboolean
check_disks(SnapsetMachine *machine, GError **error)
{
    g_autoptr(GPtrArray) disks = snapset_qmp_disks(machine->qmp, error);

    for (guint i = 0; disks != NULL && i < machine->chosen->len; i++) {
        const SnapsetQmpDisk *known = snapset_machine_disk(machine, i);
        gboolean same = FALSE;
        for (guint j = 0; !same && j < disks->len; j++) {
            const SnapsetQmpDisk *disk = disks->pdata[j];
            same = strcmp(disk->qdev, known->qdev) == 0 &&
                   g_strcmp0(snapset_json_text(disk->info, "filename"),
                             snapset_json_text(known->info, "filename")) == 0;
        }
        if (!same)
            return snapset_throw(error, SNAPSET_ERROR_FAILED,
                                 "disk '%s' has another file by now, so try again", known->name);
    }
    return disks != NULL;
}

/* All images get their overlays, or none. */
static gboolean
put_on_top(GPtrArray *paths, gpointer data, GError **error)
{
    const Order *order = data;
    SnapsetMachine *machine = order->machine;
    guint added = 0;
    gboolean good = check_disks(machine, error);

    for (; good && added < paths->len; added++) {
        g_autofree char *node = node_name(order, added);
        good = !takes_node(machine, added) ||
               add_node(machine, added, node, paths->pdata[added], error);
    }
    if (good && run_transaction(order, paths, error))
        return TRUE;
    remove_nodes(order, added);
    if (!snapset_qmp_is_alive(machine->qmp))
        (*error)->code = SNAPSET_ERROR_PENDING;
    return FALSE;
}

/* ---- together ---- */

static void
judge(SnapsetMachine *machine, const char *tag)
{
    g_autoptr(SnapsetLiveRequest) request =
        snapset_machine_request(machine, SNAPSET_LIVE_EXTERNAL, tag, NULL);

    request->in_transaction = TRUE;
    snapset_machine_check_command(machine, "transaction");
    snapset_rules_coverage(machine->all, request, machine->set->report);
}

/* @data: the plans. */
static SnapsetLiveEvent *
event_of(const SnapsetMachine *machine, gconstpointer data)
{
    return snapset_external_live_event(machine->set, (GPtrArray *)data);
}

gboolean
snapset_machine_create_external(SnapsetMachine *machine, const char *tag, const char *description,
                                const SnapsetOverlayOptions *options, gboolean dry_run,
                                SnapsetUuid *ret_identity, GError **error)
{
    Order order = {machine,
                   {tag, description, snapset_new_external_identity(), machine->set->images->len}};
    SnapsetOverlayOptions used = *options;
    g_autoptr(GPtrArray) plans = NULL;

    used.use = put_on_top;
    used.use_data = &order;
    judge(machine, tag);
    if (!snapset_external_live(machine->set, &order.external, &used, dry_run, &plans, error))
        return FALSE;
    if (dry_run)
        return TRUE;
    *ret_identity = order.external.identity;
    /* QEMU must now have every overlay open as the disk that it was made for. */
    snapset_machine_hold(machine);
    return snapset_machine_note(machine, event_of, plans, error) &&
           snapset_external_live_check(machine->set, plans, error);
}
