/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the hook does with an event, over images written as tests/unit/build-image.h says and with
 * any verdicts.
 */
#include "libvirt-hooks/hook-decide.h"

#include <string.h>
#include <time.h>

#include "tests/unit/build-image.h"

/* ---- events ---- */

static const struct {
    const char *operation, *sub_operation;
    SnapsetHookEvent event;
} events[] = {
    {"prepare", "begin", SNAPSET_EVENT_PREPARE},
    {"start", "begin", SNAPSET_EVENT_START},
    {"started", "begin", SNAPSET_EVENT_STARTED},
    {"release", "end", SNAPSET_EVENT_RELEASE},

    {"stopped", "end", SNAPSET_EVENT_OTHER},
    {"migrate", "begin", SNAPSET_EVENT_OTHER},
    {"restore", "begin", SNAPSET_EVENT_OTHER},
    {"reconnect", "begin", SNAPSET_EVENT_OTHER},
    {"attach", "begin", SNAPSET_EVENT_OTHER},
    {"prepare", "end", SNAPSET_EVENT_OTHER},
    {"prepare", "", SNAPSET_EVENT_OTHER},
    {"prepare", "-", SNAPSET_EVENT_OTHER},
    {"start", "end", SNAPSET_EVENT_OTHER},
    {"release", "begin", SNAPSET_EVENT_OTHER},
    {"", "", SNAPSET_EVENT_OTHER},
    {"", "begin", SNAPSET_EVENT_OTHER},
    {"Prepare", "begin", SNAPSET_EVENT_OTHER},
    {"prepared", "begin", SNAPSET_EVENT_OTHER},
    {"an operation of the next version", "begin", SNAPSET_EVENT_OTHER},
};

static void
test_events(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(events); i++)
        g_assert_cmpint(snapset_hook_event(events[i].operation, events[i].sub_operation), ==,
                        events[i].event);
}

/* ---- decisions ---- */

/* "allowed" or "refused", then the rules: refused ones as they are, "~" before a mere warning. */
static char *
print_decision(const SnapsetDecision *decision)
{
    GString *out = g_string_new(decision->exit_code == 0 ? "allowed" : "refused");
    g_auto(GStrv) lines = g_strsplit(decision->refusal != NULL ? decision->refusal : "", "\n", -1);

    for (gsize i = 0; lines[i] != NULL; i++) {
        if (g_str_has_prefix(lines[i], "snapshot-set: refused ["))
            g_string_append_printf(out, " %.*s", (int)strcspn(lines[i] + 23, "]"), lines[i] + 23);
    }
    for (guint i = 0; i < decision->log->len; i++) {
        const char *line = decision->log->pdata[i];
        g_assert_true(g_str_has_prefix(line, "warning ["));
        g_string_append_printf(out, " ~%.*s", (int)strcspn(line + 9, "]"), line + 9);
    }
    return g_string_free(out, FALSE);
}

static SnapsetDecision *
decide(SnapsetHookEvent event, const char *set, SnapsetVerdict verdict)
{
    g_autoptr(SnapsetCatalog) catalog = build_catalog(set);
    SnapsetVerdicts verdicts;

    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++)
        verdicts.of[i] = verdict;
    g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);
    return snapset_hook_decide(event, catalog, report);
}

/* LOADABLE: what QEMU would load without a word, as in a live collision of two machines. */
#define LOADABLE "a: b@100/5 b: b@900/5"

