/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are not local qcow2 files, as qemu-img info describes them. */
#pragma once

#include "common/core/image.h"
#include "common/io/json.h"
#include "common/io/qemu-img.h"

/*
 * The image called @filename out of an "ImageInfo" (QEMU, qapi/block-core.json). It has no header
 * and no ledger, and its chain was not read.
 */
SnapsetImage *snapset_image_from_json(JsonObject *info, const char *filename);

/* The same out of what a finished snapset_qemu_describe() answered. NULL: SNAPSET_ERROR_FAILED. */
SnapsetImage *snapset_image_from_info(const SnapsetChild *child, const char *filename,
                                      GError **error);
