/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a live journal says of disks whose chains grow and shrink while the machine runs. */
#include "common/ops/domain-chains.h"

#include "common/io/live-journal.h"
#include "tests/unit/domain-fixture.h"

/* Disk @index goes on in a new overlay. */
static void
make_overlay(Fixture *fixture, guint index, const char *name)
{
    SnapsetDisk *disk = fixture->domain->disks->pdata[index];
    g_autofree char *arguments = g_strdup_printf("create -q -f qcow2 -F qcow2 -b '%s'", disk->path);

    fixture_qemu_img(fixture, arguments, name);
    g_free(disk->path);
    disk->path = fixture_path(fixture, name);
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
        g_ptr_array_add(request->overlays, fixture_path(fixture, name));
    }
    /* what QEMU opens is there by then */
    g_autoptr(SnapsetDomain) before = fixture->domain;
    fixture->domain = snapset_domain_new();
    fixture->domain->uuid = g_strdup(FIXTURE_UUID);
    for (guint i = 0; i < before->disks->len; i++) {
        const SnapsetDisk *disk = before->disks->pdata[i];
        snapset_domain_add_disk(fixture->domain, disk->target, "qcow2", disk->path);
        char name[] = {names[i], '\0'};
        make_overlay(fixture, i, name);
    }
    event = snapset_domain_chain_event(before, request);
    g_assert_nonnull(event);
    g_assert_true(snapset_live_journal_append(FIXTURE_UUID, event, NULL));
}

static void
test_overlays(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    take_external(fixture, "cd");
    fixture_replay(fixture, TRUE);
    g_assert_false(fixture_has_journal(fixture));
    fixture_expect(fixture, "ab", "x<- >x!>x!"); /* frozen, and sealed as what they are now */
    fixture_expect(fixture, "cd", "x<- c<x >c!>c!");
    fixture_run(fixture, "start +y");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "cd", "x<- c<x y<c >y!>y!");
    fixture_expect(fixture, "ab", "x<- >x!>x!");
}

/* Taken on images that record nothing, and on a past that nobody knows. */
static void
test_overlays_of_roots(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start");
    take_external(fixture, "cd");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "cd", "c<- >c!>c!");
}

static void
test_overlays_of_unknown_past(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "[+x] start");
    take_external(fixture, "cd");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "cd", "x/<? c<? >c!>c!");
}

static void
test_two_overlays(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start");
    take_external(fixture, "cd");
    fixture_run(fixture, "+y");
    take_external(fixture, "ef");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ef", "c<- y<c e<y >e!>e!");
}

/* Replayed again, as after a crash: nothing is said twice. */
static void
test_overlays_twice(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    g_autofree char *path = fixture_journal(fixture);
    g_autofree char *journal = NULL;
    g_autoptr(GPtrArray) sums = g_ptr_array_new_with_free_func(g_free);

    fixture_run(fixture, "start +x");
    take_external(fixture, "cd");
    g_assert_true(g_file_get_contents(path, &journal, NULL, NULL));
    fixture_replay(fixture, TRUE);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_ptr_array_add(sums, fixture_bytes(fixture, names[i]));
    g_assert_true(g_file_set_contents(path, journal, -1, NULL));
    fixture_replay(fixture, TRUE);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *sum = fixture_bytes(fixture, names[i]);
        g_assert_cmpstr(sum, ==, sums->pdata[i]);
    }
}

/* Somebody writes to a base behind its overlay's back. */
static void
test_overlay_on_a_changed_base(Fixture *fixture, gconstpointer data)
{
    fixture_run(fixture, "start +x");
    take_external(fixture, "cd");
    fixture_replay(fixture, TRUE);
    fixture_qemu_img(fixture, "snapshot -c foreign", "b");
    g_autoptr(SnapsetImage) base = fixture_read(fixture, "b");
    g_assert_false(base->sealed);
    fixture_run(fixture, "start +y");
    fixture_replay(fixture, TRUE);
    g_autoptr(SnapsetImage) after = fixture_read(fixture, "b");
    g_assert_false(after->sealed); /* it is never called whole again */
}

/* What the disks were given since is committed into their bases, and they go on there. */
static void
test_committed(Fixture *fixture, gconstpointer data)
{
    static const char *const bases[] = {"a", "b"};

    fixture_run(fixture, "start +x");
    take_external(fixture, "cd");
    for (guint i = 0; i < fixture->domain->disks->len; i++) {
        SnapsetDisk *disk = fixture->domain->disks->pdata[i];
        g_autoptr(SnapsetLiveRequest) request = snapset_live_request_new(SNAPSET_LIVE_MOVE);
        g_autofree char *base = fixture_path(fixture, bases[i]);
        snapset_disk_add_backing(disk, "qcow2", base)->node = g_strdup("base");
        g_ptr_array_add(request->nodes, g_strdup("base"));
        g_autoptr(SnapsetLiveEvent) event = snapset_domain_chain_event(fixture->domain, request);
        g_assert_true(snapset_live_journal_append(FIXTURE_UUID, event, NULL));
        g_clear_pointer(&((SnapsetDisk *)disk->backing->pdata[0])->node, g_free);
        fixture_qemu_img(fixture, "commit -q", disk->target);
        g_free(disk->path);
        disk->path = g_steal_pointer(&base);
        g_free(disk->target);
        disk->target = g_strdup(bases[i]);
    }
    fixture_run(fixture, "+y");
    fixture_replay(fixture, TRUE);
    fixture_expect(fixture, "ab", "x<- y<x >y!>y!");
}

int
main(int argc, char **argv)
{
    static const FixtureTest tests[] = {
        {"overlays", test_overlays},
        {"overlays-of-roots", test_overlays_of_roots},
        {"overlays-of-unknown-past", test_overlays_of_unknown_past},
        {"two-overlays", test_two_overlays},
        {"overlays-twice", test_overlays_twice},
        {"overlay-on-a-changed-base", test_overlay_on_a_changed_base},
        {"committed", test_committed},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    fixture_add_tests("domain-chains", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
