/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain's live journal replayed into real images. Here qemu-img takes the place of QEMU: it
 * breaks seals, and gives the disks of one snapshot different dates, as transactions do.
 */
#include "common/ops/domain-images.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "common/core/catalog.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "common/io/stamp.h"
#include "common/ops/domain-chains.h"
#include "tests/unit/scratch.h"

#define UUID "c0ffee00-0123-4567-89ab-cdef01234567"

/* A domain over images a and b, in a folder of its own. */
typedef struct {
    char *folder;
    SnapsetDomain *domain;
} Fixture;

static char *
path_of(const Fixture *fixture, const char *name)
{
    return g_build_filename(fixture->folder, name, NULL);
}

/* qemu-img with these arguments, the last of which is an image's name. */
static void
qemu_img(const Fixture *fixture, const char *arguments, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    g_autofree char *line = g_strdup_printf("qemu-img %s '%s'", arguments, path);
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_command_line_sync(line, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_spawn_check_wait_status(status, &error);
    g_assert_no_error(error);
}

static void
add_disk(Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    snapset_domain_add_disk(fixture->domain, name, "qcow2", path);
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->folder = scratch_new();
    g_setenv("SNAPSHOT_SET_STATE_DIR", fixture->folder, TRUE);
    fixture->domain = snapset_domain_new();
    fixture->domain->uuid = g_strdup(UUID);
    for (const char *name = "ab"; *name != '\0'; name++) {
        char text[] = {*name, '\0'};
        qemu_img(fixture, "create -q -f qcow2 -o size=1M", text);
        add_disk(fixture, text);
    }
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    scratch_free(fixture->folder);
    snapset_domain_free(fixture->domain);
}

/* ---- what happens ---- */

static SnapsetLiveEvent *
event_now(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(fixture->domain, notes);

    return snapset_domain_event(kind, tag, images);
}

static void
note(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag, gint64 seconds_ago)
{
    g_autoptr(SnapsetLiveEvent) event = event_now(fixture, kind, tag);
    g_autoptr(GError) error = NULL;

    event->time -= seconds_ago;
    snapset_live_journal_append(UUID, event, &error);
    g_assert_no_error(error);
}

/*
 * Words: "start", or "began" for a start some time ago; "+TAG" a snapshot is taken of all disks,
 * ">TAG" loaded, "-TAG" deleted, each noted in the journal. A word in brackets happens without
 * being noted.
 */
static void
run_word(const Fixture *fixture, const char *word)
{
    static const struct {
        char letter;
        const char *option;
        SnapsetLiveEventKind kind;
    } changes[] = {{'+', "-c", SNAPSET_LIVE_EVENT_CREATE},
                   {'>', "-a", SNAPSET_LIVE_EVENT_LOAD},
                   {'-', "-d", SNAPSET_LIVE_EVENT_DELETE}};
    gboolean hidden = *word == '[';
    g_autofree char *tag = g_strndup(word + hidden + 1, strcspn(word + hidden + 1, "]"));

    if (strcmp(word, "start") == 0 || strcmp(word, "began") == 0)
        note(fixture, SNAPSET_LIVE_EVENT_START, "", *word == 'b' ? 10 : 0);
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
        if (word[hidden] != changes[i].letter)
            continue;
        g_autofree char *arguments = g_strdup_printf("snapshot %s '%s'", changes[i].option, tag);
        for (guint j = 0; j < fixture->domain->disks->len; j++)
            qemu_img(fixture, arguments, ((SnapsetDisk *)fixture->domain->disks->pdata[j])->target);
        if (!hidden)
            note(fixture, changes[i].kind, tag, 0);
    }
}

static void
run_machine(const Fixture *fixture, const char *story)
{
    g_auto(GStrv) words = g_strsplit(story, " ", -1);

    for (gsize i = 0; words[i] != NULL; i++)
        run_word(fixture, words[i]);
}

static void
replay(const Fixture *fixture, gboolean closed)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(snapset_domain_replay(fixture->domain, closed, NULL, &error));
    g_assert_no_error(error);
}

/* ---- what came of it ---- */

static char *
journal_of(const Fixture *fixture)
{
    return g_build_filename(fixture->folder, "domains", UUID ".events", NULL);
}

