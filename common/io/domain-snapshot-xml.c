/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's snapshot metadata. */
#include "common/io/domain-snapshot-xml.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/io/domain-xml.h"
#include "common/io/file.h"
#include "common/io/xml.h"

#define SUFFIX ".xml"

/* ---- text ---- */

static void
read_disks(SnapsetDomainSnapshot *snapshot, xmlNode *disks)
{
    for (xmlNode *disk = snapset_xml_child(disks, "disk"); disk != NULL;
         disk = snapset_xml_next(disk, "disk")) {
        g_autofree char *kind = snapset_xml_attribute(disk, "snapshot");
        g_autofree char *target = snapset_xml_attribute(disk, "name");
        if (g_strcmp0(kind, "internal") == 0 && target != NULL)
            g_ptr_array_add(snapshot->internal, g_steal_pointer(&target));
        g_autofree char *overlay = snapset_xml_attribute(snapset_xml_child(disk, "source"), "file");
        if (g_strcmp0(kind, "external") == 0 && overlay != NULL)
            g_ptr_array_add(snapshot->overlays, g_steal_pointer(&overlay));
    }
}

SnapsetDomainSnapshot *
snapset_domain_snapshot_from_xml(const char *text, gsize size, GError **error)
{
    g_autoptr(xmlDoc) document =
        size <= SNAPSET_DOMAIN_SNAPSHOT_XML_MAX ? snapset_xml_parse(text, size) : NULL;
    xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    xmlNode *name = snapset_xml_child(root, "name");

    if (name == NULL || strcmp((const char *)root->name, "domainsnapshot") != 0) {
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "this is not a snapshot's XML");
        return NULL;
    }
    SnapsetDomainSnapshot *snapshot = snapset_domain_snapshot_new();
    g_autofree char *state = snapset_xml_content(snapset_xml_child(root, "state"));
    g_autofree char *created = snapset_xml_content(snapset_xml_child(root, "creationTime"));
    g_autofree char *active = snapset_xml_content(snapset_xml_child(root, "active"));
    xmlNode *domain = snapset_xml_child(root, "domain");
    snapshot->name = snapset_xml_content(name);
    snapshot->parent =
        snapset_xml_content(snapset_xml_child(snapset_xml_child(root, "parent"), "name"));
    snapshot->created = created != NULL ? g_ascii_strtoll(created, NULL, 10) : 0;
    snapshot->is_offline = g_strcmp0(state, "shutoff") == 0;
    snapshot->is_current = g_strcmp0(active, "1") == 0;
    read_disks(snapshot, snapset_xml_child(root, "disks"));
    if (domain != NULL)
        snapshot->domain = snapset_domain_from_node(domain);
    return snapshot;
}

/* ---- files ---- */

static char *
folder_of(const char *domain)
{
    if (geteuid() == 0)
        return g_build_filename("/var/lib/libvirt/qemu/snapshot", domain, NULL);
    return g_build_filename(g_get_user_config_dir(), "libvirt/qemu/snapshot", domain, NULL);
}

/* The whole file; NULL when it is not there, or longer than anyone would parse. */
static GString *
read_file(const char *folder, const char *file)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    SnapsetFileStatus status;
    gsize got = 0;

    if (fd < 0 || !snapset_file_status(fd, &status, NULL) || !status.is_regular ||
        status.size > SNAPSET_DOMAIN_SNAPSHOT_XML_MAX)
        return NULL;
    GString *text = g_string_sized_new(status.size + 1);
    if (snapset_pread(fd, text->str, status.size, 0, &got, NULL))
        g_string_set_size(text, got);
    return text;
}

static SnapsetDomainSnapshot *
read_metadata(const char *folder, const char *file)
{
    g_autoptr(GString) text = read_file(folder, file);
    return text != NULL ? snapset_domain_snapshot_from_xml(text->str, text->len, NULL) : NULL;
}

SnapsetDomainSnapshot *
snapset_domain_snapshot_read(const char *domain, const char *name)
{
    g_autofree char *folder = folder_of(domain);
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);

    /* libvirt gives metadata to no name with a slash either */
    return strchr(file, '/') == NULL && strchr(domain, '/') == NULL ? read_metadata(folder, file)
                                                                    : NULL;
}

/* Only one file says this, and looking for the words is much cheaper than parsing them all. */
static gboolean
may_say(const char *folder, const char *file, const char *words)
{
    g_autoptr(GString) text = g_str_has_suffix(file, SUFFIX) ? read_file(folder, file) : NULL;
    return text != NULL && strstr(text->str, words) != NULL;
}

typedef gboolean Wanted(const SnapsetDomainSnapshot *metadata, const char *data);

/* The name of the snapshot whose metadata has @words in it and is @wanted; NULL: none. */
static char *
find_name(const char *domain, const char *words, Wanted *wanted, const char *data)
{
    g_autofree char *folder = folder_of(domain);
    g_autoptr(GDir) dir = strchr(domain, '/') == NULL ? g_dir_open(folder, 0, NULL) : NULL;
    const char *file;

    while (dir != NULL && (file = g_dir_read_name(dir)) != NULL) {
        if (!may_say(folder, file, words))
            continue;
        g_autoptr(SnapsetDomainSnapshot) metadata = read_metadata(folder, file);
        if (metadata != NULL && wanted(metadata, data))
            return g_steal_pointer(&metadata->name);
    }
    return NULL;
}

static gboolean
is_current(const SnapsetDomainSnapshot *metadata, const char *data)
{
    return metadata->is_current;
}

char *
snapset_domain_snapshot_current(const char *domain)
{
    return find_name(domain, "<active>1</active>", is_current, NULL);
}

static gboolean
has_made(const SnapsetDomainSnapshot *metadata, const char *overlay)
{
    return g_ptr_array_find_with_equal_func(metadata->overlays, overlay, g_str_equal, NULL);
}

char *
snapset_domain_snapshot_of_overlay(const char *domain, const char *path)
{
    g_autofree char *escaped = g_markup_escape_text(path, -1);
    return find_name(domain, escaped, has_made, path);
}
