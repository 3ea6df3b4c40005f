/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record: there and back, what is kept, and that no damage goes unseen. */
#include "common/core/record.h"

#include <string.h>

#include "tests/unit/build-image.h"

#define SLOT 512

/* ---- bytes made by hand ---- */

/* Make the checksum of @slot right, whatever it holds: FORMAT.md, "Slot". */
static void
sign(guint8 *slot)
{
    guint8 digest[32];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    memset(slot + 16, 0, 8);
    g_checksum_update(sum, slot, snapset_load_be32(slot + 8));
    g_checksum_get_digest(sum, digest, &size);
    memcpy(slot + 16, digest, 8);
}

/* The example of FORMAT.md: a ledger in words, and its slot in bytes. */
static const guint8 example[112] =
    "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x70\x00\x00\x00\x01"
    "\x4e\x41\xed\x17\x78\xe9\xc6\x92\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x0c\x6f\x2a\x9e\x5b\x1d\x4e\x77\x9a\x43\x7d\x20\xf1\xc8\xb6\xe5"
    "\x00\x40\x00\x02\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00"
    "\x61\xaf\xcb\xdf\x18\xbf\x83\xd6\x0c\x6f\x2a\x9e\x5b\x1d\x4e\x77"
    "\x9a\x43\x7d\x20\xf1\xc8\xb6\xe5\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x63\x6c\x65\x61\x6e\x00\x00";

static SnapsetLedger *
example_ledger(void)
{
    SnapsetLedger *ledger = snapset_ledger_new();
    SnapsetUuid identity;

    g_assert_true(snapset_uuid_parse("0c6f2a9e-5b1d-4e77-9a43-7d20f1c8b6e5", &identity));
    SnapsetRecord *record = snapset_record_new(&identity, 0x61afcbdf18bf83d6);
    record->flags = SNAPSET_RECORD_PROTECTED;
    record->members = 2;
    record->description = g_strdup("clean");
    g_ptr_array_add(ledger->records, record);
    ledger->sequence = 1;
    ledger->current = identity;
    return ledger;
}

static GBytes *
encode(const SnapsetLedger *ledger)
{
    g_autoptr(GError) error = NULL;
    GBytes *bytes = snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, &error);
    g_assert_no_error(error);
    return bytes;
}

static SnapsetBytes
borrow(GBytes *bytes)
{
    return (SnapsetBytes){g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes)};
}

static void
test_example(void)
{
    g_autoptr(SnapsetLedger) ledger = example_ledger();
    g_autoptr(GBytes) bytes = encode(ledger);
    g_autoptr(SnapsetLedger) decoded =
        snapset_ledger_decode((SnapsetBytes){example, sizeof example});

    g_assert_cmpmem(borrow(bytes).data, borrow(bytes).size, example, sizeof example);
    g_assert_nonnull(decoded);
    g_assert_cmpuint(decoded->sequence, ==, 1);
    g_assert_cmpuint(decoded->records->len, ==, 1);
    const SnapsetRecord *record = decoded->records->pdata[0];
    g_assert_true(snapset_uuid_equal(&decoded->current, &record->identity));
    g_assert_true(snapset_uuid_is_nil(&record->parent));
    g_assert_cmpint(record->flags, ==, SNAPSET_RECORD_PROTECTED);
    g_assert_cmpuint(record->members, ==, 2);
    g_assert_cmphex(record->binding, ==, 0x61afcbdf18bf83d6);
    g_assert_cmpstr(record->description, ==, "clean");
    g_assert_null(record->tag);
    g_assert_null(record->trailing);
    g_assert_null(decoded->trailing);
}

/* ---- there and back ---- */