static gboolean
has_journal(const Fixture *fixture)
{
    g_autofree char *path = journal_of(fixture);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static SnapsetImage *
read_image(const Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    g_autoptr(GError) error = NULL;
    SnapsetImage *image = snapset_image_read(path, name, SNAPSET_READ_THOROUGH, &error);

    g_assert_no_error(error);
    return image;
}

/* "e<b" for each snapshot with a recorded parent, "e<?" for one nobody knows; i: inferred. */
static void
print_parent(GString *out, const SnapsetSnapshot *snapshot)
{
    g_string_append_printf(out, "%s%s<%s%s ", snapshot->tag,
                           snapshot->standing == SNAPSET_COMPLETE ? "" : "/",
                           snapshot->parent_source == SNAPSET_PARENT_INFERRED ? "i" : "",
                           snapshot->parent != NULL                         ? snapshot->parent->tag
                           : snapshot->parent_source == SNAPSET_PARENT_NONE ? "?"
                                                                            : "-");
}

/* The snapshots of these images (one letter each), then ">TAG" where each stands, "!" if sealed. */
static char *
state_of(const Fixture *fixture, const char *names)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    GString *out = g_string_new(NULL);

    for (; *names != '\0'; names++) {
        char text[] = {*names, '\0'};
        g_autofree char *path = path_of(fixture, text);
        SnapsetImage *image = read_image(fixture, text);
        snapset_chain_read(image, path);
        g_ptr_array_add(images, image);
    }
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    for (guint i = 0; i < catalog->snapshots->len; i++)
        print_parent(out, snapset_catalog_snapshot(catalog, i));
    for (guint i = 0; i < images->len; i++) {
        const SnapsetSnapshot *at = g_array_index(catalog->currents, SnapsetSnapshot *, i);
        const SnapsetImage *image = images->pdata[i];
        g_string_append_printf(out, ">%s%s", at != NULL ? at->tag : "", image->sealed ? "!" : "");
    }
    return g_string_free(out, FALSE);
}

static void
expect_state(const Fixture *fixture, const char *names, const char *want)
{
    g_autofree char *got = state_of(fixture, names);
    g_assert_cmpstr(got, ==, want);
}

static char *
bytes_of(const Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    char *bytes = NULL;
    gsize size = 0;

    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)bytes, size);
    g_free(bytes);
    return sum;
}

/* ---- stories that end with a shutdown ---- */

static const struct {
    const char *name, *story, *want;
} stories[] = {
    {"one", "start +x", "x<- >x!>x!"},
    {"reverted", "start +a +b +c +d >b +e", "a<- b<a c<b d<c e<b >e!>e!"},
    {"loaded-last", "start +a +b >a", "a<- b<a >a!>a!"},
    {"deleted", "start +a +b -b +c", "a<- c<a >c!>c!"},
    {"deleted-current", "start +a +b -b", "a<- >a!>a!"},
    {"deleted-first", "start +a +b -a", "b<- >b!>b!"},
    {"deleted-and-taken-again", "start +a +b -b +b", "a<- b<a >b!>b!"},
    {"deleted-unseen", "start +a +b +c [-b]", "a<- c<a >c!>c!"},
    {"deleted-all", "start +a -a", ">!>!"},
    {"only-started", "start", ">>"}, /* nothing to record, nothing to write */

    /* without a guard from the start the seal would say too much */
    {"only-loaded", "[+a] [+b] >a", "a/<? b/<? >a>a"},
    {"an-older-past", "[+a] start +b", "a/<? b<? >b!>b!"},
    {"taken-unseen", "began +a [+b] +c", "a<- b/<? c<? >c!>c!"},
};

static void
test_story(Fixture *fixture, gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);

    run_machine(fixture, stories[row].story);
    g_assert_true(has_journal(fixture));
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "ab", stories[row].want);
    qemu_img(fixture, "check -q", "a");
    qemu_img(fixture, "check -q", "b");
    replay(fixture, TRUE); /* without a journal there is nothing to do */
    expect_state(fixture, "ab", stories[row].want);
}

/* The journal comes back after all was written, as after a crash before its removal was on disk. */
static void
test_twice(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = journal_of(fixture);
    g_autofree char *journal = NULL;

    run_machine(fixture, "start +a +b >a +c");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    replay(fixture, TRUE);
    g_autofree char *a = bytes_of(fixture, "a");
    g_autofree char *b = bytes_of(fixture, "b");
    g_assert_true(g_file_set_contents(path, journal, -1, NULL));
    replay(fixture, TRUE);
    g_autofree char *a_again = bytes_of(fixture, "a");
    g_autofree char *b_again = bytes_of(fixture, "b");
    g_assert_cmpstr(a, ==, a_again);
    g_assert_cmpstr(b, ==, b_again);
    expect_state(fixture, "ab", "a<- b<a c<a >c!>c!");
}

