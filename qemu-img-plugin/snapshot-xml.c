/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of libvirt's XML for a domain's snapshot. */
#include "qemu-img-plugin/snapshot-xml.h"

void
snapset_snapshot_xml_text(GString *xml, const char *name, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);
    g_string_append_printf(xml, "<%s>%s</%s>", name, escaped, name);
}

void
snapset_snapshot_xml_disk(GString *xml, const char *target, const char *snapshot)
{
    g_autofree char *element =
        g_markup_printf_escaped("<disk name='%s' snapshot='%s'/>", target, snapshot);
    g_string_append(xml, element);
}

void
snapset_snapshot_xml_overlay(GString *xml, const char *target, const char *overlay)
{
    g_autofree char *element =
        g_markup_printf_escaped("<disk name='%s' snapshot='external' type='file'>"
                                "<driver type='qcow2'/><source file='%s'/></disk>",
                                target, overlay);
    g_string_append(xml, element);
}

void
snapset_snapshot_xml_others(GString *xml, const SnapsetDomain *domain)
{
    for (guint i = 0; i < domain->others->len; i++)
        snapset_snapshot_xml_disk(xml, domain->others->pdata[i], "no");
}
