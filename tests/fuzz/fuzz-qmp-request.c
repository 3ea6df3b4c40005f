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
is_equal(const SnapsetLiveRequest *a, const SnapsetLiveRequest *b)
{
    gboolean equal = a->kind == b->kind && g_strcmp0(a->tag, b->tag) == 0 &&
                     g_strcmp0(a->id, b->id) == 0 && a->covers_all == b->covers_all &&
                     a->in_transaction == b->in_transaction && a->is_mixed == b->is_mixed &&
                     a->is_malformed == b->is_malformed && a->nodes->len == b->nodes->len;

    for (guint i = 0; equal && i < a->nodes->len; i++)
        equal = strcmp(a->nodes->pdata[i], b->nodes->pdata[i]) == 0;
    return equal;
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
    g_assert(request == NULL || kind == SNAPSET_COMMAND_WATCHED || kind == SNAPSET_COMMAND_BROKEN);
    if (request != NULL && request->kind != SNAPSET_LIVE_NONE && !request->in_transaction)
        g_assert(request->tag != NULL || request->id != NULL || request->covers_all ||
                 request->kind == SNAPSET_LIVE_EXTERNAL);
    compare_plain(command, request);
    return 0;
}
