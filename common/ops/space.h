/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Can the images, and the file systems they are on, take another snapshot? */
#pragma once

#include "common/ops/set.h"

/*
 * Add no-space for every file system that cannot hold one more snapshot of all the images for
 * which @wanted (NULL: all) holds a non-NULL item, and image-unsupported for every such image that
 * has no snapshot left to give.
 */
void snapset_space_check(SnapsetSet *set, GPtrArray *wanted);
