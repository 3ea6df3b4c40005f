/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy file: what it sets, and that whatever is wrong in it is named by its line. */
#include "common/core/policy.h"

#include <string.h>

static const char *const verdicts[] = {"deny", "warn", "ignore"};
static const char *const modes[] = {"required", "best-effort", "off"};

/* Everything in @policy that differs from the defaults, in the order of the rules. */
static char *
print_policy(const SnapsetPolicy *policy)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++) {
        if (policy->verdicts.of[i] != SNAPSET_DENY)
            g_string_append_printf(out, "%s=%s ", snapset_rule_name(i),
                                   verdicts[policy->verdicts.of[i]]);
    }
    if (policy->guard_mode != SNAPSET_GUARD_REQUIRED)
        g_string_append_printf(out, "mode=%s ", modes[policy->guard_mode]);
    if (policy->on_judge_failure != SNAPSET_DENY)
        g_string_append_printf(out, "on-judge-failure=%s ",
                               policy->on_judge_failure == SNAPSET_IGNORE ? "allow" : "?");
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *text, *domain, *policy;
} good[] = {
    {"empty", "", NULL, ""},
    {"comments", "# nothing\n\n   \n", NULL, ""},
    {"empty-groups", "[rules]\n[guard]\n[domain a]\n", "a", ""},
    {"rule", "[rules]\nset-partial=warn\n", NULL, "set-partial=warn "},
    {"deny", "[rules]\nset-partial=deny\n", NULL, ""},
    {"three", "[rules]\ntag-empty=warn\nno-room=ignore\natomic=deny\n", NULL,
     "tag-empty=warn no-room=ignore "},
    {"any-order", "[rules]\nno-room=ignore\natomic=deny\ntag-empty=warn\n", NULL,
     "tag-empty=warn no-room=ignore "},
    {"blanks", "[rules]\n  set-partial =  warn  \t\n", NULL, "set-partial=warn "},
    {"dos-line-ends", "[rules]\r\nset-partial=warn\r\n", NULL, "set-partial=warn "},
    {"no-last-newline", "[rules]\nset-partial=warn", NULL, "set-partial=warn "},
    {"later-line-wins", "[rules]\natomic=warn\natomic=ignore\n", NULL, "atomic=ignore "},
    {"group-twice", "[rules]\natomic=warn\n[guard]\n[rules]\ncoverage=warn\n", NULL,
     "coverage=warn atomic=warn "},
    {"guard", "[guard]\nmode=off\non-judge-failure=allow\n", NULL,
     "mode=off on-judge-failure=allow "},
    {"guard-best-effort", "[guard]\nmode=best-effort\n", NULL, "mode=best-effort "},
    {"guard-defaults", "[guard]\nmode=required\non-judge-failure=deny\n", NULL, ""},
    {"domain", "[rules]\natomic=warn\n[domain a]\natomic=deny\nmode=off\n", "a", "mode=off "},
    {"domain-first",
     "[domain a]\nmode=off\natomic=deny\n[guard]\nmode=best-effort\n"
     "[rules]\natomic=warn\n",
     "a", "mode=off "},
    {"domain-adds", "[rules]\natomic=warn\n[domain a]\ncoverage=ignore\n", "a",
     "coverage=ignore atomic=warn "},
    {"other-domain", "[rules]\natomic=warn\n[domain a]\natomic=deny\nmode=off\n", "b",
     "atomic=warn "},
    {"no-domain", "[rules]\natomic=warn\n[domain a]\natomic=deny\n", NULL, "atomic=warn "},
    {"two-domains", "[domain a]\natomic=warn\n[domain b]\natomic=ignore\n", "b", "atomic=ignore "},
    {"domain-of-part-of-the-name", "[domain aa]\natomic=warn\n", "a", ""},
    {"domain-longer", "[domain a]\natomic=warn\n", "aa", ""},
    {"domain-of-two-words", "[domain a b]\natomic=warn\n", "a b", "atomic=warn "},
    {"domain-like-a-group", "[domain rules]\natomic=warn\n", "rules", "atomic=warn "},
    {"domain-back-to-required", "[guard]\nmode=off\n[domain a]\nmode=required\n", "a", ""},
    {"domain-twice", "[domain a]\natomic=warn\n[domain a]\ncoverage=warn\n", "a",
     "coverage=warn atomic=warn "},
};

