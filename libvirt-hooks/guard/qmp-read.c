/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See qmp-read.h. */
#include "libvirt-hooks/guard/qmp-read.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *at, *end;
} Cursor;

static bool
is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool
skip_blanks(Cursor *cursor)
{
    while (cursor->at < cursor->end && is_blank(*cursor->at))
        cursor->at++;
    return cursor->at < cursor->end;
}

/* Skip the string that begins here; false if its end is not there. */
static bool
skip_string(Cursor *cursor)
{
    char quote = *cursor->at++;

    while (cursor->at < cursor->end && *cursor->at != quote)
        cursor->at += *cursor->at == '\\' ? 2 : 1;
    if (cursor->at >= cursor->end)
        return false;
    cursor->at++;
    return true;
}

/* Skip a number or a word; only a byte after it tells that it is whole. */
static bool
skip_scalar(Cursor *cursor)
{
    while (cursor->at < cursor->end && !is_blank(*cursor->at) && !strchr(",]}:", *cursor->at))
        cursor->at++;
    return cursor->at < cursor->end;
}

static bool
skip_brackets(Cursor *cursor)
{
    unsigned depth = 0;

    while (cursor->at < cursor->end) {
        char byte = *cursor->at;

        if (byte == '"' || byte == '\'') {
            if (!skip_string(cursor))
                return false;
            continue;
        }
        cursor->at++;
        depth += byte == '{' || byte == '[';
        if ((byte == '}' || byte == ']') && --depth == 0)
            return true;
    }
    return false;
}

static bool
take_value(Cursor *cursor, SnapsetSpan *ret_value)
{
    bool whole;

    if (!skip_blanks(cursor))
        return false;
    ret_value->at = cursor->at;
    if (*cursor->at == '{' || *cursor->at == '[')
        whole = skip_brackets(cursor);
    else if (*cursor->at == '"' || *cursor->at == '\'')
        whole = skip_string(cursor);
    else
        whole = skip_scalar(cursor);
    ret_value->length = cursor->at - ret_value->at;
    return whole;
}

/* Behind @last, or inside the bracket that @value opens; false if it does not open that one. */
static bool
begin_inside(SnapsetSpan value, char bracket, SnapsetSpan last, Cursor *ret_cursor)
{
    if (value.length == 0 || *value.at != bracket)
        return false;
    ret_cursor->at = last.at ? last.at + last.length : value.at + 1;
    ret_cursor->end = value.at + value.length;
    return skip_blanks(ret_cursor);
}

bool
snapset_read_next(SnapsetSpan object, SnapsetSpan *name, SnapsetSpan *value)
{
    Cursor cursor;

    if (!begin_inside(object, '{', *value, &cursor) || *cursor.at == '}')
        return false;
    if (*cursor.at == ',')
        cursor.at++;
    if (!take_value(&cursor, name) || !skip_blanks(&cursor) || *cursor.at != ':')
        return false;
    cursor.at++;
    return take_value(&cursor, value);
}

unsigned
snapset_read_member(SnapsetSpan object, const char *name, SnapsetSpan *ret_value)
{
    SnapsetSpan key = {0}, value = {0};
    unsigned found = 0;

    while (snapset_read_next(object, &key, &value))
        if (snapset_read_is(key, name) && found++ == 0)
            *ret_value = value;
    return found;
}

bool
snapset_read_element(SnapsetSpan array, SnapsetSpan *element)
{
    Cursor cursor;

    if (!begin_inside(array, '[', *element, &cursor) || *cursor.at == ']')
        return false;
    if (*cursor.at == ',')
        cursor.at++;
    return take_value(&cursor, element);
}

static int
hex_value(const char *digits)
{
    int value = 0;

    for (int i = 0; i < 4; i++)
        value = value << 4 | (digits[i] <= '9' ? digits[i] - '0' : (digits[i] | 0x20) - 'a' + 10);
    return value;
}

/* The value of the escape at @at, and how many bytes it takes. */
static int
read_escape(const char *at, size_t *ret_length)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *name = strchr(names, at[1]);

    *ret_length = at[1] == 'u' ? 6 : 2;
    if (at[1] == 'u')
        return hex_value(at + 2);
    return name ? values[name - names] : at[1];
}

