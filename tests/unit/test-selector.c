/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Selectors: what they name, and what is said of one that names nothing or too much. */
#include "common/core/selector.h"

#include <string.h>

#include "tests/unit/build-image.h"

static const struct {
    const char *name, *text, *tag, *prefix, *rule;
} parses[] = {
    {"tag", "tag=x", "x", NULL, NULL},
    {"tag-empty", "tag=", "", NULL, NULL},
    {"tag-of-digits", "tag=1", "1", NULL, NULL},
    {"tag-like-a-selector", "tag=id=1234", "id=1234", NULL, NULL},
    {"tag-with-blank", "tag= x", " x", NULL, NULL},
    {"id", "id=6f1c0b52-aabb-8cdd-9eff-010203040506", NULL, "6f1c0b52-aabb-8cdd-9eff-010203040506",
     NULL},
    {"id-short", "id=6f1c", NULL, "6f1c", NULL},
    {"id-upper-case", "id=6F1C", NULL, "6F1C", NULL},

    {"empty", "", NULL, NULL, "selector-bare"},
    {"bare-word", "x", NULL, NULL, "selector-bare"},
    {"bare-number", "1", NULL, NULL, "selector-bare"},
    {"bare-uuid", "6f1c0b52-aabb-8cdd-9eff-010203040506", NULL, NULL, "selector-bare"},
    {"bare-equals", "=x", NULL, NULL, "selector-bare"},
    {"other-key", "name=x", NULL, NULL, "selector-bare"},
    {"upper-case-key", "TAG=x", NULL, NULL, "selector-bare"},
    {"blank-before", " tag=x", NULL, NULL, "selector-bare"},
    {"no-equals-sign", "tag", NULL, NULL, "selector-bare"},
    {"qemu-key", "snapshot.name=x", NULL, NULL, "selector-bare"},

    {"id-empty", "id=", NULL, NULL, "selector-unknown"},
    {"id-too-short", "id=6f1", NULL, NULL, "selector-unknown"},
    {"id-qcow2", "id=1", NULL, NULL, "selector-unknown"},
    {"id-no-hex", "id=wxyz", NULL, NULL, "selector-unknown"},
    {"id-too-long", "id=6f1c0b52-aabb-8cdd-9eff-0102030405060", NULL, NULL, "selector-unknown"},
    {"id-without-dashes", "id=6f1c0b52aabb", NULL, NULL, "selector-unknown"},
    {"id-blank", "id= 6f1c", NULL, NULL, "selector-unknown"},
};

static const char *
only_rule(const SnapsetReport *report)
{
    if (report->violations->len == 0)
        return NULL;
    g_assert_cmpuint(report->violations->len, ==, 1);
    return snapset_rule_name(((SnapsetViolation *)report->violations->pdata[0])->rule);
}

static void
test_parse(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    SnapsetSelector selector = {NULL, NULL};
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
    gboolean parsed = snapset_selector_parse(parses[row].text, &selector, report);

    g_assert_cmpint(parsed, ==, parses[row].rule == NULL);
    g_assert_cmpstr(only_rule(report), ==, parses[row].rule);
    if (!parsed)
        return;
    g_assert_cmpstr(selector.tag, ==, parses[row].tag);
    g_assert_cmpstr(selector.prefix, ==, parses[row].prefix);
}

static const struct {
    const char *name, *set, *selector, *snapshot, *rule;
} resolutions[] = {
    {"tag", "a: x@1 y@2 b: x@1", "tag=y", "y", NULL},
    {"tag-empty", "a: x@1 @2", "tag=", "", NULL},
    {"tag-unknown", "a: x@1", "tag=z", NULL, "selector-unknown"},
    {"tag-prefix-is-not-enough", "a: xy@1", "tag=x", NULL, "selector-unknown"},
    {"tag-case", "a: X@1", "tag=x", NULL, "selector-unknown"},
    {"tag-is-not-an-id", "a: x@1#7", "tag=7", NULL, "selector-unknown"},
    {"tag-partial", "a: x@1 b:", "tag=x", "x", NULL},
    {"tag-unproven", "a: x@1 b: x@2", "tag=x", "x", NULL},
    {"tag-colliding", "a: x@1 b: x@900", "tag=x", NULL, "identity-collision"},
    {"tag-colliding-beside-complete", "a: x@1 x@9 b: x@1 x@900", "tag=x", NULL,
     "identity-collision"},
    {"tag-twice", "a: x@1 x@2 b: x@1 x@2", "tag=x", NULL, "tag-duplicate"},
    {"tag-twice-on-one", "a: x@1 x@2 b: x@1", "tag=x", NULL, "tag-duplicate"},
    {"tag-of-twins", "a: x@1 x@1", "tag=x", NULL, "tag-duplicate"},
    {"tag-beside-a-collision", "a: x@1 y@2 b: x@900 y@2", "tag=y", "y", NULL},

    {"id-of-derived", "a: b@1795290621.123456789+141 x@1", "id=166e", "b", NULL},
    {"id", "a: x@1=A y@2=B", "id=4242", "y.B", NULL},
    {"id-whole", "a: x@1=A y@2=B", "id=41414141-4141-4141-4141-414141414141", "x.A", NULL},
    {"id-unknown", "a: x@1=A", "id=4343", NULL, "selector-unknown"},
    {"id-is-not-the-derived-one-of-a-recorded", "a: b@1795290621.123456789+141=A", "id=166e", NULL,
     "selector-unknown"},
    {"id-on-one-image", "a: x@1=A b:", "id=4141", "x.A", NULL},
    {"id-ambiguous", "a: x@1=A y@2=A", "id=4141", NULL, "selector-ambiguous"},
    {"id-tells-colliding-apart", "a: x@1=A b: x@1=B", "id=4242", "x.B", NULL},
    {"id-of-any-member-of-an-unproven-one", "a: x@1=As b: x@2=Bs", "id=4242", "x.A", NULL},
    {"id-of-first-member-of-an-unproven-one", "a: x@1=As b: x@2=Bs", "id=4141", "x.A", NULL},
    {"id-of-twins", "a: x@1=A x@1", "id=4141", NULL, "selector-ambiguous"},
    {"id-never-a-qcow2-id", "a: x@1#1234", "id=1234", NULL, "selector-unknown"},

    {"bare", "a: x@1", "x", NULL, "selector-bare"},
    {"no-images", "", "tag=x", NULL, "selector-unknown"},
};

