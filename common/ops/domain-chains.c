/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backing chains of a libvirt domain, and the records of their images. */
#include "common/ops/domain-chains.h"

#include <string.h>
#include <sys/stat.h>

#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/io/domain-snapshot-xml.h"
#include "common/io/image-read.h"
#include "common/io/stamp.h"
#include "common/ops/operations.h"
#include "common/ops/replay.h"

/* ---- events ---- */

/* The file behind a node: by what libvirt knows of its disks, or what was noted of new nodes. */
static const char *
path_of_node(const SnapsetDomain *domain, GPtrArray *events, const char *node)
{
    const SnapsetDisk *known = snapset_domain_find_node(domain, node);
    const SnapsetLiveImage *noted =
        known == NULL ? snapset_live_event_find_node(events, node, NULL) : NULL;

    if (known != NULL)
        return known->path;
    return noted != NULL && *noted->path != '\0' ? noted->path : NULL;
}

/* Where the image at @path stands by its record and all that happened to it since. */
static void
add_standing(SnapsetLiveEvent *event, GPtrArray *events, const char *path)
{
    g_autoptr(SnapsetImage) image = snapset_image_read(path, path, SNAPSET_READ_NEWEST, NULL);
    struct stat status = {0};

    if (image == NULL) { /* raw, say: it records nothing */
        snapset_live_event_add_image(event, path, stat(path, &status) == 0 ? status.st_ino : 0,
                                     NULL, FALSE);
        return;
    }
    g_autoptr(SnapsetLedger) ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    SnapsetReplayed replayed = snapset_replay(image, events, ledger);
    snapset_live_event_add_image(event, path, image->inode, &replayed.at, replayed.is_certain);
}

static void
add_second(SnapsetLiveEvent *event, const char *path, const SnapsetUuid *entry)
{
    struct stat status = {0};
    guint64 inode = stat(path, &status) == 0 ? status.st_ino : 0;

    snapset_live_event_add_image(event, path, inode, entry, TRUE);
}

/* An image that records nothing stands where the others do. */
static void
share_standing(SnapsetLiveEvent *event)
{
    const SnapsetLiveImage *known = NULL;

    for (guint i = 0; known == NULL && i < event->images->len; i += 2) {
        const SnapsetLiveImage *image = event->images->pdata[i];
        known = snapset_uuid_is_nil(&image->entry) ? NULL : image;
    }
    for (guint i = 0; known != NULL && i < event->images->len; i += 2) {
        SnapsetLiveImage *image = event->images->pdata[i];
        if (snapset_uuid_is_nil(&image->entry)) {
            image->entry = known->entry;
            image->certain = known->certain;
        }
    }
}

/*
 * The snapshot that the overlay at @path was made for, if whoever made it has stamped it with that,
 * as the next after @standing; nil: nobody has.
 */
static SnapsetUuid
stamped_identity(const char *path, const SnapsetUuid *standing)
{
    g_autoptr(SnapsetImage) image = snapset_image_read(path, path, SNAPSET_READ_NEWEST, NULL);
    const SnapsetLedger *ledger = image != NULL ? image->ledger : NULL;
    const SnapsetRecord *record =
        ledger != NULL ? snapset_ledger_find(ledger, &ledger->current) : NULL;

    return record != NULL && (record->flags & SNAPSET_RECORD_EXTERNAL) &&
                   snapset_uuid_equal(&record->parent, standing)
               ? record->identity
               : snapset_uuid_nil;
}

/* All overlays get one identity: the one that all were stamped with, or a new one. */
static void
identify(SnapsetLiveEvent *event)
{
    SnapsetUuid identity = snapset_uuid_nil;
    gboolean same = TRUE;

    for (guint i = 0; i + 1 < event->images->len; i += 2) {
        const SnapsetLiveImage *base = event->images->pdata[i];
        const SnapsetLiveImage *overlay = event->images->pdata[i + 1];
        SnapsetUuid own = stamped_identity(overlay->path, &base->entry);
        same &= i == 0 || snapset_uuid_equal(&own, &identity);
        identity = own;
    }
    if (!same || snapset_uuid_is_nil(&identity))
        identity = snapset_new_external_identity();
    for (guint i = 1; i < event->images->len; i += 2)
        ((SnapsetLiveImage *)event->images->pdata[i])->entry = identity;
}

