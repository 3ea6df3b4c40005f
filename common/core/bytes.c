/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checked access to big-endian numbers in foreign bytes. */
#include "common/core/bytes.h"

#include <string.h>

gboolean
snapset_bytes_contain(SnapsetBytes bytes, guint64 offset, guint64 length)
{
    return offset <= bytes.size && length <= bytes.size - offset;
}

gboolean
snapset_bytes_run(SnapsetBytes bytes, guint64 offset, guint64 length, SnapsetBytes *ret_run)
{
    if (!snapset_bytes_contain(bytes, offset, length))
        return FALSE;
    *ret_run = (SnapsetBytes){bytes.data + offset, length};
    return TRUE;
}

guint16
snapset_load_be16(const guint8 *at)
{
    guint16 value;
    memcpy(&value, at, sizeof value);
    return GUINT16_FROM_BE(value);
}

guint32
snapset_load_be32(const guint8 *at)
{
    guint32 value;
    memcpy(&value, at, sizeof value);
    return GUINT32_FROM_BE(value);
}

guint64
snapset_load_be64(const guint8 *at)
{
    guint64 value;
    memcpy(&value, at, sizeof value);
    return GUINT64_FROM_BE(value);
}

void
snapset_store_be16(guint8 *at, guint16 value)
{
    value = GUINT16_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

void
snapset_store_be32(guint8 *at, guint32 value)
{
    value = GUINT32_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

void
snapset_store_be64(guint8 *at, guint64 value)
{
    value = GUINT64_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

gboolean
snapset_round_up(guint64 value, guint64 unit, guint64 *ret_rounded)
{
    guint64 sum;
    if (!g_uint64_checked_add(&sum, value, unit - 1))
        return FALSE;
    *ret_rounded = sum & ~(unit - 1);
    return TRUE;
}

gboolean
snapset_ranges_overlap(guint64 a, guint64 a_length, guint64 b, guint64 b_length)
{
    if (a_length == 0 || b_length == 0)
        return FALSE;
    return a <= b ? b - a < a_length : a - b < b_length;
}

gboolean
snapset_bytes_are_zero(SnapsetBytes bytes)
{
    for (gsize i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != 0)
            return FALSE;
    }
    return TRUE;
}
