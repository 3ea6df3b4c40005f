/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stamping whatever header: it is refused, or each of the plan's writes leaves a header that reads
 * as before, and the last the new record.
 */
#include "common/core/qcow2-canonical.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/core/stamp-plan.h"
#include "tests/unit/build-image.h"
#include "tests/unit/build-qcow2.h"

#define FILE_SIZE (G_GUINT64_CONSTANT(1) << 40)

static SnapsetImage *
read_image(const guint8 *bytes, gsize size)
{
    return build_qcow2_image((SnapsetBytes){bytes, size}, FILE_SIZE, NULL);
}

static void
check_state(const SnapsetImage *before, const guint8 *bytes, gsize size)
{
    g_autoptr(SnapsetImage) image = read_image(bytes, size);

    g_assert(image != NULL);
    g_assert(g_strcmp0(image->backing_filename, before->backing_filename) == 0);
    g_assert(image->header->l1_offset == before->header->l1_offset);
    g_assert(image->header->snapshot_offset == before->header->snapshot_offset);
    g_assert(image->header->extensions->len >= before->header->extensions->len);
}

static void
check_plan(const SnapsetStampPlan *plan, const SnapsetImage *before, const SnapsetLedger *ledger,
           guint8 *bytes, gsize size)
{
    gsize limit = MIN(MIN(size, before->header->cluster_size), SNAPSET_HEADER_BYTES);

    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        gsize length = g_bytes_get_size(write->bytes);
        g_assert(write->offset <= limit && length <= limit - write->offset);
        memcpy(bytes + write->offset, g_bytes_get_data(write->bytes, NULL), length / 2);
        if (length > 8)
            check_state(before, bytes, size);
        memcpy(bytes + write->offset, g_bytes_get_data(write->bytes, NULL), length);
        check_state(before, bytes, size);
    }
    g_autoptr(SnapsetImage) after = read_image(bytes, size);
    g_assert(after->ledger != NULL && after->ledger->sequence == ledger->sequence);
    g_assert(after->ledger->records->len == ledger->records->len);
    g_assert(!after->sealed || before->sealed ||
             snapset_qcow2_header_is_canonical((SnapsetBytes){bytes, limit}, after->header));
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(SnapsetImage) image = read_image(data, size);
    static SnapsetLedger *model;

    if (model == NULL) {
        g_autoptr(GPtrArray) images = build_images("a: ~A ~B<A >B");
        model = snapset_ledger_copy(((SnapsetImage *)images->pdata[0])->ledger);
    }
    if (image == NULL)
        return 0;
    gsize limit = MIN(MIN(size, image->header->cluster_size), SNAPSET_HEADER_BYTES);
    g_autofree guint8 *bytes = g_memdup2(data, size);
    g_autofree guint8 *exact = g_memdup2(data, limit);
    g_autoptr(SnapsetLedger) ledger = snapset_ledger_copy(model);
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetStampPlan) plan =
        snapset_stamp_plan_new((SnapsetBytes){exact, limit}, image, ledger, TRUE, &error);

    g_assert((plan == NULL) == (error != NULL));
    if (plan != NULL)
        check_plan(plan, image, ledger, bytes, size);
    return 0;
}
