/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happened to a running domain's snapshots, on disk. */
#include "common/io/live-journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "domains"
#define SUFFIX ".events"
#define IMAGE_TYPE "(aytayb)"
#define EVENT_TYPE "(sayxa" IMAGE_TYPE ")"

/* For what is not known yet when space is reserved, such as a tag that QEMU will choose. */
#define SPARE 4096

static const char *const kind_names[] = {"start",        "create",      "load",     "delete",
                                         "storage-node", "format-node", "external", "copy",
                                         "move",         "loading"};
G_STATIC_ASSERT(G_N_ELEMENTS(kind_names) == SNAPSET_LIVE_EVENT_LOADING + 1);

/* ---- values ---- */

static void
image_free(gpointer data)
{
    SnapsetLiveImage *image = data;
    g_free(image->path);
    g_free(image);
}

SnapsetLiveEvent *
snapset_live_event_new(SnapsetLiveEventKind kind, const char *name)
{
    SnapsetLiveEvent *event = g_new0(SnapsetLiveEvent, 1);
    event->kind = kind;
    event->name = g_strdup(name);
    event->time = g_get_real_time() / G_USEC_PER_SEC;
    event->images = g_ptr_array_new_with_free_func(image_free);
    return event;
}

void
snapset_live_event_free(SnapsetLiveEvent *event)
{
    if (event == NULL)
        return;
    g_free(event->name);
    g_ptr_array_unref(event->images);
    g_free(event);
}

void
snapset_live_event_add_image(SnapsetLiveEvent *event, const char *path, guint64 inode,
                             const SnapsetUuid *entry, gboolean certain)
{
    SnapsetLiveImage *image = g_new0(SnapsetLiveImage, 1);
    image->path = g_strdup(path);
    image->inode = inode;
    image->entry = entry != NULL ? *entry : snapset_uuid_nil;
    image->certain = certain;
    g_ptr_array_add(event->images, image);
}

gboolean
snapset_live_event_is_node(const SnapsetLiveEvent *event)
{
    return event->kind == SNAPSET_LIVE_EVENT_STORAGE_NODE ||
           event->kind == SNAPSET_LIVE_EVENT_FORMAT_NODE;
}

const SnapsetLiveImage *
snapset_live_event_find_node(GPtrArray *events, const char *name, SnapsetLiveEventKind *ret_kind)
{
    for (guint i = events->len; i-- > 0;) {
        const SnapsetLiveEvent *event = events->pdata[i];
        if (!snapset_live_event_is_node(event) || event->images->len != 1 ||
            strcmp(event->name, name) != 0)
            continue;
        if (ret_kind != NULL)
            *ret_kind = event->kind;
        return event->images->pdata[0];
    }
    return NULL;
}

/* ---- text ---- */

static char *
encode(const SnapsetLiveEvent *event)
{
    GVariantBuilder images;

    g_variant_builder_init(&images, G_VARIANT_TYPE("a" IMAGE_TYPE));
    for (guint i = 0; i < event->images->len; i++) {
        const SnapsetLiveImage *image = event->images->pdata[i];
        g_variant_builder_add(&images, "(@ayt@ayb)", g_variant_new_bytestring(image->path),
                              image->inode,
                              g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, image->entry.bytes,
                                                        SNAPSET_UUID_SIZE, 1),
                              image->certain);
    }
    g_autoptr(GVariant) value = g_variant_ref_sink(g_variant_new(
        "(s@ayx@a" IMAGE_TYPE ")", kind_names[event->kind], g_variant_new_bytestring(event->name),
        event->time, g_variant_builder_end(&images)));
    return g_variant_print(value, TRUE);
}

static void
decode_image(SnapsetLiveEvent *event, GVariant *value)
{
    g_autoptr(GVariant) entry = g_variant_get_child_value(value, 2);
    const char *path = NULL;
    guint64 inode = 0;
    gboolean certain = FALSE;
    gsize size = 0;
    const void *bytes = g_variant_get_fixed_array(entry, &size, 1);
    SnapsetUuid uuid = snapset_uuid_nil;

    g_variant_get_child(value, 0, "^&ay", &path);
    g_variant_get_child(value, 1, "t", &inode);
    g_variant_get_child(value, 3, "b", &certain);
    if (size == SNAPSET_UUID_SIZE)
        memcpy(uuid.bytes, bytes, size);
    snapset_live_event_add_image(event, path, inode, &uuid, certain);
}

static SnapsetLiveEvent *
decode(const char *line)
{
    g_autoptr(GVariant) value =
        g_utf8_validate(line, -1, NULL)
            ? g_variant_parse(G_VARIANT_TYPE(EVENT_TYPE), line, NULL, NULL, NULL)
            : NULL;
    const char *kind = NULL;
    const char *name = NULL;

    if (value == NULL)
        return NULL;
    g_variant_get_child(value, 0, "&s", &kind);
    g_variant_get_child(value, 1, "^&ay", &name);
    for (guint i = 0; i < G_N_ELEMENTS(kind_names); i++) {
        if (strcmp(kind_names[i], kind) != 0)
            continue;
        SnapsetLiveEvent *event = snapset_live_event_new(i, name);
        g_autoptr(GVariant) images = g_variant_get_child_value(value, 3);
        g_variant_get_child(value, 2, "x", &event->time);
        for (gsize j = 0; j < g_variant_n_children(images); j++) {
            g_autoptr(GVariant) image = g_variant_get_child_value(images, j);
            decode_image(event, image);
        }
        return event;
    }
    return NULL;
}

/* ---- files ---- */

