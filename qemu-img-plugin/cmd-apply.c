/* SPDX-License-Identifier: GPL-2.0-or-later */
/* apply: all images go back to a snapshot. */
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

static gboolean
apply(SnapsetOptions *options, SnapsetUuid *identity, GError **error)
{
    const char *selector = options->operands[0];
    SnapsetOverlayOptions overlays = {options->overlay_dir, options->relative_backing};

    if (options->machine == NULL)
        return snapset_apply(options->set, selector, options->save_current, &overlays,
                             options->dry_run, identity, error);
    return snapset_machine_apply(options->machine, selector, options->save_current,
                                 options->dry_run, identity, error);
}

gboolean
snapset_cmd_apply(SnapsetOptions *options, GError **error)
{
    SnapsetAccess access =
        options->save_current != NULL ? SNAPSET_FOR_RECORDING : SNAPSET_FOR_WRITING;
    SnapsetUuid identity = snapset_uuid_nil;

    if (options->link != NULL)
        return snapset_domain_apply(options, error);
    if (!snapset_options_open(options, access, error) || !apply(options, &identity, error))
        return FALSE;
    snapset_print_snapshot(options, "applied", &identity);
    snapset_print_moves(options);
    return TRUE;
}
