/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 header, header extensions and snapshot table, from bytes to values. */
#include "common/core/qcow2-parse.h"

#include <string.h>

void
snapset_qcow2_header_free(SnapsetQcow2Header *header)
{
    if (header == NULL)
        return;
    g_array_unref(header->extensions);
    g_free(header);
}

#define malformed(error, ...) snapset_throw((error), SNAPSET_ERROR_MALFORMED, __VA_ARGS__)

gboolean
snapset_qcow2_has_magic(SnapsetBytes bytes)
{
    return bytes.size >= 4 && snapset_load_be32(bytes.data) == QCOW2_MAGIC;
}

static gboolean
want(gsize wanted, gsize *ret_wanted, GError **error)
{
    *ret_wanted = wanted;
    return snapset_throw(error, SNAPSET_ERROR_SHORT, "%" G_GSIZE_FORMAT " bytes are needed",
                         wanted);
}

/* ---- fixed fields ---- */

static gboolean
load_fields(SnapsetBytes bytes, SnapsetQcow2Header *h, GError **error)
{
    const guint8 *at = bytes.data;

    if (bytes.size < QCOW2_V2_HEADER_SIZE)
        return malformed(error, "qcow2 header too short");
    h->version = snapset_load_be32(at + QCOW2_AT_VERSION);
    if (h->version != 2 && h->version != 3)
        return malformed(error, "unsupported qcow2 version %u", h->version);
    h->backing_offset = snapset_load_be64(at + QCOW2_AT_BACKING_OFFSET);
    h->backing_length = snapset_load_be32(at + QCOW2_AT_BACKING_LENGTH);
    h->cluster_bits = snapset_load_be32(at + QCOW2_AT_CLUSTER_BITS);
    h->virtual_size = snapset_load_be64(at + QCOW2_AT_SIZE);
    h->crypt_method = snapset_load_be32(at + QCOW2_AT_CRYPT_METHOD);
    h->l1_size = snapset_load_be32(at + QCOW2_AT_L1_SIZE);
    h->l1_offset = snapset_load_be64(at + QCOW2_AT_L1_OFFSET);
    h->reftable_offset = snapset_load_be64(at + QCOW2_AT_REFTABLE_OFFSET);
    h->reftable_clusters = snapset_load_be32(at + QCOW2_AT_REFTABLE_CLUSTERS);
    h->snapshot_count = snapset_load_be32(at + QCOW2_AT_SNAPSHOT_COUNT);
    h->snapshot_offset = snapset_load_be64(at + QCOW2_AT_SNAPSHOT_OFFSET);
    h->refcount_order = QCOW2_REFCOUNT_ORDER_V2;
    h->header_length = QCOW2_V2_HEADER_SIZE;
    if (h->version == 2)
        return TRUE;

    if (bytes.size < QCOW2_V3_HEADER_SIZE_MIN)
        return malformed(error, "qcow2 header too short");
    h->incompatible = snapset_load_be64(at + QCOW2_AT_INCOMPATIBLE);
    h->compatible = snapset_load_be64(at + QCOW2_AT_COMPATIBLE);
    h->autoclear = snapset_load_be64(at + QCOW2_AT_AUTOCLEAR);
    h->refcount_order = snapset_load_be32(at + QCOW2_AT_REFCOUNT_ORDER);
    h->header_length = snapset_load_be32(at + QCOW2_AT_HEADER_LENGTH);
    if (h->header_length < QCOW2_V3_HEADER_SIZE_MIN)
        return malformed(error, "qcow2 header too short");
    if (h->header_length > QCOW2_AT_COMPRESSION_TYPE && bytes.size > QCOW2_AT_COMPRESSION_TYPE)
        h->compression_type = at[QCOW2_AT_COMPRESSION_TYPE];
    return TRUE;
}

/* ---- checks, each one of QEMU's own (block/qcow2.c, qcow2_do_open) ---- */