static char *
journal_path(const char *domain, gboolean create, GError **error)
{
    SnapsetUuid uuid;
    g_autofree char *state = snapset_state_dir(create, error);

    if (state == NULL)
        return NULL;
    if (!snapset_uuid_parse(domain, &uuid)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "the domain has no UUID");
        return NULL;
    }
    g_autofree char *folder = g_build_filename(state, FOLDER, NULL);
    if (create && g_mkdir_with_parents(folder, 0700) < 0) {
        snapset_throw_errno(error, errno, "cannot make the state folder '%s'", folder);
        return NULL;
    }
    char name[SNAPSET_UUID_TEXT_SIZE]; /* one spelling, however the domain's XML has it */
    snapset_uuid_format(&uuid, name);
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
    return g_build_filename(folder, file, NULL);
}

/* Have the name of a new file on disk too. */
static gboolean
sync_folder(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_auto(SnapsetFd) fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return (fd >= 0 && fsync(fd) == 0) ||
           snapset_throw_errno(error, errno, "cannot write '%s' to disk", folder);
}

/* The line of an event. Its break goes first: it also ends a line that a crash cut short. */
static char *
line_of(const SnapsetLiveEvent *event)
{
    g_autofree char *text = encode(event);
    return g_strconcat("\n", text, NULL);
}

/* Open for appending; -1: failed. */
static int
open_journal(const char *domain, char **ret_path, GError **error)
{
    g_autofree char *path = journal_path(domain, TRUE, error);
    if (path == NULL)
        return -1;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        snapset_throw_errno(error, errno, "cannot open '%s'", path);
    *ret_path = g_steal_pointer(&path);
    return fd;
}

gboolean
snapset_live_journal_reserve(const char *domain, const SnapsetLiveEvent *event, GError **error)
{
    g_autofree char *path = NULL;
    g_auto(SnapsetFd) fd = open_journal(domain, &path, error);
    g_autofree char *line = line_of(event);
    SnapsetFileStatus status;

    if (fd < 0 || !snapset_file_status(fd, &status, error))
        return FALSE;
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)status.size, (off_t)strlen(line) + SPARE) == 0 ||
        errno == EOPNOTSUPP || errno == ENOSYS) /* not every file system can tell */
        return TRUE;
    return snapset_throw_errno(error, errno, "no space for '%s'", path);
}

gboolean
snapset_live_journal_append(const char *domain, const SnapsetLiveEvent *event, GError **error)
{
    g_autofree char *path = NULL;
    g_auto(SnapsetFd) fd = open_journal(domain, &path, error);
    g_autofree char *line = line_of(event);
    gsize size = strlen(line);

    if (fd < 0)
        return FALSE;
    gssize put = write(fd, line, size);
    if (put < 0)
        return snapset_throw_errno(error, errno, "cannot write '%s'", path);
    if ((gsize)put < size)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "no space for '%s'", path);
    if (snapset_live_event_is_node(event))
        return TRUE;
    if (fsync(fd) < 0)
        return snapset_throw_errno(error, errno, "cannot write '%s' to disk", path);
    gboolean is_new = lseek(fd, 0, SEEK_CUR) == put;
    return !is_new || sync_folder(path, error);
}

GPtrArray *
snapset_live_journal_read(const char *domain, GError **error)
{
    g_autoptr(GPtrArray) events =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_live_event_free);
    g_autofree char *path = journal_path(domain, FALSE, error);
    g_autofree char *text = NULL;
    gsize size = 0;
    g_autoptr(GError) failure = NULL;

    if (path == NULL)
        return NULL;
    if (!g_file_get_contents(path, &text, &size, &failure)) {
        if (g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return g_steal_pointer(&events);
        snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", failure->message);
        return NULL;
    }
    /* By size: a crash of the host may leave zeros where something was to be written. */
    for (char *line = text, *next; line != NULL; line = next) {
        next = memchr(line, '\n', size - (line - text));
        if (next != NULL)
            *next++ = '\0';
        SnapsetLiveEvent *event = decode(line);
        if (event != NULL)
            g_ptr_array_add(events, event);
    }
    return g_steal_pointer(&events);
}

GPtrArray *
snapset_live_journal_list(GError **error)
{
    g_autoptr(GPtrArray) domains = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *state = snapset_state_dir(FALSE, error);
    g_autofree char *folder = state != NULL ? g_build_filename(state, FOLDER, NULL) : NULL;
    g_autoptr(GError) failure = NULL;
    const char *name;

    if (folder == NULL)
        return NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &failure);
    if (dir == NULL && !g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "cannot read the state folder: %s",
                      failure->message);
        return NULL;
    }
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *domain = g_strndup(name, strcspn(name, "."));
        SnapsetUuid uuid;
        if (g_str_has_suffix(name, SUFFIX) && snapset_uuid_parse(domain, &uuid))
            g_ptr_array_add(domains, g_steal_pointer(&domain));
    }
    return g_steal_pointer(&domains);
}

gboolean
snapset_live_journal_replace(const char *domain, GPtrArray *events, GError **error)
{
    g_autofree char *path = journal_path(domain, FALSE, error);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) failure = NULL;

    if (path == NULL)
        return FALSE;
    for (guint i = 0; i < events->len; i++) {
        g_autofree char *line = line_of(events->pdata[i]);
        g_string_append(text, line);
    }
    if (g_file_set_contents_full(path, text->str, (gssize)text->len,
                                 G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                 &failure))
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "cannot write the journal: %s",
                         failure->message);
}

gboolean
snapset_live_journal_remove(const char *domain, GError **error)
{
    g_autofree char *path = journal_path(domain, FALSE, error);

    if (path == NULL)
        return FALSE;
    if (unlink(path) < 0 && errno != ENOENT)
        return snapset_throw_errno(error, errno, "cannot remove '%s'", path);
    return TRUE;
}
