/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the record into an image. */
#include "common/io/stamp.h"

#include "common/io/image-read.h"

gboolean
snapset_stamp(int fd, SnapsetLedger *ledger, gboolean seal, GError **error)
{
    g_autoptr(GBytes) header = NULL;
    g_autoptr(SnapsetImage) image =
        snapset_image_read_fd(fd, "", SNAPSET_READ_THOROUGH, &header, error);

    if (image == NULL)
        return FALSE;
    SnapsetBytes bytes = {g_bytes_get_data(header, NULL), g_bytes_get_size(header)};
    g_autoptr(SnapsetStampPlan) plan = snapset_stamp_plan_new(bytes, image, ledger, seal, error);
    if (plan == NULL)
        return FALSE;
    for (guint i = 0; i < plan->writes->len; i++) {
        const SnapsetStampWrite *write = plan->writes->pdata[i];
        if (!snapset_pwrite_synced(fd, write->bytes, write->offset, error))
            return FALSE;
    }
    return TRUE;
}
