/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The module that talks to libvirt. */
#include "qemu-img-plugin/libvirt/driver.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

struct SnapsetVirtDomain {
    virConnectPtr connection;
    virDomainPtr domain;
};

typedef virDomainSnapshotPtr Snapshot;

static void
free_snapshot(Snapshot snapshot)
{
    virDomainSnapshotFree(snapshot);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(Snapshot, free_snapshot, NULL)

static gboolean
throw_last(GError **error)
{
    const char *message = virGetLastErrorMessage();
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "libvirt: %s", message);
}

/* libvirt would print every error itself. */
static void
keep_quiet(void *data, virErrorPtr error)
{
}

static void
close_domain(SnapsetVirtDomain *domain)
{
    if (domain == NULL)
        return;
    if (domain->domain != NULL)
        virDomainFree(domain->domain);
    if (domain->connection != NULL)
        virConnectClose(domain->connection);
    g_free(domain);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetVirtDomain, close_domain)

/* The images must be those of this host: a URI with a server in it has others. */
static gboolean
check_host(virConnectPtr connection, GError **error)
{
    char *text = virConnectGetURI(connection);
    g_autoptr(GUri) uri = text != NULL ? g_uri_parse(text, G_URI_FLAGS_PARSE_RELAXED, NULL) : NULL;
    const char *host = uri != NULL ? g_uri_get_host(uri) : NULL;
    gboolean is_remote = host != NULL && *host != '\0';

    free(text);
    return !is_remote ||
           snapset_throw(error, SNAPSET_ERROR_FAILED,
                         "the images of a domain on another host cannot be read from here");
}

static SnapsetVirtDomain *
open_domain(const char *uri, const char *name, GError **error)
{
    g_autoptr(SnapsetVirtDomain) domain = g_new0(SnapsetVirtDomain, 1);

    virSetErrorFunc(NULL, keep_quiet);
    domain->connection = virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
    if (domain->connection == NULL) {
        throw_last(error);
        return NULL;
    }
    if (!check_host(domain->connection, error))
        return NULL;
    domain->domain = virDomainLookupByUUIDString(domain->connection, name);
    if (domain->domain == NULL)
        domain->domain = virDomainLookupByName(domain->connection, name);
    if (domain->domain == NULL) {
        throw_last(error);
        return NULL;
    }
    return g_steal_pointer(&domain);
}

static gboolean
is_active(SnapsetVirtDomain *domain)
{
    return virDomainIsActive(domain->domain) == 1;
}

/* libvirt's strings are malloc()ed; ours are GLib's. */
static char *
take_string(char *text, GError **error)
{
    char *copy = g_strdup(text);

    free(text);
    if (copy == NULL)
        throw_last(error);
    return copy;
}

static char *
describe(SnapsetVirtDomain *domain, gboolean as_defined, GError **error)
{
    unsigned flags = as_defined ? VIR_DOMAIN_XML_INACTIVE : 0;
    return take_string(virDomainGetXMLDesc(domain->domain, flags), error);
}

static gboolean
create_snapshot(SnapsetVirtDomain *domain, const char *xml, SnapsetVirtHow how, GError **error)
{
    unsigned flags = 0;

    if (how & SNAPSET_VIRT_REDEFINE)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
    else
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC;
    if (how & SNAPSET_VIRT_CURRENT)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    if (how & SNAPSET_VIRT_EXTERNAL)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT;
    if (how & SNAPSET_VIRT_QUIESCE)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE;
    g_auto(Snapshot) made = virDomainSnapshotCreateXML(domain->domain, xml, flags);
    return made != NULL || throw_last(error);
}

static Snapshot
look_up(SnapsetVirtDomain *domain, const char *name, GError **error)
{
    Snapshot snapshot = virDomainSnapshotLookupByName(domain->domain, name, 0);
    if (snapshot == NULL)
        throw_last(error);
    return snapshot;
}

static gboolean
revert(SnapsetVirtDomain *domain, const char *name, GError **error)
{
    g_auto(Snapshot) snapshot = look_up(domain, name, error);

    if (snapshot == NULL)
        return FALSE;
    return virDomainRevertToSnapshot(snapshot, 0) == 0 || throw_last(error);
}

static gboolean
delete_with(SnapsetVirtDomain *domain, const char *name, unsigned flags, GError **error)
{
    g_auto(Snapshot) snapshot = look_up(domain, name, error);

    if (snapshot == NULL)
        return FALSE;
    return virDomainSnapshotDelete(snapshot, flags) == 0 || throw_last(error);
}

static gboolean
remove_snapshot(SnapsetVirtDomain *domain, const char *name, gboolean children, GError **error)
{
    return delete_with(domain, name, children ? VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN : 0, error);
}

static gboolean
forget_snapshot(SnapsetVirtDomain *domain, const char *name, GError **error)
{
    return delete_with(domain, name, VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY, error);
}

/* ---- the list ---- */

static void
free_listed(gpointer data)
{
    SnapsetVirtSnapshot *snapshot = data;
    g_free(snapshot->name);
    g_free(snapshot->parent);
    g_free(snapshot);
}

static SnapsetVirtSnapshot *
read_listed(virDomainSnapshotPtr snapshot)
{
    SnapsetVirtSnapshot *listed = g_new0(SnapsetVirtSnapshot, 1);
    g_auto(Snapshot) parent = virDomainSnapshotGetParent(snapshot, 0);

    listed->name = g_strdup(virDomainSnapshotGetName(snapshot));
    listed->parent = parent != NULL ? g_strdup(virDomainSnapshotGetName(parent)) : NULL;
    listed->is_current = virDomainSnapshotIsCurrent(snapshot, 0) == 1;
    return listed;
}

/* Which of them have an overlay: libvirt tells by filter only. */
static gboolean
mark_external(SnapsetVirtDomain *domain, GPtrArray *listed, GError **error)
{
    virDomainSnapshotPtr *external = NULL;
    int count =
        virDomainListAllSnapshots(domain->domain, &external, VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL);

    if (count < 0)
        return throw_last(error);
    for (int i = 0; i < count; i++) {
        for (guint j = 0; j < listed->len; j++) {
            SnapsetVirtSnapshot *one = listed->pdata[j];
            one->is_external |= strcmp(one->name, virDomainSnapshotGetName(external[i])) == 0;
        }
        virDomainSnapshotFree(external[i]);
    }
    free(external);
    return TRUE;
}

static GPtrArray *
list(SnapsetVirtDomain *domain, GError **error)
{
    virDomainSnapshotPtr *snapshots = NULL;
    int count =
        virDomainListAllSnapshots(domain->domain, &snapshots, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
    g_autoptr(GPtrArray) listed = g_ptr_array_new_with_free_func(free_listed);

    if (count < 0) {
        throw_last(error);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        g_ptr_array_add(listed, read_listed(snapshots[i]));
        virDomainSnapshotFree(snapshots[i]);
    }
    free(snapshots);
    return mark_external(domain, listed, error) ? g_steal_pointer(&listed) : NULL;
}

const SnapsetVirtDriver snapset_virt_driver = {
    .open = open_domain,
    .close = close_domain,
    .is_active = is_active,
    .describe = describe,
    .create = create_snapshot,
    .revert = revert,
    .remove = remove_snapshot,
    .forget = forget_snapshot,
    .list = list,
};
