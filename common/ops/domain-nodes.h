/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The images behind nodes that a running QEMU was given and libvirt's status file does not name
 * yet, known by the notes in the domain's live journal.
 */
#pragma once

#include "common/core/image.h"
#include "common/core/live.h"

/*
 * QEMU has done @request of the running @domain, SNAPSET_LIVE_ADD_NODE or _REMOVE_NODE: note it.
 * When the node of a disk goes, QEMU has closed its image, whose record is then brought up to date.
 */
gboolean snapset_domain_note_node(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
                                  GError **error);

/*
 * The image that becomes a disk with the node @node, read without any lock; NULL when it is not a
 * qcow2 file, cannot be read (@notes says so), or was not seen being added.
 */
SnapsetImage *snapset_domain_image_of_node(const SnapsetDomain *domain, const char *node,
                                           GPtrArray *notes);
