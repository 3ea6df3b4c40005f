/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording that the images belong together as they stand, on the backing files that they have. */
#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/core/stamp-plan.h"
#include "common/io/stamp.h"
#include "common/ops/engine.h"
#include "common/ops/operations.h"

/* Image @index is what a machine writes to: it is frozen no longer. */
static gboolean
plan_image(SnapsetSet *set, SnapsetEngine *engine, guint index, const SnapsetUuid *root,
           GError **error)
{
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);
    guint at = 0;

    if (!snapset_engine_add_link(engine, set, index, 0, &at, error))
        return FALSE;
    SnapsetJournalImage *image = snapset_engine_image(engine, at);
    snapset_lineage_thaw(ledger);
    ledger->current = *root;
    image->is_sealed = TRUE;
    image->after = snapset_set_encode(set, index, ledger, TRUE);
    return TRUE;
}

/* The backing file that @overlay was made on is the one that is there now. */
static void
refreeze(SnapsetLedger *ledger, const SnapsetImage *overlay)
{
    for (guint i = 0; i < overlay->externals->len; i++) {
        const SnapsetRecord *record = g_array_index(overlay->externals, SnapsetEntry, i).record;
        SnapsetExternal external = {record->tag, record->description, record->identity,
                                    record->members};
        if (snapset_ledger_find(ledger, &record->identity) == NULL)
            snapset_lineage_freeze(ledger, &external, &record->parent,
                                   (record->flags & SNAPSET_RECORD_PARENT_INFERRED) != 0);
        ledger->current = record->identity;
    }
}

/* Seal again the file that link @link of image @index stands on, if that has changed. */
static gboolean
plan_base(SnapsetSet *set, SnapsetEngine *engine, guint index, guint link, GError **error)
{
    const SnapsetImage *overlay = snapset_image_link(snapset_set_image(set, index), link);
    const SnapsetImage *base = snapset_image_link(snapset_set_image(set, index), link + 1);
    guint at = 0;

    if (!snapset_chain_has_changed(overlay, base))
        return TRUE;
    if (!snapset_engine_add_link(engine, set, index, link + 1, &at, error))
        return FALSE;
    SnapsetJournalImage *image = snapset_engine_image(engine, at);
    if (image->after != NULL) /* two images share it */
        return TRUE;
    g_autoptr(SnapsetLedger) ledger = snapset_lineage_ledger(base);
    g_autofree char *name = snapset_format_escaped(base->filename);
    refreeze(ledger, overlay);
    image->is_sealed = TRUE;
    if (base->header != NULL)
        image->after = snapset_image_encode(base, ledger, NULL);
    if (image->after == NULL ||
        !snapset_stamp_would_seal(snapset_engine_handle(engine, at)->fd, ledger))
        snapset_report_add_image(set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, base->filename,
                                 NULL, "%s cannot be sealed, as the file that stood there was",
                                 name);
    snapset_set_note(set, "%s: the backing file as it is now", name);
    return TRUE;
}

static gboolean
plan_all(SnapsetSet *set, SnapsetEngine *engine, GError **error)
{
    SnapsetUuid root = snapset_new_identity(); /* names no snapshot: the next one is a new root */

    for (guint i = 0; i < set->images->len; i++) {
        if (!plan_image(set, engine, i, &root, error))
            return FALSE;
        for (guint link = 0; link + 1 < snapset_image_link_count(snapset_set_image(set, i));
             link++) {
            if (!plan_base(set, engine, i, link, error))
                return FALSE;
        }
    }
    return snapset_report_verdict(set->report, error);
}

gboolean
snapset_accept(SnapsetSet *set, gboolean dry_run, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};

    if (!snapset_report_verdict(set->report, error) ||
        !snapset_engine_init_empty(&engine, "accept", set, error))
        return FALSE;
    gboolean planned = plan_all(set, &engine, error);
    if (!planned || dry_run) {
        snapset_journal_remove(engine.journal, NULL);
        return planned;
    }
    return snapset_engine_commit(&engine, error) && snapset_set_reload(set, error);
}
