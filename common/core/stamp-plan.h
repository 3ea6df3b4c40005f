/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The writes that put a ledger into an image's header, worked out before any is made.
 *
 * Each write of a plan must be on disk before the next begins; after each of them, and after any
 * torn part of one, the image is valid and QEMU reads it as before (FORMAT.md, "Writing"). All
 * writes stay inside the first cluster and inside the 32,768 bytes that libvirt probes.
 */
#pragma once

#include "common/core/image.h"

/* libvirt looks for the backing file name in this many first bytes only (storage_file_probe.h). */
#define SNAPSET_HEADER_BYTES 32768

/* Images of smaller clusters are never written to: the header would have no room left for QEMU. */
#define SNAPSET_STAMP_CLUSTER_MIN 4096

typedef struct {
    guint64 offset;
    GBytes *bytes;
} SnapsetStampWrite;

typedef struct {
    GPtrArray *writes; /* of SnapsetStampWrite * */
    gboolean seals;    /* after them the image is sealed */
} SnapsetStampPlan;

void snapset_stamp_plan_free(SnapsetStampPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetStampPlan, snapset_stamp_plan_free)

/*
 * May the image's header be written to at all? FALSE with SNAPSET_ERROR_NO_ROOM, or with
 * SNAPSET_ERROR_FAILED for a header that is not ours to write.
 */
gboolean snapset_stamp_is_possible(const SnapsetImage *image, GError **error);

/* Does @ledger fit into the image? FALSE as above. */
gboolean snapset_stamp_fits(const SnapsetImage *image, const SnapsetLedger *ledger, GError **error);

/*
 * Plan to write @ledger, as the successor of what @image holds; its sequence is set here. @header
 * are the first bytes of the file, as many as there are up to the smaller of the cluster size and
 * SNAPSET_HEADER_BYTES, read under the lock together with @image. With @seal the image ends up
 * sealed where its header allows.
 */
SnapsetStampPlan *snapset_stamp_plan_new(SnapsetBytes header, const SnapsetImage *image,
                                         SnapsetLedger *ledger, gboolean seal, GError **error);

/*
 * Plan to set the seal and nothing else. There is a record, and what it says is certain; a header
 * that cannot be sealed gives a plan without writes.
 */
SnapsetStampPlan *snapset_seal_plan_new(SnapsetBytes header, const SnapsetImage *image,
                                        GError **error);
