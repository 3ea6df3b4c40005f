/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libvirt did to a domain at our word, noted as a guard would, where there is none. */
#include "common/core/rules.h"
#include "common/io/live-journal.h"
#include "common/ops/domain-images.h"
#include "common/ops/machine.h"
#include "qemu-img-plugin/domain-link.h"

static const char *
journal_of(const SnapsetOptions *options)
{
    return options->link->disks->uuid;
}

guint
snapset_domain_count_noted(const SnapsetOptions *options)
{
    g_autoptr(GPtrArray) events =
        journal_of(options) != NULL ? snapset_live_journal_read(journal_of(options), NULL) : NULL;
    return events != NULL ? events->len : 0;
}

void
snapset_domain_note(SnapsetOptions *options, guint noted, const SnapsetLiveEvent *event)
{
    if (journal_of(options) != NULL && snapset_domain_count_noted(options) == noted)
        snapset_machine_append(journal_of(options), options->set, event);
}

static gboolean
has_link(const SnapsetImage *image, const SnapsetImage *link)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        if (snapset_image_file_equal(snapset_image_link(image, i), link))
            return TRUE;
    }
    return FALSE;
}

/* The file of the chain that the data of those went into that are no part of it any more. */
static const SnapsetImage *
merged_into(const SnapsetImage *before, const SnapsetImage *now)
{
    gboolean merged = FALSE;

    for (guint i = 0; i < snapset_image_link_count(before); i++) {
        const SnapsetImage *link = snapset_image_link(before, i);
        if (merged && has_link(now, link))
            return link;
        merged |= !has_link(now, link);
    }
    return NULL;
}

static void
note_merges(SnapsetOptions *options, const SnapsetSet *before)
{
    for (guint i = 0; i < MIN(before->images->len, options->set->images->len); i++) {
        const SnapsetImage *base =
            merged_into(snapset_set_image(before, i), snapset_set_image(options->set, i));
        if (base == NULL)
            continue;
        g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_MOVE, "");
        snapset_live_event_add_image(event, base->filename, base->inode, &snapset_uuid_nil, TRUE);
        snapset_machine_append(journal_of(options), options->set, event);
    }
}

/* Do the records of a chain, which was in order before, not fit what libvirt made of it? */
static gboolean
is_out_of_date(const SnapsetSet *set)
{
    const SnapsetVerdicts verdicts = {0};
    g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);

    snapset_rules_chain(set->catalog, report);
    return report->violations->len > 0;
}

gboolean
snapset_domain_settle(SnapsetOptions *options, guint noted, GError **error)
{
    gboolean active = snapset_domain_is_active(options);
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_READING, error);

    if (before == NULL || !snapset_set_reload(options->set, error))
        return FALSE;
    if (journal_of(options) == NULL)
        return TRUE;
    if (active ? snapset_domain_count_noted(options) == noted : is_out_of_date(options->set))
        note_merges(options, before);
    if (!active && !snapset_domain_replay(options->link->disks, FALSE, NULL, error))
        return FALSE;
    return snapset_set_reload(options->set, error);
}
