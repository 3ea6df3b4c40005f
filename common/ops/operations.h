/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations over a set, one file each: all images or none.
 *
 * The caller has loaded the set with the access named here, after snapset_recover(). Each
 * operation judges everything first; when a rule denies it, it fails with SNAPSET_ERROR_REFUSED
 * before anything was changed, and set->report says why. With @dry_run it stops there, TRUE. When
 * it fails later, all images are as they were, or the error is SNAPSET_ERROR_PENDING and a journal
 * is left for snapset_recover(). After success the set is loaded anew.
 */
#pragma once

#include "common/core/selector.h"
#include "common/ops/set.h"

/* FALSE with SNAPSET_ERROR_USAGE unless @text is a description: short enough, and UTF-8. */
gboolean snapset_description_check(const char *text, GError **error);

/*
 * Have the machine go on in the overlays @paths (of const char *, parallel to the images of the
 * set): in all, or in none. FALSE with SNAPSET_ERROR_PENDING: nobody can tell which.
 */
typedef gboolean (*SnapsetOverlayUser)(GPtrArray *paths, gpointer data, GError **error);

/* How overlays are made. */
typedef struct {
    const char *folder;   /* where; NULL: beside each image */
    gboolean is_relative; /* they name their backing files relative to themselves */
    SnapsetOverlayUser
        use; /* called once a snapshot's overlays are there; NULL: nobody uses them */
    gpointer use_data;
} SnapsetOverlayOptions;

/*
 * Take a snapshot called @tag of every image; @description may be NULL. The new snapshot's
 * identity is put into *ret_identity. Access: SNAPSET_FOR_RECORDING.
 */
gboolean snapset_create(SnapsetSet *set, const char *tag, const char *description, gboolean dry_run,
                        SnapsetUuid *ret_identity, GError **error);

/*
 * The same as an external snapshot: each image is frozen, and an overlay on it takes its place in
 * the set; set->moves says which. Access: SNAPSET_FOR_OVERLAYS.
 */
gboolean snapset_create_external(SnapsetSet *set, const char *tag, const char *description,
                                 const SnapsetOverlayOptions *options, gboolean dry_run,
                                 SnapsetUuid *ret_identity, GError **error);

/*
 * Apply the snapshot that @selector names; with @save_tag (NULL: no) take a snapshot of that name
 * of every image first. Access: SNAPSET_FOR_WRITING, or _RECORDING with @save_tag.
 *
 * Of an external one new overlays are made on the frozen images, by @overlays, and take the place
 * of the images in the set, which stay what they are; set->moves says which.
 */
gboolean snapset_apply(SnapsetSet *set, const char *selector, const char *save_tag,
                       const SnapsetOverlayOptions *overlays, gboolean dry_run,
                       SnapsetUuid *ret_identity, GError **error);

/* One snapshot that was deleted. */
typedef struct {
    SnapsetUuid identity;
    char *tag;
} SnapsetDeleted;

void snapset_deleted_free(SnapsetDeleted *deleted);

/*
 * Delete the snapshot that @selector names; with @children also all that descend from it, else
 * these move to its parent. Of external ones the overlays are merged into the backing files, one
 * of which may take the image's place in the set; set->moves says which. *ret_deleted is an array
 * of SnapsetDeleted *; caller unrefs. A deletion that has begun cannot be undone, by QEMU's nature:
 * it is finished by snapset_recover(). Access: SNAPSET_FOR_WRITING.
 */
gboolean snapset_delete(SnapsetSet *set, const char *selector, gboolean children, gboolean dry_run,
                        GPtrArray **ret_deleted, GError **error);

/* Give all entries of the tag that @selector names one recorded identity. _FOR_RECORDING. */
gboolean snapset_adopt(SnapsetSet *set, const char *selector, gboolean dry_run,
                       SnapsetUuid *ret_identity, GError **error);

/*
 * Record that the images belong together as they stand, a new root, on the backing files that they
 * have. _FOR_RECORDING.
 */
gboolean snapset_accept(SnapsetSet *set, gboolean dry_run, GError **error);

/* Change the record of the snapshot that @selector names. Access: SNAPSET_FOR_RECORDING. */
gboolean snapset_protect(SnapsetSet *set, const char *selector, gboolean protect, gboolean dry_run,
                         SnapsetUuid *ret_identity, GError **error);
gboolean snapset_describe(SnapsetSet *set, const char *selector, const char *text, gboolean dry_run,
                          SnapsetUuid *ret_identity, GError **error);

/* Add every violation of the set to its report. Access: SNAPSET_FOR_CHECKING. */
void snapset_check(SnapsetSet *set);

/* Write damaged records anew. Access: SNAPSET_FOR_REPAIRING. */
gboolean snapset_repair(SnapsetSet *set, gboolean dry_run, GError **error);

typedef enum {
    SNAPSET_RECOVERY_TRY = 1 << 0,             /* dry run */
    SNAPSET_RECOVERY_WITHOUT_MISSING = 1 << 1, /* images that are not there are given up */
    SNAPSET_RECOVERY_KEEP_WRITTEN = 1 << 2,    /* an image written to since stays as it is now */
    SNAPSET_RECOVERY_IN_USE = 1 << 3, /* the images of @sources are those that the machine has */
} SnapsetRecovery;

/*
 * Finish or undo interrupted operations: those on an image of @sources, or all (NULL). TRUE when
 * none is left but those that still run, which keep their images locked. *ret_count is how many
 * there were, *ret_running (may be NULL) how many still run; @notes (of char *, may be NULL) is
 * told what was done. FALSE with SNAPSET_ERROR_PENDING when one cannot be recovered now: an image
 * is in use, or not there, or going back would lose what was written since, or it was about a
 * domain of which nobody tells which images it has now.
 */
gboolean snapset_recover(GPtrArray *sources, SnapsetRecovery how, guint *ret_count,
                         guint *ret_running, GPtrArray *notes, GError **error);

/* A random identity; of an external snapshot one that says when it was taken. */
SnapsetUuid snapset_new_identity(void);
SnapsetUuid snapset_new_external_identity(void);

/*
 * Write new ledgers and nothing else: @after holds a GBytes * or NULL for each image of the set. An
 * image that is not sealed stays so: where it stands is no more certain by this.
 */
gboolean snapset_stamp_set(SnapsetSet *set, const char *operation, GPtrArray *after,
                           GError **error);
