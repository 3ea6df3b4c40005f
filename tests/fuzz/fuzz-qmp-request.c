/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command read twice: by the relay, which decides whether the judge is asked, and by the judge.
 * What the judge would take for a snapshot command may never pass the relay unasked.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/io/qmp-request.h"
#include "libvirt-hooks/guard/qmp-frame.h"
#include "libvirt-hooks/guard/watch.h"

/* Whether the relay would take all of @data for one message. */
static gboolean
is_message(const guint8 *data, gsize size)
{
    SnapsetFrame frame = {0};
    SnapsetFrameStep step = SNAPSET_FRAME_MORE;

    for (gsize i = 0; i < size && step == SNAPSET_FRAME_MORE; i++) {
        step = snapset_frame_feed(&frame, data[i]);
        if (step == SNAPSET_FRAME_END)
            return i + 1 == size;
    }
    return FALSE;
}

static gboolean
are_equal(GPtrArray *a, GPtrArray *b)
{
    gboolean equal = a->len == b->len;

    for (guint i = 0; equal && i < a->len; i++)
        equal = strcmp(a->pdata[i], b->pdata[i]) == 0;
    return equal;
}

static gboolean
is_equal(const SnapsetLiveRequest *a, const SnapsetLiveRequest *b)
{
    return a->kind == b->kind && g_strcmp0(a->tag, b->tag) == 0 && g_strcmp0(a->id, b->id) == 0 &&
           a->covers_all == b->covers_all && a->in_transaction == b->in_transaction &&
           a->is_mixed == b->is_mixed && a->is_malformed == b->is_malformed &&
           are_equal(a->nodes, b->nodes) && are_equal(a->overlays, b->overlays) &&
           g_strcmp0(a->below, b->below) == 0 && g_strcmp0(a->path, b->path) == 0 &&
           a->has_qcow2 == b->has_qcow2;
}

/* Must the relay ask, or have recorded, what the judge makes of a command? */
static gboolean
must_be_watched(const SnapsetLiveRequest *request)
{
    switch (request->kind) {
    case SNAPSET_LIVE_NONE:
        return request->is_malformed;
    case SNAPSET_LIVE_ADD_NODE: /* of these it leaves out what a guest cannot write to */
        return FALSE;
    default:
        return TRUE;
    }
}

/* Whether a string in it may be no text: QEMU makes an error of that, and JSON-GLib what it likes.
 */
static gboolean
is_doubtful(SnapsetSpan command)
{
    g_autofree char *lower = g_ascii_strdown(command.at, (gssize)command.length);

    return !g_utf8_validate(command.at, (gssize)command.length, NULL) ||
           strstr(lower, "\\ud") != NULL; /* half a surrogate pair, perhaps */
}

/* The same command in plain JSON is the same request. */
static void
compare_plain(SnapsetSpan command, const SnapsetLiveRequest *request)
{
    if (is_doubtful(command))
        return;
    gsize room = 6 * command.length + 16;
    g_autofree char *plain = g_malloc(room);
    gsize length = snapset_read_copy(command, plain, room);
    g_autoptr(SnapsetLiveRequest) again = snapset_qmp_request_parse(plain, length, NULL);

    g_assert((request == NULL) == (again == NULL));
    g_assert(request == NULL || is_equal(request, again));
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    SnapsetSpan command = {(const char *)data, size};
    g_autoptr(GError) error = NULL;
    unsigned flags = 0;

    if (!is_message(data, size)) /* never reaches the judge */
        return 0;
    SnapsetCommand kind = snapset_watch_classify(command, &flags);
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command.at, command.length, &error);
    g_assert((request == NULL) == (error != NULL));
    if (request != NULL && must_be_watched(request))
        g_assert(kind == SNAPSET_COMMAND_WATCHED || kind == SNAPSET_COMMAND_BROKEN);
    compare_plain(command, request);
    return 0;
}