/* The second run goes on where the first one ended. */
static void
test_runs(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +a");
    replay(fixture, TRUE);
    run_machine(fixture, "start +b >a");
    replay(fixture, TRUE);
    run_machine(fixture, "start +c");
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "a<- b<a c<a >c!>c!");
}

/* After a crash of the host others may have written before the replay: nothing is sealed. */
static void
test_not_closed(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +a +b");
    replay(fixture, FALSE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "ab", "a<- b<a >b>b");
    run_machine(fixture, "start +c +d");
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "a<- b<a c<ib d<c >d!>d!");
}

/* A run that another program's write came before: where it began is only inferred. */
static void
test_broken_seal(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +a");
    replay(fixture, TRUE);
    qemu_img(fixture, "snapshot -c foreign", "b");
    qemu_img(fixture, "snapshot -d foreign", "b");
    run_machine(fixture, "start +b +c");
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "a<- b<ia c<b >c!>c!");
}

/* ---- images that changed meanwhile ---- */

static void
test_moved(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = path_of(fixture, "b");
    g_autofree char *copy = path_of(fixture, "copy");
    g_autofree char *line = g_strdup_printf("cp '%s' '%s'", b, copy);

    run_machine(fixture, "start +x");
    g_assert_true(g_spawn_command_line_sync(line, NULL, NULL, NULL, NULL));
    g_assert_cmpint(g_rename(copy, b), ==, 0);
    g_autofree char *before = bytes_of(fixture, "b");
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "a", "x<- >x!");
    g_autofree char *after = bytes_of(fixture, "b");
    g_assert_cmpstr(before, ==, after);
}

/* Another image made under the same name during the run. */
static void
test_made_anew(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = path_of(fixture, "b");
    g_autofree char *old = path_of(fixture, "old");

    run_machine(fixture, "start +x");
    g_assert_cmpint(g_rename(b, old), ==, 0); /* kept, so that its inode is not used again */
    qemu_img(fixture, "create -q -f qcow2 -o size=1M", "b");
    run_machine(fixture, "+y");
    replay(fixture, TRUE);
    expect_state(fixture, "a", "x<- y<x >y!");
    expect_state(fixture, "b", "y<? >y!"); /* what came before it is another's past */
}

static void
test_vanished(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = path_of(fixture, "a");

    run_machine(fixture, "start +x");
    g_assert_cmpint(g_unlink(a), ==, 0);
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "b", "x<- >x!");
}

static void
test_no_image_any_more(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = path_of(fixture, "a");
    int fd;

    run_machine(fixture, "start +x");
    fd = g_open(a, O_WRONLY | O_TRUNC, 0); /* the inode stays */
    g_assert_cmpint(write(fd, "text", 4), ==, 4);
    close(fd);
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "b", "x<- >x!");
}

static void
test_truncated(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = path_of(fixture, "a");

    run_machine(fixture, "start +x");
    g_assert_cmpint(truncate(a, 200), ==, 0);
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "b", "x<- >x!");
}

/* Offline somebody applied a snapshot before the journal was replayed: that is where it stands. */
static void
test_stamped_since(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"a", "b"};

    run_machine(fixture, "start +a +b");
    replay(fixture, TRUE);
    run_machine(fixture, "start +c [>a]");
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(SnapsetImage) image = read_image(fixture, names[i]);
        g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(image->ledger);
        g_autofree char *path = path_of(fixture, names[i]);
        g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);
        ledger->current = snapset_image_find_tag(image, "a")->identity;
        g_assert_true(snapset_stamp(fd, ledger, TRUE, NULL));
    }
    replay(fixture, FALSE);
    expect_state(fixture, "ab", "a<- b<a c<b >a!>a!");
}

/* ---- images in use ---- */

static SnapsetFd
lock(const Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    SnapsetFd fd = g_open(path, O_RDWR | O_CLOEXEC, 0);

    g_assert_true(snapset_lock_image(fd, NULL));
    return fd;
}

static void
test_in_use(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    run_machine(fixture, "start +x");
    g_autofree char *a = bytes_of(fixture, "a");
    SnapsetFd fd = lock(fixture, "b");
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED);
    g_assert_true(has_journal(fixture));
    g_autofree char *after = bytes_of(fixture, "a");
    g_assert_cmpstr(a, ==, after); /* all or none */
    close(fd);
    replay(fixture, FALSE);
    expect_state(fixture, "ab", "x<- >x>x");
}

