/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of libvirt's XML for a domain's snapshot (https://libvirt.org/formatsnapshot.html). */
#pragma once

#include "common/core/domain.h"

/* <NAME>TEXT</NAME>, with @text escaped. */
void snapset_snapshot_xml_text(GString *xml, const char *name, const char *text);

/* The disk @target, with a snapshot inside of it ("internal"), or none ("no"). */
void snapset_snapshot_xml_disk(GString *xml, const char *target, const char *snapshot);

/* The disk @target, with an external one: @overlay is the qcow2 file on top of it. */
void snapset_snapshot_xml_overlay(GString *xml, const char *target, const char *overlay);

/* None on the domain's other disks: unless it is told so libvirt makes overlays for them too. */
void snapset_snapshot_xml_others(GString *xml, const SnapsetDomain *domain);
