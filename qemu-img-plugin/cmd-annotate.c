/* SPDX-License-Identifier: GPL-2.0-or-later */
/* protect, unprotect, describe: what a snapshot's record says beside its lineage. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/print.h"

static gboolean
set_protection(SnapsetOptions *options, gboolean protect, GError **error)
{
    SnapsetUuid identity = snapset_uuid_nil;

    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !snapset_protect(options->set, options->operands[0], protect, options->dry_run, &identity,
                         error))
        return FALSE;
    snapset_print_snapshot(options, protect ? "protected" : "unprotected", &identity);
    return TRUE;
}

gboolean
snapset_cmd_protect(SnapsetOptions *options, GError **error)
{
    return set_protection(options, TRUE, error);
}

gboolean
snapset_cmd_unprotect(SnapsetOptions *options, GError **error)
{
    return set_protection(options, FALSE, error);
}

gboolean
snapset_cmd_describe(SnapsetOptions *options, GError **error)
{
    SnapsetUuid identity = snapset_uuid_nil;

    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !snapset_describe(options->set, options->operands[0], options->operands[1],
                          options->dry_run, &identity, error))
        return FALSE;
    snapset_print_snapshot(options, "described", &identity);
    return TRUE;
}
