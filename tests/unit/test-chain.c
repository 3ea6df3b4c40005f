/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing chains and external snapshots in catalogue, lineage and rules. The sets are written as
 * tests/unit/build-image.h says.
 */
#include <string.h>

#include "common/core/lineage.h"
#include "common/core/rules.h"
#include "tests/unit/build-image.h"

/* An overlay on the sealed and frozen image "a", as create makes them. */
#define ONE "over: ~Aeb'x' >A !sealed /a: ~Aef'x' >A !sealed"

/* ---- the catalogue ---- */

/* "tag[.LETTER] kind standing image/link=holder ..." of each snapshot. */
static char *
print_members(const SnapsetCatalog *catalog)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        g_autofree char *name = build_snapshot_name(snapshot);
        g_string_append_printf(out, "%s%s %s%s %s", i > 0 ? ", " : "", name,
                               snapset_snapshot_is_external(snapshot) ? "external" : "internal",
                               snapset_snapshot_is_buried(snapshot) ? "-buried" : "",
                               snapset_standing_name(snapshot->standing));
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetMember *member = snapset_snapshot_member(snapshot, j);
            const SnapsetImage *holder = snapset_catalog_holder(catalog, member);
            g_string_append_printf(out, " %s/%u=%s",
                                   snapset_catalog_image(catalog, member->image)->filename,
                                   member->link, holder != NULL ? holder->filename : "?");
            g_assert_true(snapset_snapshot_find(snapshot, member->image) == member);
            g_assert_true(snapset_snapshot_entry(snapshot, member->image) == member->entry);
        }
    }
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *set, *snapshots;
} members[] = {
    {"one", ONE, "x.A external complete over/0=a"},
    {"frozen-alone", "a: ~Aef'x' >A !sealed", ""},
    {"without-a-backing-file", "a: ~Ae'x' >A", ""},
    {"backing-file-out-of-reach", "a: ~Ae'x' !missing", "x.A external complete a/0=?"},
    {"below-another", "c: ~Be'y' /b: ~Ae'x' ~Bef'y' /a:",
     "y.B external complete c/0=b, x.A external complete c/1=a"},
    {"inside-a-backing-file", "b: /a: z@9=C", "z.C internal-buried complete b/1=a"},
    {"inside-and-in-the-image", "b: w@5=D /a: z@9=C",
     "w.D internal complete b/0=b, z.C internal-buried complete b/1=a"},
    {"inside-of-one-only", "b: z@9=C /a: d: /c: z@9=C", "z.C internal complete b/0=b d/1=c"},
    {"set", "o: ~Ae'x' /a: p: ~Ae'x' /b:", "x.A external complete o/0=a p/0=b"},
    {"partial", "o: ~Ae'x' /a: b:", "x.A external partial o/0=a"},
    {"at-different-depths", "o: ~Ae'x' /a: q: ~Be'y' /p: ~Ae'x' /b:",
     "x.A external complete o/0=a q/1=b, y.B external partial q/0=p"},
    {"collision",
     "o: ~Ae'x' /a: p: ~Be'x' /b:", "x.A external colliding o/0=a, x.B external colliding p/0=b"},
    {"of-both-kinds", "o: ~Ae'x' /a: b: x@5=B",
     "x.A external colliding o/0=a, x.B internal colliding b/0=b"},
    {"twice-in-a-chain",
     "c: ~Ae'x' /b: ~Ae'x' /a:", "x.A external complete c/0=b, x.A external complete c/1=a"},
};

static void
test_members(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(members[row].set);
    g_autofree char *printed = print_members(catalog);
    g_assert_cmpstr(printed, ==, members[row].snapshots);
}

/* The date of an external snapshot is that of its identity. */
static void
test_dates(void)
{
    static const guint8 random[SNAPSET_UUID_SIZE] = {1, 2, 3};
    SnapsetUuid uuid = snapset_uuid_from_time(1795290621689, random);
    g_autoptr(SnapsetImage) image = snapset_image_new("over", "qcow2");
    SnapsetRecord *record = snapset_record_new(&uuid, 0);

    image->backing_filename = g_strdup("a");
    image->ledger = snapset_ledger_new();
    record->flags = SNAPSET_RECORD_EXTERNAL;
    g_ptr_array_add(image->ledger->records, record);
    snapset_image_finish(image);
    const SnapsetEntry *entry = &g_array_index(image->externals, SnapsetEntry, 0);
    g_assert_cmpuint(entry->moment.date_sec, ==, 1795290621);
    g_assert_cmpuint(entry->moment.date_nsec, ==, 689000000);
    g_assert_cmpstr(entry->tag, ==, "");
}

