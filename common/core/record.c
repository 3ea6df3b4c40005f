/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SSET header extension, encoded and decoded. */
#include "common/core/record.h"

#include <string.h>

enum {
    SLOT_AT_SEQUENCE = 0,
    SLOT_AT_USED = 8,
    SLOT_AT_COUNT = 12,
    SLOT_AT_CHECKSUM = 16,
    SLOT_AT_CURRENT = 32,
};

enum {
    RECORD_AT_LENGTH = 0,
    RECORD_AT_FLAGS = 2,
    RECORD_AT_MEMBERS = 4,
    RECORD_AT_TAG_LENGTH = 6,
    RECORD_AT_DESCRIPTION_LENGTH = 8,
    RECORD_AT_BINDING = 16,
    RECORD_AT_IDENTITY = 24,
    RECORD_AT_PARENT = 40,
};

G_STATIC_ASSERT(SLOT_AT_CURRENT + SNAPSET_UUID_SIZE == SNAPSET_SLOT_HEADER_SIZE);
G_STATIC_ASSERT(RECORD_AT_PARENT + SNAPSET_UUID_SIZE == SNAPSET_RECORD_HEADER_SIZE);

/* ---- values ---- */

SnapsetRecord *
snapset_record_new(const SnapsetUuid *identity, guint64 binding)
{
    SnapsetRecord *record = g_new0(SnapsetRecord, 1);
    record->identity = *identity;
    record->binding = binding;
    return record;
}

SnapsetRecord *
snapset_record_copy(const SnapsetRecord *record)
{
    SnapsetRecord *copy = g_memdup2(record, sizeof *record);
    copy->tag = g_strdup(record->tag);
    copy->description = g_strdup(record->description);
    if (copy->trailing != NULL)
        g_bytes_ref(copy->trailing);
    return copy;
}

void
snapset_record_free(SnapsetRecord *record)
{
    if (record == NULL)
        return;
    g_free(record->tag);
    g_free(record->description);
    g_clear_pointer(&record->trailing, g_bytes_unref);
    g_free(record);
}

gboolean
snapset_record_parent_is_unknown(const SnapsetRecord *record)
{
    return (record->flags & SNAPSET_RECORD_PARENT_INFERRED) && snapset_uuid_is_nil(&record->parent);
}

SnapsetLedger *
snapset_ledger_new(void)
{
    SnapsetLedger *ledger = g_new0(SnapsetLedger, 1);
    ledger->records = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_record_free);
    return ledger;
}

SnapsetLedger *
snapset_ledger_copy(const SnapsetLedger *ledger)
{
    SnapsetLedger *copy = snapset_ledger_new();
    copy->sequence = ledger->sequence;
    copy->current = ledger->current;
    for (guint i = 0; i < ledger->records->len; i++)
        g_ptr_array_add(copy->records, snapset_record_copy(ledger->records->pdata[i]));
    if (ledger->trailing != NULL)
        copy->trailing = g_bytes_ref(ledger->trailing);
    return copy;
}

void
snapset_ledger_free(SnapsetLedger *ledger)
{
    if (ledger == NULL)
        return;
    g_ptr_array_unref(ledger->records);
    g_clear_pointer(&ledger->trailing, g_bytes_unref);
    g_free(ledger);
}

SnapsetRecord *
snapset_ledger_find(const SnapsetLedger *ledger, const SnapsetUuid *identity)
{
    for (guint i = 0; i < ledger->records->len; i++) {
        SnapsetRecord *record = ledger->records->pdata[i];
        if (snapset_uuid_equal(&record->identity, identity))
            return record;
    }
    return NULL;
}

/* ---- checksum ---- */

static guint64
slot_checksum(const guint8 *slot, gsize used)
{
    static const guint8 zero[8];
    guint8 digest[32];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    g_checksum_update(sum, slot, SLOT_AT_CHECKSUM);
    g_checksum_update(sum, zero, sizeof zero);
    g_checksum_update(sum, slot + SLOT_AT_CHECKSUM + 8, used - SLOT_AT_CHECKSUM - 8);
    g_checksum_get_digest(sum, digest, &size);
    return snapset_load_be64(digest);
}

