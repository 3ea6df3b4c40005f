/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection behind --domain: the module that talks to libvirt, and the domain's disks. */
#include "qemu-img-plugin/domain-link.h"

#include <gmodule.h>
#include <string.h>

#include "common/io/domain-xml.h"

#define MODULE_NAME "snapshot-set-libvirt.so"

/* Beside this program where it was built, else where it is installed. */
static char *
module_path(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self != NULL ? g_path_get_dirname(self) : NULL;
    g_autofree char *built =
        folder != NULL ? g_build_filename(folder, "libvirt", MODULE_NAME, NULL) : NULL;

    if (built != NULL && g_file_test(built, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&built);
    return g_build_filename(SNAPSET_MODULE_DIR, MODULE_NAME, NULL);
}

/* Loaded once and never unloaded: libvirt does not bear it. */
static const SnapsetVirtDriver *
load_driver(GError **error)
{
    g_autofree char *path = module_path();
    GModule *module = g_module_open(path, G_MODULE_BIND_LOCAL);
    gpointer symbol = NULL;

    if (module == NULL || !g_module_symbol(module, SNAPSET_VIRT_DRIVER_SYMBOL, &symbol)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "--domain needs the libvirt part of snapshot-set: %s", g_module_error());
        return NULL;
    }
    g_module_make_resident(module);
    return symbol;
}

SnapsetDomainLink *
snapset_domain_link_open(const char *uri, const char *name, GError **error)
{
    const SnapsetVirtDriver *driver = load_driver(error);
    SnapsetVirtDomain *domain = driver != NULL ? driver->open(uri, name, error) : NULL;

    if (domain == NULL)
        return NULL;
    SnapsetDomainLink *link = g_new0(SnapsetDomainLink, 1);
    link->driver = driver;
    link->domain = domain;
    return link;
}

void
snapset_domain_link_free(SnapsetDomainLink *link)
{
    if (link == NULL)
        return;
    link->driver->close(link->domain);
    snapset_domain_free(link->disks);
    g_free(link);
}

static gboolean
read_disks(SnapsetDomainLink *link, GError **error)
{
    g_autofree char *xml = link->driver->describe(link->domain, FALSE, error);

    g_clear_pointer(&link->disks, snapset_domain_free);
    if (xml == NULL)
        return FALSE;
    link->disks = snapset_domain_from_xml(xml, strlen(xml), error);
    return link->disks != NULL;
}

GPtrArray *
snapset_domain_link_sources(SnapsetDomainLink *link, GError **error)
{
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);

    if (!read_disks(link, error))
        return NULL;
    for (guint i = 0; i < link->disks->disks->len; i++) {
        const SnapsetDisk *disk = link->disks->disks->pdata[i];
        if (disk->path == NULL) {
            snapset_throw(error, SNAPSET_ERROR_FAILED,
                          "disk %s of the domain is no local file or block device as a whole",
                          disk->target);
            return NULL;
        }
        g_ptr_array_add(sources, snapset_source_new_file(disk->path, disk->format));
    }
    if (sources->len == 0) {
        snapset_throw(error, SNAPSET_ERROR_USAGE, "the domain has no disk that it can write to");
        return NULL;
    }
    return g_steal_pointer(&sources);
}

void
snapset_domain_link_remember(const SnapsetDomainLink *link, SnapsetSet *set)
{
    if (link->disks->uuid == NULL)
        return;
    g_clear_pointer(&set->catalog, snapset_catalog_free);
    snapset_machine_remember(link->disks->uuid, link->disks, set->images);
    set->catalog = snapset_catalog_new(set->images);
}

gboolean
snapset_domain_is_active(const SnapsetOptions *options)
{
    return options->link->driver->is_active(options->link->domain);
}

SnapsetSet *
snapset_domain_open_again(SnapsetOptions *options, SnapsetAccess access, GError **error)
{
    g_autoptr(SnapsetSet) before = g_steal_pointer(&options->set);

    if (snapset_options_open(options, access, error))
        return g_steal_pointer(&before);
    return NULL;
}
