/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The catalogue: which entries of which images are one snapshot, and how it stands. The sets are
 * written as tests/unit/build-image.h says.
 */
#include "common/core/catalog.h"

#include <string.h>

#include "tests/unit/build-image.h"

/* "tag[.IDENTITY] standing image+image", with ", " between the snapshots, in their order. */
static char *
print_catalog(const SnapsetCatalog *catalog)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        g_autofree char *name = build_snapshot_name(snapshot);
        g_assert_cmpuint(snapshot->index, ==, i);
        g_string_append_printf(out, "%s%s %s ", i > 0 ? ", " : "", name,
                               snapset_standing_name(snapshot->standing));
        for (guint j = 0; j < snapshot->members->len; j++) {
            guint image = snapset_snapshot_member(snapshot, j)->image;
            g_string_append_printf(out, "%s%s", j > 0 ? "+" : "",
                                   snapset_catalog_image(catalog, image)->filename);
        }
    }
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *set, *snapshots;
} rows[] = {
    {"no-images", "", ""},
    {"no-entries", "a: b:", ""},
    {"one-image", "a: x@1 y@2", "x complete a, y complete a"},
    {"complete", "a: x@1 b: x@1", "x complete a+b"},
    {"complete-live", "a: x@1+5/99 b: x@1+5", "x complete a+b"},
    {"by-date", "a: z@3 y@2 x@1 b: x@1 z@3 y@2", "x complete a+b, y complete a+b, z complete a+b"},
    {"by-nanoseconds", "a: z@1.9 y@1.3 x@1", "x complete a, y complete a, z complete a"},
    {"partial", "a: x@1 b:", "x partial a"},
    {"partial-of-three", "a: x@1 b: c: x@1", "x partial a+c"},
    {"other-tag-is-another-snapshot", "a: x@1 b: y@1", "x partial a, y partial b"},
    {"same-second-other-nanosecond", "a: x@1.1/9 b: x@1.2/9", "x colliding a, x colliding b"},

    {"collision", "a: x@1 b: x@1000", "x colliding a, x colliding b"},
    {"collision-with-vm-state", "a: x@1/9 b: x@2", "x colliding a, x colliding b"},
    {"collision-of-three", "a: x@1 b: x@1000 c: x@2000",
     "x colliding a, x colliding b, x colliding c"},
    {"collision-two-against-one", "a: x@1 b: x@1000 c: x@1", "x colliding a+c, x colliding b"},
    {"collision-and-missing", "a: x@1 b: x@1000 c:", "x colliding a, x colliding b"},
    {"collision-beside-a-complete-one", "a: x@1 x@50 b: x@1 x@9000",
     "x complete a+b, x colliding a, x colliding b"},
    {"extra-beside-a-complete-one", "a: x@1 x@500 b: x@1", "x complete a+b, x partial a"},

    {"unproven", "a: x@1 b: x@2", "x unproven a+b"},
    {"unproven-60-s", "a: x@1 b: x@61", "x unproven a+b"},
    {"unproven-61-s", "a: x@1 b: x@62", "x colliding a, x colliding b"},
    {"unproven-clocks", "a: x@100+50 b: x@110+55", "x unproven a+b"},
    {"unproven-clocks-apart", "a: x@100+50 b: x@110+500", "x colliding a, x colliding b"},
    {"unproven-of-three", "a: x@1 b: x@2 c: x@3", "x unproven a+b+c"},
    {"unproven-where-two-agree", "a: x@1 b: x@2 c: x@1", "x unproven a+b+c"},
    {"unproven-and-missing", "a: x@1 b: c: x@3", "x unproven a+c"},
    {"unproven-twice-in-an-image", "a: x@1 x@2 b: x@3",
     "x colliding a, x colliding a, x colliding b"},
    {"unproven-order-of-images", "a: x@9 b: x@2", "x unproven a+b"},

    {"recorded", "a: x@1=A b: x@2=A", "x.A complete a+b"},
    {"recorded-far-apart", "a: x@1=A b: x@90000=A", "x.A complete a+b"},
    {"recorded-wins-over-derived", "a: x@1=A b: x@1=B", "x.A colliding a, x.B colliding b"},
    {"recorded-against-derived", "a: x@1=A b: x@1", "x.A colliding a, x colliding b"},
    {"recorded-tag-differs", "a: x@1=A b: y@1=A", "x.A partial a, y.A partial b"},
    {"recorded-never-unproven", "a: x@1=A b: x@2=B", "x.A colliding a, x.B colliding b"},
    {"recorded-on-one-never-unproven", "a: x@1=A b: x@2", "x.A colliding a, x colliding b"},
    {"single-may-be-unproven", "a: x@1=As b: x@2=Bs", "x.A unproven a+b"},
    {"single-on-one-may-be-unproven", "a: x@1=As b: x@2", "x.A unproven a+b"},
    {"single-far-apart", "a: x@1=As b: x@100=Bs", "x.A colliding a, x.B colliding b"},
    {"single-and-set-record", "a: x@1=As b: x@2=B", "x.A colliding a, x.B colliding b"},
    {"recorded-as-derived", "a: x@1=? b: x@1", "x complete a+b"},
    {"record-of-no-entry", "a: x@1 ~C b: x@1", "x complete a+b"},
    {"external-record-binds-nothing", "a: x@1=Ae b: x@1", "x complete a+b"},

    {"twins", "a: x@1 x@1 b: x@1 x@1", "x complete a+b, x complete a+b"},
    {"twins-one-image", "a: x@1 x@1 x@1", "x complete a, x complete a, x complete a"},
    {"twins-not-everywhere", "a: x@1 x@1 b: x@1", "x complete a+b, x partial a"},
    {"twins-not-in-the-first", "a: x@1 b: x@1 x@1", "x complete a+b, x partial b"},
    {"twins-share-a-record", "a: x@1=A x@1 b: x@1=A", "x.A complete a+b, x.A partial a"},

    {"empty-tag", "a: @1 b: @1", " complete a+b"},
    {"tag-of-controls", "a: \\033x@1 b: \\033x@1", "\033x complete a+b"},
    {"tags-differ-in-case", "a: X@1 b: x@1", "X partial a, x partial b"},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(rows[row].set);
    g_autofree char *printed = print_catalog(catalog);
    g_assert_cmpstr(printed, ==, rows[row].snapshots);
    g_assert_cmpuint(catalog->currents->len, ==, catalog->images->len);
}

