/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Can the images, and the file systems they are on, take another snapshot? */
#pragma once

#include "common/ops/set.h"

/* What is going to be written to each file system; start with snapset_space_new(). */
typedef struct SnapsetSpace SnapsetSpace;

SnapsetSpace *snapset_space_new(void);
void snapset_space_free(SnapsetSpace *space);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetSpace, snapset_space_free)

/* Up to @bytes more to the file system of @path, on behalf of the file that people call @name. */
void snapset_space_add(SnapsetSpace *space, const char *path, guint64 bytes, const char *name);

/* What a new overlay takes on a disk of @virtual_size bytes, 0 if that is not known. */
guint64 snapset_space_of_overlay(guint64 virtual_size);

/* Report no-space for every file system that cannot hold what it gets. */
void snapset_space_judge(const SnapsetSpace *space, SnapsetReport *report);

/*
 * Add no-space for every file system that cannot hold one more snapshot of all the images for
 * which @wanted (NULL: all) holds a non-NULL item, and image-unsupported for every such image that
 * has no snapshot left to give.
 */
void snapset_space_check(SnapsetSet *set, GPtrArray *wanted);
