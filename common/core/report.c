/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules by name, and the violations an operation found. */
#include "common/core/report.h"

#include <stdarg.h>
#include <string.h>

static const char *const rule_names[] = {
    [SNAPSET_RULE_TAG_EMPTY] = "tag-empty",
    [SNAPSET_RULE_TAG_INVALID] = "tag-invalid",
    [SNAPSET_RULE_TAG_NUMERIC] = "tag-numeric",
    [SNAPSET_RULE_TAG_EXISTS] = "tag-exists",
    [SNAPSET_RULE_TAG_DUPLICATE] = "tag-duplicate",
    [SNAPSET_RULE_SELECTOR_BARE] = "selector-bare",
    [SNAPSET_RULE_SELECTOR_AMBIGUOUS] = "selector-ambiguous",
    [SNAPSET_RULE_SELECTOR_UNKNOWN] = "selector-unknown",
    [SNAPSET_RULE_IDENTITY_COLLISION] = "identity-collision",
    [SNAPSET_RULE_IDENTITY_UNPROVEN] = "identity-unproven",
    [SNAPSET_RULE_SET_PARTIAL] = "set-partial",
    [SNAPSET_RULE_SET_TOO_SMALL] = "set-too-small",
    [SNAPSET_RULE_CURRENT_MISMATCH] = "current-mismatch",
    [SNAPSET_RULE_COVERAGE] = "coverage",
    [SNAPSET_RULE_ATOMIC] = "atomic",
    [SNAPSET_RULE_CHAIN_BROKEN] = "chain-broken",
    [SNAPSET_RULE_SNAPSHOT_PROTECTED] = "snapshot-protected",
    [SNAPSET_RULE_LOAD_WOULD_FAIL] = "load-would-fail",
    [SNAPSET_RULE_NO_SPACE] = "no-space",
    [SNAPSET_RULE_NO_ROOM] = "no-room",
    [SNAPSET_RULE_IMAGE_LOCKED] = "image-locked",
    [SNAPSET_RULE_IMAGE_UNSUPPORTED] = "image-unsupported",
    [SNAPSET_RULE_RECORD_DAMAGED] = "record-damaged",
    [SNAPSET_RULE_OPERATION_PENDING] = "operation-pending",
};

G_STATIC_ASSERT(G_N_ELEMENTS(rule_names) == SNAPSET_RULE_COUNT);

const char *
snapset_rule_name(SnapsetRule rule)
{
    return rule_names[rule];
}

gboolean
snapset_rule_parse(const char *name, SnapsetRule *ret_rule)
{
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++) {
        if (strcmp(rule_names[i], name) == 0) {
            *ret_rule = i;
            return TRUE;
        }
    }
    return FALSE;
}

static void
violation_free(gpointer data)
{
    SnapsetViolation *violation = data;
    g_free(violation->message);
    g_free(violation->hint);
    g_free(violation->tag);
    g_strfreev(violation->images);
    g_free(violation);
}

SnapsetReport *
snapset_report_new(const SnapsetVerdicts *verdicts)
{
    SnapsetReport *report = g_new0(SnapsetReport, 1);
    if (verdicts != NULL)
        report->verdicts = *verdicts;
    report->violations = g_ptr_array_new_with_free_func(violation_free);
    return report;
}

void
snapset_report_free(SnapsetReport *report)
{
    if (report == NULL)
        return;
    g_ptr_array_unref(report->violations);
    g_free(report);
}

static char **
copy_names(GPtrArray *names)
{
    guint count = names != NULL ? names->len : 0;
    char **copy = g_new0(char *, count + 1);
    for (guint i = 0; i < count; i++)
        copy[i] = g_strdup(names->pdata[i]);
    return copy;
}

static void G_GNUC_PRINTF(6, 0) add(SnapsetReport *report, SnapsetRule rule, const char *tag,
                                    GPtrArray *images, char *hint, const char *format, va_list args)
{
    if (report->verdicts.of[rule] == SNAPSET_IGNORE) {
        g_free(hint);
        return;
    }
    SnapsetViolation *violation = g_new0(SnapsetViolation, 1);
    violation->rule = rule;
    violation->verdict = report->verdicts.of[rule];
    violation->message = g_strdup_vprintf(format, args);
    violation->hint = hint;
    violation->tag = g_strdup(tag);
    violation->images = copy_names(images);
    g_ptr_array_add(report->violations, violation);
}

void
snapset_report_add(SnapsetReport *report, SnapsetRule rule, const char *tag, GPtrArray *images,
                   char *hint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(report, rule, tag, images, hint, format, args);
    va_end(args);
}

void
snapset_report_add_image(SnapsetReport *report, SnapsetRule rule, const char *tag,
                         const char *image, char *hint, const char *format, ...)
{
    g_autoptr(GPtrArray) images = g_ptr_array_new();
    g_ptr_array_add(images, (gpointer)image);
    va_list args;
    va_start(args, format);
    add(report, rule, tag, images, hint, format, args);
    va_end(args);
}

gboolean
snapset_report_is_denied(const SnapsetReport *report)
{
    return !snapset_report_verdict(report, NULL);
}

gboolean
snapset_report_verdict(const SnapsetReport *report, GError **error)
{
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        if (violation->verdict != SNAPSET_DENY)
            continue;
        return snapset_throw(
            error,
            violation->rule == SNAPSET_RULE_OPERATION_PENDING ? SNAPSET_ERROR_PENDING
                                                              : SNAPSET_ERROR_REFUSED,
            "refused [%s]: %s", snapset_rule_name(violation->rule), violation->message);
    }
    return TRUE;
}
