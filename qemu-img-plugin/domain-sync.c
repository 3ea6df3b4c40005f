/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sync: libvirt learns what the images of a domain have. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "qemu-img-plugin/domain-link.h"
#include "qemu-img-plugin/print.h"

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
