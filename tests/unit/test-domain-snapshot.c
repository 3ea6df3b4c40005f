/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's snapshot metadata: what of its XML is read, and what it proves of images. The sets are
 * written as tests/unit/build-image.h says; their images are the disks vda, vdb, ... of a domain,
 * or what comes after the domain's disks in the list.
 */
#include "common/core/domain-snapshot.h"

#include <string.h>

#include "common/io/domain-snapshot-xml.h"
#include "tests/unit/build-image.h"

#define UUID "2ef014ae-a830-4986-8dda-8fc3e7268612"

/* Disks as "TARGET=PATH" words; nvram is one too. */
static void
append_disks(GString *xml, const char *disks)
{
    g_auto(GStrv) words = g_strsplit(disks, " ", -1);
    const char *nvram = NULL;

    g_string_append(xml, "<devices>");
    for (guint i = 0; words[i] != NULL; i++) {
        char *equals = strchr(words[i], '=');
        if (equals == NULL)
            continue;
        *equals = '\0';
        if (strcmp(words[i], "nvram") == 0)
            nvram = equals + 1;
        else
            g_string_append_printf(xml,
                                   "<disk type='file'><driver type='qcow2'/><source file='%s'/>"
                                   "<target dev='%s'/></disk>",
                                   equals + 1, words[i]);
    }
    g_string_append(xml, "</devices>");
    if (nvram != NULL)
        g_string_append_printf(xml, "<os><nvram format='qcow2'>%s</nvram></os>", nvram);
}

static char *
make_xml(const char *name, const char *state, const char *created, const char *internal,
         const char *uuid, const char *disks)
{
    GString *xml = g_string_new("<domainsnapshot>");
    g_auto(GStrv) targets = g_strsplit(internal, " ", -1);

    g_string_append_printf(xml,
                           "<name>%s</name><state>%s</state><creationTime>%s</creationTime>"
                           "<parent><name>above</name></parent><disks>",
                           name, state, created);
    for (guint i = 0; targets[i] != NULL; i++) {
        gboolean is_left_out = g_str_has_prefix(targets[i], "-");
        g_string_append_printf(xml, "<disk name='%s' snapshot='%s'/>", targets[i] + is_left_out,
                               is_left_out ? "no" : "internal");
    }
    g_string_append_printf(xml, "</disks><domain><name>d</name><uuid>%s</uuid>", uuid);
    append_disks(xml, disks);
    g_string_append(xml, "</domain><active>1</active></domainsnapshot>");
    return g_string_free(xml, FALSE);
}

/* ---- what it proves ---- */

#define TWO "a: x@100 b: x@101"
#define DISKS "vda=/a vdb=/b"

static const struct {
    const char *name, *set, *now; /* the images, and the disks that they are */
    const char *tag, *state, *created, *internal, *uuid, *then;
    gboolean is_proven;
} rows[] = {
    {"both", TWO, DISKS, "x", "shutoff", "100", "vda vdb", UUID, DISKS, TRUE},
    {"single-records", "a: x@100=As b: x@101=Bs", DISKS, "x", "shutoff", "100", "vda vdb", UUID,
     DISKS, TRUE},
    {"in-another-order", TWO, DISKS, "x", "shutoff", "100", "vdb vda", UUID, "vdb=/b vda=/a", TRUE},
    {"a-disk-that-came-later", "a: x@100 b: x@101 c:", "vda=/a vdb=/b vdc=/c", "x", "shutoff",
     "100", "vda vdb", UUID, DISKS, TRUE},
    {"a-disk-left-out-then", "a: x@100 b: x@101 c:", "vda=/a vdb=/b vdc=/c", "x", "shutoff", "100",
     "vda vdb -vdc", UUID, "vda=/a vdb=/b vdc=/c", TRUE},
    {"a-disk-left-out-that-has-it", "a: x@100 b: x@101 c: x@101", "vda=/a vdb=/b vdc=/c", "x",
     "shutoff", "100", "vda vdb -vdc", UUID, "vda=/a vdb=/b vdc=/c", FALSE},
    {"one-of-two", TWO, DISKS, "x", "shutoff", "100", "vda", UUID, DISKS, FALSE},
    {"one-more", TWO, DISKS, "x", "shutoff", "100", "vda vdb vdc", UUID, "vda=/a vdb=/b vdc=/c",
     FALSE},
    {"one-more-that-lacks-it", "a: x@100 b: x@101 c:", "vda=/a vdb=/b vdc=/c", "x", "shutoff",
     "100", "vda vdb vdc", UUID, "vda=/a vdb=/b vdc=/c", FALSE},
    {"none", TWO, DISKS, "x", "shutoff", "100", "", UUID, DISKS, FALSE},
    {"another-file", TWO, DISKS, "x", "shutoff", "100", "vda vdb", UUID, "vda=/a vdb=/c", FALSE},
    {"exchanged", TWO, DISKS, "x", "shutoff", "100", "vda vdb", UUID, "vda=/b vdb=/a", FALSE},
    {"another-target", TWO, DISKS, "x", "shutoff", "100", "vda vdc", UUID, "vda=/a vdc=/b", FALSE},
    {"another-tag", TWO, DISKS, "y", "shutoff", "100", "vda vdb", UUID, DISKS, FALSE},
    {"another-machine", TWO, DISKS, "x", "shutoff", "100", "vda vdb",
     "00000000-a830-4986-8dda-8fc3e7268612", DISKS, FALSE},
    {"a-running-machine", TWO, DISKS, "x", "running", "100", "vda vdb", UUID, DISKS, FALSE},
    {"a-minute-before", TWO, DISKS, "x", "shutoff", "41", "vda vdb", UUID, DISKS, TRUE},
    {"more-than-that", TWO, DISKS, "x", "shutoff", "40", "vda vdb", UUID, DISKS, FALSE},
    {"a-minute-after", TWO, DISKS, "x", "shutoff", "160", "vda vdb", UUID, DISKS, TRUE},
    {"later-than-that", TWO, DISKS, "x", "shutoff", "161", "vda vdb", UUID, DISKS, FALSE},
    {"no-time", TWO, DISKS, "x", "shutoff", "", "vda vdb", UUID, DISKS, FALSE},
    {"variables-without", "a: x@100 b: x@101 v:", "vda=/a vdb=/b nvram=/v", "x", "shutoff", "100",
     "vda vdb", UUID, "vda=/a vdb=/b nvram=/v", TRUE},
    {"variables-with", "a: x@100 b: x@101 v: x@101", "vda=/a vdb=/b nvram=/v", "x", "shutoff",
     "100", "vda vdb", UUID, "vda=/a vdb=/b nvram=/v", TRUE},
    {"other-variables", "a: x@100 b: x@101 v: x@101", "vda=/a vdb=/b nvram=/v", "x", "shutoff",
     "100", "vda vdb", UUID, "vda=/a vdb=/b nvram=/w", FALSE},
};