/* ---- lineage ---- */

static const struct {
    const char *name, *set, *drawn; /* "NAME<PARENT", current with "*" */
} lineages[] = {
    {"one", ONE, "*x.A<-"},
    {"from-an-internal-one", "o: ~Ae<B'x' >A /a: y@1=B ~Aef<B'x' >A", "*x.A<y.B y.B<-"},
    {"two", "c: ~Be<A'y' >B /b: ~Ae'x' ~Bef<A'y' >B /a: ~Aef'x' >A", "*y.B<x.A x.A<-"},
    {"record-of-the-gone-is-below", "c: ~Be<C'y' >B /b: ~Ae'x' ~C<A /a:", "*y.B<x.A x.A<-"},
    {"frozen-image-by-itself", "a: y@1=B ~Aef<B'x' >A", "*y.B<-"},
};

static void
test_lineage(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(lineages[row].set);
    g_autoptr(GString) out = g_string_new(NULL);

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        g_autofree char *name = build_snapshot_name(snapshot);
        g_autofree char *parent = build_snapshot_name(snapshot->parent);
        g_string_append_printf(out, "%s%s%s<%s", i > 0 ? " " : "", snapshot->is_current ? "*" : "",
                               name, parent);
    }
    /* external ones have no date here, and come first */
    g_assert_cmpstr(out->str, ==, lineages[row].drawn);
}

static const struct {
    const char *name, *set, *parent;
    gboolean inferred;
} parents[] = {
    {"sealed", ONE, "A", FALSE},
    {"unsealed-overlay", "over: ~Ae'x' >A /a:", "A", FALSE},
    {"unsealed-overlay-with-entries", "over: ~Ae'x' z@1 >A /a:", "A", TRUE},
    {"unsealed-overlay-elsewhere", "over: ~Ae'x' >B /a:", "B", TRUE},
    {"unsealed-without-a-backing-file", "a: ~Ae'x' >A", "A", TRUE},
};

static void
test_next_parent(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(parents); i++) {
        g_autoptr(SnapsetCatalog) catalog = build_catalog(parents[i].set);
        gboolean inferred = FALSE;
        SnapsetUuid uuid = snapset_lineage_next_parent(catalog, 0, &inferred);
        g_autofree char *name = build_uuid_name(&uuid);
        g_test_message("%s", parents[i].name);
        g_assert_cmpstr(name, ==, parents[i].parent);
        g_assert_cmpint(inferred, ==, parents[i].inferred);
    }
}

/* ---- changes to ledgers ---- */

/* The ledger of the first image of @set. */
static SnapsetLedger *
ledger_of(const char *set)
{
    g_autoptr(GPtrArray) images = build_images(set);
    const SnapsetImage *image = images->pdata[0];
    return image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
}

static void
assert_ledger(const SnapsetLedger *ledger, const char *text)
{
    g_autofree char *printed = build_ledger_text(ledger);
    g_assert_cmpstr(printed, ==, text);
}

static void
test_overlay_and_freeze(void)
{
    SnapsetExternal external = {"x", "why", build_uuid("A"), 70000};
    SnapsetUuid parent = build_uuid("B");
    g_autoptr(SnapsetLedger) overlay = snapset_lineage_overlay(&external, &parent, FALSE, TRUE);
    g_autoptr(SnapsetLedger) base = ledger_of("a: y@1=B >B");

    assert_ledger(overlay, "Aeb<B >A");
    const SnapsetRecord *record = overlay->records->pdata[0];
    g_assert_cmpstr(record->tag, ==, "x");
    g_assert_cmpstr(record->description, ==, "why");
    g_assert_cmpuint(record->members, ==, G_MAXUINT16);
    g_assert_cmpuint(record->binding, ==, 0);
    snapset_lineage_freeze(base, &external, &parent, TRUE);
    assert_ledger(base, "B<- Aeif<B >A");
    g_autoptr(SnapsetLedger) unsealed =
        snapset_lineage_overlay(&external, &snapset_uuid_nil, TRUE, FALSE);
    assert_ledger(unsealed, "Aei<- >A");
}

static const struct {
    const char *name, *set, *after;
} thawed[] = {
    {"nothing", "a: y@1=B >B", "B<- >B"},
    {"frozen", "a: y@1=B ~Aef<B >A", "B<- >B"},
    {"frozen-root", "a: ~Aef >A", ">-"},
    {"gone-on-since", "a: ~Aef z@1=C<A >C", "C<- >C"},
    {"of-unknown-parent", "a: ~Aefi z@1=C<A >C", "Ci<- >C"},
    {"twice", "a: y@1=B ~Aef<B ~Def<A >D", "B<- >B"},
    {"an-overlay-too", "b: ~Beb ~Aef<B >A", "Beb<- >B"},
};

