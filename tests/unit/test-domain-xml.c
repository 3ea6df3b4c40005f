/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain XML: which disks are writable, where they are, and what QEMU calls them. */
#include "common/io/domain-xml.h"

#include <glib/gstdio.h>
#include <string.h>

#include "tests/unit/scratch.h"

/* "vda qcow2 /a d0; vdb raw -": target, format, path (- for none), node-name if there is one. */
static char *
print_disks(const SnapsetDomain *domain)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        g_string_append_printf(out, "%s%s %s %s%s%s", i > 0 ? "; " : "", disk->target, disk->format,
                               disk->path != NULL ? disk->path : "-", disk->node != NULL ? " " : "",
                               disk->node != NULL ? disk->node : "");
    }
    return g_string_free(out, FALSE);
}

#define DISK(attributes, inside) "<disk " attributes ">" inside "</disk>"
#define QCOW2 "<driver name='qemu' type='qcow2'/>"
#define VDA "<target dev='vda' bus='virtio'/>"
#define FILE_A "<source file='/a'/>"
#define NODES(storage, format)                                                                     \
    "<privateData><nodenames><nodename type='storage' name='" storage                              \
    "'/><nodename type='format' name='" format "'/></nodenames></privateData>"

/* What stands between <devices> and </devices>. */
static const struct {
    const char *name, *devices, *want;
} disks[] = {
    {"none", "", ""},
    {"file", DISK("type='file' device='disk'", QCOW2 FILE_A VDA), "vda qcow2 /a"},
    {"block", DISK("type='block' device='disk'", QCOW2 "<source dev='/dev/vg/a'/>" VDA),
     "vda qcow2 /dev/vg/a"},
    {"lun", DISK("type='block' device='lun'", "<source dev='/dev/sdb'/>" VDA), "vda raw /dev/sdb"},
    {"raw", DISK("type='file'", "<driver name='qemu' type='raw'/>" FILE_A VDA), "vda raw /a"},
    {"other-format", DISK("type='file'", "<driver name='qemu' type='vmdk'/>" FILE_A VDA),
     "vda vmdk /a"},
    {"no-driver", DISK("type='file'", FILE_A VDA), "vda raw /a"},
    {"driver-without-type", DISK("type='file'", "<driver name='qemu' cache='none'/>" FILE_A VDA),
     "vda raw /a"},
    {"no-type", DISK("device='disk'", FILE_A VDA), "vda raw /a"},
    {"no-device", DISK("type='file'", FILE_A VDA), "vda raw /a"},
    {"no-target", DISK("type='file'", FILE_A), "? raw /a"},
    {"no-source", DISK("type='file'", QCOW2 VDA), "vda qcow2 -"},
    {"two", DISK("", FILE_A VDA) " " DISK("", "<target dev='vdb'/><source file='/b'/>"),
     "vda raw /a; vdb raw /b"},

    /* not writable, or thrown away */
    {"readonly", DISK("", FILE_A VDA "<readonly/>"), ""},
    {"transient", DISK("", FILE_A VDA "<transient/>"), ""},
    {"transient-shared", DISK("", FILE_A VDA "<transient shareBacking='yes'/>"), ""},
    {"shareable", DISK("", FILE_A VDA "<shareable/>"), "vda raw /a"}, /* others can write too */
    {"cdrom", DISK("device='cdrom'", FILE_A "<target dev='sda'/>"), ""},
    {"floppy", DISK("device='floppy'", FILE_A "<target dev='fda'/>"), ""},
    {"snapshot-no", DISK("snapshot='no'", FILE_A VDA), "vda raw /a"},
    {"readonly-in-chain",
     DISK("", QCOW2 FILE_A VDA "<backingStore type='file'><readonly/><format type='qcow2'/>"
                               "<source file='/base'/></backingStore>"),
     "vda qcow2 /a"},

    /* elsewhere */
    {"network",
     DISK("type='network'", QCOW2 "<source protocol='nbd' name='x'><host name='h'/></source>" VDA),
     "vda qcow2 -"},
    {"volume", DISK("type='volume'", QCOW2 "<source pool='p' volume='v'/>" VDA), "vda qcow2 -"},
    {"nvme", DISK("type='nvme'", "<source type='pci' namespace='1' file='/no'/>" VDA), "vda raw -"},
    {"vhostuser", DISK("type='vhostuser'", "<source type='unix' path='/s'/>" VDA), "vda raw -"},
    {"dir", DISK("type='dir'", "<source dir='/d' file='/no'/>" VDA), "vda raw -"},
    {"block-with-file", DISK("type='block'", FILE_A VDA), "vda raw -"},
    {"file-with-dev", DISK("type='file'", "<source dev='/a'/>" VDA), "vda raw -"},

    /* names and paths with anything in them */
    {"entities", DISK("", "<source file='/&lt;&amp;&quot;&apos;&gt;'/>" VDA), "vda raw /<&\"'>"},
    {"blanks", DISK("", "<source file=' / a  b '/>" VDA), "vda raw  / a  b "},
    {"line-break", DISK("", "<source file='/a&#10;b&#9;c'/>" VDA), "vda raw /a\nb\tc"},
    {"utf-8", DISK("", "<source file='/gr\303\266\303\237e\xf0\x9f\x92\xbe'/>" VDA),
     "vda raw /gr\303\266\303\237e\xf0\x9f\x92\xbe"},
    {"character-reference", DISK("", "<source file='/&#x1F4BE;'/>" VDA),
     "vda raw /\xf0\x9f\x92\xbe"},
    {"commas-and-colons", DISK("", "<source file='nbd:a,b=c,,d'/>" VDA), "vda raw nbd:a,b=c,,d"},
    {"relative", DISK("", "<source file='a'/>" VDA), "vda raw a"},

    /* the status of a running domain */
    {"nodes", DISK("", QCOW2 "<source file='/a'>" NODES("s0", "f0") "</source>" VDA),
     "vda qcow2 /a f0"},
    {"nodes-of-the-top-only",
     DISK("", QCOW2 "<source file='/top'>" NODES(
                  "s2", "f2") "</source>"
                              "<backingStore type='file'><format type='qcow2'/>"
                              "<source file='/mid'>" NODES(
                                  "s1", "f1") "</source>"
                                              "<backingStore type='file'><format type='raw'/>"
                                              "<source file='/base'>" NODES(
                                                  "s0", "f0") "</source><backingStore/>"
                                                              "</backingStore></backingStore>" VDA),
     "vda qcow2 /top f2"},
    {"nodes-of-no-mirror",
     DISK("", QCOW2 "<source file='/a'>" NODES(
                  "s0", "f0") "</source>"
                              "<mirror type='file' job='copy'><format type='qcow2'/>"
                              "<source file='/copy'>" NODES("s1", "f1") "</source></mirror>" VDA),
     "vda qcow2 /a f0"},
    {"slice", /* no overlay could name it */
     DISK("type='file'", "<source file='/a'><slices><slice type='storage' offset='512' "
                         "size='1024'/></slices></source>" VDA),
     "vda raw -"},
    {"nodes-of-network",
     DISK("type='network'", "<source protocol='nbd' name='x'>" NODES("s0", "f0") "</source>" VDA),
     "vda raw - f0"},
    {"nodes-without-name",
     DISK("", "<source file='/a'><privateData><nodenames><nodename type='format'/></nodenames>"
              "</privateData></source>" VDA),
     "vda raw /a"},
    {"nodes-of-no-type",
     DISK("", "<source file='/a'><privateData><nodenames><nodename name='x'/>text<!-- c -->"
              "</nodenames></privateData></source>" VDA),
     "vda raw /a"},
    {"private-data-elsewhere", DISK("", FILE_A NODES("s0", "f0") VDA), "vda raw /a"},

    /* between the disks */
    {"comments", "<!-- " DISK("", FILE_A) " -->" DISK("", "<!-- x -->" FILE_A VDA) "text",
     "vda raw /a"},
    {"other-devices",
     "<interface type='network'><source network='n'/></interface><filesystem type='mount'>"
     "<source dir='/x'/><target dir='y'/></filesystem>" DISK("", FILE_A VDA) "<memballoon/>",
     "vda raw /a"},
    {"disk-inside-another-device", "<hostdev>" DISK("", FILE_A VDA) "</hostdev>", ""},
    {"unknown-elements",
     DISK("", "<new/>" FILE_A VDA "<future x='y'><source file='/no'/></future>"), "vda raw /a"},
};

