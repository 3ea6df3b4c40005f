/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show: one snapshot in full. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/output.h"

gboolean
snapset_cmd_show(SnapsetOptions *options, GError **error)
{
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    SnapsetSet *set = options->set;
    SnapsetSnapshot *snapshot =
        snapset_selector_resolve(options->operands[0], set->catalog, set->report);
    if (snapshot == NULL)
        return snapset_report_verdict(set->report, error);
    if (options->output == SNAPSET_OUTPUT_JSON) {
        g_autoptr(GPtrArray) chosen = g_ptr_array_new();
        g_ptr_array_add(chosen, snapshot);
        snapset_check(set);
        snapset_output_json(set, chosen);
        options->told = TRUE;
    } else {
        snapset_output_details(set, snapshot);
    }
    return TRUE;
}
