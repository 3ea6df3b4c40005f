/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lineage: parents and currents as the records tell them, and changes to a ledger. The sets are
 * written as tests/unit/build-image.h says.
 */
#include "common/core/lineage.h"

#include <string.h>

#include "tests/unit/build-image.h"

/*
 * Each snapshot as "NAME" (nothing recorded), "NAME<-" (a root), "NAME<PARENT" (recorded),
 * "NAME<~PARENT" (inferred), "NAME<=PARENT" (libvirt's) or "NAME<{PARENT|PARENT}" (candidates),
 * current marked by "*"; then where each image stands.
 */
static char *
print_lineage(const SnapsetCatalog *catalog)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        g_autofree char *name = build_snapshot_name(snapshot);
        g_autofree char *parent = build_snapshot_name(snapshot->parent);
        g_string_append_printf(out, "%s%s%s", i > 0 ? " " : "", snapshot->is_current ? "*" : "",
                               name);
        if (snapshot->parent_source != SNAPSET_PARENT_NONE)
            g_string_append(out, snapshot->parent_source == SNAPSET_PARENT_INFERRED  ? "<~"
                                 : snapshot->parent_source == SNAPSET_PARENT_LIBVIRT ? "<="
                                                                                     : "<");
        if (snapshot->parent_candidates != NULL) {
            g_assert_null(snapshot->parent);
            for (guint j = 0; j < snapshot->parent_candidates->len; j++) {
                g_autofree char *one = build_snapshot_name(snapshot->parent_candidates->pdata[j]);
                g_string_append_printf(out, "%s%s", j > 0 ? "|" : "{", one);
            }
            g_string_append_c(out, '}');
        } else if (snapshot->parent_source != SNAPSET_PARENT_NONE) {
            g_string_append(out, parent);
        }
    }
    g_string_append_c(out, ';');
    for (guint i = 0; i < catalog->images->len; i++) {
        g_autofree char *at =
            build_snapshot_name(g_array_index(catalog->currents, SnapsetSnapshot *, i));
        g_string_append_printf(out, " %s", at);
    }
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *set, *lineage;
} rows[] = {
    /* parents */
    {"nothing-recorded", "a: x@1 y@2", "x y; -"},
    {"root", "a: x@1=A", "x.A<-; -"},
    {"child", "a: x@1=A y@2=B<A", "x.A<- y.B<x.A; -"},
    {"chain", "a: x@1=A y@2=B<A z@3=C<B", "x.A<- y.B<x.A z.C<y.B; -"},
    {"branches", "a: x@1=A y@2=B<A z@3=C<A", "x.A<- y.B<x.A z.C<x.A; -"},
    {"of-derived-identity", "a: x@1 y@2=B<(x@1)", "x y.B<x; -"},
    {"derived-in-a-record", "a: x@1=? y@2=B<(x@1)", "x<- y.B<x; -"},
    {"older-than-its-parent", "a: x@9=A y@2=B<A", "y.B<x.A x.A<-; -"},
    {"inferred", "a: x@1=A y@2=Bi<A", "x.A<- y.B<~x.A; -"},
    {"inferred-nil-is-unknown", "a: x@1=Ai", "x.A; -"},
    {"inferred-on-one-image", "a: x@1=A y@2=Bi<A b: x@1=A y@2=B<A", "x.A<- y.B<~x.A; - -"},
    {"inferred-parent-is-gone", "a: y@2=Bi<A", "y.B<-; -"},
    {"libvirts", "a: x@1=Al y@2=Bl<A", "x.A<=- y.B<=x.A; -"},
    {"libvirts-on-one-image", "a: x@1=A y@2=Bl<A b: x@1=A y@2=B<A", "x.A<- y.B<=x.A; - -"},
    {"libvirts-and-inferred", "a: x@1=A y@2=Bl<A b: x@1=A y@2=Bi<A", "x.A<- y.B<~x.A; - -"},
    {"unknown-on-one-image", "a: x@1=A y@2=Bi b: x@1=A y@2=B<A", "x.A<- y.B<x.A; - -"},
    {"only-one-image-has-records", "a: x@1 y@2 b: x@1=? y@2=?<(x@1)", "x<- y<x; - -"},
    {"two-images-agree", "a: x@1=A y@2=B<A b: x@1=A y@2=B<A", "x.A<- y.B<x.A; - -"},
    {"root-on-one-child-on-the-other", "a: x@1=A y@2=B b: x@1=A y@2=B<A", "x.A<- y.B<x.A; - -"},
    {"two-images-disagree", "a: x@1=A y@2=B z@3=C<A b: x@1=A y@2=B z@3=C<B",
     "x.A<- y.B<- z.C<{x.A|y.B}; - -"},
    {"disagree-inferred", "a: x@1=A y@2=B z@3=Ci<A b: x@1=A y@2=B z@3=C<B",
     "x.A<- y.B<- z.C<~{x.A|y.B}; - -"},
    {"parent-on-another-image", "a: y@2=B<A b: x@1=A", "x.A<- y.B<x.A; - -"},
    {"parents-are-one-unproven-snapshot", "a: x@1=As y@500=C<A b: x@2=Bs y@500=C<B",
     "x.A<- y.C<x.A; - -"},

    /* climbing over what another tool deleted */
    {"parent-deleted", "a: x@1=A ~B<A z@3=C<B", "x.A<- z.C<x.A; -"},
    {"two-deleted", "a: x@1=A ~B<A ~C<B z@4=D<C", "x.A<- z.D<x.A; -"},
    {"root-deleted", "a: ~A y@2=B<A", "y.B<-; -"},
    {"no-record-of-the-deleted", "a: y@2=B<A", "y.B<-; -"},
    {"deleted-here-but-not-there", "a: x@1=A ~B<A z@3=C<B b: x@1=A y@2=B<A z@3=C<B",
     "x.A<- y.B<x.A z.C<y.B; - -"},
    {"record-of-the-deleted-on-the-other-image", "a: x@1=A z@3=C<B b: x@1=A ~B<A z@3=C<B",
     "x.A<- z.C<x.A; - -"},

    /* hostile records */
    {"own-parent", "a: x@1=A<A", "x.A<-; -"},
    {"own-parent-on-one-image", "a: x@1=A y@2=B<B b: x@1=A y@2=B<A", "x.A<- y.B<x.A; - -"},
    {"loop-of-two", "a: x@1=A<B y@2=B<A", "x.A<y.B y.B<-; -"},
    {"loop-of-three", "a: x@1=A<B y@2=B<C z@3=C<A", "x.A<y.B y.B<z.C z.C<-; -"},
    {"loop-with-a-tail", "a: w@1=D<C x@2=A<B y@3=B<C z@4=C<A", "w.D<z.C x.A<y.B y.B<- z.C<x.A; -"},
    {"tail-after-the-loop", "a: x@1=A<B y@2=B<A z@3=C<B", "x.A<y.B y.B<- z.C<y.B; -"},
    {"two-loops", "a: w@1=A<B x@2=B<A y@3=C<D z@4=D<C", "w.A<x.B x.B<- y.C<z.D z.D<-; -"},
    {"loop-over-deleted", "a: ~A<B ~B<A z@3=C<A", "z.C<-; -"},
    {"deleted-own-parent", "a: ~A<A z@3=C<A", "z.C<-; -"},
    {"loop-through-deleted", "a: x@1=A<B ~B<A", "x.A<-; -"},
    {"current-in-a-loop-of-deleted", "a: ~A<B ~B<A x@1 >A", "x; -"},

    /* currents */
    {"current", "a: x@1=A y@2=B >A", "*x.A<- y.B<-; x.A"},
    {"current-of-all", "a: x@1=A >A b: x@1=A >A", "*x.A<-; x.A x.A"},
    {"current-of-derived", "a: x@1 >(x@1) b: x@1 >(x@1)", "*x; x x"},
    {"current-of-one", "a: x@1=A >A b: x@1=A", "*x.A<-; x.A -"},
    {"current-of-none", "a: x@1=A >- b: x@1=A", "x.A<-; - -"},
    {"currents-differ", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B", "x.A<- y.B<-; x.A y.B"},
    {"current-deleted", "a: x@1=A ~B<A >B", "*x.A<-; x.A"},
    {"current-unknown", "a: x@1=A >B", "x.A<-; -"},
    {"current-unknown-on-one", "a: x@1=A >B b: x@1=A >A", "x.A<-; - x.A"},
    {"current-unknown-on-the-other", "a: x@1=A >A b: x@1=A >B", "x.A<-; x.A -"},
    {"currents-are-one-unproven-snapshot", "a: x@1=As >A b: x@2=Bs >B", "*x.A<-; x.A x.A"},
    {"current-on-the-other-image-only", "a: >A b: x@1=A >A", "*x.A<-; x.A x.A"},
    {"three-the-last-differs", "a: x@1=A y@2=B >A b: x@1=A >A c: y@2=B >B",
     "x.A<- y.B<-; x.A x.A y.B"},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(rows[row].set);
    g_autofree char *printed = print_lineage(catalog);
    g_assert_cmpstr(printed, ==, rows[row].lineage);
}

/* Whatever the records say, walking up from any snapshot ends. */
static void
test_walks_end(void)
{
    for (guint round = 0; round < 500; round++) {
        g_autoptr(GString) set = g_string_new("a:");
        for (guint i = 0; i < 8; i++) {
            char parent = 'A' + g_test_rand_int_range(0, 8);
            if (g_test_rand_bit())
                g_string_append_printf(set, " t%u@%d=%c<%c", i, g_test_rand_int_range(1, 5),
                                       'A' + i, parent);
            else
                g_string_append_printf(set, " ~%c<%c", 'A' + i, parent);
        }
        g_autoptr(SnapsetCatalog) catalog = build_catalog(set->str);
        for (guint i = 0; i < catalog->snapshots->len; i++) {
            guint steps = 0;
            for (const SnapsetSnapshot *at = snapset_catalog_snapshot(catalog, i); at != NULL;
                 at = at->parent)
                g_assert_cmpuint(steps++, <, 8);
            g_autoptr(GPtrArray) below =
                snapset_lineage_descendants(catalog, snapset_catalog_snapshot(catalog, i));
            g_assert_cmpuint(below->len, <, catalog->snapshots->len);
        }
    }
}

/* Do the first two images stand at the same point? */
static const struct {
    const char *name, *set;
    gboolean agree;
} agreements[] = {
    {"neither-records", "a: b:", TRUE},
    {"one-records", "a: x@1=A >A b:", TRUE},
    {"other-records", "a: b: x@1=A >A", TRUE},
    {"same", "a: x@1=A >A b: x@1=A >A", TRUE},
    {"same-that-nobody-has", "a: >A b: >A", TRUE},
    {"different", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B", FALSE},
    {"different-that-nobody-has", "a: >A b: >B", FALSE},
    {"one-that-nobody-has", "a: x@1=A >A b: x@1=A >B", FALSE},
    {"unproven", "a: x@1=As >A b: x@2=Bs >B", TRUE},
    {"colliding", "a: x@1=A >A b: x@2=B >B", FALSE},
    {"deleted-below-it", "a: x@1=A ~B<A >B b: x@1=A >A", TRUE},
    {"twins", "a: x@1 x@1 >(x@1) b: x@1 x@1 >(x@1)", TRUE},
};

static void
test_agree(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(agreements[row].set);
    g_assert_cmpint(snapset_lineage_agree(catalog, 0, 1), ==, agreements[row].agree);
    g_assert_cmpint(snapset_lineage_agree(catalog, 1, 0), ==, agreements[row].agree);
    g_assert_true(snapset_lineage_agree(catalog, 0, 0));
}

/* The parent that a new entry of each image would get, "~" before what nothing proves. */
static const struct {
    const char *name, *set, *parents;
} next_parents[] = {
    {"nothing-recorded", "a: b:", "- -"},
    {"nothing-recorded-sealed", "a: !sealed b: !sealed", "- -"},
    {"sealed", "a: x@1=A >A !sealed b: x@1=A >A !sealed", "A A"},
    {"seal-broken", "a: x@1=A >A b: x@1=A >A !sealed", "~A A"},
    {"of-another-image", "a: b: x@1=A >A !sealed", "A A"},
    {"of-another-image-seal-broken", "a: !sealed b: x@1=A >A", "~A ~A"},
    {"of-the-first-that-records", "a: b: >A !sealed c: >B !sealed", "A A B"},
    {"own-before-others", "a: >A !sealed b: >B", "A ~B"},
};

static void
test_next_parent(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(next_parents[row].set);
    g_autoptr(GString) out = g_string_new(NULL);

    for (guint i = 0; i < catalog->images->len; i++) {
        gboolean inferred = 2;
        SnapsetUuid parent = snapset_lineage_next_parent(catalog, i, &inferred);
        g_autofree char *name = build_uuid_name(&parent);
        g_assert_true(inferred == TRUE || inferred == FALSE);
        g_string_append_printf(out, "%s%s%s", i > 0 ? " " : "", inferred ? "~" : "", name);
    }
    g_assert_cmpstr(out->str, ==, next_parents[row].parents);
}

static const struct {
    const char *name, *set, *descendants; /* of the snapshot tagged "x" */
} families[] = {
    {"none", "a: x@1=A y@2=B", ""},
    {"children", "a: x@1=A y@2=B<A z@3=C<A", "y z"},
    {"grandchildren", "a: x@1=A y@2=B<A z@3=C<B", "y z"},
    {"parents-first", "a: x@1=A z@2=C<B y@3=B<A", "y z"},
    {"not-ancestors", "a: w@1=D x@2=A<D y@3=B<A", "y"},
    {"not-siblings", "a: w@1=D x@2=A<D y@3=B<D", ""},
    {"deep", "a: x@1=A b@2=B<A c@3=C<B d@4=D<C e@5=E<D f@5=F<A g@6=G<F", "b f c g d e"},
};

static void
test_descendants(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(families[row].set);
    g_autoptr(GString) out = g_string_new(NULL);
    SnapsetUuid a = build_uuid("A");
    g_autoptr(GPtrArray) found =
        snapset_lineage_descendants(catalog, snapset_catalog_find(catalog, &a));

    for (guint i = 0; i < found->len; i++)
        g_string_append_printf(out, "%s%s", i > 0 ? " " : "",
                               ((SnapsetSnapshot *)found->pdata[i])->tag);
    g_assert_cmpstr(out->str, ==, families[row].descendants);
}

/* ---- changes to a ledger ---- */

/* "UUID<PARENT" of each record, "?" after an unknown parent, ">" and the current. */
static char *
print_ledger(const SnapsetLedger *ledger)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < ledger->records->len; i++) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        g_autofree char *name = build_uuid_name(&record->identity);
        g_autofree char *parent = build_uuid_name(&record->parent);
        g_string_append_printf(out, "%s<%s%s ", name, parent,
                               snapset_record_parent_is_unknown(record) ? "?" : "");
    }
    g_autofree char *current = build_uuid_name(&ledger->current);
    g_string_append_printf(out, ">%s", current);
    return g_string_free(out, FALSE);
}

