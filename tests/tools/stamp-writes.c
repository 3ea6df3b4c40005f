/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stamp-writes IMAGE [--no-seal]: print the writes that would stamp IMAGE with a new record, one a
 * line as "OFFSET HEX", without making any. The record's current is a new random UUID.
 */
#include <stdio.h>
#include <string.h>

#include "common/core/stamp-plan.h"
#include "tests/unit/build-qcow2.h"

static SnapsetLedger *
next_ledger(const SnapsetImage *image)
{
    SnapsetLedger *ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    g_autofree char *text = g_uuid_string_random();

    if (!snapset_uuid_parse(text, &ledger->current))
        g_assert_not_reached();
    g_ptr_array_add(ledger->records, snapset_record_new(&ledger->current, 0));
    return ledger;
}

static gboolean
print_writes(const char *path, gboolean seal, GError **error)
{
    g_autofree char *data = NULL;
    gsize file_size = 0;

    if (!g_file_get_contents(path, &data, &file_size, error))
        return FALSE;
    SnapsetBytes bytes = {(guint8 *)data, file_size};
    g_autoptr(SnapsetImage) image = build_qcow2_image(bytes, file_size, error);
    if (image == NULL)
        return FALSE;
    g_autoptr(SnapsetLedger) ledger = next_ledger(image);
    bytes.size = MIN(file_size, MIN(image->header->cluster_size, SNAPSET_HEADER_BYTES));
    g_autoptr(SnapsetStampPlan) plan = snapset_stamp_plan_new(bytes, image, ledger, seal, error);
    if (plan == NULL)
        return FALSE;
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        gsize size = 0;
        const guint8 *at = g_bytes_get_data(write->bytes, &size);
        printf("%" G_GUINT64_FORMAT " ", write->offset);
        for (gsize j = 0; j < size; j++)
            printf("%02x", at[j]);
        putchar('\n');
    }
    return TRUE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gboolean seal = !(argc == 3 && strcmp(argv[2], "--no-seal") == 0);

    if (argc < 2 || argc > 3 || !print_writes(argv[1], seal, &error)) {
        fprintf(stderr, "stamp-writes: %s\n", error != NULL ? error->message : "expecting IMAGE");
        return 1;
    }
    return 0;
}
