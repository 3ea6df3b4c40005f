/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libvirt's XML files need of libxml2. */
#pragma once

#include <glib.h>
#include <libxml/parser.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/*
 * Parse @text; nothing outside it is read, no entity expanded. NULL: it is no XML, or has a
 * document type, which libvirt's never has.
 */
xmlDoc *snapset_xml_parse(const char *text, gsize size);

/* The first child element of that name; NULL: none, or @parent is. */
xmlNode *snapset_xml_child(const xmlNode *parent, const char *name);

/* The next sibling element of that name after @node; NULL: none. */
xmlNode *snapset_xml_next(const xmlNode *node, const char *name);

/* An attribute, or what stands between the tags, as a string to be freed; NULL: nothing. */
char *snapset_xml_attribute(xmlNode *node, const char *name);
char *snapset_xml_content(xmlNode *node);
