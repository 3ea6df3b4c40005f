/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backing chains of the images of a set. */
#include "common/ops/chain.h"

#include "common/core/format.h"
#include "common/io/image-read.h"

/* How many links of a backing chain are followed. */
#define CHAIN_MAX 200

/* The file that @backing names in an image at @path (docs/interop/qcow2.rst); NULL: no local one.
 */
static char *
backing_path(const char *path, const char *backing)
{
    g_autoptr(SnapsetSource) source =
        backing != NULL ? snapset_source_new(backing, NULL, FALSE, NULL) : NULL;

    if (source == NULL || source->path == NULL)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(path);
    return g_path_is_absolute(source->path) ? g_strdup(source->path)
                                            : g_build_filename(folder, source->path, NULL);
}

/* The image of @seen that image @index stands on, however far down; NULL: none. */
static const SnapsetImage *
find_base(const SnapsetSet *set, guint index, GHashTable *seen)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    const char *path = snapset_set_handle(set, index)->path;
    g_autofree char *at = path != NULL ? backing_path(path, image->backing_filename) : NULL;

    for (guint i = 0; at != NULL && i < CHAIN_MAX; i++) {
        g_autoptr(SnapsetImage) link = snapset_image_read(at, at, SNAPSET_READ_NEWEST, NULL);
        if (link == NULL)
            return NULL;
        const SnapsetImage *base = g_hash_table_lookup(seen, link);
        if (base != NULL)
            return base;
        char *next = backing_path(at, link->backing_filename);
        g_free(at);
        at = next;
    }
    return NULL;
}

gboolean
snapset_chain_check(const SnapsetSet *set, GError **error)
{
    g_autoptr(GHashTable) seen =
        g_hash_table_new(snapset_image_file_hash, snapset_image_file_equal);

    for (guint i = 0; i < set->images->len; i++) {
        if (snapset_set_image(set, i)->is_local)
            g_hash_table_add(seen, set->images->pdata[i]);
    }
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *base = find_base(set, i, seen);
        if (base == NULL)
            continue;
        g_autofree char *below = snapset_format_quoted(base->filename);
        g_autofree char *above = snapset_format_quoted(snapset_set_image(set, i)->filename);
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "%s is a backing file of %s: name only the images that the machine "
                             "writes to",
                             below, above);
    }
    return TRUE;
}
