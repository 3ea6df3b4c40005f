/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of qcow2 images for tests. */
#include "tests/unit/build-qcow2.h"

#include <string.h>

#define FOREIGN 0x464f5245 /* "FORE" */

static guint32
cluster_bits_of(const BuildQcow2 *what)
{
    return what->cluster_bits != 0 ? what->cluster_bits : 16;
}

guint64
build_qcow2_file_size(const BuildQcow2 *what)
{
    return (guint64)BUILD_CLUSTERS << cluster_bits_of(what);
}

static void
pad(GByteArray *out)
{
    static const guint8 zero[8];
    g_byte_array_append(out, zero, -out->len & 7);
}

static void
add_extension(GByteArray *out, guint32 type, const void *data, guint32 length)
{
    guint8 head[8];

    snapset_store_be32(head, type);
    snapset_store_be32(head + 4, length);
    g_byte_array_append(out, head, sizeof head);
    g_byte_array_append(out, data, length);
    pad(out);
}

static void
add_feature(GByteArray *table, guint8 kind, guint8 bit, const char *name)
{
    guint8 row[QCOW2_FEATURE_NAME_SIZE] = {kind, bit};
    memcpy(row + 2, name, strlen(name));
    g_byte_array_append(table, row, sizeof row);
}

static void
add_feature_table(GByteArray *out, BuildTable kind)
{
    g_autoptr(GByteArray) table = g_byte_array_new();

    add_feature(table, 0, 0, "dirty bit");
    add_feature(table, 0, 1, "corrupt bit");
    if (kind == BUILD_QEMU_TABLE) {
        add_feature(table, 0, 2, "external data file");
        add_feature(table, 0, 3, "compression type");
        add_feature(table, 0, 4, "extended L2 entries");
    }
    add_feature(table, 1, 0, "lazy refcounts");
    if (kind == BUILD_QEMU_TABLE) {
        add_feature(table, 2, 0, "bitmaps");
        add_feature(table, 2, 1, "raw external data");
    }
    add_extension(out, QCOW2_EXTENSION_FEATURE_TABLE, table->data, table->len);
}

static void
add_extensions(GByteArray *out, const BuildQcow2 *what)
{
    guint64 cluster_size = G_GUINT64_CONSTANT(1) << cluster_bits_of(what);

    if (what->backing_format != NULL)
        add_extension(out, QCOW2_EXTENSION_BACKING_FORMAT, what->backing_format,
                      strlen(what->backing_format));
    if (what->luks) {
        guint8 data[QCOW2_CRYPTO_EXTENSION_SIZE];
        snapset_store_be64(data, cluster_size);
        snapset_store_be64(data + 8, 8192);
        add_extension(out, QCOW2_EXTENSION_CRYPTO, data, sizeof data);
    }
    if (what->table != BUILD_NO_TABLE)
        add_feature_table(out, what->table);
    if (what->bitmaps) {
        guint8 data[QCOW2_BITMAPS_EXTENSION_SIZE] = {0};
        snapset_store_be32(data, 1);
        snapset_store_be64(data + 8, 32);
        snapset_store_be64(data + 16, cluster_size);
        add_extension(out, QCOW2_EXTENSION_BITMAPS, data, sizeof data);
    }
    if (what->foreign_length != 0) {
        g_autofree char *data = g_strnfill(what->foreign_length, 'f');
        add_extension(out, FOREIGN, data, what->foreign_length);
    }
    if (what->slot_size != 0) {
        g_autoptr(GBytes) payload = snapset_payload_new(what->ledger, what->slot_size, NULL);
        add_extension(out, QCOW2_EXTENSION_SSET, g_bytes_get_data(payload, NULL),
                      g_bytes_get_size(payload));
    }
    add_extension(out, QCOW2_EXTENSION_END, NULL, 0);
}

