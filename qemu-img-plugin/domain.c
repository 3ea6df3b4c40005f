/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create, apply, delete and sync with --domain. */
#include "qemu-img-plugin/domain.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/ops/foreign.h"
#include "common/ops/operations.h"
#include "qemu-img-plugin/domain-link.h"
#include "qemu-img-plugin/print.h"

static gboolean
is_active(const SnapsetOptions *options)
{
    return options->link->driver->is_active(options->link->domain);
}

/* The set as it is after libvirt's work, in place of the one before, which the caller gets. */
static SnapsetSet *
open_again(SnapsetOptions *options, SnapsetAccess access, GError **error)
{
    g_autoptr(SnapsetSet) before = g_steal_pointer(&options->set);

    if (snapset_options_open(options, access, error))
        return g_steal_pointer(&before);
    return NULL;
}

/* Libvirt does what it knows of only. */
static gboolean
check_known(const SnapsetOptions *options, const char *tag, GError **error)
{
    g_autoptr(GPtrArray) listed = options->link->driver->list(options->link->domain, error);

    for (guint i = 0; listed != NULL && i < listed->len; i++) {
        const SnapsetVirtSnapshot *one = listed->pdata[i];
        if (strcmp(one->name, tag) == 0)
            return TRUE;
    }
    g_autofree char *quoted = snapset_format_quoted(tag);
    return listed != NULL &&
           snapset_throw(error, SNAPSET_ERROR_FAILED,
                         "libvirt knows no snapshot %s of this domain; 'qemu-img snapshot-set sync "
                         "--domain' tells it what the images have",
                         quoted);
}

/* ---- create ---- */

static char *
new_snapshot_xml(const SnapsetOptions *options, const char *tag)
{
    g_autofree char *name = g_markup_escape_text(tag, -1);
    g_autofree char *text =
        options->description != NULL ? g_markup_escape_text(options->description, -1) : NULL;

    return g_strdup_printf("<domainsnapshot><name>%s</name>%s%s%s</domainsnapshot>", name,
                           text != NULL ? "<description>" : "", text != NULL ? text : "",
                           text != NULL ? "</description>" : "");
}

/* The identity that a snapshot of a running machine has: nothing can be recorded meanwhile. */
static gboolean
find_made(const SnapsetOptions *options, const char *tag, SnapsetUuid *ret_identity, GError **error)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    for (guint i = 0; i < options->set->catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(options->set->catalog, i);
        if (strcmp(snapshot->tag, tag) == 0)
            g_ptr_array_add(found, snapshot);
    }
    if (found->len != 1)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "libvirt took the snapshot, but the images do not show one");
    *ret_identity = ((SnapsetSnapshot *)found->pdata[0])->identity;
    return TRUE;
}

static gboolean
read_made(SnapsetOptions *options, const char *tag, SnapsetUuid *ret_identity, GError **error)
{
    gboolean active = is_active(options);
    g_autoptr(SnapsetSet) before =
        open_again(options, active ? SNAPSET_FOR_READING : SNAPSET_FOR_RECORDING, error);

    if (before == NULL)
        return FALSE;
    if (active)
        return find_made(options, tag, ret_identity, error);
    return snapset_foreign_created(before, options->set, tag, options->description, ret_identity,
                                   error);
}

gboolean
snapset_domain_create(SnapsetOptions *options, GError **error)
{
    const char *tag = options->operands[0];
    SnapsetUuid identity = snapset_uuid_nil;

    if (options->description != NULL && !snapset_description_check(options->description, error))
        return FALSE;
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    snapset_rules_create(options->set->catalog, tag, options->set->report);
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    g_autofree char *quoted = snapset_format_quoted(tag);
    if (options->dry_run) {
        snapset_print_result(options, "created snapshot %s", quoted);
        return TRUE;
    }
    g_autofree char *xml = new_snapshot_xml(options, tag);
    if (!options->link->driver->create(options->link->domain, xml, 0, error) ||
        !read_made(options, tag, &identity, error))
        return FALSE;
    snapset_print_snapshot(options, "created", &identity);
    return TRUE;
}

/* ---- apply and delete ---- */