/* The disks of @request and where each goes on, in pairs. */
static SnapsetLiveEvent *
pair_event(SnapsetLiveEventKind kind, const SnapsetDomain *domain, GPtrArray *events,
           const SnapsetLiveRequest *request)
{
    SnapsetLiveEvent *event = snapset_live_event_new(kind, "");

    for (guint i = 0; i < MIN(request->nodes->len, request->overlays->len); i++) {
        const char *second = request->overlays->pdata[i];
        const char *from = path_of_node(domain, events, request->nodes->pdata[i]);
        const char *to = *second == '/' ? second : path_of_node(domain, events, second);
        if (from == NULL || to == NULL)
            continue;
        add_standing(event, events, from);
        add_second(event, to, &snapset_uuid_nil);
    }
    share_standing(event);
    if (kind == SNAPSET_LIVE_EVENT_EXTERNAL)
        identify(event);
    return event;
}

/* The record of @overlay that says what its backing file is; NULL: none. */
static const SnapsetRecord *
overlay_record(const SnapsetImage *overlay)
{
    const GArray *externals = overlay->externals;

    return externals != NULL && externals->len > 0
               ? g_array_index(externals, SnapsetEntry, externals->len - 1).record
               : NULL;
}

void
snapset_domain_add_source(SnapsetLiveEvent *event, const SnapsetImage *overlay)
{
    const SnapsetRecord *record = overlay_record(overlay);

    if (record != NULL)
        snapset_live_event_add_image(event, overlay->filename, overlay->inode, &record->identity,
                                     TRUE);
}

/* The same of the overlay at @path, which may be recorded in the journal only. */
static void
add_source(SnapsetLiveEvent *event, GPtrArray *events, const char *path)
{
    g_autoptr(SnapsetImage) image =
        path != NULL ? snapset_image_read(path, path, SNAPSET_READ_NEWEST, NULL) : NULL;

    if (image == NULL)
        return;
    SnapsetLedger *ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    snapset_replay(image, events, ledger);
    snapset_image_set_ledger(image, ledger);
    snapset_domain_add_source(event, image);
}

/* The files of the disk's chain from the node @top to above the node @base. */
static void
add_sources(SnapsetLiveEvent *event, GPtrArray *events, const SnapsetDisk *disk, const char *top,
            const char *base)
{
    gboolean within = g_strcmp0(disk->node, top) == 0;
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (within)
        g_ptr_array_add(paths, disk->path);
    for (guint i = 0; i < disk->backing->len; i++) {
        const SnapsetDisk *link = disk->backing->pdata[i];
        if (g_strcmp0(link->node, base) == 0) {
            for (guint j = 0; j < paths->len; j++)
                add_source(event, events, paths->pdata[j]);
            return;
        }
        within |= g_strcmp0(link->node, top) == 0;
        if (within)
            g_ptr_array_add(paths, link->path);
    }
}

static SnapsetLiveEvent *
move_event(const SnapsetDomain *domain, GPtrArray *events, const SnapsetLiveRequest *request)
{
    SnapsetLiveEvent *event = snapset_live_event_new(SNAPSET_LIVE_EVENT_MOVE, "");
    const char *node = request->nodes->pdata[0];
    const char *path = path_of_node(domain, events, node);

    if (path == NULL)
        return event;
    add_second(event, path, &snapset_uuid_nil);
    for (guint i = 0; request->overlays->len > 0 && i < domain->disks->len; i++)
        add_sources(event, events, domain->disks->pdata[i], request->overlays->pdata[0], node);
    return event;
}

SnapsetLiveEvent *
snapset_domain_chain_event(const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    g_autoptr(GPtrArray) events =
        snapset_live_journal_read(domain->uuid != NULL ? domain->uuid : "", NULL);
    g_autoptr(SnapsetLiveEvent) event = NULL;

    if (events == NULL)
        return NULL;
    if (request->kind == SNAPSET_LIVE_MOVE)
        event = move_event(domain, events, request);
    else
        event = pair_event(request->kind == SNAPSET_LIVE_EXTERNAL ? SNAPSET_LIVE_EVENT_EXTERNAL
                                                                  : SNAPSET_LIVE_EVENT_COPY,
                           domain, events, request);
    return event->images->len > 0 ? g_steal_pointer(&event) : NULL;
}

