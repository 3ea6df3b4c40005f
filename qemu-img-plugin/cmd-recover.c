/* SPDX-License-Identifier: GPL-2.0-or-later */
/* recover: finish or undo what a crash interrupted. */
#include <stdio.h>

#include "qemu-img-plugin/commands.h"

gboolean
snapset_cmd_recover(SnapsetOptions *options, GError **error)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) sources = NULL;
    SnapsetRecovery how = (options->dry_run ? SNAPSET_RECOVERY_TRY : 0) |
                          (options->without_missing ? SNAPSET_RECOVERY_WITHOUT_MISSING : 0) |
                          (options->keep_written ? SNAPSET_RECOVERY_KEEP_WRITTEN : 0);
    guint count = 0;
    guint running = 0;

    if (options->operands[0] != NULL || options->link != NULL) {
        how |= SNAPSET_RECOVERY_IN_USE;
        sources = snapset_options_sources(options, error);
        if (sources == NULL)
            return FALSE;
    }
    gboolean recovered = snapset_recover(sources, how, &count, &running, notes, error) &&
                         (options->dry_run || snapset_machine_replay(sources, notes, error));
    for (guint i = 0; !options->quiet && i < notes->len; i++)
        printf("%s\n", (char *)notes->pdata[i]);
    if (recovered && count == 0 && notes->len == 0 && !options->quiet)
        printf("nothing to recover\n");
    if (recovered && running > 0)
        return snapset_throw(error, SNAPSET_ERROR_PENDING, "wait for what is still running");
    return recovered;
}