static SnapsetDomain *
make_domain(const char *disks)
{
    SnapsetDomain *domain = snapset_domain_new();
    g_auto(GStrv) words = g_strsplit(disks, " ", -1);

    domain->uuid = g_strdup(UUID);
    for (guint i = 0; words[i] != NULL; i++) {
        g_auto(GStrv) pair = g_strsplit(words[i], "=", 2);
        snapset_domain_add_disk(domain, pair[0], "qcow2", pair[1]);
    }
    return domain;
}

static void
test_proof(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetCatalog) catalog = build_catalog(rows[row].set);
    g_autoptr(SnapsetDomain) domain = make_domain(rows[row].now);
    g_autofree char *xml = make_xml(rows[row].tag, rows[row].state, rows[row].created,
                                    rows[row].internal, rows[row].uuid, rows[row].then);
    g_autoptr(SnapsetDomainSnapshot) metadata =
        snapset_domain_snapshot_from_xml(xml, strlen(xml), &error);

    g_assert_no_error(error);
    g_assert_cmpuint(catalog->snapshots->len, ==, 1);
    const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, 0);
    g_assert_cmpint(snapshot->standing, ==, SNAPSET_UNPROVEN);
    g_assert_cmpint(snapset_domain_snapshot_proves(metadata, domain, catalog, snapshot), ==,
                    rows[row].is_proven);
}

/* ---- what is read ---- */

static void
test_read(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml =
        make_xml("s &lt;1&gt;", "shutoff", "1795307499", "vda -vdb vdc", UUID, DISKS);
    g_autoptr(SnapsetDomainSnapshot) metadata =
        snapset_domain_snapshot_from_xml(xml, strlen(xml), &error);

    g_assert_no_error(error);
    g_assert_cmpstr(metadata->name, ==, "s <1>");
    g_assert_cmpstr(metadata->parent, ==, "above");
    g_assert_cmpint(metadata->created, ==, 1795307499);
    g_assert_true(metadata->is_offline);
    g_assert_true(metadata->is_current);
    g_assert_cmpuint(metadata->internal->len, ==, 2);
    g_assert_cmpstr(metadata->internal->pdata[1], ==, "vdc");
    g_assert_cmpuint(metadata->domain->disks->len, ==, 2);
}

/* A root of a machine that is not told, as old versions of libvirt wrote it. */
static void
test_read_little(void)
{
    const char *xml = "<domainsnapshot><name>x</name><active>0</active></domainsnapshot>";
    g_autoptr(SnapsetCatalog) catalog = build_catalog(TWO);
    g_autoptr(SnapsetDomain) domain = make_domain(DISKS);
    g_autoptr(SnapsetDomainSnapshot) metadata =
        snapset_domain_snapshot_from_xml(xml, strlen(xml), NULL);

    g_assert_null(metadata->parent);
    g_assert_null(metadata->domain);
    g_assert_false(metadata->is_offline);
    g_assert_false(metadata->is_current);
    g_assert_false(snapset_domain_snapshot_proves(metadata, domain, catalog,
                                                  snapset_catalog_snapshot(catalog, 0)));
}

static const char *const malformed[] = {
    "",
    "<",
    "<domainsnapshot>",
    "<domainsnapshot/>",
    "<domain><name>x</name></domain>",
    "<domainsnapshot><name>x</name></domainsnapshot",
};

static void
test_malformed(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(malformed); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(snapset_domain_snapshot_from_xml(malformed[i], strlen(malformed[i]), &error));
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_MALFORMED);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/domain-snapshot/proof/", rows[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_proof);
    }
    g_test_add_func("/domain-snapshot/read", test_read);
    g_test_add_func("/domain-snapshot/read-little", test_read_little);
    g_test_add_func("/domain-snapshot/malformed", test_malformed);
    return g_test_run();
}
