/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's live journal replayed into real images. */
#include "common/ops/domain-images.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "common/io/lock.h"
#include "common/io/stamp.h"
#include "tests/unit/domain-fixture.h"

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

    fixture_run(fixture, stories[row].story);
    g_assert_true(fixture_has_journal(fixture));
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "ab", stories[row].want);
    fixture_qemu_img(fixture, "check -q", "a");
    fixture_qemu_img(fixture, "check -q", "b");
    fixture_replay(fixture, TRUE); /* without a journal there is nothing to do */
    fixture_expect(fixture, "ab", stories[row].want);
}

/* The journal comes back after all was written, as after a crash before its removal was on disk. */
static void
test_twice(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = fixture_journal(fixture);
    g_autofree char *journal = NULL;

    fixture_run(fixture, "start +a +b >a +c");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    fixture_replay(fixture, TRUE);
    g_autofree char *a = fixture_bytes(fixture, "a");
    g_autofree char *b = fixture_bytes(fixture, "b");
    g_assert_true(g_file_set_contents(path, journal, -1, NULL));
    fixture_replay(fixture, TRUE);
    g_autofree char *a_again = fixture_bytes(fixture, "a");
    g_autofree char *b_again = fixture_bytes(fixture, "b");
    g_assert_cmpstr(a, ==, a_again);
    g_assert_cmpstr(b, ==, b_again);
    fixture_expect(fixture, "ab", "a<- b<a c<a >c!>c!");
}

/* The second run goes on where the first one ended. */
static void
test_runs(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +a");
    fixture_replay(fixture, TRUE);
    fixture_run(fixture, "start +b >a");
    fixture_replay(fixture, TRUE);
    fixture_run(fixture, "start +c");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "a<- b<a c<a >c!>c!");
}

/* After a crash of the host others may have written before the replay: nothing is sealed. */
static void
test_not_closed(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +a +b");
    fixture_replay(fixture, FALSE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "ab", "a<- b<a >b>b");
    fixture_run(fixture, "start +c +d");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "a<- b<a c<ib d<c >d!>d!");
}

/* A run that another program's write came before: where it began is only inferred. */
static void
test_broken_seal(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +a");
    fixture_replay(fixture, TRUE);
    fixture_qemu_img(fixture, "snapshot -c foreign", "b");
    fixture_qemu_img(fixture, "snapshot -d foreign", "b");
    fixture_run(fixture, "start +b +c");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "a<- b<ia c<b >c!>c!");
}

/* ---- images that changed meanwhile ---- */

static void
test_moved(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = fixture_path(fixture, "b");
    g_autofree char *copy = fixture_path(fixture, "copy");
    g_autofree char *line = g_strdup_printf("cp '%s' '%s'", b, copy);

    fixture_run(fixture, "start +x");
    g_assert_true(g_spawn_command_line_sync(line, NULL, NULL, NULL, NULL));
    g_assert_cmpint(g_rename(copy, b), ==, 0);
    g_autofree char *before = fixture_bytes(fixture, "b");
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "a", "x<- >x!");
    g_autofree char *after = fixture_bytes(fixture, "b");
    g_assert_cmpstr(before, ==, after);
}

/* Another image made under the same name during the run. */
static void
test_made_anew(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = fixture_path(fixture, "b");
    g_autofree char *old = fixture_path(fixture, "old");

    fixture_run(fixture, "start +x");
    g_assert_cmpint(g_rename(b, old), ==, 0); /* kept, so that its inode is not used again */
    fixture_qemu_img(fixture, "create -q -f qcow2 -o size=1M", "b");
    fixture_run(fixture, "+y");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "a", "x<- y<x >y!");
    fixture_expect(fixture, "b", "y<? >y!"); /* what came before it is another's past */
}

static void
test_vanished(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = fixture_path(fixture, "a");

    fixture_run(fixture, "start +x");
    g_assert_cmpint(g_unlink(a), ==, 0);
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "b", "x<- >x!");
}

static void
test_no_image_any_more(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = fixture_path(fixture, "a");
    int fd;

    fixture_run(fixture, "start +x");
    fd = g_open(a, O_WRONLY | O_TRUNC, 0); /* the inode stays */
    g_assert_cmpint(write(fd, "text", 4), ==, 4);
    close(fd);
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "b", "x<- >x!");
}

static void
test_truncated(Fixture *fixture, gconstpointer data)
{
    g_autofree char *a = fixture_path(fixture, "a");

    fixture_run(fixture, "start +x");
    g_assert_cmpint(truncate(a, 200), ==, 0);
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "b", "x<- >x!");
}

/* Offline somebody applied a snapshot before the journal was replayed: that is where it stands. */
static void
test_stamped_since(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"a", "b"};

    fixture_run(fixture, "start +a +b");
    fixture_replay(fixture, TRUE);
    fixture_run(fixture, "start +c [>a]");
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(SnapsetImage) image = fixture_read(fixture, names[i]);
        g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(image->ledger);
        g_autofree char *path = fixture_path(fixture, names[i]);
        g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);
        ledger->current = snapset_image_find_tag(image, "a")->identity;
        g_assert_true(snapset_stamp(fd, ledger, TRUE, NULL));
    }
    fixture_replay(fixture, FALSE);
    fixture_expect(fixture, "ab", "a<- b<a c<b >a!>a!");
}

/* ---- images in use ---- */

