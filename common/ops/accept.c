/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording that the images belong together as they stand. */
#include "common/ops/operations.h"

gboolean
snapset_accept(SnapsetSet *set, gboolean dry_run, GError **error)
{
    SnapsetUuid root = snapset_new_identity(); /* names no snapshot: the next one is a new root */
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    for (guint i = 0; i < set->images->len; i++) {
        g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, i);
        ledger->current = root;
        g_ptr_array_add(after, snapset_report_is_denied(set->report)
                                   ? NULL
                                   : snapset_set_encode(set, i, ledger, TRUE));
    }
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    return dry_run || snapset_stamp_set(set, "accept", after, error);
}
