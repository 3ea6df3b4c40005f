/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stretches of backing chains that a deletion merges, and what stands against it. */
#pragma once

#include "common/ops/set.h"

/*
 * A stretch of one image's chain whose backing files are all deleted snapshots: its links from
 * @top down to @bottom go into the one below.
 */
typedef struct {
    guint image;
    guint top, bottom;
} SnapsetStretch;

/* Those of the snapshots @chosen (of SnapsetSnapshot *), from the lowest of each chain up. */
GArray *snapset_stretches_find(const SnapsetSet *set, GPtrArray *chosen);
const SnapsetStretch *snapset_stretch_at(GArray *stretches, guint index);

/* The link that its data go into. */
guint snapset_stretch_base(const SnapsetStretch *stretch);

/* A link of its chain. */
const SnapsetImage *snapset_stretch_link(const SnapsetSet *set, const SnapsetStretch *stretch,
                                         guint link);

/*
 * Add what stands against merging them, those of the snapshots @chosen, to the set's report. FALSE
 * with an error.
 */
gboolean snapset_stretches_judge(SnapsetSet *set, GPtrArray *chosen, GArray *stretches,
                                 GError **error);
