/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guarded builtin: "qemu-img snapshot -c|-a|-d" on one image. */
#include "common/ops/builtin.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/core/selector.h"
#include "common/core/stamp-plan.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "common/io/stamp.h"

/* ---- which entry is meant ---- */

static const SnapsetEntry *
find_id(const SnapsetImage *image, const char *id)
{
    for (guint i = 0; i < image->entries->len; i++) {
        if (strcmp(snapset_image_entry(image, i)->id, id) == 0)
            return snapset_image_entry(image, i);
    }
    return NULL;
}

/* A bare word, as QEMU reads it; NULL with a report when it could be two things. */
static const SnapsetEntry *
choose_bare(const SnapsetSet *set, SnapsetBuiltin what, const char *word, SnapsetReport *report)
{
    const SnapsetImage *image = snapset_set_image(set, 0);
    const SnapsetEntry *by_id = find_id(image, word);
    const SnapsetEntry *by_tag = snapset_image_find_tag(image, word);
    g_autofree char *quoted = snapset_format_quoted(word);
    g_autofree char *name = snapset_format_escaped(image->filename);
    g_autofree char *selector = snapset_format_selector(word);
    g_autofree char *hint = g_strdup_printf("name it %s, or 'id=UUID' ('qemu-img "
                                            "snapshot-set list --all' shows them)",
                                            selector);

    if (snapset_image_count_tag(image, word) > 1) {
        snapset_report_add_image(report, SNAPSET_RULE_TAG_DUPLICATE, word, image->filename,
                                 g_strdup("name one of them 'id=UUID' ('qemu-img snapshot-set list "
                                          "--all' shows them)"),
                                 "%s has tag %s more than once", name, quoted);
        return NULL;
    }
    if (by_id != NULL && by_tag != NULL && by_id != by_tag) {
        snapset_report_add_image(
            report, SNAPSET_RULE_TAG_NUMERIC, word, image->filename, g_steal_pointer(&hint),
            "on %s %s is the ID of one snapshot and the tag of another", name, quoted);
        return NULL;
    }
    if (by_tag != NULL)
        return by_tag;
    return what == SNAPSET_BUILTIN_APPLY ? by_id : NULL;
}

/* "tag=" and "id=" are ours, unless the image has a tag that really begins so. */
static const SnapsetEntry *
choose(const SnapsetSet *set, SnapsetBuiltin what, const char *argument, SnapsetReport *report)
{
    gboolean is_selector = g_str_has_prefix(argument, "tag=") || g_str_has_prefix(argument, "id=");

    if (!is_selector || snapset_image_find_tag(snapset_set_image(set, 0), argument) != NULL)
        return choose_bare(set, what, argument, report);
    const SnapsetSnapshot *snapshot = snapset_selector_resolve(argument, set->catalog, report);
    return snapshot != NULL ? snapset_snapshot_entry(snapshot, 0) : NULL;
}

/* ---- judging ---- */

static void
judge_create(const SnapsetSet *set, const char *tag, SnapsetReport *report)
{
    snapset_rules_create(set->catalog, tag, report);
}

static void
judge_delete(const SnapsetSet *set, const SnapsetEntry *entry, SnapsetReport *report)
{
    const SnapsetImage *image = snapset_set_image(set, 0);

    if (entry == NULL || entry->record == NULL ||
        !(entry->record->flags & SNAPSET_RECORD_PROTECTED))
        return;
    g_autofree char *quoted = snapset_format_quoted(entry->tag);
    g_autofree char *selector = snapset_format_selector(entry->tag);
    snapset_report_add_image(
        report, SNAPSET_RULE_SNAPSHOT_PROTECTED, entry->tag, image->filename,
        g_strdup_printf("qemu-img snapshot-set unprotect %s IMAGE...", selector),
        "snapshot %s is protected", quoted);
}

/* ---- doing and recording ---- */

