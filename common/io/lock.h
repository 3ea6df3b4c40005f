/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's image locks, taken as a writer takes them.
 *
 * QEMU marks a permission n it uses by a lock on byte 100+n and one it does not share by a lock on
 * byte 200+n, both read locks of the open file description, and finds a conflict by testing for a
 * write lock there (docs/system/qemu-block-drivers.rst.inc, "Disk image file locking";
 * block/file-posix.c, raw_apply_lock_bytes).
 *
 * Beside these, one byte of our own keeps two snapshot-set operations apart; it stays locked while
 * QEMU's bytes are given up for the time that qemu-img works on the image.
 *
 * All locks belong to the open file description and go when it is closed.
 */
#pragma once

#include "common/core/error.h"

/*
 * Lock the image open read-write as @fd against every other reader and writer. FALSE with
 * SNAPSET_ERROR_LOCKED when someone has it open, or SNAPSET_ERROR_FAILED when the file system has
 * no such locks; nothing is then locked.
 */
gboolean snapset_lock_image(int fd, GError **error);

/* Give QEMU's bytes up, so that a qemu-img of ours can open the image; ours stays locked. */
void snapset_lock_yield(int fd);

/* Take QEMU's bytes again. FALSE as snapset_lock_image(). */
gboolean snapset_lock_resume(int fd, GError **error);

/*
 * Keep only other operations of ours off the image open read-write as @fd, whoever else has it
 * open: the part of snapset_lock_image() that QEMU does not see. As that.
 */
gboolean snapset_lock_operation(int fd, GError **error);

/*
 * Does anyone else, a QEMU say, have the file @path in use? FALSE also if it is not there, or if
 * nobody can tell.
 */
gboolean snapset_lock_is_held(const char *path);
