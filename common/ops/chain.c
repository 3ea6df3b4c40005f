/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backing chains of the images of a set. */
#include "common/ops/chain.h"

#include "common/core/format.h"

/* The image of @seen that @image stands on, however far down; NULL: none. */
static const SnapsetImage *
find_base(const SnapsetImage *image, GHashTable *seen)
{
    for (guint i = 0; image->backing != NULL && i < image->backing->len; i++) {
        const SnapsetImage *base = g_hash_table_lookup(seen, image->backing->pdata[i]);
        if (base != NULL)
            return base;
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
        const SnapsetImage *base = find_base(snapset_set_image(set, i), seen);
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
