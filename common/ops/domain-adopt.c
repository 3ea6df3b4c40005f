/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots that libvirt took of a machine that was shut off. */
#include "common/ops/domain-adopt.h"

#include <string.h>

#include "common/core/domain-snapshot.h"
#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/io/domain-snapshot-xml.h"
#include "common/ops/operations.h"

/* ---- what there is to do ---- */

typedef struct {
    const SnapsetSnapshot *snapshot;
    SnapsetDomainSnapshot *metadata;
    SnapsetUuid identity; /* the one it gets */
} Adoption;

typedef struct {
    GPtrArray *adoptions;           /* of Adoption *, oldest first */
    const SnapsetSnapshot *current; /* where the images are to be put; NULL: as they are */
} Plan;

static void
adoption_free(gpointer data)
{
    Adoption *adoption = data;
    snapset_domain_snapshot_free(adoption->metadata);
    g_free(adoption);
}

static void
plan_clear(Plan *plan)
{
    g_clear_pointer(&plan->adoptions, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

/* Does it stand in the images themselves, not in backing files of theirs? */
static gboolean
is_in_images(const SnapsetSnapshot *snapshot)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        if (snapset_snapshot_member(snapshot, i)->link > 0)
            return FALSE;
    }
    return !snapset_snapshot_is_external(snapshot);
}

static void
plan_adoption(Plan *plan, const SnapsetDomain *domain, const SnapsetCatalog *catalog,
              const SnapsetSnapshot *snapshot)
{
    g_autoptr(SnapsetDomainSnapshot) metadata =
        snapset_domain_snapshot_read(domain->name, snapshot->tag);

    if (metadata == NULL || !snapset_domain_snapshot_proves(metadata, domain, catalog, snapshot))
        return;
    Adoption *adoption = g_new0(Adoption, 1);
    adoption->snapshot = snapshot;
    adoption->metadata = g_steal_pointer(&metadata);
    adoption->identity = snapset_new_identity();
    g_ptr_array_add(plan->adoptions, adoption);
}

static const Adoption *
find_adoption(const Plan *plan, const char *tag)
{
    for (guint i = 0; i < plan->adoptions->len; i++) {
        const Adoption *adoption = plan->adoptions->pdata[i];
        if (strcmp(adoption->snapshot->tag, tag) == 0)
            return adoption;
    }
    return NULL;
}

/* The one snapshot of that name that all images have; NULL: none, or several. */
static const SnapsetSnapshot *
find_complete(const SnapsetCatalog *catalog, const char *tag)
{
    const SnapsetSnapshot *found = NULL;

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (strcmp(snapshot->tag, tag) != 0)
            continue;
        if (found != NULL || snapshot->standing != SNAPSET_COMPLETE)
            return NULL;
        found = snapshot;
    }
    return found;
}

/* Is it possible that all images stand at @snapshot, and not what they say already? */
static gboolean
may_be_moved(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    gboolean stand_there = TRUE;

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        gboolean stands_there = g_array_index(catalog->currents, SnapsetSnapshot *, i) == snapshot;
        SnapsetUuid current = snapset_image_current(image);
        gboolean is_certain = image->sealed && !snapset_uuid_is_nil(&current);
        if (snapset_snapshot_entry(snapshot, i) == NULL || (is_certain && !stands_there) ||
            !snapset_lineage_agree(catalog, 0, i))
            return FALSE;
        stand_there &= stands_there;
    }
    return !stand_there;
}

static gboolean
are_all_certain(const SnapsetCatalog *catalog)
{
    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        if (!image->sealed && image->entries->len > 0)
            return FALSE;
    }
    return TRUE;
}

static void
plan_current(Plan *plan, const SnapsetDomain *domain, const SnapsetCatalog *catalog)
{
    g_autofree char *tag =
        are_all_certain(catalog) ? NULL : snapset_domain_snapshot_current(domain->name);
    const Adoption *adoption = tag != NULL ? find_adoption(plan, tag) : NULL;
    const SnapsetSnapshot *snapshot = adoption != NULL ? adoption->snapshot
                                      : tag != NULL    ? find_complete(catalog, tag)
                                                       : NULL;

    if (snapshot != NULL && is_in_images(snapshot) && may_be_moved(catalog, snapshot))
        plan->current = snapshot;
}

/* FALSE: there is nothing to do. */
static gboolean
make_plan(Plan *plan, const SnapsetDomain *domain, const SnapsetCatalog *catalog)
{
    plan->adoptions = g_ptr_array_new_with_free_func(adoption_free);
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapshot->standing == SNAPSET_UNPROVEN && is_in_images(snapshot))
            plan_adoption(plan, domain, catalog, snapshot);
    }
    plan_current(plan, domain, catalog);
    return plan->adoptions->len > 0 || plan->current != NULL;
}

/* ---- doing it ---- */

