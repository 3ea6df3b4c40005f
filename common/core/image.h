/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One disk image in memory: what was read of it, whoever read it.
 *
 * common/io/image-read.h fills it from qcow2 bytes, common/io/image-info.h from the answer of
 * qemu-img info for everything else. Nothing here is changed after that.
 */
#pragma once

#include "common/core/identity.h"
#include "common/core/qcow2-parse.h"
#include "common/core/record.h"

/*
 * One row of the image's snapshot table; or an external snapshot, which has neither ID nor VM state
 * nor L1 table. Strings belong to the image.
 */
typedef struct {
    const char *id;        /* qcow2's per-image ID: for addressing, never an identity */
    const char *tag;       /* as QEMU sees it: up to the first zero byte */
    SnapsetMoment moment;  /* moment.tag == tag */
    guint64 vm_state_size; /* bytes */
    guint64 disk_size;     /* bytes */
    guint64 l1_offset;     /* of its L1 table; 0: not read natively */
    guint32 l1_size;       /* entries */
    gboolean tag_has_nul;  /* the stored name goes on behind a zero byte */
    gboolean incomplete;   /* lacks extra data that version 3 demands */
    gboolean is_external;  /* no row, but the state of the backing file, by the overlay's record */
    SnapsetUuid derived;
    const SnapsetRecord *record; /* NULL: none; belongs to the image's ledger */
    SnapsetUuid identity;        /* the record's, or else the derived one */
} SnapsetEntry;

/* How reading a backing chain ended. */
typedef enum {
    SNAPSET_CHAIN_WHOLE,      /* at an image without a backing file */
    SNAPSET_CHAIN_REMOTE,     /* at a name that is no local file: nothing can be told */
    SNAPSET_CHAIN_MISSING,    /* at a file that is not there */
    SNAPSET_CHAIN_UNREADABLE, /* at a file that cannot be read as what it should be */
    SNAPSET_CHAIN_LOOP,       /* at a file that is above it in the chain */
    SNAPSET_CHAIN_TOO_LONG,   /* after SNAPSET_CHAIN_MAX files */
} SnapsetChainEnd;

#define SNAPSET_CHAIN_MAX 200 /* files, as libvirt (src/storage_file) has it */

typedef struct SnapsetImage SnapsetImage;
struct SnapsetImage {
    char *filename;             /* as the person named it; in a chain, as it was found */
    char *format;               /* QEMU's name: "qcow2", "raw", ... */
    char *backing_filename;     /* as stored in the image; NULL: none */
    char *backing_format;       /* likewise */
    GPtrArray *backing;         /* of SnapsetImage *: the chain below, the next first; NULL: none */
    SnapsetChainEnd chain_end;  /* how @backing ends */
    char *chain_end_name;       /* the file it ends at, unless whole; else NULL */
    guint64 virtual_size;       /* bytes */
    SnapsetQcow2Header *header; /* NULL unless read as a local qcow2 file */
    gboolean is_local;     /* a local file or block device, so that device and inode are known */
    guint64 device, inode; /* a block device is known by its number: device, 0 */
    GArray *entries;       /* of SnapsetEntry, in table order */
    GArray *externals;     /* of SnapsetEntry: what its backing file is, as recorded; NULL: none */
    GStringChunk *strings; /* of the entries */
    SnapsetLedgerState ledger_state;
    SnapsetLedger *ledger; /* NULL unless the state is GOOD or ONE_DAMAGED */
    guint32 slot_size;     /* bytes; 0: no usable extension */
    guint ledger_slot;     /* which slot the ledger came from */
    gboolean sealed;       /* nobody has written to the image since it was stamped */
    gboolean has_bitmaps;  /* dirty bitmaps: QEMU then applies no snapshot */
};

SnapsetImage *snapset_image_new(const char *filename, const char *format);
void snapset_image_free(SnapsetImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetImage, snapset_image_free)

/*
 * Add an entry; @id and @name are cut at their first zero byte, as QEMU cuts them. Call
 * snapset_image_finish() after the last.
 */
SnapsetEntry *snapset_image_add_entry(SnapsetImage *image, SnapsetBytes id, SnapsetBytes name,
                                      const SnapsetMoment *moment);

/* Put another ledger, which it takes over, in the place of a finished image's own. */
void snapset_image_set_ledger(SnapsetImage *image, SnapsetLedger *ledger);

/* Bind the ledger's records to the entries, give each entry its identity, and add the externals. */
void snapset_image_finish(SnapsetImage *image);

/* The entries, in table order. */
guint snapset_image_entry_count(const SnapsetImage *image);
const SnapsetEntry *snapset_image_entry(const SnapsetImage *image, guint index);

/* The first entry with that identity, or tag; NULL: none. */
const SnapsetEntry *snapset_image_find_identity(const SnapsetImage *image,
                                                const SnapsetUuid *identity);
const SnapsetEntry *snapset_image_find_tag(const SnapsetImage *image, const char *tag);

/*
 * The entry that QEMU loads for @name (block/qcow2-snapshot.c, find_snapshot_by_id_or_name()): an
 * ID goes before a tag, and the first before others. NULL: none.
 */
const SnapsetEntry *snapset_image_find_loaded(const SnapsetImage *image, const char *name);

/* How many entries have that tag, or that ID. */
guint snapset_image_count_tag(const SnapsetImage *image, const char *tag);
guint snapset_image_count_id(const SnapsetImage *image, const char *id);

/* Link @link of the chain: 0 is the image itself, 1 its backing file, and so on. */
const SnapsetImage *snapset_image_link(const SnapsetImage *image, guint link);

/* How many links there are: 1 and the backing files that were read. */
guint snapset_image_link_count(const SnapsetImage *image);

/* The first entry or external with that tag in the whole chain; NULL: none. */
const SnapsetEntry *snapset_image_find_tag_in_chain(const SnapsetImage *image, const char *tag);

/* The record with that identity in any ledger of the chain; NULL: none. */
const SnapsetRecord *snapset_image_find_record(const SnapsetImage *image,
                                               const SnapsetUuid *identity);

/*
 * Is the image sealed, and its own content the snapshot @identity (NULL: any) (FORMAT.md,
 * "frozen")?
 */
gboolean snapset_image_is_frozen_as(const SnapsetImage *image, const SnapsetUuid *identity);

/* GHashFunc and GEqualFunc over SnapsetImage *: is it the same file? Of local images only. */
guint snapset_image_file_hash(gconstpointer image);
gboolean snapset_image_file_equal(gconstpointer a, gconstpointer b);

/* The image's recorded current; nil: it records none. */
SnapsetUuid snapset_image_current(const SnapsetImage *image);
