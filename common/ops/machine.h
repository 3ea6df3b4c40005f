/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A running QEMU as a set: its disks, file names and chains are what its monitor says.
 *
 *     machine = snapset_machine_new("unix:/tmp/qmp", NULL, &verdicts, &error)
 *     snapset_machine_load(machine, &error)
 *     ... machine->set->catalog ...
 *
 * The images are read under the running QEMU, without locks. What cannot be read here, because it
 * is remote or QEMU is on another host, is taken from QEMU's own list: then its identities are the
 * derived ones and no lineage is known.
 *
 * QEMU has the images locked, so their records cannot be written. What is done is noted in a live
 * journal (common/io/live-journal.h), which the images are shown by from then on; the records are
 * brought up to date from it once the images are closed (snapset_machine_replay()).
 */
#pragma once

#include "common/core/domain.h"
#include "common/io/live-journal.h"
#include "common/io/qmp-disks.h"
#include "common/ops/operations.h"

typedef struct {
    SnapsetQmp *qmp;
    char **wanted;         /* disks by name, NULL-terminated; NULL: all */
    GPtrArray *disks;      /* of SnapsetQmpDisk *: every disk that the guest can write to */
    GPtrArray *chosen;     /* of SnapsetQmpDisk *, borrowed, parallel to the set's images */
    SnapsetDomain *all;    /* all disks, for the rules */
    SnapsetDomain *domain; /* the chosen ones alone */
    SnapsetSet *set;       /* of these */
    GPtrArray *notes;      /* of char *: what could not be read here */
    char *journal;         /* whose live journal is this machine's: a UUID as text */
} SnapsetMachine;

/*
 * Connect to the monitor at @address; @wanted (copied; NULL: all) names the disks to work on, by
 * drive, device or node.
 */
SnapsetMachine *snapset_machine_new(const char *address, char **wanted,
                                    const SnapsetVerdicts *verdicts, GError **error);
void snapset_machine_free(SnapsetMachine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetMachine, snapset_machine_free)

/* Ask QEMU for its disks and read their images, or do so again. SNAPSET_ERROR_USAGE: no such disk.
 */
gboolean snapset_machine_load(SnapsetMachine *machine, GError **error);

/* The disk of image @index of the set. */
const SnapsetQmpDisk *snapset_machine_disk(const SnapsetMachine *machine, guint index);

/* From now on mean the chosen disks by their devices: nodes and files change. */
void snapset_machine_hold(SnapsetMachine *machine);

/*
 * A request about the chosen disks, or those of them that @snapshot (NULL: all) is on. Judged is
 * the one over all: a disk that was chosen and lacks the snapshot is left out by set-partial alone.
 */
SnapsetLiveRequest *snapset_machine_request(const SnapsetMachine *machine, SnapsetLiveKind kind,
                                            const char *tag, const SnapsetSnapshot *snapshot);

/* Report it if this QEMU does not know @command. */
void snapset_machine_check_command(SnapsetMachine *machine, const char *command);

/* Makes an event out of the machine as it is now, by the images alone. */
typedef SnapsetLiveEvent *(*SnapsetMachineEvent)(const SnapsetMachine *machine, gconstpointer data);

/* Note in the live journal what was just done, and load all again. */
gboolean snapset_machine_note(SnapsetMachine *machine, SnapsetMachineEvent make_event,
                              gconstpointer data, GError **error);

/*
 * The halves of it, for whatever machine has the live journal @journal (a UUID as text): append
 * @event, after which nobody watches the images of @set; and add to @images what it tells of them,
 * with the names that libvirt gave to external snapshots of @domain (NULL: it is not libvirt's).
 */
void snapset_machine_append(const char *journal, SnapsetSet *set, const SnapsetLiveEvent *event);
void snapset_machine_remember(const char *journal, const SnapsetDomain *domain, GPtrArray *images);

/*
 * Bring the records of closed images up to date from the live journals that tell of those of
 * @sources (NULL: of any); a journal of which an image is still in use stays as it is. @notes may
 * be NULL.
 */
gboolean snapset_machine_replay(GPtrArray *sources, GPtrArray *notes, GError **error);

/*
 * As snapset_create(), snapset_apply() and snapset_delete(), by jobs of the running QEMU; the first
 * two over internal snapshots. What a new one is known by is its derived identity.
 */
gboolean snapset_machine_create(SnapsetMachine *machine, const char *tag, gboolean dry_run,
                                SnapsetUuid *ret_identity, GError **error);
gboolean snapset_machine_apply(SnapsetMachine *machine, const char *selector, const char *save_tag,
                               gboolean dry_run, SnapsetUuid *ret_identity, GError **error);
gboolean snapset_machine_delete(SnapsetMachine *machine, const char *selector, gboolean children,
                                gboolean dry_run, GPtrArray **ret_deleted, GError **error);

/* What the names of the nodes begin with that QEMU was told to open for us. */
#define SNAPSET_NODE_PREFIX "snapshot-set-"

/*
 * The half of snapset_machine_delete() for external snapshots, children first: QEMU merges their
 * overlays into the backing files, disk by disk. What was merged stays so if another fails.
 */
gboolean snapset_machine_delete_external(SnapsetMachine *machine, GPtrArray *chosen,
                                         gboolean dry_run, GError **error);

/*
 * As snapset_create_external(): the overlays are made and stamped, and then put on top of all
 * images in one transaction. When QEMU says no to one of them none is left behind.
 */
gboolean snapset_machine_create_external(SnapsetMachine *machine, const char *tag,
                                         const char *description,
                                         const SnapsetOverlayOptions *options, gboolean dry_run,
                                         SnapsetUuid *ret_identity, GError **error);
