/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which image is behind a node, as monitor commands tell it: those that libvirt and other programs
 * send, one after another, and the file found in the end.
 */
#include "common/ops/domain-nodes.h"

#include <glib/gstdio.h>
#include <string.h>

#include "common/io/live-journal.h"
#include "common/io/qmp-request.h"
#include "tests/unit/scratch.h"

#define UUID "2ef014ae-a830-4986-8dda-8fc3e7268612"

/* In commands, @ is the folder, with the qcow2 images a, b and sub/c and the raw file r. */
#define STORAGE(node, file)                                                                        \
    "{'execute': 'blockdev-add', 'arguments': {'driver': 'file', 'filename': '@/" file             \
    "', 'node-name': '" node "', 'auto-read-only': true, 'discard': 'unmap'}, 'id': 'libvirt-1'}"
#define FORMAT(node, below)                                                                        \
    "{'execute': 'blockdev-add', 'arguments': {'node-name': '" node                                \
    "', 'read-only': false, 'driver': 'qcow2', 'file': '" below "', 'backing': null}}"
#define ADD(arguments) "{'execute': 'blockdev-add', 'arguments': {" arguments "}}"
#define DEL(node) "{'execute': 'blockdev-del', 'arguments': {'node-name': '" node "'}}"

static const struct {
    const char *name;
    const char *commands[6];
    const char *node; /* asked for */
    const char *file; /* NULL: none */
} rows[] = {
    {"libvirt", {STORAGE("s", "a"), FORMAT("f", "s")}, "f", "a"},
    {"two-disks",
     {STORAGE("s", "a"), FORMAT("f", "s"), STORAGE("t", "b"), FORMAT("g", "t")},
     "f",
     "a"},
    {"in-a-folder", {STORAGE("s", "sub/c"), FORMAT("f", "s")}, "f", "sub/c"},
    {"storage-alone", {STORAGE("s", "a")}, "s", NULL},
    {"unknown", {STORAGE("s", "a"), FORMAT("f", "s")}, "g", NULL},
    {"nothing-below", {FORMAT("f", "s")}, "f", NULL},
    {"not-qcow2", {STORAGE("s", "r"), FORMAT("f", "s")}, "f", NULL},
    {"no-file", {STORAGE("s", "nowhere"), FORMAT("f", "s")}, "f", NULL},
    {"filters",
     {STORAGE("s", "a"), FORMAT("f", "s"),
      ADD("'driver': 'throttle', 'node-name': 't', "
          "'throttle-group': 'x', 'file': 'f'"),
      ADD("'driver': 'copy-on-read', 'node-name': 'c', 'file': 't'")},
     "c",
     "a"},
    {"filter-over-storage",
     {STORAGE("s", "a"), ADD("'driver': 'throttle', 'node-name': 't', 'file': 's'")},
     "t",
     NULL},
    {"filter-below",
     {STORAGE("s", "a"), ADD("'driver': 'throttle', 'node-name': 't', 'file': 's'"),
      FORMAT("f", "t")},
     "f",
     "a"},
    {"inside",
     {ADD("'driver': 'qcow2', 'node-name': 'f', 'file': {'driver': 'file', 'filename': '@/a'}")},
     "f",
     "a"},
    {"all-inside",
     {ADD("'driver': 'throttle', 'node-name': 't', 'file': {'driver': 'qcow2', 'file': "
          "{'driver': 'file', 'filename': '@/b'}}")},
     "t",
     "b"},
    {"half-inside",
     {STORAGE("s", "b"), ADD("'driver': 'throttle', 'node-name': 't', 'file': {'driver': 'qcow2', "
                             "'file': 's'}")},
     "t",
     "b"},
    {"relative", /* to QEMU's folder, which nobody knows */
     {ADD("'driver': 'qcow2', 'node-name': 'f', 'file': {'driver': 'file', 'filename': 'a'}")},
     "f",
     NULL},
    {"nameless", {STORAGE("s", "a"), ADD("'driver': 'qcow2', 'file': 's'")}, "", NULL},
    {"removed", {STORAGE("s", "a"), FORMAT("f", "s"), DEL("f"), DEL("s")}, "f", NULL},
    {"removed-below-stays", {STORAGE("s", "a"), FORMAT("f", "s"), DEL("s")}, "f", "a"},
    {"removed-and-again",
     {STORAGE("s", "a"), FORMAT("f", "s"), DEL("f"), FORMAT("g", "s")},
     "g",
     "a"},
    {"name-used-again",
     {STORAGE("s", "a"), FORMAT("f", "s"), DEL("f"), DEL("s"), STORAGE("s", "b"), FORMAT("f", "s")},
     "f",
     "b"},
    {"quotes", {STORAGE("it\\'s", "a"), FORMAT("\\u00e4", "it\\'s")}, "\303\244", "a"},
};