static void
test_in_use(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fixture_run(fixture, "start +x");
    g_autofree char *a = fixture_bytes(fixture, "a");
    SnapsetFd fd = fixture_lock(fixture, "b");
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, &error));
    g_assert_error(error, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED);
    g_assert_true(fixture_has_journal(fixture));
    g_autofree char *after = fixture_bytes(fixture, "a");
    g_assert_cmpstr(a, ==, after); /* all or none */
    close(fd);
    fixture_replay(fixture, FALSE);
    fixture_expect(fixture, "ab", "x<- >x>x");
}

/* The domain names the disk by a link: its own all the same. */
static void
test_in_use_by_another_name(Fixture *fixture, gconstpointer data)
{
    g_autofree char *b = fixture_path(fixture, "b");
    SnapsetDisk *disk = fixture->domain->disks->pdata[1];

    fixture_run(fixture, "start +x");
    g_free(disk->path);
    disk->path = fixture_path(fixture, "link");
    g_assert_cmpint(symlink(b, disk->path), ==, 0);
    SnapsetFd fd = fixture_lock(fixture, "b");
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, NULL));
    close(fd);
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "x<- >x!>x!");
}

/* An image that QEMU has not closed cleanly is recorded once that is put right. */
static void
test_dirty(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    fixture_put_byte(fixture, "b", 79, 1);
    g_assert_false(snapset_domain_replay(fixture->domain, TRUE, NULL, NULL));
    g_assert_true(fixture_has_journal(fixture));
    fixture_put_byte(fixture, "b", 79, 0);
    fixture_replay(fixture, FALSE);
    fixture_expect(fixture, "b", "x<- >x");
    g_assert_false(fixture_has_journal(fixture));
}

/* ---- records ---- */

/* Fill the image's record with what cannot be dropped from it. */
static void
fill_record(const Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
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
    g_autoptr(SnapsetImage) before = fixture_read(fixture, "b");
    fixture_run(fixture, "start +x");
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    g_autoptr(SnapsetImage) a = fixture_read(fixture, "a");
    g_autoptr(SnapsetImage) b = fixture_read(fixture, "b");
    g_assert_cmpuint(b->ledger->records->len, ==, before->ledger->records->len);
    g_assert_true(snapset_uuid_equal(&a->ledger->current, &b->ledger->current));
    g_assert_true(b->sealed);
}

static void
test_no_room_at_all(Fixture *fixture, gconstpointer data)
{
    fixture_qemu_img(fixture, "create -q -f qcow2 -o size=1M,cluster_size=512", "b");
    fixture_run(fixture, "start +x");
    g_autofree char *before = fixture_bytes(fixture, "b");
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    g_autofree char *after = fixture_bytes(fixture, "b");
    g_assert_cmpstr(before, ==, after);
    fixture_expect(fixture, "a", "x<- >x!");
}

/* A record beyond reading is for a person to repair, not to be written over. */
static void
test_damaged(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    fixture_replay(fixture, TRUE);
    fixture_run(fixture, "start +y");
    g_autoptr(SnapsetImage) image = fixture_read(fixture, "b");
    g_autofree char *path = fixture_path(fixture, "b");
    g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);
    for (guint i = 0; i < SNAPSET_LAYOUT_SLOTS; i++)
        g_assert_cmpint(pwrite(fd, "damage", 6,
                               image->header->sset->data_offset + SNAPSET_PAYLOAD_HEADER_SIZE +
                                   i * image->slot_size),
                        ==, 6);
    g_autofree char *before = fixture_bytes(fixture, "b");
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    g_autofree char *after = fixture_bytes(fixture, "b");
    g_assert_cmpstr(before, ==, after);
    fixture_expect(fixture, "a", "x<- y<x >y!");
}

/* The disks' dates differ, and that they are one snapshot was seen: none collides with another. */
static void
test_one_identity(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    g_autoptr(SnapsetImage) a = fixture_read(fixture, "a");
    g_autoptr(SnapsetImage) b = fixture_read(fixture, "b");
    g_assert_false(snapset_uuid_equal(&snapset_image_entry(a, 0)->identity,
                                      &snapset_image_entry(b, 0)->identity));
    fixture_replay(fixture, TRUE);
    g_autoptr(SnapsetImage) a_after = fixture_read(fixture, "a");
    g_autoptr(SnapsetImage) b_after = fixture_read(fixture, "b");
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
    fixture_qemu_img(fixture, "snapshot -c 2", "a"); /* ID 1 */
    fixture_qemu_img(fixture, "snapshot -c x", "a"); /* ID 2 */
    fixture_qemu_img(fixture, "snapshot -c x", "a"); /* ID 3 */
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
        fixture_run(fixture, steps[i]);
        g_autoptr(SnapsetLiveEvent) event = fixture_event(fixture, SNAPSET_LIVE_EVENT_START, "");
        g_assert_cmpint(((SnapsetLiveImage *)event->images->pdata[0])->certain, ==, certain[i]);
        fixture_replay(fixture, i == 1);
    }
    fixture_qemu_img(fixture, overlay, "b");
    g_autoptr(SnapsetLiveEvent) event = fixture_event(fixture, SNAPSET_LIVE_EVENT_START, "");
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
    g_autofree char *path = fixture_journal(fixture);

    fixture_run(fixture, "start");
    g_assert_true(g_file_set_contents(path, "\n('create', b'x', 1", -1, NULL));
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
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
    g_assert_true(snapset_live_journal_append(FIXTURE_UUID, event, NULL));
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
}

int
main(int argc, char **argv)
{
    static const FixtureTest tests[] = {
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
        {"dirty", test_dirty},
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
        g_test_add(path, Fixture, GSIZE_TO_POINTER(i), fixture_set_up, test_story,
                   fixture_tear_down);
    }
    fixture_add_tests("domain-images", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
