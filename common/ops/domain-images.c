/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of a libvirt domain, and their records after it stopped. */
#include "common/ops/domain-images.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/io/stamp.h"
#include "common/ops/set.h"

static SnapsetImage *
read_disk(const SnapsetDisk *disk, GPtrArray *notes)
{
    const char *name = disk->path != NULL ? disk->path : disk->target;

    if (disk->path != NULL && g_strcmp0(disk->format, "qcow2") == 0) {
        g_autoptr(GError) error = NULL;
        SnapsetImage *image =
            snapset_image_read(disk->path, disk->path, SNAPSET_READ_NEWEST, &error);
        if (image != NULL) {
            snapset_chain_read(image, disk->path);
            return image;
        }
        g_autofree char *quoted = snapset_format_quoted(name);
        g_ptr_array_add(notes, g_strdup_printf("%s: %s", quoted, error->message));
    }
    return snapset_image_new(name, disk->format);
}

GPtrArray *
snapset_domain_images(const SnapsetDomain *domain, GPtrArray *notes)
{
    GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    for (guint i = 0; i < domain->disks->len; i++)
        g_ptr_array_add(images, read_disk(domain->disks->pdata[i], notes));
    return images;
}

/* Of several entries with a tag the last one is the one just made. */
static const SnapsetEntry *
last_entry(const SnapsetImage *image, const char *tag)
{
    for (guint i = image->entries->len; i-- > 0;) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        if (strcmp(entry->tag, tag) == 0)
            return entry;
    }
    return NULL;
}

SnapsetLiveEvent *
snapset_domain_event(SnapsetLiveEventKind kind, const char *tag, GPtrArray *images)
{
    SnapsetLiveEvent *event = snapset_live_event_new(kind, tag);

    for (guint i = 0; i < images->len; i++) {
        const SnapsetImage *image = images->pdata[i];
        const SnapsetEntry *entry = last_entry(image, tag);
        if (image->is_local)
            snapset_live_event_add_image(event, image->filename, image->inode,
                                         entry != NULL ? &entry->derived : NULL, image->sealed);
    }
    return event;
}

/* ---- replay ---- */

/* One image while events are replayed onto its ledger. */
typedef struct {
    SnapsetLedger *ledger;
    gboolean is_certain; /* the ledger's current is known to be where the image stands */
    gboolean is_changed;
} Replay;

static const SnapsetLiveImage *
find_image(const SnapsetLiveEvent *event, const SnapsetImage *image)
{
    for (guint i = 0; i < event->images->len; i++) {
        const SnapsetLiveImage *one = event->images->pdata[i];
        if (strcmp(one->path, image->filename) == 0 && one->inode == image->inode)
            return one;
    }
    return NULL;
}

static SnapsetRecord *
find_binding(const SnapsetLedger *ledger, guint64 binding)
{
    for (guint i = 0; i < ledger->records->len; i++) {
        SnapsetRecord *record = ledger->records->pdata[i];
        if (record->binding == binding && !(record->flags & SNAPSET_RECORD_EXTERNAL))
            return record;
    }
    return NULL;
}

/*
 * The identity of what an event made: that of the first image, for all. savevm gives all the same
 * anyway; blockdev-snapshot-internal-sync does not, and that they are one was seen.
 */
static SnapsetUuid
event_identity(const SnapsetLiveEvent *event)
{
    for (guint i = 0; i < event->images->len; i++) {
        const SnapsetLiveImage *image = event->images->pdata[i];
        if (!snapset_uuid_is_nil(&image->entry))
            return image->entry;
    }
    return snapset_uuid_nil;
}

