/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stamping: every state that a crash can leave behind, and that stamping works again after it.
 *
 * A plan's writes reach the disk one after another, but each of them may be torn: cut at any 8
 * bytes, or with any of its sectors missing. tests/crash/stamp.sh lets the real QEMU judge a sample
 * of the same states.
 */
#include "common/core/qcow2-canonical.h"
#include "common/core/stamp-plan.h"

#include <string.h>

#include "tests/unit/build-image.h"
#include "tests/unit/build-qcow2.h"

#define SECTOR 512
#define LONG_NAME_SIZE 1023

static const char long_name[] =
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
    HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED TEN TEN "012";
G_STATIC_ASSERT(sizeof long_name == LONG_NAME_SIZE + 1);

/* What stands in an image before it is stamped. */
typedef enum {
    NO_RECORD,
    EMPTY_RECORD,   /* stamped, but neither slot was ever written */
    FIRST_IS_NEWER, /* sequence 5 in slot 0, 4 in slot 1 */
    SECOND_IS_NEWER,
    ONE_DAMAGED, /* sequence 5 in slot 0, slot 1 damaged */
    DAMAGED,     /* both slots are */
    NO_LAYOUT,   /* the payload header makes no sense */
} Before;

/* clang-format off */
static const struct {
    const char *name;
    BuildQcow2 what;
    Before before;
    gboolean is_sealed; /* in the end */
} rows[] = {
    {"v3", {.table = BUILD_QEMU_TABLE}, NO_RECORD, TRUE},
    {"v3-backed",
     {.table = BUILD_QEMU_TABLE, .backing = "base.img", .backing_format = "raw"},
     NO_RECORD,
     TRUE},
    {"v3-backed-without-format", {.table = BUILD_QEMU_TABLE, .backing = "b"}, NO_RECORD, TRUE},
    {"v3-backed-long-name", {.table = BUILD_QEMU_TABLE, .backing = long_name}, NO_RECORD, TRUE},
    {"v3-backed-empty-name", {.table = BUILD_QEMU_TABLE, .backing = ""}, NO_RECORD, TRUE},
    {"v3-backed-gap",
     {.table = BUILD_QEMU_TABLE, .backing = "base.img", .backing_gap = 100},
     NO_RECORD,
     TRUE}, /* the gap is gone with the old name */
    {"v2", {.v2 = TRUE}, NO_RECORD, FALSE},
    {"v2-backed", {.v2 = TRUE, .backing = "base.img", .backing_format = "qcow2"}, NO_RECORD, FALSE},
    {"4k", {.cluster_bits = 12}, NO_RECORD, TRUE},
    {"4k-backed",
     {.cluster_bits = 12, .backing = "base.img", .backing_format = "qcow2"},
     NO_RECORD,
     TRUE},
    {"4k-backed-long-name", {.cluster_bits = 12, .backing = long_name}, NO_RECORD, TRUE},
    {"8k", {.cluster_bits = 13, .table = BUILD_QEMU_TABLE}, NO_RECORD, TRUE},
    {"32k", {.cluster_bits = 15, .table = BUILD_QEMU_TABLE}, NO_RECORD, TRUE},
    {"2m", {.cluster_bits = 21, .table = BUILD_QEMU_TABLE, .backing = "base.img"}, NO_RECORD, TRUE},
    {"bitmaps", {.table = BUILD_QEMU_TABLE, .bitmaps = TRUE}, NO_RECORD, TRUE},
    {"luks", {.table = BUILD_QEMU_TABLE, .luks = TRUE}, NO_RECORD, TRUE},
    {"everything",
     {.table = BUILD_QEMU_TABLE,
      .luks = TRUE,
      .bitmaps = TRUE,
      .backing = "base.img",
      .backing_format = "qcow2"},
     NO_RECORD,
     TRUE},
    {"no-table", {0}, NO_RECORD, FALSE},
    {"old-table", {.table = BUILD_OLD_TABLE, .backing = "base.img"}, NO_RECORD, FALSE},
    {"foreign", {.table = BUILD_QEMU_TABLE, .foreign_length = 13}, NO_RECORD, FALSE},
    {"foreign-backed",
     {.table = BUILD_QEMU_TABLE, .foreign_length = 1000, .backing = "base.img"},
     NO_RECORD,
     FALSE},
    {"empty-record", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, EMPTY_RECORD, TRUE},
    {"first-is-newer", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, FIRST_IS_NEWER, TRUE},
    {"second-is-newer", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, SECOND_IS_NEWER, TRUE},
    {"one-damaged", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, ONE_DAMAGED, TRUE},
    {"damaged", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, DAMAGED, TRUE},
    {"no-layout", {.table = BUILD_QEMU_TABLE, .slot_size = 1024}, NO_LAYOUT, TRUE},
    {"record-backed",
     {.table = BUILD_QEMU_TABLE, .slot_size = 1024, .backing = "base.img"},
     FIRST_IS_NEWER,
     TRUE},
    {"record-largest",
     {.table = BUILD_QEMU_TABLE, .slot_size = SNAPSET_SLOT_SIZE_MAX},
     SECOND_IS_NEWER,
     TRUE},
    {"record-v2", {.v2 = TRUE, .slot_size = 1024, .backing = "base.img"}, FIRST_IS_NEWER, FALSE},
    {"record-4k", {.cluster_bits = 12, .slot_size = 600}, SECOND_IS_NEWER, TRUE},
    {"record-and-foreign",
     {.table = BUILD_QEMU_TABLE, .foreign_length = 9, .slot_size = 1024},
     FIRST_IS_NEWER,
     FALSE},
};
/* clang-format on */

