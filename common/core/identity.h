/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Identity: when are two entries of two images the same moment?
 *
 * savevm and snapshot-save write the same tag, date and VM clock into every disk's entry, so a
 * digest of these (the derived identity) tells the moment without any write of ours. A record in
 * the image (common/core/record.h) wins over it.
 */
#pragma once

#include "common/core/uuid.h"

/* What of an entry goes into its derived identity. */
typedef struct {
    guint32 date_sec, date_nsec; /* as stored: seconds and nanoseconds since 1970 */
    guint64 vm_clock_nsec;
    const char *tag; /* bytes up to the first zero, which is all that QEMU sees of it */
} SnapsetMoment;

/* Entries made one after another by one operation are at most this far apart, in seconds. */
#define SNAPSET_UNPROVEN_SECONDS 60

/*
 * UUIDv8 of SHA-256("snapshot-set derived identity v1\n" || be32 date_sec || be32 date_nsec ||
 * be64 vm_clock_nsec || tag bytes).
 */
SnapsetUuid snapset_identity_derive(const SnapsetMoment *moment);

/* What a record stores to find its entry again: the first 8 bytes of the derived identity. */
guint64 snapset_identity_binding(const SnapsetUuid *derived);

/* How far apart in time a group of entries is; start with SNAPSET_SPREAD_INIT. */
typedef struct {
    gint64 date_min, date_max;   /* seconds */
    gint64 start_min, start_max; /* date minus VM clock: when the machine was started, seconds */
    gboolean any_clock;          /* some entry has a VM clock that is not 0 */
    gboolean any_vm_state;       /* some entry holds VM state */
} SnapsetSpread;

#define SNAPSET_SPREAD_INIT                                                                        \
    (SnapsetSpread)                                                                                \
    {                                                                                              \
        G_MAXINT64, G_MININT64, G_MAXINT64, G_MININT64, FALSE, FALSE                               \
    }

/* Take one more entry into the group. */
void snapset_spread_add(SnapsetSpread *spread, const SnapsetMoment *moment, guint64 vm_state_size);

/*
 * TRUE when all entries added, of differing derived identities, may yet have been made by one
 * operation: dates within 60 s, and either all VM clocks are 0 or date minus VM clock agrees within
 * 60 s. Never when an entry holds VM state: what saves VM state (savevm, snapshot-save) writes one
 * derived identity into all disks, so differing ones are different moments.
 */
gboolean snapset_spread_is_close(const SnapsetSpread *spread);