static void
test_thaw(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(thawed); i++) {
        g_autoptr(SnapsetLedger) ledger = ledger_of(thawed[i].set);
        g_test_message("%s", thawed[i].name);
        snapset_lineage_thaw(ledger);
        assert_ledger(ledger, thawed[i].after);
    }
}

/* A ledger to be changed still says that the image is frozen only if nobody can have written. */
static void
test_ledger_of_an_image(void)
{
    static const struct {
        const char *set, *ledger;
    } rows[] = {
        {"a:", ">-"},
        {"a: ~Aef<B >A !sealed", "Aef<B >A"},
        {"a: ~Aef<B >A", ">B"},
        {"a: y@1=B >B", "B<- >B"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) images = build_images(rows[i].set);
        g_autoptr(SnapsetLedger) ledger = snapset_lineage_ledger(images->pdata[0]);
        assert_ledger(ledger, rows[i].ledger);
    }
}

static void
test_is_frozen(void)
{
    static const struct {
        const char *set;
        gboolean as_a, as_any;
    } rows[] = {
        {"a:", FALSE, FALSE},
        {"a: !sealed", FALSE, FALSE},
        {"a: ~Aef !sealed", TRUE, TRUE},
        {"a: ~Aef", FALSE, FALSE},
        {"a: ~Ae !sealed", FALSE, FALSE},
        {"a: ~Bef !sealed", FALSE, TRUE},
        {"a: ~Bef ~Aef<B !sealed", TRUE, TRUE},
    };
    SnapsetUuid uuid = build_uuid("A");
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) images = build_images(rows[i].set);
        g_test_message("%s", rows[i].set);
        g_assert_cmpint(snapset_image_is_frozen_as(images->pdata[0], &uuid), ==, rows[i].as_a);
        g_assert_cmpint(snapset_image_is_frozen_as(images->pdata[0], NULL), ==, rows[i].as_any);
    }
}

/* @gone stands in @where; it is forgotten in the ledger of @set. */
static void
test_forget(void)
{
    static const struct {
        const char *set, *where, *after;
    } rows[] = {
        {"a: ~B<A >B", "b: ~A<C", "B<C >B"},      {"a: ~B<A >A", "b: ~A<C", "B<C >C"},
        {"a: ~A<C ~B<A >B", "b: ~A<C", "B<C >B"}, {"a: ~B<A >B", "b: ~A", "B<- >B"},
        {"a: ~B<A >B", "b: ~Ai", "Bi<- >B"},      {"a: ~B<C >B", "b: ~A<D", "B<C >B"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(SnapsetLedger) ledger = ledger_of(rows[i].set);
        g_autoptr(SnapsetLedger) where = ledger_of(rows[i].where);
        g_test_message("%s", rows[i].set);
        snapset_lineage_forget(ledger, where->records->pdata[0]);
        assert_ledger(ledger, rows[i].after);
    }
}

/*
 * The chain of @set is merged from its first file into its last; @gone are the letters of the
 * snapshots that go with it, children first.
 */
static const struct {
    const char *name, *set, *gone, *after;
} merges[] = {
    {"active", "b: ~Aeb >A /a: ~Aef >A", "A", ">-"},
    {"active-on-an-internal-one", "b: ~Aeb<B >A /a: y@1=B ~Aef<B >A", "A", "B<- >B"},
    {"frozen", "b: ~Aeb ~Cef<A >C /a: ~Aef >A", "A", "Cef<- >C"},
    {"frozen-on-an-overlay", "c: ~Aeb<B ~Cef<A >C /b: ~Beb ~Aef<B >A", "A", "Beb<- Cef<B >C"},
    {"two-files", "c: ~Ceb<A >C /b: ~Aeb ~Cef<A >C /a: ~Aef >A", "CA", ">-"},
    {"no-record-above", "b: /a: y@1=B >B", "", "B<- >B"},
    {"no-record-below", "b: ~Ae >A /a:", "A", ">-"},
    {"gone-entries-lead-on", "b: ~Aeb<Y ~Z<A >Z /a: ~Aef<Y y@1=Y >A", "A", "Y<- Z<Y >Z"},
    {"an-accepted-state", "b: ~Aeb >R /a: ~Aef >A", "A", ">R"},
};

static void
test_merge(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) images = build_images(merges[row].set);
    const SnapsetImage *image = images->pdata[0];
    guint last = snapset_image_link_count(image) - 1;
    const SnapsetImage *base = snapset_image_link(image, last);
    g_autoptr(SnapsetLedger) empty = snapset_ledger_new();
    g_autoptr(GPtrArray) above = g_ptr_array_new();

    for (guint i = last; i-- > 0;)
        g_ptr_array_add(above, snapset_image_link(image, i)->ledger);
    g_autoptr(SnapsetLedger) merged =
        snapset_lineage_merge(base->ledger != NULL ? base->ledger : empty, above);
    for (const char *letter = merges[row].gone; *letter != '\0'; letter++) {
        char word[] = {*letter, '\0'};
        SnapsetUuid uuid = build_uuid(word);
        snapset_lineage_forget(merged, snapset_image_find_record(image, &uuid));
    }
    assert_ledger(merged, merges[row].after);
}

