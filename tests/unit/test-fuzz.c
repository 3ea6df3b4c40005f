/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every file of the fuzzers' corpora, once through its target (tests/fuzz). */
#include <glib.h>

static char *
corpus(const char *name)
{
    return g_test_build_filename(G_TEST_DIST, "..", "fuzz", "corpus", name, NULL);
}

static void
test_target(gconstpointer data)
{
    const char *name = data;
    g_autofree char *folder = corpus(name);
    g_autofree char *program = g_strconcat("fuzz-", name, NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &error);
    g_autofree char *errors = NULL;
    const char *file;
    int status = 0;

    g_assert_no_error(error);
    g_ptr_array_add(argv, g_test_build_filename(G_TEST_BUILT, "..", "fuzz", program, NULL));
    while ((file = g_dir_read_name(dir)) != NULL)
        g_ptr_array_add(argv, g_build_filename(folder, file, NULL));
    g_assert_cmpuint(argv->len, >, 1);
    g_test_message("%u files", argv->len - 1);
    g_ptr_array_add(argv, NULL);
    g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, &errors,
                 &status, &error);
    g_assert_no_error(error);
    if (!g_spawn_check_wait_status(status, &error))
        g_test_message("%s", errors);
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    static const char *const names[] = {"domain-xml", "hmp",         "journal",   "live-journal",
                                        "policy",     "qcow2-parse", "qmp-frame", "qmp-request",
                                        "record",     "selector",    "source",    "stamp-plan"};
    g_test_init(&argc, &argv, NULL);
    g_setenv("G_DEBUG", "fatal-criticals", TRUE); /* of the targets */
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_strdup_printf("/fuzz/%s", names[i]);
        g_test_add_data_func(path, names[i], test_target);
    }
    return g_test_run();
}