/* ---- names ---- */

/* As libvirt calls overlays: the base's name, its last suffix replaced by the snapshot's name. */
static char *
name_of_overlay(const char *base, const char *overlay)
{
    g_autofree char *stem = g_path_get_basename(base);
    g_autofree char *file = g_path_get_basename(overlay);
    char *dot = strrchr(stem, '.');

    if (dot != NULL && dot > stem)
        dot[1] = '\0';
    if (dot != NULL && g_str_has_prefix(file, stem) && file[strlen(stem)] != '\0')
        return g_strdup(file + strlen(stem));
    return g_steal_pointer(&file);
}

void
snapset_domain_name_externals(const SnapsetDomain *domain, GPtrArray *events)
{
    for (guint i = 0; i < events->len; i++) {
        SnapsetLiveEvent *event = events->pdata[i];
        if (event->kind != SNAPSET_LIVE_EVENT_EXTERNAL || *event->name != '\0' ||
            event->images->len < 2)
            continue;
        const SnapsetLiveImage *base = event->images->pdata[0];
        const SnapsetLiveImage *overlay = event->images->pdata[1];
        char *name = domain->name != NULL
                         ? snapset_domain_snapshot_of_overlay(domain->name, overlay->path)
                         : NULL;
        g_free(event->name);
        event->name = name != NULL ? name : name_of_overlay(base->path, overlay->path);
    }
}

/* ---- chains that are closed ---- */

/* Write @ledger into the image at @path, if it can be; FALSE: it cannot. */
static gboolean
stamp_file(const char *path, const SnapsetImage *image, SnapsetLedger *ledger, SnapsetSeal seal)
{
    g_autoptr(SnapsetSource) source = snapset_source_new_file(path, "qcow2");
    g_autoptr(SnapsetHandle) handle = NULL;

    if (!snapset_stamp_fits(image, ledger, NULL))
        return FALSE;
    handle = snapset_handle_open(source, NULL);
    return handle != NULL && snapset_stamp(handle->fd, ledger, seal, NULL);
}

/* Data was committed into @base, which now is what the base of @overlay was. */
static void
freeze_again(const SnapsetImage *overlay, const SnapsetImage *base)
{
    const SnapsetRecord *record = overlay_record(overlay);

    if (record == NULL || base->header == NULL)
        return;
    g_autoptr(SnapsetLedger) ledger =
        base->ledger != NULL ? snapset_ledger_copy(base->ledger) : snapset_ledger_new();
    SnapsetExternal external = {.tag = record->tag,
                                .description = record->description,
                                .identity = record->identity,
                                .members = record->members};
    snapset_lineage_thaw(ledger);
    snapset_lineage_freeze(ledger, &external, &record->parent,
                           (record->flags & SNAPSET_RECORD_PARENT_INFERRED) != 0);
    stamp_file(base->filename, base, ledger, SNAPSET_SEAL_SET);
}

/* Was data committed into @base, by a job that is done: so that it now is what another file was? */
static gboolean
is_committed(const SnapsetImage *overlay, const SnapsetImage *base, GPtrArray *events)
{
    const SnapsetRecord *record = overlay_record(overlay);

    return record != NULL && !snapset_image_is_frozen_as(base, &record->identity) &&
           snapset_replay_moves_into(events, base);
}

static gboolean
is_moved(const SnapsetImage *image, GPtrArray *events)
{
    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        const SnapsetLiveImage *top = event->images->len > 0 ? event->images->pdata[0] : NULL;
        for (guint j = 0; event->kind == SNAPSET_LIVE_EVENT_MOVE && top != NULL &&
                          j < snapset_image_link_count(image);
             j++) {
            if (snapset_image_link(image, j)->inode == top->inode)
                return TRUE;
        }
    }
    return FALSE;
}

