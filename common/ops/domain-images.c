/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of a libvirt domain, and their records after it stopped. */
#include "common/ops/domain-images.h"

#include <glib/gstdio.h>
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/io/stamp.h"
#include "common/ops/domain-chains.h"
#include "common/ops/replay.h"
#include "common/ops/set.h"

/* Why the file @path was passed over. */
static void
note(GPtrArray *notes, const char *path, const char *why)
{
    g_autofree char *quoted = snapset_format_quoted(path);

    if (notes != NULL)
        g_ptr_array_add(notes, g_strdup_printf("%s: %s", quoted, why));
}

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
        note(notes, name, error->message);
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

/* Is it known where the image stands? A new one stands at the root. */
static gboolean
is_certain(const SnapsetImage *image)
{
    SnapsetUuid current = snapset_image_current(image);

    return image->sealed || (snapset_uuid_is_nil(&current) && image->entries->len == 0 &&
                             image->backing_filename == NULL);
}

/* What an event of this kind says of the image. */
static SnapsetUuid
uuid_in_event(SnapsetLiveEventKind kind, const char *name, const SnapsetImage *image)
{
    const SnapsetEntry *entry = NULL;

    switch (kind) {
    case SNAPSET_LIVE_EVENT_START:
    case SNAPSET_LIVE_EVENT_STORAGE_NODE:
    case SNAPSET_LIVE_EVENT_FORMAT_NODE:
        return snapset_image_current(image);
    case SNAPSET_LIVE_EVENT_LOAD:
        entry = snapset_image_find_loaded(image, name);
        break;
    case SNAPSET_LIVE_EVENT_CREATE:
    case SNAPSET_LIVE_EVENT_DELETE:
        entry = last_entry(image, name);
        break;
    case SNAPSET_LIVE_EVENT_EXTERNAL:
    case SNAPSET_LIVE_EVENT_COPY:
    case SNAPSET_LIVE_EVENT_MOVE:
    case SNAPSET_LIVE_EVENT_LOADING:
        break;
    }
    return entry != NULL ? entry->derived : snapset_uuid_nil;
}

SnapsetLiveEvent *
snapset_domain_event(SnapsetLiveEventKind kind, const char *name, GPtrArray *images)
{
    SnapsetLiveEvent *event = snapset_live_event_new(kind, name);

    for (guint i = 0; i < images->len; i++) {
        const SnapsetImage *image = images->pdata[i];
        SnapsetUuid uuid = uuid_in_event(kind, name, image);
        if (image->is_local)
            snapset_live_event_add_image(event, image->filename, image->inode, &uuid,
                                         is_certain(image));
    }
    return event;
}

SnapsetLiveEvent *
snapset_domain_loading(const SnapsetDomain *domain, const char *tag)
{
    SnapsetLiveEvent *event = snapset_live_event_new(SNAPSET_LIVE_EVENT_LOADING, tag);

    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        struct stat st;
        if (disk->path != NULL && stat(disk->path, &st) == 0)
            snapset_live_event_add_image(event, disk->path, S_ISBLK(st.st_mode) ? 0 : st.st_ino,
                                         NULL, FALSE);
    }
    return event;
}

/* ---- replay ---- */

/*
 * What of @ledger has room in the image. Without room identities stay derived; but all images must
 * stand at the same snapshot.
 */
static SnapsetLedger *
fit(const SnapsetImage *image, SnapsetLedger *ledger)
{
    if (!snapset_stamp_fits(image, ledger, NULL))
        snapset_lineage_compact(ledger, image);
    if (snapset_stamp_fits(image, ledger, NULL) || image->ledger == NULL)
        return ledger;
    SnapsetLedger *smaller = snapset_ledger_copy(image->ledger);
    smaller->current = ledger->current;
    snapset_ledger_free(ledger);
    return smaller;
}

/* An image whose record is brought up to date. */
typedef struct {
    gboolean closed;  /* the machine has this moment closed it: it may be sealed */
    gboolean is_disk; /* of the domain, and so no backing file */
    GPtrArray *notes; /* NULL: nobody wants any */
} Situation;

