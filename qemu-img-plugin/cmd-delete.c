/* SPDX-License-Identifier: GPL-2.0-or-later */
/* delete: snapshots go from all images. */
#include "common/core/format.h"
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

static gboolean delete (SnapsetOptions *options, GPtrArray **deleted, GError **error)
{
    const char *selector = options->operands[0];

    if (options->machine == NULL)
        return snapset_delete(options->set, selector, options->children, options->dry_run, deleted,
                              error);
    return snapset_machine_delete(options->machine, selector, options->children, options->dry_run,
                                  deleted, error);
}

gboolean
snapset_cmd_delete(SnapsetOptions *options, GError **error)
{
    g_autoptr(GPtrArray) deleted = NULL;

    if (options->link != NULL)
        return snapset_domain_delete(options, error);
    if (!snapset_options_open(options, SNAPSET_FOR_WRITING, error) ||
        !delete (options, &deleted, error))
        return FALSE;
    if (options->output == SNAPSET_OUTPUT_JSON)
        snapset_print_set(options);
    for (guint i = 0; i < deleted->len; i++) {
        const SnapsetDeleted *one = deleted->pdata[i];
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        g_autofree char *tag = snapset_format_quoted(one->tag);
        snapset_uuid_format_short(&one->identity, uuid);
        snapset_print_result(options, "deleted snapshot %s (%s)", tag, uuid);
    }
    snapset_print_moves(options);
    return TRUE;
}
