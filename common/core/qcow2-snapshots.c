/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The snapshot table, from bytes to values. */
#include "common/core/qcow2-snapshots.h"

#define malformed(error, ...) snapset_throw((error), SNAPSET_ERROR_MALFORMED, __VA_ARGS__)

static gboolean
want(gsize wanted, gsize *ret_wanted, GError **error)
{
    *ret_wanted = wanted;
    return snapset_throw(error, SNAPSET_ERROR_SHORT, "%" G_GSIZE_FORMAT " bytes are needed",
                         wanted);
}

/* Structures that QEMU reads happily on top of each other. */
static gboolean
check_overlap(const SnapsetQcow2Header *h, guint64 snapshot_bytes, GError **error)
{
    guint64 at = h->snapshot_offset;

    if (snapset_ranges_overlap(at, snapshot_bytes, 0, h->cluster_size))
        return malformed(error, "snapshot table overlaps the header");
    if (snapset_ranges_overlap(at, snapshot_bytes, h->l1_offset,
                               (guint64)h->l1_size * QCOW2_TABLE_ENTRY_SIZE))
        return malformed(error, "snapshot table overlaps the active L1 table");
    if (snapset_ranges_overlap(at, snapshot_bytes, h->reftable_offset,
                               h->reftable_clusters * h->cluster_size))
        return malformed(error, "snapshot table overlaps the reference count table");
    return TRUE;
}

gsize
snapset_qcow2_snapshot_table_guess(guint32 count)
{
    return MIN((gsize)count * 128, QCOW2_SNAPSHOT_TABLE_BYTES_MAX);
}

static void
load_extra(SnapsetBytes extra, const SnapsetQcow2Header *h, SnapsetQcow2Snapshot *snapshot)
{
    snapshot->disk_size = h->virtual_size;
    snapshot->incomplete = h->version >= 3 && extra.size < QCOW2_SNAPSHOT_EXTRA_MIN_V3;
    if (extra.size >= QCOW2_SNAPSHOT_EXTRA_AT_VM_STATE_SIZE + 8)
        snapshot->vm_state_size =
            snapset_load_be64(extra.data + QCOW2_SNAPSHOT_EXTRA_AT_VM_STATE_SIZE);
    if (extra.size >= QCOW2_SNAPSHOT_EXTRA_AT_DISK_SIZE + 8)
        snapshot->disk_size = snapset_load_be64(extra.data + QCOW2_SNAPSHOT_EXTRA_AT_DISK_SIZE);
}

/* Parse the entry at @at and set @ret_end behind it, without padding: QEMU does not pad the last.
 */
static gboolean
parse_entry(SnapsetBytes table, guint64 at, const SnapsetQcow2Header *h,
            SnapsetQcow2Snapshot *snapshot, guint64 *ret_end)
{
    SnapsetBytes head;

    *ret_end = at + QCOW2_SNAPSHOT_HEADER_SIZE;
    if (!snapset_bytes_run(table, at, QCOW2_SNAPSHOT_HEADER_SIZE, &head))
        return FALSE;
    guint32 extra_size = snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_EXTRA_SIZE);
    guint16 id_size = snapset_load_be16(head.data + QCOW2_SNAPSHOT_AT_ID_LENGTH);
    guint16 name_size = snapset_load_be16(head.data + QCOW2_SNAPSHOT_AT_NAME_LENGTH);
    SnapsetBytes extra = {NULL, 0};
    guint64 id_at = *ret_end + MIN(extra_size, QCOW2_SNAPSHOT_EXTRA_MAX + 1);

    *ret_end = id_at + id_size + name_size;
    if (extra_size > QCOW2_SNAPSHOT_EXTRA_MAX)
        return FALSE;
    if (!snapset_bytes_run(table, at + QCOW2_SNAPSHOT_HEADER_SIZE, extra_size, &extra) ||
        !snapset_bytes_run(table, id_at, id_size, &snapshot->id) ||
        !snapset_bytes_run(table, id_at + id_size, name_size, &snapshot->name))
        return FALSE;
    snapshot->l1_offset = snapset_load_be64(head.data + QCOW2_SNAPSHOT_AT_L1_OFFSET);
    snapshot->l1_size = snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_L1_SIZE);
    snapshot->date_sec = snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_DATE_SEC);
    snapshot->date_nsec = snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_DATE_NSEC);
    snapshot->vm_clock_nsec = snapset_load_be64(head.data + QCOW2_SNAPSHOT_AT_VM_CLOCK);
    snapshot->vm_state_size = snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_VM_STATE_SIZE);
    load_extra(extra, h, snapshot);
    return TRUE;
}

/* Why an entry that could not be parsed could not: broken, or not all of it read yet. */
static gboolean
entry_error(SnapsetBytes table, guint64 at, guint64 end, guint index, guint64 available,
            gsize *ret_wanted, GError **error)
{
    SnapsetBytes head;

    if (snapset_bytes_run(table, at, QCOW2_SNAPSHOT_HEADER_SIZE, &head) &&
        snapset_load_be32(head.data + QCOW2_SNAPSHOT_AT_EXTRA_SIZE) > QCOW2_SNAPSHOT_EXTRA_MAX)
        return malformed(error, "too much extra metadata in snapshot table entry %u", index);
    if (end > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
        return malformed(error, "snapshot table is too big");
    if (end > available)
        return malformed(error, "snapshot table entry %u runs past the end of the file", index);
    return want(end, ret_wanted, error);
}

GArray *
snapset_qcow2_parse_snapshots(SnapsetBytes table, const SnapsetQcow2Header *header,
                              guint64 file_size, gsize *ret_wanted, GError **error)
{
    g_autoptr(GArray) snapshots = g_array_new(FALSE, TRUE, sizeof(SnapsetQcow2Snapshot));
    guint64 available =
        header->snapshot_offset < file_size ? file_size - header->snapshot_offset : 0;
    guint64 at = 0;
    guint64 end = 0;

    for (guint i = 0; i < header->snapshot_count; i++) {
        SnapsetQcow2Snapshot snapshot = {0};
        if (!parse_entry(table, at, header, &snapshot, &end)) {
            entry_error(table, at, end, i, available, ret_wanted, error);
            return NULL;
        }
        g_array_append_val(snapshots, snapshot);
        at = (end + 7) & ~7ull;
    }
    if (end > QCOW2_SNAPSHOT_TABLE_BYTES_MAX) {
        malformed(error, "snapshot table is too big");
        return NULL;
    }
    if (!check_overlap(header, end, error))
        return NULL;
    return g_steal_pointer(&snapshots);
}