typedef struct {
    char *folder;
    SnapsetDomain *domain;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autofree char *sub = NULL;

    fixture->folder = scratch_new();
    g_setenv("SNAPSHOT_SET_STATE_DIR", fixture->folder, TRUE);
    sub = g_build_filename(fixture->folder, "sub", NULL);
    g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
    for (const char *const *name = (const char *[]){"a", "b", "sub/c", "r", NULL}; *name != NULL;
         name++) {
        g_autofree char *line =
            g_strdup_printf("qemu-img create -q -f %s '%s/%s' 1M", **name == 'r' ? "raw" : "qcow2",
                            fixture->folder, *name);
        g_assert_true(g_spawn_command_line_sync(line, NULL, NULL, NULL, NULL));
    }
    fixture->domain = snapset_domain_new();
    fixture->domain->uuid = g_strdup(UUID);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    scratch_free(fixture->folder);
    snapset_domain_free(fixture->domain);
}

/* QEMU has done @command. */
static void
done(const Fixture *fixture, const char *command)
{
    g_auto(GStrv) parts = g_strsplit(command, "@", -1);
    g_autofree char *text = g_strjoinv(fixture->folder, parts);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetLiveRequest) request = snapset_qmp_request_parse(text, strlen(text), &error);

    g_assert_no_error(error);
    if (request->kind != SNAPSET_LIVE_NONE)
        snapset_domain_note_node(fixture->domain, request, &error);
    g_assert_no_error(error);
}

static void
test_row(Fixture *fixture, gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);

    for (gsize i = 0; i < G_N_ELEMENTS(rows[row].commands) && rows[row].commands[i] != NULL; i++)
        done(fixture, rows[row].commands[i]);
    g_autoptr(SnapsetImage) image =
        snapset_domain_image_of_node(fixture->domain, rows[row].node, notes);
    g_autofree char *path =
        rows[row].file != NULL ? g_build_filename(fixture->folder, rows[row].file, NULL) : NULL;
    g_assert_cmpstr(image != NULL ? image->filename : NULL, ==, path);
}

/* Nodes that come and go leave nothing behind. */
static void
test_forgotten(Fixture *fixture, gconstpointer data)
{
    for (guint i = 0; i < 10; i++) {
        done(fixture, STORAGE("s", "a"));
        done(fixture, FORMAT("f", "s"));
        done(fixture, DEL("f"));
        done(fixture, DEL("s"));
    }
    g_autoptr(GPtrArray) events = snapset_live_journal_read(UUID, NULL);
    g_assert_cmpuint(events->len, ==, 0);
}

/* A disk from the start, which only the domain names. */
static void
test_from_the_start(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = g_build_filename(fixture->folder, "a", NULL);
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_START, "");
    SnapsetDisk *disk = snapset_domain_add_disk(fixture->domain, "vda", "qcow2", path);

    disk->node = g_strdup("f");
    snapset_live_event_add_image(event, path, 1, NULL, TRUE);
    g_assert_true(snapset_live_journal_append(UUID, event, NULL));
    done(fixture, DEL("f"));
    g_autoptr(GPtrArray) events = snapset_live_journal_read(UUID, NULL);
    g_assert_cmpuint(events->len, ==, 1); /* since when there is a guard */
    const SnapsetLiveEvent *left = events->pdata[0];
    g_assert_cmpstr(((SnapsetLiveImage *)left->images->pdata[0])->path, ==, "");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/domain-nodes/", rows[i].name, NULL);
        g_test_add(path, Fixture, GSIZE_TO_POINTER(i), set_up, test_row, tear_down);
    }
    g_test_add("/domain-nodes/forgotten", Fixture, NULL, set_up, test_forgotten, tear_down);
    g_test_add("/domain-nodes/from-the-start", Fixture, NULL, set_up, test_from_the_start,
               tear_down);
    return g_test_run();
}
