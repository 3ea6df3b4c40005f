/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the backing chain below an image. */
#include "common/io/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/overlay-name.h"
#include "common/io/image-read.h"
#include "common/io/source.h"

#define JSON_PREFIX "json:"
#define UNKNOWN_FORMAT "unknown"

static const char *
json_text(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

/* Has @object members besides those called @known? What they mean is not known here. */
static gboolean
has_others(JsonObject *object, const char *const *known)
{
    g_autoptr(GList) members = json_object_get_members(object);
    gboolean found = FALSE;

    for (const GList *at = members; at != NULL; at = at->next)
        found |= !g_strv_contains(known, at->data);
    return found;
}

/*
 * The file of {"driver": FORMAT, "file": {"filename": FILE}}, nested or with dotted keys;
 * *ret_format is FORMAT if that is told, *ret_more whether there is more to it: an offset, say.
 */
static char *
json_file(const char *text, char **ret_format, gboolean *ret_more)
{
    static const char *const keys[] = {"driver",        "file",     "file.driver",
                                       "file.filename", "filename", NULL};
    static const char *const file_keys[] = {"driver", "filename", NULL};
    g_autoptr(JsonNode) root = json_from_string(text, NULL);
    JsonObject *object =
        root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonNode *file = object != NULL ? json_object_get_member(object, "file") : NULL;

    if (object == NULL)
        return NULL;
    const char *driver = json_text(object, "file.driver");
    const char *name = json_text(object, "file.filename");
    const char *format = json_text(object, "driver");
    *ret_more = has_others(object, keys);
    if (file != NULL && JSON_NODE_HOLDS_OBJECT(file)) {
        JsonObject *inner = json_node_get_object(file);
        driver = json_text(inner, "driver");
        name = json_text(inner, "filename");
        *ret_more |= has_others(inner, file_keys);
    } else if (name == NULL) {
        driver = format;
        format = driver != NULL ? "raw" : NULL;
        name = json_text(object, "filename");
    }
    if (driver != NULL && strcmp(driver, "file") != 0 && strcmp(driver, "host_device") != 0)
        return NULL;
    *ret_format = g_strdup(format);
    return g_strdup(name);
}

/* The local file that is called @name; NULL: it is none. */
static char *
named_file(const char *name, char **ret_format, gboolean *ret_more)
{
    if (g_str_has_prefix(name, JSON_PREFIX))
        return json_file(name + strlen(JSON_PREFIX), ret_format, ret_more);
    g_autoptr(SnapsetSource) source = snapset_source_new(name, NULL, FALSE, NULL);
    return source != NULL ? g_strdup(source->path) : NULL;
}

char *
snapset_chain_file(const char *folder, const char *name)
{
    g_autofree char *format = NULL;
    gboolean more = FALSE;
    g_autofree char *file = named_file(name, &format, &more);

    return file == NULL || g_path_is_absolute(file) ? g_steal_pointer(&file)
                                                    : g_build_filename(folder, file, NULL);
}

/*
 * The local file that an image at @path means by the backing file name @backing, and nothing else;
 * NULL: it is none. *ret_format is the format if the name itself tells it.
 */
static char *
resolve(const char *path, const char *backing, char **ret_format)
{
    gboolean more = FALSE;
    g_autofree char *name = named_file(backing, ret_format, &more);

    if (more)
        return NULL;
    /* With a protocol it is relative to where a program runs (block.c, path_has_protocol). */
    if (name == NULL || g_path_is_absolute(name) || snapset_overlay_names_protocol(backing))
        return g_steal_pointer(&name);
    g_autofree char *folder = g_path_get_dirname(path);
    return strcmp(folder, ".") == 0 ? g_steal_pointer(&name) : g_build_filename(folder, name, NULL);
}

/*
 * Open what an image names. Not everything that has a name wants to be opened: a watchdog, for
 * instance, restarts the host soon after.
 */
static SnapsetFd
open_named(const char *path, GError **error)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "it is neither a file nor a block device");
        return -1;
    }
    SnapsetFd fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        snapset_throw_errno(error, errno, "cannot open");
    return fd;
}

/* A link that is not qcow2, or must not be taken for it: only its size is known. */
static SnapsetImage *
read_other(int fd, const char *path, const char *format, GError **error)
{
    SnapsetFileStatus status;

    if (!snapset_file_status(fd, &status, error))
        return NULL;
    SnapsetImage *image = snapset_image_new(path, format != NULL ? format : UNKNOWN_FORMAT);
    image->is_local = TRUE;
    image->device = status.device;
    image->inode = status.inode;
    image->virtual_size = status.size;
    return image;
}

SnapsetImage *
snapset_chain_read_link(const char *path, const char *format, GError **error)
{
    g_auto(SnapsetFd) fd = open_named(path, error);
    g_autoptr(GError) failure = NULL;

    if (fd < 0)
        return NULL;
    if (format != NULL && strcmp(format, "qcow2") != 0)
        return read_other(fd, path, format, error);
    SnapsetImage *image = snapset_image_read_fd(fd, path, SNAPSET_READ_NEWEST, NULL, &failure);
    if (image == NULL && format == NULL &&
        g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NOT_QCOW2))
        return read_other(fd, path, NULL, error);
    if (image == NULL)
        g_propagate_error(error, g_steal_pointer(&failure));
    return image;
}

static void
end_chain(SnapsetImage *image, SnapsetChainEnd end, const char *name)
{
    image->chain_end = end;
    image->chain_end_name = g_strdup(name);
}

