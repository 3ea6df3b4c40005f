/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What deleting has in common, offline and on a running machine. */
#pragma once

#include "common/ops/operations.h"

/* @snapshot and, with @children, all its descendants, children first; array owned. */
GPtrArray *snapset_delete_choose(const SnapsetSet *set, SnapsetSnapshot *snapshot,
                                 gboolean children);

/* FALSE with SNAPSET_ERROR_USAGE unless @chosen are of one kind; which is *ret_external. */
gboolean snapset_delete_check_kinds(GPtrArray *chosen, gboolean *ret_external, GError **error);

/* The same as SnapsetDeleted *, for when they are gone. Caller unrefs. */
GPtrArray *snapset_delete_describe(GPtrArray *chosen);
