/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rule chain-broken: backing files must stay what they were when their overlays were made. */
#include "common/core/rules.h"

#include "common/core/format.h"
#include "common/core/lineage.h"

/* What ends @image's chain too early; NULL: nothing. */
static const char *
chain_fault(const SnapsetImage *image)
{
    switch (image->chain_end) {
    case SNAPSET_CHAIN_WHOLE:
    case SNAPSET_CHAIN_REMOTE:
        return NULL;
    case SNAPSET_CHAIN_MISSING:
        return "is missing";
    case SNAPSET_CHAIN_UNREADABLE:
        return "cannot be read";
    case SNAPSET_CHAIN_LOOP:
        return "stands in the chain twice";
    case SNAPSET_CHAIN_TOO_LONG:
        return "comes after too many others";
    }
    return NULL;
}

static void
check_end(const SnapsetImage *image, SnapsetReport *report)
{
    const char *fault = chain_fault(image);

    if (fault == NULL)
        return;
    const SnapsetImage *last = snapset_image_link(image, snapset_image_link_count(image) - 1);
    g_autofree char *name = snapset_format_escaped(image->filename);
    g_autofree char *above = snapset_format_escaped(last->filename);
    g_autofree char *below = snapset_format_escaped(image->chain_end_name);
    snapset_report_add_image(
        report, SNAPSET_RULE_CHAIN_BROKEN, NULL, image->filename,
        g_strdup("put the backing file back, or name the right one with qemu-img rebase -u"),
        "%s: %s, the backing file of %s, %s", name, below, above, fault);
}

gboolean
snapset_chain_has_changed(const SnapsetImage *overlay, const SnapsetImage *base)
{
    for (guint i = 0; overlay->externals != NULL && i < overlay->externals->len; i++) {
        const SnapsetEntry *entry = &g_array_index(overlay->externals, SnapsetEntry, i);
        if (entry->record->flags & SNAPSET_RECORD_BASE_SEALED &&
            !snapset_image_is_frozen_as(base, &entry->identity))
            return TRUE;
    }
    return FALSE;
}

/* The chain of @image from its link @first down. */
static void
check_chain(const SnapsetImage *image, guint first, SnapsetReport *report)
{
    g_autofree char *name = snapset_format_escaped(image->filename);

    check_end(image, report);
    for (guint i = first; i + 1 < snapset_image_link_count(image); i++) {
        const SnapsetImage *overlay = snapset_image_link(image, i);
        const SnapsetImage *base = snapset_image_link(image, i + 1);
        if (!snapset_chain_has_changed(overlay, base))
            continue;
        g_autofree char *above = snapset_format_escaped(overlay->filename);
        g_autofree char *below = snapset_format_escaped(base->filename);
        snapset_report_add_image(
            report, SNAPSET_RULE_CHAIN_BROKEN, NULL, image->filename,
            g_strdup("what was written to a backing file shows through in its overlay: restore "
                     "the backing file from a backup, or, if it is right as it stands: qemu-img "
                     "snapshot-set accept IMAGE..."),
            "%s: %s was opened for writing, or replaced, since its overlay %s was made", name,
            below, above);
    }
}

/* The tag of the snapshot that @image is frozen as; NULL: it is not. */
static const char *
frozen_tag(const SnapsetImage *image)
{
    for (guint i = 0; image->ledger != NULL && i < image->ledger->records->len; i++) {
        const SnapsetRecord *record = image->ledger->records->pdata[i];
        if (snapset_image_is_frozen_as(image, &record->identity))
            return record->tag != NULL ? record->tag : "";
    }
    return NULL;
}

static void
check_not_frozen(const SnapsetImage *image, SnapsetReport *report)
{
    const char *tag = frozen_tag(image);

    if (tag == NULL)
        return;
    g_autofree char *name = snapset_format_escaped(image->filename);
    g_autofree char *quoted = snapset_format_quoted(tag);
    snapset_report_add_image(
        report, SNAPSET_RULE_CHAIN_BROKEN, tag, image->filename,
        g_strdup_printf("name the overlay in its place; if nothing stands on it any more: qemu-img "
                        "snapshot-set accept %s",
                        name),
        "%s is frozen as snapshot %s: what is written to it changes the overlays on it", name,
        quoted);
}

void
snapset_rules_links(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    for (guint i = 0; i < catalog->images->len; i++)
        check_chain(snapset_catalog_image(catalog, i), 0, report);
}

void
snapset_rules_overlays(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    snapset_rules_links(catalog, report);
    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        if (snapset_image_link_count(image) <= SNAPSET_CHAIN_MAX)
            continue;
        g_autofree char *name = snapset_format_escaped(image->filename);
        snapset_report_add_image(report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image->filename,
                                 g_strdup("delete external snapshots that are no longer needed"),
                                 "%s: with another overlay its backing chain would have more than "
                                 "%d files",
                                 name, SNAPSET_CHAIN_MAX);
    }
}

void
snapset_rules_chain(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    snapset_rules_links(catalog, report);
    for (guint i = 0; i < catalog->images->len; i++)
        check_not_frozen(snapset_catalog_image(catalog, i), report);
}

void
snapset_rules_chain_of(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                       SnapsetReport *report)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        const SnapsetImage *image = snapset_catalog_image(catalog, member->image);
        if (member->entry->is_external)
            check_chain(image, member->link, report);
        else if (member->link == 0)
            check_not_frozen(image, report);
    }
}
