/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as a person names them: which local file it is about, as QEMU itself would read it. */
#include "common/io/source.h"

static const struct {
    const char *name, *text;
    gboolean image_opts;
    const char *format;                    /* -f */
    const char *path, *options, *expected; /* the format in the end; NULL: found out */
} rows[] = {
    {"path", "a.qcow2", FALSE, NULL, "a.qcow2", NULL, NULL},
    {"absolute-path", "/a/b.qcow2", FALSE, NULL, "/a/b.qcow2", NULL, NULL},
    {"path-with-colon", "./a:b", FALSE, NULL, "./a:b", NULL, NULL},
    {"path-with-comma", "a,b", FALSE, NULL, "a,b", NULL, NULL},
    {"format", "a", FALSE, "raw", "a", NULL, "raw"},
    {"file-protocol", "file:a:b", FALSE, NULL, "a:b", NULL, NULL},
    {"nbd", "nbd:localhost:10809", FALSE, NULL, NULL, NULL, NULL},
    {"nbd-url", "nbd://localhost/x", FALSE, NULL, NULL, NULL, NULL},
    {"json", "json:{\"driver\":\"qcow2\"}", FALSE, NULL, NULL, NULL, NULL},
    {"colon-first", ":a", FALSE, NULL, NULL, NULL, NULL},

    {"opts", "driver=qcow2,file.filename=a", TRUE, NULL, "a", "driver=qcow2,file.filename=a",
     "qcow2"},
    {"opts-with-format", "driver=qcow2,file.filename=a", TRUE, "raw", "a",
     "driver=qcow2,file.filename=a", "raw"},
    {"opts-of-file", "file.driver=file,file.filename=a", TRUE, NULL, "a",
     "file.driver=file,file.filename=a", NULL},
    {"opts-of-device", "file.driver=host_device,file.filename=/dev/x", TRUE, NULL, "/dev/x",
     "file.driver=host_device,file.filename=/dev/x", NULL},
    {"opts-of-nbd", "file.driver=nbd,file.host=h", TRUE, NULL, NULL, "file.driver=nbd,file.host=h",
     NULL},
    {"opts-plain", "filename=a", TRUE, NULL, "a", "filename=a", NULL},
    {"opts-comma", "file.filename=a,,b,driver=qcow2", TRUE, NULL, "a,b",
     "file.filename=a,,b,driver=qcow2", "qcow2"},
    {"opts-commas-at-the-end", "file.filename=a,,,,,driver=qcow2", TRUE, NULL, "a,,",
     "file.filename=a,,,,,driver=qcow2", "qcow2"},
    {"opts-equals-sign", "file.filename=a=b", TRUE, NULL, "a=b", "file.filename=a=b", NULL},
    {"opts-longer-key", "xfile.filename=b,file.filename=a,file.filenamex=c", TRUE, NULL, "a",
     "xfile.filename=b,file.filename=a,file.filenamex=c", NULL},
    /* QEMU takes the last; the first was taken once, and so another file than QEMU's was judged */
    {"opts-twice", "file.filename=a,file.filename=b,driver=x,driver=y", TRUE, NULL, "b",
     "file.filename=a,file.filename=b,driver=x,driver=y", "y"},
    {"opts-driver-twice", "file.driver=file,file.filename=a,file.driver=nbd", TRUE, NULL, NULL,
     "file.driver=file,file.filename=a,file.driver=nbd", NULL},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetSource) source =
        snapset_source_new(rows[row].text, rows[row].format, rows[row].image_opts, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(source->path, ==, rows[row].path);
    g_assert_cmpstr(source->options, ==, rows[row].options);
    g_assert_cmpstr(source->format, ==, rows[row].expected);
}

static void
test_nothing(void)
{
    static const struct {
        const char *text;
        gboolean image_opts;
    } nothings[] = {
        {"", FALSE}, {"", TRUE}, {"a.qcow2", TRUE}, {"driver=qcow2", TRUE}, {",", TRUE}};
    for (gsize i = 0; i < G_N_ELEMENTS(nothings); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(snapset_source_new(nothings[i].text, NULL, nothings[i].image_opts, &error));
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_USAGE);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/source/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    g_test_add_func("/source/nothing", test_nothing);
    return g_test_run();
}