static const struct {
    const char *name;
    guint records;
    guint16 flags, members;
    const char *tag, *description, *trailing, *slot_trailing;
} trips[] = {
    {"empty", 0, 0, 0, NULL, NULL, NULL, NULL},
    {"one", 1, 0, 0, NULL, NULL, NULL, NULL},
    {"many", 200, SNAPSET_RECORD_SINGLE, 7, NULL, NULL, NULL, NULL},
    {"known-flags", 2, 15, 65535, NULL, NULL, NULL, NULL},
    {"unknown-flags", 2, 0xfff0, 1, NULL, NULL, NULL, NULL},
    {"all-flags", 2, 0xffff, 1, NULL, NULL, NULL, NULL},
    {"description-of-1", 3, 0, 1, NULL, "d", NULL, NULL},
    {"description-of-7", 3, 0, 1, NULL, "1234567", NULL, NULL},
    {"description-of-8", 3, 0, 1, NULL, "12345678", NULL, NULL},
    {"description-of-9", 3, 0, 1, NULL, "123456789", NULL, NULL},
    {"external", 2, SNAPSET_RECORD_EXTERNAL, 1, "tag", NULL, NULL, NULL},
    {"external-described", 2, SNAPSET_RECORD_EXTERNAL, 1, "tag", "gr\303\266\303\237e", NULL, NULL},
    {"trailing", 2, 0, 1, NULL, NULL, "12345678", NULL},
    {"trailing-after-text", 2, 0, 1, "t", "d", "1234567890123456", NULL},
    {"slot-trailing", 2, 0, 1, NULL, NULL, NULL, "xyz"},
    {"slot-trailing-alone", 0, 0, 0, NULL, NULL, NULL, "later"},
    {"everything", 3, 0xabcd, 1234, "tag", "description", "trailing", "slot"},
};

static SnapsetLedger *
trip_ledger(gsize row)
{
    SnapsetLedger *ledger = snapset_ledger_new();

    ledger->sequence = 0x0123456789abcdef;
    ledger->current = build_uuid("Q");
    for (guint i = 0; i < trips[row].records; i++) {
        char letter[] = {'A' + i % 26, '\0'};
        SnapsetUuid identity = build_uuid(letter);
        SnapsetRecord *record = snapset_record_new(&identity, 0xfedcba9876543210 - i);
        record->flags = trips[row].flags;
        record->members = trips[row].members;
        record->parent = build_uuid(i % 2 == 0 ? "P" : "-");
        record->tag = g_strdup(trips[row].tag);
        record->description = g_strdup(trips[row].description);
        if (trips[row].trailing != NULL)
            record->trailing = g_bytes_new(trips[row].trailing, strlen(trips[row].trailing));
        g_ptr_array_add(ledger->records, record);
    }
    if (trips[row].slot_trailing != NULL)
        ledger->trailing = g_bytes_new(trips[row].slot_trailing, strlen(trips[row].slot_trailing));
    return ledger;
}

static void
assert_same_bytes(GBytes *a, GBytes *b)
{
    g_assert_cmpint(a == NULL, ==, b == NULL);
    if (a != NULL && b != NULL)
        g_assert_true(g_bytes_equal(a, b));
}

static void
assert_same_ledger(const SnapsetLedger *a, const SnapsetLedger *b)
{
    g_assert_cmpuint(a->sequence, ==, b->sequence);
    g_assert_true(snapset_uuid_equal(&a->current, &b->current));
    assert_same_bytes(a->trailing, b->trailing);
    g_assert_cmpuint(a->records->len, ==, b->records->len);
    for (guint i = 0; i < a->records->len; i++) {
        const SnapsetRecord *left = a->records->pdata[i];
        const SnapsetRecord *right = b->records->pdata[i];
        g_assert_cmphex(left->flags, ==, right->flags);
        g_assert_cmpuint(left->members, ==, right->members);
        g_assert_cmphex(left->binding, ==, right->binding);
        g_assert_true(snapset_uuid_equal(&left->identity, &right->identity));
        g_assert_true(snapset_uuid_equal(&left->parent, &right->parent));
        g_assert_cmpstr(left->tag, ==, right->tag);
        g_assert_cmpstr(left->description, ==, right->description);
        assert_same_bytes(left->trailing, right->trailing);
    }
}

