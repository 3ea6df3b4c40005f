/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says what the guard's framer and its list of watched commands make of texts, for tests that
 * compare it with others. Standard input: texts, each preceded by its length in decimal and a line
 * end. Output, a line for each: messages, `bad` or `part` or `whole`, and a letter for the first
 * message (plain, watched, nameless, broken) if there is one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "libvirt-hooks/guard/qmp-frame.h"
#include "libvirt-hooks/guard/watch.h"

static void
probe(const char *text, size_t length)
{
    SnapsetFrame frame = {0};
    SnapsetSpan first = {0};
    unsigned ends = 0, flags;
    size_t at = 0, begin = 0;
    SnapsetFrameStep step = SNAPSET_FRAME_SPACE;

    for (; at < length && step != SNAPSET_FRAME_BAD; at++) {
        bool between = frame.depth == 0;

        step = snapset_frame_feed(&frame, text[at]);
        if (between)
            begin = at;
        if (step == SNAPSET_FRAME_END && ends++ == 0)
            first = (SnapsetSpan){text + begin, at + 1 - begin};
    }
    printf("%u %s %c\n", ends,
           step == SNAPSET_FRAME_BAD ? "bad"
           : frame.depth             ? "part"
                                     : "whole",
           first.at ? "PWNB"[snapset_watch_classify(first, &flags)] : '-');
}

int
main(void)
{
    size_t length;

    while (scanf("%zu", &length) == 1 && getchar() == '\n') {
        char *text = malloc(length + 1);

        if (!text || fread(text, 1, length, stdin) != length)
            return 1;
        probe(text, length);
        free(text);
    }
    return 0;
}
