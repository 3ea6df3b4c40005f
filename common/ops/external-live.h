/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * External snapshots of images that a running machine has open: overlays are made and stamped
 * first; then whoever has the machine puts them on top of all images at once.
 *
 *     snapset_external_live(set, &external, &options, dry_run, &plans, &error)
 *     ... load the set anew: its images are the overlays ...
 *     event = snapset_external_live_event(set, plans)
 *
 * The images cannot be written to, so that they were frozen is recorded later, from the event.
 */
#pragma once

#include "common/core/lineage.h"
#include "common/io/live-journal.h"
#include "common/ops/overlays.h"

/*
 * Take @external of all images of @set, which options->use puts to use. What only the caller can
 * see against it is in the set's report already. *ret_plans: of SnapsetOverlayPlan *, parallel to
 * the images; caller unrefs. Else as snapset_create_external().
 */
gboolean snapset_external_live(SnapsetSet *set, const SnapsetExternal *external,
                               const SnapsetOverlayOptions *options, gboolean dry_run,
                               GPtrArray **ret_plans, GError **error);

/* The images in pairs: where each of them stood, and its overlay, which now is image of @set. */
SnapsetLiveEvent *snapset_external_live_event(const SnapsetSet *set, GPtrArray *plans);

/* Is every image of @set the overlay that was made for it? */
gboolean snapset_external_live_check(const SnapsetSet *set, GPtrArray *plans, GError **error);