/*
 * Read the file below @above, found at @path. NULL: the chain ends there. Which format the overlay
 * says goes before what the name says (block.c, bdrv_open_backing_file()).
 */
static SnapsetImage *
read_next(SnapsetImage *image, GHashTable *seen, const SnapsetImage *above, const char *path)
{
    g_autofree char *format = NULL;
    g_autofree char *next = resolve(path, above->backing_filename, &format);

    if (next == NULL) {
        end_chain(image, SNAPSET_CHAIN_REMOTE, above->backing_filename);
        return NULL;
    }
    g_autoptr(SnapsetImage) link = snapset_chain_read_link(
        next, above->backing_format != NULL ? above->backing_format : format, NULL);
    if (link == NULL)
        end_chain(image, access(next, F_OK) == 0 ? SNAPSET_CHAIN_UNREADABLE : SNAPSET_CHAIN_MISSING,
                  next);
    else if (g_hash_table_contains(seen, link))
        end_chain(image, SNAPSET_CHAIN_LOOP, next);
    else if (image->backing->len == SNAPSET_CHAIN_MAX)
        end_chain(image, SNAPSET_CHAIN_TOO_LONG, next);
    else
        return g_steal_pointer(&link);
    return NULL;
}

void
snapset_chain_read(SnapsetImage *image, const char *path)
{
    guint links = snapset_image_link_count(image);
    SnapsetImage *above = links > 1 ? image->backing->pdata[links - 2] : image;

    if (above->backing_filename == NULL)
        return;
    g_autoptr(GHashTable) seen =
        g_hash_table_new(snapset_image_file_hash, snapset_image_file_equal);
    for (guint i = 0; i < links; i++)
        g_hash_table_add(seen, (gpointer)snapset_image_link(image, i));
    if (image->backing == NULL)
        image->backing = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    while (above != NULL && above->backing_filename != NULL) {
        above = read_next(image, seen, above, above == image ? path : above->filename);
        if (above == NULL)
            return;
        g_ptr_array_add(image->backing, above);
        g_hash_table_add(seen, above);
    }
}

SnapsetImage *
snapset_chain_unread(const SnapsetImage *image)
{
    static const char *const formats[] = {"qed", "vmdk", UNKNOWN_FORMAT, NULL};
    guint links = snapset_image_link_count(image);
    SnapsetImage *last = links > 1 ? image->backing->pdata[links - 2] : NULL;

    return last != NULL && last->backing_filename == NULL &&
                   image->chain_end == SNAPSET_CHAIN_WHOLE && g_strv_contains(formats, last->format)
               ? last
               : NULL;
}

const char *
snapset_chain_known_format(const SnapsetImage *link)
{
    return strcmp(link->format, UNKNOWN_FORMAT) != 0 ? link->format : NULL;
}

const char *
snapset_chain_format(const SnapsetImage *overlay, const SnapsetImage *base)
{
    return overlay->backing_format != NULL ? overlay->backing_format
                                           : snapset_chain_known_format(base);
}

/* ---- which files stand on which ---- */

gboolean
snapset_chain_find(const SnapsetImage *overlay, const char *path, SnapsetFileStatus *ret_status)
{
    g_autofree char *format = NULL;
    g_autofree char *name = overlay->backing_filename != NULL
                                ? resolve(path, overlay->backing_filename, &format)
                                : NULL;
    g_auto(SnapsetFd) fd = name != NULL ? open_named(name, NULL) : -1;

    return fd >= 0 && snapset_file_status(fd, ret_status, NULL);
}

gboolean
snapset_chain_leads_to(const SnapsetImage *overlay, const char *path, const SnapsetImage *base)
{
    SnapsetFileStatus status;
    return snapset_chain_find(overlay, path, &status) && base->device == status.device &&
           base->inode == status.inode;
}

static void
overlay_free(gpointer data)
{
    SnapsetChainOverlay *overlay = data;
    g_free(overlay->path);
    g_free(overlay);
}

/* NULL: the file @path is no qcow2 image that stands on another. */
static SnapsetChainOverlay *
read_overlay(const char *path)
{
    gboolean is_file = g_file_test(path, G_FILE_TEST_IS_REGULAR);
    g_auto(SnapsetFd) fd = is_file ? open_named(path, NULL) : -1;
    SnapsetFileStatus file;
    SnapsetFileStatus base;

    if (fd < 0 || !snapset_file_status(fd, &file, NULL))
        return NULL;
    g_autoptr(SnapsetImage) image =
        snapset_image_read_fd(fd, path, SNAPSET_READ_NEWEST, NULL, NULL);
    if (image == NULL || !snapset_chain_find(image, path, &base))
        return NULL;
    SnapsetChainOverlay *overlay = g_new(SnapsetChainOverlay, 1);
    *overlay = (SnapsetChainOverlay){g_strdup(path), file, base};
    return overlay;
}

GPtrArray *
snapset_chain_overlays(GPtrArray *folders)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(overlay_free);

    for (guint i = 0; i < folders->len; i++) {
        g_autoptr(GDir) dir = g_dir_open(folders->pdata[i], 0, NULL);
        const char *name;
        while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
            g_autofree char *path = g_build_filename(folders->pdata[i], name, NULL);
            SnapsetChainOverlay *overlay = read_overlay(path);
            if (overlay != NULL)
                g_ptr_array_add(found, overlay);
        }
    }
    return found;
}
