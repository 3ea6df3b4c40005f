/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots that libvirt took of a machine that was shut off: its own metadata proves them. */
#pragma once

#include "common/core/catalog.h"
#include "common/core/domain.h"

/*
 * Record what libvirt's metadata tells of the images of @domain, which does not run. @catalog was
 * made of its disks, in the same order, read without a lock.
 *
 * - An unproven snapshot that it names for exactly these disks gets one identity
 *   (common/core/domain-snapshot.h), and the parent that libvirt has.
 * - Images whose seal is broken, or that never had one, stand at libvirt's current snapshot, if
 * they have it and do not contradict each other or it. That seals none of them.
 *
 * All images or none. TRUE when something was written, so that @catalog is out of date; @notes (of
 * char *) is told what was adopted, and why something was not.
 */
gboolean snapset_domain_adopt(const SnapsetDomain *domain, const SnapsetCatalog *catalog,
                              GPtrArray *notes);
