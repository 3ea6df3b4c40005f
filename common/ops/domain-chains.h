/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backing chains of a libvirt domain while it runs, and the records of their images once they
 * are closed: external snapshots that anyone took, disks that went on in a copy, data that a block
 * job moved from one image of a chain to another.
 */
#pragma once

#include "common/core/domain.h"
#include "common/core/live.h"
#include "common/io/live-journal.h"

/*
 * What is written into the journal once QEMU has carried @request out, a snapshot, copy or move
 * along a chain; NULL: it is about no image that is known. Caller frees.
 */
SnapsetLiveEvent *snapset_domain_chain_event(const SnapsetDomain *domain,
                                             const SnapsetLiveRequest *request);

/* Say in @event, a move into a backing file, that @overlay, which stands on it, is committed. */
void snapset_domain_add_source(SnapsetLiveEvent *event, const SnapsetImage *overlay);

/*
 * External snapshots come without a name through the monitor: give those of @events the one that
 * libvirt's metadata knows, or else what the overlay's file is called.
 */
void snapset_domain_name_externals(const SnapsetDomain *domain, GPtrArray *events);

/*
 * Bring the records along the backing chains of @domain's disks, which are closed, up to date: an
 * overlay without one stands on what its backing file says that it is, and where @events tell of
 * data that was moved, both say what is true now: a snapshot whose file has got data of its overlay
 * is forgotten, even if not all of them. What cannot be written is passed over.
 */
void snapset_domain_settle_chains(const SnapsetDomain *domain, GPtrArray *events);
