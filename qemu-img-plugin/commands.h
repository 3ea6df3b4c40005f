/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of qemu-img snapshot-set: one file each, one signature, one table (main.c). */
#pragma once

#include "common/ops/operations.h"
#include "qemu-img-plugin/options.h"

/*
 * Run a command whose arguments have been parsed: TRUE, or FALSE with an error. @set is the
 * command's own, so that what its report says is printed whatever happened.
 */
gboolean snapset_cmd_accept(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_adopt(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_apply(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_check(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_create(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_delete(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_describe(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_list(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_protect(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_recover(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_show(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_tree(SnapsetOptions *options, GError **error);
gboolean snapset_cmd_unprotect(SnapsetOptions *options, GError **error);

/* The guarded builtin, which the dispatcher hands over; it parses its own arguments. */
int snapset_cmd_snapshot(int argc, char **argv);
