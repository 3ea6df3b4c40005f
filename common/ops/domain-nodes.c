/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images behind nodes that a running QEMU was given. */
#include "common/ops/domain-nodes.h"

#include <fcntl.h>
#include <string.h>

#include "common/core/format.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/io/live-journal.h"
#include "common/ops/domain-images.h"

static const char *
uuid_of(const SnapsetDomain *domain)
{
    return domain->uuid != NULL ? domain->uuid : "";
}

/* ---- a node is added ---- */

/* A note of the file itself. */
static SnapsetLiveEvent *
note_file(SnapsetLiveEventKind kind, const char *name, const char *path)
{
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    SnapsetFileStatus status;

    if (fd < 0 || !snapset_file_status(fd, &status, NULL))
        return NULL;
    SnapsetImage *image = snapset_image_read_fd(fd, path, SNAPSET_READ_NEWEST, NULL, NULL);
    if (image != NULL) {
        g_ptr_array_add(images, image);
        return snapset_domain_event(kind, name, images);
    }
    SnapsetLiveEvent *event = snapset_live_event_new(kind, name); /* it may become an image yet */
    snapset_live_event_add_image(event, path, status.inode, NULL, FALSE);
    return event;
}

/* A note of a node that stands on another one: its image, known as qcow2 if either says so. */
static SnapsetLiveEvent *
note_upper(GPtrArray *events, const SnapsetLiveRequest *request)
{
    SnapsetLiveEventKind kind = SNAPSET_LIVE_EVENT_STORAGE_NODE;
    const SnapsetLiveImage *image = snapset_live_event_find_node(events, request->below, &kind);

    if (image == NULL)
        return NULL;
    if (request->has_qcow2)
        kind = SNAPSET_LIVE_EVENT_FORMAT_NODE;
    SnapsetLiveEvent *event = snapset_live_event_new(kind, request->nodes->pdata[0]);
    snapset_live_event_add_image(event, image->path, image->inode, &image->entry, image->certain);
    return event;
}

static gboolean
add_node(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GError **error)
{
    g_autoptr(SnapsetLiveEvent) event = NULL;

    if (request->below != NULL) {
        g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid_of(domain), error);
        if (events == NULL)
            return FALSE;
        event = note_upper(events, request);
    } else if (request->path != NULL) {
        event = note_file(request->has_qcow2 ? SNAPSET_LIVE_EVENT_FORMAT_NODE
                                             : SNAPSET_LIVE_EVENT_STORAGE_NODE,
                          request->nodes->pdata[0], request->path);
        if (event != NULL && request->has_qcow2) /* QEMU broke the seal before it could be seen */
            ((SnapsetLiveImage *)event->images->pdata[0])->certain = FALSE;
    }
    return event == NULL || snapset_live_journal_append(uuid_of(domain), event, error);
}

/* ---- a node is removed ---- */

/* The file that was open as qcow2 through the node; NULL: none that is known. */
static const char *
path_of_format(const SnapsetDomain *domain, GPtrArray *events, const char *node)
{
    SnapsetLiveEventKind kind = SNAPSET_LIVE_EVENT_STORAGE_NODE;
    const SnapsetLiveImage *image = snapset_live_event_find_node(events, node, &kind);

    if (image != NULL)
        return kind == SNAPSET_LIVE_EVENT_FORMAT_NODE ? image->path : NULL;
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (g_strcmp0(disk->node, node) == 0 && strcmp(disk->format, "qcow2") == 0)
            return disk->path;
    }
    return NULL;
}

static gboolean
drop_storage_notes(const SnapsetDomain *domain, GPtrArray *events, const char *node, GError **error)
{
    guint before = events->len;

    for (guint i = events->len; i-- > 0;) {
        const SnapsetLiveEvent *event = events->pdata[i];
        if (event->kind == SNAPSET_LIVE_EVENT_STORAGE_NODE && strcmp(event->name, node) == 0)
            g_ptr_array_remove_index(events, i);
    }
    return events->len == before || snapset_live_journal_replace(uuid_of(domain), events, error);
}

static gboolean
remove_node(const SnapsetDomain *domain, const char *node, GError **error)
{
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid_of(domain), error);

    if (events == NULL)
        return FALSE;
    const char *path = path_of_format(domain, events, node);
    if (path != NULL)
        return snapset_domain_replay_closed(domain, path, error);
    return drop_storage_notes(domain, events, node, error);
}

gboolean
snapset_domain_note_node(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
                         GError **error)
{
    return request->kind == SNAPSET_LIVE_ADD_NODE
               ? add_node(domain, request, error)
               : remove_node(domain, request->nodes->pdata[0], error);
}

/* ---- a node becomes a disk ---- */

SnapsetImage *
snapset_domain_image_of_node(const SnapsetDomain *domain, const char *node, GPtrArray *notes)
{
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid_of(domain), NULL);
    SnapsetLiveEventKind kind = SNAPSET_LIVE_EVENT_STORAGE_NODE;
    const SnapsetLiveImage *known =
        events != NULL ? snapset_live_event_find_node(events, node, &kind) : NULL;
    g_autoptr(GError) error = NULL;

    if (known == NULL || kind != SNAPSET_LIVE_EVENT_FORMAT_NODE)
        return NULL;
    SnapsetImage *image = snapset_image_read(known->path, known->path, SNAPSET_READ_NEWEST, &error);
    if (image != NULL) {
        snapset_chain_read(image, known->path);
        return image;
    }
    g_autofree char *quoted = snapset_format_quoted(known->path);
    g_ptr_array_add(notes, g_strdup_printf("%s: %s", quoted, error->message));
    return NULL;
}