static gboolean
check_features(const SnapsetQcow2Header *h, GError **error)
{
    guint64 unknown = h->incompatible & ~QCOW2_INCOMPATIBLE_KNOWN;
    gboolean typed = (h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0;

    if (unknown != 0)
        return malformed(error, "unsupported incompatible qcow2 features 0x%" G_GINT64_MODIFIER "x",
                         unknown);
    if (h->refcount_order > QCOW2_REFCOUNT_ORDER_MAX)
        return malformed(error, "reference count entry width too large, may not exceed 64 bits");
    if (h->compression_type > QCOW2_COMPRESSION_TYPE_MAX)
        return malformed(error, "unknown compression type %u", h->compression_type);
    if (typed != (h->compression_type != 0))
        return malformed(error, "compression type %u and its feature bit disagree",
                         h->compression_type);
    if ((h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) && h->cluster_bits < 14)
        return malformed(error, "unsupported subcluster size %" G_GUINT64_FORMAT,
                         h->cluster_size / 32);
    if (h->crypt_method > QCOW2_CRYPT_METHOD_LUKS)
        return malformed(error, "unsupported encryption method %u", h->crypt_method);
    return TRUE;
}

/* As qcow2_validate_table(): @count entries, at most @bytes_max, starting on a cluster. */
static gboolean
check_table(const SnapsetQcow2Header *h, guint64 offset, guint64 count, guint64 entry_size,
            guint64 bytes_max, const char *what, GError **error)
{
    if (count > bytes_max / entry_size)
        return malformed(error, "%s too large", what);
    if (offset > (guint64)G_MAXINT64 - count * entry_size || offset % h->cluster_size != 0)
        return malformed(error, "%s offset invalid", what);
    return TRUE;
}

static gboolean
check_sizes(const SnapsetQcow2Header *h, guint64 file_size, GError **error)
{
    guint64 l2_entry = h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;
    guint64 covered = h->cluster_size * (h->cluster_size / l2_entry); /* at most 2^39 */
    guint64 l1_needed = h->virtual_size / covered + (h->virtual_size % covered != 0);

    if (h->virtual_size > G_MAXINT64)
        return malformed(error, "image is too big");
    if (l1_needed > G_MAXINT32)
        return malformed(error, "image is too big");
    if (h->reftable_clusters > QCOW2_REFTABLE_BYTES_MAX / h->cluster_size)
        return malformed(error, "reference count table too large");
    if (h->reftable_clusters == 0)
        return malformed(error, "image does not contain a reference count table");
    if (!check_table(h, h->reftable_offset,
                     h->reftable_clusters * (h->cluster_size / QCOW2_TABLE_ENTRY_SIZE),
                     QCOW2_TABLE_ENTRY_SIZE, QCOW2_REFTABLE_BYTES_MAX, "reference count table",
                     error))
        return FALSE;
    if (!check_table(h, h->snapshot_offset, h->snapshot_count, QCOW2_SNAPSHOT_HEADER_SIZE,
                     QCOW2_SNAPSHOTS_MAX * QCOW2_SNAPSHOT_HEADER_SIZE, "snapshot table", error))
        return FALSE;
    if (!check_table(h, h->l1_offset, h->l1_size, QCOW2_TABLE_ENTRY_SIZE, QCOW2_L1_BYTES_MAX,
                     "active L1 table", error))
        return FALSE;
    if (h->l1_size < l1_needed) /* an image of no size needs none */
        return malformed(error, "L1 table is too small");
    /* QEMU reads zeros past the end of the file, and so takes a truncated image for an empty one.
     */
    if (h->l1_offset + (guint64)h->l1_size * QCOW2_TABLE_ENTRY_SIZE > file_size)
        return malformed(error, "active L1 table runs past the end of the file: image truncated");
    if (h->reftable_offset >= file_size)
        return malformed(error, "reference count table lies past the end of the file: "
                                "image truncated");
    return TRUE;
}

/* Where the extension area must end: at the backing file name, or at the cluster's end. */
static guint64
extension_area_end(const SnapsetQcow2Header *h)
{
    return h->backing_offset != 0 ? h->backing_offset : h->cluster_size;
}

static gboolean
check_backing(const SnapsetQcow2Header *h, GError **error)
{
    if (h->backing_offset == 0)
        return TRUE;
    if (h->backing_offset > h->cluster_size)
        return malformed(error, "invalid backing file offset");
    if (h->backing_offset < h->header_length)
        return malformed(error, "backing file name lies inside the header");
    if (h->backing_length > QCOW2_BACKING_NAME_MAX ||
        h->backing_length > h->cluster_size - h->backing_offset)
        return malformed(error, "backing file name too long");
    return TRUE;
}

/* ---- extensions ---- */

static gboolean
check_crypto(SnapsetBytes data, const SnapsetQcow2Header *h, GError **error)
{
    if (h->crypt_method != QCOW2_CRYPT_METHOD_LUKS)
        return malformed(error, "encryption header extension without LUKS encryption");
    if (data.size != QCOW2_CRYPTO_EXTENSION_SIZE)
        return malformed(error,
                         "encryption header extension has %" G_GSIZE_FORMAT " bytes instead of 16",
                         data.size);
    if (snapset_load_be64(data.data) % h->cluster_size != 0)
        return malformed(error, "encryption header offset is not a multiple of the cluster size");
    return TRUE;
}

/* Section "Bitmaps extension": u32 count, u32 zero, u64 directory size, u64 directory offset. */
static gboolean
check_bitmaps(SnapsetBytes data, const SnapsetQcow2Header *h, GError **error)
{
    if (data.size != QCOW2_BITMAPS_EXTENSION_SIZE)
        return malformed(error, "bitmaps extension has an invalid length");
    /* Without the auto-clear bit the bitmaps are stale, and QEMU does not look into them. */
    if (!h->has_bitmaps)
        return TRUE;
    guint32 count = snapset_load_be32(data.data);
    if (count == 0 || count > QCOW2_BITMAPS_MAX)
        return malformed(error, "bitmaps extension names %u bitmaps", count);
    if (snapset_load_be32(data.data + 4) != 0)
        return malformed(error, "bitmaps extension's reserved field is not zero");
    if (snapset_load_be64(data.data + 8) > QCOW2_BITMAP_DIRECTORY_BYTES_MAX)
        return malformed(error, "bitmap directory is too large");
    if (snapset_load_be64(data.data + 16) % h->cluster_size != 0)
        return malformed(error, "bitmap directory offset invalid");
    return TRUE;
}

static gboolean
check_extension(SnapsetBytes bytes, const SnapsetQcow2Extension *extension, SnapsetQcow2Header *h,
                GError **error)
{
    SnapsetBytes data = {bytes.data + extension->data_offset, extension->length};

    switch (extension->type) {
    case QCOW2_EXTENSION_BACKING_FORMAT:
        if (extension->length > QCOW2_BACKING_FORMAT_MAX)
            return malformed(error, "backing format name of %u bytes is too long",
                             extension->length);
        return TRUE;
    case QCOW2_EXTENSION_CRYPTO:
        return check_crypto(data, h, error);
    case QCOW2_EXTENSION_BITMAPS:
        h->has_bitmaps = (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0;
        return check_bitmaps(data, h, error);
    case QCOW2_EXTENSION_SSET:
        h->sset_count++;
        return TRUE;
    default:
        return TRUE;
    }
}

static gboolean
parse_extensions(SnapsetBytes bytes, SnapsetQcow2Header *h, gsize *ret_wanted, GError **error)
{
    guint64 end = extension_area_end(h);
    guint64 at = h->header_length;

    while (at < end) {
        if (end - at < QCOW2_EXTENSION_HEADER_SIZE)
            return malformed(error, "header extension too large");
        if (!snapset_bytes_contain(bytes, at, QCOW2_EXTENSION_HEADER_SIZE))
            return want(at + QCOW2_EXTENSION_HEADER_SIZE, ret_wanted, error);
        SnapsetQcow2Extension extension = {
            .type = snapset_load_be32(bytes.data + at),
            .length = snapset_load_be32(bytes.data + at + 4),
            .data_offset = at + QCOW2_EXTENSION_HEADER_SIZE,
        };
        if (extension.length > end - extension.data_offset)
            return malformed(error, "header extension too large");
        if (extension.type == QCOW2_EXTENSION_END) {
            h->has_end_marker = TRUE;
            h->end_marker_length = extension.length;
            break;
        }
        if (!snapset_bytes_contain(bytes, extension.data_offset, extension.length))
            return want(extension.data_offset + extension.length, ret_wanted, error);
        if (!check_extension(bytes, &extension, h, error))
            return FALSE;
        g_array_append_val(h->extensions, extension);
        at = extension.data_offset + ((extension.length + 7ull) & ~7ull);
    }
    h->extensions_end = MIN(at, end);
    return TRUE;
}

static const SnapsetQcow2Extension *
find_extension(const SnapsetQcow2Header *h, guint32 type)
{
    for (guint i = 0; i < h->extensions->len; i++) {
        const SnapsetQcow2Extension *extension =
            &g_array_index(h->extensions, SnapsetQcow2Extension, i);
        if (extension->type == type)
            return extension;
    }
    return NULL;
}

SnapsetQcow2Header *
snapset_qcow2_parse_header(SnapsetBytes bytes, guint64 file_size, gsize *ret_wanted, GError **error)
{
    g_autoptr(SnapsetQcow2Header) h = g_new0(SnapsetQcow2Header, 1);
    h->extensions = g_array_new(FALSE, FALSE, sizeof(SnapsetQcow2Extension));

    if (!snapset_qcow2_has_magic(bytes)) {
        snapset_throw(error, SNAPSET_ERROR_NOT_QCOW2, "image is not in qcow2 format");
        return NULL;
    }
    if (!load_fields(bytes, h, error))
        return NULL;
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX) {
        malformed(error, "unsupported cluster size 2^%u", h->cluster_bits);
        return NULL;
    }
    h->cluster_size = G_GUINT64_CONSTANT(1) << h->cluster_bits;
    if (h->header_length > h->cluster_size) {
        malformed(error, "qcow2 header exceeds cluster size");
        return NULL;
    }
    if (!check_features(h, error) || !check_backing(h, error))
        return NULL;
    /* QEMU writes no padding: a small image may end inside its first cluster's empty part. */
    gsize wanted = 0;
    if (!parse_extensions(bytes, h, &wanted, error)) {
        if (wanted > file_size) {
            g_clear_error(error);
            malformed(error, "header extensions run past the end of the file");
        } else if (wanted != 0) {
            *ret_wanted = wanted;
        }
        return NULL;
    }
    h->sset = find_extension(h, QCOW2_EXTENSION_SSET);
    if (h->crypt_method == QCOW2_CRYPT_METHOD_LUKS &&
        find_extension(h, QCOW2_EXTENSION_CRYPTO) == NULL) {
        malformed(error, "missing encryption header extension");
        return NULL;
    }
    gsize needed = h->backing_offset != 0 ? h->backing_offset + h->backing_length : 0;
    if (needed > bytes.size) {
        if (needed > file_size)
            malformed(error, "backing file name runs past the end of the file");
        else
            want(needed, ret_wanted, error);
        return NULL;
    }
    if (!check_sizes(h, file_size, error))
        return NULL;
    return g_steal_pointer(&h);
}
