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

/*
 * An event about all these images as they are now: with the entry called @tag that they have just
 * got, or that QEMU has loaded by that name; at the start with where they stand.
 */
SnapsetLiveEvent *snapset_domain_event(SnapsetLiveEventKind kind, const char *tag,
                                       GPtrArray *images);

/*
 * Bring the records of the images that the domain's live journal tells of up to date from it, and
 * remove it. @closed: the machine has this moment closed its images; only then are they sealed.
 *
 * Doing it again after a crash does no harm (common/ops/replay.h). An image that is gone, or no
 * qcow2 image any more, is passed over, and so is a disk that was taken from the domain and is now
 * in use elsewhere, or what cannot be written: then @notes (of char *, or NULL) says so. While one
 * of the domain's own disks is in use nothing is done: FALSE with SNAPSET_ERROR_LOCKED.
 */
gboolean snapset_domain_replay(const SnapsetDomain *domain, gboolean closed, GPtrArray *notes,
                               GError **error);
