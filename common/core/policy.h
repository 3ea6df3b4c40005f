/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy file: which rules deny, which warn.
 *
 *     [rules]            RULE=deny|warn|ignore
 *     [guard]            mode=required|best-effort|off   on-judge-failure=deny|allow
 *     [domain NAME]      any key of both, for that domain
 *
 * Unknown groups, keys and values are errors that name the line; the caller then uses the defaults
 * (all deny, guard required) and says so.
 */
#pragma once

#include "common/core/report.h"

typedef enum {
    SNAPSET_GUARD_REQUIRED,    /* a domain whose guard cannot be inserted does not start */
    SNAPSET_GUARD_BEST_EFFORT, /* it starts unguarded */
    SNAPSET_GUARD_OFF,
} SnapsetGuardMode;

typedef struct {
    SnapsetVerdicts verdicts;
    SnapsetGuardMode guard_mode;
    SnapsetVerdict on_judge_failure; /* DENY, or IGNORE for "allow" */
} SnapsetPolicy;

/* The defaults. */
#define SNAPSET_POLICY_DEFAULT ((SnapsetPolicy){0})

/*
 * Parse a policy file's @text for @domain (NULL: no domain). FALSE, with SNAPSET_ERROR_FAILED and
 * a message that names the line, when it is broken anywhere; *ret_policy is then untouched.
 */
gboolean snapset_policy_parse(const char *text, const char *domain, SnapsetPolicy *ret_policy,
                              GError **error);
