/* SPDX-License-Identifier: GPL-2.0-or-later */
/* list: the snapshots that every image has, or all of them. */
#include <stdio.h>

#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/output.h"
#include "qemu-img-plugin/print.h"

gboolean
snapset_cmd_list(SnapsetOptions *options, GError **error)
{
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    const SnapsetSet *set = options->set;
    g_autoptr(GPtrArray) chosen = snapset_output_choose(set->catalog, options->all);
    if (options->output == SNAPSET_OUTPUT_JSON) {
        snapset_check(options->set);
        snapset_output_json(set, chosen);
        options->told = TRUE;
        return TRUE;
    }
    guint hidden = options->all ? 0 : snapset_output_hidden(set->catalog);
    if (chosen->len > 0)
        snapset_output_table(set, chosen, options->all);
    snapset_print_unrecorded(options);
    if (hidden > 0 && !options->quiet) {
        fflush(stdout);
        fprintf(stderr, "%u more that cannot be applied to all images: see 'list --all'\n", hidden);
    }
    return TRUE;
}
