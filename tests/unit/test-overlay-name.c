/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What overlays are called, and how they name their backing files. */
#include "common/core/overlay-name.h"

static const struct {
    const char *base, *tag;
    guint number;
    const char *name;
} names[] = {
    {"disk.qcow2", "s1", 1, "disk.s1"},   {"disk.qcow2", "s1", 0, "disk.s1"},
    {"disk.qcow2", "s1", 2, "disk.s1-2"}, {"disk.qcow2", "s1", 4294967295u, "disk.s1-4294967295"},
    {"disk", "s1", 1, "disk.s1"},         {"disk", "s1", 3, "disk.s1-3"},
    {"disk.s1", "s2", 1, "disk.s2"},      {"disk.v1.img", "s1", 1, "disk.v1.s1"},
    {"disk.", "s1", 1, "disk.s1"},        {".disk", "s1", 1, ".disk.s1"},
    {".disk.img", "s1", 1, ".disk.s1"},   {"..", "s1", 1, "..s1"},
    {"disk.img", "v1.2", 1, "disk.v1.2"}, {"disk.img", "", 1, "disk."},
    {"100%s.img", "%n", 1, "100%s.%n"},
};

static void
test_names(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = snapset_overlay_name(names[i].base, names[i].tag, names[i].number);
        g_assert_cmpstr(name, ==, names[i].name);
    }
}

static const struct {
    const char *folder, *path, *relative;
} paths[] = {
    {"/vm", "/vm/disk", "disk"},
    {"/vm/over", "/vm/disk", "../disk"},
    {"/vm", "/vm/base/disk", "base/disk"},
    {"/vm/over/lays", "/vm/base/disk", "../../base/disk"},
    {"/vm", "/vms/disk", "../vms/disk"},
    {"/vms", "/vm/disk", "../vm/disk"},
    {"/", "/disk", "disk"},
    {"/", "/vm/disk", "vm/disk"},
    {"/vm", "/disk", "../disk"},
    {"/a/b", "/c/d", "../../c/d"},
    {"/vm", "/vm/vm", "vm"},
    {"/vm/disk", "/vm/disk", "../disk"},
    {"/vm", "/vm/nbd:disk", "./nbd:disk"},
    {"/vm", "/vm/a:b/disk", "./a:b/disk"},
    {"/vm", "/vm/a/b:disk", "a/b:disk"},
    {"/vm/over", "/vm/nbd:disk", "../nbd:disk"},
};

static void
test_paths(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *name = snapset_overlay_relative(paths[i].folder, paths[i].path);
        g_assert_cmpstr(name, ==, paths[i].relative);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/overlay-name/names", test_names);
    g_test_add_func("/overlay-name/relative", test_paths);
    return g_test_run();
}
