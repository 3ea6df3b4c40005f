/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain XML: whatever it says, its disks are found or it is none. */
#include "tests/fuzz/fuzz.h"

#include "common/io/domain-xml.h"

static void
try(const char *text, gsize size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain = snapset_domain_from_xml(text, size, &error);

    g_assert((domain == NULL) == (error != NULL));
    if (domain == NULL) {
        g_assert(g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_MALFORMED));
        return;
    }
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        g_assert(disk->target != NULL && disk->format != NULL);
        g_assert(disk->path == NULL || g_utf8_validate(disk->path, -1, NULL));
    }
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GString) status = g_string_new("<domstatus state='running'><domain><devices><disk>");

    try((const char *)data, size);
    g_string_append_len(status, (const char *)data, size);
    g_string_append(status, "</disk></devices></domain></domstatus>");
    try(status->str, status->len);
    return 0;
}
