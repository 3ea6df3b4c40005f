/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 parser over malformed snapshot tables: a valid one, patched or cut, and what becomes of
 * it. What the real QEMU says to the same patches is in tests/cli/malformed.sh.
 */
#include "common/core/qcow2-parse.h"
#include "common/core/qcow2-snapshots.h"

#include <string.h>

#include "tests/unit/build-qcow2.h"

#define ACCEPTED -1
#define MALFORMED SNAPSET_ERROR_MALFORMED

#define CLUSTER 65536
#define BIT(n) (G_GUINT64_CONSTANT(1) << (n))

static const BuildQcow2 plain = {0};
static const BuildQcow2 old = {.v2 = TRUE};

typedef enum {
    TWO,       /* two entries of version 3: the second at 72 (40 + 24 + "1" + "first" + 2) */
    TWO_OF_V2, /* the same without extra data: the second at 48 */
} Table;

/* clang-format off */
static const struct {
    const char *name;
    Table table;
    BuildPatch header[2], patches[3];
    gint64 rest; /* bytes of the file behind the table; less than 0: so many are cut off */
    int code;    /* SnapsetErrorCode, or ACCEPTED */
    const char *message;
    const char *tags; /* of what is accepted, with "," after each, "?" after an incomplete one's */
} tables[] = {
    {"two", TWO, {{0}}, {{0}}, 0, ACCEPTED, NULL, "first,second,"},
    {"two-of-version-2", TWO_OF_V2, {{0}}, {{0}}, 0, ACCEPTED, NULL, "first,second,"},
    {"Q20-no-padding-at-the-end", TWO, {{0}}, {{0}}, 0, ACCEPTED, NULL, "first,second,"},
    {"count-of-1", TWO, {{60, 4, 1}}, {{0}}, 0, ACCEPTED, NULL, "first,"},
    {"count-of-0", TWO, {{60, 4, 0}}, {{0}}, 0, ACCEPTED, NULL, ""},
    {"count-of-0-offset-0", TWO, {{60, 4, 0}, {64, 8, 0}}, {{0}}, 0, ACCEPTED, NULL, ""},
    {"S3-extra-1025", TWO, {{0}}, {{36, 4, 1025}}, 5000, MALFORMED,
     "too much extra metadata in snapshot table entry 0", NULL},
    {"S3-extra-65536", TWO, {{0}}, {{36, 4, 65536}}, 70000, MALFORMED,
     "too much extra metadata in snapshot table entry 0", NULL},
    {"S3-extra-most", TWO, {{0}}, {{36, 4, G_MAXUINT32}}, 0, MALFORMED,
     "too much extra metadata in snapshot table entry 0", NULL},
    {"S3-extra-1025-in-the-second", TWO, {{0}}, {{72 + 36, 4, 1025}}, 5000, MALFORMED,
     "too much extra metadata in snapshot table entry 1", NULL},
    {"S3-extra-1024-in-the-second", TWO, {{0}}, {{72 + 36, 4, 1024}}, 5000, ACCEPTED, NULL,
     "first,,"},
    {"S4-extra-0", TWO, {{0}}, {{36, 4, 0}}, 5000, MALFORMED,
     "too much extra metadata in snapshot table entry 1", NULL},
    {"S4-extra-8", TWO, {{0}}, {{36, 4, 8}}, 5000, MALFORMED, "entry 1", NULL},
    {"S4-extra-12", TWO, {{0}}, {{36, 4, 12}}, 5000, ACCEPTED, NULL, "?,,"},
    {"S6-l1-offset", TWO, {{0}}, {{0, 8, 0x400200}}, 0, ACCEPTED, NULL, "first,second,"},
    {"S7-l1-size", TWO, {{0}}, {{8, 4, 0x10000000}}, 0, ACCEPTED, NULL, "first,second,"},
    {"Q1-offset-past-the-file", TWO, {{64, 8, BIT(40)}}, {{0}}, -143, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q1-cut-at-the-table", TWO, {{0}}, {{0}}, -143, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q1-cut-in-the-first-entry", TWO, {{0}}, {{0}}, -80, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q1-cut-between-the-entries", TWO, {{0}}, {{0}}, -71, MALFORMED,
     "entry 1 runs past the end of the file", NULL},
    {"Q1-cut-in-the-second-entry's-head", TWO, {{0}}, {{0}}, -40, MALFORMED,
     "entry 1 runs past the end of the file", NULL},
    {"Q1-cut-in-the-second-entry's-extra", TWO, {{0}}, {{0}}, -20, MALFORMED,
     "entry 1 runs past the end of the file", NULL},
    {"Q1-cut-by-one-byte", TWO, {{0}}, {{0}}, -1, MALFORMED,
     "entry 1 runs past the end of the file", NULL},
    {"Q2-count-too-large-at-the-end", TWO, {{60, 4, 3}}, {{0}}, 0, MALFORMED,
     "entry 2 runs past the end of the file", NULL},
    {"Q2-count-too-large-before-zeros", TWO, {{60, 4, 3}}, {{0}}, 500, ACCEPTED, NULL,
     "first,second,?,"},
    {"Q2-count-far-too-large", TWO, {{60, 4, 65536}}, {{0}}, 500, MALFORMED,
     "runs past the end of the file", NULL},
    {"Q3-offset-0", TWO, {{64, 8, 0}}, {{0}}, 0, MALFORMED, "snapshot table overlaps the header",
     NULL},
    {"Q3-offset-on-the-refcount-table", TWO, {{64, 8, CLUSTER}}, {{0}}, 0, MALFORMED,
     "snapshot table overlaps the reference count table", NULL},
    {"Q3-offset-on-the-l1-table", TWO, {{64, 8, 3 * CLUSTER}}, {{0}}, 0, MALFORMED,
     "snapshot table overlaps the active L1 table", NULL},
    {"Q4-id-length-most", TWO, {{0}}, {{12, 2, 0xffff}}, 0, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q4-name-length-most", TWO, {{0}}, {{14, 2, 0xffff}}, 0, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q4-both-lengths-most", TWO, {{0}}, {{12, 4, G_MAXUINT32}}, 0, MALFORMED,
     "entry 0 runs past the end of the file", NULL},
    {"Q4-id-swallows-the-rest", TWO, {{60, 4, 1}}, {{12, 2, 60}}, 200, ACCEPTED, NULL, ","},
    {"Q5-version-3-without-extra", TWO_OF_V2, {{4, 4, 3}}, {{0}}, 0, ACCEPTED, NULL,
     "first?,second?,"},
    {"Q9-empty-id-and-name", TWO, {{0}}, {{12, 4, 0}}, 0, MALFORMED, "entry 1", NULL},
    {"Q9-empty-name", TWO, {{60, 4, 1}}, {{14, 2, 0}}, 0, ACCEPTED, NULL, ","},
    {"Q10-numbers-at-their-most", TWO, {{0}}, {{16, 8, G_MAXUINT64}, {24, 8, G_MAXUINT64}, {40, 8,
     G_MAXUINT64}}, 0, ACCEPTED, NULL, "first,second,"},
};
/* clang-format on */

