/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: a snapshot of all images. */
#include <string.h>

#include "common/core/format.h"
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

static gboolean
check_options(const SnapsetOptions *options, GError **error)
{
    if (!options->external && (options->overlay_dir != NULL || options->overlay_format != NULL ||
                               options->relative_backing))
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--overlay-dir, --overlay-format and --relative-backing go with "
                             "--external");
    if (options->quiesce && (!options->external || options->link == NULL))
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--quiesce goes with --external and --domain");
    if (options->overlay_format != NULL && strcmp(options->overlay_format, "qcow2") != 0)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "overlays are qcow2: '%s' has no place for the record",
                             options->overlay_format);
    if (!options->external && options->qmp != NULL && options->description != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "while the machine runs no description can be recorded; 'describe' "
                             "does it afterwards");
    return TRUE;
}

static gboolean
create_external(SnapsetOptions *options, SnapsetUuid *identity, GError **error)
{
    const char *tag = options->operands[0];
    SnapsetOverlayOptions overlays = {options->overlay_dir, options->relative_backing};

    if (!snapset_options_open(options, SNAPSET_FOR_OVERLAYS, error))
        return FALSE;
    if (options->machine == NULL)
        return snapset_create_external(options->set, tag, options->description, &overlays,
                                       options->dry_run, identity, error);
    return snapset_machine_create_external(options->machine, tag, options->description, &overlays,
                                           options->dry_run, identity, error);
}

static gboolean
create(SnapsetOptions *options, SnapsetUuid *identity, GError **error)
{
    const char *tag = options->operands[0];

    if (options->link != NULL)
        return snapset_domain_create(options, identity, error);
    if (options->external)
        return create_external(options, identity, error);
    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error))
        return FALSE;
    if (options->machine == NULL)
        return snapset_create(options->set, tag, options->description, options->dry_run, identity,
                              error);
    return snapset_machine_create(options->machine, tag, options->dry_run, identity, error);
}

gboolean
snapset_cmd_create(SnapsetOptions *options, GError **error)
{
    SnapsetUuid identity = snapset_uuid_nil;

    if (!check_options(options, error))
        return FALSE;
    if (!create(options, &identity, error))
        return FALSE;
    if (options->dry_run) {
        g_autofree char *quoted = snapset_format_quoted(options->operands[0]);
        snapset_print_result(options, "created snapshot %s", quoted);
    } else {
        snapset_print_snapshot(options, "created", &identity);
    }
    snapset_print_moves(options);
    return TRUE;
}
