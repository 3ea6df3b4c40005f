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
#include "common/io/file.h"
#include "common/io/qemu-img.h"
#include "common/io/source.h"

/* One image of the set on this host. */
typedef struct {
    const SnapsetSource *source;
    char *path;   /* absolute, links resolved; NULL: not a local file */
    SnapsetFd fd; /* open read-write and locked; -1: not for writing */
    gboolean is_block;
} SnapsetHandle;

typedef enum {
    SNAPSET_FOR_READING,
    SNAPSET_FOR_CHECKING,  /* reading, both copies of every record */
    SNAPSET_FOR_WRITING,   /* locked; what is in the way of writing goes into the report */
    SNAPSET_FOR_RECORDING, /* also refused where no record can be written */
    SNAPSET_FOR_REPAIRING, /* locked, and no record is too damaged */
} SnapsetAccess;

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

/* A handle for a local image, open read-write and locked. NULL with SNAPSET_ERROR_LOCKED, ... */
SnapsetHandle *snapset_handle_open(const SnapsetSource *source, GError **error);
void snapset_handle_free(SnapsetHandle *handle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetHandle, snapset_handle_free)

/* The handle as qemu-img wants it; borrows from the handle. */
SnapsetQemuTarget snapset_handle_target(const SnapsetHandle *handle);

/*
 * A copy of the image's ledger, or an empty one, to be changed and stamped. Free it.
 */
SnapsetLedger *snapset_set_ledger(const SnapsetSet *set, guint index);

/*
 * The encoded form of @ledger if it fits into image @index, if need be without the records of
 * entries that are gone. NULL with no-room in the report, or where @is_needed is FALSE without.
 */
GBytes *snapset_set_encode(SnapsetSet *set, guint index, SnapsetLedger *ledger, gboolean is_needed);

/* Put an image's name before the error's message. Returns FALSE. */
gboolean snapset_name_error(GError **error, const char *filename);

/* Tell the person something about what was done. */
void snapset_set_note(SnapsetSet *set, const char *format, ...) G_GNUC_PRINTF(2, 3);
