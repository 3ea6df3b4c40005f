/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Putting the guard in front of a domain's monitor. */
#include "libvirt-hooks/hook-guard.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/error.h"

#define MONITOR_SOCKET "monitor.sock"

/* libvirt's folder for running machines: of the system, or of the user. */
static char *
library_folder(void)
{
    if (geteuid() == 0)
        return g_strdup("/var/lib/libvirt/qemu");
    return g_build_filename(g_get_user_config_dir(), "libvirt/qemu/lib", NULL);
}

/* libvirt names a machine's folder domain-ID-NAME, where NAME is cut; the ID alone is unique. */
static char *
monitor_path(const SnapsetDomain *domain)
{
    g_autofree char *library = library_folder();
    g_autofree char *prefix = g_strdup_printf("domain-%s-", domain->id);
    g_autoptr(GDir) dir = g_dir_open(library, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_prefix(name, prefix))
            continue;
        g_autofree char *path = g_build_filename(library, name, MONITOR_SOCKET, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&path);
    }
    return NULL;
}

/* Our programs are installed side by side; where they were built, one of them has its own folder.
 */
static char *
sibling(const char *program)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self != NULL ? g_path_get_dirname(self) : g_strdup("/usr/sbin");
    g_autofree char *built = g_build_filename(folder, "guard", program, NULL);

    if (g_file_test(built, G_FILE_TEST_IS_EXECUTABLE))
        return g_steal_pointer(&built);
    return g_build_filename(folder, program, NULL);
}

gboolean
snapset_hook_insert_guard(const SnapsetDomain *domain, const SnapsetPolicy *policy, GError **error)
{
    g_autofree char *monitor = domain->id != NULL ? monitor_path(domain) : NULL;
    g_autofree char *guard = sibling("snapshot-set-guard");
    g_autofree char *judge = sibling("snapshot-set-judge");
    g_autofree char *complaint = NULL;
    g_autoptr(GError) failure = NULL;
    int status = 0;

    if (monitor == NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "the machine's monitor socket was not found");
    const char *argv[] = {guard,
                          "run",
                          "--monitor",
                          monitor,
                          "--domain",
                          domain->name,
                          "--judge",
                          judge,
                          "--on-judge-failure",
                          policy->on_judge_failure == SNAPSET_DENY ? "deny" : "allow",
                          NULL};
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                      &complaint, &status, &failure))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", failure->message);
    if (status != 0)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "the guard did not start: %s",
                             g_strstrip(complaint));
    return TRUE;
}

/* ---- the command line of the QEMU that runs ---- */

static char *
pid_of(const SnapsetDomain *domain)
{
    g_autofree char *file = g_strconcat(domain->name, ".pid", NULL);
    g_autofree char *path =
        geteuid() == 0 ? g_build_filename("/run/libvirt/qemu", file, NULL)
                       : g_build_filename(g_get_user_runtime_dir(), "libvirt/qemu/run", file, NULL);
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    return g_strstrip(text);
}

char *
snapset_hook_loaded_tag(const SnapsetDomain *domain)
{
    g_autofree char *pid = domain->name != NULL ? pid_of(domain) : NULL;
    g_autofree char *path = pid != NULL ? g_build_filename("/proc", pid, "cmdline", NULL) : NULL;
    g_autofree char *line = NULL;
    gsize size = 0;

    if (path == NULL || !g_file_get_contents(path, &line, &size, NULL))
        return NULL;
    for (const char *word = line; word < line + size; word += strlen(word) + 1) {
        const char *next = word + strlen(word) + 1;
        if (strcmp(word, "-loadvm") == 0 && next < line + size)
            return g_strdup(next);
    }
    return NULL;
}
