/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record's payload, and a slot whose checksum is right whatever else is wrong. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/core/record.h"

/* What was read can be written, and what was written is read as the same. */
static void
check_round_trip(const SnapsetLedger *ledger)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = snapset_ledger_encode(ledger, G_MAXUINT32, &error);

    g_assert(bytes != NULL);
    g_autoptr(SnapsetLedger) again = snapset_ledger_decode(
        (SnapsetBytes){g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes)});
    g_assert(again != NULL);
    g_autoptr(GBytes) same = snapset_ledger_encode(again, G_MAXUINT32, NULL);
    g_assert(g_bytes_equal(bytes, same));
    g_assert(again->records->len == ledger->records->len);
}

static void
try_payload(SnapsetBytes payload)
{
    SnapsetLedger *ledger = NULL;
    SnapsetLedger *newest = NULL;
    guint32 slot_size = 0;
    guint slot = 0;
    guint32 other_size = 0;
    guint other_slot = 0;
    SnapsetLedgerState state = snapset_ledger_read(payload, &ledger, &slot_size, &slot);
    gboolean sure = snapset_ledger_read_newest(payload, &newest, &other_size, &other_slot);

    g_assert((ledger != NULL) ==
             (state == SNAPSET_LEDGER_GOOD || state == SNAPSET_LEDGER_ONE_DAMAGED));
    g_assert(slot < SNAPSET_LAYOUT_SLOTS);
    if (sure) {
        g_assert(ledger != NULL && newest->sequence == ledger->sequence);
        g_assert(slot == other_slot && slot_size == other_size);
    }
    if (ledger != NULL)
        check_round_trip(ledger);
    snapset_ledger_free(ledger);
    snapset_ledger_free(newest);
}

/* As FORMAT.md says: the first 8 bytes of SHA-256 with the checksum itself zero. */
static void
sign(guint8 *slot, gsize used)
{
    guint8 digest[32];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    snapset_store_be32(slot + 8, used);
    memset(slot + 16, 0, 8);
    g_checksum_update(sum, slot, used);
    g_checksum_get_digest(sum, digest, &size);
    memcpy(slot + 16, digest, 8);
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    try_payload((SnapsetBytes){data, size});
    if (size < SNAPSET_SLOT_HEADER_SIZE || size > SNAPSET_SLOT_SIZE_MAX)
        return 0;
    g_autofree guint8 *slot = g_memdup2(data, size);
    sign(slot, size);
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_decode((SnapsetBytes){slot, size});
    if (ledger != NULL)
        check_round_trip(ledger);
    return 0;
}
