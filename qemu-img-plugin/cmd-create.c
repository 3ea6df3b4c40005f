/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: a snapshot of all images. */
#include "common/core/format.h"
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

static gboolean
create(SnapsetOptions *options, const char *tag, SnapsetUuid *identity, GError **error)
{
    if (options->machine == NULL)
        return snapset_create(options->set, tag, options->description, options->dry_run, identity,
                              error);
    return snapset_machine_create(options->machine, tag, options->dry_run, identity, error);
}

gboolean
snapset_cmd_create(SnapsetOptions *options, GError **error)
{
    const char *tag = options->operands[0];
    SnapsetUuid identity = snapset_uuid_nil;

    if (options->link != NULL)
        return snapset_domain_create(options, error);
    if (options->qmp != NULL && options->description != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "while the machine runs no description can be recorded; 'describe' "
                             "does it afterwards");
    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !create(options, tag, &identity, error))
        return FALSE;
    if (options->dry_run) {
        g_autofree char *quoted = snapset_format_quoted(tag);
        snapset_print_result(options, "created snapshot %s", quoted);
    } else {
        snapset_print_snapshot(options, "created", &identity);
    }
    return TRUE;
}