static SnapsetDomain *
parse(const char *text, GError **error)
{
    return snapset_domain_from_xml(text, strlen(text), error);
}

static void
expect_disks(const char *text, const char *want)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain = parse(text, &error);

    g_assert_no_error(error);
    g_autofree char *got = print_disks(domain);
    g_assert_cmpstr(got, ==, want);
}

static void
test_disks(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autofree char *text =
        g_strdup_printf("<domain type='kvm'><devices>%s</devices></domain>", disks[row].devices);
    g_autofree char *status = g_strdup_printf(
        "<domstatus state='running'><monitor path='/m' type='unix'/>%s</domstatus>", text);

    expect_disks(text, disks[row].want);
    expect_disks(status, disks[row].want);
}

static void
expect_node(const SnapsetDomain *domain, const char *node, const char *path)
{
    const SnapsetDisk *found = snapset_domain_find_node(domain, node);

    g_assert_cmpstr(found != NULL ? found->path : "-", ==, path);
}

/* A node of any file of any disk's chain is found. */
static void
test_nodes(void)
{
    g_autoptr(SnapsetDomain) domain = parse(
        "<domain><devices>" DISK("", FILE_A VDA) DISK(
            "",
            QCOW2 "<source file='/top'>" NODES(
                "s2",
                "f2") "</source><backingStore type='file'><format type='qcow2'/>"
                      "<source file='/mid'>" NODES(
                          "s1",
                          "f1") "</source><backingStore type='file'>"
                                "<source file='/base'>" NODES(
                                    "s0",
                                    "f0") "</source></backingStore></backingStore>" VDA) "</devices></domain>",
        NULL);

    expect_node(domain, "f2", "/top");
    expect_node(domain, "f1", "/mid");
    expect_node(domain, "f0", "/base");
    expect_node(domain, "none", "-");
}

