/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy file: whatever it says, it is understood or refused by the line. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/core/policy.h"

static void
try(const char *text, const char *domain)
{
    SnapsetPolicy policy;
    SnapsetPolicy before;
    g_autoptr(GError) error = NULL;

    memset(&policy, 0x55, sizeof policy);
    before = policy;
    if (!snapset_policy_parse(text, domain, &policy, &error)) {
        g_assert(g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED));
        g_assert(g_str_has_prefix(error->message, "line "));
        g_assert(memcmp(&policy, &before, sizeof policy) == 0);
        return;
    }
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++)
        g_assert(policy.verdicts.of[i] <= SNAPSET_IGNORE);
    g_assert(policy.guard_mode <= SNAPSET_GUARD_OFF);
    g_assert(policy.on_judge_failure == SNAPSET_DENY || policy.on_judge_failure == SNAPSET_IGNORE);
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *text = g_strndup((const char *)data, size);

    try(text, NULL);
    try(text, "a");
    return 0;
}