gboolean
snapset_domain_apply(SnapsetOptions *options, GError **error)
{
    if (options->save_current != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--save-current is not for --domain: create a snapshot first");
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    SnapsetSnapshot *snapshot =
        snapset_selector_resolve(options->operands[0], options->set->catalog, options->set->report);
    if (snapshot != NULL)
        snapset_rules_apply(options->set->catalog, snapshot, options->set->report);
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    SnapsetUuid identity = snapshot->identity;
    if (!check_known(options, snapshot->tag, error))
        return FALSE;
    if (!options->dry_run) {
        if (!options->link->driver->revert(options->link->domain, snapshot->tag, error))
            return FALSE;
        gboolean active = is_active(options);
        g_autoptr(SnapsetSet) before =
            open_again(options, active ? SNAPSET_FOR_READING : SNAPSET_FOR_WRITING, error);
        if (before == NULL || (!active && !snapset_foreign_applied(options->set, &identity, error)))
            return FALSE;
    }
    snapset_print_snapshot(options, "applied", &identity);
    return TRUE;
}

/* What is to be deleted: the snapshot and, with --children, what descends from it. */
static GPtrArray *
chosen_tags(const SnapsetOptions *options, SnapsetSnapshot *snapshot)
{
    GPtrArray *tags = g_ptr_array_new_with_free_func(g_free);

    snapset_rules_delete(options->set->catalog, snapshot, options->set->report);
    if (options->children) {
        g_autoptr(GPtrArray) all = snapset_lineage_descendants(options->set->catalog, snapshot);
        for (guint i = all->len; i-- > 0;) {
            const SnapsetSnapshot *one = all->pdata[i];
            snapset_rules_delete(options->set->catalog, one, options->set->report);
            g_ptr_array_add(tags, g_strdup(one->tag));
        }
    }
    g_ptr_array_add(tags, g_strdup(snapshot->tag));
    return tags;
}

gboolean
snapset_domain_delete(SnapsetOptions *options, GError **error)
{
    g_autoptr(GPtrArray) tags = NULL;

    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    SnapsetSnapshot *snapshot =
        snapset_selector_resolve(options->operands[0], options->set->catalog, options->set->report);
    if (snapshot != NULL)
        tags = chosen_tags(options, snapshot);
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    for (guint i = 0; i < tags->len; i++) {
        if (!check_known(options, tags->pdata[i], error))
            return FALSE;
    }
    for (guint i = 0; i < tags->len; i++) {
        g_autofree char *quoted = snapset_format_quoted(tags->pdata[i]);
        if (!options->dry_run &&
            !options->link->driver->remove(options->link->domain, tags->pdata[i], FALSE, error))
            return FALSE;
        snapset_print_result(options, "deleted snapshot %s", quoted);
    }
    if (options->dry_run || options->output != SNAPSET_OUTPUT_JSON)
        return TRUE;
    g_autoptr(SnapsetSet) before = open_again(options, SNAPSET_FOR_READING, error);
    if (before != NULL)
        snapset_print_set(options);
    return before != NULL;
}

/* ---- sync ---- */

static const SnapsetVirtSnapshot *
find_listed(const GPtrArray *listed, const char *name)
{
    for (guint i = 0; i < listed->len; i++) {
        const SnapsetVirtSnapshot *one = listed->pdata[i];
        if (strcmp(one->name, name) == 0)
            return one;
    }
    return NULL;
}

static void
append_disks(GString *xml, const SnapsetOptions *options, const SnapsetSnapshot *snapshot)
{
    const SnapsetDomain *disks = options->link->disks;

    g_string_append(xml, "<disks>");
    for (guint i = 0; i < disks->disks->len; i++) {
        const SnapsetDisk *disk = disks->disks->pdata[i];
        gboolean has = snapset_snapshot_entry(snapshot, i) != NULL;
        g_autofree char *target = g_markup_escape_text(disk->target, -1);
        g_string_append_printf(xml, "<disk name='%s' snapshot='%s'/>", target,
                               has ? "internal" : "no");
    }
    g_string_append(xml, "</disks>");
}

/* The metadata that libvirt would have of @snapshot, had it taken it itself (formatsnapshot). */
static char *
metadata_xml(const SnapsetOptions *options, const SnapsetSnapshot *snapshot, const char *definition)
{
    GString *xml = g_string_new("<domainsnapshot>");
    gboolean has_state = snapset_snapshot_vm_state_size(snapshot) > 0;
    g_autofree char *name = g_markup_escape_text(snapshot->tag, -1);

    g_string_append_printf(xml, "<name>%s</name>", name);
    if (snapshot->description != NULL) {
        g_autofree char *text = g_markup_escape_text(snapshot->description, -1);
        g_string_append_printf(xml, "<description>%s</description>", text);
    }
    if (snapshot->parent != NULL) {
        g_autofree char *parent = g_markup_escape_text(snapshot->parent->tag, -1);
        g_string_append_printf(xml, "<parent><name>%s</name></parent>", parent);
    }
    g_string_append_printf(xml,
                           "<state>%s</state><creationTime>%u</creationTime>"
                           "<memory snapshot='%s'/>",
                           has_state ? "running" : "shutoff",
                           snapset_snapshot_moment(snapshot)->date_sec,
                           has_state ? "internal" : "no");
    append_disks(xml, options, snapshot);
    g_string_append_printf(xml, "%s</domainsnapshot>", definition);
    return g_string_free(xml, FALSE);
}

/* Is what libvirt has of @snapshot what the images say? */
static gboolean
agrees(const SnapsetSnapshot *snapshot, const SnapsetVirtSnapshot *listed)
{
    const char *parent = snapshot->parent != NULL ? snapshot->parent->tag : NULL;
    return listed != NULL && g_strcmp0(listed->parent, parent) == 0 &&
           listed->is_current == snapshot->is_current;
}

static gboolean
redefine(SnapsetOptions *options, const SnapsetSnapshot *snapshot, const char *definition,
         GError **error)
{
    SnapsetVirtHow how = SNAPSET_VIRT_REDEFINE | (snapshot->is_current ? SNAPSET_VIRT_CURRENT : 0);
    g_autofree char *xml = metadata_xml(options, snapshot, definition);
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);

    if (!options->dry_run &&
        !options->link->driver->create(options->link->domain, xml, how, error)) {
        g_prefix_error(error, "%s: ", quoted);
        return FALSE;
    }
    snapset_print_result(options, "told libvirt of snapshot %s", quoted);
    return TRUE;
}

