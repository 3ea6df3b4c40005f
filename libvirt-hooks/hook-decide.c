/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the hook does with an event, as a pure function. */
#include "libvirt-hooks/hook-decide.h"

#include <string.h>

#include "common/core/rules.h"

SnapsetHookEvent
snapset_hook_event(const char *operation, const char *sub_operation)
{
    static const struct {
        const char *operation, *sub_operation;
        SnapsetHookEvent event;
    } events[] = {
        {"prepare", "begin", SNAPSET_EVENT_PREPARE},
        {"start", "begin", SNAPSET_EVENT_START},
        {"started", "begin", SNAPSET_EVENT_STARTED},
        {"release", "end", SNAPSET_EVENT_RELEASE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(events); i++) {
        if (strcmp(events[i].operation, operation) == 0 &&
            strcmp(events[i].sub_operation, sub_operation) == 0)
            return events[i].event;
    }
    return SNAPSET_EVENT_OTHER;
}

SnapsetDecision *
snapset_decision_new(void)
{
    SnapsetDecision *decision = g_new0(SnapsetDecision, 1);
    decision->log = g_ptr_array_new_with_free_func(g_free);
    return decision;
}

void
snapset_decision_free(SnapsetDecision *decision)
{
    if (decision == NULL)
        return;
    g_free(decision->refusal);
    g_ptr_array_unref(decision->log);
    g_free(decision);
}

/* The reason first: virsh shows it at the end of a long line of its own. */
static void
refuse(SnapsetDecision *decision, const SnapsetReport *report)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        if (violation->verdict != SNAPSET_DENY)
            continue;
        g_string_append_printf(text, "snapshot-set: refused [%s]: %s\n",
                               snapset_rule_name(violation->rule), violation->message);
        if (violation->hint != NULL)
            g_string_append_printf(text, "hint: %s\n", violation->hint);
    }
    g_string_append(text, "no disk was changed; if this was a snapshot-revert, the machine is now "
                          "shut off\n");
    decision->refusal = g_string_free(text, FALSE);
    decision->exit_code = 1;
}

SnapsetDecision *
snapset_hook_decide(SnapsetHookEvent event, const SnapsetCatalog *catalog, SnapsetReport *report)
{
    SnapsetDecision *decision = snapset_decision_new();

    if (event != SNAPSET_EVENT_PREPARE)
        return decision;
    snapset_rules_start(catalog, report);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        if (violation->verdict == SNAPSET_WARN)
            g_ptr_array_add(decision->log,
                            g_strdup_printf("warning [%s]: %s", snapset_rule_name(violation->rule),
                                            violation->message));
    }
    if (snapset_report_is_denied(report))
        refuse(decision, report);
    return decision;
}
