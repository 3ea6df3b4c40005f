/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adopt: a person's word that entries of one tag are one moment. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/print.h"

gboolean
snapset_cmd_adopt(SnapsetOptions *options, GError **error)
{
    SnapsetUuid identity = snapset_uuid_nil;

    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !snapset_adopt(options->set, options->operands[0], options->dry_run, &identity, error))
        return FALSE;
    if (options->dry_run)
        snapset_print_result(options, "adopted the snapshot");
    else
        snapset_print_snapshot(options, "adopted", &identity);
    return TRUE;
}
