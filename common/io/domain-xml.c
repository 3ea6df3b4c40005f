/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's domain XML. */
#include "common/io/domain-xml.h"

#include <libxml/parser.h>
#include <string.h>
#include <unistd.h>

typedef xmlChar *XmlString;

static void
xml_string_free(XmlString text)
{
    xmlFree(text);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(XmlString, xml_string_free, NULL)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

static xmlNode *
child(xmlNode *parent, const char *name)
{
    for (xmlNode *node = parent != NULL ? parent->children : NULL; node != NULL;
         node = node->next) {
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)
            return node;
    }
    return NULL;
}

static char *
unless_empty(XmlString value)
{
    return value != NULL && *value != '\0' ? g_strdup((const char *)value) : NULL;
}

/* An attribute, or what stands between the tags, as a string to be freed; NULL: nothing. */
static char *
attribute(xmlNode *node, const char *name)
{
    g_auto(XmlString) value = node != NULL ? xmlGetProp(node, (const xmlChar *)name) : NULL;
    return unless_empty(value);
}

static char *
content(xmlNode *node)
{
    g_auto(XmlString) value = node != NULL ? xmlNodeGetContent(node) : NULL;
    return unless_empty(value);
}

static gboolean
is_writable_disk(xmlNode *disk)
{
    g_autofree char *device = attribute(disk, "device");

    if (device != NULL && strcmp(device, "disk") != 0 && strcmp(device, "lun") != 0)
        return FALSE;
    return child(disk, "readonly") == NULL && child(disk, "transient") == NULL;
}

/* The status file's <privateData><nodenames><nodename type='...' name='...'/>. */
static char *
node_name(xmlNode *source, const char *type)
{
    xmlNode *names = child(child(source, "privateData"), "nodenames");

    for (xmlNode *node = names != NULL ? names->children : NULL; node != NULL; node = node->next) {
        g_autofree char *own = node->type == XML_ELEMENT_NODE ? attribute(node, "type") : NULL;
        if (g_strcmp0(own, type) == 0)
            return attribute(node, "name");
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

/* The file or block device that a disk, or the variables, live in; NULL: neither. */
static char *
source_path(xmlNode *disk)
{
    xmlNode *source = child(disk, "source");
    g_autofree char *type = attribute(disk, "type");

    if (type == NULL || strcmp(type, "file") == 0)
        return attribute(source, "file");
    return strcmp(type, "block") == 0 ? attribute(source, "dev") : NULL;
}

static void
add_disk(SnapsetDomain *domain, xmlNode *disk)
{
    xmlNode *source = child(disk, "source");
    g_autofree char *format = attribute(child(disk, "driver"), "type");
    g_autofree char *target = attribute(child(disk, "target"), "dev");
    g_autofree char *path = source_path(disk);
    SnapsetDisk *added = snapset_domain_add_disk(domain, target != NULL ? target : "?",
                                                 format != NULL ? format : "raw", path);
    added->node = top_node(source);
}

/*
 * Since libvirt 10.9 a snapshot of a running machine takes its variables along, if qcow2. A local
 * file stands between the tags, or in a source like a disk's.
 */
static void
add_nvram(SnapsetDomain *domain, xmlNode *nvram)
{
    g_autofree char *format = attribute(nvram, "format");
    g_autofree char *path = child(nvram, "source") != NULL ? source_path(nvram) : content(nvram);

    if (g_strcmp0(format, "qcow2") == 0)
        snapset_domain_add_disk(domain, "nvram", format, path);
}

/* libvirt writes no document type, and the entities of one can grow without end. */
static void
refuse_document_type(void *context, const xmlChar *name, const xmlChar *external_id,
                     const xmlChar *system_id)
{
    xmlStopParser(context);
}

static xmlDoc *
parse(const char *text, gsize size)
{
    int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE;
    xmlParserCtxt *context = size <= SNAPSET_DOMAIN_XML_MAX ? xmlNewParserCtxt() : NULL;
    xmlDoc *document = NULL;

    if (context == NULL)
        return NULL;
    context->sax->internalSubset = refuse_document_type;
    document = xmlCtxtReadMemory(context, text, (int)size, "domain.xml", NULL, options);
    xmlFreeParserCtxt(context);
    return document;
}

SnapsetDomain *
snapset_domain_from_xml(const char *text, gsize size, GError **error)
{
    g_autoptr(xmlDoc) document = parse(text, size);
    xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;

    if (root != NULL && strcmp((const char *)root->name, "domstatus") == 0)
        root = child(root, "domain");
    if (root == NULL || strcmp((const char *)root->name, "domain") != 0) {
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "this is not a domain's XML");
        return NULL;
    }
    SnapsetDomain *domain = snapset_domain_new();
    domain->id = attribute(root, "id");
    domain->name = content(child(root, "name"));
    domain->uuid = content(child(root, "uuid"));
    xmlNode *devices = child(root, "devices");
    for (xmlNode *node = devices != NULL ? devices->children : NULL; node != NULL;
         node = node->next) {
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, "disk") == 0 &&
            is_writable_disk(node))
            add_disk(domain, node);
    }
    xmlNode *nvram = child(child(root, "os"), "nvram");
    if (nvram != NULL)
        add_nvram(domain, nvram);
    return domain;
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
