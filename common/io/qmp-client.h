/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of a running QEMU's monitor (QEMU, docs/interop/qmp-spec.rst).
 *
 *     qmp = snapset_qmp_connect("unix:/tmp/qmp", &error)
 *     reply = snapset_qmp_execute(qmp, "query-block", NULL, &error)
 *
 * Only connecting has a time limit: QEMU answers when it has done what it was told, and while it
 * saves a machine's state it answers nobody. When QEMU goes away, what was under way fails.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <sys/types.h>

#include "common/io/children.h"

typedef struct SnapsetQmp SnapsetQmp;

/*
 * Connect to @address, "unix:PATH" or "tcp:HOST:PORT". NULL with SNAPSET_ERROR_USAGE for another
 * address, or SNAPSET_ERROR_FAILED; also when nobody greets, because another client has the
 * monitor.
 */
SnapsetQmp *snapset_qmp_connect(const char *address, GError **error);
void snapset_qmp_free(SnapsetQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetQmp, snapset_qmp_free)

/* FALSE once QEMU went away: what became of the last command is then unknown. */
gboolean snapset_qmp_is_alive(const SnapsetQmp *qmp);

/* The process that listens, if it can be told (a Unix socket); 0: it cannot. */
pid_t snapset_qmp_peer(const SnapsetQmp *qmp);

/*
 * Have QEMU carry @command out; @arguments is a floating "a{sv}", or NULL for none. What it returns
 * is the caller's. NULL with SNAPSET_ERROR_FAILED and QEMU's own words.
 */
JsonNode *snapset_qmp_execute(SnapsetQmp *qmp, const char *command, GVariant *arguments,
                              GError **error);

/* Does this QEMU know @command? */
gboolean snapset_qmp_has_command(SnapsetQmp *qmp, const char *command);

/*
 * Have QEMU carry out @command, which starts a job, and wait for the job's end. @arguments is a
 * GVariantDict without the job's ID, consumed. @progress may be NULL. As snapset_qmp_execute(); the
 * job is gone afterwards either way.
 */
gboolean snapset_qmp_run_job(SnapsetQmp *qmp, const char *command, GVariantDict *arguments,
                             SnapsetProgress progress, gpointer data, GError **error);

/*
 * Wait for the jobs of QEMU's type @type that snapset_qmp_run_job() has started in programs that
 * were killed since; they are gone afterwards, whatever became of them.
 */
void snapset_qmp_finish_jobs(SnapsetQmp *qmp, const char *type, SnapsetProgress progress,
                             gpointer data);