static void
test_trip(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetLedger) ledger = trip_ledger(row);
    g_autoptr(GBytes) bytes = encode(ledger);
    g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode(borrow(bytes));
    g_autoptr(SnapsetLedger) copy = snapset_ledger_copy(ledger);

    g_assert_nonnull(decoded);
    assert_same_ledger(ledger, decoded);
    assert_same_ledger(ledger, copy);
    g_autoptr(GBytes) again = encode(decoded);
    g_assert_true(g_bytes_equal(bytes, again));
}

/* Every length is a multiple of 8, as the layout promises to readers. */
static void
test_alignment(void)
{
    for (gsize row = 0; row < G_N_ELEMENTS(trips); row++) {
        g_autoptr(SnapsetLedger) ledger = trip_ledger(row);
        g_clear_pointer(&ledger->trailing, g_bytes_unref);
        g_autoptr(GBytes) bytes = encode(ledger);
        gsize at = SNAPSET_SLOT_HEADER_SIZE;
        for (guint i = 0; i < ledger->records->len; i++) {
            guint16 length = snapset_load_be16(borrow(bytes).data + at);
            g_assert_cmpuint(length % 8, ==, 0);
            at += length;
        }
        g_assert_cmpuint(at, ==, borrow(bytes).size);
    }
}

/* ---- damage ---- */

static void
test_every_flipped_bit(void)
{
    g_autoptr(SnapsetLedger) ledger = trip_ledger(G_N_ELEMENTS(trips) - 1);
    g_autoptr(GBytes) bytes = encode(ledger);
    gsize size = borrow(bytes).size;
    g_autofree guint8 *slot = g_malloc0(SLOT);

    g_assert_cmpuint(size, <=, SLOT);
    memcpy(slot, borrow(bytes).data, size);
    for (gsize bit = 0; bit < size * 8; bit++) {
        slot[bit / 8] ^= 1 << bit % 8;
        g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){slot, SLOT});
        g_assert_null(decoded);
        slot[bit / 8] ^= 1 << bit % 8;
    }
    /* behind the bytes in use nothing matters */
    memset(slot + size, 0xff, SLOT - size);
    g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){slot, SLOT});
    g_assert_nonnull(decoded);
    assert_same_ledger(ledger, decoded);
}

static void
test_every_truncation(void)
{
    for (gsize size = 0; size < sizeof example; size++) {
        g_autofree guint8 *part = g_memdup2(example, size); /* no byte more, for the sanitizers */
        g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){part, size});
        g_assert_null(decoded);
    }
}

/* A slot that another moment's write was torn into, at every byte. */
static void
test_every_torn_write(void)
{
    g_autoptr(SnapsetLedger) old = trip_ledger(G_N_ELEMENTS(trips) - 1);
    g_autoptr(SnapsetLedger) new = snapset_ledger_copy(old);
    ((SnapsetRecord *)new->records->pdata[0])->members++;
    new->sequence++;
    g_autoptr(GBytes) before = encode(old);
    g_autoptr(GBytes) after = encode(new);
    gsize size = borrow(before).size;
    guint8 slot[SLOT] = {0};

    g_assert_cmpuint(size, ==, borrow(after).size);
    for (gsize cut = 0; cut <= size; cut++) {
        memcpy(slot, borrow(after).data, cut);
        memcpy(slot + cut, borrow(before).data + cut, size - cut);
        g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){slot, SLOT});
        gboolean is_old = memcmp(slot, borrow(before).data, size) == 0;
        gboolean is_new = memcmp(slot, borrow(after).data, size) == 0;
        g_assert_cmpint(decoded != NULL, ==, is_old || is_new);
    }
}

