/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's snapshot metadata: one file of XML a snapshot, by the domain's name and the snapshot's,
 * in the folder where libvirt keeps those of root or of the user.
 */
#pragma once

#include "common/core/domain-snapshot.h"
#include "common/core/error.h"

/* More XML than this is not looked at: it is a domain's, twice at most, and little beside. */
#define SNAPSET_DOMAIN_SNAPSHOT_XML_MAX (4 * 1024 * 1024)

/* A <domainsnapshot>; nothing outside @text is read. NULL with SNAPSET_ERROR_MALFORMED. */
SnapsetDomainSnapshot *snapset_domain_snapshot_from_xml(const char *text, gsize size,
                                                        GError **error);

/* The metadata of the snapshot @name of the domain @domain; NULL: there is none that can be read.
 */
SnapsetDomainSnapshot *snapset_domain_snapshot_read(const char *domain, const char *name);

/* The name of the domain's snapshot that made the overlay @path; NULL: none. Caller frees. */
char *snapset_domain_snapshot_of_overlay(const char *domain, const char *path);

/* The name of the domain's current snapshot; NULL: it has none. Caller frees. */
char *snapset_domain_snapshot_current(const char *domain);