/* The image is a backing file since an external snapshot was taken, and nothing else any more. */
static gboolean
freeze(const SnapsetHandle *handle, const SnapsetImage *image, SnapsetLedger *ledger,
       const SnapsetReplayed *replayed, GError **error)
{
    const GPtrArray *pairs = replayed->frozen_by->images;
    const SnapsetLiveImage *overlay = NULL;

    for (guint i = 0; i + 1 < pairs->len; i += 2) {
        const SnapsetLiveImage *base = pairs->pdata[i];
        if (strcmp(base->path, image->filename) == 0)
            overlay = pairs->pdata[i + 1];
    }
    if (overlay == NULL || snapset_image_is_frozen_as(image, &overlay->entry))
        return TRUE;
    SnapsetExternal external = snapset_replay_external(replayed->frozen_by, overlay);
    if (!image->sealed)
        snapset_lineage_thaw(ledger);
    snapset_lineage_freeze(ledger, &external, &replayed->at, !replayed->is_certain);
    return !snapset_stamp_fits(image, ledger, NULL) ||
           snapset_stamp(handle->fd, ledger, TRUE, error);
}

/*
 * Is the image's content still what the external snapshot @taken froze? If the machine closed it
 * some time ago, somebody may have written to it since.
 */
static gboolean
is_untouched(const SnapsetHandle *handle, const SnapsetLiveEvent *taken, const Situation *situation)
{
    SnapsetFileStatus status;

    return situation->closed || (snapset_file_status(handle->fd, &status, NULL) &&
                                 status.mtime / G_USEC_PER_SEC <= taken->time);
}

static gboolean
replay_into(const SnapsetHandle *handle, const SnapsetImage *image, GPtrArray *events,
            const Situation *situation, GError **error)
{
    g_autoptr(SnapsetLedger) ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    SnapsetReplayed replayed = snapset_replay(image, events, ledger);
    const SnapsetLiveEvent *first = events->pdata[0];
    guint records = ledger->records->len;
    /* Without a guard from the start there may have been more than is known. */
    gboolean seal =
        situation->closed && replayed.is_certain && first->kind == SNAPSET_LIVE_EVENT_START;

    if (replayed.frozen_by != NULL && !situation->is_disk)
        return !is_untouched(handle, replayed.frozen_by, situation) ||
               freeze(handle, image, ledger, &replayed, error);

    /* A frozen image that was used all the same is no snapshot any more. */
    if (!image->sealed)
        snapset_lineage_thaw(ledger);
    replayed.is_changed |= ledger->records->len < records;
    if (!replayed.is_changed)
        return image->ledger == NULL || image->sealed || !seal || snapset_seal(handle->fd, error);
    if (image->header->incompatible & QCOW2_INCOMPATIBLE_DIRTY) /* QEMU will put that right */
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "it was not closed cleanly");
    ledger = fit(image, g_steal_pointer(&ledger));
    return !snapset_stamp_fits(image, ledger, NULL) ||
           snapset_stamp(handle->fd, ledger, seal ? SNAPSET_SEAL_SET : SNAPSET_SEAL_KEEP, error);
}

/* A disk into which a job moved data, while it was a backing file, is not what its seal says. */
static gboolean
break_false_seal(const SnapsetHandle *handle, SnapsetImage *image, GPtrArray *events,
                 GError **error)
{
    if (!image->sealed || !snapset_replay_moves_into(events, image))
        return TRUE;
    image->sealed = FALSE;
    return snapset_break_seal(handle->fd, error);
}

/* What is no qcow2 image any more, or has a record beyond reading, is passed over. */
static gboolean
replay_image(const SnapsetHandle *handle, GPtrArray *events, const Situation *situation,
             GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(SnapsetImage) image = snapset_image_read_fd(handle->fd, handle->source->name,
                                                          SNAPSET_READ_THOROUGH, NULL, &failure);

    if (g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NOT_QCOW2) && !situation->is_disk)
        return TRUE; /* a backing file may well be raw */
    if (g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NOT_QCOW2) ||
        g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_MALFORMED)) {
        note(situation->notes, handle->source->path, failure->message);
        return TRUE;
    }
    if (image == NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
    } else if (image->ledger_state == SNAPSET_LEDGER_DAMAGED) {
        note(situation->notes, handle->source->path, "its record is damaged");
        return TRUE;
    } else if ((!situation->is_disk || break_false_seal(handle, image, events, error)) &&
               replay_into(handle, image, events, situation, error)) {
        return TRUE;
    }
    return snapset_name_error(error, handle->source->name);
}

