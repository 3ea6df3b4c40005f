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

/* A load of @tag that is about to begin; the images are not read for that, which may take long. */
SnapsetLiveEvent *snapset_domain_loading(const SnapsetDomain *domain, const char *tag);

/*
 * An event about all these images as they are now: with the entry called @name that they have just
 * got, or that QEMU has loaded by that name; at the start, and of a node, with where they stand.
 */
SnapsetLiveEvent *snapset_domain_event(SnapsetLiveEventKind kind, const char *name,
                                       GPtrArray *images);

/*
 * Bring the records of the images that the domain's live journal tells of up to date from it, and
 * remove it. @closed: the machine has this moment closed its images; only then are they sealed.
 *
 * Doing it again after a crash does no harm (common/ops/replay.h). An image that is gone, or no
 * qcow2 image any more, is passed over, or what cannot be written: then @notes (of char *, or NULL)
 * says so. While one of the domain's own disks is in use nothing is done: FALSE with
 * SNAPSET_ERROR_LOCKED. Of a disk that was taken from the domain and is now in use elsewhere, the
 * journal is kept, if it holds something for it.
 */
gboolean snapset_domain_replay(const SnapsetDomain *domain, gboolean closed, GPtrArray *notes,
                               GError **error);

/*
 * The same for the image at @path alone, which the machine, still running, has this moment closed;
 * the journal forgets it. If it is in use all the same, nothing is done: it is tried again when the
 * machine stops.
 */
gboolean snapset_domain_replay_closed(const SnapsetDomain *domain, const char *path,
                                      GError **error);
