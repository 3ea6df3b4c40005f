/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tree: which snapshot each came from. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/output.h"
#include "qemu-img-plugin/print.h"

gboolean
snapset_cmd_tree(SnapsetOptions *options, GError **error)
{
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    g_autoptr(GPtrArray) chosen = snapset_output_choose(options->set->catalog, options->all);
    switch (options->output) {
    case SNAPSET_OUTPUT_HUMAN:
        if (chosen->len > 0)
            snapset_output_tree(options->set, chosen);
        snapset_print_unrecorded(options);
        break;
    case SNAPSET_OUTPUT_JSON:
        snapset_check(options->set);
        snapset_output_json(options->set, chosen);
        options->told = TRUE;
        break;
    case SNAPSET_OUTPUT_DOT:
        snapset_output_dot(options->set, chosen);
        break;
    case SNAPSET_OUTPUT_SVG:
        snapset_output_svg(options->set, chosen);
        break;
    }
    return TRUE;
}