static gboolean
is_same_file(const char *a, const char *b)
{
    GStatBuf left, right;

    return strcmp(a, b) == 0 || (g_stat(a, &left) == 0 && g_stat(b, &right) == 0 &&
                                 left.st_dev == right.st_dev && left.st_ino == right.st_ino);
}

static gboolean
is_disk_of(const SnapsetDomain *domain, const char *path)
{
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (disk->path != NULL && is_same_file(disk->path, path))
            return TRUE;
    }
    return FALSE;
}

static gboolean
is_known(GPtrArray *paths, const char *path)
{
    for (guint i = 0; i < paths->len; i++) {
        if (is_same_file(paths->pdata[i], path))
            return TRUE;
    }
    return FALSE;
}

/*
 * Where the events have left their mark: the domain's disks, and disks taken from it that had a
 * part in a snapshot; borrowed strings.
 */
static GPtrArray *
touched_paths(const SnapsetDomain *domain, GPtrArray *events)
{
    GPtrArray *paths = g_ptr_array_new();

    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        for (guint j = 0; j < event->images->len; j++) {
            const SnapsetLiveImage *image = event->images->pdata[j];
            gboolean had_part =
                event->kind == SNAPSET_LIVE_EVENT_EXTERNAL ||
                (event->kind != SNAPSET_LIVE_EVENT_START &&
                 event->kind != SNAPSET_LIVE_EVENT_MOVE && !snapset_live_event_is_node(event) &&
                 !snapset_uuid_is_nil(&image->entry));
            if (*image->path != '\0' && !is_known(paths, image->path) &&
                (had_part || is_disk_of(domain, image->path)))
                g_ptr_array_add(paths, image->path);
        }
    }
    return paths;
}

/* Would the events change the record of an image that is in use? */
static gboolean
is_worth_waiting(const char *path, GPtrArray *events)
{
    g_autoptr(SnapsetImage) image = snapset_image_read(path, path, SNAPSET_READ_THOROUGH, NULL);

    if (image == NULL)
        return FALSE;
    g_autoptr(SnapsetLedger) ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    return snapset_replay(image, events, ledger).is_changed;
}

/* Is @path gone because what it held was merged? Then nothing is missing. */
static gboolean
is_merged(const char *path, GPtrArray *events)
{
    gboolean moved = FALSE;

    for (guint i = 0; !moved && i < events->len; i++)
        moved = ((SnapsetLiveEvent *)events->pdata[i])->kind == SNAPSET_LIVE_EVENT_MOVE;
    return moved && !g_file_test(path, G_FILE_TEST_EXISTS);
}

/*
 * Lock every image that is there; FALSE when one of the domain's disks is in use. Of disks taken
 * from it, which others may have now, those in use are put into @waiting where that matters.
 */
static gboolean
open_images(const SnapsetDomain *domain, GPtrArray *events, GPtrArray *sources, GPtrArray *handles,
            GPtrArray *waiting, GPtrArray *notes, GError **error)
{
    g_autoptr(GPtrArray) paths = touched_paths(domain, events);

    for (guint i = 0; i < paths->len; i++) {
        char *path = paths->pdata[i];
        g_autoptr(GError) failure = NULL;
        SnapsetSource *source = snapset_source_new_file(path, "qcow2");
        g_ptr_array_add(sources, source);
        SnapsetHandle *handle = snapset_handle_open(source, &failure);
        if (handle != NULL) {
            g_ptr_array_add(handles, handle);
            continue;
        }
        gboolean is_in_use = g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED);
        if (is_in_use && is_disk_of(domain, path)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return snapset_name_error(error, path);
        }
        if (!is_merged(path, events))
            note(notes, path, failure->message);
        if (is_in_use && is_worth_waiting(path, events))
            g_ptr_array_add(waiting, g_strdup(path));
    }
    return TRUE;
}

