/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record's payload: which slot counts, and what makes no sense. */
#include "common/core/record.h"

#include <string.h>

#include "tests/unit/build-image.h"

#define SLOT 512

/* A ledger of 104 bytes. */
static SnapsetLedger *
small_ledger(void)
{
    g_autoptr(GPtrArray) images = build_images("a: ~A >A");
    return snapset_ledger_copy(((SnapsetImage *)images->pdata[0])->ledger);
}

static GBytes *
encode(const SnapsetLedger *ledger)
{
    return snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, NULL);
}

static SnapsetBytes
borrow(GBytes *bytes)
{
    return (SnapsetBytes){g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes)};
}

static guint8 *
payload_of(GBytes *slots[2], gsize *ret_size)
{
    *ret_size = SNAPSET_PAYLOAD_HEADER_SIZE + 2 * SLOT;
    guint8 *payload = g_malloc0(*ret_size);
    snapset_store_be16(payload, 1);
    snapset_store_be16(payload + 2, 2);
    snapset_store_be32(payload + 4, SLOT);
    for (guint i = 0; i < 2; i++) {
        if (slots[i] != NULL)
            memcpy(payload + SNAPSET_PAYLOAD_HEADER_SIZE + i * SLOT, borrow(slots[i]).data,
                   borrow(slots[i]).size);
    }
    return payload;
}

#define NEVER 0    /* a slot never written */
#define DAMAGED -1 /* one that is damaged, of sequence 7 */

static const struct {
    const char *name;
    gint64 slots[2]; /* sequences, or one of the above */
    SnapsetLedgerState state;
    gint64 sequence; /* of the ledger found; DAMAGED: none is */
    guint slot;
} choices[] = {
    {"never-written", {NEVER, NEVER}, SNAPSET_LEDGER_GOOD, 0, 0},
    {"first", {1, NEVER}, SNAPSET_LEDGER_GOOD, 1, 0},
    {"second", {NEVER, 1}, SNAPSET_LEDGER_GOOD, 1, 1},
    {"second-is-newer", {1, 2}, SNAPSET_LEDGER_GOOD, 2, 1},
    {"first-is-newer", {3, 2}, SNAPSET_LEDGER_GOOD, 3, 0},
    {"much-newer", {G_MAXINT64, 2}, SNAPSET_LEDGER_GOOD, G_MAXINT64, 0},
    {"equal", {5, 5}, SNAPSET_LEDGER_GOOD, 5, 0},
    {"first-damaged", {DAMAGED, 6}, SNAPSET_LEDGER_ONE_DAMAGED, 6, 1},
    {"second-damaged", {6, DAMAGED}, SNAPSET_LEDGER_ONE_DAMAGED, 6, 0},
    {"damaged-and-never-written", {DAMAGED, NEVER}, SNAPSET_LEDGER_DAMAGED, DAMAGED, 0},
    {"never-written-and-damaged", {NEVER, DAMAGED}, SNAPSET_LEDGER_DAMAGED, DAMAGED, 0},
    {"both-damaged", {DAMAGED, DAMAGED}, SNAPSET_LEDGER_DAMAGED, DAMAGED, 0},
};

static GBytes *
slot_bytes(gint64 sequence)
{
    g_autoptr(SnapsetLedger) ledger = small_ledger();

    if (sequence == NEVER)
        return NULL;
    ledger->sequence = sequence == DAMAGED ? 7 : sequence;
    g_autoptr(GBytes) bytes = encode(ledger);
    gsize size = borrow(bytes).size;
    g_autofree guint8 *copy = g_memdup2(borrow(bytes).data, size);
    copy[size - 1] ^= sequence == DAMAGED;
    return g_bytes_new_take(g_steal_pointer(&copy), size);
}

static void
test_choice(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    gsize size = 0;
    guint32 slot_size = 99;
    guint slot = 99;
    g_autoptr(SnapsetLedger) ledger = NULL;
    g_autoptr(GBytes) first = slot_bytes(choices[row].slots[0]);
    g_autoptr(GBytes) second = slot_bytes(choices[row].slots[1]);
    g_autofree guint8 *payload = payload_of((GBytes *[]){first, second}, &size);

    g_assert_cmpint(snapset_ledger_read((SnapsetBytes){payload, size}, &ledger, &slot_size, &slot),
                    ==, choices[row].state);
    g_assert_cmpuint(slot_size, ==, SLOT);
    g_assert_cmpint(ledger != NULL, ==, choices[row].sequence != DAMAGED);
    if (ledger == NULL)
        return;
    g_assert_cmpuint(ledger->sequence, ==, (guint64)choices[row].sequence);
    g_assert_cmpuint(slot, ==, choices[row].slot);
    g_assert_cmpuint(ledger->records->len, ==, choices[row].sequence != 0);
}

/* The fast way finds what the thorough one does, or says that it cannot. */
static void
test_newest(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    gsize size = 0;
    guint32 slot_size = 99;
    guint slot = 99;
    g_autoptr(SnapsetLedger) ledger = NULL;
    g_autoptr(GBytes) first = slot_bytes(choices[row].slots[0]);
    g_autoptr(GBytes) second = slot_bytes(choices[row].slots[1]);
    g_autofree guint8 *payload = payload_of((GBytes *[]){first, second}, &size);
    gboolean sure = choices[row].state == SNAPSET_LEDGER_GOOD && choices[row].sequence != 0;

    g_assert_cmpint(
        snapset_ledger_read_newest((SnapsetBytes){payload, size}, &ledger, &slot_size, &slot), ==,
        sure);
    g_assert_cmpint(ledger != NULL, ==, sure);
    g_assert_cmpuint(slot_size, ==, sure ? SLOT : 99);
    g_assert_cmpuint(slot, ==, sure ? choices[row].slot : 99);
    if (ledger != NULL)
        g_assert_cmpuint(ledger->sequence, ==, (guint64)choices[row].sequence);
}

