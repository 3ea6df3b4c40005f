/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The entry point of a fuzz target: take @data, do with it what a program would, and abort
 * (g_assert) when a promise is broken. Returns 0.
 */
#pragma once

#include <glib.h>

/* Called by libFuzzer, or by fuzz-main.c once for each file. */
int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);
