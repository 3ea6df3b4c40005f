/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are not local qcow2 files, as qemu-img info describes them. */
#pragma once

#include "common/core/image.h"
#include "common/io/qemu-img.h"

/*
 * The image called @filename out of what a finished snapset_qemu_describe() child answered. It has
 * no header and no ledger. NULL with SNAPSET_ERROR_FAILED.
 */
SnapsetImage *snapset_image_from_info(const SnapsetChild *child, const char *filename,
                                      GError **error);
