/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The writes that put a ledger into an image's header. */
#include "common/core/stamp-plan.h"

#include <string.h>

#include "common/core/qcow2-canonical.h"

/*
 * What QEMU may want to add to a header later, and must find room for: a full first cluster makes
 * it lose bitmaps without an error.
 */
#define RESERVE_BACKING_FORMAT 24
#define RESERVE_CRYPTO 24
#define RESERVE_BITMAPS 32
#define RESERVE_FEATURE_TABLE 392

static void
write_free(gpointer data)
{
    SnapsetStampWrite *write = data;
    g_bytes_unref(write->bytes);
    g_free(write);
}

void
snapset_stamp_plan_free(SnapsetStampPlan *plan)
{
    if (plan == NULL)
        return;
    g_ptr_array_unref(plan->writes);
    g_free(plan);
}

/* ---- room ---- */

static guint64
padded(guint64 length)
{
    return (length + 7) & ~7ull;
}

static guint64
reserve_of(guint32 type, guint64 cluster_size)
{
    switch (type) {
    case QCOW2_EXTENSION_BACKING_FORMAT:
        return RESERVE_BACKING_FORMAT;
    case QCOW2_EXTENSION_CRYPTO:
        return RESERVE_CRYPTO;
    case QCOW2_EXTENSION_BITMAPS:
        return RESERVE_BITMAPS;
    case QCOW2_EXTENSION_FEATURE_TABLE:
        return cluster_size > 4096 ? RESERVE_FEATURE_TABLE : 0;
    default:
        return 0;
    }
}

/* Bytes that everything but our extension takes, or may come to take, in the first cluster. */
static guint64
bytes_of_others(const SnapsetQcow2Header *h)
{
    static const guint32 known[] = {QCOW2_EXTENSION_BACKING_FORMAT, QCOW2_EXTENSION_CRYPTO,
                                    QCOW2_EXTENSION_BITMAPS, QCOW2_EXTENSION_FEATURE_TABLE};
    guint64 sum = MAX(h->header_length, QCOW2_V3_HEADER_SIZE) + QCOW2_EXTENSION_HEADER_SIZE +
                  QCOW2_BACKING_NAME_MAX;

    for (gsize i = 0; i < G_N_ELEMENTS(known); i++)
        sum += reserve_of(known[i], h->cluster_size);
    for (guint i = 0; i < h->extensions->len; i++) {
        const SnapsetQcow2Extension *extension =
            &g_array_index(h->extensions, SnapsetQcow2Extension, i);
        guint64 size = QCOW2_EXTENSION_HEADER_SIZE + padded(extension->length);
        guint64 reserved = reserve_of(extension->type, h->cluster_size);
        if (extension->type != QCOW2_EXTENSION_SSET && size > reserved)
            sum += size - reserved;
    }
    return sum;
}

/* The slot size a new extension would have; 0: no room. */
static guint32
slot_size_for(const SnapsetQcow2Header *h)
{
    guint64 limit = MIN(h->cluster_size, SNAPSET_HEADER_BYTES);
    guint64 others = bytes_of_others(h) + QCOW2_EXTENSION_HEADER_SIZE + SNAPSET_PAYLOAD_HEADER_SIZE;

    if (others >= limit)
        return 0;
    guint32 size = (limit - others) / SNAPSET_LAYOUT_SLOTS & ~7u;
    return size < SNAPSET_SLOT_SIZE_MIN ? 0 : MIN(size, SNAPSET_SLOT_SIZE_MAX);
}

static gboolean
header_is_ours_to_write(const SnapsetImage *image, GError **error)
{
    const SnapsetQcow2Header *h = image->header;

    if (h == NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "it is not a local qcow2 file");
    if (h->incompatible & QCOW2_INCOMPATIBLE_DIRTY)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "it was not closed cleanly (run 'qemu-img check -r all')");
    if (h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU has marked it corrupt");
    if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "it keeps its data in another file");
    if (h->sset_count > 1)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "its header holds two records");
    if (image->ledger_state == SNAPSET_LEDGER_FOREIGN)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "its record has a layout this version does not know");
    /* The specification wants bitmaps where their auto-clear bit is set. */
    if (h->header_length % 8 != 0 || (!h->has_end_marker && h->sset == NULL) ||
        ((h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) && !h->has_bitmaps) ||
        (h->l1_offset == 0 && h->l1_size != 0) || h->reftable_offset == 0)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "its header has an unusual layout");
    return TRUE;
}

