/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations that change records and nothing else: stamp, protect, describe, repair. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/ops/engine.h"
#include "common/ops/operations.h"

static gboolean
stamp(SnapsetSet *set, const char *operation, GPtrArray *after, gboolean keeps_seals,
      GError **error)
{
    g_auto(SnapsetEngine) engine = {0};
    guint at = 0;

    if (!snapset_engine_init(&engine, operation, set, after, error))
        return FALSE;
    engine.keeps_seals = keeps_seals;
    for (guint i = 0; i < after->len; i++) {
        if (after->pdata[i] != NULL)
            snapset_engine_image(&engine, at++)->after = g_bytes_ref(after->pdata[i]);
    }
    return snapset_engine_commit(&engine, error) && snapset_set_reload(set, error);
}

gboolean
snapset_stamp_set(SnapsetSet *set, const char *operation, GPtrArray *after, GError **error)
{
    return stamp(set, operation, after, FALSE, error);
}

gboolean
snapset_stamp_records(SnapsetSet *set, const char *operation, GPtrArray *after, GError **error)
{
    return stamp(set, operation, after, TRUE, error);
}

/* Changes one record. */
typedef void (*Change)(SnapsetRecord *record, const void *data);

static GBytes *
changed_ledger(SnapsetSet *set, const SnapsetSnapshot *snapshot, const SnapsetMember *member,
               Change change, const void *data)
{
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, member->image);
    SnapsetRecord *record = snapset_lineage_record(ledger, member->entry);

    /* A record made just now must not claim more of other images than is known. */
    if (member->entry->record == NULL && snapshot->standing != SNAPSET_COMPLETE)
        record->flags |= SNAPSET_RECORD_SINGLE;
    change(record, data);
    return snapset_set_encode(set, member->image, ledger, TRUE);
}

static gboolean
annotate(SnapsetSet *set, const char *operation, const char *selector, Change change,
         const void *data, gboolean dry_run, SnapsetUuid *ret_identity, GError **error)
{
    const SnapsetSnapshot *snapshot = snapset_selector_resolve(selector, set->catalog, set->report);
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    g_ptr_array_set_size(after, set->images->len);
    for (guint i = 0; snapshot != NULL && i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        if (snapset_stamp_is_possible(snapset_set_image(set, member->image), NULL))
            after->pdata[member->image] = changed_ledger(set, snapshot, member, change, data);
    }
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_return_val_if_fail(snapshot != NULL, FALSE);
    *ret_identity = snapshot->identity;
    return dry_run || snapset_stamp_set(set, operation, after, error);
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
