/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See log.h. */
#include "libvirt-hooks/guard/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

void
snapset_log_line(const char *program, int priority, const char *format, ...)
{
    struct sockaddr_un log = {.sun_family = AF_UNIX, .sun_path = _PATH_LOG};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char line[4096];
    int head =
        snprintf(line, sizeof line, "<%d>%s[%d]: ", LOG_DAEMON | priority, program, (int)getpid());
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + head, sizeof line - head, format, arguments);
    va_end(arguments);
    if (fd < 0)
        return;
    sendto(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&log,
           sizeof log);
    close(fd);
}
