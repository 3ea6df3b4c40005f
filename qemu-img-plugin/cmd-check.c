/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check: every rule over the set. */
#include <stdio.h>

#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/output.h"
#include "qemu-img-plugin/print.h"

static gboolean
repair(SnapsetOptions *options, GError **error)
{
    if (!snapset_options_open(options, SNAPSET_FOR_REPAIRING, error) ||
        !snapset_repair(options->set, options->dry_run, error))
        return FALSE;
    for (guint i = 0;
         !options->quiet && options->output == SNAPSET_OUTPUT_HUMAN && i < options->set->notes->len;
         i++)
        printf("%s %s\n", options->dry_run ? "would write" : "wrote",
               (char *)options->set->notes->pdata[i]);
    g_clear_pointer(&options->set, snapset_set_free);
    return TRUE;
}

static void
print_violations(const SnapsetReport *report)
{
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        printf("%s[%s] %s\n", violation->verdict == SNAPSET_WARN ? "warning " : "",
               snapset_rule_name(violation->rule), violation->message);
        if (violation->hint != NULL)
            printf("    hint: %s\n", violation->hint);
    }
    if (report->violations->len == 0)
        printf("no violations were found\n");
    else
        printf("\n%u violation%s found\n", report->violations->len,
               report->violations->len == 1 ? " was" : "s were");
}

gboolean
snapset_cmd_check(SnapsetOptions *options, GError **error)
{
    if (options->repair && !repair(options, error))
        return FALSE;
    if (!snapset_options_open(options, SNAPSET_FOR_CHECKING, error))
        return FALSE;
    SnapsetSet *set = options->set;
    snapset_check(set);
    if (options->output == SNAPSET_OUTPUT_JSON) {
        g_autoptr(GPtrArray) chosen = snapset_output_choose(set->catalog, TRUE);
        snapset_output_json(set, chosen);
    } else if (!options->quiet) {
        print_violations(set->report);
    }
    options->told = TRUE;
    return snapset_report_verdict(set->report, error);
}