/* Where a new extension puts the backing file name: behind its payload and the new end marker. */
static guint64
new_name_offset(const SnapsetQcow2Header *h)
{
    return (guint64)h->extensions_end + 2 * QCOW2_EXTENSION_HEADER_SIZE +
           SNAPSET_PAYLOAD_HEADER_SIZE + SNAPSET_LAYOUT_SLOTS * (guint64)slot_size_for(h);
}

/*
 * Until the copy of the name is in use, nothing may be written over the name. It may stand there
 * already: a crash came between its move and the rest.
 */
static gboolean
can_move_name(const SnapsetQcow2Header *h)
{
    return h->backing_offset == 0 || h->backing_offset == new_name_offset(h) ||
           (h->backing_offset + h->backing_length <= MIN(h->cluster_size, SNAPSET_HEADER_BYTES) &&
            !snapset_ranges_overlap(h->backing_offset, h->backing_length, new_name_offset(h),
                                    h->backing_length));
}

gboolean
snapset_stamp_is_possible(const SnapsetImage *image, GError **error)
{
    if (!header_is_ours_to_write(image, error))
        return FALSE;
    if (image->header->cluster_size < SNAPSET_STAMP_CLUSTER_MIN)
        return snapset_throw(error, SNAPSET_ERROR_NO_ROOM,
                             "clusters of %" G_GUINT64_FORMAT " bytes leave no room in the header",
                             image->header->cluster_size);
    if (image->slot_size == 0 && image->header->sset == NULL && slot_size_for(image->header) == 0)
        return snapset_throw(error, SNAPSET_ERROR_NO_ROOM, "the header is full");
    if (image->header->sset == NULL && !can_move_name(image->header))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "its header has an unusual layout");
    return TRUE;
}

static guint32
slot_size_of(const SnapsetImage *image)
{
    if (image->slot_size != 0)
        return image->slot_size;
    if (image->header->sset == NULL)
        return slot_size_for(image->header);
    /* A damaged payload is written anew, as large as it is. */
    guint32 length = image->header->sset->length;
    if (length < SNAPSET_PAYLOAD_HEADER_SIZE)
        return 0;
    return MIN((length - SNAPSET_PAYLOAD_HEADER_SIZE) / SNAPSET_LAYOUT_SLOTS & ~7u,
               SNAPSET_SLOT_SIZE_MAX);
}

gboolean
snapset_stamp_fits(const SnapsetImage *image, const SnapsetLedger *ledger, GError **error)
{
    if (!snapset_stamp_is_possible(image, error))
        return FALSE;
    g_autoptr(GBytes) slot = snapset_ledger_encode(ledger, slot_size_of(image), error);
    return slot != NULL;
}

/* ---- planning ---- */

/* A plan under construction: what has been planned so far, applied to a copy of the header. */
typedef struct {
    SnapsetStampPlan *plan;
    guint8 *header;
    gsize size;
} Draft;

static gboolean
add_write(Draft *draft, guint64 offset, const void *data, gsize size, GError **error)
{
    if (!snapset_bytes_contain((SnapsetBytes){draft->header, draft->size}, offset, size))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "a write would leave the header");
    SnapsetStampWrite *write = g_new0(SnapsetStampWrite, 1);
    write->offset = offset;
    write->bytes = g_bytes_new(data, size);
    g_ptr_array_add(draft->plan->writes, write);
    memcpy(draft->header + offset, data, size);
    return TRUE;
}

static gboolean
plan_slot(Draft *draft, const SnapsetImage *image, const SnapsetLedger *ledger, GError **error)
{
    guint slot = (image->ledger_slot + 1) % SNAPSET_LAYOUT_SLOTS;
    g_autoptr(GBytes) bytes = snapset_ledger_encode(ledger, image->slot_size, error);

    if (bytes == NULL)
        return FALSE;
    if (image->ledger->sequence == 0) /* neither was ever written */
        slot = 0;
    return add_write(draft,
                     (guint64)image->header->sset->data_offset + SNAPSET_PAYLOAD_HEADER_SIZE +
                         slot * image->slot_size,
                     g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), error);
}

/* Write a damaged payload anew, within the extension that is there. */
static gboolean
plan_payload(Draft *draft, const SnapsetImage *image, const SnapsetLedger *ledger, GError **error)
{
    guint32 slot_size = slot_size_of(image);
    if (slot_size < SNAPSET_SLOT_HEADER_SIZE)
        return snapset_throw(error, SNAPSET_ERROR_NO_ROOM, "its record is too small");
    g_autoptr(GBytes) payload = snapset_payload_new(ledger, slot_size, error);

    return payload != NULL &&
           add_write(draft, image->header->sset->data_offset, g_bytes_get_data(payload, NULL),
                     g_bytes_get_size(payload), error);
}

