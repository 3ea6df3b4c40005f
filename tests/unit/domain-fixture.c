/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/domain-fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "common/core/catalog.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "tests/unit/scratch.h"

char *
fixture_path(const Fixture *fixture, const char *name)
{
    return g_build_filename(fixture->folder, name, NULL);
}

void
fixture_qemu_img(const Fixture *fixture, const char *arguments, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
    g_autofree char *line = g_strdup_printf("qemu-img %s '%s'", arguments, path);
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_command_line_sync(line, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_spawn_check_wait_status(status, &error);
    g_assert_no_error(error);
}

void
fixture_add_disk(Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
    snapset_domain_add_disk(fixture->domain, name, "qcow2", path);
}

void
fixture_set_up(Fixture *fixture, gconstpointer data)
{
    fixture->folder = scratch_new();
    g_setenv("SNAPSHOT_SET_STATE_DIR", fixture->folder, TRUE);
    fixture->domain = snapset_domain_new();
    fixture->domain->uuid = g_strdup(FIXTURE_UUID);
    for (const char *name = "ab"; *name != '\0'; name++) {
        char text[] = {*name, '\0'};
        fixture_qemu_img(fixture, "create -q -f qcow2 -o size=1M", text);
        fixture_add_disk(fixture, text);
    }
}

void
fixture_tear_down(Fixture *fixture, gconstpointer data)
{
    scratch_free(fixture->folder);
    snapset_domain_free(fixture->domain);
}

void
fixture_add_tests(const char *program, const FixtureTest *tests, gsize count)
{
    for (gsize i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("/%s/%s", program, tests[i].name);
        g_test_add(path, Fixture, NULL, fixture_set_up, tests[i].run, fixture_tear_down);
    }
}

/* ---- what happens ---- */

void
fixture_put_byte(const Fixture *fixture, const char *name, goffset offset, guint8 byte)
{
    g_autofree char *path = fixture_path(fixture, name);
    g_auto(SnapsetFd) fd = g_open(path, O_RDWR, 0);

    g_assert_cmpint(pwrite(fd, &byte, 1, offset), ==, 1);
}

SnapsetFd
fixture_lock(const Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
    SnapsetFd fd = g_open(path, O_RDWR | O_CLOEXEC, 0);

    g_assert_true(snapset_lock_image(fd, NULL));
    return fd;
}

SnapsetLiveEvent *
fixture_event(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(fixture->domain, notes);

    return snapset_domain_event(kind, tag, images);
}

static void
note(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag, gint64 seconds_ago)
{
    g_autoptr(SnapsetLiveEvent) event = fixture_event(fixture, kind, tag);
    g_autoptr(GError) error = NULL;

    event->time -= seconds_ago;
    snapset_live_journal_append(FIXTURE_UUID, event, &error);
    g_assert_no_error(error);
}

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
            fixture_qemu_img(fixture, arguments,
                             ((SnapsetDisk *)fixture->domain->disks->pdata[j])->target);
        if (!hidden)
            note(fixture, changes[i].kind, tag, 0);
    }
}

void
fixture_run(const Fixture *fixture, const char *story)
{
    g_auto(GStrv) words = g_strsplit(story, " ", -1);

    for (gsize i = 0; words[i] != NULL; i++)
        run_word(fixture, words[i]);
}

void
fixture_replay(const Fixture *fixture, gboolean closed)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(snapset_domain_replay(fixture->domain, closed, NULL, &error));
    g_assert_no_error(error);
}

/* ---- what came of it ---- */

char *
fixture_journal(const Fixture *fixture)
{
    return g_build_filename(fixture->folder, "domains", FIXTURE_UUID ".events", NULL);
}

gboolean
fixture_has_journal(const Fixture *fixture)
{
    g_autofree char *path = fixture_journal(fixture);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

SnapsetImage *
fixture_read(const Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
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
        g_autofree char *path = fixture_path(fixture, text);
        SnapsetImage *image = fixture_read(fixture, text);
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

void
fixture_expect(const Fixture *fixture, const char *names, const char *want)
{
    g_autofree char *got = state_of(fixture, names);
    g_assert_cmpstr(got, ==, want);
}

char *
fixture_bytes(const Fixture *fixture, const char *name)
{
    g_autofree char *path = fixture_path(fixture, name);
    char *bytes = NULL;
    gsize size = 0;

    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)bytes, size);
    g_free(bytes);
    return sum;
}