/* ---- building ---- */

static SnapsetLedger *
ledger_of(const char *records)
{
    g_autofree char *set = g_strdup_printf("a: %s", records);
    g_autoptr(GPtrArray) images = build_images(set);
    return snapset_ledger_copy(((SnapsetImage *)images->pdata[0])->ledger);
}

static void
put_slot(guint8 *payload, guint slot, guint32 slot_size, guint64 sequence, gboolean damaged)
{
    g_autoptr(SnapsetLedger) ledger = ledger_of("~A ~B<A >B");
    ledger->sequence = sequence;
    g_autoptr(GBytes) bytes = snapset_ledger_encode(ledger, slot_size, NULL);
    guint8 *at = payload + SNAPSET_PAYLOAD_HEADER_SIZE + slot * slot_size;
    memcpy(at, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    at[40] ^= damaged;
}

static GByteArray *
build_row(gsize row)
{
    const guint32 slot_size = rows[row].what.slot_size;
    GByteArray *bytes = build_qcow2(&rows[row].what);
    if (rows[row].before == NO_RECORD)
        return bytes;
    g_autoptr(SnapsetImage) image = build_qcow2_image((SnapsetBytes){bytes->data, bytes->len},
                                                      build_qcow2_file_size(&rows[row].what), NULL);
    guint8 *payload = bytes->data + image->header->sset->data_offset;
    switch (rows[row].before) {
    case FIRST_IS_NEWER:
    case SECOND_IS_NEWER:
        put_slot(payload, 0, slot_size, 5, FALSE);
        put_slot(payload, 1, slot_size, rows[row].before == FIRST_IS_NEWER ? 4 : 6, FALSE);
        break;
    case ONE_DAMAGED:
        put_slot(payload, 0, slot_size, 5, FALSE);
        put_slot(payload, 1, slot_size, 6, TRUE);
        break;
    case DAMAGED:
        put_slot(payload, 0, slot_size, 5, TRUE);
        put_slot(payload, 1, slot_size, 6, TRUE);
        break;
    case NO_LAYOUT:
        snapset_store_be16(payload + 2, 3);
        break;
    default:
        break;
    }
    return bytes;
}

/* ---- judging a state ---- */

typedef struct {
    const guint8 *original;
    gsize size; /* of the cluster */
    guint64 file_size;
    SnapsetImage *image; /* what was read of the original */
    SnapsetLedger *new;  /* what is being written */
    gsize states;        /* how many were judged */
} Trial;

static gboolean
is_ledger(const SnapsetLedger *found, const SnapsetLedger *wanted)
{
    g_autoptr(GBytes) a = snapset_ledger_encode(found, G_MAXUINT32, NULL);
    g_autoptr(GBytes) b = snapset_ledger_encode(wanted, G_MAXUINT32, NULL);
    return g_bytes_equal(a, b);
}

/* Everything of the header that is not ours must be as it was, wherever it stands now. */
static void
judge_header(const Trial *trial, const guint8 *bytes, const SnapsetImage *image)
{
    const SnapsetQcow2Header *was = trial->image->header;
    const SnapsetQcow2Header *is = image->header;
    guint own = 0;

    g_assert_cmpmem(bytes, QCOW2_AT_BACKING_OFFSET, trial->original, QCOW2_AT_BACKING_OFFSET);
    if (was->version == 3) {
        g_assert_cmpmem(bytes + 16, 72, trial->original + 16, 72);
        g_assert_cmpmem(bytes + 96, was->header_length - 96, trial->original + 96,
                        was->header_length - 96);
        g_assert_cmphex(is->autoclear & ~QCOW2_AUTOCLEAR_SEAL, ==,
                        was->autoclear & ~QCOW2_AUTOCLEAR_SEAL);
    } else {
        g_assert_cmpmem(bytes + 16, 56, trial->original + 16, 56);
    }
    g_assert_cmpstr(image->backing_filename, ==, trial->image->backing_filename);
    for (guint i = 0; i < is->extensions->len; i++) {
        const SnapsetQcow2Extension *now = &g_array_index(is->extensions, SnapsetQcow2Extension, i);
        if (now->type == QCOW2_EXTENSION_SSET) {
            own++;
            continue;
        }
        g_assert_cmpuint(i - own, <, was->extensions->len);
        const SnapsetQcow2Extension *then =
            &g_array_index(was->extensions, SnapsetQcow2Extension, i - own);
        g_assert_cmphex(now->type, ==, then->type);
        g_assert_cmpmem(bytes + now->data_offset, now->length, trial->original + then->data_offset,
                        then->length);
    }
    g_assert_cmpuint(is->extensions->len - own, ==,
                     was->extensions->len - (was->sset != NULL ? 1 : 0));
}

/* The record must be the old one or the new one, and the new one if it is sealed. */
static void
judge_ledger(const Trial *trial, const SnapsetImage *image)
{
    const SnapsetLedger *was = trial->image->ledger;

    if (image->ledger != NULL && is_ledger(image->ledger, trial->new))
        return;
    g_assert_false(image->sealed);
    if (was != NULL && was->sequence > 0) {
        g_assert_true(image->ledger != NULL && is_ledger(image->ledger, was));
    } else { /* there was nothing, and there is nothing */
        g_assert_true(image->ledger == NULL || image->ledger->sequence == 0);
    }
}

/* Whatever the crash left, stamping must work again, and change nothing else either. */
static void
judge_next_stamp(const Trial *trial, const guint8 *bytes, const SnapsetImage *image)
{
    const gsize size = MIN(trial->size, SNAPSET_HEADER_BYTES);
    g_autofree guint8 *work = g_memdup2(bytes, trial->size);
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(trial->new);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetStampPlan) plan =
        snapset_stamp_plan_new((SnapsetBytes){bytes, size}, image, ledger, FALSE, &error);

    g_assert_no_error(error);
    if (plan == NULL)
        return;
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        memcpy(work + write->offset, g_bytes_get_data(write->bytes, NULL),
               g_bytes_get_size(write->bytes));
    }
    g_autoptr(SnapsetImage) after =
        build_qcow2_image((SnapsetBytes){work, trial->size}, trial->file_size, &error);
    g_assert_no_error(error);
    judge_header(trial, work, after);
    g_assert_true(after->ledger != NULL && is_ledger(after->ledger, ledger));
}

