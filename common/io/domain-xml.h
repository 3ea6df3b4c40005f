/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's domain XML (https://libvirt.org/formatdomain.html, "Hard drives, floppy disks, CDROMs"
 * and "BIOS bootloader").
 */
#pragma once

#include "common/core/domain.h"
#include "common/core/error.h"

/* More XML than this is refused: no real domain comes near. */
#define SNAPSET_DOMAIN_XML_MAX (16 * 1024 * 1024)

/*
 * The writable disks out of a <domain>, or out of the status of a running one (<domstatus>), which
 * also names their nodes: disks and LUNs that are neither read-only nor transient,
 * and the firmware's variables where these are qcow2. CD-ROM and floppy are left out. Nothing
 * outside @text is read; a document type is refused. NULL with SNAPSET_ERROR_MALFORMED.
 */
SnapsetDomain *snapset_domain_from_xml(const char *text, gsize size, GError **error);

struct _xmlNode; /* libxml2's */

/* The same out of a <domain> element inside other XML. */
SnapsetDomain *snapset_domain_from_node(struct _xmlNode *node);

/*
 * The <domain> @text with the disks of @files in place of its own ones of these targets, each one
 * file without a word of what is below it. Caller frees; NULL with SNAPSET_ERROR_MALFORMED.
 */
char *snapset_domain_xml_on_files(const char *text, const SnapsetDomain *files, GError **error);

/*
 * The running domain of that name, from libvirt's own status file: the disks as they are now,
 * after hot-plug and external snapshots. $SNAPSHOT_SET_STATUS_DIR, else the folder that libvirt
 * uses for root or for the user.
 */
SnapsetDomain *snapset_domain_running(const char *name, GError **error);
