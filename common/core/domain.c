/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A libvirt domain as far as its disks go. */
#include "common/core/domain.h"

static void
disk_free(gpointer data)
{
    SnapsetDisk *disk = data;
    g_free(disk->target);
    g_free(disk->format);
    g_free(disk->path);
    g_free(disk->node);
    g_clear_pointer(&disk->backing, g_ptr_array_unref);
    g_free(disk);
}

SnapsetDomain *
snapset_domain_new(void)
{
    SnapsetDomain *domain = g_new0(SnapsetDomain, 1);
    domain->disks = g_ptr_array_new_with_free_func(disk_free);
    domain->others = g_ptr_array_new_with_free_func(g_free);
    return domain;
}

void
snapset_domain_free(SnapsetDomain *domain)
{
    if (domain == NULL)
        return;
    g_free(domain->name);
    g_free(domain->uuid);
    g_free(domain->id);
    g_ptr_array_unref(domain->disks);
    g_ptr_array_unref(domain->others);
    g_free(domain);
}

static SnapsetDisk *
disk_new(const char *target, const char *format, const char *path)
{
    SnapsetDisk *disk = g_new0(SnapsetDisk, 1);
    disk->target = g_strdup(target);
    disk->format = g_strdup(format);
    disk->path = g_strdup(path);
    disk->backing = g_ptr_array_new_with_free_func(disk_free);
    return disk;
}

SnapsetDisk *
snapset_domain_add_disk(SnapsetDomain *domain, const char *target, const char *format,
                        const char *path)
{
    SnapsetDisk *disk = disk_new(target, format, path);
    g_ptr_array_add(domain->disks, disk);
    return disk;
}

SnapsetDisk *
snapset_disk_add_backing(SnapsetDisk *disk, const char *format, const char *path)
{
    SnapsetDisk *below = disk_new(disk->target, format, path);
    g_ptr_array_add(disk->backing, below);
    return below;
}

const SnapsetDisk *
snapset_domain_find_node(const SnapsetDomain *domain, const char *node)
{
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (g_strcmp0(disk->node, node) == 0)
            return disk;
        for (guint j = 0; j < disk->backing->len; j++) {
            const SnapsetDisk *below = disk->backing->pdata[j];
            if (g_strcmp0(below->node, node) == 0)
                return below;
        }
    }
    return NULL;
}