static void
test_resolve(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(resolutions[row].set);
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
    SnapsetSnapshot *found = snapset_selector_resolve(resolutions[row].selector, catalog, report);

    g_assert_cmpstr(only_rule(report), ==, resolutions[row].rule);
    g_assert_cmpint(found == NULL, ==, resolutions[row].snapshot == NULL);
    if (found == NULL)
        return;
    g_autofree char *name = build_snapshot_name(found);
    g_assert_cmpstr(name, ==, resolutions[row].snapshot);
}

/* A prefix grows until it names one snapshot only. */
static void
test_growing_prefix(void)
{
    g_autoptr(GPtrArray) images = build_images("a: x@1=A y@2=B z@3=C");
    SnapsetImage *image = images->pdata[0];
    static const char *const uuids[] = {
        "12345678-0000-8000-8000-000000000001",
        "12345678-0000-8000-8000-000000000002",
        "12345679-0000-8000-8000-000000000001",
    };
    static const struct {
        const char *prefix;
        guint matches;
    } rows[] = {
        {"1234", 3},
        {"1234567", 3},
        {"12345678", 2},
        {"12345678-", 2},
        {"12345679", 1},
        {"12345678-0000-8000-8000-00000000000", 2},
        {"12345678-0000-8000-8000-000000000002", 1},
        {"1235", 0},
    };
    for (guint i = 0; i < G_N_ELEMENTS(uuids); i++) {
        SnapsetRecord *record = image->ledger->records->pdata[i];
        g_assert_true(snapset_uuid_parse(uuids[i], &record->identity));
    }
    snapset_image_finish(image);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        SnapsetSelector selector = {NULL, rows[i].prefix};
        g_autoptr(GPtrArray) found = snapset_selector_match(&selector, catalog);
        g_test_message("%s", rows[i].prefix);
        g_assert_cmpuint(found->len, ==, rows[i].matches);
    }
}

/* What is refused names what it might have been, and is safe for a terminal. */
static void
test_messages(void)
{
    static const struct {
        const char *set, *selector, *message, *hint;
    } rows[] = {
        {"a: x@1", "x", "'x' may be read as a tag or as an ID",
         "name the snapshot by its tag, 'tag=x', or by its identity, 'id=UUID'"},
        {"a: x@1", "\033x", "'\\x1bx' may be read", "id=UUID"},
        {"a: x@1", "it's", "'it's' may be read", "'tag=it'\\''s'"},
        {"a: x@1", "tag=z", "no image has a snapshot 'tag=z'", "list --all"},
        {"a: x@1", "id=12", "'id=12' is not an identity", "a qcow2 ID names nothing"},
        {"a: x@1=A y@2=A", "id=4141",
         "'4141' fits 2 snapshots: 41414141-4141-4141-4141-414141414141 'x'", "id=UUID"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(SnapsetCatalog) catalog = build_catalog(rows[i].set);
        g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
        g_assert_null(snapset_selector_resolve(rows[i].selector, catalog, report));
        const SnapsetViolation *violation = report->violations->pdata[0];
        if (strstr(violation->message, rows[i].message) == NULL)
            g_assert_cmpstr(violation->message, ==, rows[i].message);
        if (strstr(violation->hint, rows[i].hint) == NULL)
            g_assert_cmpstr(violation->hint, ==, rows[i].hint);
        g_assert_null(strchr(violation->message, '\033'));
        g_assert_null(strchr(violation->hint, '\033'));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(parses); i++) {
        g_autofree char *path = g_strdup_printf("/selector/parse/%s", parses[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_parse);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(resolutions); i++) {
        g_autofree char *path = g_strdup_printf("/selector/resolve/%s", resolutions[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_resolve);
    }
    g_test_add_func("/selector/growing-prefix", test_growing_prefix);
    g_test_add_func("/selector/messages", test_messages);
    return g_test_run();
}
