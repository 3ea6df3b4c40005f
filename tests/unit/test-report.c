/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules by name, reports, and the exit codes that follow from them. */
#include "common/core/report.h"

#include <errno.h>

/* The names are a promise: they stand in people's policy files. */
static const char *const names[] = {
    "tag-empty",
    "tag-invalid",
    "tag-numeric",
    "tag-exists",
    "tag-duplicate",
    "selector-bare",
    "selector-ambiguous",
    "selector-unknown",
    "identity-collision",
    "identity-unproven",
    "set-partial",
    "set-too-small",
    "current-mismatch",
    "coverage",
    "atomic",
    "chain-broken",
    "snapshot-protected",
    "load-would-fail",
    "no-space",
    "no-room",
    "image-locked",
    "image-unsupported",
    "record-damaged",
    "operation-pending",
};

static void
test_names(void)
{
    SnapsetRule rule = SNAPSET_RULE_COUNT;

    g_assert_cmpuint(G_N_ELEMENTS(names), ==, SNAPSET_RULE_COUNT);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_cmpstr(snapset_rule_name(i), ==, names[i]);
        g_assert_true(snapset_rule_parse(names[i], &rule));
        g_assert_cmpint(rule, ==, i);
    }
    g_assert_false(snapset_rule_parse("", &rule));
    g_assert_false(snapset_rule_parse("tag", &rule));
    g_assert_false(snapset_rule_parse("tag-empty ", &rule));
    g_assert_false(snapset_rule_parse("TAG-EMPTY", &rule));
    g_assert_cmpint(rule, ==, SNAPSET_RULE_OPERATION_PENDING); /* untouched by the failures */
}

/* Two violations, each under its verdict: what is kept, and what follows. */
/* clang-format off */
static const struct {
    const char *name;
    SnapsetRule rules[2];
    SnapsetVerdict verdicts[2];
    guint kept;
    int exit_code; /* 0: not refused */
    const char *message;
} rows[] = {
    {"deny",
     {SNAPSET_RULE_ATOMIC, SNAPSET_RULE_NO_SPACE},
     {SNAPSET_DENY, SNAPSET_DENY},
     2,
     2,
     "refused [atomic]: first"},
    {"warn",
     {SNAPSET_RULE_ATOMIC, SNAPSET_RULE_NO_SPACE},
     {SNAPSET_WARN, SNAPSET_WARN},
     2,
     0,
     NULL},
    {"ignore",
     {SNAPSET_RULE_ATOMIC, SNAPSET_RULE_NO_SPACE},
     {SNAPSET_IGNORE, SNAPSET_IGNORE},
     0,
     0,
     NULL},
    {"warn-and-deny",
     {SNAPSET_RULE_ATOMIC, SNAPSET_RULE_NO_SPACE},
     {SNAPSET_WARN, SNAPSET_DENY},
     2,
     2,
     "refused [no-space]: second"},
    {"ignore-and-deny",
     {SNAPSET_RULE_ATOMIC, SNAPSET_RULE_NO_SPACE},
     {SNAPSET_IGNORE, SNAPSET_DENY},
     1,
     2,
     "refused [no-space]: second"},
    {"pending",
     {SNAPSET_RULE_OPERATION_PENDING, SNAPSET_RULE_ATOMIC},
     {SNAPSET_DENY, SNAPSET_DENY},
     2,
     3,
     "refused [operation-pending]: first"},
    {"pending-warns",
     {SNAPSET_RULE_OPERATION_PENDING, SNAPSET_RULE_ATOMIC},
     {SNAPSET_WARN, SNAPSET_WARN},
     2,
     0,
     NULL},
};
/* clang-format on */

static void
test_verdict(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    SnapsetVerdicts verdicts = {{0}};
    g_autoptr(GError) error = NULL;

    for (gsize i = 0; i < 2; i++)
        verdicts.of[rows[row].rules[i]] = rows[row].verdicts[i];
    g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);
    g_assert_false(snapset_report_is_denied(report));
    snapset_report_add(report, rows[row].rules[0], NULL, NULL, g_strdup("hint"), "%s", "first");
    snapset_report_add_image(report, rows[row].rules[1], "tag", "image", NULL, "%s", "second");
    g_assert_cmpuint(report->violations->len, ==, rows[row].kept);
    g_assert_cmpint(snapset_report_is_denied(report), ==, rows[row].exit_code != 0);
    g_assert_cmpint(snapset_report_verdict(report, &error), ==, rows[row].exit_code == 0);
    g_assert_cmpstr(error != NULL ? error->message : NULL, ==, rows[row].message);
    if (error != NULL)
        g_assert_cmpint(snapset_error_exit_code(error), ==, rows[row].exit_code);
}

static void
test_violation(void)
{
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
    g_autoptr(GPtrArray) images = g_ptr_array_new();
    g_autofree char *name = g_strdup("a");
    static const char *const expected[] = {"a", "b", NULL};
    static const char *const none[] = {NULL};

    g_ptr_array_add(images, name);
    g_ptr_array_add(images, (gpointer) "b");
    snapset_report_add(report, SNAPSET_RULE_ATOMIC, "t", images, NULL, "%d of %d", 1, 2);
    name[0] = 'z'; /* the names were copied */
    snapset_report_add(report, SNAPSET_RULE_COVERAGE, NULL, NULL, NULL, "x");
    const SnapsetViolation *first = report->violations->pdata[0];
    const SnapsetViolation *second = report->violations->pdata[1];
    g_assert_cmpstr(first->message, ==, "1 of 2");
    g_assert_cmpstr(first->tag, ==, "t");
    g_assert_null(first->hint);
    g_assert_true(g_strv_equal((const char *const *)first->images, expected));
    g_assert_null(second->tag);
    g_assert_true(g_strv_equal((const char *const *)second->images, none));
}

static void
test_exit_codes(void)
{
    static const struct {
        SnapsetErrorCode code;
        int exit_code;
    } codes[] = {
        {SNAPSET_ERROR_FAILED, 1},    {SNAPSET_ERROR_USAGE, 1},   {SNAPSET_ERROR_MALFORMED, 1},
        {SNAPSET_ERROR_NOT_QCOW2, 1}, {SNAPSET_ERROR_SHORT, 1},   {SNAPSET_ERROR_LOCKED, 1},
        {SNAPSET_ERROR_CHANGING, 1},  {SNAPSET_ERROR_NO_ROOM, 1}, {SNAPSET_ERROR_REFUSED, 2},
        {SNAPSET_ERROR_PENDING, 3},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(codes); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(snapset_throw(&error, codes[i].code, "%s", "x"));
        g_assert_cmpint(snapset_error_exit_code(error), ==, codes[i].exit_code);
    }
    g_autoptr(GError) foreign = g_error_new_literal(G_FILE_ERROR, SNAPSET_ERROR_REFUSED, "x");
    g_assert_cmpint(snapset_error_exit_code(foreign), ==, 1);
}

static void
test_throw(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(snapset_throw(NULL, SNAPSET_ERROR_FAILED, "x"));
    g_assert_false(snapset_throw_errno(&error, ENOSPC, "cannot write %s", "'a'"));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
    g_autofree char *expected = g_strdup_printf("cannot write 'a': %s", g_strerror(ENOSPC));
    g_assert_cmpstr(error->message, ==, expected);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/report/names", test_names);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/report/verdict/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_verdict);
    }
    g_test_add_func("/report/violation", test_violation);
    g_test_add_func("/report/exit-codes", test_exit_codes);
    g_test_add_func("/report/throw", test_throw);
    return g_test_run();
}