/* The domain names the disk by a link: its own all the same. */
static void
test_in_use_by_another_name(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = path_of(fixture, "b");
    SnapsetDisk *disk = fixture->domain->disks->pdata[1];

    run_machine(fixture, "start +x");
    g_free(disk->path);
    disk->path = path_of(fixture, "link");
    g_assert_cmpint(symlink(b, disk->path), ==, 0);
    SnapsetFd fd = lock(fixture, "b");
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, NULL));
    close(fd);
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "x<- >x!>x!");
}

/* ---- disks that come and go ---- */

static void
test_plugged_in(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    qemu_img(fixture, "create -q -f qcow2 -o size=1M", "c");
    add_disk(fixture, "c");
    run_machine(fixture, "+y");
    replay(fixture, TRUE);
    expect_state(fixture, "abc", "x/<- y<x >y!>y!>y!");
}

static void
unplug_b(Fixture *fixture)
{
    run_machine(fixture, "start +x");
    g_ptr_array_remove_index(fixture->domain->disks, 1);
    run_machine(fixture, "+y");
}

static void
test_unplugged(Fixture *fixture, gconstpointer data)
{
    unplug_b(fixture);
    replay(fixture, TRUE);
    expect_state(fixture, "a", "x<- y<x >y!");
    expect_state(fixture, "b", "x<- >x"); /* who knows who had it since */
    expect_state(fixture, "ab", "x<- y/<x >y!>x");
}

/* It waits for that disk alone. */
static void
test_unplugged_and_in_use(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = journal_of(fixture);
    g_autofree char *journal = NULL;

    unplug_b(fixture);
    SnapsetFd fd = lock(fixture, "b");
    replay(fixture, TRUE);
    expect_state(fixture, "a", "x<- y<x >y!");
    expect_state(fixture, "b", "x<? >");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    g_assert_null(strstr(journal, "/a'"));
    run_machine(fixture, "start +z");
    replay(fixture, TRUE);
    expect_state(fixture, "a", "x<- y<x z<y >z!");
    close(fd);
    replay(fixture, FALSE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "b", "x<- >x");
    expect_state(fixture, "a", "x<- y<x z<y >z!");
}

/* ---- nodes ---- */

/* QEMU opens the disk @name, which stands where it does now, through a node of that name. */
static void
open_node(const Fixture *fixture, const char *name)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    g_autofree char *path = path_of(fixture, name);

    g_ptr_array_add(images, snapset_image_read(path, path, SNAPSET_READ_NEWEST, NULL));
    for (int kind = SNAPSET_LIVE_EVENT_STORAGE_NODE; kind <= SNAPSET_LIVE_EVENT_FORMAT_NODE;
         kind++) {
        g_autoptr(SnapsetLiveEvent) event = snapset_domain_event(kind, name, images);
        g_assert_true(snapset_live_journal_append(UUID, event, NULL));
    }
}

static void
close_node(const Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    g_autoptr(GError) error = NULL;

    snapset_domain_replay_closed(fixture->domain, path, &error);
    g_assert_no_error(error);
}

/* The image's auto-clear features, or incompatible ones, as QEMU would leave them. */
static void
put_byte(const Fixture *fixture, const char *name, goffset offset, guint8 byte)
{
    g_autofree char *path = path_of(fixture, name);
    g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);

    g_assert_cmpint(pwrite(fd, &byte, 1, offset), ==, 1);
}

/* A disk with a record of its own comes, takes part, goes, comes again, and stays. */
static void
test_nodes(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    qemu_img(fixture, "create -q -f qcow2 -o size=1M", "c");
    open_node(fixture, "c");
    add_disk(fixture, "c");
    run_machine(fixture, "+y");
    g_ptr_array_remove_index(fixture->domain->disks, 2);
    close_node(fixture, "c");
    expect_state(fixture, "c", "y<- >y!");
    expect_state(fixture, "a", "x<? y<? >"); /* still running */
    open_node(fixture, "c");
    add_disk(fixture, "c");
    run_machine(fixture, "+z");
    replay(fixture, TRUE);
    expect_state(fixture, "c", "y<- z<y >z!");
    expect_state(fixture, "abc", "x/<- y<x z<y >z!>z!>z!");
    g_assert_false(has_journal(fixture));
}

