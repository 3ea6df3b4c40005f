/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libvirt's own metadata says of a domain's snapshot. */
#include "common/core/domain-snapshot.h"

#include <string.h>

SnapsetDomainSnapshot *
snapset_domain_snapshot_new(void)
{
    SnapsetDomainSnapshot *snapshot = g_new0(SnapsetDomainSnapshot, 1);
    snapshot->internal = g_ptr_array_new_with_free_func(g_free);
    snapshot->overlays = g_ptr_array_new_with_free_func(g_free);
    return snapshot;
}

void
snapset_domain_snapshot_free(SnapsetDomainSnapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    g_free(snapshot->name);
    g_free(snapshot->parent);
    g_ptr_array_unref(snapshot->internal);
    g_ptr_array_unref(snapshot->overlays);
    snapset_domain_free(snapshot->domain);
    g_free(snapshot);
}

static const SnapsetDisk *
find_disk(const SnapsetDomain *domain, const char *target)
{
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (strcmp(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static gboolean
is_named(const SnapsetDomainSnapshot *metadata, const SnapsetDisk *disk)
{
    /* The firmware's variables go along with the disks, unnamed, if the version takes them. */
    return strcmp(disk->target, SNAPSET_NVRAM) == 0 ||
           g_ptr_array_find_with_equal_func(metadata->internal, disk->target, g_str_equal, NULL);
}

/* Was the disk, by its target, the same file then? */
static gboolean
is_same_disk(const SnapsetDomainSnapshot *metadata, const SnapsetDisk *disk)
{
    const SnapsetDisk *then = find_disk(metadata->domain, disk->target);

    return then != NULL && g_strcmp0(then->path, disk->path) == 0;
}

static gboolean
is_within(const SnapsetDomainSnapshot *metadata, const SnapsetEntry *entry)
{
    gint64 apart = (gint64)entry->moment.date_sec - metadata->created;

    return ABS(apart) <= SNAPSET_UNPROVEN_SECONDS;
}

gboolean
snapset_domain_snapshot_proves(const SnapsetDomainSnapshot *metadata, const SnapsetDomain *domain,
                               const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    guint named = 0;

    if (!metadata->is_offline || strcmp(metadata->name, snapshot->tag) != 0 ||
        metadata->domain == NULL || g_strcmp0(metadata->domain->uuid, domain->uuid) != 0)
        return FALSE;
    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        const SnapsetEntry *entry = snapset_snapshot_entry(snapshot, i);
        if (entry != NULL && !(is_named(metadata, disk) && is_same_disk(metadata, disk) &&
                               is_within(metadata, entry)))
            return FALSE;
        named += entry != NULL && strcmp(disk->target, SNAPSET_NVRAM) != 0;
    }
    return named == metadata->internal->len;
}
