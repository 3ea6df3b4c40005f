/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SSET header extension: what snapshot-set writes into an image (common/FORMAT.md).
 *
 *     payload   0 u16 layout version   2 u16 slots   4 u32 slot size S   8 u64 zero
 *              16 slot 0              16+S slot 1
 *     slot      0 u64 sequence   8 u32 bytes in use   12 u32 record count   16 u64 checksum
 *              24 u64 zero      32 UUID current      48 records
 *     record    0 u16 length   2 u16 flags   4 u16 members   6 u16 tag length
 *               8 u16 description length   10 6 zero bytes   16 u64 binding
 *              24 UUID identity   40 UUID parent   56 tag, description, zero padding
 *
 * A SnapsetLedger is the content of one slot. Reading: snapset_ledger_read() takes the payload and
 * finds the valid slot with the higher sequence. Writing: change a copy, snapset_ledger_encode()
 * it, and let common/io/stamp.h put it into the other slot.
 */
#pragma once

#include "common/core/bytes.h"
#include "common/core/error.h"
#include "common/core/uuid.h"

#define SNAPSET_LAYOUT_VERSION 1
#define SNAPSET_LAYOUT_SLOTS 2
#define SNAPSET_PAYLOAD_HEADER_SIZE 16
#define SNAPSET_SLOT_HEADER_SIZE 48
#define SNAPSET_RECORD_HEADER_SIZE 56
#define SNAPSET_SLOT_SIZE_MAX (15 * 1024)
#define SNAPSET_SLOT_SIZE_MIN 512    /* less is not worth stamping */
#define SNAPSET_DESCRIPTION_MAX 1024 /* bytes of UTF-8 */

typedef enum {
    SNAPSET_RECORD_EXTERNAL = 1 << 0,
    SNAPSET_RECORD_PROTECTED = 1 << 1,
    SNAPSET_RECORD_PARENT_INFERRED = 1 << 2,
    SNAPSET_RECORD_SINGLE = 1 << 3,
    SNAPSET_RECORD_BASE_SEALED = 1 << 4, /* in an overlay: its backing file was sealed as this */
    SNAPSET_RECORD_FROZEN = 1 << 5,      /* in a backing file: its own content is this snapshot */
    SNAPSET_RECORD_PARENT_LIBVIRT = 1 << 6, /* the parent is what libvirt's metadata named */
} SnapsetRecordFlags;

/* One record. Unknown flags and bytes are carried along unchanged. */
typedef struct {
    guint16 flags;
    guint16 members; /* how many images the snapshot covers; 0: unknown */
    guint64 binding; /* first 8 bytes of the entry's derived identity; 0 for external */
    SnapsetUuid identity;
    SnapsetUuid parent; /* nil: a root */
    char *tag;          /* external only; else NULL */
    char *description;  /* NULL: none */
    GBytes *trailing;   /* what a later layout put after the description; NULL: nothing */
} SnapsetRecord;

typedef struct {
    guint64 sequence;
    SnapsetUuid current; /* nil: none */
    GPtrArray *records;  /* of SnapsetRecord *, owned */
    GBytes *trailing;    /* what a later layout put after the records; NULL: nothing */
} SnapsetLedger;

typedef enum {
    SNAPSET_LEDGER_ABSENT,      /* the image has no SSET extension */
    SNAPSET_LEDGER_GOOD,        /* both slots are valid or never written */
    SNAPSET_LEDGER_ONE_DAMAGED, /* one slot is damaged: at most the last change is lost */
    SNAPSET_LEDGER_DAMAGED,     /* no slot is valid, or the payload is broken, or there are two */
    SNAPSET_LEDGER_FOREIGN,     /* another layout version: left alone */
} SnapsetLedgerState;

SnapsetRecord *snapset_record_new(const SnapsetUuid *identity, guint64 binding);
SnapsetRecord *snapset_record_copy(const SnapsetRecord *record);
void snapset_record_free(SnapsetRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetRecord, snapset_record_free)

/* A nil parent with the flag "inferred" says that the parent is not known, not that it is a root.
 */
gboolean snapset_record_parent_is_unknown(const SnapsetRecord *record);

/* An empty ledger: sequence 0, no current, no records. */
SnapsetLedger *snapset_ledger_new(void);
SnapsetLedger *snapset_ledger_copy(const SnapsetLedger *ledger);
void snapset_ledger_free(SnapsetLedger *ledger);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetLedger, snapset_ledger_free)

/* The record with that identity, borrowed; NULL: none. */
SnapsetRecord *snapset_ledger_find(const SnapsetLedger *ledger, const SnapsetUuid *identity);

/*
 * Read an extension's payload. *ret_ledger is NULL unless the state is GOOD or ONE_DAMAGED;
 * *ret_slot_size is 0 when the payload header itself makes no sense; *ret_slot is the slot the
 * ledger came from.
 */
SnapsetLedgerState snapset_ledger_read(SnapsetBytes payload, SnapsetLedger **ret_ledger,
                                       guint32 *ret_slot_size, guint *ret_slot);

/*
 * The same, faster, by looking only at the slot with the higher sequence. FALSE, with everything
 * untouched, when that one is not valid: then snapset_ledger_read() finds out what is left.
 */
gboolean snapset_ledger_read_newest(SnapsetBytes payload, SnapsetLedger **ret_ledger,
                                    guint32 *ret_slot_size, guint *ret_slot);

/*
 * The slot's bytes in use, at most @slot_size; SNAPSET_ERROR_NO_ROOM when they are more.
 * A tag or description too long for its length field is SNAPSET_ERROR_FAILED.
 */
GBytes *snapset_ledger_encode(const SnapsetLedger *ledger, guint32 slot_size, GError **error);

/* Decode a slot's bytes as encoded above; NULL when they are damaged. */
SnapsetLedger *snapset_ledger_decode(SnapsetBytes slot);

/* A whole payload with @ledger in slot 0 (NULL: never written) and slot 1 never written. */
GBytes *snapset_payload_new(const SnapsetLedger *ledger, guint32 slot_size, GError **error);
