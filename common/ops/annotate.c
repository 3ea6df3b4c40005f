/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations that change records and nothing else: stamp, protect, describe, repair. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/ops/engine.h"
#include "common/ops/operations.h"

gboolean
snapset_stamp_set(SnapsetSet *set, const char *operation, GPtrArray *after, GError **error)
{
    g_auto(SnapsetEngine) engine = {0};
    guint at = 0;

    if (!snapset_engine_init(&engine, operation, set, after, error))
        return FALSE;
    for (guint i = 0; i < after->len; i++) {
        if (after->pdata[i] != NULL)
            snapset_engine_image(&engine, at++)->after = g_bytes_ref(after->pdata[i]);
    }
    return snapset_engine_commit(&engine, error) && snapset_set_reload(set, error);
}

/* Changes one record. */
typedef void (*Change)(SnapsetRecord *record, const void *data);

/* The record is in the file that the entry stands in, or that stands on the snapshot. */
static gboolean
plan_member(SnapsetSet *set, SnapsetEngine *engine, const SnapsetSnapshot *snapshot,
            const SnapsetMember *member, Change change, const void *data, GError **error)
{
    const SnapsetImage *file =
        snapset_image_link(snapset_set_image(set, member->image), member->link);
    g_autoptr(SnapsetLedger) ledger = snapset_lineage_ledger(file);
    g_autoptr(GError) failure = NULL;
    guint at = 0;

    if (!snapset_engine_add_link(engine, set, member->image, member->link, &at, error))
        return FALSE;
    SnapsetJournalImage *image = snapset_engine_image(engine, at);
    if (image->after != NULL) /* images that share it */
        return TRUE;
    SnapsetRecord *record = snapset_lineage_record(ledger, member->entry);
    /* A record made just now must not claim more of other images than is known. */
    if (member->entry->record == NULL && snapshot->standing != SNAPSET_COMPLETE)
        record->flags |= SNAPSET_RECORD_SINGLE;
    change(record, data);
    image->after = snapset_image_encode(file, ledger, &failure);
    if (image->after != NULL)
        return TRUE;
    g_autofree char *name = snapset_format_escaped(file->filename);
    gboolean full = g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM);
    snapset_report_add_image(
        set->report, full ? SNAPSET_RULE_NO_ROOM : SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
        file->filename, g_strdup(full ? "delete snapshots that are no longer needed" : NULL),
        "%s: %s", name, failure->message);
    return TRUE;
}

static gboolean
plan_all(SnapsetSet *set, SnapsetEngine *engine, const SnapsetSnapshot *snapshot, Change change,
         const void *data, GError **error)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        if (!plan_member(set, engine, snapshot, member, change, data, error))
            return FALSE;
    }
    return snapset_report_verdict(set->report, error);
}

static gboolean
annotate(SnapsetSet *set, const char *operation, const char *selector, Change change,
         const void *data, gboolean dry_run, SnapsetUuid *ret_identity, GError **error)
{
    const SnapsetSnapshot *snapshot = snapset_selector_resolve(selector, set->catalog, set->report);
    g_auto(SnapsetEngine) engine = {0};

    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_return_val_if_fail(snapshot != NULL, FALSE);
    *ret_identity = snapshot->identity;
    if (!snapset_engine_init_empty(&engine, operation, set, error))
        return FALSE;
    gboolean planned = plan_all(set, &engine, snapshot, change, data, error);
    if (!planned || dry_run) {
        snapset_journal_remove(engine.journal, NULL);
        return planned;
    }
    return snapset_engine_commit(&engine, error) && snapset_set_reload(set, error);
}

static void
set_protected(SnapsetRecord *record, const void *data)
{
    record->flags |= SNAPSET_RECORD_PROTECTED;
}

static void
clear_protected(SnapsetRecord *record, const void *data)
{
    record->flags &= ~SNAPSET_RECORD_PROTECTED;
}

gboolean
snapset_protect(SnapsetSet *set, const char *selector, gboolean protect, gboolean dry_run,
                SnapsetUuid *ret_identity, GError **error)
{
    return annotate(set, protect ? "protect" : "unprotect", selector,
                    protect ? set_protected : clear_protected, NULL, dry_run, ret_identity, error);
}

static void
set_description(SnapsetRecord *record, const void *data)
{
    g_free(record->description);
    record->description = *(const char *)data != '\0' ? g_strdup(data) : NULL;
}

gboolean
snapset_description_check(const char *text, GError **error)
{
    if (strlen(text) <= SNAPSET_DESCRIPTION_MAX && g_utf8_validate(text, -1, NULL))
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_USAGE, "a description is at most %d bytes of UTF-8",
                         SNAPSET_DESCRIPTION_MAX);
}

gboolean
snapset_describe(SnapsetSet *set, const char *selector, const char *text, gboolean dry_run,
                 SnapsetUuid *ret_identity, GError **error)
{
    return snapset_description_check(text, error) &&
           annotate(set, "describe", selector, set_description, text, dry_run, ret_identity, error);
}
