/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as people read them: the way qemu-img snapshot -l prints them. */
#pragma once

#include <glib.h>

#define SNAPSET_DATE_TEXT_SIZE 32
#define SNAPSET_SIZE_TEXT_SIZE 32

/* "2026-11-21 19:50:21", local time, of seconds since 1970. */
void snapset_format_date(guint32 seconds, char text[SNAPSET_DATE_TEXT_SIZE]);

/* "00:02:21.048" of nanoseconds; hours have two digits or more. */
void snapset_format_clock(guint64 nanoseconds, char text[SNAPSET_DATE_TEXT_SIZE]);

/* "1.14 MiB" of bytes. */
void snapset_format_size(guint64 bytes, char text[SNAPSET_SIZE_TEXT_SIZE]);

/*
 * @text with control characters as \n, \t, \xNN, invalid UTF-8 as \xNN and the backslash doubled:
 * safe for a terminal, one line. Caller frees.
 */
char *snapset_format_escaped(const char *text);

/* As snapset_format_escaped(), in single quotes. Caller frees. */
char *snapset_format_quoted(const char *text);

/*
 * The selector "tag=..." of @tag, quoted for a shell; "id=UUID" literally for a tag that cannot be
 * typed. Caller frees.
 */
char *snapset_format_selector(const char *tag);

/* Replace every control byte of @text by '?', in place: no terminal sequence gets through. */
void snapset_format_disarm(char *text);

/* The strings of @names, each escaped, with ", " between. Caller frees. */
char *snapset_format_names(GPtrArray *names);
