/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording what somebody else, as libvirt, has just done to all images of a set. */
#pragma once

#include "common/ops/set.h"

/*
 * A snapshot called @tag was taken of all images, which were @before and are @now (loaded
 * SNAPSET_FOR_RECORDING): give it one recorded identity, and its parent. @description may be NULL.
 */
gboolean snapset_foreign_created(SnapsetSet *before, SnapsetSet *now, const char *tag,
                                 const char *description, SnapsetUuid *ret_identity,
                                 GError **error);

/* The snapshot @identity was applied to all images of @set (loaded SNAPSET_FOR_WRITING). */
gboolean snapset_foreign_applied(SnapsetSet *set, const SnapsetUuid *identity, GError **error);
