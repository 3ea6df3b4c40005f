/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libvirt's XML files need of libxml2. */
#include "common/io/xml.h"

#include <string.h>

typedef xmlChar *XmlString;

static void
xml_string_free(XmlString text)
{
    xmlFree(text);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(XmlString, xml_string_free, NULL)

/* libvirt writes no document type, and the entities of one can grow without end. */
static void
refuse_document_type(void *context, const xmlChar *name, const xmlChar *external_id,
                     const xmlChar *system_id)
{
    xmlStopParser(context);
}

xmlDoc *
snapset_xml_parse(const char *text, gsize size)
{
    int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE;
    xmlParserCtxt *context = size <= G_MAXINT ? xmlNewParserCtxt() : NULL;
    xmlDoc *document = NULL;

    if (context == NULL)
        return NULL;
    context->sax->internalSubset = refuse_document_type;
    document = xmlCtxtReadMemory(context, text, (int)size, "libvirt.xml", NULL, options);
    xmlFreeParserCtxt(context);
    return document;
}

static xmlNode *
find(xmlNode *node, const char *name)
{
    while (node != NULL &&
           (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0))
        node = node->next;
    return node;
}

xmlNode *
snapset_xml_child(const xmlNode *parent, const char *name)
{
    return parent != NULL ? find(parent->children, name) : NULL;
}

xmlNode *
snapset_xml_next(const xmlNode *node, const char *name)
{
    return find(node->next, name);
}

static char *
unless_empty(XmlString value)
{
    return value != NULL && *value != '\0' ? g_strdup((const char *)value) : NULL;
}

char *
snapset_xml_attribute(xmlNode *node, const char *name)
{
    g_auto(XmlString) value = node != NULL ? xmlGetProp(node, (const xmlChar *)name) : NULL;
    return unless_empty(value);
}

char *
snapset_xml_content(xmlNode *node)
{
    g_auto(XmlString) value = node != NULL ? xmlNodeGetContent(node) : NULL;
    return unless_empty(value);
}
