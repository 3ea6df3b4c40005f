/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A live journal left by a crash: what can be read of it reads the same when written anew. */
#include "tests/fuzz/fuzz.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io/live-journal.h"
#include "tests/unit/scratch.h"

#define UUID "c0ffee00-0123-4567-89ab-cdef01234567"
#define OTHER "c0ffee00-0123-4567-89ab-cdef01234568"

static char *state;
static char *file;

static void
remove_state(void)
{
    scratch_free(state);
    g_free(file);
}

static void
make_state(void)
{
    g_autofree char *folder = NULL;

    state = scratch_new();
    folder = g_build_filename(state, "domains", NULL);
    file = g_build_filename(folder, UUID ".events", NULL);
    g_assert(g_mkdir(folder, 0700) == 0);
    g_setenv("SNAPSHOT_SET_STATE_DIR", state, TRUE);
    atexit(remove_state);
}

static GPtrArray *
read_journal(const char *uuid)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *events = snapset_live_journal_read(uuid, &error);

    g_assert(events != NULL && error == NULL);
    return events;
}

static void
compare(const SnapsetLiveEvent *a, const SnapsetLiveEvent *b)
{
    g_assert(a->kind == b->kind && a->kind <= SNAPSET_LIVE_EVENT_MOVE);
    g_assert(a->time == b->time && strcmp(a->name, b->name) == 0);
    g_assert(a->images->len == b->images->len);
    for (guint i = 0; i < a->images->len; i++) {
        const SnapsetLiveImage *left = a->images->pdata[i];
        const SnapsetLiveImage *right = b->images->pdata[i];
        g_assert(strcmp(left->path, right->path) == 0 && left->inode == right->inode);
        g_assert(snapset_uuid_equal(&left->entry, &right->entry));
        g_assert(left->certain == right->certain);
    }
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    if (state == NULL)
        make_state();
    g_assert(g_file_set_contents_full(file, (const char *)data, size, G_FILE_SET_CONTENTS_NONE,
                                      0600, NULL));
    g_autoptr(GPtrArray) events = read_journal(UUID);
    for (guint i = 0; i < events->len; i++)
        g_assert(snapset_live_journal_append(OTHER, events->pdata[i], NULL));
    g_autoptr(GPtrArray) again = read_journal(OTHER);
    g_assert(again->len == events->len);
    for (guint i = 0; i < events->len; i++)
        compare(events->pdata[i], again->pdata[i]);
    g_assert(snapset_live_journal_remove(OTHER, NULL));
    return 0;
}
