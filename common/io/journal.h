/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal of one operation over a set: written ahead, so that after a crash at any point the
 * whole operation can be finished or undone (common/ops/operations.h).
 *
 * An operation goes through phases; what a crash leaves behind follows from the phase alone:
 *
 *     make     entries called @tag are being made              -> delete them where they are
 *     apply    another snapshot is being applied               -> apply @tag, then delete it
 *     finish   all went well: doomed entries are deleted and   -> go on
 *              the new ledgers stamped
 *
 * What was written to an image, or to its record, after the crash is never undone.
 *
 * A journal is a file of GVariant text in the state folder, replaced atomically, beside a lock file
 * that the operation and its children hold: a journal whose lock is free was left by a crash.
 */
#pragma once

#include "common/core/record.h"
#include "common/io/file.h"

typedef enum {
    SNAPSET_PHASE_MAKE,
    SNAPSET_PHASE_APPLY,
    SNAPSET_PHASE_FINISH,
} SnapsetPhase;

/* An entry to be deleted; the binding tells it from a later one with the same ID and tag. */
typedef struct {
    char *id;
    char *tag;
    guint64 binding;
} SnapsetDoomed;

typedef struct {
    char *path;    /* absolute, links resolved */
    char *options; /* --image-opts of the image; NULL: none */
    guint64 device, inode;
    GPtrArray *doomed; /* of SnapsetDoomed * */
    GBytes *after;     /* the encoded ledger to stamp; NULL: leave it */
    guint64 sequence;  /* of the ledger that @after succeeds */
} SnapsetJournalImage;

typedef struct {
    char *operation; /* the command's name, for messages */
    SnapsetPhase phase;
    char *tag;          /* of the entries made; NULL: none are */
    gint64 started;     /* seconds since 1970 */
    GPtrArray *objects; /* of char *: the --object options it ran with */
    GPtrArray *images;  /* of SnapsetJournalImage * */
    char *path;         /* of the journal file */
    SnapsetFd lock;     /* held by the operation; -1: not */
} SnapsetJournal;

void snapset_journal_free(SnapsetJournal *journal); /* releases the lock, keeps the file */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetJournal, snapset_journal_free)

/* A new journal, locked; nothing is on disk but the lock until snapset_journal_write(). */
SnapsetJournal *snapset_journal_new(const char *operation, GError **error);

/* Add an image; strings are copied. The result belongs to the journal. */
SnapsetJournalImage *snapset_journal_add_image(SnapsetJournal *journal, const char *path,
                                               const char *options, guint64 device, guint64 inode);

/* Add an entry that is to be deleted from @image. */
void snapset_journal_doom(SnapsetJournalImage *image, const char *id, const char *tag,
                          guint64 binding);

/* Bring the journal to disk; it is there when TRUE is returned. */
gboolean snapset_journal_write(SnapsetJournal *journal, GError **error);

/* The operation is over: remove the journal. */
gboolean snapset_journal_remove(SnapsetJournal *journal, GError **error);

/*
 * Every journal there is, of living operations too; none of them locked. An empty array when there
 * is no state folder. NULL when one cannot be read.
 */
GPtrArray *snapset_journal_scan(GError **error);

/*
 * Take over a scanned journal: the same one, locked and as it is now. NULL without an error when
 * its operation has ended in the meantime, NULL with SNAPSET_ERROR_LOCKED while it still runs.
 */
SnapsetJournal *snapset_journal_claim(const SnapsetJournal *seen, GError **error);

/* TRUE when the journal is about the image of that path, or that device and inode. */
gboolean snapset_journal_concerns(const SnapsetJournal *journal, const char *path, guint64 device,
                                  guint64 inode);
