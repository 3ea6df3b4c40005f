/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are not local qcow2 files, as qemu-img info describes them. */
#include "common/io/image-info.h"

#include <string.h>

static SnapsetBytes
bytes_of(const char *text)
{
    return (SnapsetBytes){(const guint8 *)text, strlen(text)};
}

/* A QAPI "SnapshotInfo" (qapi/block-core.json). */
static void
add_snapshot(SnapsetImage *image, JsonObject *info)
{
    const char *id = snapset_json_text(info, "id");
    const char *name = snapset_json_text(info, "name");
    SnapsetMoment moment = {
        .date_sec = (guint32)snapset_json_number(info, "date-sec"),
        .date_nsec = (guint32)snapset_json_number(info, "date-nsec"),
        .vm_clock_nsec = snapset_json_number(info, "vm-clock-sec") * 1000000000 +
                         snapset_json_number(info, "vm-clock-nsec"),
    };
    SnapsetEntry *entry = snapset_image_add_entry(image, bytes_of(id != NULL ? id : ""),
                                                  bytes_of(name != NULL ? name : ""), &moment);
    entry->vm_state_size = snapset_json_number(info, "vm-state-size");
    entry->disk_size = image->virtual_size;
}

SnapsetImage *
snapset_image_from_json(JsonObject *info, const char *filename)
{
    const char *format = snapset_json_text(info, "format");
    JsonArray *snapshots = snapset_json_array(info, "snapshots");
    SnapsetImage *image = snapset_image_new(filename, format != NULL ? format : "unknown");

    image->backing_filename = g_strdup(snapset_json_text(info, "backing-filename"));
    image->backing_format = g_strdup(snapset_json_text(info, "backing-filename-format"));
    image->virtual_size = snapset_json_number(info, "virtual-size");
    for (guint i = 0; i < snapset_json_length(snapshots); i++)
        add_snapshot(image, snapset_json_element(snapshots, i));
    snapset_image_finish(image);
    return image;
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
    return snapset_image_from_json(json_node_get_object(root), filename);
}
