/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was done to a running machine, remembered until its images are closed. */
#include <sys/stat.h>

#include "common/ops/domain-chains.h"
#include "common/ops/domain-images.h"
#include "common/ops/machine.h"
#include "common/ops/replay.h"

/* Each file of the chain may have had a part in something. */
static void
replay_chain(SnapsetImage *image, GPtrArray *events)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        SnapsetImage *link = (SnapsetImage *)snapset_image_link(image, i);
        g_autoptr(SnapsetLedger) ledger =
            link->ledger != NULL ? snapset_ledger_copy(link->ledger) : snapset_ledger_new();
        if (link->is_local && snapset_replay(link, events, ledger).is_changed)
            snapset_image_set_ledger(link, g_steal_pointer(&ledger));
    }
}

static void
forget_merged(SnapsetImage *image, GPtrArray *events)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        SnapsetLedger *ledger = snapset_replay_forget(image, i, events);
        if (ledger != NULL)
            snapset_image_set_ledger((SnapsetImage *)snapset_image_link(image, i), ledger);
    }
}

void
snapset_machine_remember(const char *journal, const SnapsetDomain *domain, GPtrArray *images)
{
    g_autoptr(GPtrArray) events = snapset_live_journal_read(journal, NULL);

    if (events != NULL && domain != NULL)
        snapset_domain_name_externals(domain, events);
    for (guint i = 0; events != NULL && events->len > 0 && i < images->len; i++) {
        replay_chain(images->pdata[i], events);
        forget_merged(images->pdata[i], events);
    }
}

void
snapset_machine_append(const char *journal, SnapsetSet *set, const SnapsetLiveEvent *event)
{
    /* Nobody watches this machine, so from here on it is not known where its images stand. */
    g_autoptr(SnapsetLiveEvent) end =
        snapset_domain_event(SNAPSET_LIVE_EVENT_START, "", set->images);
    g_autoptr(GError) failure = NULL;

    if (!snapset_live_journal_append(journal, event, &failure) ||
        !snapset_live_journal_append(journal, end, &failure))
        snapset_set_note(set, "the lineage will not be recorded: %s", failure->message);
}

/* ---- afterwards ---- */

/* A domain whose disks are the images that @events leave in use: overlays, not what is below. */
static SnapsetDomain *
domain_of(const char *uuid, GPtrArray *events)
{
    SnapsetDomain *domain = snapset_domain_new();
    g_autoptr(GHashTable) disks = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer path;

    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        gboolean pairs = event->kind == SNAPSET_LIVE_EVENT_EXTERNAL;
        guint count = event->kind == SNAPSET_LIVE_EVENT_MOVE ? MIN(event->images->len, 1)
                                                             : event->images->len;
        for (guint j = 0; j < count; j++) {
            const SnapsetLiveImage *image = event->images->pdata[j];
            if (pairs && j % 2 == 0)
                g_hash_table_remove(disks, image->path);
            else if (*image->path != '\0')
                g_hash_table_add(disks, image->path);
        }
    }
    domain->uuid = g_strdup(uuid);
    g_hash_table_iter_init(&iter, disks);
    while (g_hash_table_iter_next(&iter, &path, NULL))
        snapset_domain_add_disk(domain, path, "qcow2", path);
    return domain;
}

static gboolean
is_same_file(const char *a, const char *b)
{
    struct stat left;
    struct stat right;

    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

static gboolean
concerns_any(const SnapsetDomain *domain, GPtrArray *sources)
{
    for (guint i = 0; sources != NULL && i < sources->len; i++) {
        const SnapsetSource *source = sources->pdata[i];
        for (guint j = 0; source->path != NULL && j < domain->disks->len; j++) {
            if (is_same_file(((SnapsetDisk *)domain->disks->pdata[j])->path, source->path))
                return TRUE;
        }
    }
    return sources == NULL;
}

gboolean
snapset_machine_replay(GPtrArray *sources, GPtrArray *notes, GError **error)
{
    g_autoptr(GPtrArray) journals = snapset_live_journal_list(error);

    for (guint i = 0; journals != NULL && i < journals->len; i++) {
        g_autoptr(GError) failure = NULL;
        g_autoptr(GPtrArray) events = snapset_live_journal_read(journals->pdata[i], error);
        if (events == NULL)
            return FALSE;
        g_autoptr(SnapsetDomain) domain = domain_of(journals->pdata[i], events);
        if (!concerns_any(domain, sources) ||
            snapset_domain_replay(domain, FALSE, notes, &failure) ||
            g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED))
            continue;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    return journals != NULL;
}
