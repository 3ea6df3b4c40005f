/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading a local qcow2 image natively: no lock, no child process, four system calls and a close
 * on the common path.
 */
#pragma once

#include "common/core/image.h"
#include "common/io/file.h"

typedef enum {
    SNAPSET_READ_NEWEST,   /* of the record only the copy that counts, if it is whole */
    SNAPSET_READ_THOROUGH, /* both copies, so that damage to the other one is seen too */
} SnapsetReadDepth;

/*
 * Read the image open as @fd, calling it @filename. NULL with SNAPSET_ERROR_NOT_QCOW2,
 * SNAPSET_ERROR_MALFORMED, SNAPSET_ERROR_CHANGING (three times in a row it changed while it was
 * read) or SNAPSET_ERROR_FAILED. Messages do not name the image.
 *
 * *ret_header are the first bytes of the file, up to the smaller of the cluster size and
 * SNAPSET_HEADER_BYTES, for snapset_stamp_plan_new(); NULL: not wanted. Caller unrefs.
 */
SnapsetImage *snapset_image_read_fd(int fd, const char *filename, SnapsetReadDepth depth,
                                    GBytes **ret_header, GError **error);

/*
 * Does the active state hold nothing that no snapshot holds? Every snapshot shares all its L2
 * tables, so the first write after one was taken or applied puts an L2 table of its own into the
 * active L1 table (docs/interop/qcow2.rst, "Snapshots"); L1 tables are only compared. FALSE also
 * when that cannot be read.
 */
gboolean snapset_image_is_unwritten(int fd, const SnapsetImage *image);

/* Open @path for reading, without waiting for anything, and read it. */
SnapsetImage *snapset_image_read(const char *path, const char *filename, SnapsetReadDepth depth,
                                 GError **error);
