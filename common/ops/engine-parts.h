/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the engine is made of: the steps of entries, of overlays and of merges. */
#pragma once

#include "common/ops/engine.h"

/* ---- entries of snapshot tables (engine-entries.c) ---- */

/* Bring back what the entries made hold, in phase apply, and delete them. */
gboolean snapset_entries_undo(SnapsetEngine *engine, GError **error);

/* Delete every doomed entry. */
gboolean snapset_entries_delete(SnapsetEngine *engine, GError **error);

/* TRUE when every doomed entry is still there. */
gboolean snapset_entries_are_whole(const SnapsetEngine *engine);

/* ---- overlays (overlays.c) ---- */

/* Give the overlays made their names. */
gboolean snapset_overlays_publish(SnapsetEngine *engine, GError **error);

/* Remove the overlays made, and no other file; thaw what was frozen below them. */
gboolean snapset_overlays_undo(SnapsetEngine *engine, GError **error);

/* ---- merges (merge.c) ---- */

/* Give overlays their new backing files. */
gboolean snapset_merge_switch(SnapsetEngine *engine, GError **error);

/* After a recovery: what can no longer be proven of backing files is not claimed any more. */
gboolean snapset_merge_settle(SnapsetEngine *engine, GError **error);

/* Remove the files whose data went elsewhere. */
gboolean snapset_merge_clean(SnapsetEngine *engine, GError **error);

/* ---- stamping one image (engine.c) ---- */

/* Does @image's ledger say the same as the encoded one, whatever its sequence? */
gboolean snapset_engine_has_content(const SnapsetImage *image, GBytes *encoded);

/* Stamp the encoded ledger onto image @index. */
gboolean snapset_engine_stamp_bytes(const SnapsetEngine *engine, guint index, GBytes *encoded,
                                    SnapsetSeal seal, GError **error);
