/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks of a running QEMU, as its monitor tells them. */
#include "common/io/qmp-disks.h"

#include <string.h>

#define PERIPHERAL "/machine/peripheral/"

static void
disk_free(gpointer data)
{
    SnapsetQmpDisk *disk = data;
    g_free(disk->name);
    g_ptr_array_unref(disk->aliases);
    g_free(disk->qdev);
    g_free(disk->device);
    g_free(disk->node);
    g_free(disk->root);
    g_free(disk->detect_zeroes);
    g_clear_pointer(&disk->info, json_object_unref);
    g_free(disk);
}

static gboolean
is_one_of(const char *word, const char *const *words)
{
    return word != NULL && g_strv_contains(words, word);
}

/* ---- images ---- */

/* Drivers that hold no image but pass on what is below (block/, those with is_filter). */
static const char *const filters[] = {
    "throttle",          "copy-on-read", "mirror_top",  "commit_top", "backup-top",
    "copy-before-write", "compress",     "preallocate", "blkdebug",   "blklogwrites",
    "blkreplay",         "replication",  NULL,
};

/* Formats that an image can have as an overlay's backing file; other drivers are protocols. */
static const char *const formats[] = {
    "raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhdx", "luks", "parallels", NULL,
};

static JsonObject *
skip_filters(JsonObject *info)
{
    while (info != NULL && is_one_of(snapset_json_text(info, "format"), filters))
        info = snapset_json_object(info, "backing-image");
    return info;
}

JsonObject *
snapset_qmp_backing(JsonObject *info)
{
    return skip_filters(snapset_json_object(info, "backing-image"));
}

const char *
snapset_qmp_format(JsonObject *info)
{
    const char *format = snapset_json_text(info, "format");
    return is_one_of(format, formats) ? format : "raw";
}

/* ---- disks ---- */

static void
add_alias(SnapsetQmpDisk *disk, const char *name)
{
    if (name == NULL || *name == '\0' ||
        g_ptr_array_find_with_equal_func(disk->aliases, name, g_str_equal, NULL))
        return;
    g_ptr_array_add(disk->aliases, g_strdup(name));
}

/* The ID of the device at a QOM path; NULL: it has none. Caller frees. */
static char *
device_id(const char *qdev)
{
    if (*qdev != '/') /* QEMU gives the ID itself where there is one */
        return g_strdup(qdev);
    if (!g_str_has_prefix(qdev, PERIPHERAL))
        return NULL;
    const char *id = qdev + strlen(PERIPHERAL);
    return g_strndup(id, strcspn(id, "/"));
}

/* The device's QOM type; NULL: unknown. Caller frees. */
static char *
device_type(SnapsetQmp *qmp, const char *qdev)
{
    g_autoptr(JsonNode) answer = snapset_qmp_execute(
        qmp, "qom-get", g_variant_new_parsed("{'path': <%s>, 'property': <'type'>}", qdev), NULL);

    return answer != NULL && JSON_NODE_HOLDS_VALUE(answer) ? json_node_dup_string(answer) : NULL;
}

static gboolean
holds(JsonObject *node, JsonObject *info)
{
    return g_strcmp0(snapset_json_text(node, "drv"), snapset_json_text(info, "format")) == 0 &&
           g_strcmp0(snapset_json_text(node, "file"), snapset_json_text(info, "filename")) == 0;
}

/* The node that can be written to and holds the image of @info; NULL: not found. */
static JsonObject *
find_node(JsonArray *nodes, JsonObject *info)
{
    for (guint i = 0; i < snapset_json_length(nodes); i++) {
        JsonObject *node = snapset_json_element(nodes, i);
        if (!snapset_json_bool(node, "ro") && holds(node, info))
            return node;
    }
    return NULL;
}

/* Somebody's, and not those of a job. */
static gboolean
has_named(JsonArray *bitmaps)
{
    gboolean found = FALSE;

    for (guint i = 0; !found && i < snapset_json_length(bitmaps); i++) {
        const char *name = snapset_json_text(snapset_json_element(bitmaps, i), "name");
        found = name != NULL && *name != '\0';
    }
    return found;
}

/* Take over what a "BlockDeviceInfo" says of the node. */
static void
read_node(SnapsetQmpDisk *disk, JsonObject *node)
{
    JsonObject *cache = snapset_json_object(node, "cache");
    JsonArray *bitmaps = snapset_json_array(node, "dirty-bitmaps");

    disk->node = g_strdup(snapset_json_text(node, "node-name"));
    disk->is_named = disk->node != NULL && *disk->node != '#';
    disk->has_bitmaps = snapset_json_length(bitmaps) > 0;
    disk->has_named_bitmaps = has_named(bitmaps);
    disk->cache_direct = snapset_json_bool(cache, "direct");
    disk->cache_no_flush = snapset_json_bool(cache, "no-flush");
    disk->detect_zeroes = g_strdup(snapset_json_text(node, "detect_zeroes"));
    add_alias(disk, disk->node);
}

