/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Declaring entries of the same tag to be one moment. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "common/core/stamp-plan.h"
#include "common/ops/operations.h"

/* The tag a selector is about; NULL after a report. An unproven or colliding tag need not be one.
 */
static const char *
selected_tag(SnapsetSet *set, const char *text)
{
    SnapsetSelector selector;

    if (!snapset_selector_parse(text, &selector, set->report))
        return NULL;
    g_autoptr(GPtrArray) found = snapset_selector_match(&selector, set->catalog);
    if (selector.tag == NULL || found->len == 0) {
        const SnapsetSnapshot *one = snapset_selector_resolve(text, set->catalog, set->report);
        return one != NULL ? one->tag : NULL;
    }
    return ((SnapsetSnapshot *)found->pdata[0])->tag;
}

/* All identities that entries of that tag have now. */
static GArray *
old_identities(const SnapsetSet *set, const char *tag)
{
    GArray *identities = g_array_new(FALSE, FALSE, sizeof(SnapsetUuid));
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetEntry *entry = snapset_image_find_tag(snapset_set_image(set, i), tag);
        if (entry != NULL)
            g_array_append_val(identities, entry->identity);
    }
    return identities;
}

/* The entry's record under the new identity, and everything that named an old one re-pointed. */
static GBytes *
adopted_ledger(SnapsetSet *set, guint index, const char *tag, const SnapsetUuid *identity,
               GArray *old)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    const SnapsetEntry *entry = snapset_image_find_tag(image, tag);
    g_autoptr(SnapsetLedger) ledger = snapset_set_ledger(set, index);

    if (entry == NULL && image->ledger == NULL)
        return NULL;
    if (entry != NULL)
        snapset_lineage_adopt(ledger, entry, identity, old->len);
    for (guint i = 0; i < old->len; i++)
        snapset_lineage_repoint(ledger, &g_array_index(old, SnapsetUuid, i), identity);
    return snapset_set_encode(set, index, ledger, TRUE);
}

/* Nothing to prove: every image has it, under one identity that a record of the set holds. */
static gboolean
is_adopted(const SnapsetSet *set, const char *tag, SnapsetUuid *ret_identity)
{
    const SnapsetEntry *first = snapset_image_find_tag(snapset_set_image(set, 0), tag);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetEntry *entry = snapset_image_find_tag(snapset_set_image(set, i), tag);
        if (entry == NULL || entry->record == NULL ||
            (entry->record->flags & SNAPSET_RECORD_SINGLE) ||
            !snapset_uuid_equal(&entry->identity, &first->identity))
            return FALSE;
    }
    *ret_identity = first->identity;
    return TRUE;
}

/* The first external snapshot of that tag; NULL: none is. */
static const SnapsetSnapshot *
find_external(const SnapsetSet *set, const char *tag)
{
    for (guint i = 0; i < set->catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(set->catalog, i);
        if (snapset_snapshot_is_external(snapshot) && strcmp(snapshot->tag, tag) == 0)
            return snapshot;
    }
    return NULL;
}

/* An external one has had its identity from the beginning, and no other can be given to it. */
static gboolean
adopt_external(SnapsetSet *set, const SnapsetSnapshot *snapshot, SnapsetUuid *ret_identity,
               GError **error)
{
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);

    if (snapshot->standing != SNAPSET_COMPLETE) {
        snapset_report_add(set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, snapshot->tag, NULL, NULL,
                           "tag %s is an external snapshot, which is not adopted", quoted);
        return snapset_report_verdict(set->report, error);
    }
    *ret_identity = snapshot->identity;
    snapset_set_note(set, "it had one recorded identity already");
    return snapset_report_verdict(set->report, error);
}

gboolean
snapset_adopt(SnapsetSet *set, const char *selector, gboolean dry_run, SnapsetUuid *ret_identity,
              GError **error)
{
    SnapsetUuid identity = snapset_new_identity();
    const char *tag = selected_tag(set, selector);
    const SnapsetSnapshot *external = tag != NULL ? find_external(set, tag) : NULL;
    g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    if (external != NULL)
        return adopt_external(set, external, ret_identity, error);
    if (tag != NULL)
        snapset_rules_adopt(set->catalog, tag, set->report);
    g_ptr_array_set_size(after, set->images->len);
    if (tag != NULL && !snapset_report_is_denied(set->report)) {
        g_autoptr(GArray) old = old_identities(set, tag);
        for (guint i = 0; i < set->images->len; i++)
            after->pdata[i] = adopted_ledger(set, i, tag, &identity, old);
    }
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    if (is_adopted(set, tag, ret_identity)) {
        snapset_set_note(set, "it had one recorded identity already");
        return TRUE;
    }
    *ret_identity = identity;
    return dry_run || snapset_stamp_set(set, "adopt", after, error);
}
