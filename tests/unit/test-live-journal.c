/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal of a running domain: what is written comes back, whatever a crash left around it. */
#include "common/io/live-journal.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/scratch.h"

#define UUID "c0ffee00-0123-4567-89ab-cdef01234567"

typedef struct {
    char *folder;  /* the state folder */
    char *journal; /* the file of UUID */
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->folder = scratch_new();
    fixture->journal = g_build_filename(fixture->folder, "domains", UUID ".events", NULL);
    g_setenv("SNAPSHOT_SET_STATE_DIR", fixture->folder, TRUE);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    scratch_free(fixture->folder);
    g_free(fixture->journal);
}

/* ---- events as text: "create 't' 7: /a/b#12=01! ..." ---- */

static const char *const kinds[] = {"start",       "create",   "load", "delete", "storage-node",
                                    "format-node", "external", "copy", "move"};
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == SNAPSET_LIVE_EVENT_MOVE + 1);

static char *
print_event(const SnapsetLiveEvent *event)
{
    GString *out = g_string_new(kinds[event->kind]);
    g_autofree char *tag = g_strescape(event->name, NULL);

    g_string_append_printf(out, " '%s' %" G_GINT64_FORMAT ":", tag, event->time);
    for (guint i = 0; i < event->images->len; i++) {
        const SnapsetLiveImage *image = event->images->pdata[i];
        g_autofree char *path = g_strescape(image->path, NULL);
        g_string_append_printf(out, " %s#%" G_GUINT64_FORMAT "=%02x%s", path, image->inode,
                               image->entry.bytes[SNAPSET_UUID_SIZE - 1],
                               image->certain ? "!" : "");
    }
    return g_string_free(out, FALSE);
}

static char *
print_events(const char *uuid)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) events = snapset_live_journal_read(uuid, &error);
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

    g_assert_no_error(error);
    for (guint i = 0; i < events->len; i++)
        g_ptr_array_add(lines, print_event(events->pdata[i]));
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("; ", (char **)lines->pdata);
}

static void
expect_events(const char *want)
{
    g_autofree char *got = print_events(UUID);
    g_assert_cmpstr(got, ==, want);
}

static void
append(const char *uuid, SnapsetLiveEventKind kind, const char *tag)
{
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(kind, tag);
    g_autoptr(GError) error = NULL;
    SnapsetUuid one = {.bytes = {[SNAPSET_UUID_SIZE - 1] = 1}};

    event->time = 7;
    snapset_live_event_add_image(event, "/a/b", 12, &one, TRUE);
    snapset_live_event_add_image(event, "/c", G_MAXUINT64, NULL, FALSE);
    g_assert_true(snapset_live_journal_append(uuid, event, &error));
    g_assert_no_error(error);
}

#define IMAGES " 7: /a/b#12=01! /c#18446744073709551615=00"

/* ---- whole journals ---- */

static void
test_kinds(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GString) want = g_string_new(NULL);

    expect_events("");
    for (SnapsetLiveEventKind kind = 0; kind <= SNAPSET_LIVE_EVENT_MOVE; kind++) {
        append(UUID, kind, "t");
        g_string_append_printf(want, "%s%s 't'" IMAGES, kind > 0 ? "; " : "", kinds[kind]);
    }
    expect_events(want->str);
    g_assert_true(snapset_live_journal_remove(UUID, NULL));
    expect_events("");
    g_assert_true(snapset_live_journal_remove(UUID, NULL)); /* there is none */
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "again");
    expect_events("load 'again'" IMAGES);
}

static const char *const texts[] = {
    "",     " ",        "a b",  "'",        "\"'\\", "\n",
    "\r\n", "\x01\x7f", "\xff", "\xc0\x80", "\t",    "gr\303\266\303\237e",
    "b'x'", "@ay []",   "0",    "),",       "%s"};

static void
test_texts(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GString) want = g_string_new(NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(SnapsetLiveEvent) event =
            snapset_live_event_new(SNAPSET_LIVE_EVENT_LOAD, texts[i]);
        g_autofree char *escaped = g_strescape(texts[i], NULL);
        event->time = -1;
        snapset_live_event_add_image(event, texts[i], 0, NULL, FALSE);
        g_assert_true(snapset_live_journal_append(UUID, event, NULL));
        g_string_append_printf(want, "%sload '%s' -1: %s#0=00", i > 0 ? "; " : "", escaped,
                               escaped);
    }
    expect_events(want->str);
}

