/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the events of a domain's live journal make of the record of one of its images. */
#include "common/ops/replay.h"

#include <string.h>

#include "common/core/lineage.h"

typedef struct {
    const SnapsetImage *image;
    GPtrArray *events;
    SnapsetLedger *ledger;
    SnapsetUuid recorded; /* the current that the record named at the last start */
    SnapsetUuid at;       /* where the image stands; nil: at the root, or it is not known */
    gboolean is_certain;  /* and that is known */
    gboolean is_changed;
    const SnapsetLiveEvent *frozen_by;
    guint next; /* entry in the table, where they stand as they were made: those before it were
                   there when what was replayed last happened */
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

/* Of two records with one binding the later one counts (FORMAT.md, "Record"). */
static SnapsetRecord *
find_binding(const SnapsetLedger *ledger, guint64 binding)
{
    for (guint i = ledger->records->len; i-- > 0;) {
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
event_identity(const SnapsetLiveEvent *event, guint *ret_members)
{
    SnapsetUuid identity = snapset_uuid_nil;

    *ret_members = 0;
    for (guint i = 0; i < event->images->len; i++) {
        const SnapsetLiveImage *image = event->images->pdata[i];
        if (snapset_uuid_is_nil(&image->entry))
            continue;
        if ((*ret_members)++ == 0)
            identity = image->entry;
    }
    return identity;
}

/* ---- what the journal does not tell: an event could not be written, or another host has it ----
 */

static gboolean
is_told(const Replay *replay, const SnapsetEntry *entry)
{
    for (guint i = 0; i < replay->events->len; i++) {
        const SnapsetLiveEvent *event = replay->events->pdata[i];
        const SnapsetLiveImage *one = find_image(event, replay->image);
        if (one != NULL && event->kind == SNAPSET_LIVE_EVENT_CREATE &&
            snapset_uuid_equal(&one->entry, &entry->derived))
            return TRUE;
    }
    return FALSE;
}

/* Is it about the moment before QEMU opened its images? */
static gboolean
opens_images(const SnapsetLiveEvent *event)
{
    return event->kind == SNAPSET_LIVE_EVENT_START || event->kind == SNAPSET_LIVE_EVENT_FORMAT_NODE;
}

/* Since when all that happened to the image is told: a disk may have come later than the start. */
static gint64
told_since(const Replay *replay)
{
    for (guint i = 0; i < replay->events->len; i++) {
        const SnapsetLiveEvent *event = replay->events->pdata[i];
        if (opens_images(event) && find_image(event, replay->image) != NULL)
            return event->time;
    }
    return replay->events->len > 0 ? ((SnapsetLiveEvent *)replay->events->pdata[0])->time
                                   : G_MAXINT64;
}

/*
 * Go on to the entry at @index. If one before it was made meanwhile that nobody tells of, the image
 * stood there, and who knows where after that. Behind one that is told the table's order tells
 * which these are, and before the first its date, which may be by the clock of another host.
 */
static void
go_on(Replay *replay, guint index)
{
    gint64 since = replay->next == 0 ? told_since(replay) : G_MININT64;

    for (guint i = replay->next; i < index; i++) {
        const SnapsetEntry *entry = snapset_image_entry(replay->image, i);
        if (entry->record != NULL || entry->moment.date_sec <= since || is_told(replay, entry))
            continue;
        replay->at = snapset_uuid_nil;
        replay->is_certain = FALSE;
    }
    replay->next = MAX(replay->next, index);
}

static guint
find_entry(const SnapsetImage *image, const SnapsetUuid *derived)
{
    guint index = 0;

    while (index < image->entries->len &&
           !snapset_uuid_equal(&snapset_image_entry(image, index)->derived, derived))
        index++;
    return index;
}

/* ---- events ---- */

/*
 * Where the record says the same as at the start before, what happened in between is not in it
 * yet. Otherwise the image was stamped after that, by us or by others.
 */
static void
replay_start(Replay *replay, const SnapsetLiveImage *image)
{
    if (image->certain || !snapset_uuid_equal(&image->entry, &replay->recorded))
        replay->at = image->entry;
    replay->recorded = image->entry;
    replay->is_certain = image->certain;
}

static void
replay_create(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image)
{
    guint64 binding = snapset_identity_binding(&image->entry);
    SnapsetRecord *record = find_binding(replay->ledger, binding);
    guint index = find_entry(replay->image, &image->entry);

    if (index < replay->image->entries->len) { /* or it is gone again */
        go_on(replay, index);
        replay->next = index + 1;
    }
    if (record == NULL) {
        guint members = 0;
        SnapsetUuid identity = event_identity(event, &members);
        record = snapset_record_new(&identity, binding);
        record->parent = replay->at;
        record->members = MIN(members, G_MAXUINT16);
        if (!replay->is_certain)
            record->flags |= SNAPSET_RECORD_PARENT_INFERRED;
        g_ptr_array_add(replay->ledger->records, record);
        replay->is_changed = TRUE;
    }
    replay->at = record->identity;
    replay->is_certain = TRUE;
}

static void
replay_load(Replay *replay, const SnapsetLiveImage *image)
{
    const SnapsetRecord *record =
        find_binding(replay->ledger, snapset_identity_binding(&image->entry));

    replay->at = record != NULL ? record->identity : image->entry;
    replay->is_certain = TRUE;
}

/* The other one of a pair of images; NULL: @image is the second, so it has none behind it. */
static const SnapsetLiveImage *
pair_of(const SnapsetLiveEvent *event, const SnapsetLiveImage *image, gboolean *ret_is_second)
{
    guint index = 0;

    if (!g_ptr_array_find(event->images, image, &index) || (index ^ 1) >= event->images->len)
        return NULL;
    *ret_is_second = index % 2 == 1;
    return event->images->pdata[index ^ 1];
}

/* @image is a new overlay on @base, which is the external snapshot from now on. */
static void
replay_overlay(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image,
               const SnapsetLiveImage *base)
{
    const SnapsetExternal external = snapset_replay_external(event, image);
    SnapsetRecord *stamped = snapset_ledger_find(replay->ledger, &image->entry);

    if (stamped == NULL) {
        g_autoptr(SnapsetLedger) made =
            snapset_lineage_overlay(&external, &base->entry, !base->certain, FALSE);
        g_ptr_array_add(replay->ledger->records, snapset_record_copy(made->records->pdata[0]));
        replay->is_changed = TRUE;
    } else if (base->certain && snapset_uuid_equal(&stamped->parent, &base->entry) &&
               (stamped->flags & SNAPSET_RECORD_PARENT_INFERRED)) {
        stamped->flags &= ~SNAPSET_RECORD_PARENT_INFERRED; /* who stamped it could not know */
        replay->is_changed = TRUE;
    }
    replay->at = image->entry;
    replay->is_certain = TRUE;
}

static void
replay_pair(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image)
{
    gboolean is_second = FALSE;
    const SnapsetLiveImage *other = pair_of(event, image, &is_second);

    if (other == NULL)
        return;
    if (!is_second) {
        replay->frozen_by = event->kind == SNAPSET_LIVE_EVENT_EXTERNAL ? event : NULL;
    } else if (event->kind == SNAPSET_LIVE_EVENT_EXTERNAL) {
        replay_overlay(replay, event, image, other);
    } else {
        replay->at = other->entry;
        replay->is_certain = other->certain;
    }
}

SnapsetExternal
snapset_replay_external(const SnapsetLiveEvent *event, const SnapsetLiveImage *overlay)
{
    return (SnapsetExternal){
        .tag = event->name, .identity = overlay->entry, .members = event->images->len / 2};
}

static void
replay_event(Replay *replay, const SnapsetLiveEvent *event, const SnapsetLiveImage *image)
{
    if (opens_images(event)) {
        replay->frozen_by = NULL;
        replay_start(replay, image);
        return;
    }
    if (event->kind == SNAPSET_LIVE_EVENT_LOADING) {
        replay->at = snapset_uuid_nil;
        replay->is_certain = FALSE;
        return;
    }
    if (event->kind == SNAPSET_LIVE_EVENT_MOVE) {
        if (image == event->images->pdata[0])
            replay->frozen_by = NULL; /* it is something else now */
        return;
    }
    if (event->kind == SNAPSET_LIVE_EVENT_EXTERNAL || event->kind == SNAPSET_LIVE_EVENT_COPY) {
        replay_pair(replay, event, image);
        return;
    }
    if (snapset_uuid_is_nil(&image->entry))
        return; /* this image had no part in it */
    if (event->kind == SNAPSET_LIVE_EVENT_CREATE)
        replay_create(replay, event, image);
    else if (event->kind == SNAPSET_LIVE_EVENT_LOAD)
        replay_load(replay, image);
    /* A deleted entry's record is climbed over; its children need it for that. */
}

SnapsetReplayed
snapset_replay(const SnapsetImage *image, GPtrArray *events, SnapsetLedger *ledger)
{
    Replay replay = {.image = image,
                     .events = events,
                     .ledger = ledger,
                     .recorded = ledger->current,
                     .at = ledger->current};

    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        const SnapsetLiveImage *one = find_image(event, image);
        if (one != NULL)
            replay_event(&replay, event, one);
    }
    go_on(&replay, image->entries->len);
    gboolean is_news = !image->sealed && snapset_uuid_equal(&ledger->current, &replay.recorded);
    if (is_news && !snapset_uuid_equal(&ledger->current, &replay.at)) {
        ledger->current = replay.at;
        replay.is_changed = TRUE;
    }
    return (SnapsetReplayed){
        .at = replay.at,
        .is_changed = replay.is_changed,
        .is_certain = image->sealed ||
                      (replay.is_certain && snapset_uuid_equal(&ledger->current, &replay.at)),
        .frozen_by = replay.frozen_by,
    };
}

gboolean
snapset_replay_moves_into(GPtrArray *events, const SnapsetImage *image)
{
    for (guint i = 0; i < events->len; i++) {
        const SnapsetLiveEvent *event = events->pdata[i];
        const SnapsetLiveImage *into = event->images->len > 0 ? event->images->pdata[0] : NULL;
        if (event->kind == SNAPSET_LIVE_EVENT_MOVE && into != NULL && into->inode == image->inode)
            return TRUE;
    }
    return FALSE;
}

/* Is a file of the chain @identity, or stands on it, and no job has moved data into it? */
static gboolean
is_in_chain(const SnapsetImage *image, const SnapsetUuid *identity, GPtrArray *events)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        const SnapsetImage *link = snapset_image_link(image, i);
        const SnapsetRecord *record =
            link->ledger != NULL ? snapset_ledger_find(link->ledger, identity) : NULL;
        if (record != NULL &&
            !(record->flags & SNAPSET_RECORD_FROZEN && snapset_replay_moves_into(events, link)))
            return TRUE;
    }
    return FALSE;
}

