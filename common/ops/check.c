/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Everything that can be said against a set, and what of it can be repaired. */
#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/core/stamp-plan.h"
#include "common/ops/operations.h"

void
snapset_check(SnapsetSet *set)
{
    snapset_rules_check(set->catalog, set->report);
}

/* A ledger with one bad slot is written again; one with two starts anew. */
gboolean
snapset_repair(SnapsetSet *set, gboolean dry_run, GError **error)
{
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    guint damaged = 0;

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, i);
        g_autofree char *name = snapset_format_escaped(image->filename);
        gboolean lost =
            image->ledger_state == SNAPSET_LEDGER_DAMAGED && snapset_stamp_is_possible(image, NULL);
        if (!lost && image->ledger_state != SNAPSET_LEDGER_ONE_DAMAGED) {
            g_ptr_array_add(after, NULL);
            continue;
        }
        snapset_set_note(set, lost ? "%s: a new, empty record" : "%s: the good copy of the record",
                         name);
        g_ptr_array_add(after, snapset_set_encode(set, i, ledger, TRUE));
        damaged++;
    }
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    return dry_run || damaged == 0 || snapset_stamp_set(set, "check", after, error);
}
