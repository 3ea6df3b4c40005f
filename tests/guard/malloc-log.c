/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * To be preloaded: writes a line "NAME PID" for each allocation to the file $MALLOC_LOG. NAME is
 * that of the process as it calls itself (prctl).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* what these are called within the GNU C library */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void
note(void)
{
    char name[16] = "", line[64];
    int saved = errno, fd = open(getenv("MALLOC_LOG"), O_WRONLY | O_APPEND | O_CLOEXEC);

    prctl(PR_GET_NAME, name);
    int length = snprintf(line, sizeof line, "%s %d\n", name, (int)getpid());
    if (fd < 0 || write(fd, line, length) != length)
        abort();
    close(fd);
    errno = saved;
}

void *
malloc(size_t size)
{
    note();
    return __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    note();
    return __libc_calloc(count, size);
}

void *
realloc(void *block, size_t size)
{
    note();
    return __libc_realloc(block, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    note();
    return __libc_memalign(alignment, size);
}