/* ---- rules ---- */

/* "rule(image)" of each violation. */
static char *
print_report(const SnapsetReport *report)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        g_autofree char *images = g_strjoinv(" ", violation->images);
        g_string_append_printf(out, "%s%s(%s)", i > 0 ? ", " : "",
                               snapset_rule_name(violation->rule), images);
        g_assert_true(violation->hint != NULL || violation->rule != SNAPSET_RULE_CHAIN_BROKEN);
    }
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *set, *says;
} chains[] = {
    {"no-chain", "a: x@1=A >A", ""},
    {"whole", ONE, ""},
    {"unrecorded", "b: /a:", ""},
    {"unrecorded-base", "b: ~Ae'x' >A /a:", ""},
    {"overlay-written-to", "b: ~Aeb'x' >A /a: ~Aef'x' >A !sealed", ""},
    {"base-written-to", "b: ~Aeb'x' >A !sealed /a: ~Aef'x' >A", "chain-broken(b)"},
    {"base-written-to-and-stamped", "b: ~Aeb'x' >A /a: >- !sealed", "chain-broken(b)"},
    {"base-of-another-snapshot", "b: ~Aeb'x' >A /a: ~Bef'y' >B !sealed", "chain-broken(b)"},
    {"base-without-a-record", "b: ~Aeb'x' >A /a: !sealed", "chain-broken(b)"},
    {"base-not-frozen", "b: ~Aeb'x' >A /a: ~Ae'x' >A !sealed", "chain-broken(b)"},
    {"base-that-is-no-qcow2", "b: ~Aeb'x' >A /a: !no-header", "chain-broken(b)"},
    {"base-frozen-twice", "b: ~Aeb'x' >A /a: ~Aef'x' ~Bef<A'y' >B !sealed", ""},
    {"lower-link", "c: ~Beb<A'y' >B /b: ~Aeb'x' ~Bef<A'y' >B !sealed /a: ~Aef'x' >A",
     "chain-broken(c)"},
    {"both-links", "c: ~Beb<A'y' >B /b: ~Aeb'x' ~Bef<A'y' >B /a: ~Aef'x' >A",
     "chain-broken(c), chain-broken(c)"},
    {"two-images", "b: ~Aeb'x' /a: d: ~Aeb'x' /c: ~Aef'x' !sealed e: /f: !missing",
     "chain-broken(b), chain-broken(e)"},
    {"missing", "b: !missing", "chain-broken(b)"},
    {"missing-below", "c: /b: !missing", "chain-broken(c)"},
    {"unreadable", "b: !unreadable", "chain-broken(b)"},
    {"loop", "b: /a: !loop", "chain-broken(b)"},
    {"too-long", "b: /a: !too-long", "chain-broken(b)"},
    {"remote", "b: /a: !remote", ""},
    {"names-a-frozen-image", "a: ~Aef'x' >A !sealed", "chain-broken(a)"},
    {"names-a-frozen-image-written-to", "a: ~Aef'x' >A", ""},
    {"names-an-overlay-that-is-frozen", "b: ~Aeb'x' ~Bef<A'y' >B !sealed /a: ~Aef'x' >A !sealed",
     "chain-broken(b)"},
};

static void
test_chain_rule(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(chains[row].set);
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
    g_autoptr(SnapsetReport) start = snapset_report_new(NULL);

    snapset_rules_chain(catalog, report);
    g_autofree char *printed = print_report(report);
    g_assert_cmpstr(printed, ==, chains[row].says);
    /* nor does a machine start on it */
    snapset_rules_start(catalog, start);
    g_autofree char *at_start = print_report(start);
    g_assert_cmpstr(at_start, ==, chains[row].says);
    g_assert_cmpint(snapset_report_is_denied(start), ==, *chains[row].says != '\0');
}

