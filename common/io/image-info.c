/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are not local qcow2 files, as qemu-img info describes them. */
#include "common/io/image-info.h"

#include <json-glib/json-glib.h>
#include <string.h>

static SnapsetBytes
bytes_of(const char *text)
{
    return (SnapsetBytes){(const guint8 *)text, strlen(text)};
}

/* A QAPI "SnapshotInfo" (qapi/block-core.json). */
static void
add_snapshot(JsonArray *array, guint index, JsonNode *node, gpointer data)
{
    SnapsetImage *image = data;

    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    JsonObject *info = json_node_get_object(node);
    gint64 clock_sec = json_object_get_int_member_with_default(info, "vm-clock-sec", 0);
    gint64 clock_nsec = json_object_get_int_member_with_default(info, "vm-clock-nsec", 0);
    SnapsetMoment moment = {
        .date_sec = json_object_get_int_member_with_default(info, "date-sec", 0),
        .date_nsec = json_object_get_int_member_with_default(info, "date-nsec", 0),
        .vm_clock_nsec = (guint64)clock_sec * 1000000000 + (guint64)clock_nsec,
    };
    const char *id = json_object_get_string_member_with_default(info, "id", "");
    const char *name = json_object_get_string_member_with_default(info, "name", "");
    SnapsetEntry *entry = snapset_image_add_entry(image, bytes_of(id), bytes_of(name), &moment);
    entry->vm_state_size = json_object_get_int_member_with_default(info, "vm-state-size", 0);
    entry->disk_size = image->virtual_size;
}

SnapsetImage *
snapset_image_from_info(const SnapsetChild *child, const char *filename, GError **error)
{
    if (!snapset_child_succeeded(child, error))
        return NULL;
    g_autoptr(JsonNode) root = json_from_string(child->output->str, NULL);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "qemu-img info did not answer with JSON");
        return NULL;
    }
    JsonObject *info = json_node_get_object(root);
    const char *format = json_object_get_string_member_with_default(info, "format", "unknown");
    const char *backing =
        json_object_get_string_member_with_default(info, "backing-filename", NULL);
    SnapsetImage *image = snapset_image_new(filename, format);
    image->backing_filename = g_strdup(backing);
    image->virtual_size = json_object_get_int_member_with_default(info, "virtual-size", 0);
    if (json_object_has_member(info, "snapshots")) {
        JsonNode *snapshots = json_object_get_member(info, "snapshots");
        if (JSON_NODE_HOLDS_ARRAY(snapshots))
            json_array_foreach_element(json_node_get_array(snapshots), add_snapshot, image);
    }
    snapset_image_finish(image);
    return image;
}