static void
test_no_images(Fixture *fixture, gconstpointer data)
{
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_START, "");

    event->time = 1;
    g_assert_true(snapset_live_journal_append(UUID, event, NULL));
    expect_events("start '' 1:");
}

static void
test_new_event_is_of_now(Fixture *fixture, gconstpointer data)
{
    gint64 before = g_get_real_time() / G_USEC_PER_SEC;
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_START, "");

    g_assert_cmpint(event->time, >=, before);
    g_assert_cmpint(event->time, <=, before + 60);
}

static void
test_private(Fixture *fixture, gconstpointer data)
{
    g_autofree char *folder = g_path_get_dirname(fixture->journal);
    GStatBuf status;

    append(UUID, SNAPSET_LIVE_EVENT_START, "");
    g_assert_cmpint(g_stat(fixture->journal, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    g_assert_cmpint(g_stat(folder, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 077, ==, 0);
}

/* ---- in place of the whole journal ---- */

static void
test_replace(Fixture *fixture, gconstpointer data)
{
    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "two");
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "three");
    g_autoptr(GPtrArray) events = snapset_live_journal_read(UUID, NULL);
    g_ptr_array_remove_index(events, 1);
    g_assert_true(snapset_live_journal_replace(UUID, events, NULL));
    expect_events("start 'one'" IMAGES "; load 'three'" IMAGES);
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "four"); /* goes on behind it */
    expect_events("start 'one'" IMAGES "; load 'three'" IMAGES "; load 'four'" IMAGES);
    g_ptr_array_set_size(events, 0);
    g_assert_true(snapset_live_journal_replace(UUID, events, NULL));
    expect_events("");
    g_assert_false(snapset_live_journal_replace("x", events, NULL));
}

/* ---- space ---- */

static void
test_reserve(Fixture *fixture, gconstpointer data)
{
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_CREATE, "two");
    g_autoptr(GError) error = NULL;

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    snapset_live_journal_reserve(UUID, event, &error);
    g_assert_no_error(error);
    expect_events("start 'one'" IMAGES); /* nothing is in it yet */
    append(UUID, SNAPSET_LIVE_EVENT_CREATE, "two");
    expect_events("start 'one'" IMAGES "; create 'two'" IMAGES);
    g_assert_false(snapset_live_journal_reserve("x", event, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
}

/* ---- nodes ---- */

static void
test_find_node(Fixture *fixture, gconstpointer data)
{
    SnapsetLiveEventKind kind = SNAPSET_LIVE_EVENT_START;
    g_autoptr(SnapsetLiveEvent) empty =
        snapset_live_event_new(SNAPSET_LIVE_EVENT_FORMAT_NODE, "none");

    g_assert_true(snapset_live_journal_append(UUID, empty, NULL));
    append(UUID, SNAPSET_LIVE_EVENT_FORMAT_NODE, "pair"); /* of two images: no node */
    append(UUID, SNAPSET_LIVE_EVENT_CREATE, "f");
    for (guint i = 0; i < 3; i++) {
        g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(
            i < 2 ? SNAPSET_LIVE_EVENT_STORAGE_NODE : SNAPSET_LIVE_EVENT_FORMAT_NODE,
            i < 2 ? "s" : "f");
        snapset_live_event_add_image(event, "/a", i, NULL, FALSE);
        g_assert_true(snapset_live_journal_append(UUID, event, NULL));
    }
    g_autoptr(GPtrArray) events = snapset_live_journal_read(UUID, NULL);
    g_assert_cmpuint(snapset_live_event_find_node(events, "s", &kind)->inode, ==, 1); /* the last */
    g_assert_cmpint(kind, ==, SNAPSET_LIVE_EVENT_STORAGE_NODE);
    g_assert_cmpuint(snapset_live_event_find_node(events, "f", &kind)->inode, ==, 2);
    g_assert_cmpint(kind, ==, SNAPSET_LIVE_EVENT_FORMAT_NODE);
    g_assert_nonnull(snapset_live_event_find_node(events, "f", NULL));
    g_assert_null(snapset_live_event_find_node(events, "none", &kind));
    g_assert_null(snapset_live_event_find_node(events, "pair", &kind));
    g_assert_null(snapset_live_event_find_node(events, "", &kind));
}

/* ---- what a crash leaves ---- */

static void
set_journal(const Fixture *fixture, const char *bytes, gsize size)
{
    g_assert_true(g_file_set_contents(fixture->journal, bytes, size, NULL));
}

/* However much of the last line is there, what came before it is, and what comes after it will be.
 */
static void
test_every_prefix(Fixture *fixture, gconstpointer data)
{
    g_autofree char *bytes = NULL;
    gsize first = 0, size = 0;
    GStatBuf status;

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    g_assert_cmpint(g_stat(fixture->journal, &status), ==, 0);
    first = status.st_size;
    append(UUID, SNAPSET_LIVE_EVENT_CREATE, "two");
    g_assert_true(g_file_get_contents(fixture->journal, &bytes, &size, NULL));
    for (gsize cut = 0; cut <= size; cut++) {
        const char *want = cut == size    ? "start 'one'" IMAGES "; create 'two'" IMAGES
                           : cut >= first ? "start 'one'" IMAGES
                                          : "";
        set_journal(fixture, bytes, cut);
        expect_events(want);
        append(UUID, SNAPSET_LIVE_EVENT_LOAD, "three");
        g_autofree char *more =
            g_strconcat(want, *want != '\0' ? "; " : "", "load 'three'" IMAGES, NULL);
        expect_events(more);
    }
}

/* The host went down with the file grown, but not its bytes written: the rest counts. */
static void
test_zeros(Fixture *fixture, gconstpointer data)
{
    static const char zeros[5000];
    g_autofree char *bytes = NULL;
    gsize size = 0;

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    g_assert_true(g_file_get_contents(fixture->journal, &bytes, &size, NULL));
    g_autoptr(GByteArray) both = g_byte_array_new();
    g_byte_array_append(both, (guint8 *)bytes, size);
    g_byte_array_append(both, (const guint8 *)zeros, sizeof zeros);
    set_journal(fixture, (char *)both->data, both->len);
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "two");
    expect_events("start 'one'" IMAGES "; load 'two'" IMAGES);
}