/* ---- decoding ---- */

static char *
decode_text(SnapsetBytes text)
{
    return text.size == 0 ? NULL : g_strndup((const char *)text.data, text.size);
}

/* Decode the record at the start of @rest and move @rest behind it. */
static SnapsetRecord *
decode_record(SnapsetBytes *rest)
{
    SnapsetBytes all, tag, description, trailing;

    if (rest->size < SNAPSET_RECORD_HEADER_SIZE)
        return NULL;
    guint16 length = snapset_load_be16(rest->data + RECORD_AT_LENGTH);
    if (length < SNAPSET_RECORD_HEADER_SIZE || length % 8 != 0 ||
        !snapset_bytes_run(*rest, 0, length, &all))
        return NULL;
    guint16 tag_length = snapset_load_be16(all.data + RECORD_AT_TAG_LENGTH);
    guint16 description_length = snapset_load_be16(all.data + RECORD_AT_DESCRIPTION_LENGTH);
    gsize text_end = SNAPSET_RECORD_HEADER_SIZE + tag_length + description_length;
    gsize padded = (text_end + 7) & ~(gsize)7;
    if (!snapset_bytes_run(all, SNAPSET_RECORD_HEADER_SIZE, tag_length, &tag) ||
        !snapset_bytes_run(all, SNAPSET_RECORD_HEADER_SIZE + tag_length, description_length,
                           &description) ||
        !snapset_bytes_run(all, padded, length - MIN(padded, length), &trailing))
        return NULL;

    SnapsetRecord *record = g_new0(SnapsetRecord, 1);
    record->flags = snapset_load_be16(all.data + RECORD_AT_FLAGS);
    record->members = snapset_load_be16(all.data + RECORD_AT_MEMBERS);
    record->binding = snapset_load_be64(all.data + RECORD_AT_BINDING);
    memcpy(&record->identity, all.data + RECORD_AT_IDENTITY, SNAPSET_UUID_SIZE);
    memcpy(&record->parent, all.data + RECORD_AT_PARENT, SNAPSET_UUID_SIZE);
    record->tag = decode_text(tag);
    record->description = decode_text(description);
    if (trailing.size != 0)
        record->trailing = g_bytes_new(trailing.data, trailing.size);
    *rest = (SnapsetBytes){rest->data + length, rest->size - length};
    return record;
}

SnapsetLedger *
snapset_ledger_decode(SnapsetBytes slot)
{
    SnapsetBytes rest;

    if (slot.size < SNAPSET_SLOT_HEADER_SIZE)
        return NULL;
    guint32 used = snapset_load_be32(slot.data + SLOT_AT_USED);
    if (used < SNAPSET_SLOT_HEADER_SIZE || used > slot.size)
        return NULL;
    if (slot_checksum(slot.data, used) != snapset_load_be64(slot.data + SLOT_AT_CHECKSUM))
        return NULL;
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_new();
    ledger->sequence = snapset_load_be64(slot.data + SLOT_AT_SEQUENCE);
    if (ledger->sequence == G_MAXUINT64) /* nothing could ever supersede it */
        return NULL;
    memcpy(&ledger->current, slot.data + SLOT_AT_CURRENT, SNAPSET_UUID_SIZE);
    guint32 count = snapset_load_be32(slot.data + SLOT_AT_COUNT);
    rest = (SnapsetBytes){slot.data + SNAPSET_SLOT_HEADER_SIZE, used - SNAPSET_SLOT_HEADER_SIZE};
    for (guint32 i = 0; i < count; i++) {
        SnapsetRecord *record = decode_record(&rest);
        if (record == NULL)
            return NULL;
        g_ptr_array_add(ledger->records, record);
    }
    if (rest.size != 0)
        ledger->trailing = g_bytes_new(rest.data, rest.size);
    return g_steal_pointer(&ledger);
}

static gboolean
slot_was_never_written(SnapsetBytes slot)
{
    return snapset_load_be64(slot.data + SLOT_AT_SEQUENCE) == 0;
}

