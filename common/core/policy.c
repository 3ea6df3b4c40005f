/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy file: which rules deny, which warn. */
#include "common/core/policy.h"

#include <string.h>

static const char *const verdict_names[] = {"deny", "warn", "ignore", NULL};
static const char *const mode_names[] = {"required", "best-effort", "off", NULL};
static const char *const failure_names[] = {"deny", "allow", NULL};

static gboolean
find_name(const char *const *names, const char *name, guint *ret_index)
{
    for (guint i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret_index = i;
            return TRUE;
        }
    }
    return FALSE;
}

/* GKeyFile keeps no line numbers: find the line of @key in @group again. 0: not found. */
static guint
line_of(const char *text, const char *group, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *header = g_strdup_printf("[%s]", group);
    gboolean inside = FALSE;
    guint found = 0; /* the last one counts */

    for (guint i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]);
        if (line[0] == '[')
            inside = strcmp(line, header) == 0;
        if (inside && key == NULL)
            return i + 1;
        gsize length = key != NULL ? strlen(key) : 0;
        if (inside && key != NULL && strncmp(line, key, length) == 0 &&
            strchr("= \t", line[length]) != NULL && line[length] != '\0')
            found = i + 1;
    }
    return found;
}

static gboolean
set_guard_key(SnapsetPolicy *policy, const char *key, const char *value, gboolean *ret_known)
{
    guint index = 0;

    *ret_known = TRUE;
    if (strcmp(key, "mode") == 0) {
        if (!find_name(mode_names, value, &index))
            return FALSE;
        policy->guard_mode = index;
        return TRUE;
    }
    if (strcmp(key, "on-judge-failure") == 0) {
        if (!find_name(failure_names, value, &index))
            return FALSE;
        policy->on_judge_failure = index == 0 ? SNAPSET_DENY : SNAPSET_IGNORE;
        return TRUE;
    }
    *ret_known = FALSE;
    return FALSE;
}

static gboolean
set_rule_key(SnapsetPolicy *policy, const char *key, const char *value, gboolean *ret_known)
{
    SnapsetRule rule;
    guint index = 0;

    *ret_known = snapset_rule_parse(key, &rule);
    if (!*ret_known || !find_name(verdict_names, value, &index))
        return FALSE;
    policy->verdicts.of[rule] = index;
    return TRUE;
}

typedef enum {
    GROUP_RULES = 1 << 0,
    GROUP_GUARD = 1 << 1,
} GroupKeys;

static gboolean
read_group(GKeyFile *file, const char *text, const char *group, GroupKeys keys,
           SnapsetPolicy *policy, GError **error)
{
    g_auto(GStrv) names = g_key_file_get_keys(file, group, NULL, error);
    if (names == NULL)
        return FALSE;
    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *raw = g_key_file_get_value(file, group, names[i], NULL);
        const char *value = g_strstrip(raw);
        gboolean known = FALSE;
        gboolean set = FALSE;
        if (keys & GROUP_RULES)
            set = set_rule_key(policy, names[i], value, &known);
        if (!known && (keys & GROUP_GUARD))
            set = set_guard_key(policy, names[i], value, &known);
        if (set)
            continue;
        guint line = line_of(text, group, names[i]);
        if (!known)
            return snapset_throw(error, SNAPSET_ERROR_FAILED, "line %u: unknown key '%s'", line,
                                 names[i]);
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "line %u: '%s' cannot be '%s'", line,
                             names[i], value);
    }
    return TRUE;
}

/* GKeyFile does not say where it stopped: at the last line of the shortest text that it refuses. */
static gboolean
load(GKeyFile *file, const char *text, GError **error)
{
    g_autoptr(GError) failure = NULL;
    const char *end = text;

    if (g_key_file_load_from_data(file, text, -1, G_KEY_FILE_KEEP_TRANSLATIONS, &failure))
        return TRUE;
    for (guint line = 1;; line++) {
        g_autoptr(GKeyFile) part = g_key_file_new();
        end += strcspn(end, "\n");
        end += *end == '\n';
        if (*end == '\0' ||
            !g_key_file_load_from_data(part, text, end - text, G_KEY_FILE_NONE, NULL))
            return snapset_throw(error, SNAPSET_ERROR_FAILED, "line %u: %s", line,
                                 failure->message);
    }
}

gboolean
snapset_policy_parse(const char *text, const char *domain, SnapsetPolicy *ret_policy,
                     GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    SnapsetPolicy policy = SNAPSET_POLICY_DEFAULT;
    SnapsetPolicy other = SNAPSET_POLICY_DEFAULT;
    const char *own_group = NULL;

    if (!load(file, text, error))
        return FALSE;
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (guint i = 0; groups[i] != NULL; i++) {
        gboolean read;
        if (strcmp(groups[i], "rules") == 0) {
            read = read_group(file, text, groups[i], GROUP_RULES, &policy, error);
        } else if (strcmp(groups[i], "guard") == 0) {
            read = read_group(file, text, groups[i], GROUP_GUARD, &policy, error);
        } else if (g_str_has_prefix(groups[i], "domain ")) {
            read = read_group(file, text, groups[i], GROUP_RULES | GROUP_GUARD, &other, error);
            if (domain != NULL && strcmp(groups[i] + strlen("domain "), domain) == 0)
                own_group = groups[i];
        } else {
            return snapset_throw(error, SNAPSET_ERROR_FAILED, "line %u: unknown group '[%s]'",
                                 line_of(text, groups[i], NULL), groups[i]);
        }
        if (!read)
            return FALSE;
    }
    /* A domain's group wins wherever it stands in the file. */
    if (own_group != NULL &&
        !read_group(file, text, own_group, GROUP_RULES | GROUP_GUARD, &policy, error))
        return FALSE;
    *ret_policy = policy;
    return TRUE;
}