/* Of several disks that a snapshot was taken of, one goes: what it says of the others stays. */
static void
test_node_of_the_start(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    close_node(fixture, "a");
    expect_state(fixture, "a", "x<- >x!");
    g_ptr_array_remove_index(fixture->domain->disks, 0);
    run_machine(fixture, "+y");
    replay(fixture, TRUE);
    expect_state(fixture, "b", "x<- y<x >y!");
    g_autoptr(SnapsetImage) b = read_image(fixture, "b");
    g_assert_cmpuint(snapset_image_entry(b, 0)->record->members, ==, 2);
    g_assert_cmpuint(snapset_image_entry(b, 1)->record->members, ==, 1);
}

/* One that is in use all the same, by another node for instance, can wait. */
static void
test_node_in_use(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    g_autofree char *before = bytes_of(fixture, "a");
    SnapsetFd fd = lock(fixture, "a");
    close_node(fixture, "a");
    close(fd);
    g_autofree char *after = bytes_of(fixture, "a");
    g_assert_cmpstr(after, ==, before);
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "x<- >x!>x!");
}

/* One that was only opened is sealed as it was, to the byte. */
static void
test_node_without_a_part(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    replay(fixture, TRUE);
    g_autofree char *before = bytes_of(fixture, "a");
    run_machine(fixture, "start");
    open_node(fixture, "a");
    put_byte(fixture, "a", 88, 0); /* the seal */
    g_autofree char *opened = bytes_of(fixture, "a");
    g_assert_cmpstr(opened, !=, before);
    close_node(fixture, "a");
    g_autofree char *after = bytes_of(fixture, "a");
    g_assert_cmpstr(after, ==, before);
}

/* An image that QEMU has not closed cleanly is recorded once that is put right. */
static void
test_dirty(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    put_byte(fixture, "b", 79, 1);
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, NULL));
    g_assert_true(has_journal(fixture));
    put_byte(fixture, "b", 79, 0);
    replay(fixture, FALSE);
    expect_state(fixture, "b", "x<- >x");
    g_assert_false(has_journal(fixture));
}

/* One that had no part in anything is not touched, nor locked. */
static void
test_unplugged_at_once(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start");
    g_ptr_array_remove_index(fixture->domain->disks, 1);
    run_machine(fixture, "+x");
    g_autofree char *b = bytes_of(fixture, "b");
    replay(fixture, TRUE);
    g_autofree char *after = bytes_of(fixture, "b");
    g_assert_cmpstr(b, ==, after);
    expect_state(fixture, "a", "x<- >x!");
}

/* ---- overlays ---- */

/* Disk @index goes on in a new overlay. */
static void
make_overlay(Fixture *fixture, guint index, const char *name)
{
    SnapsetDisk *disk = fixture->domain->disks->pdata[index];
    g_autofree char *arguments = g_strdup_printf("create -q -f qcow2 -F qcow2 -b '%s'", disk->path);

    qemu_img(fixture, arguments, name);
    g_free(disk->path);
    disk->path = path_of(fixture, name);
    g_free(disk->target);
    disk->target = g_strdup(name);
}

/* An external snapshot of both disks, which go on in @names (a letter each), is taken and noted. */
static void
take_external(Fixture *fixture, const char *names)
{
    g_autoptr(SnapsetLiveRequest) request = snapset_live_request_new(SNAPSET_LIVE_EXTERNAL);
    g_autoptr(SnapsetLiveEvent) event = NULL;

    for (guint i = 0; i < fixture->domain->disks->len; i++) {
        SnapsetDisk *disk = fixture->domain->disks->pdata[i];
        char name[] = {names[i], '\0'};
        g_free(disk->node);
        disk->node = g_strdup_printf("node-%u", i);
        g_ptr_array_add(request->nodes, g_strdup(disk->node));
        g_ptr_array_add(request->overlays, path_of(fixture, name));
    }
    /* what QEMU opens is there by then */
    g_autoptr(SnapsetDomain) before = fixture->domain;
    fixture->domain = snapset_domain_new();
    fixture->domain->uuid = g_strdup(UUID);
    for (guint i = 0; i < before->disks->len; i++) {
        const SnapsetDisk *disk = before->disks->pdata[i];
        snapset_domain_add_disk(fixture->domain, disk->target, "qcow2", disk->path);
        char name[] = {names[i], '\0'};
        make_overlay(fixture, i, name);
    }
    event = snapset_domain_chain_event(before, request);
    g_assert_nonnull(event);
    g_assert_true(snapset_live_journal_append(UUID, event, NULL));
}