static const struct {
    const char *name, *set, *denied, *warned;
} rows[] = {
    {"no-disks", "", "allowed", "allowed"},
    {"no-snapshots", "a: b:", "allowed", "allowed"},
    {"good", "a: x@1=A*2 y@2=B*2<A >B b: x@1=A*2 y@2=B*2<A >B", "allowed", "allowed"},
    {"partial", "a: x@1 b:", "allowed", "allowed"},
    {"duplicate", "a: x@1 x@2 b: x@1 x@2", "allowed", "allowed"},
    {"damaged", "a: x@1 !damaged b: x@1", "allowed", "allowed"},
    {"protected", "a: x@1=Ap b: x@1=Ap", "allowed", "allowed"},

    {"collision", LOADABLE, "refused identity-collision", "allowed ~identity-collision"},
    {"collision-without-state", "a: b@100 b: b@900", "allowed ~identity-collision",
     "allowed ~identity-collision"},
    {"collision-not-on-all", LOADABLE " c:", "allowed ~identity-collision",
     "allowed ~identity-collision"},
    {"two-collisions", "a: b@100/5 c@101/5 b: b@900/5 c@901/5",
     "refused identity-collision identity-collision",
     "allowed ~identity-collision ~identity-collision"},
    {"unproven", "a: x@1 b: x@2", "allowed ~identity-unproven", "allowed ~identity-unproven"},

    {"mixed", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B", "refused current-mismatch",
     "allowed ~current-mismatch"},
    {"new-disk", "a: x@1=A >A b:", "allowed", "allowed"},
    {"mixed-and-collision", "a: b@100/5=A >A b: b@900/5=B >B",
     "refused identity-collision current-mismatch",
     "allowed ~identity-collision ~current-mismatch"},
    {"refused-and-warned", "a: b@100/5 x@1 b: b@900/5 x@2",
     "refused identity-collision ~identity-unproven",
     "allowed ~identity-unproven ~identity-collision"},
};

static void
expect(SnapsetHookEvent event, const char *set, SnapsetVerdict verdict, const char *want)
{
    g_autoptr(SnapsetDecision) decision = decide(event, set, verdict);
    g_autofree char *got = print_decision(decision);

    g_assert_cmpstr(got, ==, want);
    g_assert_cmpint(decision->exit_code, ==, decision->refusal != NULL);
}

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);

    expect(SNAPSET_EVENT_PREPARE, rows[row].set, SNAPSET_DENY, rows[row].denied);
    expect(SNAPSET_EVENT_PREPARE, rows[row].set, SNAPSET_WARN, rows[row].warned);
    expect(SNAPSET_EVENT_PREPARE, rows[row].set, SNAPSET_IGNORE, "allowed");
    /* a hook that fails at any other event stops or kills a machine */
    for (SnapsetHookEvent event = 0; event <= SNAPSET_EVENT_OTHER; event++) {
        if (event != SNAPSET_EVENT_PREPARE)
            expect(event, rows[row].set, SNAPSET_DENY, "allowed");
    }
}

/* What was found before counts too. */
static void
test_found_before(void)
{
    static const char *const wants[] = {"refused operation-pending", "allowed ~operation-pending",
                                        "allowed"};

    for (SnapsetVerdict verdict = SNAPSET_DENY; verdict <= SNAPSET_IGNORE; verdict++) {
        SnapsetVerdicts verdicts = {.of = {[SNAPSET_RULE_OPERATION_PENDING] = verdict}};
        g_autoptr(SnapsetCatalog) catalog = build_catalog("a: x@1 b: x@1");
        g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);
        snapset_report_add(report, SNAPSET_RULE_OPERATION_PENDING, NULL, NULL, NULL, "it waits");
        g_autoptr(SnapsetDecision) decision =
            snapset_hook_decide(SNAPSET_EVENT_PREPARE, catalog, report);
        g_autofree char *got = print_decision(decision);
        g_assert_cmpstr(got, ==, wants[verdict]);
    }
}

/* What virsh shows: the reason first, both identities and dates, what to do, what has changed. */
static void
test_refusal(void)
{
    g_autoptr(SnapsetDecision) decision = decide(
        SNAPSET_EVENT_PREPARE, "a.qcow2: b@1795290621/5=A b.qcow2: b@1795290623/5=B", SNAPSET_DENY);
    g_auto(GStrv) lines = g_strsplit(decision->refusal, "\n", -1);

    g_assert_cmpuint(g_strv_length(lines), ==, 4);
    g_assert_cmpstr(lines[0], ==,
                    "snapshot-set: refused [identity-collision]: tag 'b' is two different "
                    "snapshots: 41414141 on a.qcow2 (2026-11-21 19:50:21), 42424242 on b.qcow2 "
                    "(2026-11-21 19:50:23)");
    g_assert_true(g_str_has_prefix(lines[1], "hint: "));
    g_assert_cmpstr(lines[2], ==,
                    "no disk was changed; if this was a snapshot-revert, the machine is now shut "
                    "off");
    g_assert_cmpstr(lines[3], ==, "");
}

int
main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    tzset();
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/hook-decide/events", test_events);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/hook-decide/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    g_test_add_func("/hook-decide/found-before", test_found_before);
    g_test_add_func("/hook-decide/refusal", test_refusal);
    return g_test_run();
}