static gboolean
names(const SnapsetLedger *ledger, const SnapsetUuid *identity)
{
    gboolean found = snapset_uuid_equal(&ledger->current, identity);

    for (guint i = 0; !found && i < ledger->records->len; i++)
        found = snapset_uuid_equal(&((SnapsetRecord *)ledger->records->pdata[i])->parent, identity);
    return found;
}

SnapsetLedger *
snapset_replay_forget(const SnapsetImage *image, guint link, GPtrArray *events)
{
    const SnapsetLedger *own = snapset_image_link(image, link)->ledger;
    g_autoptr(SnapsetLedger) ledger = NULL;
    gboolean moved = FALSE;

    /* From the last: its parent may be gone as well. */
    for (guint i = events->len; own != NULL && i-- > 0;) {
        const SnapsetLiveEvent *event = events->pdata[i];
        moved |= event->kind == SNAPSET_LIVE_EVENT_MOVE;
        if (!moved || event->kind != SNAPSET_LIVE_EVENT_EXTERNAL || event->images->len < 2)
            continue;
        const SnapsetLiveImage *base = event->images->pdata[0];
        const SnapsetLiveImage *overlay = event->images->pdata[1];
        if (is_in_chain(image, &overlay->entry, events) ||
            !names(ledger != NULL ? ledger : own, &overlay->entry))
            continue;
        g_autoptr(SnapsetRecord) gone = snapset_record_new(&overlay->entry, 0);
        gone->parent = base->entry;
        if (ledger == NULL)
            ledger = snapset_ledger_copy(own);
        snapset_lineage_forget(ledger, gone);
    }
    return g_steal_pointer(&ledger);
}