/* After every how many states the next stamp is tried. */
#define STATES_A_STAMP 61

static void
judge(Trial *trial, const guint8 *bytes, gboolean is_whole)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetImage) image =
        build_qcow2_image((SnapsetBytes){bytes, trial->size}, trial->file_size, &error);

    trial->states++;
    g_assert_no_error(error);
    judge_header(trial, bytes, image);
    judge_ledger(trial, image);
    if (is_whole || trial->states % STATES_A_STAMP == 0)
        judge_next_stamp(trial, bytes, image);
}

/* ---- tearing ---- */

/* The write cut at every multiple of 8 bytes. */
static void
tear_by_length(Trial *trial, guint8 *bytes, const SnapsetStampWrite *write)
{
    gsize size = 0;
    const guint8 *data = g_bytes_get_data(write->bytes, &size);
    g_autofree guint8 *before = g_memdup2(bytes + write->offset, size);

    for (gsize cut = 0; cut < size; cut += 8 - (write->offset + cut) % 8) {
        memcpy(bytes + write->offset, data, cut);
        judge(trial, bytes, FALSE);
    }
    memcpy(bytes + write->offset, before, size);
}

/* Copy those sectors of the write that @wanted says. */
static void
write_sectors(guint8 *bytes, const SnapsetStampWrite *write, const gboolean *wanted)
{
    gsize size = 0;
    const guint8 *data = g_bytes_get_data(write->bytes, &size);

    for (gsize i = 0; i < size; i++) {
        if (wanted[(write->offset + i) / SECTOR - write->offset / SECTOR])
            bytes[write->offset + i] = data[i];
    }
}

