/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened to a running domain's snapshots, on disk before libvirt hears of it: one file a
 * domain (or a machine without libvirt, common/ops/machine.h) in the state folder, one line of
 * GVariant text an event, appended. The images' records are brought up to date from it once the
 * images are closed (common/ops/domain-images.h).
 *
 * Between these stand notes of the nodes that QEMU was given while it ran: which image is behind a
 * node-name, until libvirt's status file says so. They mean nothing without that QEMU, so nobody
 * waits until they are on disk.
 */
#pragma once

#include "common/core/live.h"
#include "common/io/file.h"

typedef enum {
    SNAPSET_LIVE_EVENT_START, /* the guard was there before QEMU was */
    SNAPSET_LIVE_EVENT_CREATE,
    SNAPSET_LIVE_EVENT_LOAD,
    SNAPSET_LIVE_EVENT_DELETE,
    SNAPSET_LIVE_EVENT_STORAGE_NODE, /* a note: the file, through a node of this name */
    SNAPSET_LIVE_EVENT_FORMAT_NODE,  /* a note: the file as a qcow2 image that can be written to */
    SNAPSET_LIVE_EVENT_EXTERNAL,     /* overlays: images in pairs, backing file and overlay */
    SNAPSET_LIVE_EVENT_COPY,         /* a pair: the disk will go on in the second */
    SNAPSET_LIVE_EVENT_MOVE,         /* data is moved into the first image, from above or below; the
                                        others are the overlays that are being committed */
    SNAPSET_LIVE_EVENT_LOADING,      /* a load begins: until one is said to be done nobody knows
                                        where the images stand */
} SnapsetLiveEventKind;

/* One image in an event. */
typedef struct {
    char *path; /* "": its record has this event already */
    guint64 inode;
    SnapsetUuid entry; /* derived identity of the entry made or loaded; nil: it has none. At the
                          start, and of a node: the current that the image's record named before
                          QEMU opened it. In a pair, of the first: where it stands; of an overlay:
                          the identity of the external snapshot that it was made for */
    gboolean certain;  /* likewise: the image was known to stand there */
} SnapsetLiveImage;

typedef struct {
    SnapsetLiveEventKind kind;
    char *name;        /* the tag; of a node the node-name; "" at the start */
    gint64 time;       /* seconds since 1970 */
    GPtrArray *images; /* of SnapsetLiveImage *; of a node the one image behind it */
} SnapsetLiveEvent;

/* An event that happens now; @name is copied. */
SnapsetLiveEvent *snapset_live_event_new(SnapsetLiveEventKind kind, const char *name);
void snapset_live_event_free(SnapsetLiveEvent *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetLiveEvent, snapset_live_event_free)

/* Add an image; strings and @entry (NULL: nil) are copied. */
void snapset_live_event_add_image(SnapsetLiveEvent *event, const char *path, guint64 inode,
                                  const SnapsetUuid *entry, gboolean certain);

/* Is it a note of a node? */
gboolean snapset_live_event_is_node(const SnapsetLiveEvent *event);

/* The image behind the node @name by the last note of it among @events, and of which kind that is
 * (*ret_kind may be NULL); borrowed, NULL: there is none. */
const SnapsetLiveImage *snapset_live_event_find_node(GPtrArray *events, const char *name,
                                                     SnapsetLiveEventKind *ret_kind);

/*
 * Make sure, as far as that is possible, that @event, or one like it, can be appended later: there
 * is space for it, and it may be written.
 */
gboolean snapset_live_journal_reserve(const char *domain, const SnapsetLiveEvent *event,
                                      GError **error);

/*
 * Append to the journal of @domain (a UUID as text); on disk when TRUE is returned, unless it is a
 * note of a node.
 */
gboolean snapset_live_journal_append(const char *domain, const SnapsetLiveEvent *event,
                                     GError **error);

/*
 * All events (of SnapsetLiveEvent *), oldest first; empty when there is no journal. A last line
 * that a crash cut short never happened.
 */
GPtrArray *snapset_live_journal_read(const char *domain, GError **error);

/* Put @events in place of all that the journal holds; on disk when TRUE is returned. */
gboolean snapset_live_journal_replace(const char *domain, GPtrArray *events, GError **error);

/* The domains that there is a journal of: UUIDs as text. Caller unrefs; NULL with an error. */
GPtrArray *snapset_live_journal_list(GError **error);

/* All has been recorded: remove the journal. */
gboolean snapset_live_journal_remove(const char *domain, GError **error);