/* What the records say of a snapshot as a whole. */
static const struct {
    const char *name, *set;
    gboolean is_recorded, is_protected;
    guint covers;
} record_rows[] = {
    {"derived", "a: x@1 b: x@1", FALSE, FALSE, 0},
    {"recorded", "a: x@1=A b: x@1=A", TRUE, FALSE, 0},
    {"recorded-on-one", "a: x@1=? b: x@1", TRUE, FALSE, 0},
    {"unproven-is-not-recorded", "a: x@1=As b: x@2=Bs", FALSE, FALSE, 0},
    {"protected", "a: x@1=Ap b: x@1=Ap", TRUE, TRUE, 0},
    {"protected-on-one", "a: x@1=A b: x@1=Ap", TRUE, TRUE, 0},
    {"protected-unproven", "a: x@1=As b: x@2=Bsp", FALSE, TRUE, 0},
    {"covers", "a: x@1=A*2 b: x@1=A*2", TRUE, FALSE, 2},
    {"covers-most", "a: x@1=A*2 b: x@1=A*3", TRUE, FALSE, 3},
    {"covers-on-one", "a: x@1=A*2 b: x@1=A", TRUE, FALSE, 2},
    {"single-covers-nothing", "a: x@1=As*1 b: x@2=Bs*1", FALSE, FALSE, 0},
};

static void
test_records(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(record_rows[row].set);
    const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, 0);

    g_assert_cmpuint(catalog->snapshots->len, ==, 1);
    g_assert_cmpint(snapshot->is_recorded, ==, record_rows[row].is_recorded);
    g_assert_cmpint(snapshot->is_protected, ==, record_rows[row].is_protected);
    g_assert_cmpuint(snapshot->covers, ==, record_rows[row].covers);
}

static void
test_description(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1=A b: x@1=A c: x@1=A");
    static const char *const texts[] = {NULL, "second", "third"};

    for (guint i = 0; i < images->len; i++) {
        SnapsetImage *image = images->pdata[i];
        SnapsetRecord *record = image->ledger->records->pdata[0];
        record->description = g_strdup(texts[i]);
    }
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_assert_cmpstr(snapset_catalog_snapshot(catalog, 0)->description, ==, "second");
}

