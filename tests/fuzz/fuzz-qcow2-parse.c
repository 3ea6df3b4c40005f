/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A qcow2 image: header, extensions, snapshot table and record, as common/io/image-read.c reads
 * them; and everything that is then said of it, as one of a set of two.
 */
#include "common/core/qcow2-canonical.h"
#include "tests/fuzz/fuzz.h"

#include "common/core/qcow2-parse.h"
#include "common/core/qcow2-snapshots.h"
#include "common/core/rules.h"

/* Whoever asks for more bytes must ask for some, and within the cluster. */
static SnapsetQcow2Header *
parse_header(SnapsetBytes bytes, guint64 file_size)
{
    g_autoptr(GError) error = NULL;
    gsize wanted = 0;
    SnapsetQcow2Header *header = snapset_qcow2_parse_header(bytes, file_size, &wanted, &error);

    g_assert((header == NULL) == (error != NULL));
    if (g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_SHORT)) {
        g_assert(wanted > bytes.size && wanted <= file_size);
        g_assert(wanted <= 1 << QCOW2_CLUSTER_BITS_MAX);
    }
    return header;
}

static GArray *
parse_snapshots(SnapsetBytes bytes, const SnapsetQcow2Header *header, guint64 file_size)
{
    g_autoptr(GError) error = NULL;
    gsize wanted = 0;
    SnapsetBytes table = {NULL, 0};

    if (header->snapshot_offset < bytes.size)
        table = (SnapsetBytes){bytes.data + header->snapshot_offset,
                               bytes.size - header->snapshot_offset};
    GArray *snapshots = snapset_qcow2_parse_snapshots(table, header, file_size, &wanted, &error);
    g_assert((snapshots == NULL) == (error != NULL));
    if (g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_SHORT))
        g_assert(wanted > table.size && wanted <= QCOW2_SNAPSHOT_TABLE_BYTES_MAX);
    return snapshots;
}

/* Takes over @header. */
static SnapsetImage *
image_of(SnapsetBytes bytes, SnapsetQcow2Header *header, GArray *snapshots, const char *name)
{
    SnapsetImage *image = snapset_image_new(name, "qcow2");
    SnapsetBytes payload;

    image->header = header;
    image->virtual_size = header->virtual_size;
    for (guint i = 0; i < snapshots->len; i++) {
        const SnapsetQcow2Snapshot *s = &g_array_index(snapshots, SnapsetQcow2Snapshot, i);
        SnapsetMoment moment = {s->date_sec, s->date_nsec, s->vm_clock_nsec, NULL};
        SnapsetEntry *entry = snapset_image_add_entry(image, s->id, s->name, &moment);
        entry->vm_state_size = s->vm_state_size;
        entry->disk_size = s->disk_size;
    }
    if (header->sset != NULL &&
        snapset_bytes_run(bytes, header->sset->data_offset, header->sset->length, &payload))
        image->ledger_state =
            snapset_ledger_read(payload, &image->ledger, &image->slot_size, &image->ledger_slot);
    snapset_image_finish(image);
    return image;
}

static void
judge(GPtrArray *images)
{
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);

    snapset_rules_check(catalog, report);
    snapset_rules_create(catalog, "new", report);
    snapset_rules_start(catalog, report);
    for (guint i = 0; i < MIN(catalog->snapshots->len, 16); i++) {
        snapset_rules_apply(catalog, snapset_catalog_snapshot(catalog, i), report);
        snapset_rules_delete(catalog, snapset_catalog_snapshot(catalog, i), report);
        snapset_rules_adopt(catalog, snapset_catalog_snapshot(catalog, i)->tag, report);
    }
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        g_assert(g_utf8_validate(violation->message, -1, NULL));
    }
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    SnapsetBytes bytes = {data, size};
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    static const guint64 file_sizes[] = {0, G_GUINT64_CONSTANT(1) << 40};

    for (gsize i = 0; i < G_N_ELEMENTS(file_sizes); i++) {
        guint64 file_size = MAX(file_sizes[i], size);
        SnapsetQcow2Header *header = parse_header(bytes, file_size);
        if (header == NULL)
            continue;
        snapset_qcow2_header_is_canonical(bytes, header);
        g_autoptr(GArray) snapshots = parse_snapshots(bytes, header, file_size);
        if (snapshots != NULL && snapshots->len <= 1000)
            g_ptr_array_add(images, image_of(bytes, header, snapshots, i == 0 ? "a" : "b"));
        else
            snapset_qcow2_header_free(header);
    }
    judge(images);
    return 0;
}
