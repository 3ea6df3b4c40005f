/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's domain XML. */
#include "common/io/domain-xml.h"

#include <string.h>
#include <unistd.h>

#include "common/io/xml.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlBuffer, xmlBufferFree)

static gboolean
is_writable_disk(xmlNode *disk)
{
    g_autofree char *device = snapset_xml_attribute(disk, "device");

    if (device != NULL && strcmp(device, "disk") != 0 && strcmp(device, "lun") != 0)
        return FALSE;
    return snapset_xml_child(disk, "readonly") == NULL &&
           snapset_xml_child(disk, "transient") == NULL;
}

/* The status file's <privateData><nodenames><nodename type='...' name='...'/>. */
static char *
node_name(xmlNode *source, const char *type)
{
    xmlNode *names = snapset_xml_child(snapset_xml_child(source, "privateData"), "nodenames");

    for (xmlNode *node = snapset_xml_child(names, "nodename"); node != NULL;
         node = snapset_xml_next(node, "nodename")) {
        g_autofree char *own = snapset_xml_attribute(node, "type");
        if (g_strcmp0(own, type) == 0)
            return snapset_xml_attribute(node, "name");
    }
    return NULL;
}

/* The node that snapshot commands are about: libvirt 11 gives a raw disk none of its format. */
static char *
top_node(xmlNode *source)
{
    static const char *const types[] = {"format", "slice-storage", "storage"};
    char *name = NULL;

    for (gsize i = 0; name == NULL && i < G_N_ELEMENTS(types); i++)
        name = node_name(source, types[i]);
    return name;
}

/*
 * The file or block device that a disk, or the variables, live in; NULL: neither, or a part of it
 * (<slices>), which no overlay could name.
 */
static char *
source_path(xmlNode *disk)
{
    xmlNode *source = snapset_xml_child(disk, "source");
    g_autofree char *type = snapset_xml_attribute(disk, "type");

    if (snapset_xml_child(source, "slices") != NULL)
        return NULL;
    if (type == NULL || strcmp(type, "file") == 0)
        return snapset_xml_attribute(source, "file");
    return strcmp(type, "block") == 0 ? snapset_xml_attribute(source, "dev") : NULL;
}

/* A <backingStore>; the one that ends the chain is empty. */
static void
add_backing(SnapsetDisk *disk, xmlNode *store)
{
    xmlNode *source = snapset_xml_child(store, "source");
    g_autofree char *format = snapset_xml_attribute(snapset_xml_child(store, "format"), "type");
    g_autofree char *path = source != NULL ? source_path(store) : NULL;

    if (source != NULL)
        snapset_disk_add_backing(disk, format != NULL ? format : "raw", path)->node =
            top_node(source);
}

static char *
disk_target(xmlNode *disk)
{
    char *target = snapset_xml_attribute(snapset_xml_child(disk, "target"), "dev");
    return target != NULL ? target : g_strdup("?");
}

static void
add_disk(SnapsetDomain *domain, xmlNode *disk)
{
    xmlNode *source = snapset_xml_child(disk, "source");
    g_autofree char *format = snapset_xml_attribute(snapset_xml_child(disk, "driver"), "type");
    g_autofree char *target = disk_target(disk);
    g_autofree char *path = source_path(disk);
    SnapsetDisk *added =
        snapset_domain_add_disk(domain, target, format != NULL ? format : "raw", path);
    added->node = top_node(source);
    added->is_encrypted = snapset_xml_child(source, "encryption") != NULL ||
                          snapset_xml_child(disk, "encryption") != NULL;
    for (xmlNode *below = snapset_xml_child(disk, "backingStore"); below != NULL;
         below = snapset_xml_child(below, "backingStore"))
        add_backing(added, below);
}

/*
 * Since libvirt 10.9 a snapshot of a running machine takes its variables along, if qcow2. A local
 * file stands between the tags, or in a source like a disk's.
 */
static void
add_nvram(SnapsetDomain *domain, xmlNode *nvram)
{
    g_autofree char *format = snapset_xml_attribute(nvram, "format");
    g_autofree char *path = snapset_xml_child(nvram, "source") != NULL ? source_path(nvram)
                                                                       : snapset_xml_content(nvram);

    if (g_strcmp0(format, "qcow2") == 0)
        snapset_domain_add_disk(domain, SNAPSET_NVRAM, format, path);
}