/* The four steps of FORMAT.md, "Adding the extension". */
static gboolean
plan_extension(Draft *draft, const SnapsetImage *image, const SnapsetLedger *ledger, GError **error)
{
    const SnapsetQcow2Header *h = image->header;
    guint64 at = h->extensions_end;
    guint8 head[8];
    g_autoptr(GBytes) payload = snapset_payload_new(ledger, slot_size_for(h), error);

    if (payload == NULL)
        return FALSE;
    gsize size = g_bytes_get_size(payload);
    guint64 name_at = new_name_offset(h);

    if (h->backing_offset != 0) {
        g_autofree guint8 *name = g_memdup2(draft->header + h->backing_offset, h->backing_length);
        snapset_store_be64(head, name_at);
        if ((name != NULL && !add_write(draft, name_at, name, h->backing_length, error)) ||
            !add_write(draft, QCOW2_AT_BACKING_OFFSET, head, sizeof head, error))
            return FALSE;
    }
    /* The payload and a new end marker behind it: invisible behind the old end marker. */
    g_autoptr(GByteArray) area = g_byte_array_new();
    memset(head, 0, sizeof head);
    g_byte_array_append(area, g_bytes_get_data(payload, NULL), size);
    g_byte_array_append(area, head, sizeof head);
    if (!add_write(draft, at + QCOW2_EXTENSION_HEADER_SIZE, area->data, area->len, error))
        return FALSE;
    /* Eight bytes at a multiple of eight: one sector, never torn. */
    snapset_store_be32(head, QCOW2_EXTENSION_SSET);
    snapset_store_be32(head + 4, size);
    return add_write(draft, at, head, sizeof head, error);
}

/* The drafted header must still be one that QEMU and we read, and may then be sealed. */
static gboolean
check_and_seal(Draft *draft, gboolean seal, GError **error)
{
    SnapsetBytes bytes = {draft->header, draft->size};
    gsize wanted = 0;
    guint8 features[8];
    g_autoptr(SnapsetQcow2Header) h = snapset_qcow2_parse_header(bytes, G_MAXINT64, &wanted, error);

    if (h == NULL || h->sset == NULL) {
        g_prefix_error(error, "the planned header makes no sense: ");
        return h != NULL && snapset_throw(error, SNAPSET_ERROR_FAILED, "the record is not in it");
    }
    draft->plan->seals = (h->autoclear & QCOW2_AUTOCLEAR_SEAL) != 0;
    if (!seal || draft->plan->seals || !snapset_qcow2_header_is_canonical(bytes, h))
        return TRUE;
    draft->plan->seals = TRUE;
    snapset_store_be64(features, h->autoclear | QCOW2_AUTOCLEAR_SEAL);
    return add_write(draft, QCOW2_AT_AUTOCLEAR, features, sizeof features, error);
}

static SnapsetStampPlan *
plan_alloc(void)
{
    SnapsetStampPlan *plan = g_new0(SnapsetStampPlan, 1);
    plan->writes = g_ptr_array_new_with_free_func(write_free);
    return plan;
}

SnapsetStampPlan *
snapset_seal_plan_new(SnapsetBytes header, const SnapsetImage *image, GError **error)
{
    g_autoptr(SnapsetStampPlan) plan = plan_alloc();
    g_autofree guint8 *copy = g_memdup2(header.data, header.size);
    Draft draft = {plan, copy, header.size};

    if (!snapset_stamp_is_possible(image, error) || !check_and_seal(&draft, TRUE, error))
        return NULL;
    return g_steal_pointer(&plan);
}

SnapsetStampPlan *
snapset_stamp_plan_new(SnapsetBytes header, const SnapsetImage *image, SnapsetLedger *ledger,
                       gboolean seal, GError **error)
{
    g_autoptr(SnapsetStampPlan) plan = plan_alloc();
    g_autofree guint8 *copy = g_memdup2(header.data, header.size);
    Draft draft = {plan, copy, header.size};
    gboolean planned;

    if (!snapset_stamp_is_possible(image, error))
        return NULL;
    ledger->sequence = (image->ledger != NULL ? image->ledger->sequence : 0) + 1;
    if (ledger->sequence == G_MAXUINT64) { /* it would count as damaged */
        snapset_throw(error, SNAPSET_ERROR_FAILED, "its record was written too often");
        return NULL;
    }
    if (image->header->sset == NULL)
        planned = plan_extension(&draft, image, ledger, error);
    else if (image->ledger == NULL)
        planned = plan_payload(&draft, image, ledger, error);
    else
        planned = plan_slot(&draft, image, ledger, error);
    if (!planned || !check_and_seal(&draft, seal, error))
        return NULL;
    return g_steal_pointer(&plan);
}
