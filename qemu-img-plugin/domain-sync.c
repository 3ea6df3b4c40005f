/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sync: libvirt learns what the images of a domain have. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/io/domain-xml.h"
#include "qemu-img-plugin/domain-link.h"
#include "qemu-img-plugin/print.h"
#include "qemu-img-plugin/snapshot-xml.h"

typedef struct {
    SnapsetOptions *options;
    GPtrArray *listed; /* of SnapsetVirtSnapshot *: what libvirt knows */
    char *definition;  /* of the domain, as XML */
} Sync;

static void
sync_clear(Sync *sync)
{
    g_clear_pointer(&sync->listed, g_ptr_array_unref);
    g_free(sync->definition);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sync, sync_clear)

static const SnapsetVirtSnapshot *
find_listed(const Sync *sync, const char *name)
{
    for (guint i = 0; i < sync->listed->len; i++) {
        const SnapsetVirtSnapshot *one = sync->listed->pdata[i];
        if (strcmp(one->name, name) == 0)
            return one;
    }
    return NULL;
}

/*
 * Is libvirt to be told of it? It would take what is inside of a backing file for something that it
 * can go back to, and write to that file under its overlays.
 */
static gboolean
is_for_libvirt(const Sync *sync, const SnapsetSnapshot *snapshot)
{
    return !snapset_snapshot_is_buried(snapshot) || find_listed(sync, snapshot->tag) != NULL;
}

/* The tag of the nearest ancestor that libvirt knows, or is told of; NULL: none. */
static const char *
parent_tag(const Sync *sync, const SnapsetSnapshot *snapshot)
{
    const SnapsetSnapshot *parent = snapshot->parent;

    while (parent != NULL && !is_for_libvirt(sync, parent))
        parent = parent->parent;
    return parent != NULL ? parent->tag : NULL;
}

/* The overlay that stands on the external snapshot of @member. */
static const char *
overlay_of(const SnapsetOptions *options, const SnapsetMember *member)
{
    return snapset_image_link(snapset_set_image(options->set, member->image), member->link)
        ->filename;
}

static void
append_disk(GString *xml, const SnapsetOptions *options, const SnapsetDisk *disk,
            const SnapsetMember *member)
{
    if (strcmp(disk->target, SNAPSET_NVRAM) == 0) /* is no disk to libvirt */
        return;
    if (member != NULL && member->entry->is_external)
        snapset_snapshot_xml_overlay(xml, disk->target, overlay_of(options, member));
    else
        snapset_snapshot_xml_disk(xml, disk->target, member != NULL ? "internal" : "no");
}

static void
append_disks(GString *xml, const SnapsetOptions *options, const SnapsetSnapshot *snapshot)
{
    const SnapsetDomain *domain = options->link->disks;

    g_string_append(xml, "<disks>");
    for (guint i = 0; i < domain->disks->len; i++)
        append_disk(xml, options, domain->disks->pdata[i], snapset_snapshot_find(snapshot, i));
    snapset_snapshot_xml_others(xml, domain);
    g_string_append(xml, "</disks>");
}

/* The domain with the disks that it had when @snapshot was taken: those that now hold it. */
static char *
definition_then(const Sync *sync, const SnapsetSnapshot *snapshot, GError **error)
{
    const SnapsetOptions *options = sync->options;
    g_autoptr(SnapsetDomain) files = snapset_domain_new();

    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        const SnapsetDisk *disk = options->link->disks->disks->pdata[member->image];
        const SnapsetImage *holder = snapset_catalog_holder(options->set->catalog, member);
        if (holder != NULL)
            snapset_domain_add_disk(files, disk->target, holder->format, holder->filename);
    }
    return snapset_domain_xml_on_files(sync->definition, files, error);
}