static void
test_overlays(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    take_external(fixture, "cd");
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    expect_state(fixture, "ab", "x<- >x!>x!"); /* frozen, and sealed as what they are now */
    expect_state(fixture, "cd", "x<- c<x >c!>c!");
    run_machine(fixture, "start +y");
    replay(fixture, TRUE);
    expect_state(fixture, "cd", "x<- c<x y<c >y!>y!");
    expect_state(fixture, "ab", "x<- >x!>x!");
}

/* Taken on images that record nothing, and on a past that nobody knows. */
static void
test_overlays_of_roots(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start");
    take_external(fixture, "cd");
    replay(fixture, TRUE);
    expect_state(fixture, "cd", "c<- >c!>c!");
}

static void
test_overlays_of_unknown_past(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "[+x] start");
    take_external(fixture, "cd");
    replay(fixture, TRUE);
    expect_state(fixture, "cd", "x/<? c<? >c!>c!");
}

static void
test_two_overlays(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start");
    take_external(fixture, "cd");
    run_machine(fixture, "+y");
    take_external(fixture, "ef");
    replay(fixture, TRUE);
    expect_state(fixture, "ef", "c<- y<c e<y >e!>e!");
}

/* Replayed again, as after a crash: nothing is said twice. */
static void
test_overlays_twice(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    g_autofree char *path = journal_of(fixture);
    g_autofree char *journal = NULL;
    g_autoptr(GPtrArray) sums = g_ptr_array_new_with_free_func(g_free);

    run_machine(fixture, "start +x");
    take_external(fixture, "cd");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    replay(fixture, TRUE);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_ptr_array_add(sums, bytes_of(fixture, names[i]));
    g_assert_true(g_file_set_contents(path, journal, -1, NULL));
    replay(fixture, TRUE);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *sum = bytes_of(fixture, names[i]);
        g_assert_cmpstr(sum, ==, sums->pdata[i]);
    }
}

/* Somebody writes to a base behind its overlay's back. */
static void
test_overlay_on_a_changed_base(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    take_external(fixture, "cd");
    replay(fixture, TRUE);
    qemu_img(fixture, "snapshot -c foreign", "b");
    g_autoptr(SnapsetImage) base = read_image(fixture, "b");
    g_assert_false(base->sealed);
    run_machine(fixture, "start +y");
    replay(fixture, TRUE);
    g_autoptr(SnapsetImage) after = read_image(fixture, "b");
    g_assert_false(after->sealed); /* it is never called whole again */
}

/* What the disks were given since is committed into their bases, and they go on there. */
static void
test_committed(Fixture *fixture, gconstpointer data)
{
    static const char *const bases[] = {"a", "b"};

    run_machine(fixture, "start +x");
    take_external(fixture, "cd");
    for (guint i = 0; i < fixture->domain->disks->len; i++) {
        SnapsetDisk *disk = fixture->domain->disks->pdata[i];
        g_autoptr(SnapsetLiveRequest) request = snapset_live_request_new(SNAPSET_LIVE_MOVE);
        g_autofree char *base = path_of(fixture, bases[i]);
        snapset_disk_add_backing(disk, "qcow2", base)->node = g_strdup("base");
        g_ptr_array_add(request->nodes, g_strdup("base"));
        g_autoptr(SnapsetLiveEvent) event = snapset_domain_chain_event(fixture->domain, request);
        g_assert_true(snapset_live_journal_append(UUID, event, NULL));
        g_clear_pointer(&((SnapsetDisk *)disk->backing->pdata[0])->node, g_free);
        qemu_img(fixture, "commit -q", disk->target);
        g_free(disk->path);
        disk->path = g_steal_pointer(&base);
        g_free(disk->target);
        disk->target = g_strdup(bases[i]);
    }
    run_machine(fixture, "+y");
    replay(fixture, TRUE);
    expect_state(fixture, "ab", "x<- y<x >y!>y!");
}

/* ---- records ---- */