static void
replay_create(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image)
{
    guint64 binding = snapset_identity_binding(&image->entry);
    SnapsetRecord *record = find_binding(replay->ledger, binding);
    guint members = 0;

    for (guint i = 0; i < event->images->len; i++)
        members += !snapset_uuid_is_nil(&((SnapsetLiveImage *)event->images->pdata[i])->entry);
    if (record == NULL) {
        SnapsetUuid identity = event_identity(event);
        record = snapset_record_new(&identity, binding);
        record->parent = replay->ledger->current;
        record->members = MIN(members, G_MAXUINT16);
        if (!replay->is_certain && !snapset_uuid_is_nil(&record->parent))
            record->flags |= SNAPSET_RECORD_PARENT_INFERRED;
        g_ptr_array_add(replay->ledger->records, record);
    }
    replay->ledger->current = record->identity;
    replay->is_changed = TRUE;
}

static void
replay_event(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image)
{
    if (event->kind == SNAPSET_LIVE_EVENT_START) {
        replay->is_certain = image->certain || snapset_uuid_is_nil(&replay->ledger->current);
    } else if (snapset_uuid_is_nil(&image->entry)) {
        return; /* this image had no part in it */
    } else if (event->kind == SNAPSET_LIVE_EVENT_CREATE) {
        replay_create(replay, event, image);
    } else if (event->kind == SNAPSET_LIVE_EVENT_LOAD) {
        const SnapsetRecord *record =
            find_binding(replay->ledger, snapset_identity_binding(&image->entry));
        replay->ledger->current = record != NULL ? record->identity : image->entry;
        replay->is_certain = replay->is_changed = TRUE;
    }
    /* A deleted entry's record is climbed over; its children need it for that. */
}

static gboolean
replay_image(const SnapsetHandle *handle, GPtrArray *events, GError **error)
{
    g_autoptr(SnapsetImage) image =
        snapset_image_read_fd(handle->fd, handle->source->name, SNAPSET_READ_THOROUGH, NULL, error);
    if (image == NULL)
        return FALSE;
    g_autoptr(SnapsetLedger) ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    Replay replay = {.ledger = ledger};
    gboolean guarded = FALSE;

    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        const SnapsetLiveImage *one = find_image(event, image);
        guarded |= i == 0 && event->kind == SNAPSET_LIVE_EVENT_START;
        if (one != NULL)
            replay_event(&replay, event, one);
    }
    /* Without a guard from the start there may have been more than is known. */
    gboolean seal = guarded && replay.is_certain;
    if (!replay.is_changed && (image->ledger == NULL || image->sealed || !seal))
        return TRUE;
    if (!snapset_stamp_fits(image, ledger, NULL))
        snapset_lineage_compact(ledger, image);
    /* Where there is no room identities stay derived: that is no reason to try for ever. */
    return !snapset_stamp_fits(image, ledger, NULL) ||
           snapset_stamp(handle->fd, ledger, seal, error);
}

/* Lock every image that is there; FALSE when one is in use. */
static gboolean
open_images(const SnapsetDomain *domain, GPtrArray *sources, GPtrArray *handles, GError **error)
{
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        g_autoptr(GError) failure = NULL;
        if (disk->path == NULL || g_strcmp0(disk->format, "qcow2") != 0)
            continue;
        SnapsetSource *source = snapset_source_new(disk->path, "qcow2", FALSE, NULL);
        g_free(source->path); /* libvirt's paths are never protocols, whatever they look like */
        source->path = g_strdup(disk->path);
        g_ptr_array_add(sources, source);
        SnapsetHandle *handle = snapset_handle_open(source, &failure);
        if (handle != NULL)
            g_ptr_array_add(handles, handle);
        if (g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return snapset_name_error(error, disk->path);
        }
    }
    return TRUE;
}

gboolean
snapset_domain_replay(const SnapsetDomain *domain, GError **error)
{
    const char *uuid = domain->uuid != NULL ? domain->uuid : "";
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid, error);
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_autoptr(GPtrArray) handles =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_handle_free);

    if (events == NULL)
        return FALSE;
    if (events->len == 0)
        return TRUE;
    if (!open_images(domain, sources, handles, error))
        return FALSE;
    for (guint i = 0; i < handles->len; i++) {
        const SnapsetHandle *handle = handles->pdata[i];
        if (!replay_image(handle, events, error))
            return snapset_name_error(error, handle->source->name);
    }
    return snapset_live_journal_remove(uuid, error);
}