/* What stands inside <os>. */
static const struct {
    const char *name, *os, *want;
} variables[] = {
    {"none", "<loader>/code</loader>", ""},
    {"no-format", "<nvram>/v</nvram>", ""},
    {"raw", "<nvram format='raw'>/v</nvram>", ""},
    {"qcow2", "<nvram format='qcow2'>/v</nvram>", "nvram qcow2 /v"},
    {"template", "<nvram template='/t' templateFormat='qcow2' format='qcow2'>/v</nvram>",
     "nvram qcow2 /v"},
    {"file", "<nvram type='file' format='qcow2'><source file='/v'/></nvram>", "nvram qcow2 /v"},
    {"file-indented", "<nvram type='file' format='qcow2'>\n  <source file='/v'/>\n </nvram>",
     "nvram qcow2 /v"},
    {"block", "<nvram type='block' format='qcow2'>\n  <source dev='/dev/v'/>\n</nvram>",
     "nvram qcow2 /dev/v"},
    {"network",
     "<nvram type='network' format='qcow2'>\n <source protocol='nbd' name='x'/>\n</nvram>",
     "nvram qcow2 -"},
    {"entities", "<nvram format='qcow2'>/a&amp;b</nvram>", "nvram qcow2 /a&b"},
};

static void
test_variables(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autofree char *text = g_strdup_printf("<domain><os>%s</os><devices>%s</devices></domain>",
                                            variables[row].os, DISK("", FILE_A VDA));
    g_autofree char *want =
        g_strdup_printf("vda raw /a%s%s", *variables[row].want ? "; " : "", variables[row].want);

    expect_disks(text, want);
}

/* ---- the domain itself ---- */

