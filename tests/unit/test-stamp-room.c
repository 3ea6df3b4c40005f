/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stamping: how much room a record gets, and where nothing may be written at all. */
#include "common/core/stamp-plan.h"

#include <string.h>

#include "tests/unit/build-image.h"
#include "tests/unit/build-qcow2.h"

/* An image and what is to be written into it. */
typedef struct {
    SnapsetBytes bytes;
    SnapsetImage *image;
    SnapsetLedger *ledger;
} Trial;

static Trial
trial_of(GByteArray *bytes, guint64 file_size, const char *records)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *set = g_strdup_printf("a: %s", records);
    g_autoptr(GPtrArray) images = build_images(set);
    Trial trial = {{bytes->data, bytes->len}, NULL, NULL};

    trial.image = build_qcow2_image(trial.bytes, file_size, &error);
    g_assert_no_error(error);
    trial.ledger = snapset_ledger_copy(((SnapsetImage *)images->pdata[0])->ledger);
    return trial;
}

static void
trial_clear(Trial *trial)
{
    snapset_image_free(trial->image);
    snapset_ledger_free(trial->ledger);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trial, trial_clear)

static SnapsetStampPlan *
plan_for(Trial *trial, gboolean seal, GError **error)
{
    gsize size = MIN(trial->bytes.size, SNAPSET_HEADER_BYTES);
    g_autofree guint8 *exact = g_memdup2(trial->bytes.data, size); /* for the sanitizers */
    return snapset_stamp_plan_new((SnapsetBytes){exact, size}, trial->image, trial->ledger, seal,
                                  error);
}

static void
test_slot_sizes(void)
{
    static const struct {
        guint32 cluster_bits;
        BuildTable table;
        guint32 foreign_length, slot_size;
    } sizes[] = {
        {12, BUILD_NO_TABLE, 0, 1424},
        {12, BUILD_NO_TABLE, 8, 1416},
        {12, BUILD_NO_TABLE, 9, 1408},
        {12, BUILD_NO_TABLE, 1809, 512},
        {12, BUILD_QEMU_TABLE, 0, 1224},
        {13, BUILD_QEMU_TABLE, 0, 3272},
        {13, BUILD_NO_TABLE, 0, 3272}, /* kept free for it */
        {13, BUILD_OLD_TABLE, 0, 3272},
        {14, BUILD_QEMU_TABLE, 0, 7368},
        {15, BUILD_QEMU_TABLE, 0, SNAPSET_SLOT_SIZE_MAX},
        {16, BUILD_QEMU_TABLE, 0, SNAPSET_SLOT_SIZE_MAX},
        {16, BUILD_QEMU_TABLE, 2000, 14560},
        {21, BUILD_QEMU_TABLE, 0, SNAPSET_SLOT_SIZE_MAX},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        BuildQcow2 what = {.cluster_bits = sizes[i].cluster_bits,
                           .table = sizes[i].table,
                           .foreign_length = sizes[i].foreign_length};
        g_autoptr(GByteArray) bytes = build_qcow2(&what);
        g_auto(Trial) trial = trial_of(bytes, build_qcow2_file_size(&what), "~C");
        g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, FALSE, NULL);
        const SnapsetStampWrite *last = plan->writes->pdata[plan->writes->len - 1];
        const guint8 *head = g_bytes_get_data(last->bytes, NULL);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmphex(snapset_load_be32(head), ==, QCOW2_EXTENSION_SSET);
        g_assert_cmpuint((snapset_load_be32(head + 4) - 16) / 2, ==, sizes[i].slot_size);
    }
}

#define BIT(n) (G_GUINT64_CONSTANT(1) << (n))

/* Where nothing may be written: the header as built, with one number changed. */
/* clang-format off */
static const struct {
    const char *name;
    BuildQcow2 what;
    guint32 offset, size;
    guint64 value;
    int code;
    const char *message;
} refusals[] = {
    {"512", {.cluster_bits = 9}, 0, 0, 0, SNAPSET_ERROR_NO_ROOM, "clusters of 512 bytes"},
    {"2k", {.cluster_bits = 11}, 0, 0, 0, SNAPSET_ERROR_NO_ROOM, "clusters of 2048 bytes"},
    {"4k-full",
     {.cluster_bits = 12, .foreign_length = 1817},
     0,
     0,
     0,
     SNAPSET_ERROR_NO_ROOM,
     "the header is full"},
    {"4k-fuller",
     {.cluster_bits = 12, .foreign_length = 3900},
     0,
     0,
     0,
     SNAPSET_ERROR_NO_ROOM,
     "the header is full"},
    {"64k-full", {.foreign_length = 40000}, 0, 0, 0, SNAPSET_ERROR_NO_ROOM, "the header is full"},
    {"dirty",
     {.table = BUILD_QEMU_TABLE},
     72,
     8,
     BIT(0),
     SNAPSET_ERROR_FAILED,
     "not closed cleanly"},
    {"corrupt", {.table = BUILD_QEMU_TABLE}, 72, 8, BIT(1), SNAPSET_ERROR_FAILED, "corrupt"},
    {"data-file", {.table = BUILD_QEMU_TABLE}, 72, 8, BIT(2), SNAPSET_ERROR_FAILED, "another file"},
    {"two-records",
     {.slot_size = 512, .foreign_length = 8},
     112,
     4,
     0x53534554,
     SNAPSET_ERROR_FAILED,
     "two records"},
    {"foreign-layout", {.slot_size = 512}, 120, 2, 2, SNAPSET_ERROR_FAILED, "layout"},
    {"header-length-105", {0}, 100, 4, 105, SNAPSET_ERROR_FAILED, "unusual layout"},
    {"no-end-marker",
     {.foreign_length = 8},
     116,
     4,
     65536 - 120,
     SNAPSET_ERROR_FAILED,
     "unusual layout"},
    {"auto-clear-without-bitmaps",
     {.table = BUILD_QEMU_TABLE},
     88,
     8,
     BIT(0),
     SNAPSET_ERROR_FAILED,
     "unusual layout"},
    {"l1-table-in-the-header",
     {.table = BUILD_QEMU_TABLE},
     40,
     8,
     0,
     SNAPSET_ERROR_FAILED,
     "unusual layout"},
    {"refcount-table-in-the-header",
     {.table = BUILD_QEMU_TABLE},
     48,
     8,
     0,
     SNAPSET_ERROR_FAILED,
     "unusual layout"},
};
/* clang-format on */

