/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs (RFC 9562) as values. */
#include "common/core/uuid.h"

#include <string.h>

const SnapsetUuid snapset_uuid_nil;

gboolean
snapset_uuid_is_nil(const SnapsetUuid *uuid)
{
    return snapset_uuid_equal(uuid, &snapset_uuid_nil);
}

gboolean
snapset_uuid_equal(const SnapsetUuid *a, const SnapsetUuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

guint
snapset_uuid_hash(gconstpointer uuid)
{
    /* Digest, random or low time bytes: the first four are a good hash. */
    return snapset_load_be32(((const SnapsetUuid *)uuid)->bytes);
}

gboolean
snapset_uuid_equal_func(gconstpointer a, gconstpointer b)
{
    return snapset_uuid_equal(a, b);
}

static SnapsetUuid
with_version(const guint8 *bytes, guint8 version)
{
    SnapsetUuid uuid;
    memcpy(uuid.bytes, bytes, sizeof uuid.bytes);
    uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | (version << 4);
    uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | 0x80; /* variant 10, section 4.1 */
    return uuid;
}

SnapsetUuid
snapset_uuid_from_digest(const guint8 digest[SNAPSET_UUID_SIZE])
{
    return with_version(digest, 8);
}

SnapsetUuid
snapset_uuid_from_random(const guint8 random[SNAPSET_UUID_SIZE])
{
    return with_version(random, 4);
}

/* RFC 9562, section 5.1: 100 ns since 15 October 1582, its low 32 bits first. */
#define TICKS_PER_MS 10000
#define TICKS_AT_1970 G_GUINT64_CONSTANT(0x01b21dd213814000)
#define TICKS_MASK G_GUINT64_CONSTANT(0x0fffffffffffffff)
#define NODE_AT 10
#define NODE_IS_RANDOM 0x01 /* section 6.10: the multicast bit of the node */

SnapsetUuid
snapset_uuid_from_time(guint64 milliseconds, const guint8 random[SNAPSET_UUID_SIZE])
{
    guint8 bytes[SNAPSET_UUID_SIZE];
    guint64 within = snapset_load_be16(random) % TICKS_PER_MS;
    guint64 ticks = (milliseconds * TICKS_PER_MS + within + TICKS_AT_1970) & TICKS_MASK;

    memcpy(bytes, random, sizeof bytes);
    snapset_store_be32(bytes, (guint32)ticks);
    snapset_store_be16(bytes + 4, (guint16)(ticks >> 32));
    snapset_store_be16(bytes + 6, (guint16)(ticks >> 48));
    bytes[NODE_AT] |= NODE_IS_RANDOM;
    return with_version(bytes, 1);
}

guint64
snapset_uuid_time(const SnapsetUuid *uuid)
{
    guint64 high = snapset_load_be16(uuid->bytes + 6);
    guint64 middle = snapset_load_be16(uuid->bytes + 4);
    guint64 ticks = (high & 0x0fff) << 48 | middle << 32 | snapset_load_be32(uuid->bytes);

    if (high >> 12 != 1 || ticks < TICKS_AT_1970)
        return 0;
    return (ticks - TICKS_AT_1970) / TICKS_PER_MS;
}

static gboolean
dash_before(gsize byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
snapset_uuid_format(const SnapsetUuid *uuid, char text[SNAPSET_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (gsize i = 0; i < sizeof uuid->bytes; i++) {
        if (dash_before(i))
            *text++ = '-';
        *text++ = digits[uuid->bytes[i] >> 4];
        *text++ = digits[uuid->bytes[i] & 0x0f];
    }
    *text = '\0';
}

void
snapset_uuid_format_short(const SnapsetUuid *uuid, char text[SNAPSET_UUID_SHORT_DIGITS + 1])
{
    char whole[SNAPSET_UUID_TEXT_SIZE];
    snapset_uuid_format(uuid, whole);
    g_strlcpy(text, whole, SNAPSET_UUID_SHORT_DIGITS + 1);
}

gboolean
snapset_uuid_prefix_is_valid(const char *text)
{
    gsize length = strlen(text);
    if (length < SNAPSET_UUID_PREFIX_MIN || length >= SNAPSET_UUID_TEXT_SIZE)
        return FALSE;
    for (gsize i = 0; i < length; i++) {
        gboolean dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !g_ascii_isxdigit(text[i]))
            return FALSE;
    }
    return TRUE;
}

gboolean
snapset_uuid_parse(const char *text, SnapsetUuid *ret_uuid)
{
    if (strlen(text) != SNAPSET_UUID_TEXT_SIZE - 1 || !snapset_uuid_prefix_is_valid(text))
        return FALSE;
    for (gsize i = 0; i < SNAPSET_UUID_SIZE; i++) {
        if (*text == '-')
            text++;
        ret_uuid->bytes[i] = g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]);
        text += 2;
    }
    return TRUE;
}

gboolean
snapset_uuid_has_prefix(const SnapsetUuid *uuid, const char *prefix)
{
    char text[SNAPSET_UUID_TEXT_SIZE];
    snapset_uuid_format(uuid, text);
    return g_ascii_strncasecmp(text, prefix, strlen(prefix)) == 0;
}