static void
expect(gconstpointer result, const GError *error, int code, const char *message)
{
    if (code == ACCEPTED) {
        g_assert_no_error(error);
        g_assert_nonnull(result);
        return;
    }
    g_assert_null(result);
    g_assert_error(error, SNAPSET_ERROR, code);
    if (error != NULL && strstr(error->message, message) == NULL)
        g_assert_cmpstr(error->message, ==, message);
}

static GByteArray *
table_of(Table kind)
{
    GByteArray *table = g_byte_array_new();
    build_snapshot(table, "1", "first", kind == TWO ? 24 : 0, 100);
    build_snapshot(table, "2", "second", kind == TWO ? 24 : 0, 200);
    return table;
}

static SnapsetQcow2Header *
header_of(Table kind, const BuildPatch *patches, gsize count, guint64 file_size)
{
    g_autoptr(GByteArray) built = build_qcow2(kind == TWO ? &plain : &old);
    static const BuildPatch usual[] = {{60, 4, 2}, {64, 8, BUILD_SNAPSHOT_CLUSTER * CLUSTER}};
    g_autoptr(GError) error = NULL;
    gsize wanted = 0;

    build_patch(built->data, usual, G_N_ELEMENTS(usual));
    build_patch(built->data, patches, count);
    if (patches[0].offset == 4) { /* a version 2 image turned into one of version 3 */
        snapset_store_be32(built->data + 96, 4);
        snapset_store_be32(built->data + 100, 104);
    }
    SnapsetQcow2Header *header = snapset_qcow2_parse_header((SnapsetBytes){built->data, built->len},
                                                            file_size, &wanted, &error);
    g_assert_no_error(error);
    return header;
}

static char *
tags_of(GArray *snapshots)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < snapshots->len; i++) {
        const SnapsetQcow2Snapshot *s = &g_array_index(snapshots, SnapsetQcow2Snapshot, i);
        gsize length = s->name.size > 0 ? strnlen((const char *)s->name.data, s->name.size) : 0;
        /* of what an ID or a name swallowed, only that it was read matters */
        if (length == s->name.size)
            g_string_append_len(out, (const char *)s->name.data, length);
        g_string_append(out, s->incomplete ? "?," : ",");
    }
    return g_string_free(out, FALSE);
}