typedef enum {
    REMOVE,
    REPOINT_TO_Z,
    COMPACT,
} Change;

static const struct {
    const char *name, *image;
    Change change;
    const char *uuid, *ledger;
} changes[] = {
    {"remove-leaf", "a: ~A ~B<A >A", REMOVE, "B", "A<- >A"},
    {"remove-root", "a: ~A ~B<A ~C<A >B", REMOVE, "A", "B<- C<- >B"},
    {"remove-middle", "a: ~A ~B<A ~C<B >A", REMOVE, "B", "A<- C<A >A"},
    {"remove-current", "a: ~A ~B<A >B", REMOVE, "B", "A<- >A"},
    {"remove-current-root", "a: ~A >A", REMOVE, "A", ">-"},
    {"remove-current-with-children", "a: ~A ~B<A ~C<B >B", REMOVE, "B", "A<- C<A >A"},
    {"remove-what-has-no-record", "a: ~B<A >A", REMOVE, "A", "B<-? >-"},
    {"remove-what-has-no-known-parent", "a: ~Ai ~B<A ~C >B", REMOVE, "A", "B<-? C<- >B"},
    {"remove-what-has-an-inferred-parent", "a: ~A ~Bi<A ~C<B >C", REMOVE, "B", "A<- C<A >C"},
    {"remove-unknown", "a: ~A >A", REMOVE, "X", "A<- >A"},
    {"remove-own-parent", "a: ~A<A ~B<A >A", REMOVE, "A", "B<A >A"},
    {"repoint", "a: ~A ~B<A ~C<B >A", REPOINT_TO_Z, "A", "A<- B<Z C<B >Z"},
    {"repoint-unknown", "a: ~A ~B<A >B", REPOINT_TO_Z, "X", "A<- B<A >B"},
    {"compact-unknown", "a: ~Ai z@3=C<A >C", COMPACT, NULL, "C<-? >C"},
    {"compact-nothing", "a: x@1=A y@2=B<A >B", COMPACT, NULL, "A<- B<A >B"},
    {"compact", "a: x@1=A ~B<A z@3=C<B >C", COMPACT, NULL, "A<- C<A >C"},
    {"compact-run", "a: x@1=A ~B<A ~C<B ~D<C z@3=E<D >D", COMPACT, NULL, "A<- E<A >A"},
    {"compact-all", "a: ~A ~B<A >B", COMPACT, NULL, ">-"},
    {"compact-keeps-external", "a: ~Ae ~B<A ~Ce<B >B", COMPACT, NULL, "A<- C<A >A"},
    {"compact-record-of-twins", "a: x@1=A x@1 >A", COMPACT, NULL, "A<- >A"},
};