/* Fill the image's record with what cannot be dropped from it. */
static void
fill_record(const Fixture *fixture, const char *name)
{
    g_autofree char *path = path_of(fixture, name);
    g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);
    g_autofree char *text = g_strnfill(SNAPSET_DESCRIPTION_MAX, 'd');
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_new();
    gboolean good = TRUE;

    for (guint8 i = 1; good; i++) {
        SnapsetUuid uuid = {.bytes = {i}};
        SnapsetRecord *record = snapset_record_new(&uuid, 0);
        record->flags = SNAPSET_RECORD_EXTERNAL;
        record->description = i < 10 ? g_strdup(text) : NULL; /* at last small ones */
        g_ptr_array_add(ledger->records, record);
        good = snapset_stamp(fd, ledger, TRUE, NULL);
    }
}

/* Where a record has no room the image must not be left standing elsewhere than the others. */
static void
test_no_room(Fixture *fixture, gconstpointer data)
{
    fill_record(fixture, "b");
    g_autoptr(SnapsetImage) before = read_image(fixture, "b");
    run_machine(fixture, "start +x");
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    g_autoptr(SnapsetImage) a = read_image(fixture, "a");
    g_autoptr(SnapsetImage) b = read_image(fixture, "b");
    g_assert_cmpuint(b->ledger->records->len, ==, before->ledger->records->len);
    g_assert_true(snapset_uuid_equal(&a->ledger->current, &b->ledger->current));
    g_assert_true(b->sealed);
}

static void
test_no_room_at_all(Fixture *fixture, gconstpointer data)
{
    qemu_img(fixture, "create -q -f qcow2 -o size=1M,cluster_size=512", "b");
    run_machine(fixture, "start +x");
    g_autofree char *before = bytes_of(fixture, "b");
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    g_autofree char *after = bytes_of(fixture, "b");
    g_assert_cmpstr(before, ==, after);
    expect_state(fixture, "a", "x<- >x!");
}

/* A record beyond reading is for a person to repair, not to be written over. */
static void
test_damaged(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    replay(fixture, TRUE);
    run_machine(fixture, "start +y");
    g_autoptr(SnapsetImage) image = read_image(fixture, "b");
    g_autofree char *path = path_of(fixture, "b");
    g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);
    for (guint i = 0; i < SNAPSET_LAYOUT_SLOTS; i++)
        g_assert_cmpint(pwrite(fd, "damage", 6,
                               image->header->sset->data_offset + SNAPSET_PAYLOAD_HEADER_SIZE +
                                   i * image->slot_size),
                        ==, 6);
    g_autofree char *before = bytes_of(fixture, "b");
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
    g_autofree char *after = bytes_of(fixture, "b");
    g_assert_cmpstr(before, ==, after);
    expect_state(fixture, "a", "x<- y<x >y!");
}

/* The disks' dates differ, and that they are one snapshot was seen: none collides with another. */
static void
test_one_identity(Fixture *fixture, gconstpointer data)
{
    run_machine(fixture, "start +x");
    g_autoptr(SnapsetImage) a = read_image(fixture, "a");
    g_autoptr(SnapsetImage) b = read_image(fixture, "b");
    g_assert_false(snapset_uuid_equal(&snapset_image_entry(a, 0)->identity,
                                      &snapset_image_entry(b, 0)->identity));
    replay(fixture, TRUE);
    g_autoptr(SnapsetImage) a_after = read_image(fixture, "a");
    g_autoptr(SnapsetImage) b_after = read_image(fixture, "b");
    g_assert_true(snapset_uuid_equal(&snapset_image_entry(a_after, 0)->identity,
                                     &snapset_image_entry(b_after, 0)->identity));
    g_assert_cmpuint(snapset_image_entry(b_after, 0)->record->members, ==, 2);
}

/* ---- events ---- */

static void
expect_event(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag, guint index)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(fixture->domain, notes);
    g_autoptr(SnapsetLiveEvent) event = snapset_domain_event(kind, tag, images);
    const SnapsetLiveImage *image = event->images->pdata[0];

    g_assert_true(
        snapset_uuid_equal(&image->entry, &snapset_image_entry(images->pdata[0], index)->derived));
}

/* Which entry QEMU loads when the tag alone does not tell. */
static void
test_which_entry(Fixture *fixture, gconstpointer data)
{
    qemu_img(fixture, "snapshot -c 2", "a"); /* ID 1 */
    qemu_img(fixture, "snapshot -c x", "a"); /* ID 2 */
    qemu_img(fixture, "snapshot -c x", "a"); /* ID 3 */
    expect_event(fixture, SNAPSET_LIVE_EVENT_LOAD, "2", 1);
    expect_event(fixture, SNAPSET_LIVE_EVENT_LOAD, "x", 1);
    expect_event(fixture, SNAPSET_LIVE_EVENT_CREATE, "x", 2);
    expect_event(fixture, SNAPSET_LIVE_EVENT_CREATE, "2", 0);
}