/* A "BlockInfo" with something in it, of the device at @qdev. */
static SnapsetQmpDisk *
disk_new(JsonObject *block, JsonArray *nodes, const char *qdev)
{
    SnapsetQmpDisk *disk = g_new0(SnapsetQmpDisk, 1);
    JsonObject *inserted = snapset_json_object(block, "inserted");
    JsonObject *shown = snapset_json_object(inserted, "image");
    JsonObject *info = skip_filters(shown);
    JsonObject *node = info == shown ? inserted : find_node(nodes, info);
    const char *device = snapset_json_text(block, "device");
    g_autofree char *id = device_id(qdev);

    disk->aliases = g_ptr_array_new_with_free_func(g_free);
    disk->qdev = g_strdup(qdev);
    disk->device = device != NULL && *device != '\0' ? g_strdup(device) : NULL;
    disk->root = g_strdup(snapset_json_text(inserted, "node-name"));
    disk->info = info != NULL ? json_object_ref(info) : json_object_new();
    add_alias(disk, disk->device);
    add_alias(disk, id);
    add_alias(disk, disk->root);
    read_node(disk, node != NULL ? node : inserted);
    add_alias(disk, qdev);
    disk->name = g_strdup(disk->aliases->pdata[0]);
    return disk;
}

/* Is it a disk as far as snapshots go? The type tells what the drive itself does not. */
static gboolean
is_disk(const SnapsetQmpDisk *disk, const char *type)
{
    static const char *const flash[] = {"cfi.pflash01", "cfi.pflash02", NULL};

    if (g_strcmp0(type, "floppy") == 0)
        return FALSE;
    return !is_one_of(type, flash) || strcmp(snapset_qmp_format(disk->info), "qcow2") == 0;
}

static JsonArray *
array_of(JsonNode *answer)
{
    return JSON_NODE_HOLDS_ARRAY(answer) ? json_node_get_array(answer) : NULL;
}

static JsonNode *
query_nodes(SnapsetQmp *qmp, GError **error)
{
    return snapset_qmp_execute(qmp, "query-named-block-nodes",
                               g_variant_new_parsed("{'flat': <true>}"), error);
}

GPtrArray *
snapset_qmp_disks(SnapsetQmp *qmp, GError **error)
{
    GPtrArray *disks = g_ptr_array_new_with_free_func(disk_free);
    g_autoptr(JsonNode) blocks = snapset_qmp_execute(qmp, "query-block", NULL, error);
    g_autoptr(JsonNode) nodes = blocks != NULL ? query_nodes(qmp, error) : NULL;

    if (nodes == NULL) {
        g_ptr_array_unref(disks);
        return NULL;
    }
    for (guint i = 0; i < snapset_json_length(array_of(blocks)); i++) {
        JsonObject *block = snapset_json_element(array_of(blocks), i);
        JsonObject *inserted = snapset_json_object(block, "inserted");
        const char *qdev = snapset_json_text(block, "qdev");
        if (inserted == NULL || snapset_json_bool(inserted, "ro") || qdev == NULL)
            continue;
        g_autofree char *type = device_type(qmp, qdev);
        SnapsetQmpDisk *disk = disk_new(block, array_of(nodes), qdev);
        if (is_disk(disk, type))
            g_ptr_array_add(disks, disk);
        else
            disk_free(disk);
    }
    return disks;
}

/* ---- nodes ---- */

char *
snapset_qmp_find_node(SnapsetQmp *qmp, JsonObject *info, GError **error)
{
    g_autoptr(JsonNode) answer = query_nodes(qmp, error);
    const char *found = NULL;
    guint count = 0;

    if (answer == NULL)
        return NULL;
    for (guint i = 0; i < snapset_json_length(array_of(answer)); i++) {
        JsonObject *node = snapset_json_element(array_of(answer), i);
        if (!holds(node, info))
            continue;
        found = snapset_json_text(node, "node-name");
        count++;
    }
    if (count == 1 && found != NULL)
        return g_strdup(found);
    snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU has the file '%s' open %s",
                  snapset_json_text(info, "filename"), count > 1 ? "more than once" : "no more");
    return NULL;
}

GPtrArray *
snapset_qmp_node_names(SnapsetQmp *qmp, GError **error)
{
    g_autoptr(JsonNode) answer = query_nodes(qmp, error);
    GPtrArray *names = answer != NULL ? g_ptr_array_new_with_free_func(g_free) : NULL;

    for (guint i = 0; names != NULL && i < snapset_json_length(array_of(answer)); i++) {
        JsonObject *node = snapset_json_element(array_of(answer), i);
        g_ptr_array_add(names, g_strdup(snapset_json_text(node, "node-name")));
    }
    return names;
}