static void
test_table(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GByteArray) table = table_of(tables[row].table);
    g_autoptr(GError) error = NULL;
    gsize wanted = 0;

    build_patch(table->data, tables[row].patches, G_N_ELEMENTS(tables[row].patches));
    guint32 size = table->len + tables[row].rest;
    guint32 zeros_from = MIN(size, table->len);
    g_byte_array_set_size(table, size);
    memset(table->data + zeros_from, 0, size - zeros_from);
    guint64 file_size = (guint64)BUILD_SNAPSHOT_CLUSTER * CLUSTER + size;
    g_autoptr(SnapsetQcow2Header) header =
        header_of(tables[row].table, tables[row].header, G_N_ELEMENTS(tables[row].header),
                  MAX(file_size, BUILD_L1_CLUSTER * CLUSTER + 64));
    g_autofree guint8 *bytes = g_memdup2(table->data, size);
    g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots((SnapsetBytes){bytes, size}, header,
                                                                file_size, &wanted, &error);
    expect(snapshots, error, tables[row].code, tables[row].message);
    if (snapshots == NULL)
        return;
    g_autofree char *tags = tags_of(snapshots);
    g_assert_cmpstr(tags, ==, tables[row].tags);
}

static void
test_snapshot_fields(void)
{
    static const struct {
        guint32 extra_size;
        guint64 vm_state_size, disk_size;
        gboolean v2, incomplete;
    } rows[] = {
        {24, 107, 108, FALSE, FALSE},
        {1024, 107, 108, FALSE, FALSE},
        {16, 107, 108, FALSE, FALSE},
        {15, 107, BUILD_VIRTUAL_SIZE, FALSE, TRUE},
        {8, 107, BUILD_VIRTUAL_SIZE, FALSE, TRUE},
        {7, 106, BUILD_VIRTUAL_SIZE, FALSE, TRUE},
        {0, 106, BUILD_VIRTUAL_SIZE, FALSE, TRUE},
        {0, 106, BUILD_VIRTUAL_SIZE, TRUE, FALSE},
        {24, 107, 108, TRUE, FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        static const BuildPatch one[] = {{60, 4, 1}};
        guint64 file_size = BUILD_CLUSTERS * CLUSTER;
        g_autoptr(GByteArray) table = g_byte_array_new();
        g_autoptr(SnapsetQcow2Header) header =
            header_of(rows[i].v2 ? TWO_OF_V2 : TWO, one, 1, file_size);
        gsize wanted = 0;
        build_snapshot(table, "an-id", "a-name", rows[i].extra_size, 100);
        g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots(
            (SnapsetBytes){table->data, table->len}, header, file_size, &wanted, NULL);
        g_assert_nonnull(snapshots);
        g_assert_cmpuint(snapshots->len, ==, 1);
        const SnapsetQcow2Snapshot *s = &g_array_index(snapshots, SnapsetQcow2Snapshot, 0);
        g_assert_cmphex(s->l1_offset, ==, 0x10000 * 101);
        g_assert_cmpuint(s->l1_size, ==, 102);
        g_assert_cmpmem(s->id.data, s->id.size, "an-id", 5);
        g_assert_cmpmem(s->name.data, s->name.size, "a-name", 6);
        g_assert_cmpuint(s->date_sec, ==, 103);
        g_assert_cmpuint(s->date_nsec, ==, 104);
        g_assert_cmpuint(s->vm_clock_nsec, ==, 105);
        g_assert_cmpuint(s->vm_state_size, ==, rows[i].vm_state_size);
        g_assert_cmpuint(s->disk_size, ==, rows[i].disk_size);
        g_assert_cmpint(s->incomplete, ==, rows[i].incomplete);
    }
}

/* A name is what was written, zero byte and all (Q7); cutting it is up to the image. */
static void
test_nul_in_name(void)
{
    static const BuildPatch one[] = {{60, 4, 1}};
    guint64 file_size = BUILD_CLUSTERS * CLUSTER;
    g_autoptr(GByteArray) table = g_byte_array_new();
    g_autoptr(SnapsetQcow2Header) header = header_of(TWO, one, 1, file_size);
    gsize wanted = 0;

    build_snapshot(table, "1", "ab_cd", 24, 0);
    table->data[table->len - 3] = '\0';
    g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots(
        (SnapsetBytes){table->data, table->len}, header, file_size, &wanted, NULL);
    const SnapsetQcow2Snapshot *s = &g_array_index(snapshots, SnapsetQcow2Snapshot, 0);
    g_assert_cmpmem(s->name.data, s->name.size, "ab\0cd", 5);
}

/* Given the table byte by byte, the parser asks for more until it has all, and never for less. */
static void
test_table_by_bytes(void)
{
    g_autoptr(GByteArray) table = table_of(TWO);
    guint64 file_size = BUILD_CLUSTERS * CLUSTER;
    static const BuildPatch none[] = {{0}};
    g_autoptr(SnapsetQcow2Header) header = header_of(TWO, none, 1, file_size);

    for (gsize size = 0; size <= table->len; size++) {
        g_autoptr(GError) error = NULL;
        gsize wanted = 0;
        g_autofree guint8 *bytes = g_memdup2(table->data, size);
        g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots(
            (SnapsetBytes){bytes, size}, header, file_size, &wanted, &error);
        g_assert_cmpint(snapshots != NULL, ==, size == table->len);
        if (snapshots != NULL)
            continue;
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_SHORT);
        g_assert_cmpuint(wanted, >, size);
        g_assert_cmpuint(wanted, <=, table->len);
    }
}

