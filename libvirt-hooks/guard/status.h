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
    const char *reason;
    int folder; /* of the files; -1: there is none */
    char name[256];
} SnapsetStatus;

#define SNAPSET_GUARDS "/guards" /* below the run folder */
enum {
    SNAPSET_RUN_FOLDER = 4096 /* longest path */
};

/* Find the run folder. */
void snapset_status_run_folder(char path[SNAPSET_RUN_FOLDER]);

/* Open the folder of the files, making it if need be, and name the file after the process @pid. */
void snapset_status_open(SnapsetStatus *status, pid_t pid);

/* Write the file anew, atomically; remove it. Failures are not told: the guard goes on. */
void snapset_status_write(const SnapsetStatus *status);
void snapset_status_remove(const SnapsetStatus *status);

/* Print all that run, and drop stale files (status-print.c). Returns the exit code. */
int snapset_status_print(int json);
