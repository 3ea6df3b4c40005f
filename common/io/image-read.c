/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a local qcow2 image natively. */
#include "common/io/image-read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/core/qcow2-snapshots.h"
#include "common/core/stamp-plan.h"

/* A file written to less long ago than this may have changed while it was read. */
#define SETTLED_SECONDS 10
#define TRIES 3

/* The bytes of one reading, and what they were found to be. */
typedef struct {
    int fd;
    SnapsetReadDepth depth;
    SnapsetFileStatus status;
    GByteArray *head;  /* from the start of the file */
    GByteArray *table; /* from @table_offset */
    guint64 table_offset;
} Reading;

static gboolean
fill(int fd, GByteArray *bytes, gsize size, guint64 offset, GError **error)
{
    gsize got = 0;

    g_byte_array_set_size(bytes, size);
    if (!snapset_pread(fd, bytes->data, size, offset, &got, error))
        return FALSE;
    g_byte_array_set_size(bytes, got);
    return TRUE;
}

/*
 * Fetch header, snapshot table and status, in this order: the status last, so that its time of
 * change covers the reading. Where the table is has to be taken from the header unchecked; the
 * parser, which wants the file's size, checks it afterwards.
 */
static gboolean
fetch(Reading *reading, GError **error)
{
    if (!fill(reading->fd, reading->head, SNAPSET_HEADER_BYTES, 0, error))
        return FALSE;
    SnapsetBytes head = {reading->head->data, reading->head->len};
    g_byte_array_set_size(reading->table, 0);
    if (snapset_qcow2_has_magic(head) && head.size >= QCOW2_V2_HEADER_SIZE) {
        guint32 count = snapset_load_be32(head.data + QCOW2_AT_SNAPSHOT_COUNT);
        reading->table_offset = snapset_load_be64(head.data + QCOW2_AT_SNAPSHOT_OFFSET);
        if (count > 0 && count <= QCOW2_SNAPSHOTS_MAX &&
            !fill(reading->fd, reading->table, snapset_qcow2_snapshot_table_guess(count),
                  reading->table_offset, error))
            return FALSE;
    }
    return snapset_file_status(reading->fd, &reading->status, error);
}

/* Parse the header, reading on where its extensions are larger than usual. */
static SnapsetQcow2Header *
parse_header(Reading *reading, GError **error)
{
    for (;;) {
        g_autoptr(GError) short_of = NULL;
        gsize wanted = 0;
        SnapsetBytes head = {reading->head->data, reading->head->len};
        SnapsetQcow2Header *header =
            snapset_qcow2_parse_header(head, reading->status.size, &wanted, &short_of);
        if (header != NULL)
            return header;
        if (!g_error_matches(short_of, SNAPSET_ERROR, SNAPSET_ERROR_SHORT) ||
            reading->head->len >= reading->status.size) {
            g_propagate_error(error, g_steal_pointer(&short_of));
            return NULL;
        }
        /* Wanted is more than there is and at most a cluster: this ends. */
        if (!fill(reading->fd, reading->head, wanted, 0, error))
            return NULL;
        if (reading->head->len < wanted) {
            snapset_throw(error, SNAPSET_ERROR_MALFORMED, "image truncated");
            return NULL;
        }
    }
}

static GArray *
parse_snapshots(Reading *reading, const SnapsetQcow2Header *header, GError **error)
{
    for (;;) {
        g_autoptr(GError) short_of = NULL;
        gsize wanted = 0;
        SnapsetBytes table = {reading->table->data, reading->table->len};
        GArray *snapshots =
            snapset_qcow2_parse_snapshots(table, header, reading->status.size, &wanted, &short_of);
        if (snapshots != NULL)
            return snapshots;
        if (!g_error_matches(short_of, SNAPSET_ERROR, SNAPSET_ERROR_SHORT)) {
            g_propagate_error(error, g_steal_pointer(&short_of));
            return NULL;
        }
        /* Doubling keeps the number of readings small; the parser bounds what is wanted. */
        gsize size =
            MIN(MAX(wanted, 2 * (gsize)reading->table->len), (gsize)QCOW2_SNAPSHOT_TABLE_BYTES_MAX);
        if (!fill(reading->fd, reading->table, size, reading->table_offset, error))
            return NULL;
        if (reading->table->len < wanted) {
            snapset_throw(error, SNAPSET_ERROR_MALFORMED, "image truncated");
            return NULL;
        }
    }
}

