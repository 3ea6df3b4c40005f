/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Identity: when are two entries of two images the same moment? */
#include "common/core/identity.h"

#include <string.h>

static const char derivation[] = "snapshot-set derived identity v1\n";

SnapsetUuid
snapset_identity_derive(const SnapsetMoment *moment)
{
    guint8 numbers[16];
    guint8 digest[32];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    snapset_store_be32(numbers, moment->date_sec);
    snapset_store_be32(numbers + 4, moment->date_nsec);
    snapset_store_be64(numbers + 8, moment->vm_clock_nsec);
    g_checksum_update(sum, (const guint8 *)derivation, sizeof derivation - 1);
    g_checksum_update(sum, numbers, sizeof numbers);
    g_checksum_update(sum, (const guint8 *)moment->tag, strlen(moment->tag));
    g_checksum_get_digest(sum, digest, &size);
    return snapset_uuid_from_digest(digest);
}

guint64
snapset_identity_binding(const SnapsetUuid *derived)
{
    return snapset_load_be64(derived->bytes);
}

void
snapset_spread_add(SnapsetSpread *spread, const SnapsetMoment *moment, guint64 vm_state_size)
{
    gint64 date = moment->date_sec;
    gint64 start = date - (gint64)(moment->vm_clock_nsec / 1000000000);

    spread->date_min = MIN(spread->date_min, date);
    spread->date_max = MAX(spread->date_max, date);
    spread->start_min = MIN(spread->start_min, start);
    spread->start_max = MAX(spread->start_max, start);
    spread->any_clock |= moment->vm_clock_nsec != 0;
    spread->any_vm_state |= vm_state_size != 0;
}

gboolean
snapset_spread_is_close(const SnapsetSpread *spread)
{
    if (spread->any_vm_state || spread->date_max - spread->date_min > SNAPSET_UNPROVEN_SECONDS)
        return FALSE;
    return !spread->any_clock || spread->start_max - spread->start_min <= SNAPSET_UNPROVEN_SECONDS;
}
