/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording what somebody else has just done to all images of a set. */
#include "common/ops/foreign.h"

#include "common/core/lineage.h"
#include "common/ops/create.h"
#include "common/ops/operations.h"

/*
 * The ledger of image @index as it was before, with the new snapshot in it: what a guarded qemu-img
 * recorded meanwhile in this one image says less.
 */
static GBytes *
ledger_created(SnapsetSet *before, SnapsetSet *now, guint index, const SnapsetNewSnapshot *made)
{
    const SnapsetEntry *entry = snapset_image_find_tag(snapset_set_image(now, index), made->tag);
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(before, index);

    if (entry == NULL)
        return NULL;
    g_ptr_array_add(ledger->records, snapset_create_record(before, index, made, entry));
    ledger->current = made->identity;
    return snapset_set_encode(now, index, ledger, TRUE);
}

gboolean
snapset_foreign_created(SnapsetSet *before, SnapsetSet *now, const char *tag,
                        const char *description, SnapsetUuid *ret_identity, GError **error)
{
    SnapsetNewSnapshot made = {snapset_new_identity(), tag, description};
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    for (guint i = 0; i < now->images->len; i++)
        g_ptr_array_add(after, ledger_created(before, now, i, &made));
    if (!snapset_report_verdict(now->report, error))
        return FALSE;
    *ret_identity = made.identity;
    return snapset_stamp_set(now, "create", after, error);
}

gboolean
snapset_foreign_applied(SnapsetSet *set, const SnapsetUuid *identity, GError **error)
{
    const SnapsetSnapshot *snapshot = snapset_catalog_find(set->catalog, identity);
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    for (guint i = 0; snapshot != NULL && i < set->images->len; i++) {
        const SnapsetEntry *entry = snapset_snapshot_entry(snapshot, i);
        g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, i);
        if (entry != NULL) {
            snapset_lineage_thaw(ledger);
            ledger->current = entry->identity;
        }
        g_ptr_array_add(after, entry != NULL ? snapset_set_encode(set, i, ledger, FALSE) : NULL);
    }
    return snapset_report_verdict(set->report, error) &&
           (snapshot == NULL || snapset_stamp_set(set, "apply", after, error));
}
