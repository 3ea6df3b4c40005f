/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules by name, what policy says of each, and the violations an operation found.
 *
 * An operation fills a report with everything it finds, not only the first; when
 * snapset_report_is_denied() it stops before anything is changed and fails with
 * SNAPSET_ERROR_REFUSED. Front ends print the report.
 */
#pragma once

#include "common/core/error.h"

typedef enum {
    SNAPSET_RULE_TAG_EMPTY,
    SNAPSET_RULE_TAG_INVALID,
    SNAPSET_RULE_TAG_NUMERIC,
    SNAPSET_RULE_TAG_EXISTS,
    SNAPSET_RULE_TAG_DUPLICATE,
    SNAPSET_RULE_SELECTOR_BARE,
    SNAPSET_RULE_SELECTOR_AMBIGUOUS,
    SNAPSET_RULE_SELECTOR_UNKNOWN,
    SNAPSET_RULE_IDENTITY_COLLISION,
    SNAPSET_RULE_IDENTITY_UNPROVEN,
    SNAPSET_RULE_SET_PARTIAL,
    SNAPSET_RULE_SET_TOO_SMALL,
    SNAPSET_RULE_CURRENT_MISMATCH,
    SNAPSET_RULE_COVERAGE,
    SNAPSET_RULE_ATOMIC,
    SNAPSET_RULE_CHAIN_BROKEN,
    SNAPSET_RULE_SNAPSHOT_PROTECTED,
    SNAPSET_RULE_LOAD_WOULD_FAIL,
    SNAPSET_RULE_NO_SPACE,
    SNAPSET_RULE_NO_ROOM,
    SNAPSET_RULE_IMAGE_LOCKED,
    SNAPSET_RULE_IMAGE_UNSUPPORTED,
    SNAPSET_RULE_RECORD_DAMAGED,
    SNAPSET_RULE_OPERATION_PENDING,
    SNAPSET_RULE_COUNT,
} SnapsetRule;

/* The rule's stable name, as in messages, JSON and the policy file. */
const char *snapset_rule_name(SnapsetRule rule);

/* FALSE when there is no rule of that name. */
gboolean snapset_rule_parse(const char *name, SnapsetRule *ret_rule) G_GNUC_WARN_UNUSED_RESULT;

typedef enum {
    SNAPSET_DENY,   /* the operation is refused */
    SNAPSET_WARN,   /* it goes on, and the violation is shown */
    SNAPSET_IGNORE, /* it goes on silently */
} SnapsetVerdict;

/* One verdict a rule; all zero is the default: deny. */
typedef struct {
    SnapsetVerdict of[SNAPSET_RULE_COUNT];
} SnapsetVerdicts;

typedef struct {
    SnapsetRule rule;
    SnapsetVerdict verdict; /* DENY or WARN */
    char *message;          /* one line, no full stop */
    char *hint;             /* what resolves it; NULL: nothing does */
    char *tag;              /* NULL: not about one tag */
    char **images;          /* file names, NULL-terminated */
} SnapsetViolation;

typedef struct {
    SnapsetVerdicts verdicts;
    GPtrArray *violations; /* of SnapsetViolation * */
} SnapsetReport;

/* An empty report that judges by @verdicts (NULL: all deny). */
SnapsetReport *snapset_report_new(const SnapsetVerdicts *verdicts);
void snapset_report_free(SnapsetReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetReport, snapset_report_free)

/*
 * Add a violation, unless the rule is ignored. @tag may be NULL; @images are file names, copied,
 * or NULL; @hint is taken over and may be NULL.
 */
void snapset_report_add(SnapsetReport *report, SnapsetRule rule, const char *tag, GPtrArray *images,
                        char *hint, const char *format, ...) G_GNUC_PRINTF(6, 7);

/* The same about one image. */
void snapset_report_add_image(SnapsetReport *report, SnapsetRule rule, const char *tag,
                              const char *image, char *hint, const char *format, ...)
    G_GNUC_PRINTF(6, 7);

/* TRUE when some violation is denied. */
gboolean snapset_report_is_denied(const SnapsetReport *report);

/* FALSE, with SNAPSET_ERROR_REFUSED (or PENDING), when some violation is denied. */
gboolean snapset_report_verdict(const SnapsetReport *report, GError **error);