GByteArray *
build_qcow2(const BuildQcow2 *what)
{
    guint8 head[QCOW2_V3_HEADER_SIZE] = {0};
    guint32 bits = cluster_bits_of(what);
    guint64 cluster_size = G_GUINT64_CONSTANT(1) << bits;
    GByteArray *out = g_byte_array_new();

    snapset_store_be32(head, QCOW2_MAGIC);
    snapset_store_be32(head + QCOW2_AT_VERSION, what->v2 ? 2 : 3);
    snapset_store_be32(head + QCOW2_AT_CLUSTER_BITS, bits);
    snapset_store_be64(head + QCOW2_AT_SIZE, BUILD_VIRTUAL_SIZE);
    snapset_store_be32(head + QCOW2_AT_CRYPT_METHOD, what->luks ? QCOW2_CRYPT_METHOD_LUKS : 0);
    snapset_store_be32(head + QCOW2_AT_L1_SIZE, BUILD_VIRTUAL_SIZE / cluster_size / 64 + 1);
    snapset_store_be64(head + QCOW2_AT_L1_OFFSET, BUILD_L1_CLUSTER * cluster_size);
    snapset_store_be64(head + QCOW2_AT_REFTABLE_OFFSET, cluster_size);
    snapset_store_be32(head + QCOW2_AT_REFTABLE_CLUSTERS, 1);
    if (!what->v2) {
        snapset_store_be64(head + QCOW2_AT_AUTOCLEAR, what->bitmaps ? 1 : 0);
        snapset_store_be32(head + QCOW2_AT_REFCOUNT_ORDER, 4);
        snapset_store_be32(head + QCOW2_AT_HEADER_LENGTH, sizeof head);
    }
    g_byte_array_append(out, head, what->v2 ? QCOW2_V2_HEADER_SIZE : sizeof head);
    add_extensions(out, what);
    if (what->backing != NULL) {
        guint32 end = out->len;
        g_byte_array_set_size(out, end + what->backing_gap);
        memset(out->data + end, 0, what->backing_gap);
        snapset_store_be64(out->data + QCOW2_AT_BACKING_OFFSET, out->len);
        snapset_store_be32(out->data + QCOW2_AT_BACKING_LENGTH, strlen(what->backing));
        g_byte_array_append(out, (const guint8 *)what->backing, strlen(what->backing));
    }
    guint32 used = out->len;
    g_assert_cmpuint(used, <=, cluster_size);
    g_byte_array_set_size(out, cluster_size);
    memset(out->data + used, 0, cluster_size - used);
    return out;
}

void
build_patch(guint8 *bytes, const BuildPatch *patches, gsize count)
{
    for (gsize i = 0; i < count && patches[i].size != 0; i++) {
        guint64 value = GUINT64_TO_BE(patches[i].value);
        memcpy(bytes + patches[i].offset, (const guint8 *)&value + 8 - patches[i].size,
               patches[i].size);
    }
}

SnapsetImage *
build_qcow2_image(SnapsetBytes bytes, guint64 file_size, GError **error)
{
    gsize wanted = 0;
    g_autoptr(SnapsetImage) image = snapset_image_new("image", "qcow2");

    image->header = snapset_qcow2_parse_header(bytes, file_size, &wanted, error);
    if (image->header == NULL)
        return NULL;
    const SnapsetQcow2Header *header = image->header;
    image->virtual_size = header->virtual_size;
    image->is_local = TRUE;
    image->sealed = (header->autoclear & QCOW2_AUTOCLEAR_SEAL) != 0;
    if (header->backing_offset != 0)
        image->backing_filename =
            g_strndup((const char *)bytes.data + header->backing_offset, header->backing_length);
    if (header->sset_count > 1)
        image->ledger_state = SNAPSET_LEDGER_DAMAGED;
    else if (header->sset != NULL)
        image->ledger_state = snapset_ledger_read(
            (SnapsetBytes){bytes.data + header->sset->data_offset, header->sset->length},
            &image->ledger, &image->slot_size, &image->ledger_slot);
    return g_steal_pointer(&image);
}

void
build_snapshot(GByteArray *table, const char *id, const char *name, guint32 extra_size,
               guint64 number)
{
    guint8 head[QCOW2_SNAPSHOT_HEADER_SIZE];
    g_autofree guint8 *extra = g_malloc0(MAX(extra_size, QCOW2_SNAPSHOT_EXTRA_SIZE));

    pad(table);
    snapset_store_be64(head + QCOW2_SNAPSHOT_AT_L1_OFFSET, 0x10000 * (number + 1));
    snapset_store_be32(head + QCOW2_SNAPSHOT_AT_L1_SIZE, number + 2);
    snapset_store_be16(head + QCOW2_SNAPSHOT_AT_ID_LENGTH, strlen(id));
    snapset_store_be16(head + QCOW2_SNAPSHOT_AT_NAME_LENGTH, strlen(name));
    snapset_store_be32(head + QCOW2_SNAPSHOT_AT_DATE_SEC, number + 3);
    snapset_store_be32(head + QCOW2_SNAPSHOT_AT_DATE_NSEC, number + 4);
    snapset_store_be64(head + QCOW2_SNAPSHOT_AT_VM_CLOCK, number + 5);
    snapset_store_be32(head + QCOW2_SNAPSHOT_AT_VM_STATE_SIZE, number + 6);
    snapset_store_be32(head + QCOW2_SNAPSHOT_AT_EXTRA_SIZE, extra_size);
    snapset_store_be64(extra + QCOW2_SNAPSHOT_EXTRA_AT_VM_STATE_SIZE, number + 7);
    snapset_store_be64(extra + QCOW2_SNAPSHOT_EXTRA_AT_DISK_SIZE, number + 8);
    snapset_store_be64(extra + QCOW2_SNAPSHOT_EXTRA_AT_ICOUNT, G_MAXUINT64);
    g_byte_array_append(table, head, sizeof head);
    g_byte_array_append(table, extra, extra_size);
    g_byte_array_append(table, (const guint8 *)id, strlen(id));
    g_byte_array_append(table, (const guint8 *)name, strlen(name));
}
