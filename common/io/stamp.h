/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the record into an image: the plans of common/core/stamp-plan.h carried out. */
#pragma once

#include "common/core/stamp-plan.h"
#include "common/io/file.h"

/*
 * Write @ledger into the image open read-write and locked as @fd; its sequence is set here. The
 * image is read again first, so that the plan fits what is there now. @seal it only when nobody can
 * have written to the image since what the ledger says became true. On disk when TRUE is returned.
 */
gboolean snapset_stamp(int fd, SnapsetLedger *ledger, gboolean seal, GError **error);

/*
 * Set the seal of the image open read-write and locked as @fd, which has a record, and write
 * nothing else. On disk when TRUE is returned; a header that cannot be sealed is left as it is.
 */
gboolean snapset_seal(int fd, GError **error);
