/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The external halves of apply and delete: what they do to snapshots that are backing files. */
#pragma once

#include "common/ops/operations.h"

/* Apply the external snapshot @target: snapset_apply() without the choice of it. */
gboolean snapset_apply_external(SnapsetSet *set, const SnapsetSnapshot *target,
                                const char *save_tag, const SnapsetOverlayOptions *options,
                                gboolean dry_run, GError **error);

/* Merge the external snapshots @chosen (of SnapsetSnapshot *, children first) away. */
gboolean snapset_delete_external(SnapsetSet *set, GPtrArray *chosen, gboolean dry_run,
                                 GError **error);
