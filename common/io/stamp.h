/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the record into an image: the plans of common/core/stamp-plan.h carried out. */
#pragma once

#include "common/core/stamp-plan.h"
#include "common/io/file.h"

/* What becomes of an image's seal when it is stamped. */
typedef enum {
    SNAPSET_SEAL_KEEP,  /* nothing */
    SNAPSET_SEAL_SET,   /* it is set, where the header allows */
    SNAPSET_SEAL_BREAK, /* it is taken away, first of all */
} SnapsetSeal;

/*
 * Write @ledger into the image open read-write and locked as @fd; its sequence is set here. The
 * image is read again first, so that the plan fits what is there now. Set the seal only when nobody
 * can have written to the image since what the ledger says became true. On disk when TRUE is
 * returned.
 */
gboolean snapset_stamp(int fd, SnapsetLedger *ledger, SnapsetSeal seal, GError **error);

/* Would the image be sealed after that with SNAPSET_SEAL_SET? Nothing is written. */
gboolean snapset_stamp_would_seal(int fd, SnapsetLedger *ledger);

/* Take away the seal of the image open read-write and locked as @fd, if it has one. */
gboolean snapset_break_seal(int fd, GError **error);

/*
 * Set the seal of the image open read-write and locked as @fd, which has a record, and write
 * nothing else. On disk when TRUE is returned; a header that cannot be sealed is left as it is.
 */
gboolean snapset_seal(int fd, GError **error);
