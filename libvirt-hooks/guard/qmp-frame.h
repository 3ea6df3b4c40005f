/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where one QMP message ends and the next begins, byte by byte, without memory of the bytes.
 *
 *     SnapsetFrame frame = {0};
 *     for each byte: switch (snapset_frame_feed (&frame, byte)) ...
 *
 * A message is one JSON object; blanks may stand between messages. The language accepted is JSON
 * with QEMU's additions ('single quotes', \') and without what QEMU's lexer refuses (control
 * characters, 0xfe and 0xff in strings, more than 1,024 levels). Every message accepted here is
 * also one message to every version of QEMU, whatever that makes of it: its tokens are good and
 * its brackets pair. What is not accepted must not reach QEMU, because where QEMU would go on
 * reading after it depends on the version.
 *
 * A zeroed frame stands between messages. It holds no pointers and may be copied.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    SNAPSET_FRAME_DEPTH = 1024,         /* levels; QEMU's limit too */
    SNAPSET_FRAME_TOKENS = 1024 * 1024, /* in a message; QEMU gives up at twice that */
    SNAPSET_FRAME_BYTES = 32 << 20,     /* of a message; QEMU gives up at twice that */
    SNAPSET_FRAME_CLOSING = SNAPSET_FRAME_DEPTH + 16,
};

/* The names of a message's own members that were seen, written without escapes. */
enum {
    SNAPSET_SEEN_RETURN = 1,
    SNAPSET_SEEN_ERROR = 2,
    SNAPSET_SEEN_EVENT = 4,
    SNAPSET_SEEN_GREETING = 8,
};

typedef enum {
    SNAPSET_FRAME_MORE,  /* inside a message */
    SNAPSET_FRAME_SPACE, /* a blank between messages */
    SNAPSET_FRAME_END,   /* the last byte of a message */
    SNAPSET_FRAME_BAD,   /* not acceptable; the frame is as it was before this byte */
} SnapsetFrameStep;

typedef struct {
    uint8_t lex;
    uint8_t number; /* where in a number */
    uint8_t want;   /* what may come next */
    uint8_t quote;  /* of the string being read */
    uint8_t hex;    /* digits of \u still owed */
    uint8_t is_key; /* the string being read is a member's name */
    uint8_t seen;   /* SNAPSET_SEEN_* of this message, still there after its end */
    uint8_t key_length;
    char key[8]; /* beginning of a member's name at level 1 */
    uint16_t depth;
    uint32_t tokens, bytes;
    uint8_t objects[SNAPSET_FRAME_DEPTH / 8]; /* a bit a level: object, not array */
} SnapsetFrame;

/* Take the next byte of the client's stream, and say what it does. */
SnapsetFrameStep snapset_frame_feed(SnapsetFrame *frame, unsigned char byte);

/* What ends the message that QEMU has read half of, as one that every QEMU answers with exactly one
 * error: the open token, two commas, all open brackets. Writes at most SNAPSET_FRAME_CLOSING bytes
 * and returns how many. */
size_t snapset_frame_closing(const SnapsetFrame *frame, char *ret_bytes);
