/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which guards run: a small file each, `DOMAIN-PID` in the folder `guards` of the run folder
 * ($SNAPSHOT_SET_RUN_DIR; /run/snapshot-set; for others than root, beside libvirt's own,
 * $XDG_RUNTIME_DIR/snapshot-set, without that $XDG_CACHE_HOME/snapshot-set).
 *
 * Lines of `key value`: domain, since, monitor and, once something was refused, refused (when) and
 * reason. Times are ISO 8601 in UTC. A file whose process is gone is stale.
 */
#pragma once

#include <sys/types.h>
#include <time.h>

typedef struct {
    const char *domain, *monitor;
    time_t since, refused; /* refused: 0: nothing yet */
    char reason[1024];
    int folder; /* of the files; -1: there is none */
    char name[256];
} SnapsetStatus;

#define SNAPSET_GUARDS "/guards" /* below the run folder */
enum {
    SNAPSET_RUN_FOLDER = 4096 /* longest path */
};

/* Find the run folder. */
void snapset_status_run_folder(char path[SNAPSET_RUN_FOLDER]);

/* The status of a guard that begins now, in memory that its processes share: whichever of them
 * dies, what it knew is there. Opens the folder of the files, making it if need be. NULL with errno
 * on failure. */
SnapsetStatus *snapset_status_new(const char *domain, const char *monitor);

/* From now on the guard is the process @pid: name the file after that, and remove the one before.
 */
void snapset_status_name(SnapsetStatus *status, pid_t pid);

/* Write the file anew, atomically; remove it. Failures are not told: the guard goes on. */
void snapset_status_write(const SnapsetStatus *status);
void snapset_status_remove(const SnapsetStatus *status);

/* Print all that run, and drop stale files (status-print.c). Returns the exit code. */
int snapset_status_print(int json);
