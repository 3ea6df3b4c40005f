/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Can the images, and the file systems they are on, take another snapshot? */
#include "common/ops/space.h"

#include <sys/statvfs.h>

#include "common/core/format.h"
#include "common/core/stamp-plan.h"

/*
 * Most that a snapshot writes: a copy of the L1 table, a new snapshot table, and what reference
 * counts that grow with them need (block/qcow2-snapshot.c, qcow2_snapshot_create); plus our record.
 */
static guint64
bytes_written(const SnapsetImage *image)
{
    guint64 cluster = image->header->cluster_size;
    guint64 l1 = (guint64)image->header->l1_size * QCOW2_TABLE_ENTRY_SIZE;
    guint64 table = ((guint64)image->entries->len + 1) *
                    (QCOW2_SNAPSHOT_HEADER_SIZE + QCOW2_SNAPSHOT_EXTRA_SIZE + 264);
    guint64 needed = SNAPSET_HEADER_BYTES + 2 * cluster;
    guint64 rounded = 0;

    /* Bounded by the parser: neither overflows. */
    if (snapset_round_up(l1, cluster, &rounded))
        needed += rounded;
    if (snapset_round_up(table, cluster, &rounded))
        needed += rounded;
    return needed;
}

typedef struct {
    guint64 id;
    guint64 available, needed; /* bytes */
    GPtrArray *names;          /* of char *, owned */
} FileSystem;

struct SnapsetSpace {
    GArray *systems; /* of FileSystem */
};

static void
file_system_clear(gpointer data)
{
    FileSystem *fs = data;
    g_ptr_array_unref(fs->names);
}

SnapsetSpace *
snapset_space_new(void)
{
    SnapsetSpace *space = g_new0(SnapsetSpace, 1);
    space->systems = g_array_new(FALSE, FALSE, sizeof(FileSystem));
    g_array_set_clear_func(space->systems, file_system_clear);
    return space;
}

void
snapset_space_free(SnapsetSpace *space)
{
    if (space == NULL)
        return;
    g_array_unref(space->systems);
    g_free(space);
}

static FileSystem *
file_system_of(GArray *systems, const struct statvfs *st)
{
    for (guint i = 0; i < systems->len; i++) {
        FileSystem *fs = &g_array_index(systems, FileSystem, i);
        if (fs->id == st->f_fsid)
            return fs;
    }
    FileSystem fs = {.id = st->f_fsid,
                     .available = (guint64)st->f_bavail * st->f_frsize,
                     .names = g_ptr_array_new_with_free_func(g_free)};
    g_array_append_val(systems, fs);
    return &g_array_index(systems, FileSystem, systems->len - 1);
}

static void
add_bytes(SnapsetSpace *space, const struct statvfs *st, guint64 bytes, const char *name)
{
    FileSystem *fs = file_system_of(space->systems, st);
    fs->needed += bytes;
    g_ptr_array_add(fs->names, g_strdup(name));
}

void
snapset_space_add(SnapsetSpace *space, const char *path, guint64 bytes, const char *name)
{
    struct statvfs st;

    if (statvfs(path, &st) == 0)
        add_bytes(space, &st, bytes, name);
}

/* Header, reference counts, and an L1 table; with clusters of 64 KiB. */
guint64
snapset_space_of_overlay(guint64 virtual_size)
{
    return 4 * 65536 + virtual_size / (512 * 1024 * 1024) * 8;
}

static void
report_full(const FileSystem *fs, SnapsetReport *report)
{
    char needed[SNAPSET_SIZE_TEXT_SIZE];
    char available[SNAPSET_SIZE_TEXT_SIZE];
    g_autofree char *names = snapset_format_names(fs->names);

    snapset_format_size(fs->needed, needed);
    snapset_format_size(fs->available, available);
    snapset_report_add(report, SNAPSET_RULE_NO_SPACE, NULL, fs->names,
                       g_strdup("free some space on their file system"),
                       "up to %s may be written to %s, and %s are free", needed, names, available);
}

void
snapset_space_judge(const SnapsetSpace *space, SnapsetReport *report)
{
    for (guint i = 0; i < space->systems->len; i++) {
        const FileSystem *fs = &g_array_index(space->systems, FileSystem, i);
        if (fs->needed > fs->available)
            report_full(fs, report);
    }
}

/*
 * QEMU fails half-way when a reference count overflows, and leaves clusters leaked. Data that all
 * snapshots share is counted once for each and once for the active state.
 */
static void
check_capacity(SnapsetSet *set, const SnapsetImage *image)
{
    guint bits = 1u << image->header->refcount_order;
    guint64 most = bits >= 64 ? G_MAXUINT64 : (G_GUINT64_CONSTANT(1) << bits) - 1;
    guint count = image->entries->len;
    g_autofree char *name = snapset_format_escaped(image->filename);

    if (count >= QCOW2_SNAPSHOTS_MAX)
        snapset_report_add_image(set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image->filename,
                                 g_strdup("delete snapshots first"),
                                 "%s: it has %u snapshots, and qcow2 allows no more", name, count);
    else if (count + 2 > most)
        snapset_report_add_image(
            set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image->filename,
            g_strdup("convert the image to one with refcount_bits=16 (qemu-img convert)"),
            "%s: its %u-bit reference counts cannot take %s snapshot", name, bits,
            count == 0 ? "a" : "another");
}

void
snapset_space_check(SnapsetSet *set, GPtrArray *wanted)
{
    g_autoptr(SnapsetSpace) space = snapset_space_new();

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        const SnapsetHandle *handle = snapset_set_handle(set, i);
        struct statvfs st;
        if (image->header == NULL || (wanted != NULL && wanted->pdata[i] == NULL))
            continue;
        check_capacity(set, image);
        /* A block device has no file system of its own that could be asked. */
        if (handle->fd >= 0 && !handle->is_block && fstatvfs(handle->fd, &st) == 0)
            add_bytes(space, &st, bytes_written(image), image->filename);
    }
    snapset_space_judge(space, set->report);
}
