/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots on standard output: tables, trees, JSON, drawings. */
#pragma once

#include "common/ops/set.h"

/* Which snapshots to show: the complete ones, or with @all every one. Caller unrefs. */
GPtrArray *snapset_output_choose(const SnapsetCatalog *catalog, gboolean all);

/* How many snapshots snapset_output_choose() leaves out. */
guint snapset_output_hidden(const SnapsetCatalog *catalog);

/* A table, one row a snapshot of @chosen. */
void snapset_output_table(const SnapsetSet *set, GPtrArray *chosen, gboolean all);

/* One snapshot in full, per image. */
void snapset_output_details(const SnapsetSet *set, const SnapsetSnapshot *snapshot);

/* The lineage: each of @chosen under its nearest ancestor that is also chosen. */
void snapset_output_tree(const SnapsetSet *set, GPtrArray *chosen);
void snapset_output_dot(const SnapsetSet *set, GPtrArray *chosen);
void snapset_output_svg(const SnapsetSet *set, GPtrArray *chosen);

/* The nearest ancestor of @snapshot for which @is_chosen (by index) holds; NULL: none. */
const SnapsetSnapshot *snapset_output_parent(const SnapsetSnapshot *snapshot,
                                             const gboolean *is_chosen);

/* A table that prints text as it is given; never NULL. */
struct libscols_table *snapset_output_new_table(void);

/* Which snapshots of the catalogue are in @chosen, by index. Caller frees. */
gboolean *snapset_output_mark(const SnapsetCatalog *catalog, GPtrArray *chosen);

/* What to say beside a snapshot: "current", "partial", ... "" when nothing. Caller frees. */
char *snapset_output_remarks(const SnapsetSnapshot *snapshot);

/* The whole object {"images", "snapshots", "violations"}. */
void snapset_output_json(const SnapsetSet *set, GPtrArray *chosen);

/* One snapshot as an object. */
void snapset_output_json_snapshot(const SnapsetSet *set, const SnapsetSnapshot *snapshot);