/* Slots whose checksum is right and whose content is not. */
static const struct {
    const char *name;
    guint offset, size; /* what to overwrite in the example */
    guint64 value;
    gboolean valid;
    guint32 used; /* bytes in use; 0: as they are */
} forged[] = {
    {"untouched", 0, 8, 1, TRUE, 0},
    {"sequence-of-a-large-number", 0, 8, G_MAXUINT64 - 1, TRUE, 0},
    {"sequence-that-nothing-can-follow", 0, 8, G_MAXUINT64, FALSE, 0},
    {"used-without-records", 8, 4, 48, FALSE, 0},
    {"used-below-the-header", 8, 4, 47, FALSE, 0},
    {"used-far-below-the-header", 8, 4, 24, FALSE, 0},
    {"used-cuts-the-record", 8, 4, 104, FALSE, 0},
    {"used-cuts-the-padding", 8, 4, 109, FALSE, 0},
    {"used-reaches-into-the-rest", 8, 4, 120, TRUE, 0},
    {"used-to-the-end", 8, 4, SLOT, TRUE, 0},
    {"no-records", 12, 4, 0, TRUE, 0},
    {"one-record-more", 12, 4, 2, FALSE, 0},
    {"records-without-end", 12, 4, G_MAXUINT32, FALSE, 0},
    {"reserved-in-the-slot", 24, 8, G_MAXUINT64, TRUE, 0},
    {"length-0", 48, 2, 0, FALSE, 0},
    {"length-below-the-header", 48, 2, 48, FALSE, 0},
    {"length-of-the-header", 48, 2, 56, FALSE, 0}, /* the description is outside */
    {"length-odd", 48, 2, 63, FALSE, 0},
    {"length-4-more", 48, 2, 68, FALSE, 0},
    {"length-4-more-in-use", 48, 2, 68, FALSE, 120},
    {"length-8-more-in-use", 48, 2, 72, TRUE, 120},
    {"length-past-the-used", 48, 2, 72, FALSE, 0},
    {"length-most", 48, 2, 0xfff8, FALSE, 0},
    {"flags-unknown", 50, 2, 0xfff0, TRUE, 0},
    {"tag-and-description", 54, 2, 3, TRUE, 0},
    {"tag-too-long-for-both", 54, 2, 4, FALSE, 0},
    {"tag-past-the-record", 54, 2, 9, FALSE, 0},
    {"tag-most", 54, 2, 0xffff, FALSE, 0},
    {"description-fills-the-record", 56, 2, 8, TRUE, 0},
    {"description-past-the-record", 56, 2, 9, FALSE, 0},
    {"description-most", 56, 2, 0xffff, FALSE, 0},
    {"reserved-in-the-record", 58, 4, G_MAXUINT32, TRUE, 0},
};

static void
test_forged(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autofree guint8 *slot = g_malloc0(SLOT);
    guint64 value = GUINT64_TO_BE(forged[row].value);

    memcpy(slot, example, sizeof example);
    memcpy(slot + forged[row].offset, (const guint8 *)&value + 8 - forged[row].size,
           forged[row].size);
    if (forged[row].used != 0)
        snapset_store_be32(slot + 8, forged[row].used);
    sign(slot);
    g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){slot, SLOT});
    g_assert_cmpint(decoded != NULL, ==, forged[row].valid);
}

/* "Bytes in use" outside its bounds, where no checksum can be computed. */
static void
test_used_out_of_bounds(void)
{
    static const guint32 values[] = {0, 1, 16, 24, 47, SLOT + 1, 0x7fffffff, G_MAXUINT32};
    for (gsize i = 0; i < G_N_ELEMENTS(values); i++) {
        guint8 slot[SLOT] = {0};
        memcpy(slot, example, sizeof example);
        snapset_store_be32(slot + 8, values[i]);
        g_autoptr(SnapsetLedger) decoded = snapset_ledger_decode((SnapsetBytes){slot, SLOT});
        g_assert_null(decoded);
    }
}

/* ---- room ---- */

static void
test_room(void)
{
    static const struct {
        guint32 slot_size;
        gboolean fits;
    } rows[] = {{112, TRUE}, {113, TRUE}, {111, FALSE}, {48, FALSE}, {0, FALSE}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(SnapsetLedger) ledger = example_ledger();
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) bytes = snapset_ledger_encode(ledger, rows[i].slot_size, &error);
        g_assert_cmpint(bytes != NULL, ==, rows[i].fits);
        if (bytes == NULL)
            g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM);
    }
}