static void
test_good(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    SnapsetPolicy policy;
    g_autoptr(GError) error = NULL;

    memset(&policy, 0x55, sizeof policy);
    gboolean parsed = snapset_policy_parse(good[row].text, good[row].domain, &policy, &error);
    g_assert_no_error(error);
    g_assert_true(parsed);
    g_autofree char *text = print_policy(&policy);
    g_assert_cmpstr(text, ==, good[row].policy);
}

static const struct {
    const char *name, *text, *message;
} bad[] = {
    {"unknown-rule", "[rules]\natomic=deny\nmoon=deny\n", "line 3: unknown key 'moon'"},
    {"unknown-group", "# x\n[rules]\n\n[moon]\na=b\n", "line 4: unknown group '[moon]'"},
    {"unknown-empty-group", "[rules]\n[moon]\n", "line 2: unknown group '[moon]'"},
    {"group-of-other-case", "[Rules]\natomic=deny\n", "line 1: unknown group '[Rules]'"},
    {"group-with-blank", "[rules ]\natomic=deny\n", "line 1: unknown group '[rules ]'"},
    {"domain-without-name", "[domain]\natomic=deny\n", "line 1: unknown group '[domain]'"},
    {"value", "[rules]\natomic=maybe\n", "line 2: 'atomic' cannot be 'maybe'"},
    {"value-of-other-case", "[rules]\natomic=Deny\n", "line 2: 'atomic' cannot be 'Deny'"},
    {"value-empty", "[rules]\n\natomic=\n", "line 3: 'atomic' cannot be ''"},
    {"value-number", "[rules]\natomic=0\n", "line 2: 'atomic' cannot be '0'"},
    {"value-of-guard", "[rules]\natomic=off\n", "line 2: 'atomic' cannot be 'off'"},
    {"guard-value", "[guard]\nmode=deny\n", "line 2: 'mode' cannot be 'deny'"},
    {"judge-value", "[guard]\non-judge-failure=warn\n",
     "line 2: 'on-judge-failure' cannot be 'warn'"},
    {"rule-in-guard", "[guard]\natomic=deny\n", "line 2: unknown key 'atomic'"},
    {"guard-key-in-rules", "[rules]\nmode=off\n", "line 2: unknown key 'mode'"},
    {"key-of-other-case", "[rules]\nAtomic=deny\n", "line 2: unknown key 'Atomic'"},
    {"key-begins-like-a-rule", "[rules]\natomic-x=deny\n", "line 2: unknown key 'atomic-x'"},
    {"longer-key-before", "[rules]\ntag-exists=deny\n[domain a]\ntag-exist=deny\n",
     "line 4: unknown key 'tag-exist'"},
    {"domain-key", "[domain a]\nmoon=deny\n", "line 2: unknown key 'moon'"},
    {"domain-value", "[domain a]\nmode=on\n", "line 2: 'mode' cannot be 'on'"},
    {"other-domain", "[domain b]\natomic=no\n", "line 2: 'atomic' cannot be 'no'"},
    {"line-of-its-own-group", "[rules]\natomic=warn\n[domain b]\nmode=off\natomic=no\n",
     "line 5: 'atomic' cannot be 'no'"},
    {"blank-before-equals", "[rules]\n\n  moon  = deny\n", "line 3: unknown key 'moon'"},
    {"dos-line-ends", "[rules]\r\natomic=no\r\n", "line 2: 'atomic' cannot be 'no'"},
    {"same-key-twice", "[rules]\natomic=warn\natomic=no\n", "line 3: 'atomic' cannot be 'no'"},
    {"group-twice", "[rules]\natomic=warn\n[guard]\n[rules]\nmoon=deny\n",
     "line 5: unknown key 'moon'"},
    {"translated-key", "[rules]\natomic[de]=deny\n", "line 2: unknown key 'atomic[de]'"},
    {"latin-1", "[rules]\natomic=\xe9\n", "line 2:"},
    {"not-utf-8-group", "[\xff]\n", "line 1:"},
    /* what GKeyFile itself finds wrong */
    {"no-group", "atomic=deny\n", "line 1:"},
    {"no-group-after-comment", "# x\n\natomic=deny\n", "line 3:"},
    {"no-equals-sign", "[rules]\natomic\n", "line 2:"},
    {"no-key", "[rules]\natomic=deny\n=deny\n", "line 3:"},
    {"open-bracket", "[rules]\n[guard\nmode=off\n", "line 2:"},
    {"empty-group", "[]\n", "line 1:"},
    {"encoding", "[rules]\nEncoding=latin1\n", "line 2:"},
};

