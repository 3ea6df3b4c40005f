/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: a snapshot of all images. */
#include "common/core/format.h"
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

gboolean
snapset_cmd_create(SnapsetOptions *options, GError **error)
{
    const char *tag = options->operands[0];
    SnapsetUuid identity = snapset_uuid_nil;

    if (options->link != NULL)
        return snapset_domain_create(options, error);
    if (!snapset_options_open(options, SNAPSET_FOR_RECORDING, error) ||
        !snapset_create(options->set, tag, options->description, options->dry_run, &identity,
                        error))
        return FALSE;
    if (options->dry_run) {
        g_autofree char *quoted = snapset_format_quoted(tag);
        snapset_print_result(options, "created snapshot %s", quoted);
    } else {
        snapset_print_snapshot(options, "created", &identity);
    }
    return TRUE;
}
