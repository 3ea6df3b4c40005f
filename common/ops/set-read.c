/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the images of a set: natively what can be, the rest by qemu-img. */
#include <fcntl.h>
#include <string.h>

#include "common/core/format.h"
#include "common/io/chain.h"
#include "common/io/image-info.h"
#include "common/io/image-read.h"
#include "common/ops/set.h"

/* Fewer images than this are read faster by one thread than others are started. */
#define IMAGES_PER_THREAD 64

/* Read natively what can be; leave NULL where qemu-img has to be asked. */
static gboolean
read_natively(const SnapsetSet *set, guint index, GError **error)
{
    const SnapsetSource *source = set->sources->pdata[index];
    const SnapsetHandle *handle = set->handles->pdata[index];
    g_autoptr(GError) failure = NULL;
    SnapsetImage *image = NULL;
    SnapsetReadDepth depth =
        set->access == SNAPSET_FOR_READING ? SNAPSET_READ_NEWEST : SNAPSET_READ_THOROUGH;

    if (source->path == NULL || (source->format != NULL && strcmp(source->format, "qcow2") != 0))
        return TRUE;
    if (handle->fd >= 0)
        image = snapset_image_read_fd(handle->fd, source->name, depth, NULL, &failure);
    else
        image = snapset_image_read(source->path, source->name, depth, &failure);
    if (image == NULL && !(g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NOT_QCOW2) &&
                           source->format == NULL)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return snapset_name_error(error, source->name);
    }
    if (image != NULL)
        snapset_chain_read(image, source->path);
    set->images->pdata[index] = image;
    return TRUE;
}

/* The images that one thread reads. */
typedef struct {
    const SnapsetSet *set;
    guint first, end;
    GError *error;
} Share;

static void
read_share(gpointer data, gpointer user_data)
{
    Share *share = data;
    for (guint i = share->first; i < share->end && share->error == NULL; i++)
        read_natively(share->set, i, &share->error);
}

/* Every image, by as many threads as there are processors; the first error in their order. */
static gboolean
read_all_natively(const SnapsetSet *set, GError **error)
{
    guint images = set->sources->len;
    guint count = CLAMP(images / IMAGES_PER_THREAD, 1, g_get_num_processors());
    g_autofree Share *shares = g_new0(Share, count);
    GThreadPool *pool =
        count > 1 ? g_thread_pool_new(read_share, NULL, (gint)count - 1, FALSE, NULL) : NULL;
    gboolean good = TRUE;

    for (guint i = 0; i < count; i++) {
        shares[i].set = set;
        shares[i].first = (guint64)images * i / count;
        shares[i].end = (guint64)images * (i + 1) / count;
        if (i > 0)
            g_thread_pool_push(pool, &shares[i], NULL);
    }
    read_share(&shares[0], NULL);
    if (pool != NULL)
        g_thread_pool_free(pool, FALSE, TRUE);
    for (guint i = 0; i < count; i++) {
        if (shares[i].error == NULL)
            continue;
        if (good)
            g_propagate_error(error, shares[i].error);
        else
            g_error_free(shares[i].error);
        good = FALSE;
    }
    return good;
}

/* Which file it is; qemu-img does not say. */
static void
identify(SnapsetImage *image, const char *path)
{
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    SnapsetFileStatus status;

    image->is_local = fd >= 0 && snapset_file_status(fd, &status, NULL);
    if (!image->is_local)
        return;
    image->device = status.device;
    image->inode = status.inode;
}

/* All images that are still NULL, at once. */
static gboolean
ask_qemu_img(SnapsetSet *set, GError **error)
{
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);
    guint next = 0;

    for (guint i = 0; i < set->images->len; i++) {
        if (set->images->pdata[i] == NULL)
            g_ptr_array_add(children, snapset_qemu_describe(set->tools, set->sources->pdata[i]));
    }
    snapset_children_run(children, -1, NULL, NULL);
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetSource *source = set->sources->pdata[i];
        if (set->images->pdata[i] != NULL)
            continue;
        SnapsetImage *image = snapset_image_from_info(children->pdata[next++], source->name, error);
        if (image == NULL)
            return snapset_name_error(error, source->name);
        if (source->path != NULL) {
            identify(image, source->path);
            snapset_chain_read(image, source->path);
        }
        if (source->format != NULL) { /* of a file that is taken as it is QEMU says "file" */
            g_free(image->format);
            image->format = g_strdup(source->format);
        }
        set->images->pdata[i] = image;
    }
    return TRUE;
}