static void
test_bad(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    SnapsetPolicy policy;
    SnapsetPolicy before;
    g_autoptr(GError) error = NULL;

    memset(&policy, 0x55, sizeof policy);
    before = policy;
    gboolean parsed = snapset_policy_parse(bad[row].text, "a", &policy, &error);
    g_assert_false(parsed);
    g_assert_nonnull(error);
    if (strstr(error->message, bad[row].message) == NULL)
        g_assert_cmpstr(error->message, ==, bad[row].message);
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
    g_assert_cmpmem(&policy, sizeof policy, &before, sizeof before);
}

/* Every rule can be set, and sets itself and nothing else. */
static void
test_every_rule(void)
{
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++) {
        for (guint j = 0; j < G_N_ELEMENTS(verdicts); j++) {
            SnapsetPolicy policy;
            g_autofree char *text =
                g_strdup_printf("[rules]\n%s=%s\n", snapset_rule_name(i), verdicts[j]);
            g_assert_true(snapset_policy_parse(text, NULL, &policy, NULL));
            for (guint k = 0; k < SNAPSET_RULE_COUNT; k++)
                g_assert_cmpint(policy.verdicts.of[k], ==, k == i ? j : SNAPSET_DENY);
        }
    }
}

/* The groups of a file may stand in any order. */
static void
test_group_order(void)
{
    static const char *const groups[] = {
        "[rules]\natomic=warn\ncoverage=warn\n",
        "[guard]\nmode=off\n",
        "[domain a]\natomic=ignore\nmode=best-effort\n",
        "[domain b]\natomic=deny\non-judge-failure=allow\n",
    };
    static const struct {
        const char *domain, *policy;
    } rows[] = {
        {NULL, "coverage=warn atomic=warn mode=off "},
        {"a", "coverage=warn atomic=ignore mode=best-effort "},
        {"b", "coverage=warn mode=off on-judge-failure=allow "},
        {"c", "coverage=warn atomic=warn mode=off "},
    };
    for (guint order = 0; order < 256; order++) {
        guint at[] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6};
        if ((1 << at[0] | 1 << at[1] | 1 << at[2] | 1 << at[3]) != 15)
            continue; /* not a permutation */
        g_autofree char *text =
            g_strconcat(groups[at[0]], groups[at[1]], groups[at[2]], groups[at[3]], NULL);
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
            SnapsetPolicy policy;
            g_assert_true(snapset_policy_parse(text, rows[i].domain, &policy, NULL));
            g_autofree char *printed = print_policy(&policy);
            g_assert_cmpstr(printed, ==, rows[i].policy);
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = g_strdup_printf("/policy/good/%s", good[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_good);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *path = g_strdup_printf("/policy/bad/%s", bad[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_bad);
    }
    g_test_add_func("/policy/every-rule", test_every_rule);
    g_test_add_func("/policy/group-order", test_group_order);
    return g_test_run();
}