static void
add_entries(SnapsetImage *image, GArray *snapshots)
{
    for (guint i = 0; i < snapshots->len; i++) {
        const SnapsetQcow2Snapshot *snapshot = &g_array_index(snapshots, SnapsetQcow2Snapshot, i);
        SnapsetMoment moment = {snapshot->date_sec, snapshot->date_nsec, snapshot->vm_clock_nsec,
                                NULL};
        SnapsetEntry *entry = snapset_image_add_entry(image, snapshot->id, snapshot->name, &moment);
        entry->vm_state_size = snapshot->vm_state_size;
        entry->disk_size = snapshot->disk_size;
        entry->l1_offset = snapshot->l1_offset;
        entry->l1_size = snapshot->l1_size;
        entry->incomplete = snapshot->incomplete;
    }
}

static void
add_ledger(SnapsetImage *image, SnapsetReadDepth depth, SnapsetBytes head)
{
    const SnapsetQcow2Extension *sset = image->header->sset;
    SnapsetBytes payload;

    if (sset == NULL)
        return;
    image->ledger_state = SNAPSET_LEDGER_DAMAGED;
    if (image->header->sset_count > 1 ||
        !snapset_bytes_run(head, sset->data_offset, sset->length, &payload))
        return;
    if (depth == SNAPSET_READ_NEWEST &&
        snapset_ledger_read_newest(payload, &image->ledger, &image->slot_size, &image->ledger_slot))
        image->ledger_state = SNAPSET_LEDGER_GOOD;
    else
        image->ledger_state =
            snapset_ledger_read(payload, &image->ledger, &image->slot_size, &image->ledger_slot);
}

/* Section "Header extensions": the backing file's format, as QEMU calls it; NULL: none is named. */
static char *
backing_format(const SnapsetQcow2Header *header, SnapsetBytes head)
{
    for (guint i = 0; i < header->extensions->len; i++) {
        const SnapsetQcow2Extension *extension =
            &g_array_index(header->extensions, SnapsetQcow2Extension, i);
        SnapsetBytes name;
        if (extension->type == QCOW2_EXTENSION_BACKING_FORMAT && extension->length > 0 &&
            snapset_bytes_run(head, extension->data_offset, extension->length, &name))
            return g_strndup((const char *)name.data, name.size);
    }
    return NULL;
}

static SnapsetImage *
parse(Reading *reading, const char *filename, GError **error)
{
    g_autoptr(SnapsetImage) image = snapset_image_new(filename, "qcow2");
    image->header = parse_header(reading, error);
    if (image->header == NULL)
        return NULL;
    g_autoptr(GArray) snapshots = parse_snapshots(reading, image->header, error);
    if (snapshots == NULL)
        return NULL;
    const SnapsetQcow2Header *header = image->header;
    SnapsetBytes head = {reading->head->data, reading->head->len};
    if (header->backing_offset != 0 && header->backing_length > 0)
        image->backing_filename =
            g_strndup((const char *)head.data + header->backing_offset, header->backing_length);
    image->backing_format = backing_format(header, head);
    image->virtual_size = header->virtual_size;
    image->is_local = TRUE;
    image->device = reading->status.device;
    image->inode = reading->status.inode;
    image->sealed = (header->autoclear & QCOW2_AUTOCLEAR_SEAL) != 0;
    image->has_bitmaps = header->has_bitmaps;
    add_entries(image, snapshots);
    add_ledger(image, reading->depth, head);
    snapset_image_finish(image);
    return g_steal_pointer(&image);
}

/*
 * Did the file change since it was fetched? A file last written to long ago did not; else its
 * header is read again. QEMU moves the snapshot table by 12 bytes in the header, after the new
 * table is on disk (block/qcow2-snapshot.c, qcow2_write_snapshots).
 */