/* Do chains end at files that only QEMU knows the backing files of? */
static gboolean
has_unread(const SnapsetSet *set)
{
    for (guint i = 0; i < set->images->len; i++) {
        if (snapset_chain_unread(snapset_set_image(set, i)) != NULL)
            return TRUE;
    }
    return FALSE;
}

/* Have @link say what @child was told; FALSE: that it has no backing file, or nothing. */
static gboolean
learn_backing(SnapsetImage *link, const SnapsetChild *child)
{
    g_autoptr(SnapsetImage) told = snapset_image_from_info(child, link->filename, NULL);

    if (told == NULL || told->backing_filename == NULL)
        return FALSE;
    link->backing_filename = g_steal_pointer(&told->backing_filename);
    link->backing_format = g_steal_pointer(&told->backing_format);
    return TRUE;
}

/* Ask QEMU about the last links of such chains, and read on; @images: of SnapsetImage *. */
static GPtrArray *
read_on(const SnapsetSet *set, GPtrArray *images)
{
    GPtrArray *further = g_ptr_array_new();
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);
    g_autoptr(GPtrArray) asked = g_ptr_array_new();

    for (guint i = 0; i < images->len; i++) {
        SnapsetImage *link = snapset_chain_unread(images->pdata[i]);
        if (link == NULL)
            continue;
        g_autoptr(SnapsetSource) source =
            snapset_source_new_file(link->filename, snapset_chain_known_format(link));
        g_ptr_array_add(children, snapset_qemu_describe(set->tools, source));
        g_ptr_array_add(asked, images->pdata[i]);
    }
    snapset_children_run(children, -1, NULL, NULL);
    for (guint i = 0; i < asked->len; i++) {
        SnapsetImage *image = asked->pdata[i];
        SnapsetImage *link = snapset_chain_unread(image);
        if (!learn_backing(link, children->pdata[i]))
            continue;
        snapset_chain_read(image, link->filename);
        g_ptr_array_add(further, image);
    }
    return further;
}

static void
read_unread(const SnapsetSet *set)
{
    g_autoptr(GPtrArray) images = g_ptr_array_ref(set->images);

    while (images->len > 0) { /* one link of each chain a round */
        GPtrArray *further = read_on(set, images);
        g_ptr_array_unref(images);
        images = further;
    }
}

/* The same image twice, by two names or by two hard links, is no set. */
static gboolean
check_distinct(const SnapsetSet *set, GError **error)
{
    g_autoptr(GHashTable) seen =
        g_hash_table_new(snapset_image_file_hash, snapset_image_file_equal);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        if (!image->is_local)
            continue;
        const SnapsetImage *first = g_hash_table_lookup(seen, image);
        if (first != NULL) {
            g_autofree char *one = snapset_format_quoted(first->filename);
            g_autofree char *other = snapset_format_quoted(image->filename);
            return snapset_throw(error, SNAPSET_ERROR_USAGE, "%s and %s are the same image", one,
                                 other);
        }
        g_hash_table_add(seen, (gpointer)image);
    }
    return TRUE;
}

static gboolean
find_tools(SnapsetSet *set, GError **error)
{
    if (set->tools == NULL)
        set->tools = snapset_qemu_tools_new(NULL, error);
    return set->tools != NULL;
}

gboolean
snapset_set_reload(SnapsetSet *set, GError **error)
{
    gboolean all_native = TRUE;

    g_clear_pointer(&set->catalog, snapset_catalog_free);
    g_ptr_array_set_size(set->images, 0);
    g_ptr_array_set_size(set->images, set->sources->len);
    if (!read_all_natively(set, error))
        return FALSE;
    for (guint i = 0; i < set->sources->len; i++)
        all_native &= set->images->pdata[i] != NULL;
    if (!all_native && (!find_tools(set, error) || !ask_qemu_img(set, error)))
        return FALSE;
    if (has_unread(set)) {
        if (!find_tools(set, error))
            return FALSE;
        read_unread(set);
    }
    if (!check_distinct(set, error))
        return FALSE;
    set->catalog = snapset_catalog_new(set->images);
    return TRUE;
}

gboolean
snapset_set_take(SnapsetSet *set, GPtrArray *sources, GPtrArray *images, GError **error)
{
    g_clear_pointer(&set->catalog, snapset_catalog_free);
    g_ptr_array_unref(set->images);
    set->images = images;
    g_ptr_array_set_size(set->handles, 0);
    g_ptr_array_unref(set->sources);
    set->sources = sources;
    for (guint i = 0; i < sources->len; i++)
        g_ptr_array_add(set->handles, snapset_handle_new(sources->pdata[i]));
    if (!check_distinct(set, error))
        return FALSE;
    set->catalog = snapset_catalog_new(images);
    return TRUE;
}