static void
test_refusal(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) bytes = build_qcow2(&refusals[row].what);
    guint64 value = GUINT64_TO_BE(refusals[row].value);
    memcpy(bytes->data + refusals[row].offset, (guint8 *)&value + 8 - refusals[row].size,
           refusals[row].size);
    g_auto(Trial) trial = trial_of(bytes, build_qcow2_file_size(&refusals[row].what), "~C");
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) of_plan = NULL;

    g_assert_false(snapset_stamp_is_possible(trial.image, &error));
    g_assert_error(error, SNAPSET_ERROR, refusals[row].code);
    g_assert_nonnull(strstr(error->message, refusals[row].message));
    g_assert_false(snapset_stamp_fits(trial.image, trial.ledger, NULL));
    g_assert_null(plan_for(&trial, TRUE, &of_plan));
    g_assert_error(of_plan, SNAPSET_ERROR, refusals[row].code);
}

static void
test_not_local(void)
{
    g_autoptr(SnapsetImage) image = snapset_image_new("nbd:x", "qcow2");
    g_autoptr(GError) error = NULL;
    g_assert_false(snapset_stamp_is_possible(image, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
}

/* Where other ledgers would do, one too large does not fit, and that is found before any write. */
static void
test_fits(void)
{
    static const struct {
        BuildQcow2 what;
        guint records;
        gboolean fits;
    } sizes[] = {
        {{.cluster_bits = 12}, 24, TRUE},
        {{.cluster_bits = 12}, 25, FALSE},
        {{.table = BUILD_QEMU_TABLE}, 273, TRUE},
        {{.table = BUILD_QEMU_TABLE}, 274, FALSE},
        {{.slot_size = 512}, 8, TRUE},
        {{.slot_size = 512}, 9, FALSE},
        {{.slot_size = 48}, 0, TRUE},
        {{.slot_size = 48}, 1, FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GByteArray) bytes = build_qcow2(&sizes[i].what);
        g_autoptr(GString) records = g_string_new(">A");
        for (guint j = 0; j < sizes[i].records; j++)
            g_string_append(records, " ~A");
        g_auto(Trial) trial = trial_of(bytes, build_qcow2_file_size(&sizes[i].what), records->str);
        g_autoptr(GError) error = NULL;
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpint(snapset_stamp_fits(trial.image, trial.ledger, &error), ==, sizes[i].fits);
        if (!sizes[i].fits)
            g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM);
        g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, TRUE, NULL);
        g_assert_cmpint(plan != NULL, ==, sizes[i].fits);
    }
}

/* A damaged payload that is too small for any slot cannot be written anew. */
static void
test_tiny_payload(void)
{
    static const guint32 lengths[] = {0, 8, 15, 16, 16 + 2 * 47};
    for (gsize i = 0; i < G_N_ELEMENTS(lengths); i++) {
        BuildQcow2 what = {.foreign_length = MAX(lengths[i], 1)};
        g_autoptr(GByteArray) bytes = build_qcow2(&what);
        memset(bytes->data + 112, 0, 1024);
        snapset_store_be32(bytes->data + 112, QCOW2_EXTENSION_SSET);
        snapset_store_be32(bytes->data + 116, lengths[i]);
        snapset_store_be16(bytes->data + 120, lengths[i] >= 16 ? 1 : 0);
        g_auto(Trial) trial = trial_of(bytes, build_qcow2_file_size(&what), ">A");
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(trial.image->ledger_state, ==, SNAPSET_LEDGER_DAMAGED);
        g_assert_null(plan_for(&trial, TRUE, &error));
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM);
        g_assert_false(snapset_stamp_fits(trial.image, trial.ledger, NULL));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/stamp-room/slot-sizes", test_slot_sizes);
    for (gsize i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *path = g_strdup_printf("/stamp-room/refusal/%s", refusals[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_refusal);
    }
    g_test_add_func("/stamp-room/not-local", test_not_local);
    g_test_add_func("/stamp-room/fits", test_fits);
    g_test_add_func("/stamp-room/tiny-payload", test_tiny_payload);
    return g_test_run();
}
