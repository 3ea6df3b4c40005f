/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of a libvirt domain, read without any lock, and their records after it stopped. */
#pragma once

#include "common/core/domain.h"
#include "common/core/image.h"
#include "common/io/live-journal.h"

/*
 * The writable disks as images (of SnapsetImage *), in the domain's order. qcow2 files are read;
 * anything else has no snapshots that QEMU could load, and neither has, as far as can be seen
 * here, what cannot be read: then @notes (of char *) says so.
 */
GPtrArray *snapset_domain_images(const SnapsetDomain *domain, GPtrArray *notes);

/* An event about all these images; where they have one, with their entry called @tag. */
SnapsetLiveEvent *snapset_domain_event(SnapsetLiveEventKind kind, const char *tag,
                                       GPtrArray *images);

/*
 * Bring the records of the domain's images up to date from its live journal, and remove that.
 * Doing it again after a crash does no harm. An image that is gone is passed over; while one is
 * in use nothing is done, FALSE with SNAPSET_ERROR_LOCKED.
 */
gboolean snapset_domain_replay(const SnapsetDomain *domain, GError **error);
