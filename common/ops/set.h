/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of images, loaded: for reading without any lock, or for writing with every lock held.
 *
 *     set = snapset_set_new(sources, tools, verdicts)
 *     snapset_set_load(set, SNAPSET_FOR_READING, &error)
 *     ... set->catalog ...
 *
 * What rules have to say is collected in set->report, also on the way of loading.
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/report.h"
#include "common/ops/handle.h"

typedef enum {
    SNAPSET_FOR_READING,
    SNAPSET_FOR_CHECKING,  /* reading, both copies of every record */
    SNAPSET_FOR_WRITING,   /* locked; what is in the way of writing goes into the report */
    SNAPSET_FOR_RECORDING, /* also refused where no record can be written */
    SNAPSET_FOR_OVERLAYS,  /* locked; any local file that an overlay can stand on will do */
    SNAPSET_FOR_REPAIRING, /* locked, and no record is too damaged */
} SnapsetAccess;

/* The machine's disk that @from was is @to from now on. */
typedef struct {
    char *from, *to; /* as a person names them */
} SnapsetMove;

typedef struct {
    GPtrArray *sources; /* of SnapsetSource *, owned */
    GPtrArray *handles; /* of SnapsetHandle *, parallel to sources */
    GPtrArray *images;  /* of SnapsetImage *, parallel to sources */
    SnapsetAccess access;
    SnapsetCatalog *catalog;
    SnapsetReport *report;
    SnapsetQemuTools *tools;
    SnapsetProgress progress; /* NULL: none */
    gpointer progress_data;
    GPtrArray *notes; /* of char *: what a person should be told of a change that was made */
    GPtrArray *moves; /* of SnapsetMove *: the images whose active file is, or would be, another */
} SnapsetSet;

/* Takes over @sources and @tools; @verdicts is copied. */
SnapsetSet *snapset_set_new(GPtrArray *sources, SnapsetQemuTools *tools,
                            const SnapsetVerdicts *verdicts);
void snapset_set_free(SnapsetSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetSet, snapset_set_free)

/*
 * Read all images and make the catalogue. Operations that a crash interrupted are reported as
 * operation-pending; writing commands call snapset_recover() before this.
 *
 * FALSE with SNAPSET_ERROR_FAILED and so on for an image that cannot be read at all, or with
 * SNAPSET_ERROR_USAGE when two names are one image.
 */
gboolean snapset_set_load(SnapsetSet *set, SnapsetAccess access, GError **error);

/*
 * In place of loading, and of reloading: the images of a running machine, as somebody else has read
 * them, with a source for each. Takes over both.
 */
gboolean snapset_set_take(SnapsetSet *set, GPtrArray *sources, GPtrArray *images, GError **error);

/* Report operations on the images that a crash interrupted; part of snapset_set_load(). */
void snapset_set_check_pending(SnapsetSet *set);

/* Read the images again through the locks held, and make the catalogue anew. */
gboolean snapset_set_reload(SnapsetSet *set, GError **error);

/* By the index of the image. */
const SnapsetHandle *snapset_set_handle(const SnapsetSet *set, guint index);
const SnapsetImage *snapset_set_image(const SnapsetSet *set, guint index);

/* The active file of image @index is, or will be, @to. */
void snapset_set_add_move(SnapsetSet *set, guint index, const char *to);

/*
 * Image @index is the qcow2 (or other) file @path from now on, called @name: gives up what was
 * there, with its lock. Reload the set when all are replaced.
 */
void snapset_set_replace(SnapsetSet *set, guint index, const char *path, const char *name,
                         const char *format);

/*
 * A copy of the image's ledger, or an empty one, to be changed and stamped. Free it.
 */
SnapsetLedger *snapset_set_ledger(const SnapsetSet *set, guint index);

/*
 * The encoded form of @ledger if it fits into @image, if need be without the records of entries
 * that are gone. NULL as snapset_stamp_fits().
 */
GBytes *snapset_image_encode(const SnapsetImage *image, SnapsetLedger *ledger, GError **error);

/* The same for image @index; NULL with no-room in the report, or if not @is_needed without. */
GBytes *snapset_set_encode(SnapsetSet *set, guint index, SnapsetLedger *ledger, gboolean is_needed);

/* Report @what is said against image @index by that rule; @hint may be NULL. */
void snapset_set_report(SnapsetSet *set, guint index, SnapsetRule rule, const char *hint,
                        const char *what);

/* Report image @index if it was named with options that its overlay, or a backing file, has not. */
void snapset_set_check_options(SnapsetSet *set, guint index);

/* Tell the person something about what was done. */
void snapset_set_note(SnapsetSet *set, const char *format, ...) G_GNUC_PRINTF(2, 3);