/* Does the record of @overlay say nothing, or nothing certain, of its backing file? */
static gboolean
is_open(const SnapsetImage *overlay)
{
    const SnapsetRecord *record = overlay_record(overlay);

    return overlay->header != NULL &&
           (record == NULL || !(record->flags & SNAPSET_RECORD_BASE_SEALED));
}

/* @overlay and its backing file @base, as they are now. */
static void
settle_link(const SnapsetImage *overlay, const SnapsetImage *base, gboolean moved,
            gboolean committed)
{
    g_autoptr(SnapsetLedger) ledger =
        overlay->ledger != NULL ? snapset_ledger_copy(overlay->ledger) : snapset_ledger_new();

    if (moved && (!base->sealed || committed))
        freeze_again(overlay, base);
    else if ((moved || is_open(overlay)) && snapset_lineage_stand_on(ledger, base, moved))
        stamp_file(overlay->filename, overlay, ledger, SNAPSET_SEAL_KEEP);
}

/* Have every record of the chain name only snapshots that were not merged away. */
static void
forget_merged(SnapsetImage *image, GPtrArray *events)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        SnapsetImage *link = (SnapsetImage *)snapset_image_link(image, i);
        g_autoptr(SnapsetLedger) ledger = snapset_replay_forget(image, i, events);
        if (ledger != NULL && stamp_file(link->filename, link, ledger, SNAPSET_SEAL_KEEP))
            snapset_image_set_ledger(link, g_steal_pointer(&ledger));
    }
}

/*
 * Was a job begun that moves the data of @overlay to below it, and not finished? Then it shows
 * through in what is between, and the snapshot that @overlay was made for is none any more.
 */
static gboolean
is_half_merged(const SnapsetImage *overlay, GPtrArray *events)
{
    const SnapsetRecord *record = overlay_record(overlay);

    for (guint i = 0; record != NULL && i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        for (guint j = 1; event->kind == SNAPSET_LIVE_EVENT_MOVE && j < event->images->len; j++) {
            const SnapsetLiveImage *from = event->images->pdata[j];
            if (from->inode == overlay->inode &&
                snapset_uuid_equal(&from->entry, &record->identity))
                return TRUE;
        }
    }
    return FALSE;
}

static void
forget(SnapsetImage *link, const SnapsetRecord *gone)
{
    gboolean was_frozen = snapset_image_is_frozen_as(link, &gone->identity);

    if (link->ledger == NULL)
        return;
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(link->ledger);
    snapset_lineage_forget(ledger, gone);
    if (!stamp_file(link->filename, link, ledger,
                    was_frozen ? SNAPSET_SEAL_BREAK : SNAPSET_SEAL_KEEP))
        return;
    link->sealed &= !was_frozen;
    snapset_image_set_ledger(link, g_steal_pointer(&ledger));
}

static void
forget_half_merged(SnapsetImage *image, GPtrArray *events)
{
    guint count = snapset_image_link_count(image);

    for (guint i = 0; i < count; i++) {
        const SnapsetImage *overlay = snapset_image_link(image, i);
        if (!is_half_merged(overlay, events))
            continue;
        g_autoptr(SnapsetRecord) gone = snapset_record_copy(overlay_record(overlay));
        for (guint j = 0; j < count; j++)
            forget((SnapsetImage *)snapset_image_link(image, j), gone);
    }
}

void
snapset_domain_settle_chains(const SnapsetDomain *domain, GPtrArray *events)
{
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        g_autoptr(SnapsetImage) image =
            disk->path != NULL && g_strcmp0(disk->format, "qcow2") == 0
                ? snapset_image_read(disk->path, disk->path, SNAPSET_READ_THOROUGH, NULL)
                : NULL;
        if (image == NULL)
            continue;
        snapset_chain_read(image, disk->path);
        forget_merged(image, events);
        forget_half_merged(image, events);
        gboolean moved = is_moved(image, events);
        for (guint j = snapset_image_link_count(image) - 1; j > 0; j--) {
            const SnapsetImage *overlay = snapset_image_link(image, j - 1);
            const SnapsetImage *base = snapset_image_link(image, j);
            settle_link(overlay, base, moved, is_committed(overlay, base, events));
        }
    }
}