/* 65,536 entries of nothing but zeros (Q6): valid in version 2. */
static void
test_many_zeros(void)
{
    static const BuildPatch most[] = {{60, 4, 65536}};
    gsize size = 65536 * 40;
    guint64 file_size = BUILD_SNAPSHOT_CLUSTER * CLUSTER + size;
    g_autoptr(SnapsetQcow2Header) header = header_of(TWO_OF_V2, most, 1, file_size);
    g_autofree guint8 *zeros = g_malloc0(size);
    gsize wanted = 0;

    g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots((SnapsetBytes){zeros, size}, header,
                                                                file_size, &wanted, NULL);
    g_assert_nonnull(snapshots);
    g_assert_cmpuint(snapshots->len, ==, 65536);
}

/* Tables around the 64 MiB that QEMU allows (S5): entries of the greatest size. */
static void
test_table_too_big(void)
{
    const guint32 entry_size = 40 + 1024 + 2 * 65535 + 2; /* padded */
    const guint32 count = QCOW2_SNAPSHOT_TABLE_BYTES_MAX / entry_size;
    gsize size = (count + 1) * (gsize)entry_size;
    guint64 file_size = BUILD_SNAPSHOT_CLUSTER * CLUSTER + size;
    g_autofree guint8 *bytes = g_malloc0(size);

    for (guint32 i = 0; i <= count; i++) {
        snapset_store_be32(bytes + (gsize)i * entry_size + 12, G_MAXUINT32);
        snapset_store_be32(bytes + (gsize)i * entry_size + 36, 1024);
    }
    for (guint32 more = 0; more < 2; more++) {
        const BuildPatch patch[] = {{60, 4, count + more}};
        g_autoptr(SnapsetQcow2Header) header = header_of(TWO, patch, 1, file_size);
        g_autoptr(GError) error = NULL;
        gsize wanted = 0;
        g_autoptr(GArray) snapshots = snapset_qcow2_parse_snapshots(
            (SnapsetBytes){bytes, size}, header, file_size, &wanted, &error);
        expect(snapshots, error, more ? MALFORMED : ACCEPTED, "table is too big");
        /* nor is more of it asked for than could be right */
        g_autoptr(GError) of_part = NULL;
        g_autoptr(GArray) part = snapset_qcow2_parse_snapshots(
            (SnapsetBytes){bytes, (gsize)count * entry_size + 40 * more}, header, file_size,
            &wanted, &of_part);
        expect(part, of_part, more ? MALFORMED : ACCEPTED, "table is too big");
    }
}

static void
test_guess(void)
{
    static const struct {
        guint32 count;
        gsize least, most;
    } rows[] = {
        {0, 0, 0},
        {1, 64, 1024},
        {65536, 65536 * 64, QCOW2_SNAPSHOT_TABLE_BYTES_MAX},
        {G_MAXUINT32, 0, QCOW2_SNAPSHOT_TABLE_BYTES_MAX},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gsize guess = snapset_qcow2_snapshot_table_guess(rows[i].count);
        g_assert_cmpuint(guess, >=, rows[i].least);
        g_assert_cmpuint(guess, <=, rows[i].most);
    }
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/qcow2-snapshots/" folder "/%s", (rows)[i].name); \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("table", tables, test_table)
    g_test_add_func("/qcow2-snapshots/fields", test_snapshot_fields);
    g_test_add_func("/qcow2-snapshots/nul-in-name", test_nul_in_name);
    g_test_add_func("/qcow2-snapshots/by-bytes", test_table_by_bytes);
    g_test_add_func("/qcow2-snapshots/many-zeros", test_many_zeros);
    g_test_add_func("/qcow2-snapshots/too-big", test_table_too_big);
    g_test_add_func("/qcow2-snapshots/guess", test_guess);
    return g_test_run();
}