static void
test_change(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) images = build_images(changes[row].image);
    SnapsetImage *image = images->pdata[0];
    SnapsetUuid uuid = build_uuid(changes[row].uuid != NULL ? changes[row].uuid : "-");
    SnapsetUuid z = build_uuid("Z");
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(image->ledger);

    switch (changes[row].change) {
    case REMOVE:
        snapset_lineage_remove(ledger, &uuid);
        break;
    case REPOINT_TO_Z:
        snapset_lineage_repoint(ledger, &uuid, &z);
        break;
    case COMPACT:
        snapset_lineage_compact(ledger, image);
        break;
    }
    g_autofree char *printed = print_ledger(ledger);
    g_assert_cmpstr(printed, ==, changes[row].ledger);
}

/* The identity to remove may be the record's own field. */
static void
test_remove_by_its_own_field(void)
{
    g_autoptr(GPtrArray) images = build_images("a: ~A ~B<A ~C<B >B");
    SnapsetLedger *ledger = ((SnapsetImage *)images->pdata[0])->ledger;
    const SnapsetRecord *record = ledger->records->pdata[1];

    snapset_lineage_remove(ledger, &record->identity);
    g_autofree char *after = print_ledger(ledger);
    g_assert_cmpstr(after, ==, "A<- C<A >A");
    snapset_lineage_remove(ledger, &ledger->current);
    g_autofree char *rest = print_ledger(ledger);
    g_assert_cmpstr(rest, ==, "C<- >-");
}

