/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libvirt's own metadata says of a domain's snapshot
 * (https://libvirt.org/formatsnapshot.html), as far as it tells something about the images;
 * common/io/domain-snapshot-xml.h fills it in.
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/domain.h"

typedef struct {
    char *name;     /* which is the tag */
    char *parent;   /* its name; NULL: none */
    gint64 created; /* seconds since 1970 */
    gboolean is_current;
    gboolean is_offline;   /* taken of a machine that was shut off */
    GPtrArray *internal;   /* of char *: the targets of the disks that it is inside of */
    GPtrArray *overlays;   /* of char *: the overlays of those that it is outside of */
    SnapsetDomain *domain; /* as it was then; NULL: not told */
} SnapsetDomainSnapshot;

SnapsetDomainSnapshot *snapset_domain_snapshot_new(void);
void snapset_domain_snapshot_free(SnapsetDomainSnapshot *snapshot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetDomainSnapshot, snapset_domain_snapshot_free)

/*
 * Does @metadata prove that @snapshot, an unproven one, is one moment? It names it, of the same
 * machine while that was off, as internal on exactly the disks whose images have it, by target and
 * by file, and was written within 60 s of all their entries. @catalog was made of the disks of
 * @domain, in the same order.
 */
gboolean snapset_domain_snapshot_proves(const SnapsetDomainSnapshot *metadata,
                                        const SnapsetDomain *domain, const SnapsetCatalog *catalog,
                                        const SnapsetSnapshot *snapshot);