/* The metadata that libvirt would have of @snapshot, had it taken it itself (formatsnapshot). */
static char *
metadata_xml(const Sync *sync, const SnapsetSnapshot *snapshot, const char *definition)
{
    const char *parent = parent_tag(sync, snapshot);
    GString *xml = g_string_new("<domainsnapshot>");
    gboolean has_state = snapset_snapshot_vm_state_size(snapshot) > 0;

    snapset_snapshot_xml_text(xml, "name", snapshot->tag);
    if (snapshot->description != NULL)
        snapset_snapshot_xml_text(xml, "description", snapshot->description);
    if (parent != NULL) {
        g_string_append(xml, "<parent>");
        snapset_snapshot_xml_text(xml, "name", parent);
        g_string_append(xml, "</parent>");
    }
    g_string_append_printf(xml,
                           "<state>%s</state><creationTime>%u</creationTime>"
                           "<memory snapshot='%s'/>",
                           has_state ? "running" : "shutoff",
                           snapset_snapshot_moment(snapshot)->date_sec,
                           has_state ? "internal" : "no");
    append_disks(xml, sync->options, snapshot);
    g_string_append_printf(xml, "%s</domainsnapshot>", definition);
    return g_string_free(xml, FALSE);
}

/*
 * Is what libvirt has of @snapshot what the images say? Of an external one that it knows it may
 * know more than they do: a file with the machine's memory.
 */
static gboolean
agrees(const Sync *sync, const SnapsetSnapshot *snapshot)
{
    const SnapsetVirtSnapshot *listed = find_listed(sync, snapshot->tag);

    if (listed != NULL && listed->is_external)
        return TRUE;
    return listed != NULL && g_strcmp0(listed->parent, parent_tag(sync, snapshot)) == 0 &&
           listed->is_current == snapshot->is_current;
}

static gboolean
redefine(const Sync *sync, const SnapsetSnapshot *snapshot, GError **error)
{
    const SnapsetOptions *options = sync->options;
    SnapsetVirtHow how = SNAPSET_VIRT_REDEFINE | (snapshot->is_current ? SNAPSET_VIRT_CURRENT : 0);
    g_autofree char *then = definition_then(sync, snapshot, error);
    g_autofree char *xml = then != NULL ? metadata_xml(sync, snapshot, then) : NULL;
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);

    if (xml == NULL)
        return FALSE;
    if (!options->dry_run &&
        !options->link->driver->create(options->link->domain, xml, how, error)) {
        g_prefix_error(error, "%s: ", quoted);
        return FALSE;
    }
    snapset_print_result(options, "told libvirt of snapshot %s", quoted);
    return TRUE;
}

/* The snapshots that all images have, each after its parent. */
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
        if (snapshot->standing != SNAPSET_COMPLETE)
            g_ptr_array_remove_index(order, i);
    }
    return order;
}

/* Libvirt's metadata of what no image has any more. */
static gboolean
forget_gone(const Sync *sync, GPtrArray *order, GError **error)
{
    const SnapsetOptions *options = sync->options;
    g_autoptr(GHashTable) tags = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < order->len; i++)
        g_hash_table_add(tags, (gpointer)((SnapsetSnapshot *)order->pdata[i])->tag);
    for (guint i = sync->listed->len; i-- > 0;) {
        const SnapsetVirtSnapshot *one = sync->listed->pdata[i];
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
    g_auto(Sync) sync = {.options = options};

    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    sync.listed = driver->list(options->link->domain, error);
    if (sync.listed != NULL)
        sync.definition = driver->describe(options->link->domain, TRUE, error);
    if (sync.definition == NULL)
        return FALSE;
    g_autoptr(GPtrArray) order = topological(options->set->catalog);
    if (!forget_gone(&sync, order, error))
        return FALSE;
    for (guint i = 0; i < order->len; i++) {
        const SnapsetSnapshot *snapshot = order->pdata[i];
        if (is_for_libvirt(&sync, snapshot) && !agrees(&sync, snapshot) &&
            !redefine(&sync, snapshot, error))
            return FALSE;
    }
    return TRUE;
}
