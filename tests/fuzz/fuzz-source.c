/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as a person names them, with and without --image-opts. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/io/source.h"

static void
try(const char *name, gboolean image_opts)
{
    g_autoptr(GError) error = NULL;
    SnapsetSource *source = snapset_source_new(name, NULL, image_opts, &error);

    g_assert((source == NULL) == (error != NULL));
    if (source == NULL) {
        g_assert(g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_USAGE));
        return;
    }
    g_assert(strcmp(source->name, name) == 0 ||
             (image_opts && strcmp(source->name, source->path) == 0));
    g_assert((source->options != NULL) == image_opts);
    /* what is not found in the name cannot be the path */
    if (source->path != NULL)
        g_assert(strlen(source->path) <= strlen(name));
    snapset_source_free(source);
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *name = g_strndup((const char *)data, size);

    try(name, FALSE);
    try(name, TRUE);
    return 0;
}