static char *
join(GPtrArray *names)
{
    g_autoptr(GPtrArray) owned = names;
    g_ptr_array_add(owned, NULL);
    return g_strjoinv(" ", (char **)owned->pdata);
}

static void
test_members(void)
{
    g_autoptr(SnapsetCatalog) catalog = build_catalog("a: x@5+7/10 b: y@1 c: x@5+7/90 d: e: x@5+7");
    const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, 1);

    g_assert_cmpstr(snapshot->tag, ==, "x");
    g_autofree char *having = join(snapset_catalog_having(catalog, snapshot));
    g_autofree char *missing = join(snapset_catalog_missing(catalog, snapshot));
    g_assert_cmpstr(having, ==, "a c e");
    g_assert_cmpstr(missing, ==, "b d");
    for (guint i = 0; i < 5; i++) {
        const SnapsetEntry *entry = snapset_snapshot_entry(snapshot, i);
        if (i == 1 || i == 3)
            g_assert_null(entry);
        else
            g_assert_true(entry == snapset_image_entry(snapset_catalog_image(catalog, i), 0));
    }
    g_assert_cmpuint(snapset_snapshot_vm_state_size(snapshot), ==, 90);
    g_assert_cmpuint(snapset_snapshot_moment(snapshot)->date_sec, ==, 5);
}

/* Every identity leads to its snapshot, those of an unproven one's members too. */
static void
test_find(void)
{
    g_autoptr(SnapsetCatalog) catalog = build_catalog("a: x@1=A u@100=Bs y@900 b: x@1=A u@101=Cs");
    static const struct {
        const char *uuid, *tag;
    } finds[] = {
        {"A", "x"},  {"B", "u"},  {"C", "u"},      {"(y@900)", "y"},
        {"D", NULL}, {"-", NULL}, {"(x@1)", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(finds); i++) {
        SnapsetUuid uuid = build_uuid(finds[i].uuid);
        const SnapsetSnapshot *snapshot = snapset_catalog_find(catalog, &uuid);
        g_assert_cmpstr(snapshot != NULL ? snapshot->tag : NULL, ==, finds[i].tag);
    }
}

/* A tag with a zero byte is, to QEMU and so to its identity, the part before it. */
static void
test_nul_in_tag(void)
{
    g_autoptr(SnapsetImage) image = snapset_image_new("a", "qcow2");
    SnapsetMoment moment = {1, 2, 3, NULL};
    SnapsetEntry *entry =
        snapset_image_add_entry(image, (SnapsetBytes){(const guint8 *)"1\0x", 3},
                                (SnapsetBytes){(const guint8 *)"ab\0cd", 5}, &moment);

    g_assert_cmpstr(entry->id, ==, "1");
    g_assert_cmpstr(entry->tag, ==, "ab");
    g_assert_true(entry->tag_has_nul);
    SnapsetMoment seen = {1, 2, 3, "ab"};
    SnapsetUuid derived = snapset_identity_derive(&seen);
    g_assert_true(snapset_uuid_equal(&entry->identity, &derived));
    entry =
        snapset_image_add_entry(image, (SnapsetBytes){NULL, 0}, (SnapsetBytes){NULL, 0}, &moment);
    g_assert_cmpstr(entry->id, ==, "");
    g_assert_cmpstr(entry->tag, ==, "");
    g_assert_false(entry->tag_has_nul);
}

static void
test_image_lookups(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1#7 y@2#7=B x@3#8 >B b:");
    const SnapsetImage *image = images->pdata[0];
    SnapsetUuid b = build_uuid("B");
    SnapsetUuid c = build_uuid("C");
    SnapsetUuid current = snapset_image_current(image);

    g_assert_cmpuint(snapset_image_entry_count(image), ==, 3);
    g_assert_cmpuint(snapset_image_count_tag(image, "x"), ==, 2);
    g_assert_cmpuint(snapset_image_count_tag(image, "z"), ==, 0);
    g_assert_cmpuint(snapset_image_count_id(image, "7"), ==, 2);
    g_assert_cmpuint(snapset_image_count_id(image, "1"), ==, 0);
    g_assert_true(snapset_image_find_tag(image, "x") == snapset_image_entry(image, 0));
    g_assert_null(snapset_image_find_tag(image, "z"));
    g_assert_true(snapset_image_find_identity(image, &b) == snapset_image_entry(image, 1));
    g_assert_null(snapset_image_find_identity(image, &c));
    g_assert_true(snapset_uuid_equal(&current, &b));
    current = snapset_image_current(images->pdata[1]);
    g_assert_true(snapset_uuid_is_nil(&current));
}

static void
test_names_of_values(void)
{
    g_assert_cmpstr(snapset_standing_name(SNAPSET_COMPLETE), ==, "complete");
    g_assert_cmpstr(snapset_standing_name(SNAPSET_PARTIAL), ==, "partial");
    g_assert_cmpstr(snapset_standing_name(SNAPSET_COLLIDING), ==, "colliding");
    g_assert_cmpstr(snapset_standing_name(SNAPSET_UNPROVEN), ==, "unproven");
    g_assert_cmpstr(snapset_parent_source_name(SNAPSET_PARENT_NONE), ==, "none");
    g_assert_cmpstr(snapset_parent_source_name(SNAPSET_PARENT_RECORDED), ==, "recorded");
    g_assert_cmpstr(snapset_parent_source_name(SNAPSET_PARENT_INFERRED), ==, "inferred");
}

/* As everywhere in GLib. */
static void
test_free_of_nothing(void)
{
    snapset_catalog_free(NULL);
    snapset_image_free(NULL);
    snapset_qcow2_header_free(NULL);
    snapset_ledger_free(NULL);
    snapset_record_free(NULL);
}

#define MANY 65536

static SnapsetImage *
many_equal(const char *filename, guint count)
{
    SnapsetImage *image = snapset_image_new(filename, "qcow2");
    SnapsetMoment moment = {0, 0, 0, NULL};
    for (guint i = 0; i < count; i++)
        snapset_image_add_entry(image, (SnapsetBytes){NULL, 0}, (SnapsetBytes){NULL, 0}, &moment);
    snapset_image_finish(image);
    return image;
}

/* 65,536 equal entries, which QEMU allows: each is a snapshot of its own, found in linear time. */
static void
test_many_equal(void)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    guint standings[4] = {0};
    gsize members = 0;

    g_ptr_array_add(images, many_equal("a", MANY));
    g_ptr_array_add(images, many_equal("b", MANY - 1));
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_assert_cmpuint(catalog->snapshots->len, ==, MANY);
    for (guint i = 0; i < MANY; i++) {
        standings[snapset_catalog_snapshot(catalog, i)->standing]++;
        members += snapset_catalog_snapshot(catalog, i)->members->len;
    }
    g_assert_cmpuint(members, ==, 2 * MANY - 1);
    g_assert_cmpuint(standings[SNAPSET_COMPLETE], ==, MANY - 1);
    g_assert_cmpuint(standings[SNAPSET_PARTIAL], ==, 1);
    g_assert_cmpuint(g_hash_table_size(catalog->by_identity), ==, 1);
}

