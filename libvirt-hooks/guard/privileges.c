/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See privileges.h. */
#include "libvirt-hooks/guard/privileges.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CAPABILITIES = 64
};

/* QEMU's socket, the folder where it and ours stand, and the images belong to the user that QEMU
 * runs as: the keeper connects and removes there, the judge reads there. */
static const uint32_t file_privileges = 1u << CAP_DAC_OVERRIDE;

void
snapset_protect_from_oom_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    /* without the privilege it stays what it was */
    if (write(fd, "-1000", 5) == 5) {
    }
    close(fd);
}

/* Of the process's own capabilities keep those in @mask, and use those in @use. */
static void
keep(uint32_t mask, uint32_t use)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return;
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= i == 0 ? mask : 0;
        data[i].effective = data[i].permitted & use;
        data[i].inheritable = 0;
    }
    syscall(SYS_capset, &header, data);
}

void
snapset_keep_file_privileges(void)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int i = 0; i < CAPABILITIES; i++)
        if (i >= 32 || !(file_privileges >> i & 1))
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    keep(file_privileges, file_privileges);
}

void
snapset_lower_privileges(void)
{
    keep(file_privileges, 0);
}

void
snapset_raise_privileges(void)
{
    keep(file_privileges, file_privileges);
}
