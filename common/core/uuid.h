/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs (RFC 9562) as values: 16 bytes in network order. */
#pragma once

#include <glib.h>

#include "common/core/bytes.h"

#define SNAPSET_UUID_SIZE 16
#define SNAPSET_UUID_TEXT_SIZE 37 /* 36 characters and the terminating zero */
#define SNAPSET_UUID_SHORT_DIGITS 8
#define SNAPSET_UUID_PREFIX_MIN 4 /* the fewest digits accepted as a prefix */

typedef struct {
    guint8 bytes[SNAPSET_UUID_SIZE];
} SnapsetUuid;

G_STATIC_ASSERT(sizeof(SnapsetUuid) == SNAPSET_UUID_SIZE);

/* The nil UUID (RFC 9562, section 5.9): "none". */
extern const SnapsetUuid snapset_uuid_nil;

/* Comparisons. */
gboolean snapset_uuid_is_nil(const SnapsetUuid *uuid);
gboolean snapset_uuid_equal(const SnapsetUuid *a, const SnapsetUuid *b);

/* GHashFunc and GEqualFunc over SnapsetUuid *. */
guint snapset_uuid_hash(gconstpointer uuid);
gboolean snapset_uuid_equal_func(gconstpointer a, gconstpointer b);

/* A version 8 UUID (section 5.8) out of the first 16 bytes of @digest. */
SnapsetUuid snapset_uuid_from_digest(const guint8 digest[SNAPSET_UUID_SIZE]);

/* A version 4 UUID (section 5.4) out of 16 random bytes. */
SnapsetUuid snapset_uuid_from_random(const guint8 random[SNAPSET_UUID_SIZE]);

/*
 * A version 1 UUID (section 5.1) of the time @milliseconds since 1970, with a random node. Its
 * first digits are the low ones of the time, so they tell snapshots apart that follow each other.
 */
SnapsetUuid snapset_uuid_from_time(guint64 milliseconds, const guint8 random[SNAPSET_UUID_SIZE]);

/* The milliseconds since 1970 in a version 1 UUID; 0: it is of another version. */
guint64 snapset_uuid_time(const SnapsetUuid *uuid);

/* Write the 36 lower-case characters and a zero. */
void snapset_uuid_format(const SnapsetUuid *uuid, char text[SNAPSET_UUID_TEXT_SIZE]);

/* Write the first 8 digits, which is how people are shown an identity, and a zero. */
void snapset_uuid_format_short(const SnapsetUuid *uuid, char text[SNAPSET_UUID_SHORT_DIGITS + 1]);

/* Parse a whole UUID, in either case; FALSE when @text is not one. */
gboolean snapset_uuid_parse(const char *text, SnapsetUuid *ret_uuid) G_GNUC_WARN_UNUSED_RESULT;

/* TRUE when @text may be a UUID or a prefix of one: 4 to 36 characters, dashes in place. */
gboolean snapset_uuid_prefix_is_valid(const char *text);

/* TRUE when the text form of @uuid begins with @prefix, in either case. */
gboolean snapset_uuid_has_prefix(const SnapsetUuid *uuid, const char *prefix);
