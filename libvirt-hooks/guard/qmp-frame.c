/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See qmp-frame.h; the order of the states matters only in that zero is the state between messages.
 */
#include "libvirt-hooks/guard/qmp-frame.h"

#include <stdbool.h>
#include <string.h>

enum {
    LEX_PLAIN,
    LEX_STRING,
    LEX_ESCAPE,
    LEX_HEX,
    LEX_NUMBER,
    LEX_WORD
};
enum {
    WANT_VALUE,
    WANT_KEY,
    WANT_KEY_OR_END,
    WANT_VALUE_OR_END,
    WANT_COLON,
    WANT_COMMA_OR_END
};

/* Those after NUMBER_WHOLE_FROM may end the number. */
enum {
    NUMBER_MINUS,
    NUMBER_POINT,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_WHOLE_FROM,
    NUMBER_ZERO = NUMBER_WHOLE_FROM,
    NUMBER_INTEGER,
    NUMBER_FRACTION,
    NUMBER_EXPONENT,
};

static bool
is_blank(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool
is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool
is_hex(unsigned char byte)
{
    unsigned char lower = byte | 0x20;

    return is_digit(byte) || (lower >= 'a' && lower <= 'f');
}

static bool
in_object(const SnapsetFrame *frame)
{
    unsigned level = frame->depth - 1;

    return frame->objects[level / 8] >> level % 8 & 1;
}

static SnapsetFrameStep
token(SnapsetFrame *frame, int want)
{
    frame->want = want;
    frame->tokens++;
    return SNAPSET_FRAME_MORE;
}

static bool
wants_value(const SnapsetFrame *frame)
{
    return frame->want == WANT_VALUE || frame->want == WANT_VALUE_OR_END;
}

static SnapsetFrameStep
open_level(SnapsetFrame *frame, bool object)
{
    unsigned level = frame->depth;

    if (level == SNAPSET_FRAME_DEPTH || (level > 0 ? !wants_value(frame) : !object))
        return SNAPSET_FRAME_BAD;
    if (level == 0)
        frame->tokens = frame->bytes = frame->seen = 0;
    frame->depth++;
    frame->objects[level / 8] &= ~(1 << level % 8);
    frame->objects[level / 8] |= object << level % 8;
    return token(frame, object ? WANT_KEY_OR_END : WANT_VALUE_OR_END);
}

static SnapsetFrameStep
close_level(SnapsetFrame *frame, bool object)
{
    int empty = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;

    if (in_object(frame) != object || (frame->want != empty && frame->want != WANT_COMMA_OR_END))
        return SNAPSET_FRAME_BAD;
    frame->depth--;
    token(frame, frame->depth ? WANT_COMMA_OR_END : WANT_VALUE);
    return frame->depth ? SNAPSET_FRAME_MORE : SNAPSET_FRAME_END;
}

static SnapsetFrameStep
begin_string(SnapsetFrame *frame, unsigned char quote)
{
    bool key = frame->want == WANT_KEY || frame->want == WANT_KEY_OR_END;

    if (!key && !wants_value(frame))
        return SNAPSET_FRAME_BAD;
    frame->lex = LEX_STRING;
    frame->quote = quote;
    frame->is_key = key;
    frame->key_length = 0;
    return token(frame, key ? WANT_COLON : WANT_COMMA_OR_END);
}

static SnapsetFrameStep
begin_scalar(SnapsetFrame *frame, unsigned char byte)
{
    bool word = byte >= 'a' && byte <= 'z';

    if (!wants_value(frame) || (!word && byte != '-' && !is_digit(byte)))
        return SNAPSET_FRAME_BAD;
    frame->lex = word ? LEX_WORD : LEX_NUMBER;
    frame->number = byte == '-' ? NUMBER_MINUS : byte == '0' ? NUMBER_ZERO : NUMBER_INTEGER;
    return token(frame, WANT_COMMA_OR_END);
}

static SnapsetFrameStep
feed_plain(SnapsetFrame *frame, unsigned char byte)
{
    if (is_blank(byte))
        return frame->depth ? SNAPSET_FRAME_MORE : SNAPSET_FRAME_SPACE;
    if (byte == '{' || byte == '[')
        return open_level(frame, byte == '{');
    if (frame->depth == 0)
        return SNAPSET_FRAME_BAD;
    switch (byte) {
    case '}':
    case ']':
        return close_level(frame, byte == '}');
    case '"':
    case '\'':
        return begin_string(frame, byte);
    case ':':
        return frame->want == WANT_COLON ? token(frame, WANT_VALUE) : SNAPSET_FRAME_BAD;
    case ',':
        if (frame->want != WANT_COMMA_OR_END)
            return SNAPSET_FRAME_BAD;
        return token(frame, in_object(frame) ? WANT_KEY : WANT_VALUE);
    default:
        return begin_scalar(frame, byte);
    }
}

static void
note_key(SnapsetFrame *frame)
{
    static const struct {
        const char *name;
        uint8_t seen;
    } known[] = {
        {"return", SNAPSET_SEEN_RETURN},
        {"error", SNAPSET_SEEN_ERROR},
        {"event", SNAPSET_SEEN_EVENT},
        {"QMP", SNAPSET_SEEN_GREETING},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == frame->key_length &&
            memcmp(known[i].name, frame->key, frame->key_length) == 0)
            frame->seen |= known[i].seen;
}

static SnapsetFrameStep
feed_string(SnapsetFrame *frame, unsigned char byte)
{
    bool own_key = frame->is_key && frame->depth == 1;

    if (byte < 0x20 || byte > 0xfd)
        return SNAPSET_FRAME_BAD;
    if (byte == frame->quote) {
        frame->lex = LEX_PLAIN;
        if (own_key)
            note_key(frame);
    } else if (byte == '\\') {
        frame->lex = LEX_ESCAPE;
        frame->key_length = sizeof frame->key; /* longer than any known name */
    } else if (own_key && frame->key_length < sizeof frame->key) {
        frame->key[frame->key_length++] = byte;
    }
    return SNAPSET_FRAME_MORE;
}

static SnapsetFrameStep
feed_escape(SnapsetFrame *frame, unsigned char byte)
{
    if (byte == 'u')
        frame->hex = 4;
    else if (byte == 0 || !strchr("\"'\\/bfnrt", byte))
        return SNAPSET_FRAME_BAD;
    frame->lex = byte == 'u' ? LEX_HEX : LEX_STRING;
    return SNAPSET_FRAME_MORE;
}

static SnapsetFrameStep
feed_hex(SnapsetFrame *frame, unsigned char byte)
{
    if (!is_hex(byte))
        return SNAPSET_FRAME_BAD;
    if (--frame->hex == 0)
        frame->lex = LEX_STRING;
    return SNAPSET_FRAME_MORE;
}

/* The state after @byte, or -1 if it does not belong to the number. */
static int
number_next(int state, unsigned char byte)
{
    bool digit = is_digit(byte), e = byte == 'e' || byte == 'E';

    switch (state) {
    case NUMBER_MINUS:
        return !digit ? -1 : byte == '0' ? NUMBER_ZERO : NUMBER_INTEGER;
    case NUMBER_ZERO:
        return byte == '.' ? NUMBER_POINT : -1;
    case NUMBER_INTEGER:
        return digit ? state : byte == '.' ? NUMBER_POINT : e ? NUMBER_E : -1;
    case NUMBER_POINT:
        return digit ? NUMBER_FRACTION : -1;
    case NUMBER_FRACTION:
        return digit ? state : e ? NUMBER_E : -1;
    case NUMBER_E:
        return digit ? NUMBER_EXPONENT : byte == '+' || byte == '-' ? NUMBER_E_SIGN : -1;
    default:
        return digit ? NUMBER_EXPONENT : -1;
    }
}

/* A number or a word ends at the byte that is no longer part of it. */
static SnapsetFrameStep
feed_scalar(SnapsetFrame *frame, unsigned char byte)
{
    int next = frame->lex == LEX_NUMBER ? number_next(frame->number, byte) : -1;
    SnapsetFrameStep step;

    if (next >= 0) {
        frame->number = next;
        return SNAPSET_FRAME_MORE;
    }
    if (frame->lex == LEX_WORD && byte >= 'a' && byte <= 'z')
        return SNAPSET_FRAME_MORE;
    if (frame->lex == LEX_NUMBER && frame->number < NUMBER_WHOLE_FROM)
        return SNAPSET_FRAME_BAD;
    step = feed_plain(frame, byte);
    if (step != SNAPSET_FRAME_BAD)
        frame->lex = LEX_PLAIN;
    return step;
}

SnapsetFrameStep
snapset_frame_feed(SnapsetFrame *frame, unsigned char byte)
{
    static SnapsetFrameStep (*const feed[])(SnapsetFrame *, unsigned char) = {
        [LEX_PLAIN] = feed_plain, [LEX_STRING] = feed_string, [LEX_ESCAPE] = feed_escape,
        [LEX_HEX] = feed_hex,     [LEX_NUMBER] = feed_scalar, [LEX_WORD] = feed_scalar,
    };

    if (frame->depth > 0 &&
        (frame->bytes >= SNAPSET_FRAME_BYTES || frame->tokens >= SNAPSET_FRAME_TOKENS))
        return SNAPSET_FRAME_BAD;
    frame->bytes++;
    return feed[frame->lex](frame, byte);
}

size_t
snapset_frame_closing(const SnapsetFrame *frame, char *ret_bytes)
{
    size_t length = 0;

    if (frame->lex == LEX_ESCAPE)
        ret_bytes[length++] = 'n';
    for (unsigned i = 0; frame->lex == LEX_HEX && i < frame->hex; i++)
        ret_bytes[length++] = '0';
    if (frame->lex == LEX_STRING || frame->lex == LEX_ESCAPE || frame->lex == LEX_HEX)
        ret_bytes[length++] = frame->quote;
    if (frame->lex == LEX_NUMBER && frame->number < NUMBER_WHOLE_FROM)
        ret_bytes[length++] = '0';
    ret_bytes[length++] = ',';
    ret_bytes[length++] = ',';
    for (unsigned level = frame->depth; level-- > 0;)
        ret_bytes[length++] = frame->objects[level / 8] >> level % 8 & 1 ? '}' : ']';
    return length;
}
