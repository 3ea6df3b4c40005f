/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy of this host. */
#include "common/ops/policy-file.h"

#include <sys/stat.h>

/* Reading a pipe would wait for somebody to write into it. */
static gboolean
is_pipe(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
}

SnapsetPolicy
snapset_policy_load(const char *domain, char **ret_complaint)
{
    const char *path = g_getenv("SNAPSHOT_SET_POLICY");
    g_autofree char *text = NULL;
    g_autoptr(GError) failure = NULL;
    SnapsetPolicy policy = SNAPSET_POLICY_DEFAULT;

    *ret_complaint = NULL;
    if (path == NULL || *path == '\0')
        path = SNAPSET_POLICY_FILE;
    if (is_pipe(path)) {
        *ret_complaint = g_strdup_printf("'%s' is a pipe; the default policy is used", path);
        return policy;
    }
    if (!g_file_get_contents(path, &text, NULL, &failure)) {
        if (!g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            *ret_complaint = g_strdup_printf("%s; the default policy is used", failure->message);
        return policy;
    }
    if (!snapset_policy_parse(text, domain, &policy, &failure)) {
        *ret_complaint =
            g_strdup_printf("%s: %s; the default policy is used", path, failure->message);
        return SNAPSET_POLICY_DEFAULT;
    }
    return policy;
}