/* The write with only one sector, without one, and with sectors by chance. */
static void
tear_by_sector(Trial *trial, guint8 *bytes, const SnapsetStampWrite *write)
{
    gsize size = g_bytes_get_size(write->bytes);
    gsize sectors = (write->offset + size - 1) / SECTOR - write->offset / SECTOR + 1;
    g_autofree guint8 *before = g_memdup2(bytes + write->offset, size);
    g_autofree gboolean *wanted = g_new0(gboolean, sectors);
    GRand *chance = g_rand_new_with_seed(4711);

    for (gsize round = 0; sectors > 1 && round < 4 * sectors; round++) {
        for (gsize i = 0; i < sectors; i++)
            wanted[i] = round < sectors       ? i == round
                        : round < 2 * sectors ? i != round - sectors
                                              : g_rand_boolean(chance);
        write_sectors(bytes, write, wanted);
        judge(trial, bytes, FALSE);
        memcpy(bytes + write->offset, before, size);
    }
    g_rand_free(chance);
}

static SnapsetStampPlan *
plan_for(Trial *trial, gboolean seal, GError **error)
{
    SnapsetBytes header = {trial->original, MIN(trial->size, SNAPSET_HEADER_BYTES)};
    g_autofree guint8 *exact = g_memdup2(header.data, header.size); /* for the sanitizers */
    return snapset_stamp_plan_new((SnapsetBytes){exact, header.size}, trial->image, trial->new,
                                  seal, error);
}

static void
replay(Trial *trial, const SnapsetStampPlan *plan, guint8 *bytes)
{
    judge(trial, bytes, TRUE);
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        gsize size = 0;
        const void *data = g_bytes_get_data(write->bytes, &size);
        g_assert_cmpuint(write->offset + size, <=, MIN(trial->size, SNAPSET_HEADER_BYTES));
        tear_by_length(trial, bytes, write);
        tear_by_sector(trial, bytes, write);
        memcpy(bytes + write->offset, data, size);
        judge(trial, bytes, TRUE);
    }
}

/* What QEMU may come to need must still fit (FORMAT.md, "Room"). */
static void
judge_room(const SnapsetImage *image)
{
    static const struct {
        guint32 type, reserve;
    } reserves[] = {{0xe2792aca, 24}, {0x0537be77, 24}, {0x23852875, 32}, {0x6803f857, 392}};
    const SnapsetQcow2Header *h = image->header;
    guint64 used = h->extensions_end + 8 + 1023;

    for (gsize i = 0; i < G_N_ELEMENTS(reserves); i++) {
        gboolean found = reserves[i].type == 0x6803f857 && h->cluster_size <= 4096;
        for (guint j = 0; j < h->extensions->len; j++)
            found |=
                g_array_index(h->extensions, SnapsetQcow2Extension, j).type == reserves[i].type;
        used += found ? 0 : reserves[i].reserve;
    }
    g_assert_cmpuint(used, <=, MIN(h->cluster_size, 32768));
    if (h->backing_offset != 0)
        g_assert_cmpuint(h->backing_offset + h->backing_length, <=, MIN(h->cluster_size, 32768));
}

