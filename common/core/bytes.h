/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checked access to big-endian numbers in foreign bytes.
 *
 * Every read says whether it stayed inside; no arithmetic on numbers that came from a file is
 * done without these or the GLib checked operations.
 */
#pragma once

#include <glib.h>

/* A borrowed run of bytes. */
typedef struct {
    const guint8 *data;
    gsize size;
} SnapsetBytes;

/* TRUE when @length bytes at @offset lie inside @bytes; never overflows. */
gboolean snapset_bytes_contain(SnapsetBytes bytes, guint64 offset, guint64 length);

/* The run of @length bytes at @offset; FALSE, and @ret_run untouched, when it is not inside. */
gboolean snapset_bytes_run(SnapsetBytes bytes, guint64 offset, guint64 length,
                           SnapsetBytes *ret_run) G_GNUC_WARN_UNUSED_RESULT;

/* Unchecked loads and stores for a place that was checked as a whole. */
guint16 snapset_load_be16(const guint8 *at);
guint32 snapset_load_be32(const guint8 *at);
guint64 snapset_load_be64(const guint8 *at);
void snapset_store_be16(guint8 *at, guint16 value);
void snapset_store_be32(guint8 *at, guint32 value);
void snapset_store_be64(guint8 *at, guint64 value);

/* @value rounded up to a multiple of @unit, a power of two; FALSE on overflow. */
gboolean snapset_round_up(guint64 value, guint64 unit,
                          guint64 *ret_rounded) G_GNUC_WARN_UNUSED_RESULT;

/* TRUE when the ranges [a, a + a_length) and [b, b + b_length) share a byte; never overflows. */
gboolean snapset_ranges_overlap(guint64 a, guint64 a_length, guint64 b, guint64 b_length);

/* TRUE when every byte is zero. */
gboolean snapset_bytes_are_zero(SnapsetBytes bytes);
