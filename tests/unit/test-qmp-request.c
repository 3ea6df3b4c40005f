/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is understood of the text of a QMP command. test-live.c shows what becomes of it, and
 * tests/fuzz/fuzz-qmp-request.c that it agrees with what the relay makes of the same bytes.
 */
#include "common/io/qmp-request.h"

#include <string.h>

static const char *const kinds[] = {"none",     "create",      "load", "delete", "external",
                                    "add-node", "remove-node", "plug", "copy",   "move"};
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == SNAPSET_LIVE_MOVE + 1);

/*
 * "create tag='x' id='1' d0 d1", overlays after ">"; "all", "transaction", "mixed", "malformed"
 * where it is; of overlays by file "FORMAT=FILE", those that are there "FORMAT==FILE"; of a node
 * "below=NODE path=FILE qcow2".
 */
static char *
print_request(const SnapsetLiveRequest *request)
{
    GString *out = g_string_new(kinds[request->kind]);

    if (request->tag != NULL) {
        g_autofree char *escaped = g_strescape(request->tag, NULL);
        g_string_append_printf(out, " tag='%s'", escaped);
    }
    if (request->id != NULL)
        g_string_append_printf(out, " id='%s'", request->id);
    for (guint i = 0; i < request->nodes->len; i++)
        g_string_append_printf(out, " %s", (char *)request->nodes->pdata[i]);
    for (guint i = 0; i < request->overlays->len; i++)
        g_string_append_printf(out, " >%s", (char *)request->overlays->pdata[i]);
    for (guint i = 0; i < request->files->len; i++) {
        const SnapsetLiveFile *file = request->files->pdata[i];
        g_string_append_printf(out, " %s%s%s", file->format, file->is_made ? "==" : "=",
                               file->path);
    }
    if (request->below != NULL)
        g_string_append_printf(out, " below=%s", request->below);
    if (request->path != NULL)
        g_string_append_printf(out, " path=%s", request->path);
    g_string_append_printf(
        out, "%s%s%s%s%s", request->has_qcow2 ? " qcow2" : "", request->covers_all ? " all" : "",
        request->in_transaction ? " transaction" : "", request->is_mixed ? " mixed" : "",
        request->is_malformed ? " malformed" : "");
    return g_string_free(out, FALSE);
}

#define COMMAND(name, arguments) "{'execute': '" name "', 'arguments': {" arguments "}}"
#define HMP(line) COMMAND("human-monitor-command", "'command-line': " line)
#define TRANSACTION(actions) COMMAND("transaction", "'actions': [" actions "]")
#define ACTION(type, data) "{'type': '" type "', 'data': {" data "}}"