static void
trial_clear(Trial *trial)
{
    snapset_image_free(trial->image);
    snapset_ledger_free(trial->new);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trial, trial_clear)

static Trial
trial_of(GByteArray *bytes, guint64 file_size, const char *records)
{
    g_autoptr(GError) error = NULL;
    Trial trial = {
        .original = bytes->data,
        .size = bytes->len,
        .file_size = file_size,
        .image = build_qcow2_image((SnapsetBytes){bytes->data, bytes->len}, file_size, &error),
        .new = ledger_of(records),
    };
    g_assert_no_error(error);
    return trial;
}

static void
test_crash(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) original = build_row(row);
    g_autofree guint8 *bytes = g_memdup2(original->data, original->len);
    g_auto(Trial) trial =
        trial_of(original, build_qcow2_file_size(&rows[row].what), "~C ~D<C ~E<D >E");
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, TRUE, &error);

    g_assert_no_error(error);
    replay(&trial, plan, bytes);
    g_autoptr(SnapsetImage) image =
        build_qcow2_image((SnapsetBytes){bytes, trial.size}, trial.file_size, NULL);
    g_assert_true(is_ledger(image->ledger, trial.new));
    g_assert_cmpint(image->sealed, ==, rows[row].is_sealed);
    g_assert_cmpint(image->ledger_state, ==, SNAPSET_LEDGER_GOOD);
    g_assert_cmpint(
        snapset_qcow2_header_is_canonical((SnapsetBytes){bytes, trial.size}, image->header), ==,
        rows[row].is_sealed);
    if (rows[row].before == NO_RECORD)
        judge_room(image);
    /* the first slot is written first, else the one that was not read */
    g_assert_cmpuint(image->ledger_slot, ==,
                     rows[row].before == FIRST_IS_NEWER || rows[row].before == ONE_DAMAGED);
    g_test_message("%" G_GSIZE_FORMAT " states", trial.states);
}

/* Without being asked for, there is no seal; and it costs no other write. */
static void
test_unsealed(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) original = build_row(row);
    g_auto(Trial) trial = trial_of(original, build_qcow2_file_size(&rows[row].what), "~C >C");
    g_autoptr(SnapsetStampPlan) sealing = plan_for(&trial, TRUE, NULL);
    g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, FALSE, NULL);

    g_assert_cmpuint(sealing->writes->len, ==, plan->writes->len + rows[row].is_sealed);
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        g_assert_true(trial.image->header->version < 3 ||
                      !snapset_ranges_overlap(write->offset, g_bytes_get_size(write->bytes),
                                              QCOW2_AT_AUTOCLEAR, 8));
    }
}

/* Stamped again and again, an image alternates between its slots and never loses its last word. */
static void
test_many_stamps(void)
{
    BuildQcow2 what = {.table = BUILD_QEMU_TABLE, .backing = "base.img"};
    g_autoptr(GByteArray) bytes = build_qcow2(&what);
    guint64 file_size = build_qcow2_file_size(&what);

    for (guint round = 1; round <= 20; round++) {
        g_autofree guint8 *work = g_memdup2(bytes->data, bytes->len);
        g_autofree char *records = g_strdup_printf("~%c >%c", 'A' + round, 'A' + round);
        g_auto(Trial) trial = trial_of(bytes, file_size, records);
        g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, TRUE, NULL);
        g_assert_cmpuint(plan->writes->len, ==, round == 1 ? 5 : 1);
        for (guint i = 0; i < plan->writes->len; i++) {
            const SnapsetStampWrite *write = plan->writes->pdata[i];
            memcpy(work + write->offset, g_bytes_get_data(write->bytes, NULL),
                   g_bytes_get_size(write->bytes));
        }
        g_autoptr(SnapsetImage) image =
            build_qcow2_image((SnapsetBytes){work, bytes->len}, file_size, NULL);
        g_assert_true(is_ledger(image->ledger, trial.new));
        g_assert_cmpuint(image->ledger->sequence, ==, round);
        g_assert_cmpuint(image->ledger_slot, ==, (round - 1) % 2);
        g_assert_true(image->sealed);
        memcpy(bytes->data, work, bytes->len);
    }
}