static const struct {
    const char *name;
    guint16 version, slots;
    guint32 slot_size;
    gssize size; /* of the payload; less than 0: so much less than it should be */
    SnapsetLedgerState state;
} payloads[] = {
    {"right", 1, 2, SLOT, 0, SNAPSET_LEDGER_GOOD},
    {"bytes-behind", 1, 2, SLOT, 5000, SNAPSET_LEDGER_GOOD},
    {"smallest-slots", 1, 2, 48, 0, SNAPSET_LEDGER_GOOD},
    {"largest-slots", 1, 2, SNAPSET_SLOT_SIZE_MAX, 0, SNAPSET_LEDGER_GOOD},
    {"version-0", 0, 2, SLOT, 0, SNAPSET_LEDGER_FOREIGN},
    {"version-2", 2, 2, SLOT, 0, SNAPSET_LEDGER_FOREIGN},
    {"version-256", 256, 2, SLOT, 0, SNAPSET_LEDGER_FOREIGN},
    {"version-2-with-other-slots", 2, 3, 7, 16, SNAPSET_LEDGER_FOREIGN},
    {"one-slot", 1, 1, SLOT, 0, SNAPSET_LEDGER_DAMAGED},
    {"three-slots", 1, 3, SLOT, 5000, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-0", 1, 2, 0, 1000, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-40", 1, 2, 40, 1000, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-odd", 1, 2, 52, 1000, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-too-large", 1, 2, SNAPSET_SLOT_SIZE_MAX + 8, 0, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-past-everything", 1, 2, 0xfffffff8, 5000, SNAPSET_LEDGER_DAMAGED},
    {"slot-size-that-overflows", 1, 2, 0x80000000, 5000, SNAPSET_LEDGER_DAMAGED},
    {"byte-missing", 1, 2, SLOT, -1, SNAPSET_LEDGER_DAMAGED},
    {"second-slot-missing", 1, 2, SLOT, -SLOT, SNAPSET_LEDGER_DAMAGED},
    {"header-only", 1, 2, SLOT, 16, SNAPSET_LEDGER_DAMAGED},
    {"header-cut", 1, 2, SLOT, 15, SNAPSET_LEDGER_DAMAGED},
    {"header-cut-of-another-version", 2, 2, SLOT, 15, SNAPSET_LEDGER_DAMAGED},
};

static void
test_payload(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    gsize size = SNAPSET_PAYLOAD_HEADER_SIZE + 2 * (gsize)payloads[row].slot_size;
    if (payloads[row].size != 0)
        size = payloads[row].size > 0 ? (gsize)payloads[row].size : size + payloads[row].size;
    guint8 head[16] = {0};
    g_autofree guint8 *payload = g_malloc0(size);
    g_autoptr(SnapsetLedger) ledger = NULL;
    g_autoptr(SnapsetLedger) newest = NULL;
    guint32 slot_size = 99;
    guint slot = 99;

    snapset_store_be16(head, payloads[row].version);
    snapset_store_be16(head + 2, payloads[row].slots);
    snapset_store_be32(head + 4, payloads[row].slot_size);
    memcpy(payload, head, MIN(size, sizeof head));
    g_assert_false(
        snapset_ledger_read_newest((SnapsetBytes){payload, size}, &newest, &slot_size, &slot));
    g_assert_cmpuint(slot_size, ==, 99);
    g_assert_cmpint(snapset_ledger_read((SnapsetBytes){payload, size}, &ledger, &slot_size, &slot),
                    ==, payloads[row].state);
    g_assert_cmpuint(slot_size, ==,
                     payloads[row].state == SNAPSET_LEDGER_GOOD ? payloads[row].slot_size : 0);
    g_assert_cmpint(ledger != NULL, ==, payloads[row].state == SNAPSET_LEDGER_GOOD);
    g_assert_cmpuint(slot, ==, 0);
}

static void
test_new_payload(void)
{
    g_autoptr(SnapsetLedger) ledger = small_ledger();
    g_autoptr(GBytes) empty = snapset_payload_new(NULL, SLOT, NULL);
    g_autoptr(GBytes) full = snapset_payload_new(ledger, SLOT, NULL);
    g_autoptr(SnapsetLedger) read = NULL;
    g_autoptr(GError) error = NULL;
    guint32 slot_size = 0;
    guint slot = 9;

    g_assert_cmpuint(borrow(empty).size, ==, SNAPSET_PAYLOAD_HEADER_SIZE + 2 * SLOT);
    g_assert_cmpint(snapset_ledger_read(borrow(full), &read, &slot_size, &slot), ==,
                    SNAPSET_LEDGER_GOOD);
    g_autoptr(GBytes) before = encode(ledger);
    g_autoptr(GBytes) after = encode(read);
    g_assert_true(g_bytes_equal(before, after));
    g_assert_cmpuint(slot, ==, 0);
    g_assert_null(snapset_payload_new(ledger, 96, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM);
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/record-payload/" folder "/%s", (rows)[i].name);  \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("choice", choices, test_choice)
    ADD_ROWS("newest", choices, test_newest)
    ADD_ROWS("header", payloads, test_payload)
    g_test_add_func("/record-payload/new", test_new_payload);
    return g_test_run();
}