/* What was recorded since the image was read belongs to entries that are yet to be made. */
static void
test_compact_keeps_new_records(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1=A ~B<A >B");
    const SnapsetImage *image = images->pdata[0];
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(image->ledger);
    SnapsetUuid c = build_uuid("C");
    SnapsetRecord *made = snapset_record_new(&c, 4711);

    made->parent = build_uuid("B");
    g_ptr_array_add(ledger->records, made);
    snapset_lineage_compact(ledger, image);
    g_autofree char *printed = print_ledger(ledger);
    g_assert_cmpstr(printed, ==, "A<- C<A >A");
    g_autoptr(SnapsetImage) bare = snapset_image_new("b", "qcow2"); /* has no record at all */
    snapset_lineage_compact(ledger, bare);
    g_assert_cmpuint(ledger->records->len, ==, 2);
}

static void
test_record_of_an_entry(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1=A y@2");
    const SnapsetImage *image = images->pdata[0];
    const SnapsetEntry *y = snapset_image_entry(image, 1);

    SnapsetRecord *old = snapset_lineage_record(image->ledger, snapset_image_entry(image, 0));
    g_assert_true(old == snapset_image_entry(image, 0)->record);
    SnapsetRecord *made = snapset_lineage_record(image->ledger, y);
    g_assert_cmpuint(image->ledger->records->len, ==, 2);
    g_assert_true(snapset_uuid_equal(&made->identity, &y->derived));
    g_assert_cmphex(made->binding, ==, snapset_identity_binding(&y->derived));
    g_assert_true(snapset_record_parent_is_unknown(made));
    g_assert_true(snapset_lineage_record(image->ledger, y) == made);
}