/* The identity that the snapshot called @tag has after this; nil: no such, or several. */
static SnapsetUuid
identity_of(const Plan *plan, const SnapsetCatalog *catalog, const char *tag)
{
    const Adoption *adoption = find_adoption(plan, tag);
    const SnapsetSnapshot *complete = adoption == NULL ? find_complete(catalog, tag) : NULL;

    return adoption != NULL   ? adoption->identity
           : complete != NULL ? complete->identity
                              : snapset_uuid_nil;
}

static void
adopt_in(SnapsetLedger *ledger, const Plan *plan, const SnapsetCatalog *catalog,
         const Adoption *adoption, guint image)
{
    const SnapsetSnapshot *snapshot = adoption->snapshot;
    const SnapsetEntry *entry = snapset_snapshot_entry(snapshot, image);
    const char *parent = adoption->metadata->parent;
    SnapsetUuid above = parent != NULL ? identity_of(plan, catalog, parent) : snapset_uuid_nil;

    if (entry != NULL) {
        SnapsetRecord *record =
            snapset_lineage_adopt(ledger, entry, &adoption->identity, snapshot->members->len);
        if (parent == NULL || !snapset_uuid_is_nil(&above))
            snapset_lineage_take_parent(record, &above);
    }
    for (guint i = 0; i < snapshot->members->len; i++)
        snapset_lineage_repoint(ledger, &snapset_snapshot_member(snapshot, i)->entry->identity,
                                &adoption->identity);
}

/* The new ledger of image @index; NULL: nothing changes, or it has no room, as the report says. */
static GBytes *
ledger_after(SnapsetSet *set, const Plan *plan, guint index)
{
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);
    g_autoptr(GBytes) before = snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, NULL);

    for (guint i = 0; i < plan->adoptions->len; i++)
        adopt_in(ledger, plan, set->catalog, plan->adoptions->pdata[i], index);
    if (plan->current != NULL)
        ledger->current = identity_of(plan, set->catalog, plan->current->tag);
    g_autoptr(GBytes) after = snapset_set_encode(set, index, ledger, TRUE);
    return after != NULL && before != NULL && g_bytes_equal(before, after)
               ? NULL
               : g_steal_pointer(&after);
}

static gboolean
carry_out(SnapsetSet *set, const Plan *plan, GError **error)
{
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    for (guint i = 0; i < set->images->len; i++)
        g_ptr_array_add(after, ledger_after(set, plan, i));
    return snapset_report_verdict(set->report, error) &&
           snapset_stamp_set(set, "adopt", after, error);
}

static void
note_plan(const Plan *plan, GPtrArray *notes)
{
    for (guint i = 0; i < plan->adoptions->len; i++) {
        const Adoption *adoption = plan->adoptions->pdata[i];
        g_autofree char *quoted = snapset_format_quoted(adoption->snapshot->tag);
        g_ptr_array_add(notes,
                        g_strdup_printf("snapshot %s is one moment by libvirt's metadata", quoted));
    }
    if (plan->current != NULL) {
        g_autofree char *quoted = snapset_format_quoted(plan->current->tag);
        g_ptr_array_add(notes, g_strdup_printf("the disks stand at snapshot %s by libvirt's "
                                               "metadata",
                                               quoted));
    }
}

/* The disks that can have snapshots which this host can record. */
static SnapsetDomain *
recordable_part(const SnapsetDomain *domain)
{
    SnapsetDomain *part = snapset_domain_new();

    part->name = g_strdup(domain->name);
    part->uuid = g_strdup(domain->uuid);
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (disk->path != NULL && strcmp(disk->format, "qcow2") == 0)
            snapset_domain_add_disk(part, disk->target, disk->format, disk->path);
    }
    return part;
}

/* Once more under the locks: what was seen without them may have changed. */
static gboolean
adopt_locked(const SnapsetDomain *domain, GError **error)
{
    g_autoptr(SnapsetDomain) part = recordable_part(domain);
    GPtrArray *sources = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_auto(Plan) plan = {0};

    for (guint i = 0; i < part->disks->len; i++) {
        const SnapsetDisk *disk = part->disks->pdata[i];
        g_ptr_array_add(sources, snapset_source_new_file(disk->path, disk->format));
    }
    g_autoptr(SnapsetSet) set = snapset_set_new(sources, NULL, NULL);
    set->tools = snapset_qemu_tools_new(NULL, error);
    return set->tools != NULL && snapset_set_load(set, SNAPSET_FOR_RECORDING, error) &&
           snapset_report_verdict(set->report, error) && make_plan(&plan, part, set->catalog) &&
           carry_out(set, &plan, error);
}

gboolean
snapset_domain_adopt(const SnapsetDomain *domain, const SnapsetCatalog *catalog, GPtrArray *notes)
{
    g_autoptr(GError) error = NULL;
    g_auto(Plan) plan = {0};

    if (domain->name == NULL || !make_plan(&plan, domain, catalog))
        return FALSE;
    if (adopt_locked(domain, &error)) {
        note_plan(&plan, notes);
        return TRUE;
    }
    if (error != NULL)
        g_ptr_array_add(notes, g_strdup_printf("libvirt's snapshot metadata is not made use of: %s",
                                               error->message));
    return FALSE;
}