static void
expect_domain(const char *text, const char *name, const char *uuid, const char *id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain = parse(text, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(domain->name, ==, name);
    g_assert_cmpstr(domain->uuid, ==, uuid);
    g_assert_cmpstr(domain->id, ==, id);
}

static void
test_domain(void)
{
    expect_domain("<domain/>", NULL, NULL, NULL);
    expect_domain("<domain id='7'><name>d</name><uuid>u</uuid></domain>", "d", "u", "7");
    expect_domain("<domain><name> -d &lt;\"'/&#10;&gt;gr\303\266\303\237e</name></domain>",
                  " -d <\"'/\n>gr\303\266\303\237e", NULL, NULL);
    expect_domain("<domain><name><![CDATA[<d>]]></name><name>second</name></domain>", "<d>", NULL,
                  NULL);
    expect_domain("<?xml version='1.0'?>\n<!-- WARNING -->\n<domstatus state='running' pid='1'>"
                  "<taint flag='x'/><domain id='1'><name>d</name></domain></domstatus>\n",
                  "d", NULL, "1");
    expect_domain("<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>d</name>"
                  "<qemu:commandline><qemu:arg value='-x'/></qemu:commandline></domain>",
                  "d", NULL, NULL);
    expect_domain("<?xml version='1.0' encoding='ISO-8859-1'?><domain><name>\xe9</name></domain>",
                  "\303\251", NULL, NULL);
}

static const char *const malformed[] = {
    "",
    " ",
    "domain",
    "<domain>",
    "<domain></domains>",
    "<domain><name>d</domain></name>",
    "<domains/>",
    "<network/>",
    "<domstatus/>",
    "<domstatus><network/></domstatus>",
    "<domain>&unknown;</domain>",
    "<domain>\xff</domain>",
    "<domain><name a='1' a='2'/></domain>",
    "<domain/><domain/>",
    "<!DOCTYPE domain><domain/>",
    "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>",
    "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain><name>&e;</name></domain>",
    "<!DOCTYPE domain [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><domain id='&b;'/>",
};

static void
test_malformed(gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(parse(data, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_MALFORMED);
}

/* Every beginning of a domain is no domain. */
static void
test_prefixes(void)
{
    static const char text[] = "<domain id='1'><name>d</name><devices>" DISK(
        "type='file'", QCOW2 FILE_A VDA) "</devices></domain>";

    for (gsize size = 0; size < sizeof text - 1; size++)
        g_assert_null(snapset_domain_from_xml(text, size, NULL));
    g_autoptr(SnapsetDomain) domain = snapset_domain_from_xml(text, sizeof text - 1, NULL);
    g_assert_nonnull(domain);
}

/* A domain of @size bytes, most of them in a description, or a million levels deep. */
static void
test_size(void)
{
    static const char head[] = "<domain><description>", tail[] = "</description></domain>";
    g_autofree char *text = g_strnfill(SNAPSET_DOMAIN_XML_MAX + 1, 'x');

    memcpy(text, head, strlen(head));
    memcpy(text + SNAPSET_DOMAIN_XML_MAX - strlen(tail), tail, strlen(tail));
    g_autoptr(SnapsetDomain) whole = snapset_domain_from_xml(text, SNAPSET_DOMAIN_XML_MAX, NULL);
    g_assert_nonnull(whole);
    text[SNAPSET_DOMAIN_XML_MAX] = '\n';
    g_assert_null(snapset_domain_from_xml(text, SNAPSET_DOMAIN_XML_MAX + 1, NULL));
}

static void
test_deep(void)
{
    g_autoptr(GString) text = g_string_new("<domain><name>");

    for (guint i = 0; i < 1000000; i++)
        g_string_append(text, "<a>");
    for (guint i = 0; i < 1000000; i++)
        g_string_append(text, "</a>");
    g_string_append(text, "</name></domain>");
    /* whether libxml2 takes it depends on its version; it must end in any case */
    g_autoptr(SnapsetDomain) domain = snapset_domain_from_xml(text->str, text->len, NULL);
}

/* ---- libvirt's status file ---- */

static void
expect_running(const char *name, SnapsetErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain = snapset_domain_running(name, &error);

    g_assert_null(domain);
    g_assert_error(error, SNAPSET_ERROR, (int)code);
}

static void
test_running(void)
{
    static const char text[] = "<domstatus><domain><name>d e</name></domain></domstatus>";
    char *folder = scratch_new();
    g_autofree char *file = g_build_filename(folder, "d e.xml", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken.xml", NULL);
    g_autoptr(GError) error = NULL;

    g_setenv("SNAPSHOT_SET_STATUS_DIR", folder, TRUE);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    g_assert_true(g_file_set_contents(broken, "<domstatus>", -1, NULL));
    g_autoptr(SnapsetDomain) domain = snapset_domain_running("d e", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(domain->name, ==, "d e");
    expect_running("d", SNAPSET_ERROR_FAILED);
    expect_running("broken", SNAPSET_ERROR_MALFORMED);
    expect_running("../d e", SNAPSET_ERROR_USAGE);
    g_unsetenv("SNAPSHOT_SET_STATUS_DIR");
    expect_running("no domain is called so", SNAPSET_ERROR_FAILED);
    scratch_free(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(disks); i++) {
        g_autofree char *path = g_strdup_printf("/domain-xml/disks/%s", disks[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_disks);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(variables); i++) {
        g_autofree char *path = g_strdup_printf("/domain-xml/variables/%s", variables[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_variables);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(malformed); i++) {
        g_autofree char *path = g_strdup_printf("/domain-xml/malformed/%" G_GSIZE_FORMAT, i);
        g_test_add_data_func(path, malformed[i], test_malformed);
    }
    g_test_add_func("/domain-xml/nodes", test_nodes);
    g_test_add_func("/domain-xml/domain", test_domain);
    g_test_add_func("/domain-xml/prefixes", test_prefixes);
    g_test_add_func("/domain-xml/size", test_size);
    g_test_add_func("/domain-xml/deep", test_deep);
    g_test_add_func("/domain-xml/running", test_running);
    return g_test_run();
}
