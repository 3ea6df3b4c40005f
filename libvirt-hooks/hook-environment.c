/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The environment that libvirt leaves out. */
#include "libvirt-hooks/hook-environment.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

static void
take_over(const char *entry)
{
    static const char *const wanted[] = {"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
                                         "XDG_STATE_HOME"};
    gsize length = strcspn(entry, "=");

    if (entry[length] == '\0')
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(wanted); i++) {
        if (strlen(wanted[i]) == length && strncmp(wanted[i], entry, length) == 0)
            g_setenv(wanted[i], entry + length + 1, FALSE);
    }
}

void
snapset_hook_complete_environment(void)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/environ", (int)getppid());
    g_autofree char *entries = NULL;
    gsize size = 0;

    if (geteuid() == 0 || !g_file_get_contents(path, &entries, &size, NULL))
        return;
    for (const char *entry = entries; entry < entries + size; entry += strlen(entry) + 1)
        take_over(entry);
}
