/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the record into an image. */
#include "common/io/stamp.h"

#include "common/io/image-read.h"

static SnapsetImage *
read_image(int fd, GBytes **ret_header, SnapsetBytes *ret_bytes, GError **error)
{
    SnapsetImage *image = snapset_image_read_fd(fd, "", SNAPSET_READ_THOROUGH, ret_header, error);

    if (image != NULL)
        *ret_bytes =
            (SnapsetBytes){g_bytes_get_data(*ret_header, NULL), g_bytes_get_size(*ret_header)};
    return image;
}

static SnapsetStampPlan *
make_plan(int fd, SnapsetLedger *ledger, gboolean seal, GError **error)
{
    g_autoptr(GBytes) header = NULL;
    SnapsetBytes bytes;
    g_autoptr(SnapsetImage) image = read_image(fd, &header, &bytes, error);

    return image != NULL ? snapset_stamp_plan_new(bytes, image, ledger, seal, error) : NULL;
}

static gboolean
carry_out(int fd, const SnapsetStampPlan *plan, GError **error)
{
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        if (!snapset_pwrite_synced(fd, write->bytes, write->offset, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
snapset_stamp(int fd, SnapsetLedger *ledger, SnapsetSeal seal, GError **error)
{
    if (seal == SNAPSET_SEAL_BREAK && !snapset_break_seal(fd, error))
        return FALSE;
    g_autoptr(SnapsetStampPlan) plan = make_plan(fd, ledger, seal == SNAPSET_SEAL_SET, error);
    return plan != NULL && carry_out(fd, plan, error);
}

gboolean
snapset_stamp_would_seal(int fd, SnapsetLedger *ledger)
{
    g_autoptr(SnapsetStampPlan) plan = make_plan(fd, ledger, TRUE, NULL);
    return plan != NULL && plan->seals;
}

gboolean
snapset_seal(int fd, GError **error)
{
    g_autoptr(GBytes) header = NULL;
    SnapsetBytes bytes;
    g_autoptr(SnapsetImage) image = read_image(fd, &header, &bytes, error);

    if (image == NULL)
        return FALSE;
    g_autoptr(SnapsetStampPlan) plan = snapset_seal_plan_new(bytes, image, error);
    return plan != NULL && carry_out(fd, plan, error);
}

gboolean
snapset_break_seal(int fd, GError **error)
{
    g_autoptr(SnapsetImage) image = snapset_image_read_fd(fd, "", SNAPSET_READ_NEWEST, NULL, error);
    guint8 features[8];

    if (image == NULL || !image->sealed)
        return image != NULL;
    snapset_store_be64(features, image->header->autoclear & ~QCOW2_AUTOCLEAR_SEAL);
    g_autoptr(GBytes) bytes = g_bytes_new(features, sizeof features);
    return snapset_pwrite_synced(fd, bytes, QCOW2_AT_AUTOCLEAR, error);
}