/* What libvirt, or a person, says of entries that nobody had recorded. */
static void
test_adopt(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1=As*1<B y@2");
    const SnapsetImage *image = images->pdata[0];
    SnapsetUuid z = build_uuid("Z");
    SnapsetUuid p = build_uuid("P");

    SnapsetRecord *old = snapset_lineage_adopt(image->ledger, snapset_image_entry(image, 0), &z, 2);
    g_assert_true(old == snapset_image_entry(image, 0)->record);
    g_assert_true(snapset_uuid_equal(&old->identity, &z));
    g_assert_cmpuint(old->members, ==, 2);
    g_assert_cmpuint(old->flags & SNAPSET_RECORD_SINGLE, ==, 0);
    SnapsetRecord *made =
        snapset_lineage_adopt(image->ledger, snapset_image_entry(image, 1), &z, 70000);
    g_assert_cmpuint(made->members, ==, G_MAXUINT16);
    g_assert_cmphex(made->binding, ==,
                    snapset_identity_binding(&snapset_image_entry(image, 1)->derived));

    snapset_lineage_take_parent(old, &p); /* its parent is known */
    snapset_lineage_take_parent(made, &p);
    g_autofree char *printed = print_ledger(image->ledger);
    g_assert_cmpstr(printed, ==, "Z<B Z<P >-");
    g_assert_cmpuint(old->flags & SNAPSET_RECORD_PARENT_LIBVIRT, ==, 0);
    g_assert_cmpuint(made->flags & SNAPSET_RECORD_PARENT_LIBVIRT, !=, 0);
}

#define ADD_ROWS(folder, rows, function)                                                           \
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {                                               \
        g_autofree char *path = g_strdup_printf("/lineage/" folder "/%s", (rows)[i].name);         \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    ADD_ROWS("resolve", rows, test_row)
    ADD_ROWS("agree", agreements, test_agree)
    ADD_ROWS("next-parent", next_parents, test_next_parent)
    ADD_ROWS("descendants", families, test_descendants)
    ADD_ROWS("change", changes, test_change)
    g_test_add_func("/lineage/walks-end", test_walks_end);
    g_test_add_func("/lineage/adopt", test_adopt);
    g_test_add_func("/lineage/remove-by-its-own-field", test_remove_by_its_own_field);
    g_test_add_func("/lineage/compact-keeps-new-records", test_compact_keeps_new_records);
    g_test_add_func("/lineage/record-of-an-entry", test_record_of_an_entry);
    return g_test_run();
}
