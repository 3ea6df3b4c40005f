/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's stream as the relay sees it: divided into messages, each looked into whole and half.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "libvirt-hooks/guard/qmp-frame.h"
#include "libvirt-hooks/guard/watch.h"

/* A copy of exactly these bytes, for the sanitizers. */
static SnapsetSpan
exact(const guint8 *data, gsize size)
{
    return (SnapsetSpan){g_memdup2(data, size), size};
}

/* Whether @bytes are one message. */
static gboolean
is_message(SnapsetSpan bytes)
{
    SnapsetFrame frame = {0};
    SnapsetFrameStep step = SNAPSET_FRAME_SPACE;

    for (gsize i = 0; i < bytes.length; i++) {
        if (step != SNAPSET_FRAME_MORE && i > 0)
            return FALSE;
        step = snapset_frame_feed(&frame, bytes.at[i]);
    }
    return step == SNAPSET_FRAME_END;
}

/* What is echoed of a value is one message if the value was, and the same when echoed again. */
static void
try_copy(SnapsetSpan value)
{
    gsize room = 6 * value.length + 16;
    g_autofree char *once = g_malloc(room);
    g_autofree char *twice = g_malloc(room);
    gsize length = snapset_read_copy(value, once, room);
    SnapsetSpan copy = {once, length};

    g_assert(length > 0 && length <= room);
    for (gsize i = 0; i < length; i++)
        g_assert(once[i] >= ' ' && once[i] <= '~');
    g_assert(!is_message(value) || is_message(copy));
    g_assert(snapset_read_copy(copy, twice, room) == length && memcmp(once, twice, length) == 0);
    g_assert(snapset_read_copy(copy, twice, length - 1) == 0);
}

static void
try_text(SnapsetSpan value)
{
    char text[64];

    if (snapset_read_text(value, text, sizeof text)) {
        g_assert(strlen(text) < sizeof text && snapset_read_is(value, text));
        g_assert(snapset_read_contains(value, text));
    }
    (void)snapset_read_contains(value, "savevm");
}

/* Look everything up that can be, down to the elements of arrays in arguments. */
static void
walk(SnapsetSpan message)
{
    SnapsetSpan name = {0}, value = {0};

    while (snapset_read_next(message, &name, &value)) {
        SnapsetSpan element = {0}, inner_name = {0}, inner_value = {0};
        try_text(name);
        try_text(value);
        try_copy(value);
        while (snapset_read_element(value, &element))
            try_text(element);
        while (snapset_read_next(value, &inner_name, &inner_value))
            try_text(inner_value);
    }
    (void)snapset_watch_enables_oob(message);
    (void)snapset_watch_is(message, "query-jobs");
}

/*
 * What passes unjudged because its beginning is no snapshot command is none as a whole: QEMU
 * refuses a second name.
 */
static void
try_message(SnapsetSpan whole, gsize cut)
{
    unsigned flags = 0, cut_flags = 0;
    SnapsetSpan beginning = exact((const guint8 *)whole.at, cut % whole.length);
    SnapsetCommand kind = snapset_watch_classify(whole, &flags);
    SnapsetCommand cut_kind = snapset_watch_classify(beginning, &cut_flags);

    g_assert((kind == SNAPSET_COMMAND_WATCHED) == (flags != 0));
    if (cut_kind == SNAPSET_COMMAND_PLAIN && !snapset_watch_is_open(beginning))
        g_assert(kind == SNAPSET_COMMAND_PLAIN || kind == SNAPSET_COMMAND_BROKEN);
    walk(whole);
    walk(beginning);
    try_copy(whole);
    g_free((char *)beginning.at);
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    SnapsetFrame frame = {0};
    gsize begin = 0;

    for (gsize i = 0; i < size; i++) {
        SnapsetFrame before = frame;
        gboolean between = frame.depth == 0;
        SnapsetFrameStep step = snapset_frame_feed(&frame, data[i]);
        if (step == SNAPSET_FRAME_BAD) {
            char closing[SNAPSET_FRAME_CLOSING];
            before.bytes = frame.bytes;
            g_assert(memcmp(&before, &frame, sizeof frame) == 0);
            g_assert(snapset_frame_closing(&frame, closing) <= sizeof closing);
            return 0;
        }
        g_assert((step == SNAPSET_FRAME_MORE) == (frame.depth > 0));
        g_assert((step == SNAPSET_FRAME_SPACE) == (between && frame.depth == 0));
        if (between)
            begin = i;
        if (step == SNAPSET_FRAME_END) {
            SnapsetSpan whole = exact(data + begin, i + 1 - begin);
            try_message(whole, size * 7);
            g_free((char *)whole.at);
        }
    }
    return 0;
}