/* The backing file name anywhere in the header: moved without a moment's gap, or not at all. */
static void
test_name_anywhere(gconstpointer data)
{
    const char *name = data;
    gsize length = strlen(name);
    guint planned = 0;
    guint refused = 0;

    for (guint32 gap = 0; gap < 65536 - 512 - 1024; gap += gap < 30000 || gap > 34000 ? 488 : 8) {
        BuildQcow2 what = {.table = BUILD_QEMU_TABLE, .backing = name, .backing_gap = gap};
        g_autoptr(GByteArray) original = build_qcow2(&what);
        g_autofree guint8 *bytes = g_memdup2(original->data, original->len);
        g_auto(Trial) trial = trial_of(original, build_qcow2_file_size(&what), "~C >C");
        g_autoptr(GError) error = NULL;
        g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, TRUE, &error);
        if (plan == NULL) {
            g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
            g_assert_false(snapset_stamp_is_possible(trial.image, NULL));
            refused++;
            continue;
        }
        planned++;
        for (guint i = 0; i < plan->writes->len; i++) {
            const SnapsetStampWrite *write = plan->writes->pdata[i];
            gsize size = g_bytes_get_size(write->bytes);
            if (size <= length)
                tear_by_length(&trial, bytes, write);
            tear_by_sector(&trial, bytes, write);
            memcpy(bytes + write->offset, g_bytes_get_data(write->bytes, NULL), size);
            judge(&trial, bytes, TRUE);
        }
    }
    g_assert_cmpuint(planned, >, 60);
    g_assert_cmpuint(refused, >, 60);
}

/* The greatest sequence that a reader takes for valid is never exceeded. */
static void
test_last_sequence(void)
{
    static const struct {
        guint64 sequence;
        gboolean planned;
    } sequences[] = {{1, TRUE}, {G_MAXUINT64 - 3, TRUE}, {G_MAXUINT64 - 1, FALSE}};
    for (gsize i = 0; i < G_N_ELEMENTS(sequences); i++) {
        g_autoptr(SnapsetLedger) old = ledger_of("~A >A");
        old->sequence = sequences[i].sequence;
        BuildQcow2 what = {.table = BUILD_QEMU_TABLE, .slot_size = 512, .ledger = old};
        g_autoptr(GByteArray) bytes = build_qcow2(&what);
        g_autofree guint8 *work = g_memdup2(bytes->data, bytes->len);
        g_auto(Trial) trial = trial_of(bytes, build_qcow2_file_size(&what), "~B >B");
        g_autoptr(GError) error = NULL;
        g_autoptr(SnapsetStampPlan) plan = plan_for(&trial, FALSE, &error);
        g_assert_cmpint(plan != NULL, ==, sequences[i].planned);
        if (plan == NULL) {
            g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
            continue;
        }
        replay(&trial, plan, work);
        g_autoptr(SnapsetImage) image =
            build_qcow2_image((SnapsetBytes){work, bytes->len}, trial.file_size, NULL);
        g_assert_true(is_ledger(image->ledger, trial.new));
    }
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/stamp-plan/" folder "/%s", (rows)[i].name);      \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("crash", rows, test_crash)
    ADD_ROWS("unsealed", rows, test_unsealed)
    g_test_add_func("/stamp-plan/many-stamps", test_many_stamps);
    g_test_add_data_func("/stamp-plan/name-anywhere/short", "b", test_name_anywhere);
    g_test_add_data_func("/stamp-plan/name-anywhere/usual", "/var/lib/images/base.qcow2",
                         test_name_anywhere);
    g_test_add_data_func("/stamp-plan/name-anywhere/long", long_name, test_name_anywhere);
    g_test_add_func("/stamp-plan/last-sequence", test_last_sequence);
    return g_test_run();
}