static const struct {
    const char *name, *text, *want; /* NULL: it is no command that can be judged */
} rows[] = {
    /* every command */
    {"save",
     COMMAND("snapshot-save",
             "'job-id': 'j', 'tag': 'x', 'vmstate': 'd0', 'devices': ['d0', 'd1']"),
     "create tag='x' d0 d1"},
    {"load",
     COMMAND("snapshot-load", "'job-id': 'j', 'tag': 'x', 'vmstate': 'd0', 'devices': ['d0']"),
     "load tag='x' d0"},
    {"delete", COMMAND("snapshot-delete", "'job-id': 'j', 'tag': 'x', 'devices': ['d0']"),
     "delete tag='x' d0"},
    {"internal", COMMAND("blockdev-snapshot-internal-sync", "'device': 'd0', 'name': 'x'"),
     "create tag='x' d0"},
    {"delete-internal",
     COMMAND("blockdev-snapshot-delete-internal-sync", "'device': 'd0', 'name': 'x'"),
     "delete tag='x' d0"},
    {"delete-internal-id",
     COMMAND("blockdev-snapshot-delete-internal-sync", "'device': 'd0', 'id': '1'"),
     "delete id='1' d0"},
    {"delete-internal-both",
     COMMAND("blockdev-snapshot-delete-internal-sync", "'device': 'd0', 'id': '1', 'name': 'x'"),
     "delete tag='x' id='1' d0"},
    {"overlay", COMMAND("blockdev-snapshot", "'node': 'd0', 'overlay': 'o'"), "external d0 >o"},
    {"overlay-sync", COMMAND("blockdev-snapshot-sync", "'node-name': 'd0', 'snapshot-file': '/o'"),
     "external d0 >/o qcow2=/o"},
    {"overlay-sync-format",
     COMMAND("blockdev-snapshot-sync",
             "'node-name': 'd0', 'snapshot-file': '/o', 'format': 'qed', 'mode': 'absolute-paths'"),
     "external d0 >/o qed=/o"},
    {"overlay-sync-existing",
     COMMAND("blockdev-snapshot-sync",
             "'node-name': 'd0', 'snapshot-file': '/o', 'mode': 'existing'"),
     "external d0 >/o qcow2==/o"},
    {"overlay-sync-both",
     COMMAND("blockdev-snapshot-sync", "'device': 'd0', 'node-name': 'd1', 'snapshot-file': '/o'"),
     "external d0 d1 >/o >/o qcow2=/o"}, /* QEMU takes the one it finds; the pairs stay pairs */
    {"overlay-sync-device",
     COMMAND("blockdev-snapshot-sync", "'device': 'd0', 'snapshot-file': '/o'"),
     "external d0 >/o qcow2=/o"},

    {"add-qcow2",
     COMMAND("blockdev-add",
             "'node-name': 'f', 'driver': 'qcow2', 'file': 's', 'read-only': false"),
     "add-node f below=s qcow2"},
    {"add-file", COMMAND("blockdev-add", "'node-name': 's', 'driver': 'file', 'filename': '/a'"),
     "add-node s path=/a"},
    {"add-both",
     COMMAND("blockdev-add", "'node-name': 'f', 'driver': 'qcow2', 'file': {'driver': 'file', "
                             "'filename': '/a'}"),
     "add-node f path=/a qcow2"},
    {"add-through-filters",
     COMMAND("blockdev-add",
             "'node-name': 't', 'driver': 'throttle', 'file': {'driver': 'copy-on-read', 'file': "
             "{'driver': 'qcow2', 'file': {'driver': 'host_device', 'filename': '/dev/a'}}}"),
     "add-node t path=/dev/a qcow2"},
    {"add-below-filters",
     COMMAND("blockdev-add", "'node-name': 't', 'driver': 'throttle', 'file': {'driver': 'qcow2', "
                             "'file': 's'}"),
     "add-node t below=s qcow2"},
    {"add-raw", COMMAND("blockdev-add", "'node-name': 'f', 'driver': 'raw', 'file': 's'"),
     "add-node f below=s"},
    {"add-relative", COMMAND("blockdev-add", "'node-name': 's', 'driver': 'file', 'filename': 'a'"),
     "add-node s"},
    {"add-network", COMMAND("blockdev-add", "'node-name': 's', 'driver': 'nbd', 'server': {}"),
     "add-node s"},
    {"add-nameless", COMMAND("blockdev-add", "'driver': 'file', 'filename': '/a'"), "none path=/a"},
    {"add-odd-file", COMMAND("blockdev-add", "'node-name': 'f', 'driver': 'qcow2', 'file': [1]"),
     "add-node f qcow2"},
    {"add-no-arguments", "{'execute': 'blockdev-add'}", NULL},
    {"delete-node", COMMAND("blockdev-del", "'node-name': 'f'"), "remove-node f"},
    {"delete-node-nameless", COMMAND("blockdev-del", ""), "none"},
    {"plug", COMMAND("device_add", "'driver': 'virtio-blk-pci', 'drive': 'f', 'id': 'x'"),
     "plug f"},
    {"plug-no-disk", COMMAND("device_add", "'driver': 'e1000', 'netdev': 'n'"), "none"},
    {"plug-odd-drive", COMMAND("device_add", "'driver': 'virtio-blk-pci', 'drive': 1"), "none"},
    {"stream", COMMAND("block-stream", "'job-id': 'j', 'device': 'f', 'base-node': 'b'"), "move f"},
    {"commit", COMMAND("block-commit", "'job-id': 'j', 'device': 'f', 'base-node': 'b'"),
     "move b >f"},
    {"commit-from-the-middle",
     COMMAND("block-commit", "'device': 'f', 'top-node': 't', 'base-node': 'b'"), "move b >t"},
    {"commit-to-the-end", COMMAND("block-commit", "'job-id': 'j', 'device': 'f'"), "none"},
    {"mirror", COMMAND("blockdev-mirror", "'device': 'f', 'target': 'g', 'sync': 'full'"),
     "copy f >g"},
    {"mirror-to-file", COMMAND("drive-mirror", "'device': 'f', 'target': '/g', 'sync': 'full'"),
     "copy f >/g"},
    {"mirror-nowhere", COMMAND("blockdev-mirror", "'device': 'f', 'sync': 'full'"), "copy f"},

    /* transactions */
    {"transaction-empty", TRANSACTION(""), "none transaction"},
    {"transaction-of-others",
     TRANSACTION(ACTION("abort", "") ", " ACTION("drive-backup", "'device': 'd0'")),
     "none transaction"},
    {"transaction-overlays",
     TRANSACTION(ACTION("blockdev-snapshot", "'node': 'd0', 'overlay': 'o'") ", " ACTION(
         "blockdev-snapshot-sync", "'node-name': 'd1', 'snapshot-file': '/o'")),
     "external d0 d1 >o >/o qcow2=/o transaction"},
    {"transaction-overlays-among-others",
     TRANSACTION(ACTION("block-dirty-bitmap-add", "'node': 'd2', 'name': 'x'") ", " ACTION(
         "blockdev-snapshot",
         "'node': 'd0', 'overlay': 'o'") ", " ACTION("block-dirty-bitmap-add",
                                                     "'node': 'o', 'name': 'x'")),
     "external d0 >o transaction"},
    {"transaction-internal",
     TRANSACTION(
         ACTION("blockdev-snapshot-internal-sync", "'device': 'd0', 'name': 'x'") ", " ACTION(
             "blockdev-snapshot-internal-sync", "'device': 'd1', 'name': 'x'")),
     "create tag='x' d0 d1 transaction"},
    {"transaction-two-names",
     TRANSACTION(
         ACTION("blockdev-snapshot-internal-sync", "'device': 'd0', 'name': 'x'") ", " ACTION(
             "blockdev-snapshot-internal-sync", "'device': 'd1', 'name': 'y'")),
     "create tag='x' d0 d1 transaction mixed"},
    {"transaction-two-kinds",
     TRANSACTION(ACTION("blockdev-snapshot-internal-sync",
                        "'device': 'd0', 'name': 'x'") ", " ACTION("blockdev-snapshot",
                                                                   "'node': 'd1', 'overlay': 'o'")),
     "external tag='x' d0 d1 >o transaction mixed"},
    {"transaction-two-kinds-other-order",
     TRANSACTION(ACTION("blockdev-snapshot", "'node': 'd1', 'overlay': 'o'") ", " ACTION(
         "blockdev-snapshot-internal-sync", "'device': 'd0', 'name': 'x'")),
     "create tag='x' d1 d0 >o transaction mixed"},
    {"transaction-no-actions", COMMAND("transaction", ""), "none transaction"},
    {"transaction-no-arguments", "{'execute': 'transaction'}", "none transaction"},
    {"transaction-actions-no-list", COMMAND("transaction", "'actions': {'type': 'x'}"),
     "none transaction"},
    {"transaction-odd-actions",
     TRANSACTION("1, null, 'x', [], {}, {'type': 1}, {'type': null, 'data': {}}"),
     "none transaction"},
    {"transaction-no-data", TRANSACTION("{'type': 'blockdev-snapshot'}"), "none transaction"},
    {"transaction-in-transaction", TRANSACTION(ACTION("transaction", "'actions': []")),
     "none transaction"},

    /* the human monitor; tests/unit/test-hmp.c has the words */
    {"savevm", HMP("'savevm x'"), "create tag='x' all"},
    {"savevm-nameless", HMP("'savevm'"), "create all"},
    {"savevm-empty", HMP("'savevm \"\"'"), "create tag='' all"},
    {"savevm-cpu", COMMAND("human-monitor-command", "'command-line': 'savevm x', 'cpu-index': 0"),
     "create tag='x' all"},
    {"loadvm", HMP("'loadvm x'"), "load tag='x' all"},
    {"loadvm-nameless", HMP("'loadvm'"), "none all"},
    {"delvm", HMP("'delvm x'"), "delete tag='x' all"},
    {"delvm-nameless", HMP("'delvm '"), "none all"},
    {"hmp-overlay", HMP("'snapshot_blkdev d0 /o qed'"), "external d0 >/o qed=/o"},
    {"hmp-overlay-reuse", HMP("'snapshot_blkdev -n d0 /o'"), "external d0 >/o qcow2==/o"},
    {"hmp-overlay-reuse-joined", HMP("'snapshot_blkdev -nd0 /o'"), "external d0 >/o qcow2==/o"},
    {"hmp-overlay-bare", HMP("'snapshot_blkdev'"), "external"},
    {"hmp-internal", HMP("'snapshot_blkdev_internal d0 x'"), "create tag='x' d0"},
    {"hmp-internal-nameless", HMP("'snapshot_blkdev_internal d0'"), "none d0"},
    {"hmp-delete", HMP("'snapshot_delete_blkdev_internal d0 x'"), "delete tag='x' d0"},
    {"hmp-delete-id", HMP("'snapshot_delete_blkdev_internal d0 x 1'"), "delete tag='x' id='1' d0"},
    {"hmp-too-many-words", HMP("'savevm x y'"), "none malformed"},
    {"hmp-unended", HMP("'loadvm \"x'"), "none malformed"},
    {"hmp-other", HMP("'info snapshots'"), NULL},
    {"hmp-empty", HMP("''"), NULL},
    {"hmp-no-line", COMMAND("human-monitor-command", ""), NULL},
    {"hmp-line-no-string", HMP("['savevm x']"), NULL},

    /* what is missing, or is something else */
    {"save-no-tag", COMMAND("snapshot-save", "'devices': ['d0']"), "none d0"},
    {"save-empty-tag", COMMAND("snapshot-save", "'tag': '', 'devices': []"), "create tag=''"},
    {"save-tag-null", COMMAND("snapshot-save", "'tag': null, 'devices': ['d0']"), "none d0"},
    {"save-tag-number", COMMAND("snapshot-save", "'tag': 5, 'devices': ['d0']"), "none d0"},
    {"save-tag-list", COMMAND("snapshot-save", "'tag': ['x'], 'devices': ['d0']"), "none d0"},
    {"save-no-devices", COMMAND("snapshot-save", "'tag': 'x'"), "create tag='x'"},
    {"save-devices-no-list", COMMAND("snapshot-save", "'tag': 'x', 'devices': 'd0'"),
     "create tag='x'"},
    {"save-odd-devices",
     COMMAND("snapshot-save", "'tag': 'x', 'devices': [1, null, {}, [], true, 'd0']"),
     "create tag='x' d0"},
    {"save-no-arguments", "{'execute': 'snapshot-save'}", "none"},
    {"save-arguments-no-object", "{'execute': 'snapshot-save', 'arguments': ['x']}", "none"},
    {"overlay-no-node", COMMAND("blockdev-snapshot", "'overlay': 'o'"), "external"},
    {"extra-members",
     "{'id': {'execute': 'x'}, 'execute': 'snapshot-load', 'arguments': {'tag': 'x'}}",
     "load tag='x'"},

    /* QEMU's way to write strings */
    {"double-quotes", "{\"execute\": \"snapshot-load\", \"arguments\": {\"tag\": \"x\"}}",
     "load tag='x'"},
    {"escaped-letters",
     "{\"\\u0065xecute\": \"snapshot\\u002dload\", \"arguments\": {\"t\\u0061g\": \"\\u0078\"}}",
     "load tag='x'"},
    {"escaped-letters-single",
     "{'\\u0065xecute': 'snapshot\\u002dload', 'arguments': {'t\\u0061g': '\\u0078'}}",
     "load tag='x'"},
    {"escapes", COMMAND("snapshot-load", "'tag': '\\b\\f\\n\\r\\t\\/\\\\'"),
     "load tag='\\b\\f\\n\\r\\t/\\\\'"},
    {"quotes-in-single", COMMAND("snapshot-load", "'tag': '\"\\\"\\''"), "load tag='\\\"\\\"''"},
    {"quotes-in-double", "{\"execute\": \"snapshot-load\", \"arguments\": {\"tag\": \"'\\'\\\"\"}}",
     "load tag='''\\\"'"},
    {"backslash-before-end", COMMAND("snapshot-load", "'tag': 'a\\\\', 'devices': ['b\\\\']"),
     "load tag='a\\\\' b\\"},
    {"surrogates", COMMAND("snapshot-load", "'tag': '\\ud83d\\udcbe'"),
     "load tag='\\360\\237\\222\\276'"},
    {"utf-8", COMMAND("snapshot-load", "'tag': '\303\266'"), "load tag='\\303\\266'"},
    {"zero", COMMAND("snapshot-load", "'tag': 'x\\u0000y'"), NULL},
    {"zero-in-another-member", COMMAND("snapshot-load", "'tag': 'x', 'job-id': '\\u0000'"), NULL},
    {"no-zero-but-a-backslash", COMMAND("snapshot-load", "'tag': '\\\\u0000'"),
     "load tag='\\\\u0000'"},
    {"lone-surrogate", COMMAND("snapshot-load", "'tag': '\\ud83d'"), NULL},
    {"blanks", "\r\n\t {\n'execute'\r:\t'snapshot-load' ,'arguments':{'tag':'x'}}\r\n",
     "load tag='x'"},

    /* watched words that are none */
    {"word-as-key", "{\"savevm\": \"savevm\"}", NULL},
    {"word-in-string", COMMAND("query-x", "'a': 'savevm', 'command-line': 'savevm x'"), NULL},
    {"word-in-id", "{'execute': 'query-status', 'id': 'snapshot-save'}", NULL},
    {"longer", COMMAND("snapshot-saved", "'tag': 'x'"), NULL},
    {"upper-case", COMMAND("Snapshot-Save", "'tag': 'x'"), NULL},
    {"nested", "{'arguments': {'execute': 'snapshot-save'}}", NULL},

    /* no commands */
    {"empty", "", NULL},
    {"blank", " \n", NULL},
    {"list", "['snapshot-save']", NULL},
    {"string", "'snapshot-save'", NULL},
    {"number", "1", NULL},
    {"execute-no-string", "{'execute': ['snapshot-save']}", NULL},
    {"execute-null", "{'execute': null}", NULL},
    {"oob", "{'exec-oob': 'snapshot-save', 'arguments': {'tag': 'x'}}", NULL},
    {"cut-short", "{'execute': 'snapshot-save', 'arguments': {'tag': 'x'", NULL},
    {"cut-in-string", "{'execute': 'snapshot-save', 'arguments': {'tag': 'x", NULL},
    {"cut-in-escape", "{'execute': 'snapshot-save', 'arguments': {'tag': '\\", NULL},
    {"not-utf-8", COMMAND("snapshot-load", "'tag': '\xff'"), NULL},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *exact = g_memdup2(rows[row].text, strlen(rows[row].text)); /* no zero behind */
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(exact != NULL ? exact : "", strlen(rows[row].text), &error);

    g_assert_cmpint(request == NULL, ==, error != NULL);
    if (request == NULL) {
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_MALFORMED);
        g_assert_null(rows[row].want);
        return;
    }
    g_autofree char *got = print_request(request);
    g_assert_cmpstr(got, ==, rows[row].want);
}

/* As much as the relay holds, most of it in one string. */
static void
test_long(void)
{
    g_autofree char *tag = g_strnfill(60000, 'x');
    g_autofree char *text = g_strdup_printf(COMMAND("snapshot-save", "'tag': '%s'"), tag);
    g_autoptr(SnapsetLiveRequest) request = snapset_qmp_request_parse(text, strlen(text), NULL);

    g_assert_cmpstr(request->tag, ==, tag);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/qmp-request/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    g_test_add_func("/qmp-request/long", test_long);
    return g_test_run();
}
