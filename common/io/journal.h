/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal of one operation over a set: written ahead, so that after a crash at any point the
 * whole operation can be finished or undone (common/ops/operations.h).
 *
 * An operation goes through phases; what a crash leaves behind follows from the phase alone:
 *
 *     make     entries called @tag, or overlays, are being     -> delete them where they are, and
 *              made and backing files frozen                      thaw the backing files
 *     apply    another snapshot is being applied               -> apply @tag, then delete it
 *     merge    overlays are written into their backing files   -> do it again, and go on
 *     finish   all went well: doomed entries are deleted,      -> go on
 *              backing files named, the new ledgers stamped,
 *              overlays given their names, merged ones removed
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
    SNAPSET_PHASE_MERGE,
    SNAPSET_PHASE_FINISH,
} SnapsetPhase;

/* An entry to be deleted; the binding tells it from a later one with the same ID and tag. */
typedef struct {
    char *id;
    char *tag;
    guint64 binding;
} SnapsetDoomed;

/* A file that is made on top of an image. */
typedef struct {
    char *temporary;       /* the name it is made under; nobody else has a use for that */
    char *path;            /* the name it gets once all are made, in the same folder */
    guint64 device, inode; /* both 0: it is not known to have been made */
} SnapsetJournalOverlay;

typedef struct {
    char *path;    /* absolute, links resolved */
    char *options; /* --image-opts of the image; NULL: none */
    char *format;  /* QEMU's name */
    guint64 device, inode;
    GPtrArray *doomed; /* of SnapsetDoomed * */
    GBytes *after;     /* the encoded ledger to stamp; NULL: leave it */
    guint64 sequence;  /* of the ledger that @after succeeds */
    GBytes *before; /* the encoded ledger to go back to from @after; NULL: there is no way back */
    gboolean is_sealed;             /* before the operation */
    SnapsetJournalOverlay *overlay; /* NULL: none is made */
    char *commit_into;       /* the file that its data go into, as qemu-img is told; NULL: none */
    gboolean is_active;      /* a machine writes to it, not to an overlay of it */
    gboolean is_merged_into; /* the data of others go into it */
    gboolean is_removed;     /* its file goes in the end */
    char *backing;           /* what its backing file is to be called; NULL: as it is */
    char *backing_format;    /* with @backing: QEMU's name */
} SnapsetJournalImage;

typedef struct {
    char *operation; /* the command's name, for messages */
    SnapsetPhase phase;
    char *tag;               /* of the entries made; NULL: none are */
    gboolean is_handed_over; /* in phase finish others are asked to go on in the overlays */
    gint64 started;          /* seconds since 1970 */
    GPtrArray *objects;      /* of char *: the --object options it ran with */
    GPtrArray *images;       /* of SnapsetJournalImage * */
    char *path;              /* of the journal file */
    SnapsetFd lock;          /* held by the operation; -1: not */
} SnapsetJournal;

void snapset_journal_free(SnapsetJournal *journal); /* releases the lock, keeps the file */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetJournal, snapset_journal_free)

/* A new journal, locked; nothing is on disk but the lock until snapset_journal_write(). */
SnapsetJournal *snapset_journal_new(const char *operation, GError **error);

/* Add a qcow2 image; strings are copied. The result belongs to the journal. */
SnapsetJournalImage *snapset_journal_add_image(SnapsetJournal *journal, const char *path,
                                               const char *options, guint64 device, guint64 inode);

/* An overlay is to be made on @image: at @path, under the name @temporary to begin with. */
void snapset_journal_add_overlay(SnapsetJournalImage *image, const char *temporary,
                                 const char *path);

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

/*
 * TRUE when the journal is about the image of that path, or that device and inode (0: a block
 * device, of which only the path counts), or about an overlay that is.
 */
gboolean snapset_journal_concerns(const SnapsetJournal *journal, const char *path, guint64 device,
                                  guint64 inode);

/* The same of the file that @path leads to now, by whatever name; FALSE when there is none. */
gboolean snapset_journal_concerns_file(const SnapsetJournal *journal, const char *path);