/* Snapshots of the images that libvirt can know of, each after its parent. */
static GPtrArray *
topological(const SnapsetCatalog *catalog)
{
    GPtrArray *order = g_ptr_array_new();

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapshot->parent != NULL)
            continue;
        g_autoptr(GPtrArray) descendants = snapset_lineage_descendants(catalog, snapshot);
        g_ptr_array_add(order, snapshot);
        g_ptr_array_extend(order, descendants, NULL, NULL);
    }
    for (guint i = order->len; i-- > 0;) {
        const SnapsetSnapshot *snapshot = order->pdata[i];
        if (snapshot->standing != SNAPSET_COMPLETE || snapset_snapshot_is_external(snapshot))
            g_ptr_array_remove_index(order, i);
    }
    return order;
}

/* Libvirt's metadata of what no image has any more. */
static gboolean
forget_gone(SnapsetOptions *options, GPtrArray *listed, GPtrArray *order, GError **error)
{
    g_autoptr(GHashTable) tags = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < order->len; i++)
        g_hash_table_add(tags, (gpointer)((SnapsetSnapshot *)order->pdata[i])->tag);
    for (guint i = listed->len; i-- > 0;) {
        const SnapsetVirtSnapshot *one = listed->pdata[i];
        if (one->is_external || g_hash_table_contains(tags, one->name))
            continue;
        g_autofree char *quoted = snapset_format_quoted(one->name);
        if (!options->dry_run &&
            !options->link->driver->forget(options->link->domain, one->name, error))
            return FALSE;
        snapset_print_result(options, "made libvirt forget snapshot %s, which not all images have",
                             quoted);
    }
    return TRUE;
}

gboolean
snapset_domain_sync(SnapsetOptions *options, GError **error)
{
    const SnapsetVirtDriver *driver = options->link->driver;

    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    g_autoptr(GPtrArray) listed = driver->list(options->link->domain, error);
    g_autofree char *definition =
        listed != NULL ? driver->describe(options->link->domain, TRUE, error) : NULL;
    if (definition == NULL)
        return FALSE;
    g_autoptr(GPtrArray) order = topological(options->set->catalog);
    if (!forget_gone(options, listed, order, error))
        return FALSE;
    for (guint i = 0; i < order->len; i++) {
        const SnapsetSnapshot *snapshot = order->pdata[i];
        if (!agrees(snapshot, find_listed(listed, snapshot->tag)) &&
            !redefine(options, snapshot, definition, error))
            return FALSE;
    }
    return TRUE;
}