/*
 * The record of the image at @path is up to date, so the events that are about it alone go. In
 * others it stays, nameless: they also say how many images a snapshot was taken over, and which
 * identity it has in all of them. Of a storage node that is still there only the file is known now.
 */
static void
cross_out(GPtrArray *events, const char *path)
{
    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        for (guint j = 0; j < event->images->len; j++) {
            SnapsetLiveImage *image = event->images->pdata[j];
            if (strcmp(image->path, path) != 0)
                continue;
            if (event->kind == SNAPSET_LIVE_EVENT_STORAGE_NODE) {
                image->entry = snapset_uuid_nil;
                image->certain = FALSE;
            } else {
                *image->path = '\0';
            }
        }
    }
}

/* All its images are crossed out. The start stays: it tells since when there is a guard. */
static gboolean
is_done(const SnapsetLiveEvent *event)
{
    for (guint i = 0; i < event->images->len; i++) {
        if (*((SnapsetLiveImage *)event->images->pdata[i])->path != '\0')
            return FALSE;
    }
    return event->kind != SNAPSET_LIVE_EVENT_START;
}

static void
drop_done(GPtrArray *events)
{
    for (guint i = events->len; i-- > 0;) {
        if (is_done(events->pdata[i]))
            g_ptr_array_remove_index(events, i);
    }
}

/* The machine is off: all that is left to do is what @waiting waits for. */
static gboolean
keep_waiting(const char *uuid, GPtrArray *events, GPtrArray *waiting, GError **error)
{
    if (waiting->len == 0)
        return snapset_live_journal_remove(uuid, error);
    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        for (guint j = 0; j < event->images->len; j++) {
            SnapsetLiveImage *image = event->images->pdata[j];
            if (event->kind == SNAPSET_LIVE_EVENT_STORAGE_NODE ||
                !g_ptr_array_find_with_equal_func(waiting, image->path, g_str_equal, NULL))
                *image->path = '\0';
        }
    }
    drop_done(events);
    return snapset_live_journal_replace(uuid, events, error);
}

gboolean
snapset_domain_replay(const SnapsetDomain *domain, gboolean closed, GPtrArray *notes,
                      GError **error)
{
    const char *uuid = domain->uuid != NULL ? domain->uuid : "";
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid, error);
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_autoptr(GPtrArray) handles =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_handle_free);
    g_autoptr(GPtrArray) waiting = g_ptr_array_new_with_free_func(g_free);

    if (events == NULL)
        return FALSE;
    if (events->len == 0) {
        snapset_domain_settle_chains(domain, events);
        return snapset_live_journal_remove(uuid, error);
    }
    snapset_domain_name_externals(domain, events);
    if (!open_images(domain, events, sources, handles, waiting, notes, error))
        return FALSE;
    for (guint i = 0; i < handles->len; i++) {
        const SnapsetHandle *handle = handles->pdata[i];
        gboolean is_disk = is_disk_of(domain, handle->source->path);
        Situation situation = {closed && is_disk, is_disk, notes};
        if (!replay_image(handle, events, &situation, error))
            return FALSE;
    }
    g_ptr_array_set_size(handles, 0); /* their locks are in the way of others, of our own too */
    snapset_domain_settle_chains(domain, events);
    return keep_waiting(uuid, events, waiting, error);
}

gboolean
snapset_domain_replay_closed(const SnapsetDomain *domain, const char *path, GError **error)
{
    const char *uuid = domain->uuid != NULL ? domain->uuid : "";
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid, error);
    g_autoptr(SnapsetSource) source = snapset_source_new_file(path, "qcow2");

    const Situation situation = {TRUE, TRUE, NULL};

    if (events == NULL)
        return FALSE;
    if (events->len == 0)
        return TRUE;
    g_autoptr(SnapsetHandle) handle = snapset_handle_open(source, NULL);
    if (handle == NULL)
        return TRUE;
    snapset_domain_name_externals(domain, events);
    if (!replay_image(handle, events, &situation, error))
        return FALSE;
    cross_out(events, path);
    drop_done(events);
    return snapset_live_journal_replace(uuid, events, error);
}
