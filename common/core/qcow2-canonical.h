/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is a header written as QEMU itself would write it? */
#pragma once

#include "common/core/qcow2-parse.h"

/*
 * TRUE when QEMU 7.2 to 10.0 would write exactly this header: known extensions in QEMU's order,
 * its feature name table, ours the one unknown extension and last, the backing file name right
 * after the end marker, nothing else (FORMAT.md, "The seal"). @bytes start at the file's start
 * and must hold all of that. Only then may the seal be set.
 */
gboolean snapset_qcow2_header_is_canonical(SnapsetBytes bytes, const SnapsetQcow2Header *header);
