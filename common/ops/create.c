/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking a snapshot of all images. */
#include "common/ops/create.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/ops/operations.h"
#include "common/ops/space.h"

SnapsetUuid
snapset_new_identity(void)
{
    SnapsetUuid uuid = snapset_uuid_nil;
    g_autofree char *text = g_uuid_string_random();

    if (!snapset_uuid_parse(text, &uuid))
        g_assert_not_reached();
    return uuid;
}

SnapsetUuid
snapset_new_external_identity(void)
{
    SnapsetUuid random = snapset_new_identity();
    return snapset_uuid_from_time((guint64)g_get_real_time() / 1000, random.bytes);
}

SnapsetRecord *
snapset_create_record(const SnapsetSet *set, guint index, const SnapsetNewSnapshot *wanted,
                      const SnapsetEntry *entry)
{
    gboolean inferred = FALSE;
    SnapsetRecord *record = snapset_record_new(
        &wanted->identity, entry != NULL ? snapset_identity_binding(&entry->derived) : 0);

    record->parent = snapset_lineage_next_parent(set->catalog, index, &inferred);
    record->flags = inferred ? SNAPSET_RECORD_PARENT_INFERRED : 0;
    record->members = MIN(set->images->len, G_MAXUINT16);
    record->description = g_strdup(wanted->description);
    return record;
}

/* The ledger of image @index with the new snapshot in it, which is then current. */
static GBytes *
ledger_after(SnapsetSet *set, guint index, const SnapsetNewSnapshot *wanted,
             const SnapsetEntry *entry)
{
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);

    g_ptr_array_add(ledger->records, snapset_create_record(set, index, wanted, entry));
    ledger->current = wanted->identity;
    return snapset_set_encode(set, index, ledger, TRUE);
}

void
snapset_create_judge(SnapsetSet *set, const SnapsetNewSnapshot *wanted)
{
    snapset_rules_create(set->catalog, wanted->tag, set->report);
    snapset_space_check(set, NULL);
    for (guint i = 0; i < set->images->len; i++) {
        g_autoptr(GBytes) after = NULL;
        if (snapset_stamp_is_possible(snapset_set_image(set, i), NULL))
            after = ledger_after(set, i, wanted, NULL);
    }
}

/* Read the new entries back, and have the journal say what is to be stamped. */
static gboolean
plan_stamps(SnapsetSet *set, SnapsetEngine *engine, const SnapsetNewSnapshot *wanted,
            GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        g_autoptr(SnapsetImage) image = snapset_engine_read(engine, i, error);
        if (image == NULL)
            return FALSE;
        const SnapsetEntry *made = snapset_image_find_tag(image, wanted->tag);
        if (made == NULL || snapset_image_count_tag(image, wanted->tag) != 1) {
            snapset_throw(error, SNAPSET_ERROR_FAILED, "qemu-img did not make the snapshot");
            return snapset_name_error(error, image->filename);
        }
        snapset_engine_image(engine, i)->after = ledger_after(set, i, wanted, made);
        if (snapset_engine_image(engine, i)->after == NULL) {
            snapset_throw(error, SNAPSET_ERROR_FAILED, "the record does not fit");
            return snapset_name_error(error, image->filename);
        }
    }
    return TRUE;
}

static gboolean
carry_out(SnapsetSet *set, SnapsetEngine *engine, const SnapsetNewSnapshot *wanted, GError **error)
{
    engine->journal->tag = g_strdup(wanted->tag);
    if (!snapset_journal_write(engine->journal, error)) {
        snapset_journal_remove(engine->journal, NULL);
        return FALSE;
    }
    if (!snapset_engine_make(engine, error) || !plan_stamps(set, engine, wanted, error))
        return snapset_engine_abort(engine, error);
    return snapset_engine_commit(engine, error);
}

/* Both kinds in one set work, but each is in the other's way. */
static void
note_mixture(SnapsetSet *set)
{
    for (guint i = 0; i < set->catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(set->catalog, i);
        g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
        if (!snapset_snapshot_is_external(snapshot))
            continue;
        snapset_set_note(set,
                         "the set has external snapshots too: %s and those before it can be "
                         "deleted only after this internal one",
                         quoted);
        return;
    }
}

gboolean
snapset_create(SnapsetSet *set, const char *tag, const char *description, gboolean dry_run,
               SnapsetUuid *ret_identity, GError **error)
{
    SnapsetNewSnapshot wanted = {snapset_new_identity(), tag, description};
    g_auto(SnapsetEngine) engine = {0};

    if (description != NULL && !snapset_description_check(description, error))
        return FALSE;
    snapset_create_judge(set, &wanted);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    note_mixture(set);
    if (dry_run)
        return TRUE;
    if (!snapset_engine_init(&engine, "create", set, NULL, error))
        return FALSE;
    engine.proves_current = TRUE;
    if (!carry_out(set, &engine, &wanted, error))
        return FALSE;
    *ret_identity = wanted.identity;
    return snapset_set_reload(set, error);
}
