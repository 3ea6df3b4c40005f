/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header QEMU itself would write. */
#include "common/core/qcow2-canonical.h"

#include <string.h>

/* block/qcow2.c, qcow2_update_header(): what 7.2 and 10.0 both write. */
static const struct {
    guint8 kind, bit;
    const char *name;
} qemu_features[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

static gboolean
feature_table_is_qemus(SnapsetBytes data)
{
    if (data.size != G_N_ELEMENTS(qemu_features) * QCOW2_FEATURE_NAME_SIZE)
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(qemu_features); i++) {
        guint8 row[QCOW2_FEATURE_NAME_SIZE] = {qemu_features[i].kind, qemu_features[i].bit};
        memcpy(row + 2, qemu_features[i].name, strlen(qemu_features[i].name));
        if (memcmp(data.data + i * sizeof row, row, sizeof row) != 0)
            return FALSE;
    }
    return TRUE;
}

/* The place of an extension in the order QEMU writes; 0 for one it would not write. */
static int
canonical_rank(guint32 type)
{
    static const guint32 order[] = {
        QCOW2_EXTENSION_BACKING_FORMAT, QCOW2_EXTENSION_CRYPTO, QCOW2_EXTENSION_FEATURE_TABLE,
        QCOW2_EXTENSION_BITMAPS,        QCOW2_EXTENSION_SSET,
    };
    for (gsize i = 0; i < G_N_ELEMENTS(order); i++) {
        if (order[i] == type)
            return (int)i + 1;
    }
    return 0;
}

static gboolean
extensions_are_canonical(SnapsetBytes bytes, const SnapsetQcow2Header *h)
{
    int last = 0;
    guint64 at = QCOW2_V3_HEADER_SIZE;
    gboolean has_table = FALSE;

    for (guint i = 0; i < h->extensions->len; i++) {
        const SnapsetQcow2Extension *extension =
            &g_array_index(h->extensions, SnapsetQcow2Extension, i);
        int rank = canonical_rank(extension->type);
        SnapsetBytes data;
        SnapsetBytes padding;
        guint64 padded = (extension->length + 7ull) & ~7ull;
        if (rank <= last || extension->data_offset != at + QCOW2_EXTENSION_HEADER_SIZE)
            return FALSE;
        if (!snapset_bytes_run(bytes, extension->data_offset, extension->length, &data) ||
            !snapset_bytes_run(bytes, extension->data_offset + extension->length,
                               padded - extension->length, &padding) ||
            !snapset_bytes_are_zero(padding))
            return FALSE;
        if (extension->type == QCOW2_EXTENSION_BITMAPS && !h->has_bitmaps)
            return FALSE; /* stale ones are dropped */
        if (extension->type == QCOW2_EXTENSION_FEATURE_TABLE) {
            has_table = TRUE;
            if (!feature_table_is_qemus(data))
                return FALSE;
        }
        last = rank;
        at = extension->data_offset + padded;
    }
    /* QEMU leaves the table out where clusters are small (block/qcow2.c). */
    return has_table == (h->cluster_size > 4096) && at == h->extensions_end;
}

gboolean
snapset_qcow2_header_is_canonical(SnapsetBytes bytes, const SnapsetQcow2Header *h)
{
    SnapsetBytes name, padding;
    guint64 name_at = (guint64)h->extensions_end + QCOW2_EXTENSION_HEADER_SIZE;
    guint64 end = name_at + h->backing_length;

    if (h->version != 3 || h->header_length != QCOW2_V3_HEADER_SIZE || h->sset_count > 1)
        return FALSE;
    if (!h->has_end_marker || h->end_marker_length != 0)
        return FALSE;
    if (h->backing_offset != 0 && h->backing_offset != name_at)
        return FALSE;
    if (h->backing_offset == 0 && h->backing_length != 0)
        return FALSE;
    /* QEMU counts sectors, and ends a name at a zero byte. */
    if (h->virtual_size % QCOW2_SECTOR_SIZE != 0 ||
        !snapset_bytes_run(bytes, name_at, h->backing_length, &name) ||
        memchr(name.data, '\0', name.size) != NULL)
        return FALSE;
    if (h->autoclear & ~(QCOW2_AUTOCLEAR_SEAL | QCOW2_AUTOCLEAR_BITMAPS))
        return FALSE;
    if (!snapset_bytes_run(bytes, QCOW2_AT_COMPRESSION_TYPE + 1, 7, &padding) ||
        !snapset_bytes_are_zero(padding))
        return FALSE;
    /* What QEMU would overwrite with zeros must be zero already, as far as has been read. */
    guint64 tail_end = MIN(bytes.size, h->cluster_size);
    if (end > tail_end || !snapset_bytes_run(bytes, end, tail_end - end, &padding) ||
        !snapset_bytes_are_zero(padding))
        return FALSE;
    return extensions_are_canonical(bytes, h);
}
