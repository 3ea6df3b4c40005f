/* SPDX-License-Identifier: GPL-2.0-or-later */
/* accept: a person's word that the images belong together as they stand. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/print.h"

gboolean
snapset_cmd_accept(SnapsetOptions *options, GError **error)
{
    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !snapset_accept(options->set, options->dry_run, error))
        return FALSE;
    if (options->output == SNAPSET_OUTPUT_JSON)
        snapset_print_set(options);
    guint count = options->set->images->len;
    snapset_print_result(options, "accepted %u image%s as they stand; the next snapshot is a root",
                         count, count == 1 ? "" : "s");
    return TRUE;
}
