/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitor commands judged over the files that they name as overlays: from the text that QEMU would
 * get to the rules that speak.
 */
#include "common/ops/live-files.h"

#include <glib/gstdio.h>
#include <string.h>

#include "common/io/qmp-request.h"
#include "tests/unit/build-qcow2.h"
#include "tests/unit/scratch.h"

/* In commands, @ is a folder with the file text, the empty file empty, the folder sub and the qcow2
 * image image. */
#define SYNC(file, rest)                                                                           \
    "{'type': 'blockdev-snapshot-sync', 'data': {'node-name': 'd', 'snapshot-file': '" file        \
    "'" rest "}}"
#define TRANSACTION(actions) "{'execute': 'transaction', 'arguments': {'actions': [" actions "]}}"
#define ONE(file, rest) TRANSACTION(SYNC(file, rest))
#define TWO(one, two) TRANSACTION(SYNC(one, "") ", " SYNC(two, ""))
#define HMP(line)                                                                                  \
    "{'execute': 'human-monitor-command', 'arguments': {'command-line': 'snapshot_blkdev " line    \
    "'}}"
#define FORMAT(format) ", 'format': '" format "'"
#define EXISTING ", 'mode': 'existing'"

static const struct {
    const char *name, *command, *want; /* the rules; "": none */
} rows[] = {
    {"new", TWO("@/a", "@/b"), ""},
    {"new-in-folder", ONE("@/sub/a", ""), ""},
    {"new-by-url", ONE("file:@/a", ""), ""},
    {"empty", ONE("@/empty", ""), ""},
    {"text", ONE("@/text", ""), "tag-exists"},
    {"text-by-url", ONE("file:@/text", ""), "tag-exists"},
    {"image", TWO("@/a", "@/image"), "tag-exists"},
    {"both-there", TWO("@/text", "@/image"), "tag-exists tag-exists"},
    {"absolute-paths", ONE("@/text", ", 'mode': 'absolute-paths'"), "tag-exists"},
    {"text-by-relative-name", ONE(".@/text", ""), "tag-exists"}, /* QEMU runs in / */
    {"relative", TWO(".@/a", "file:.@/b"), ""},
    {"no-folder", TWO("@/a", "@/none/b"), "atomic"},
    {"file-as-folder", ONE("@/text/a", ""), "atomic"},
    {"folder", ONE("@/sub", ""), "atomic"},
    {"terminal", ONE("/dev/null", ""), "atomic"},
    {"twice", TWO("@/a", "@/a"), "atomic"},
    {"twice-by-url", TWO("@/a", "file:@/a"), "atomic"},
    {"no-overlay-format", ONE("@/a", FORMAT("raw")), "atomic"},
    {"unknown-format", ONE("@/a", FORMAT("x")), "atomic"},
    {"other-overlay-formats",
     TRANSACTION(SYNC("@/a", FORMAT("qed")) ", " SYNC("@/b", FORMAT("vmdk"))), ""},
    {"existing", ONE("@/image", EXISTING), ""},
    {"existing-text", ONE("@/text", EXISTING), "atomic"},
    {"existing-nowhere", ONE("@/none", EXISTING), "atomic"},
    {"existing-folder", ONE("@/sub", EXISTING), "atomic"},
    {"existing-twice", TRANSACTION(SYNC("@/image", EXISTING) ", " SYNC("@/image", EXISTING)),
     "atomic"},
    {"existing-other-format", ONE("@/text", EXISTING FORMAT("qed")), ""},
    /* no file that can be looked at */
    {"no-name", ONE("", ""), ""},
    {"network", TWO("nbd://host/a", "nbd://host/a"), ""},
    {"descriptors", ONE("/dev/fdset/1", ""), ""},
    /* the human monitor */
    {"hmp", HMP("d @/a"), ""},
    {"hmp-text", HMP("d @/text"), "tag-exists"},
    {"hmp-format", HMP("d @/a raw"), "atomic"},
    {"hmp-reuse", HMP("-n d @/image"), ""},
    {"hmp-reuse-text", HMP("-n d @/text"), "atomic"},
    {"hmp-no-file", HMP("d"), ""},
    /* overlays that are nodes */
    {"nodes",
     TRANSACTION("{'type': 'blockdev-snapshot', 'data': {'node': 'd', 'overlay': '@/text'}}"), ""},
};

static void
write_file(const char *folder, const char *name, const void *bytes, gsize size)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, bytes, (gssize)size, &error);
    g_assert_no_error(error);
}

static char *
fill_folder(void)
{
    char *folder = scratch_new();
    g_autofree char *sub = g_build_filename(folder, "sub", NULL);
    const BuildQcow2 what = {0};
    g_autoptr(GByteArray) image = build_qcow2(&what);

    g_byte_array_set_size(image, (guint)build_qcow2_file_size(&what));
    write_file(folder, "text", "hello", 5);
    write_file(folder, "empty", "", 0);
    write_file(folder, "image", image->data, image->len);
    g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
    return folder;
}

static void
test_row(gconstpointer data)
{
    guint index = GPOINTER_TO_UINT(data);
    char *folder = fill_folder();
    g_autoptr(GString) command = g_string_new(rows[index].command);
    SnapsetVerdicts verdicts = {0};
    g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);
    g_autoptr(GString) got = g_string_new(NULL);

    g_string_replace(command, "@", folder, 0);
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command->str, command->len, NULL);
    g_assert_nonnull(request);
    snapset_live_files_judge(request, report);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        g_string_append_printf(got, "%s%s", i > 0 ? " " : "", snapset_rule_name(violation->rule));
    }
    g_assert_cmpstr(got->str, ==, rows[index].want);
    scratch_free(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/live-files/%s", rows[i].name);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_row);
    }
    return g_test_run();
}
