/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backing chains of the images of a set. */
#pragma once

#include "common/ops/set.h"

/*
 * No image of the set, which is open for writing, may stand on another one: a machine writes to
 * the upper one alone, and the lower one's lock would keep QEMU out. FALSE with
 * SNAPSET_ERROR_USAGE.
 */
gboolean snapset_chain_check(const SnapsetSet *set, GError **error);