/* Where an image stands is known of new ones and sealed ones only. */
static void
test_certain_at_start(Fixture *fixture, gconstpointer data)
{
    static const char *const steps[] = {"start", "start +x", "start", "[+y]", "start"};
    static const gboolean certain[] = {TRUE, FALSE, TRUE, FALSE, FALSE};
    g_autofree char *overlay =
        g_strdup_printf("create -q -f qcow2 -F qcow2 -b '%s/a'", fixture->folder);

    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        run_machine(fixture, steps[i]);
        g_autoptr(SnapsetLiveEvent) event = event_now(fixture, SNAPSET_LIVE_EVENT_START, "");
        g_assert_cmpint(((SnapsetLiveImage *)event->images->pdata[0])->certain, ==, certain[i]);
        replay(fixture, i == 1);
    }
    qemu_img(fixture, overlay, "b");
    g_autoptr(SnapsetLiveEvent) event = event_now(fixture, SNAPSET_LIVE_EVENT_START, "");
    g_assert_false(((SnapsetLiveImage *)event->images->pdata[1])->certain);
}

/* ---- journals ---- */

static void
test_no_uuid(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&fixture->domain->uuid, g_free);
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED);
}

static void
test_only_garbage(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = journal_of(fixture);

    run_machine(fixture, "start");
    g_assert_true(g_file_set_contents(path, "\n('create', b'x', 1", -1, NULL));
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
}

/* Events name whatever a damaged disk made of them. */
static void
test_strange_paths(Fixture *fixture, gconstpointer data)
{
    static const char *const paths[] = {"", "nbd:unix:/x", "json:{", "/", "/dev/null", "a\nb"};
    SnapsetUuid uuid = {.bytes = {1}};
    g_autoptr(SnapsetLiveEvent) event = snapset_live_event_new(SNAPSET_LIVE_EVENT_CREATE, "x");

    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        snapset_live_event_add_image(event, paths[i], 0, &uuid, TRUE);
    g_assert_true(snapset_live_journal_append(UUID, event, NULL));
    replay(fixture, TRUE);
    g_assert_false(has_journal(fixture));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Fixture *, gconstpointer);
    } tests[] = {
        {"twice", test_twice},
        {"runs", test_runs},
        {"not-closed", test_not_closed},
        {"broken-seal", test_broken_seal},
        {"moved", test_moved},
        {"made-anew", test_made_anew},
        {"vanished", test_vanished},
        {"no-image-any-more", test_no_image_any_more},
        {"truncated", test_truncated},
        {"stamped-since", test_stamped_since},
        {"in-use", test_in_use},
        {"in-use-by-another-name", test_in_use_by_another_name},
        {"plugged-in", test_plugged_in},
        {"unplugged", test_unplugged},
        {"unplugged-and-in-use", test_unplugged_and_in_use},
        {"unplugged-at-once", test_unplugged_at_once},
        {"nodes", test_nodes},
        {"node-of-the-start", test_node_of_the_start},
        {"node-in-use", test_node_in_use},
        {"node-without-a-part", test_node_without_a_part},
        {"dirty", test_dirty},
        {"overlays", test_overlays},
        {"overlays-of-roots", test_overlays_of_roots},
        {"overlays-of-unknown-past", test_overlays_of_unknown_past},
        {"two-overlays", test_two_overlays},
        {"overlays-twice", test_overlays_twice},
        {"overlay-on-a-changed-base", test_overlay_on_a_changed_base},
        {"committed", test_committed},
        {"no-room", test_no_room},
        {"no-room-at-all", test_no_room_at_all},
        {"damaged", test_damaged},
        {"one-identity", test_one_identity},
        {"which-entry", test_which_entry},
        {"certain-at-start", test_certain_at_start},
        {"no-uuid", test_no_uuid},
        {"only-garbage", test_only_garbage},
        {"strange-paths", test_strange_paths},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(stories); i++) {
        g_autofree char *path = g_strdup_printf("/domain-images/story/%s", stories[i].name);
        g_test_add(path, Fixture, GSIZE_TO_POINTER(i), set_up, test_story, tear_down);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/domain-images/%s", tests[i].name);
        g_test_add(path, Fixture, NULL, set_up, tests[i].run, tear_down);
    }
    return g_test_run();
}
