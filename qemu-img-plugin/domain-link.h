/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of what is behind --domain. */
#pragma once

#include "common/core/domain.h"
#include "common/io/live-journal.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/libvirt/driver.h"

struct SnapsetDomainLink {
    const SnapsetVirtDriver *driver;
    SnapsetVirtDomain *domain;
    SnapsetDomain *disks; /* as last read; in the order of the set's images */
};

/* Does it run now? */
gboolean snapset_domain_is_active(const SnapsetOptions *options);

/*
 * The set as it is after libvirt's work, in place of the one before, which the caller frees. NULL
 * with an error.
 */
SnapsetSet *snapset_domain_open_again(SnapsetOptions *options, SnapsetAccess access,
                                      GError **error);

/* ---- what libvirt did, noted as a guard would (domain-note.c) ---- */

/*
 * How many events the domain's live journal holds. If it has more afterwards, a guard noted what
 * was done.
 */
guint snapset_domain_count_noted(const SnapsetOptions *options);

/*
 * @event was done to the running domain, whose images the set holds as they are; @noted is the
 * number of events before.
 */
void snapset_domain_note(SnapsetOptions *options, guint noted, const SnapsetLiveEvent *event);

/*
 * Libvirt has changed the backing chains of the domain: open it again, and have records follow;
 * while it runs, as soon as its images are closed.
 */
gboolean snapset_domain_settle(SnapsetOptions *options, guint noted, GError **error);
