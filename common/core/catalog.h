/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The snapshots of a set: the entries of all its images, put together by identity.
 *
 * A catalogue borrows its images, which must outlive it, and never changes after it was made.
 */
#pragma once

#include "common/core/image.h"

typedef enum {
    SNAPSET_COMPLETE,  /* every image has it */
    SNAPSET_PARTIAL,   /* some images lack it */
    SNAPSET_COLLIDING, /* an image that lacks it has another moment under the same tag */
    SNAPSET_UNPROVEN,  /* same tag, look made by one operation, but nothing proves it */
} SnapsetStanding;

/* "complete", "partial", "colliding", "unproven". */
const char *snapset_standing_name(SnapsetStanding standing);

typedef enum {
    SNAPSET_PARENT_NONE,     /* nothing is recorded */
    SNAPSET_PARENT_RECORDED, /* by records; with no parent: a root */
    SNAPSET_PARENT_LIBVIRT,  /* likewise, as libvirt's own metadata had it */
    SNAPSET_PARENT_INFERRED, /* recorded while nothing proved where the image stood */
} SnapsetParentSource;

/* "none", "recorded", "libvirt", "inferred". */
const char *snapset_parent_source_name(SnapsetParentSource source);

/* One image's entry of a snapshot. */
typedef struct {
    guint image; /* index into the catalogue's images */
    guint link;  /* where in that image's chain the entry stands: 0 is the image itself */
    const SnapsetEntry *entry;
} SnapsetMember;

typedef struct SnapsetSnapshot SnapsetSnapshot;
struct SnapsetSnapshot {
    SnapsetUuid identity; /* of the first member, where they differ (unproven) */
    const char *tag;
    SnapsetStanding standing;
    gboolean is_recorded; /* the identity stands in a record of some image */
    gboolean is_protected;
    guint covers;            /* images it was taken over, as recorded; 0: unknown */
    const char *description; /* NULL: none */
    GArray *members;         /* of SnapsetMember, by image, one an image */
    SnapsetSnapshot *parent; /* NULL: none known */
    SnapsetParentSource parent_source;
    GPtrArray *parent_candidates; /* of SnapsetSnapshot *, when the images disagree; else NULL */
    gboolean is_current;
    guint index; /* in the catalogue */
};

typedef struct {
    GPtrArray *images;       /* of SnapsetImage *, borrowed */
    GPtrArray *snapshots;    /* of SnapsetSnapshot *, by date */
    GHashTable *by_identity; /* SnapsetUuid * to SnapsetSnapshot *, identities of all members */
    GHashTable *colliding;   /* a tag to its colliding snapshots, GPtrArray of SnapsetSnapshot * */
    GArray *currents;        /* of SnapsetSnapshot *, one an image; NULL: none or not found */
} SnapsetCatalog;

SnapsetCatalog *snapset_catalog_new(GPtrArray *images);
void snapset_catalog_free(SnapsetCatalog *catalog);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetCatalog, snapset_catalog_free)

/* By their indexes. */
const SnapsetImage *snapset_catalog_image(const SnapsetCatalog *catalog, guint index);
SnapsetSnapshot *snapset_catalog_snapshot(const SnapsetCatalog *catalog, guint index);
const SnapsetMember *snapset_snapshot_member(const SnapsetSnapshot *snapshot, guint index);

/* What image @index has of it; NULL: that image lacks the snapshot. */
const SnapsetMember *snapset_snapshot_find(const SnapsetSnapshot *snapshot, guint index);

/* Its entry alone; NULL likewise. */
const SnapsetEntry *snapset_snapshot_entry(const SnapsetSnapshot *snapshot, guint index);

/* File names of the images that have, or lack, the snapshot; strings borrowed, array owned. */
GPtrArray *snapset_catalog_having(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot);
GPtrArray *snapset_catalog_missing(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot);

/* The snapshot with exactly that identity; NULL: none. */
SnapsetSnapshot *snapset_catalog_find(const SnapsetCatalog *catalog, const SnapsetUuid *identity);

/* The largest VM state among the members, which is the one disk that holds it. */
guint64 snapset_snapshot_vm_state_size(const SnapsetSnapshot *snapshot);

/* An overlay of each image instead of an entry? The members of one snapshot are of one kind. */
gboolean snapset_snapshot_is_external(const SnapsetSnapshot *snapshot);

/* Does it stand only inside backing files, where QEMU neither applies nor deletes it? */
gboolean snapset_snapshot_is_buried(const SnapsetSnapshot *snapshot);

/*
 * The file that holds the state of @member: the image or backing file that its entry stands in; of
 * an external one the overlay's backing file. NULL: the chain ends before it.
 */
const SnapsetImage *snapset_catalog_holder(const SnapsetCatalog *catalog,
                                           const SnapsetMember *member);

/* The first member's moment: what lists show as date and VM clock. */
const SnapsetMoment *snapset_snapshot_moment(const SnapsetSnapshot *snapshot);