/* The slot size that a payload begins with; 0: it makes no sense. */
static guint32
payload_slot_size(SnapsetBytes payload)
{
    guint32 slot_size = snapset_load_be32(payload.data + 4);

    if (snapset_load_be16(payload.data + 2) != SNAPSET_LAYOUT_SLOTS ||
        slot_size < SNAPSET_SLOT_HEADER_SIZE || slot_size > SNAPSET_SLOT_SIZE_MAX ||
        slot_size % 8 != 0 ||
        payload.size < SNAPSET_PAYLOAD_HEADER_SIZE + SNAPSET_LAYOUT_SLOTS * (gsize)slot_size)
        return 0;
    return slot_size;
}

static SnapsetBytes
payload_slot(SnapsetBytes payload, guint32 slot_size, guint slot)
{
    return (SnapsetBytes){payload.data + SNAPSET_PAYLOAD_HEADER_SIZE + slot * slot_size, slot_size};
}

gboolean
snapset_ledger_read_newest(SnapsetBytes payload, SnapsetLedger **ret_ledger, guint32 *ret_slot_size,
                           guint *ret_slot)
{
    guint64 newest = 0;
    guint slot = 0;

    if (payload.size < SNAPSET_PAYLOAD_HEADER_SIZE ||
        snapset_load_be16(payload.data) != SNAPSET_LAYOUT_VERSION)
        return FALSE;
    guint32 slot_size = payload_slot_size(payload);
    if (slot_size == 0)
        return FALSE;
    for (guint i = 0; i < SNAPSET_LAYOUT_SLOTS; i++) {
        guint64 sequence =
            snapset_load_be64(payload_slot(payload, slot_size, i).data + SLOT_AT_SEQUENCE);
        if (sequence > newest) {
            newest = sequence;
            slot = i;
        }
    }
    SnapsetLedger *ledger =
        newest != 0 ? snapset_ledger_decode(payload_slot(payload, slot_size, slot)) : NULL;
    if (ledger == NULL)
        return FALSE;
    *ret_ledger = ledger;
    *ret_slot_size = slot_size;
    *ret_slot = slot;
    return TRUE;
}

SnapsetLedgerState
snapset_ledger_read(SnapsetBytes payload, SnapsetLedger **ret_ledger, guint32 *ret_slot_size,
                    guint *ret_slot)
{
    g_autoptr(SnapsetLedger) best = NULL;
    guint damaged = 0;

    *ret_ledger = NULL;
    *ret_slot_size = 0;
    *ret_slot = 0;
    if (payload.size < SNAPSET_PAYLOAD_HEADER_SIZE)
        return SNAPSET_LEDGER_DAMAGED;
    if (snapset_load_be16(payload.data) != SNAPSET_LAYOUT_VERSION)
        return SNAPSET_LEDGER_FOREIGN;
    guint32 slot_size = payload_slot_size(payload);
    if (slot_size == 0)
        return SNAPSET_LEDGER_DAMAGED;
    *ret_slot_size = slot_size;

    for (guint i = 0; i < SNAPSET_LAYOUT_SLOTS; i++) {
        SnapsetBytes slot = payload_slot(payload, slot_size, i);
        if (slot_was_never_written(slot))
            continue;
        g_autoptr(SnapsetLedger) ledger = snapset_ledger_decode(slot);
        if (ledger == NULL) {
            damaged++;
        } else if (best == NULL || ledger->sequence > best->sequence) {
            g_clear_pointer(&best, snapset_ledger_free);
            best = g_steal_pointer(&ledger);
            *ret_slot = i;
        }
    }
    if (best == NULL && damaged > 0)
        return SNAPSET_LEDGER_DAMAGED;
    /* Stamped, but the first slot never reached the disk: as good as empty. */
    *ret_ledger = best != NULL ? g_steal_pointer(&best) : snapset_ledger_new();
    return damaged > 0 ? SNAPSET_LEDGER_ONE_DAMAGED : SNAPSET_LEDGER_GOOD;
}

/* ---- encoding ---- */

static void
append_padding(GByteArray *out)
{
    static const guint8 zero[8];
    g_byte_array_append(out, zero, -out->len & 7);
}