static const char *const garbage[] = {
    "garbage",
    "\xff\xfe",
    "()",
    "('create',)",
    "(1, b'x', 7, [])",
    "('create', 'x', 7, [])",
    "('create', b'x', '7', @a(aytayb) [])",
    "('snapshot', b'x', int64 7, @a(aytayb) [])", /* of a version to come */
    "('', b'x', int64 7, @a(aytayb) [])",
    "('create', b'x', int64 7, @a(aytayb) [], 'more')",
    "('create', b'x', int64 7, @a(aytayb) []) more",
    "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((",
};

static void
test_garbage(Fixture *fixture, gconstpointer data)
{
    g_autofree char *bytes = NULL;

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    g_assert_true(g_file_get_contents(fixture->journal, &bytes, NULL, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(garbage); i++) {
        g_autofree char *text = g_strdup_printf("%s\n%s\n\n", garbage[i], bytes + 1);
        set_journal(fixture, text, strlen(text));
        append(UUID, SNAPSET_LIVE_EVENT_LOAD, "two");
        expect_events("start 'one'" IMAGES "; load 'two'" IMAGES);
    }
}

/* An identity of another length says nothing. */
static void
test_odd_values(Fixture *fixture, gconstpointer data)
{
    static const char text[] =
        "('load', [byte 0x61, 0x00, 0x62, 0x00], int64 7, [([byte 0x2f], uint64 1, [byte 1], true),"
        " (@ay [], 2, @ay [], false)])";

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    set_journal(fixture, text, strlen(text));
    expect_events("load 'a' 7: #1=00! #2=00");
}

/* ---- names ---- */

static void
test_spelling(Fixture *fixture, gconstpointer data)
{
    append("C0FFEE00-0123-4567-89AB-CDEF01234567", SNAPSET_LIVE_EVENT_START, "one");
    append(UUID, SNAPSET_LIVE_EVENT_LOAD, "two");
    expect_events("start 'one'" IMAGES "; load 'two'" IMAGES);
}

static void
test_domains_apart(Fixture *fixture, gconstpointer data)
{
    static const char other[] = "c0ffee00-0123-4567-89ab-cdef01234568";

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    append(other, SNAPSET_LIVE_EVENT_LOAD, "two");
    expect_events("start 'one'" IMAGES);
    g_assert_true(snapset_live_journal_remove(UUID, NULL));
    g_autofree char *left = print_events(other);
    g_assert_cmpstr(left, ==, "load 'two'" IMAGES);
}

static int
compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *
print_list(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) domains = snapset_live_journal_list(&error);

    g_assert_no_error(error);
    g_ptr_array_sort(domains, compare_strings);
    g_ptr_array_add(domains, NULL);
    return g_strjoinv(" ", (char **)domains->pdata);
}