static const struct {
    const char *name, *question, *tag, *set, *says;
} questions[] = {
    {"apply", "apply", "x", ONE, ""},
    {"apply-broken", "apply", "x", "b: ~Aeb'x' >A /a:", "chain-broken(b)"},
    {"apply-below-the-damage", "apply", "x",
     "c: ~Beb<A'y' >B /b: ~Aeb'x' ~Bef<A'y' >B /a: ~Aef'x' >A !sealed", ""},
    {"apply-above-the-damage", "apply", "y",
     "c: ~Beb<A'y' >B /b: ~Aeb'x' ~Bef<A'y' >B !sealed /a: ~Aef'x' >A", "chain-broken(c)"},
    {"apply-partial", "apply", "x", ONE " c:", "set-partial(c)"},
    {"apply-too-small", "apply", "x", "b: ~Ae*2'x' /a:", "set-too-small()"},
    {"apply-despite-bitmaps", "apply", "x", "b: ~Ae'x' !bitmaps /a:", ""},
    {"apply-buried", "apply", "z", "b: /a: z@1=C", "load-would-fail(b)"},
    {"apply-to-a-frozen-image", "apply", "z", "a: z@1=C ~Aef<C'x' >A !sealed", "chain-broken(a)"},
    {"apply-to-one-no-longer-frozen", "apply", "z", "a: z@1=C ~Aef<C'x' >A", ""},
    {"delete", "delete", "x", ONE, ""},
    {"delete-protected", "delete", "x", "b: ~Aep'x' /a:", "snapshot-protected(b)"},
    {"delete-buried", "delete", "z", "b: /a: z@1=C", "image-unsupported(b)"},
    {"create-over-one-below", "create", "x", ONE, "tag-exists(over)"},
    {"create-over-one-buried", "create", "z", "b: /a: z@1=C", "tag-exists(b)"},
    {"check-partial", "check", "", "o: ~Aeb'x' >A /a: ~Aef'x' !sealed b: y@1=B >B",
     "set-partial(b), set-partial(o), current-mismatch(o b)"},
    {"check-buried", "check", "", "o: /a: z@1=C b:", ""},
    {"check-buried-collision", "check", "", "o: /a: z@1=C p: /b: z@9999=D", ""},
    {"check-left-behind", "check", "", "o: ~Aeb'x' >A /a: ~Aef'x' !sealed b: ~Aef'x' >A !sealed",
     "set-partial(b), chain-broken(b)"},
};

static SnapsetSnapshot *
find_tag(const SnapsetCatalog *catalog, const char *tag)
{
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (strcmp(snapshot->tag, tag) == 0)
            return snapshot;
    }
    g_error("no snapshot '%s'", tag);
}

static void
test_question(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    const char *question = questions[row].question;
    const char *tag = questions[row].tag;
    g_autoptr(SnapsetCatalog) catalog = build_catalog(questions[row].set);
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);

    if (strcmp(question, "apply") == 0)
        snapset_rules_apply(catalog, find_tag(catalog, tag), report);
    else if (strcmp(question, "delete") == 0)
        snapset_rules_delete(catalog, find_tag(catalog, tag), report);
    else if (strcmp(question, "create") == 0)
        snapset_rules_create(catalog, tag, report);
    else
        snapset_rules_check(catalog, report);
    g_autofree char *printed = print_report(report);
    g_assert_cmpstr(printed, ==, questions[row].says);
}

#define ADD_ROWS(path, table, function)                                                            \
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {                                              \
        g_autofree char *name = g_strdup_printf(path "/%s", table[i].name);                        \
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), function);                                 \
    }

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD_ROWS("/chain/members", members, test_members)
    ADD_ROWS("/chain/lineage", lineages, test_lineage)
    ADD_ROWS("/chain/merge", merges, test_merge)
    ADD_ROWS("/chain/rule", chains, test_chain_rule)
    ADD_ROWS("/chain/question", questions, test_question)
    g_test_add_func("/chain/dates", test_dates);
    g_test_add_func("/chain/next-parent", test_next_parent);
    g_test_add_func("/chain/overlay-and-freeze", test_overlay_and_freeze);
    g_test_add_func("/chain/thaw", test_thaw);
    g_test_add_func("/chain/ledger", test_ledger_of_an_image);
    g_test_add_func("/chain/is-frozen", test_is_frozen);
    g_test_add_func("/chain/forget", test_forget);
    return g_test_run();
}