static gboolean
encode_record(GByteArray *out, const SnapsetRecord *record, GError **error)
{
    guint start = out->len;
    gsize tag_length = record->tag != NULL ? strlen(record->tag) : 0;
    gsize description_length = record->description != NULL ? strlen(record->description) : 0;
    guint8 head[SNAPSET_RECORD_HEADER_SIZE] = {0};

    if (tag_length + description_length > G_MAXINT16)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "tag or description is too long");
    g_byte_array_append(out, head, sizeof head);
    g_byte_array_append(out, (const guint8 *)record->tag, tag_length);
    g_byte_array_append(out, (const guint8 *)record->description, description_length);
    append_padding(out);
    if (record->trailing != NULL)
        g_byte_array_append(out, g_bytes_get_data(record->trailing, NULL),
                            g_bytes_get_size(record->trailing));
    append_padding(out);
    if (out->len - start > G_MAXUINT16)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "record is too long");

    guint8 *at = out->data + start;
    snapset_store_be16(at + RECORD_AT_LENGTH, out->len - start);
    snapset_store_be16(at + RECORD_AT_FLAGS, record->flags);
    snapset_store_be16(at + RECORD_AT_MEMBERS, record->members);
    snapset_store_be16(at + RECORD_AT_TAG_LENGTH, tag_length);
    snapset_store_be16(at + RECORD_AT_DESCRIPTION_LENGTH, description_length);
    snapset_store_be64(at + RECORD_AT_BINDING, record->binding);
    memcpy(at + RECORD_AT_IDENTITY, &record->identity, SNAPSET_UUID_SIZE);
    memcpy(at + RECORD_AT_PARENT, &record->parent, SNAPSET_UUID_SIZE);
    return TRUE;
}

GBytes *
snapset_ledger_encode(const SnapsetLedger *ledger, guint32 slot_size, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    guint8 head[SNAPSET_SLOT_HEADER_SIZE] = {0};

    g_byte_array_append(out, head, sizeof head);
    for (guint i = 0; i < ledger->records->len; i++) {
        if (!encode_record(out, ledger->records->pdata[i], error))
            return NULL;
    }
    if (ledger->trailing != NULL)
        g_byte_array_append(out, g_bytes_get_data(ledger->trailing, NULL),
                            g_bytes_get_size(ledger->trailing));
    if (out->len > slot_size) {
        snapset_throw(error, SNAPSET_ERROR_NO_ROOM,
                      "%u records need %u bytes, and the image's header has room for %u",
                      ledger->records->len, out->len, slot_size);
        return NULL;
    }
    snapset_store_be64(out->data + SLOT_AT_SEQUENCE, ledger->sequence);
    snapset_store_be32(out->data + SLOT_AT_USED, out->len);
    snapset_store_be32(out->data + SLOT_AT_COUNT, ledger->records->len);
    memcpy(out->data + SLOT_AT_CURRENT, &ledger->current, SNAPSET_UUID_SIZE);
    snapset_store_be64(out->data + SLOT_AT_CHECKSUM, slot_checksum(out->data, out->len));
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}

GBytes *
snapset_payload_new(const SnapsetLedger *ledger, guint32 slot_size, GError **error)
{
    gsize size = SNAPSET_PAYLOAD_HEADER_SIZE + SNAPSET_LAYOUT_SLOTS * (gsize)slot_size;
    g_autofree guint8 *payload = g_malloc0(size);

    snapset_store_be16(payload, SNAPSET_LAYOUT_VERSION);
    snapset_store_be16(payload + 2, SNAPSET_LAYOUT_SLOTS);
    snapset_store_be32(payload + 4, slot_size);
    if (ledger != NULL) {
        g_autoptr(GBytes) slot = snapset_ledger_encode(ledger, slot_size, error);
        if (slot == NULL)
            return NULL;
        memcpy(payload + SNAPSET_PAYLOAD_HEADER_SIZE, g_bytes_get_data(slot, NULL),
               g_bytes_get_size(slot));
    }
    return g_bytes_new_take(g_steal_pointer(&payload), size);
}
