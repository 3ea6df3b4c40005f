/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lineage: which snapshot each came from, and where the images stand, as recorded.
 *
 * A record whose entry another tool deleted is climbed over, to the nearest ancestor that still
 * exists.
 */
#pragma once

#include "common/core/catalog.h"

/* Fill in parents and currents; part of snapset_catalog_new(). */
void snapset_lineage_resolve(SnapsetCatalog *catalog);

/*
 * TRUE when images @a and @b stand at the same point: the same recorded UUID, or two that name
 * entries which are, or may be, the same moment. An image that records none stands anywhere.
 */
gboolean snapset_lineage_agree(const SnapsetCatalog *catalog, guint a, guint b);

/*
 * What a new entry of image @index has as its parent: the image's current, or where it records
 * none that of the first image that does; nil: none does.
 *
 * *ret_inferred tells that nothing proves the image still stands there: its seal is broken, and it
 * is no overlay on just that snapshot, without entries of its own.
 */
SnapsetUuid snapset_lineage_next_parent(const SnapsetCatalog *catalog, guint index,
                                        gboolean *ret_inferred);

/* Every snapshot that descends from @ancestor, children after their parents; owned array. */
GPtrArray *snapset_lineage_descendants(const SnapsetCatalog *catalog,
                                       const SnapsetSnapshot *ancestor);

/* ---- changes to a ledger; the caller works on a copy ---- */

/*
 * Such a copy of @image's ledger, or an empty one. What says that the image is frozen is not in it
 * unless its seal proves that nobody has written to it.
 */
SnapsetLedger *snapset_lineage_ledger(const SnapsetImage *image);

/* The record of @entry, made with its derived identity if there is none; borrowed. */
SnapsetRecord *snapset_lineage_record(SnapsetLedger *ledger, const SnapsetEntry *entry);

/*
 * The record of @entry, under the identity that it now has in all @members images; borrowed. What
 * names the old one is not re-pointed.
 */
SnapsetRecord *snapset_lineage_adopt(SnapsetLedger *ledger, const SnapsetEntry *entry,
                                     const SnapsetUuid *identity, guint members);

/*
 * What libvirt has as the parent of the snapshot of @record (nil: none), unless the record knows
 * better.
 */
void snapset_lineage_take_parent(SnapsetRecord *record, const SnapsetUuid *parent);

/* Take @identity out: its children move to its parent, and so does current. */
void snapset_lineage_remove(SnapsetLedger *ledger, const SnapsetUuid *identity);

/* The same for a snapshot that @gone records, in whatever ledger that stands. */
void snapset_lineage_forget(SnapsetLedger *ledger, const SnapsetRecord *gone);

/* Every parent and the current that name @from shall name @to. */
void snapset_lineage_repoint(SnapsetLedger *ledger, const SnapsetUuid *from, const SnapsetUuid *to);

/*
 * What is common to the records of one external snapshot: a tag, an identity made by
 * snapset_uuid_from_time(), and how many images it covers.
 */
typedef struct {
    const char *tag;
    const char *description; /* NULL: none */
    SnapsetUuid identity;
    guint members;
} SnapsetExternal;

/*
 * The ledger of a new overlay: its backing file is @external, which came from @parent (@inferred:
 * nothing proves that). @base_sealed: the backing file will be sealed with a record that says so.
 */
SnapsetLedger *snapset_lineage_overlay(const SnapsetExternal *external, const SnapsetUuid *parent,
                                       gboolean inferred, gboolean base_sealed);

/* The same said in the ledger of the backing file: from now on its own content is @external. */
void snapset_lineage_freeze(SnapsetLedger *ledger, const SnapsetExternal *external,
                            const SnapsetUuid *parent, gboolean inferred);

/*
 * Let the ledger of an overlay say what its backing file @base says of itself: that it is frozen as
 * a snapshot, which then is current where nothing else is. With @only the overlay's records of
 * other snapshots go: QEMU has moved data between the two. TRUE when anything was changed.
 */
gboolean snapset_lineage_stand_on(SnapsetLedger *ledger, const SnapsetImage *base, gboolean only);

/* The image's content may have changed: take out what says that it is a snapshot, frozen. */
void snapset_lineage_thaw(SnapsetLedger *ledger);

/*
 * The ledger of a backing file that the data of the overlays above it went into, whose ledgers are
 * @above (the lowest first; NULL: it has none). What the file says of its own backing file and of
 * its entries stays; for its content the uppermost overlay speaks.
 */
SnapsetLedger *snapset_lineage_merge(const SnapsetLedger *base, GPtrArray *above);

/*
 * Take out the records of @image's own ledger whose entries are gone from it, re-pointing over
 * them; for when a slot is full. Records that @ledger has got since are kept: their entries may
 * not be made yet.
 */
void snapset_lineage_compact(SnapsetLedger *ledger, const SnapsetImage *image);
