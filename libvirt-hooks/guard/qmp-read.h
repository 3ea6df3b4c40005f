/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking things up in a QMP message that lies whole in memory, without building a tree of it.
 *
 * All functions expect bytes that snapset_frame_feed() accepted: one whole message, or its
 * beginning, in which what is not there yet is not found. Names are compared after decoding, as
 * QEMU does: "\u0073avevm" is savevm. Characters beyond ASCII compare equal to nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a message: one value, with its quotes or brackets. */
typedef struct {
    const char *at;
    size_t length;
} SnapsetSpan;

/* The next member of @object: set *name and *value to {0} before the first. False: there is none.
 */
bool snapset_read_next(SnapsetSpan object, SnapsetSpan *name, SnapsetSpan *value);

/* How often @object has a member @name; the first one's value goes to *ret_value. */
unsigned snapset_read_member(SnapsetSpan object, const char *name, SnapsetSpan *ret_value);

/* The next element of @array: set *element to {0} before the first. False: there is none. */
bool snapset_read_element(SnapsetSpan array, SnapsetSpan *element);

/* Whether @value is a string that says @text. */
bool snapset_read_is(SnapsetSpan value, const char *text);

/* Whether @value is a string with @text anywhere in it. */
bool snapset_read_contains(SnapsetSpan value, const char *text);

/* Walk through a decoded string: @value must be one, *position starts at 0. Returns the next
 * character, 0x80 for any beyond ASCII, or -1 at the end. */
int snapset_read_character(SnapsetSpan value, size_t *position);

/* Decode the string @value into @text with a final NUL. False: not a string, not ASCII, or more
 * than @room bytes with the NUL. */
bool snapset_read_text(SnapsetSpan value, char *text, size_t room);

/* Write @value as plain JSON on one line, in ASCII, without blanks: what QEMU would echo for an
 * "id". Returns the length, or 0 if it takes more than @room bytes. */
size_t snapset_read_copy(SnapsetSpan value, char *bytes, size_t room);