SnapsetDomain *
snapset_domain_from_node(xmlNode *node)
{
    SnapsetDomain *domain = snapset_domain_new();
    domain->id = snapset_xml_attribute(node, "id");
    domain->name = snapset_xml_content(snapset_xml_child(node, "name"));
    domain->uuid = snapset_xml_content(snapset_xml_child(node, "uuid"));
    for (xmlNode *disk = snapset_xml_child(snapset_xml_child(node, "devices"), "disk");
         disk != NULL; disk = snapset_xml_next(disk, "disk")) {
        if (is_writable_disk(disk))
            add_disk(domain, disk);
        else
            g_ptr_array_add(domain->others, disk_target(disk));
    }
    xmlNode *nvram = snapset_xml_child(snapset_xml_child(node, "os"), "nvram");
    if (nvram != NULL)
        add_nvram(domain, nvram);
    return domain;
}

SnapsetDomain *
snapset_domain_from_xml(const char *text, gsize size, GError **error)
{
    g_autoptr(xmlDoc) document =
        size <= SNAPSET_DOMAIN_XML_MAX ? snapset_xml_parse(text, size) : NULL;
    xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;

    if (root != NULL && strcmp((const char *)root->name, "domstatus") == 0)
        root = snapset_xml_child(root, "domain");
    if (root == NULL || strcmp((const char *)root->name, "domain") != 0) {
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "this is not a domain's XML");
        return NULL;
    }
    return snapset_domain_from_node(root);
}

/* ---- on other files ---- */

static const SnapsetDisk *
find_target(const SnapsetDomain *files, const char *target)
{
    for (guint i = 0; i < files->disks->len; i++) {
        const SnapsetDisk *disk = files->disks->pdata[i];
        if (strcmp(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static void
remove_child(xmlNode *parent, const char *name)
{
    xmlNode *child = snapset_xml_child(parent, name);

    if (child == NULL)
        return;
    xmlUnlinkNode(child);
    xmlFreeNode(child);
}

static void
put_on_file(xmlNode *disk, const SnapsetDisk *file)
{
    xmlNode *driver = snapset_xml_child(disk, "driver");
    g_autofree char *now = source_path(disk);

    if (g_strcmp0(now, file->path) == 0)
        return;
    remove_child(disk, "backingStore");
    remove_child(disk, "source");
    xmlSetProp(disk, BAD_CAST "type", BAD_CAST "file");
    xmlSetProp(xmlNewChild(disk, NULL, BAD_CAST "source", NULL), BAD_CAST "file",
               BAD_CAST file->path);
    if (driver != NULL)
        xmlSetProp(driver, BAD_CAST "type", BAD_CAST file->format);
}

char *
snapset_domain_xml_on_files(const char *text, const SnapsetDomain *files, GError **error)
{
    g_autoptr(xmlDoc) document = snapset_xml_parse(text, strlen(text));
    xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    g_autoptr(xmlBuffer) buffer = xmlBufferCreate();

    if (root == NULL) {
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "this is not a domain's XML");
        return NULL;
    }
    for (xmlNode *disk = snapset_xml_child(snapset_xml_child(root, "devices"), "disk");
         disk != NULL; disk = snapset_xml_next(disk, "disk")) {
        g_autofree char *target = disk_target(disk);
        const SnapsetDisk *file = find_target(files, target);
        if (file != NULL)
            put_on_file(disk, file);
    }
    xmlNodeDump(buffer, document, root, 0, 0);
    return g_strdup((const char *)xmlBufferContent(buffer));
}

SnapsetDomain *
snapset_domain_running(const char *name, GError **error)
{
    const char *named = g_getenv("SNAPSHOT_SET_STATUS_DIR");
    g_autofree char *folder = NULL;
    g_autofree char *file = g_strconcat(name, ".xml", NULL);
    g_autofree char *text = NULL;
    gsize size = 0;

    if (strchr(name, '/') != NULL) { /* libvirt allows none either */
        snapset_throw(error, SNAPSET_ERROR_USAGE, "a domain's name has no slash");
        return NULL;
    }
    if (named != NULL && *named != '\0')
        folder = g_strdup(named);
    else if (geteuid() == 0)
        folder = g_strdup("/run/libvirt/qemu");
    else
        folder = g_build_filename(g_get_user_runtime_dir(), "libvirt/qemu/run", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autoptr(GError) failure = NULL;
    if (!g_file_get_contents(path, &text, &size, &failure)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", failure->message);
        return NULL;
    }
    return snapset_domain_from_xml(text, size, error);
}
