/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitor commands judged over what the disks hold: from the text that QEMU would get to the rules
 * that speak. The sets are written as tests/unit/build-image.h says; the disks are nodes d0, d1...
 */
#include "common/core/live.h"

#include "common/io/qmp-request.h"
#include "tests/unit/build-image.h"

/* "rule rule", or "-" for nothing, or "?" for what is no command. */
static char *
judge(const char *command, const char *set, SnapsetVerdict verdict)
{
    g_autoptr(SnapsetCatalog) catalog = build_catalog(set);
    g_autoptr(SnapsetDomain) domain = snapset_domain_new();
    SnapsetVerdicts verdicts;
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++)
        verdicts.of[i] = verdict;
    g_autoptr(SnapsetReport) report = snapset_report_new(&verdicts);
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command, strlen(command), NULL);
    GString *out = g_string_new(NULL);

    gboolean is_plug = request != NULL && request->kind == SNAPSET_LIVE_PLUG; /* of the last one */
    for (guint i = 0; i + is_plug < catalog->images->len; i++) {
        SnapsetDisk *disk = snapset_domain_add_disk(domain, "vd", "qcow2", NULL);
        disk->node = g_strdup_printf("d%u", i);
    }
    if (request == NULL)
        return g_string_free(g_string_append(out, "?"), FALSE);
    snapset_rules_live(catalog, domain, request, report);
    g_assert_cmpint(snapset_report_is_denied(report), ==,
                    verdict == SNAPSET_DENY && report->violations->len > 0);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        g_assert_cmpint(violation->verdict, ==, verdict);
        g_string_append_printf(out, "%s%s", i > 0 ? " " : "", snapset_rule_name(violation->rule));
    }
    return g_string_free(out->len > 0 ? out : g_string_append(out, "-"), FALSE);
}

#define HMP(line)                                                                                  \
    "{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"" line "\"}}"
#define SAVE(tag, devices)                                                                         \
    "{\"execute\": \"snapshot-save\", \"arguments\": {\"job-id\": \"j\", \"tag\": " tag            \
    ", \"vmstate\": \"d0\", \"devices\": [" devices "]}}"
#define DELETE(tag, devices)                                                                       \
    "{\"execute\": \"snapshot-delete\", \"arguments\": {\"job-id\": \"j\", \"tag\": \"" tag        \
    "\", \"devices\": [" devices "]}}"
#define BOTH "\"d0\", \"d1\""
#define ON_ONE(command, rest)                                                                      \
    "{\"execute\": \"" command "\", \"arguments\": {\"device\": \"d0\"" rest "}}"
#define ACTION(type, data) "{\"type\": \"" type "\", \"data\": {" data "}}"
#define TRANSACTION(actions)                                                                       \
    "{\"execute\": \"transaction\", \"arguments\": {\"actions\": [" actions "]}}"
#define OVERLAY(node) ACTION("blockdev-snapshot", "\"node\": \"" node "\", \"overlay\": \"o\"")
#define INTERNAL(node, name)                                                                       \
    ACTION("blockdev-snapshot-internal-sync", "\"device\": \"" node "\", \"name\": \"" name "\"")

#define SAME "a: b@100/5 b: b@100"
#define ONE_HAS "a: x@50/5 b@100/5 b: x@50"
#define TWICE "a: b@100/5 b@200/5 b: b@200"
#define PROTECTED "a: b@100#7=Ap c@200#8=B b: b@100=Ap c@200=B"

