/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a live journal says of disks that come and go while the machine runs. */
#include <string.h>
#include <unistd.h>

#include "common/io/image-read.h"
#include "common/io/live-journal.h"
#include "common/ops/domain-images.h"
#include "tests/unit/domain-fixture.h"

/* ---- disks that come and go ---- */

static void
test_plugged_in(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    fixture_qemu_img(fixture, "create -q -f qcow2 -o size=1M", "c");
    fixture_add_disk(fixture, "c");
    fixture_run(fixture, "+y");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "abc", "x/<- y<x >y!>y!>y!");
}

static void
unplug_b(Fixture *fixture)
{
    fixture_run(fixture, "start +x");
    g_ptr_array_remove_index(fixture->domain->disks, 1);
    fixture_run(fixture, "+y");
}

static void
test_unplugged(Fixture *fixture, gconstpointer data)
{
    unplug_b(fixture);
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "a", "x<- y<x >y!");
    fixture_expect(fixture, "b", "x<- >x"); /* who knows who had it since */
    fixture_expect(fixture, "ab", "x<- y/<x >y!>x");
}

/* It waits for that disk alone. */
static void
test_unplugged_and_in_use(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = fixture_journal(fixture);
    g_autofree char *journal = NULL;

    unplug_b(fixture);
    SnapsetFd fd = fixture_lock(fixture, "b");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "a", "x<- y<x >y!");
    fixture_expect(fixture, "b", "x<? >");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    g_assert_null(strstr(journal, "/a'"));
    fixture_run(fixture, "start +z");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "a", "x<- y<x z<y >z!");
    close(fd);
    fixture_replay(fixture, FALSE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "b", "x<- >x");
    fixture_expect(fixture, "a", "x<- y<x z<y >z!");
}

/* ---- nodes ---- */

/* QEMU opens the disk @name, which stands where it does now, through a node of that name. */
static void
open_node(const Fixture *fixture, const char *name)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    g_autofree char *path = fixture_path(fixture, name);

    g_ptr_array_add(images, snapset_image_read(path, path, SNAPSET_READ_NEWEST, NULL));
    for (int kind = SNAPSET_LIVE_EVENT_STORAGE_NODE; kind <= SNAPSET_LIVE_EVENT_FORMAT_NODE;
         kind++) {
        g_autoptr(SnapsetLiveEvent) event = snapset_domain_event(kind, name, images);
        g_assert_true(snapset_live_journal_append(FIXTURE_UUID, event, NULL));
    }
}

static void
close_node(const Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
    g_autoptr(GError) error = NULL;

    snapset_domain_replay_closed(fixture->domain, path, &error);
    g_assert_no_error(error);
}

/* A disk with a record of its own comes, takes part, goes, comes again, and stays. */
static void
test_nodes(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    fixture_qemu_img(fixture, "create -q -f qcow2 -o size=1M", "c");
    open_node(fixture, "c");
    fixture_add_disk(fixture, "c");
    fixture_run(fixture, "+y");
    g_ptr_array_remove_index(fixture->domain->disks, 2);
    close_node(fixture, "c");
    fixture_expect(fixture, "c", "y<- >y!");
    fixture_expect(fixture, "a", "x<? y<? >"); /* still running */
    open_node(fixture, "c");
    fixture_add_disk(fixture, "c");
    fixture_run(fixture, "+z");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "c", "y<- z<y >z!");
    fixture_expect(fixture, "abc", "x/<- y<x z<y >z!>z!>z!");
    g_assert_false(fixture_has_journal(fixture));
}

/* Of several disks that a snapshot was taken of, one goes: what it says of the others stays. */
static void
test_node_of_the_start(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    close_node(fixture, "a");
    fixture_expect(fixture, "a", "x<- >x!");
    g_ptr_array_remove_index(fixture->domain->disks, 0);
    fixture_run(fixture, "+y");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "b", "x<- y<x >y!");
    g_autoptr(SnapsetImage) b = fixture_read(fixture, "b");
    g_assert_cmpuint(snapset_image_entry(b, 0)->record->members, ==, 2);
    g_assert_cmpuint(snapset_image_entry(b, 1)->record->members, ==, 1);
}

/* One that is in use all the same, by another node for instance, can wait. */
static void
test_node_in_use(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    g_autofree char *before = fixture_bytes(fixture, "a");
    SnapsetFd fd = fixture_lock(fixture, "a");
    close_node(fixture, "a");
    close(fd);
    g_autofree char *after = fixture_bytes(fixture, "a");
    g_assert_cmpstr(after, ==, before);
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "x<- >x!>x!");
}

/* One that was only opened is sealed as it was, to the byte. */
static void
test_node_without_a_part(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    fixture_replay(fixture, TRUE);
    g_autofree char *before = fixture_bytes(fixture, "a");
    fixture_run(fixture, "start");
    open_node(fixture, "a");
    fixture_put_byte(fixture, "a", 88, 0); /* the seal */
    g_autofree char *opened = fixture_bytes(fixture, "a");
    g_assert_cmpstr(opened, !=, before);
    close_node(fixture, "a");
    g_autofree char *after = fixture_bytes(fixture, "a");
    g_assert_cmpstr(after, ==, before);
}

/* One that had no part in anything is not touched, nor locked. */
static void
test_unplugged_at_once(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start");
    g_ptr_array_remove_index(fixture->domain->disks, 1);
    fixture_run(fixture, "+x");
    g_autofree char *b = fixture_bytes(fixture, "b");
    fixture_replay(fixture, TRUE);
    g_autofree char *after = fixture_bytes(fixture, "b");
    g_assert_cmpstr(b, ==, after);
    fixture_expect(fixture, "a", "x<- >x!");
}

int
main(int argc, char **argv)
{
    static const FixtureTest tests[] = {
        {"plugged-in", test_plugged_in},
        {"unplugged", test_unplugged},
        {"unplugged-and-in-use", test_unplugged_and_in_use},
        {"unplugged-at-once", test_unplugged_at_once},
        {"nodes", test_nodes},
        {"node-of-the-start", test_node_of_the_start},
        {"node-in-use", test_node_in_use},
        {"node-without-a-part", test_node_without_a_part},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    fixture_add_tests("domain-plug", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