static SnapsetChild *
make_child(const SnapsetSet *set, SnapsetBuiltin what, const char *argument,
           const SnapsetEntry *entry, GError **error)
{
    const SnapsetHandle *handle = snapset_set_handle(set, 0);
    const SnapsetImage *image = snapset_set_image(set, 0);
    SnapsetQemuTarget target = snapset_handle_target(handle);

    if (what == SNAPSET_BUILTIN_CREATE)
        return snapset_qemu_create(set->tools, &target, argument);
    if (entry == NULL) /* the real one says that there is none */
        return snapset_qemu_named(set->tools, &target, what == SNAPSET_BUILTIN_APPLY, argument);
    if (what == SNAPSET_BUILTIN_APPLY)
        return snapset_qemu_apply(set->tools, &target, image, entry, error);
    return snapset_qemu_delete(set->tools, &target, image, entry, error);
}

static gboolean
record_create(const SnapsetSet *set, const char *tag, const SnapsetImage *now,
              SnapsetLedger *ledger)
{
    gboolean inferred = FALSE;
    SnapsetUuid parent = snapset_lineage_next_parent(set->catalog, 0, &inferred);
    const SnapsetEntry *made = snapset_image_find_tag(now, tag);

    if (made == NULL)
        return FALSE;
    SnapsetRecord *record = snapset_lineage_record(ledger, made);
    record->parent = parent;
    record->flags = SNAPSET_RECORD_SINGLE | (inferred ? SNAPSET_RECORD_PARENT_INFERRED : 0);
    record->members = 1;
    ledger->current = made->identity;
    return TRUE;
}

/* What was done has been done: that it could not be recorded is no failure of it. */
static void
record(const SnapsetSet *set, SnapsetBuiltin what, const char *tag, const SnapsetEntry *entry)
{
    const SnapsetHandle *handle = snapset_set_handle(set, 0);
    const SnapsetImage *before = snapset_set_image(set, 0);

    if (handle->fd < 0 || !snapset_stamp_is_possible(before, NULL))
        return;
    g_autoptr(SnapsetImage) now =
        snapset_image_read_fd(handle->fd, "", SNAPSET_READ_NEWEST, NULL, NULL);
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, 0);
    /* A deletion proves nothing about where the image stands. */
    SnapsetSeal seal =
        what == SNAPSET_BUILTIN_DELETE && !before->sealed ? SNAPSET_SEAL_KEEP : SNAPSET_SEAL_SET;
    gboolean changed = now != NULL;
    if (changed && what == SNAPSET_BUILTIN_CREATE)
        changed = record_create(set, tag, now, ledger);
    else if (changed && what == SNAPSET_BUILTIN_APPLY) {
        snapset_lineage_thaw(ledger);
        ledger->current = entry->identity;
    } else if (changed)
        snapset_lineage_remove(ledger, &entry->identity);
    if (!changed || (what == SNAPSET_BUILTIN_DELETE && before->ledger == NULL))
        return;
    if (!snapset_stamp_fits(now, ledger, NULL))
        snapset_lineage_compact(ledger, now);
    if (snapset_stamp_fits(now, ledger, NULL))
        snapset_stamp(handle->fd, ledger, seal, NULL);
}

gboolean
snapset_builtin_run(SnapsetSet *set, SnapsetBuiltin what, const char *argument,
                    SnapsetChild **ret_child, GError **error)
{
    g_autoptr(SnapsetReport) report = snapset_report_new(&set->report->verdicts);
    const SnapsetHandle *handle = snapset_set_handle(set, 0);
    const SnapsetEntry *entry = NULL;

    if (what == SNAPSET_BUILTIN_CREATE)
        judge_create(set, argument, report);
    else
        entry = choose(set, what, argument, report);
    if (what == SNAPSET_BUILTIN_DELETE)
        judge_delete(set, entry, report);
    /* From here on the report is about what was asked, and no longer about the image. */
    snapset_report_free(set->report);
    set->report = g_steal_pointer(&report);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;

    g_autoptr(SnapsetChild) child = make_child(set, what, argument, entry, error);
    if (child == NULL)
        return FALSE;
    g_autoptr(GPtrArray) children = g_ptr_array_new();
    g_ptr_array_add(children, child);
    snapset_lock_yield(handle->fd);
    snapset_children_run(children, -1, NULL, NULL);
    if (snapset_qemu_succeeded(child, NULL) && snapset_lock_resume(handle->fd, NULL) &&
        (entry != NULL || what == SNAPSET_BUILTIN_CREATE))
        record(set, what, argument, entry);
    *ret_child = g_steal_pointer(&child);
    return TRUE;
}