/* The same with one tag and 65,536 dates, in two images that have none in common. */
static void
test_many_rivals(void)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    for (guint i = 0; i < 2; i++) {
        SnapsetImage *image = snapset_image_new(i == 0 ? "a" : "b", "qcow2");
        for (guint j = 0; j < MANY; j++) {
            SnapsetMoment moment = {j, i, 0, NULL};
            snapset_image_add_entry(image, (SnapsetBytes){NULL, 0},
                                    (SnapsetBytes){(const guint8 *)"t", 1}, &moment);
        }
        snapset_image_finish(image);
        g_ptr_array_add(images, image);
    }
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_assert_cmpuint(catalog->snapshots->len, ==, 2 * MANY);
    for (guint i = 0; i < 2 * MANY; i++)
        g_assert_cmpint(snapset_catalog_snapshot(catalog, i)->standing, ==, SNAPSET_COLLIDING);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/catalog/standing/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(record_rows); i++) {
        g_autofree char *path = g_strdup_printf("/catalog/records/%s", record_rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_records);
    }
    g_test_add_func("/catalog/description", test_description);
    g_test_add_func("/catalog/members", test_members);
    g_test_add_func("/catalog/find", test_find);
    g_test_add_func("/catalog/nul-in-tag", test_nul_in_tag);
    g_test_add_func("/catalog/image-lookups", test_image_lookups);
    g_test_add_func("/catalog/names-of-values", test_names_of_values);
    g_test_add_func("/catalog/free-of-nothing", test_free_of_nothing);
    g_test_add_func("/catalog/many-equal", test_many_equal);
    g_test_add_func("/catalog/many-rivals", test_many_rivals);
    return g_test_run();
}