static void
test_too_long(void)
{
    static const struct {
        gsize tag, description;
    } rows[] = {{0, 40000}, {40000, 0}, {20000, 20000}, {0, 65536}, {65530, 0}, {0, 32768}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(SnapsetLedger) ledger = example_ledger();
        SnapsetRecord *record = ledger->records->pdata[0];
        g_autoptr(GError) error = NULL;
        g_clear_pointer(&record->description, g_free);
        if (rows[i].tag != 0)
            record->tag = g_strnfill(rows[i].tag, 't');
        if (rows[i].description != 0)
            record->description = g_strnfill(rows[i].description, 'd');
        g_assert_null(snapset_ledger_encode(ledger, G_MAXUINT32, &error));
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
    }
    g_autoptr(SnapsetLedger) ledger = example_ledger();
    g_autoptr(GError) error = NULL;
    ((SnapsetRecord *)ledger->records->pdata[0])->trailing =
        g_bytes_new_take(g_malloc0(65536), 65536);
    g_assert_null(snapset_ledger_encode(ledger, G_MAXUINT32, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
}

/* ---- values ---- */

static void
test_find(void)
{
    g_autoptr(GPtrArray) images = build_images("a: ~A ~B ~A");
    const SnapsetLedger *ledger = ((SnapsetImage *)images->pdata[0])->ledger;
    SnapsetUuid a = build_uuid("A");
    SnapsetUuid b = build_uuid("B");
    SnapsetUuid c = build_uuid("C");

    g_assert_true(snapset_ledger_find(ledger, &a) == ledger->records->pdata[0]);
    g_assert_true(snapset_ledger_find(ledger, &b) == ledger->records->pdata[1]);
    g_assert_null(snapset_ledger_find(ledger, &c));
}

static void
test_parent_is_unknown(void)
{
    static const struct {
        guint16 flags;
        const char *parent;
        gboolean unknown;
    } rows[] = {
        {0, "-", FALSE},
        {0, "A", FALSE},
        {SNAPSET_RECORD_PARENT_INFERRED, "-", TRUE},
        {SNAPSET_RECORD_PARENT_INFERRED, "A", FALSE},
        {0xffff, "-", TRUE},
        {0xffff & ~SNAPSET_RECORD_PARENT_INFERRED, "-", FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        SnapsetRecord record = {.flags = rows[i].flags, .parent = build_uuid(rows[i].parent)};
        g_assert_cmpint(snapset_record_parent_is_unknown(&record), ==, rows[i].unknown);
    }
}

/* Of two records with one binding the later counts; of many just as of few. */
static void
test_binding(void)
{
    static const guint others[] = {0, 1, 14, 15, 16, 17, 60};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GString) set = g_string_new("a: x@1=A x@1=B x@1=Ce y@2");
        for (guint j = 0; j < others[i]; j++)
            g_string_append_printf(set, " o%u@%u=D", j, j + 10);
        g_autoptr(GPtrArray) images = build_images(set->str);
        const SnapsetImage *image = images->pdata[0];
        SnapsetUuid b = build_uuid("B");
        for (guint j = 0; j < 3; j++)
            g_assert_true(snapset_uuid_equal(&snapset_image_entry(image, j)->identity, &b));
        g_assert_null(snapset_image_entry(image, 3)->record);
        for (guint j = 0; j < others[i]; j++)
            g_assert_true(snapset_image_entry(image, 4 + j)->record ==
                          image->ledger->records->pdata[3 + j]);
    }
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/record/" folder "/%s", (rows)[i].name);          \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/record/example", test_example);
    ADD_ROWS("round-trip", trips, test_trip)
    g_test_add_func("/record/alignment", test_alignment);
    g_test_add_func("/record/every-flipped-bit", test_every_flipped_bit);
    g_test_add_func("/record/every-truncation", test_every_truncation);
    g_test_add_func("/record/every-torn-write", test_every_torn_write);
    ADD_ROWS("forged", forged, test_forged)
    g_test_add_func("/record/used-out-of-bounds", test_used_out_of_bounds);
    g_test_add_func("/record/room", test_room);
    g_test_add_func("/record/too-long", test_too_long);
    g_test_add_func("/record/find", test_find);
    g_test_add_func("/record/parent-is-unknown", test_parent_is_unknown);
    g_test_add_func("/record/binding", test_binding);
    return g_test_run();
}