static gboolean
has_changed(Reading *reading, gboolean *ret_changed, GError **error)
{
    gint64 age = g_get_real_time() - reading->status.mtime;
    g_autoptr(GByteArray) again = NULL;

    *ret_changed = FALSE;
    if (reading->status.is_regular && age > SETTLED_SECONDS * G_USEC_PER_SEC)
        return TRUE;
    again = g_byte_array_new();
    if (!fill(reading->fd, again, reading->head->len, 0, error))
        return FALSE;
    *ret_changed = again->len != reading->head->len ||
                   (again->len > 0 && memcmp(again->data, reading->head->data, again->len) != 0);
    return TRUE;
}

static SnapsetImage *
read_settled(Reading *reading, const char *filename, GError **error)
{
    for (int i = 0; i < TRIES; i++) {
        g_autoptr(GError) broken = NULL;
        gboolean changed = FALSE;
        if (!fetch(reading, error))
            return NULL;
        g_autoptr(SnapsetImage) image = parse(reading, filename, &broken);
        if (!has_changed(reading, &changed, error))
            return NULL;
        if (changed)
            continue;
        if (image == NULL)
            g_propagate_error(error, g_steal_pointer(&broken));
        return g_steal_pointer(&image);
    }
    snapset_throw(error, SNAPSET_ERROR_CHANGING, "it changed each time it was read");
    return NULL;
}

SnapsetImage *
snapset_image_read_fd(int fd, const char *filename, SnapsetReadDepth depth, GBytes **ret_header,
                      GError **error)
{
    g_autoptr(GByteArray) head = g_byte_array_new();
    g_autoptr(GByteArray) table = g_byte_array_new();
    Reading reading = {.fd = fd, .depth = depth, .head = head, .table = table};
    g_autoptr(SnapsetImage) image = read_settled(&reading, filename, error);

    if (image == NULL)
        return NULL;
    if (ret_header != NULL) {
        gsize size = MIN(image->header->cluster_size, SNAPSET_HEADER_BYTES);
        *ret_header = g_bytes_new(head->data, MIN(size, head->len));
    }
    return g_steal_pointer(&image);
}

SnapsetImage *
snapset_image_read(const char *path, const char *filename, SnapsetReadDepth depth, GError **error)
{
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0) {
        snapset_throw_errno(error, errno, "cannot open");
        return NULL;
    }
    return snapset_image_read_fd(fd, filename, depth, NULL, error);
}

/* ---- evidence of writes ---- */

/* Section "Standard cluster descriptor": an L1 entry's bits 9 to 55 are the L2 table's offset. */
#define L1_OFFSET_MASK G_GUINT64_CONSTANT(0x00fffffffffffe00)

static gboolean
read_l1(int fd, guint64 offset, guint32 size, GByteArray *table)
{
    gsize bytes = (gsize)size * QCOW2_TABLE_ENTRY_SIZE;

    return bytes <= QCOW2_L1_BYTES_MAX && fill(fd, table, bytes, offset, NULL) &&
           table->len == bytes;
}

static guint64
l2_offset(const GByteArray *l1, guint index)
{
    guint64 at = (guint64)index * QCOW2_TABLE_ENTRY_SIZE;
    return at < l1->len ? snapset_load_be64(l1->data + at) & L1_OFFSET_MASK : 0;
}

gboolean
snapset_image_is_unwritten(int fd, const SnapsetImage *image)
{
    g_autoptr(GByteArray) active = g_byte_array_new();
    g_autoptr(GByteArray) other = g_byte_array_new();
    guint32 size = image->header->l1_size;

    if (!read_l1(fd, image->header->l1_offset, size, active))
        return FALSE;
    g_autofree gboolean *known = g_new0(gboolean, size);
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        if (!read_l1(fd, entry->l1_offset, entry->l1_size, other))
            return FALSE;
        for (guint32 j = 0; j < size; j++)
            known[j] |= l2_offset(active, j) == l2_offset(other, j);
    }
    for (guint32 j = 0; j < size; j++) {
        if (!known[j])
            return FALSE;
    }
    return TRUE;
}