/* Like snapset_read_character(), but with the value of an escaped character beyond ASCII. */
static int
read_unit(SnapsetSpan value, size_t *position)
{
    const char *at = value.at + 1 + *position;
    size_t length = 1;
    int unit;

    if (at >= value.at + value.length - 1)
        return -1;
    unit = *at == '\\' ? read_escape(at, &length) : (unsigned char)*at;
    *position += length;
    return unit;
}

int
snapset_read_character(SnapsetSpan value, size_t *position)
{
    int unit = read_unit(value, position);

    /* NUL too: QEMU makes two bytes beyond ASCII of it */
    return unit > 0x7f || unit == 0 ? 0x80 : unit;
}

static bool
is_string(SnapsetSpan value)
{
    return value.length >= 2 && (*value.at == '"' || *value.at == '\'');
}

bool
snapset_read_is(SnapsetSpan value, const char *text)
{
    size_t position = 0;

    if (!is_string(value))
        return false;
    for (; *text; text++)
        if (snapset_read_character(value, &position) != *text)
            return false;
    return snapset_read_character(value, &position) == -1;
}

static bool
begins_with(SnapsetSpan value, size_t position, const char *text)
{
    for (; *text; text++)
        if (snapset_read_character(value, &position) != *text)
            return false;
    return true;
}

bool
snapset_read_contains(SnapsetSpan value, const char *text)
{
    size_t position = 0;

    if (!is_string(value))
        return false;
    do {
        if (begins_with(value, position, text))
            return true;
    } while (snapset_read_character(value, &position) != -1);
    return false;
}

bool
snapset_read_text(SnapsetSpan value, char *text, size_t room)
{
    size_t position = 0, length = 0;
    int character;

    if (!is_string(value))
        return false;
    while ((character = snapset_read_character(value, &position)) != -1) {
        if (character == 0x80 || length + 1 >= room)
            return false;
        text[length++] = character;
    }
    text[length] = '\0';
    return true;
}

typedef struct {
    char *bytes;
    size_t length, room;
} Output;

static void
put(Output *output, const char *bytes, size_t length)
{
    if (output->length + length <= output->room)
        memcpy(output->bytes + output->length, bytes, length);
    output->length += length;
}

/* The character that begins at @at in UTF-8, U+FFFD if none does. */
static uint32_t
read_utf8(const char *at, const char *end, size_t *ret_length)
{
    unsigned char first = *at;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    uint32_t character = first & (0xff >> (length + 1));

    *ret_length = 1;
    if (length == 0 || (size_t)(end - at) < length || first > 0xf4)
        return 0xfffd;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0xfffd;
        character = character << 6 | (at[i] & 0x3f);
    }
    *ret_length = length;
    return character;
}

static void
put_unicode(Output *output, uint32_t character)
{
    char escape[16];
    int length;

    if (character > 0xffff)
        length = snprintf(escape, sizeof escape, "\\u%04X\\u%04X",
                          0xd800 + ((character - 0x10000) >> 10), 0xdc00 + (character & 0x3ff));
    else
        length = snprintf(escape, sizeof escape, "\\u%04X", character);
    put(output, escape, length);
}

static void
put_string(Output *output, SnapsetSpan value)
{
    const char *at = value.at + 1, *end = value.at + value.length - 1;
    size_t length;

    put(output, "\"", 1);
    for (; at < end; at += length) {
        length = *at == '\\' ? 2 : 1;
        if (*at & 0x80)
            put_unicode(output, read_utf8(at, end, &length));
        else if (*at == 0x7f)
            put_unicode(output, 0x7f);
        else if (*at == '\\' && at[1] == '\'')
            put(output, "'", 1);
        else if (*at == '"')
            put(output, "\\\"", 2);
        else
            put(output, at, length);
    }
    put(output, "\"", 1);
}

size_t
snapset_read_copy(SnapsetSpan value, char *bytes, size_t room)
{
    Output output = {bytes, 0, room};
    Cursor cursor = {value.at, value.at + value.length};

    while (skip_blanks(&cursor)) {
        SnapsetSpan string = {cursor.at, 0};

        if (*cursor.at != '"' && *cursor.at != '\'') {
            put(&output, cursor.at++, 1);
            continue;
        }
        if (!skip_string(&cursor))
            return 0;
        string.length = cursor.at - string.at;
        put_string(&output, string);
    }
    return output.length <= room ? output.length : 0;
}