static void
test_list(Fixture *fixture, gconstpointer data)
{
    static const char other[] = "c0ffee00-0123-4567-89ab-cdef01234568";
    static const char *const strangers[] = {"x.events", UUID, UUID ".events.new", ".events",
                                            UUID "x.events"};
    g_autofree char *none = print_list();

    g_assert_cmpstr(none, ==, "");
    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    append(other, SNAPSET_LIVE_EVENT_START, "one");
    for (gsize i = 0; i < G_N_ELEMENTS(strangers); i++) {
        g_autofree char *path = g_build_filename(fixture->folder, "domains", strangers[i], NULL);
        g_assert_true(g_file_set_contents(path, "", 0, NULL));
    }
    g_autofree char *both = print_list();
    g_assert_cmpstr(both, ==, UUID " c0ffee00-0123-4567-89ab-cdef01234568");
}

static void
test_no_uuid(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"",
                                        "x",
                                        "../x",
                                        "c0ffee00012345678 9abcdef01234567",
                                        "c0ffee000123456789abcdef01234567",
                                        "{" UUID "}",
                                        UUID " ",
                                        "c0ffee00-0123-4567-89ab-cdef0123456/",
                                        "c0ffee00-0123-4567-89ab-cdef0123456g"};
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_START, "");

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(snapset_live_journal_append(names[i], event, &error));
        g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
        g_assert_null(snapset_live_journal_read(names[i], NULL));
        g_assert_false(snapset_live_journal_remove(names[i], NULL));
    }
}

/* ---- where nothing can be written ---- */

static void
expect_failure(const char *complaint)
{
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_START, "");
    g_autoptr(GError) error = NULL;

    g_assert_false(snapset_live_journal_append(UUID, event, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
    if (strstr(error->message, complaint) == NULL)
        g_assert_cmpstr(error->message, ==, complaint);
}

static void
test_no_folder(Fixture *fixture, gconstpointer data)
{
    g_autofree char *file = g_build_filename(fixture->folder, "domains", NULL);

    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    expect_failure("cannot make the state folder");
    g_assert_null(snapset_live_journal_list(NULL));
    g_setenv("SNAPSHOT_SET_STATE_DIR", file, TRUE);
    expect_failure("cannot make the state folder");
}

static void
test_no_file(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir_with_parents(fixture->journal, 0700), ==, 0);
    expect_failure("cannot open");
    g_assert_null(snapset_live_journal_read(UUID, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
    g_assert_false(snapset_live_journal_remove(UUID, NULL));
    g_autoptr(GPtrArray) events = g_ptr_array_new();
    g_assert_false(snapset_live_journal_replace(UUID, events, NULL));
}

/* A link in its place is not written through. */
static void
test_link(Fixture *fixture, gconstpointer data)
{
    g_autofree char *target = g_build_filename(fixture->folder, "target", NULL);

    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    g_assert_cmpint(g_rename(fixture->journal, target), ==, 0);
    g_assert_cmpint(symlink(target, fixture->journal), ==, 0);
    expect_failure("cannot open");
}

/* /dev/full takes no byte. */
static void
test_full(Fixture *fixture, gconstpointer data)
{
    if (geteuid() != 0) {
        g_test_skip("needs root");
        return;
    }
    append(UUID, SNAPSET_LIVE_EVENT_START, "one");
    g_assert_cmpint(g_unlink(fixture->journal), ==, 0);
    g_autofree char *line = g_strdup_printf("mknod '%s' c 1 7", fixture->journal);
    int status = 0;
    g_assert_true(g_spawn_command_line_sync(line, NULL, NULL, &status, NULL));
    if (status != 0) {
        g_test_skip("no devices can be made here");
        return;
    }
    expect_failure("cannot write");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Fixture *, gconstpointer);
    } tests[] = {
        {"kinds", test_kinds},
        {"texts", test_texts},
        {"no-images", test_no_images},
        {"new-event-is-of-now", test_new_event_is_of_now},
        {"private", test_private},
        {"replace", test_replace},
        {"reserve", test_reserve},
        {"find-node", test_find_node},
        {"list", test_list},
        {"every-prefix", test_every_prefix},
        {"zeros", test_zeros},
        {"garbage", test_garbage},
        {"odd-values", test_odd_values},
        {"spelling", test_spelling},
        {"domains-apart", test_domains_apart},
        {"no-uuid", test_no_uuid},
        {"no-folder", test_no_folder},
        {"no-file", test_no_file},
        {"link", test_link},
        {"full", test_full},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/live-journal/%s", tests[i].name);
        g_test_add(path, Fixture, NULL, set_up, tests[i].run, tear_down);
    }
    return g_test_run();
}
