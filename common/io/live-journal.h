/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened to a running domain's snapshots, on disk before libvirt hears of it: one file a
 * domain in the state folder, one line of GVariant text an event, appended. The images' records
 * are brought up to date from it once the images are closed (common/ops/domain-images.h).
 */
#pragma once

#include "common/core/live.h"
#include "common/io/file.h"

typedef enum {
    SNAPSET_LIVE_EVENT_START, /* the guard was there before QEMU was */
    SNAPSET_LIVE_EVENT_CREATE,
    SNAPSET_LIVE_EVENT_LOAD,
    SNAPSET_LIVE_EVENT_DELETE,
} SnapsetLiveEventKind;

/* One image in an event. */
typedef struct {
    char *path;
    guint64 inode;
    SnapsetUuid entry; /* derived identity of the entry made or loaded; nil: it has none. At the
                          start: the current that the image's record named */
    gboolean certain;  /* at the start: the image was known to stand there */
} SnapsetLiveImage;

typedef struct {
    SnapsetLiveEventKind kind;
    char *tag;         /* "" at the start */
    gint64 time;       /* seconds since 1970 */
    GPtrArray *images; /* of SnapsetLiveImage * */
} SnapsetLiveEvent;

/* An event that happens now; @tag is copied. */
SnapsetLiveEvent *snapset_live_event_new(SnapsetLiveEventKind kind, const char *tag);
void snapset_live_event_free(SnapsetLiveEvent *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetLiveEvent, snapset_live_event_free)

/* Add an image; strings and @entry (NULL: nil) are copied. */
void snapset_live_event_add_image(SnapsetLiveEvent *event, const char *path, guint64 inode,
                                  const SnapsetUuid *entry, gboolean certain);

/*
 * Make sure, as far as that is possible, that @event, or one like it, can be appended later: there
 * is space for it, and it may be written.
 */
gboolean snapset_live_journal_reserve(const char *domain, const SnapsetLiveEvent *event,
                                      GError **error);

/* Append to the journal of @domain (a UUID as text); on disk when TRUE is returned. */
gboolean snapset_live_journal_append(const char *domain, const SnapsetLiveEvent *event,
                                     GError **error);

/*
 * All events (of SnapsetLiveEvent *), oldest first; empty when there is no journal. A last line
 * that a crash cut short never happened.
 */
GPtrArray *snapset_live_journal_read(const char *domain, GError **error);

/* All has been recorded: remove the journal. */
gboolean snapset_live_journal_remove(const char *domain, GError **error);