static const struct {
    const char *name, *command, *set, *want;
} rows[] = {
    {"other", "{\"execute\": \"query-status\"}", SAME, "?"},
    {"no-command", "{\"id\": 1}", SAME, "?"},
    {"save-new", SAVE("\"n\"", BOTH), SAME, "-"},
    {"save-existing", SAVE("\"b\"", BOTH), SAME, "tag-exists"},
    {"save-existing-on-one", SAVE("\"b\"", BOTH), ONE_HAS, "tag-exists"},
    {"save-empty", SAVE("\"\"", BOTH), SAME, "tag-empty"},
    {"save-numeric", SAVE("\"2\"", BOTH), ONE_HAS, "tag-numeric"},
    {"save-control", SAVE("\"a\\nb\"", BOTH), SAME, "tag-invalid"},
    {"save-left-out", SAVE("\"n\"", "\"d1\""), SAME, "coverage"},
    {"save-escaped", SAVE("\"\\u0062\"", BOTH), SAME, "tag-exists"},
    {"save-zero", SAVE("\"b\\u0000c\"", BOTH), SAME, "?"},
    {"save-no-tag", ON_ONE("snapshot-save", ""), SAME, "-"},
    /* QEMU's own way to write strings */
    {"single-quoted",
     "{'execute': 'snapshot-save', 'arguments': {'tag': 'b', 'devices': ['d0', 'd1']}}", SAME,
     "tag-exists"},
    {"single-quoted-escapes",
     "{'execut\\u0065': 'snapshot-s\\u0061ve', 'arguments': {'tag': '\\u0062', 'devices': ['d0', "
     "'d1']}}",
     SAME, "tag-exists"},
    {"single-quoted-quotes", "{'execute': 'snapshot-save', 'arguments': {'tag': 'a\"\\'\\\\'}}",
     "a: a\"'\\\\@100", "tag-exists"},
    {"double-quoted-quote", "{\"execute\": \"snapshot-save\", \"arguments\": {\"tag\": \"\\'\"}}",
     "a: '@100", "tag-exists"},
    {"single-quoted-zero", "{'execute': 'snapshot-save', 'arguments': {'tag': 'b\\u0000'}}", SAME,
     "?"},
    {"backslash-before-quote",
     "{'execute': 'human-monitor-command', 'arguments': {'command-line': 'savevm \"\\\\\"b\"'}}",
     "a: \"b@100", "tag-exists"},

    {"savevm-new", HMP("savevm n"), SAME, "-"},
    {"savevm-nameless", HMP("savevm"), SAME, "-"},
    {"savevm-existing", HMP("savevm b"), SAME, "tag-exists"},
    {"savevm-quoted", HMP("savevm \\\"b\\\""), SAME, "tag-exists"},
    {"savevm-existing-on-one", HMP("savevm b"), ONE_HAS, "tag-exists"},
    {"savevm-empty", HMP("savevm \\\"\\\""), SAME, "tag-empty"},
    {"savevm-slash", HMP("savevm/b"), "a: /b@100", "tag-exists"},
    {"savevm-unescaped-quote", HMP("savevm \\\"a\\\"b\\\""), SAME, "tag-invalid"},
    {"savevm-unescaped-backslash", HMP("savevm \\\"a\\\\b\\\""), SAME, "tag-invalid"},
    {"savevm-two-words", HMP("savevm a b"), SAME, "tag-invalid"},
    {"delvm-two-words", HMP("delvm a b"), SAME, "tag-invalid"},
    {"savevm-blanks", HMP("\\f savevm\\u000bb\\t"), SAME, "tag-exists"},
    {"hmp-other", HMP("info \\\"a\\\\b"), SAME, "?"},
    {"loadvm", HMP("loadvm b"), SAME, "-"},
    {"loadvm-nameless", HMP("loadvm"), SAME, "-"},
    {"loadvm-colliding", HMP("loadvm b"), "a: b@100/5 b: b@900/5", "identity-collision"},
    {"loadvm-twice", HMP("loadvm b"), TWICE, "tag-duplicate"},
    {"loadvm-id", HMP("loadvm 2"), "a: x@1#2 2@100/5#1 b: 2@100", "tag-numeric"},
    {"loadvm-own-id", HMP("loadvm 1"), "a: 1@100/5 b: 1@100", "-"},
    {"loadvm-own-id-of-two", HMP("loadvm 1"), "a: 1@100/5#1 x@200#1 b: 1@100", "-"},
    {"loadvm-later-id", HMP("loadvm 2"), "a: 2@100/5#1 x@200#2 b: 2@100", "tag-numeric"},
    {"loadvm-id-that-is-no-tag", HMP("loadvm 2"), "a: x@1 y@2 b: x@1", "tag-numeric"},
    {"loadvm-word-that-is-an-id", HMP("loadvm b"), "a: b@100/5#9 x@200#b b: b@100", "tag-numeric"},
    {"loadvm-other-size", HMP("loadvm b"), "a: b@100/5%512 b: b@100", "load-would-fail"},
    {"loadvm-unproven", HMP("loadvm b"), "a: b@100 b: b@101", "-"}, /* QEMU wants VM state */
    {"loadvm-everything", HMP("loadvm 2"), "a: x@1/5#2 2@100/5#1 2@101 b: 2@900/5%512 !bitmaps",
     "identity-collision tag-duplicate tag-numeric load-would-fail load-would-fail"},
    {"loadvm-bitmaps", HMP("loadvm b"), "a: b@100/5 b: b@100 !bitmaps", "load-would-fail"},
    {"load-left-out",
     "{\"execute\": \"snapshot-load\", \"arguments\": {\"tag\": \"b\", \"devices\": [\"d0\"]}}",
     SAME, "coverage"},
    {"delvm", HMP("delvm b"), SAME, "-"},
    {"delvm-twice", HMP("delvm b"), TWICE, "tag-duplicate"},
    {"delvm-protected", HMP("delvm b"), PROTECTED, "snapshot-protected"},
    {"delvm-other", HMP("delvm c"), PROTECTED, "-"},
    {"delvm-gone", HMP("delvm z"), PROTECTED, "-"},
    {"delvm-colliding", HMP("delvm b"), "a: b@100/5 b: b@900/5", "identity-collision"},
    {"delvm-unproven", HMP("delvm b"), "a: b@100 b: b@101", "-"},
    {"delvm-partial", HMP("delvm b"), "a: b@100/5 b:", "-"},
    {"delete-colliding", DELETE("b", BOTH), "a: b@100/5 b: b@900/5", "identity-collision"},
    {"delete-colliding-on-one", DELETE("b", "\"d0\""), "a: b@100/5 b: b@900/5", "-"},
    {"delete-colliding-beside", DELETE("b", "\"d0\", \"d1\""), "a: b@100/5 b: b@100 c: b@900/5",
     "-"},
    {"delete-protected-elsewhere", DELETE("b", "\"d1\""), "a: b@100=Ap b: b@900=B", "-"},
    {"delete-in-base", DELETE("b", BOTH), "a: | b@100/5=Ap b: | b@100=Ap", "-"},

    {"overlay-alone",
     "{\"execute\": \"blockdev-snapshot\", \"arguments\": {\"node\": \"d0\", "
     "\"overlay\": \"o\"}}",
     SAME, "atomic"},
    {"overlay-sync", ON_ONE("blockdev-snapshot-sync", ", \"snapshot-file\": \"o\""), SAME,
     "atomic"},
    {"overlay-sync-node",
     "{\"execute\": \"blockdev-snapshot-sync\", \"arguments\": {\"node-name\": \"d1\", "
     "\"snapshot-file\": \"o\"}}",
     SAME, "atomic"},
    {"overlay-other-node",
     "{\"execute\": \"blockdev-snapshot\", \"arguments\": {\"node\": "
     "\"cdrom\", \"overlay\": \"o\"}}",
     SAME, "-"},
    {"overlay-of-all", TRANSACTION(OVERLAY("d0") ", " OVERLAY("d1")), SAME, "-"},
    {"overlay-of-one", TRANSACTION(OVERLAY("d0")), SAME, "coverage"},
    {"overlay-only-disk",
     "{\"execute\": \"blockdev-snapshot\", \"arguments\": {\"node\": \"d0\", "
     "\"overlay\": \"o\"}}",
     "a: b@100", "-"},
    {"internal-of-all", TRANSACTION(INTERNAL("d0", "n") ", " INTERNAL("d1", "n")), SAME, "-"},
    {"internal-existing", TRANSACTION(INTERNAL("d0", "b") ", " INTERNAL("d1", "b")), SAME,
     "tag-exists"},
    {"internal-two-names", TRANSACTION(INTERNAL("d0", "n") ", " INTERNAL("d1", "m")), SAME,
     "atomic"},
    {"internal-and-overlay", TRANSACTION(OVERLAY("d0") ", " INTERNAL("d1", "m")), SAME, "atomic"},
    {"internal-alone", ON_ONE("blockdev-snapshot-internal-sync", ", \"name\": \"n\""), SAME,
     "coverage"},
    {"other-actions", TRANSACTION(ACTION("block-dirty-bitmap-add", "\"node\": \"d0\"")), SAME, "-"},
    {"delete-by-name", ON_ONE("blockdev-snapshot-delete-internal-sync", ", \"name\": \"b\""),
     PROTECTED, "snapshot-protected"},
    {"delete-by-id", ON_ONE("blockdev-snapshot-delete-internal-sync", ", \"id\": \"7\""), PROTECTED,
     "snapshot-protected"},
    {"delete-other-id", ON_ONE("blockdev-snapshot-delete-internal-sync", ", \"id\": \"8\""),
     PROTECTED, "-"},
    {"delete-one-of-two",
     ON_ONE("blockdev-snapshot-delete-internal-sync", ", \"name\": \"b\", \"id\": \"2\""), TWICE,
     "-"},
    {"delete-either-of-two", ON_ONE("blockdev-snapshot-delete-internal-sync", ", \"name\": \"b\""),
     TWICE, "tag-duplicate"},

    /* without the disk: only what kind of command it is */
    {"add-node", "{'execute': 'blockdev-add', 'arguments': {'driver': 'qcow2', 'file': 's'}}", SAME,
     "-"},
    {"remove-node", "{'execute': 'blockdev-del', 'arguments': {'node-name': 'd0'}}", SAME, "-"},
    {"plug", "{'execute': 'device_add', 'arguments': {'driver': 'scsi-hd', 'drive': 'd0'}}", SAME,
     "-"},
    {"plug-colliding",
     "{'execute': 'device_add', 'arguments': {'driver': 'scsi-hd', 'drive': 'n'}}",
     "a: b@100/5 b: b@900/5", "identity-collision"},
    {"plug-beside-a-collision",
     "{'execute': 'device_add', 'arguments': {'driver': 'scsi-hd', 'drive': 'n'}}",
     "a: b@100/5 b: b@900/5 c:", "-"},
    {"plug-no-disk", "{'execute': 'device_add', 'arguments': {'driver': 'e1000'}}", SAME, "-"},

    {"hmp-overlay", HMP("snapshot_blkdev d0 /o qcow2"), SAME, "atomic"},
    {"hmp-overlay-reuse", HMP("snapshot_blkdev -n d0 /o"), SAME, "atomic"},
    {"hmp-overlay-joined", HMP("snapshot_blkdev -nd0 /o"), SAME, "atomic"},
    {"hmp-overlay-words", HMP("snapshot_blkdev d0 /o qcow2 x"), SAME, "tag-invalid"},
    {"hmp-overlay-bare", HMP("snapshot_blkdev"), SAME, "-"},
    {"hmp-internal", HMP("snapshot_blkdev_internal d0 n"), SAME, "coverage"},
    {"hmp-internal-existing", HMP("snapshot_blkdev_internal d0 b"), "a: b@100", "tag-exists"},
    {"hmp-internal-nameless", HMP("snapshot_blkdev_internal d0"), SAME, "-"},
    {"hmp-delete", HMP("snapshot_delete_blkdev_internal d0 b"), PROTECTED, "snapshot-protected"},
    {"hmp-delete-id", HMP("snapshot_delete_blkdev_internal d0 b 7"), PROTECTED,
     "snapshot-protected"},
    {"hmp-delete-other-id", HMP("snapshot_delete_blkdev_internal d0 b 8"), PROTECTED, "-"},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autofree char *denied = judge(rows[row].command, rows[row].set, SNAPSET_DENY);
    g_autofree char *warned = judge(rows[row].command, rows[row].set, SNAPSET_WARN);
    g_autofree char *ignored = judge(rows[row].command, rows[row].set, SNAPSET_IGNORE);

    g_assert_cmpstr(denied, ==, rows[row].want);
    g_assert_cmpstr(warned, ==, rows[row].want);
    g_assert_cmpstr(ignored, ==, *rows[row].want == '?' ? "?" : "-");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/live/", rows[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    return g_test_run();
}
