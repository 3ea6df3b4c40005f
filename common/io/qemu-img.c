/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real qemu-img, and what we have it do. */
#include "common/io/qemu-img.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "common/io/find-qemu-img.h"

#define NODE_NAME "snapshot-set"

/* ---- finding them ---- */

/* The storage daemon comes with qemu-img, in the same folder; else it is on the PATH. */
static char *
find_storage_daemon(const char *qemu_img)
{
    g_autofree char *folder = g_path_get_dirname(qemu_img);
    g_autofree char *beside = g_build_filename(folder, "qemu-storage-daemon", NULL);

    if (access(beside, X_OK) == 0)
        return g_steal_pointer(&beside);
    return g_find_program_in_path("qemu-storage-daemon");
}

SnapsetQemuTools *
snapset_qemu_tools_new(GPtrArray *objects, GError **error)
{
    char path[PATH_MAX];

    if (snapset_find_qemu_img(path) < 0) {
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "cannot find the real qemu-img; set SNAPSHOT_SET_QEMU_IMG to its path");
        return NULL;
    }
    SnapsetQemuTools *tools = g_new0(SnapsetQemuTools, 1);
    tools->qemu_img = g_strdup(path);
    tools->storage_daemon = find_storage_daemon(path);
    tools->objects = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; objects != NULL && i < objects->len; i++)
        g_ptr_array_add(tools->objects, g_strdup(objects->pdata[i]));
    return tools;
}

void
snapset_qemu_tools_free(SnapsetQemuTools *tools)
{
    if (tools == NULL)
        return;
    g_free(tools->qemu_img);
    g_free(tools->storage_daemon);
    g_ptr_array_unref(tools->objects);
    g_free(tools);
}

/* ---- command lines ---- */

static void
add(GPtrArray *argv, const char *argument)
{
    g_ptr_array_add(argv, g_strdup(argument));
}

static void
add_objects(GPtrArray *argv, const SnapsetQemuTools *tools)
{
    for (guint i = 0; i < tools->objects->len; i++) {
        add(argv, "--object");
        add(argv, tools->objects->pdata[i]);
    }
}

static char **
finish(GPtrArray *argv)
{
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(argv, FALSE);
}

/*
 * The image as options, so that nothing in its name is read as a protocol and its format is not
 * probed. A comma is doubled (util/keyval.c).
 */
static char *
target_options(const SnapsetQemuTarget *target)
{
    if (target->options != NULL)
        return g_strdup(target->options);
    GString *options = g_string_new("driver=qcow2,file.driver=");
    g_string_append(options, target->is_block ? "host_device" : "file");
    g_string_append(options, ",file.filename=");
    for (const char *at = target->path; *at != '\0'; at++) {
        g_string_append_c(options, *at);
        if (*at == ',')
            g_string_append_c(options, ',');
    }
    return g_string_free(options, FALSE);
}

static SnapsetChild *
snapshot_command(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target, const char *flag,
                 const char *name)
{
    GPtrArray *argv = g_ptr_array_new();
    g_autofree char *options = target_options(target);

    add(argv, tools->qemu_img);
    add(argv, "snapshot");
    add_objects(argv, tools);
    add(argv, flag);
    add(argv, name);
    add(argv, "--image-opts");
    add(argv, options);
    return snapset_child_new(finish(argv), "qemu-img", NULL);
}

SnapsetChild *
snapset_qemu_create(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target, const char *tag)
{
    return snapshot_command(tools, target, "-c", tag);
}

SnapsetChild *
snapset_qemu_named(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target, gboolean apply,
                   const char *name)
{
    return snapshot_command(tools, target, apply ? "-a" : "-d", name);
}

/* "qemu-img snapshot -a" looks for an ID in the whole table first, then for a tag. */
SnapsetChild *
snapset_qemu_apply(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                   const SnapsetImage *image, const SnapsetEntry *entry, GError **error)
{
    if (*entry->id != '\0' && snapset_image_count_id(image, entry->id) == 1)
        return snapshot_command(tools, target, "-a", entry->id);
    if (snapset_image_count_tag(image, entry->tag) == 1 &&
        snapset_image_count_id(image, entry->tag) == 0)
        return snapshot_command(tools, target, "-a", entry->tag);
    snapset_throw(error, SNAPSET_ERROR_FAILED,
                  "neither ID nor tag of this snapshot is its alone in the image");
    return NULL;
}

/* ---- overlays ---- */

static void
add_all(GPtrArray *argv, const char *const *arguments)
{
    for (; *arguments != NULL; arguments++)
        add(argv, *arguments);
}

SnapsetChild *
snapset_qemu_create_overlay(const SnapsetQemuTools *tools, const char *path, const char *backing,
                            const char *backing_format, const guint64 *size)
{
    GPtrArray *argv = g_ptr_array_new();
    g_autofree char *bytes = size != NULL ? g_strdup_printf("%" G_GUINT64_FORMAT, *size) : NULL;
    const char *const arguments[] = {tools->qemu_img, "create", "-q",           "-f", "qcow2", "-b",
                                     backing,         "-F",     backing_format, NULL};
    const char *const unopened[] = {"-u", "--", path, bytes, NULL};

    add_all(argv, arguments);
    add_all(argv, bytes != NULL ? unopened : unopened + 1);
    return snapset_child_new(finish(argv), "qemu-img", NULL);
}

SnapsetChild *
snapset_qemu_commit(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                    const char *base)
{
    GPtrArray *argv = g_ptr_array_new();
    g_autofree char *options = target_options(target);
    const char *const arguments[] = {tools->qemu_img, "commit", "-p", "-d", "-b", base,
                                     "--image-opts",  options,  NULL};

    add_all(argv, arguments);
    SnapsetChild *child = snapset_child_new(finish(argv), "qemu-img", NULL);
    child->shows_progress = TRUE;
    return child;
}

SnapsetChild *
snapset_qemu_rebase(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                    const char *backing, const char *backing_format)
{
    GPtrArray *argv = g_ptr_array_new();
    g_autofree char *options = target_options(target);
    const char *const arguments[] = {tools->qemu_img, "rebase",       "-u",    "-b", backing, "-F",
                                     backing_format,  "--image-opts", options, NULL};

    add_all(argv, arguments);
    return snapset_child_new(finish(argv), "qemu-img", NULL);
}

/* ---- exact deletion ---- */

static char *
json_command(const char *command, const char *id, const char *name)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "execute");
    json_builder_add_string_value(builder, command);
    if (id != NULL) {
        json_builder_set_member_name(builder, "arguments");
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "device");
        json_builder_add_string_value(builder, NODE_NAME);
        json_builder_set_member_name(builder, "id");
        json_builder_add_string_value(builder, id);
        json_builder_set_member_name(builder, "name");
        json_builder_add_string_value(builder, name);
        json_builder_end_object(builder);
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    return json_to_string(root, FALSE);
}

static guint
count_id_and_tag(const SnapsetImage *image, const SnapsetEntry *entry)
{
    guint count = 0;
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *other = snapset_image_entry(image, i);
        count += strcmp(other->id, entry->id) == 0 && strcmp(other->tag, entry->tag) == 0;
    }
    return count;
}

/* The storage daemon deletes by ID and tag together, which qemu-img cannot. */
static SnapsetChild *
delete_by_both(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
               const SnapsetImage *image, const SnapsetEntry *entry, GError **error)
{
    if (count_id_and_tag(image, entry) > 1 || !g_utf8_validate(entry->tag, -1, NULL) ||
        !g_utf8_validate(entry->id, -1, NULL)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "ID and tag of this snapshot are not its alone in the image");
        return NULL;
    }
    if (tools->storage_daemon == NULL) {
        snapset_throw(error, SNAPSET_ERROR_FAILED,
                      "another snapshot has the same tag, and qemu-storage-daemon, which can tell "
                      "them apart, is not installed");
        return NULL;
    }
    GPtrArray *argv = g_ptr_array_new();
    g_autofree char *options = target_options(target);
    g_autofree char *blockdev = g_strdup_printf("%s,node-name=" NODE_NAME, options);
    g_autofree char *negotiate = json_command("qmp_capabilities", NULL, NULL);
    g_autofree char *delete =
        json_command("blockdev-snapshot-delete-internal-sync", entry->id, entry->tag);
    g_autofree char *quit = json_command("quit", NULL, NULL);
    g_autofree char *input = g_strdup_printf("%s\n%s\n%s\n", negotiate, delete, quit);
    add(argv, tools->storage_daemon);
    add_objects(argv, tools);
    add(argv, "--blockdev");
    add(argv, blockdev);
    add(argv, "--chardev");
    add(argv, "stdio,id=monitor");
    add(argv, "--monitor");
    add(argv, "chardev=monitor");
    return snapset_child_new(finish(argv), NULL, input);
}

SnapsetChild *
snapset_qemu_delete(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                    const SnapsetImage *image, const SnapsetEntry *entry, GError **error)
{
    /* "qemu-img snapshot -d" takes tags only, and of two equal ones the first. */
    if (snapset_image_count_tag(image, entry->tag) == 1)
        return snapshot_command(tools, target, "-d", entry->tag);
    return delete_by_both(tools, target, image, entry, error);
}

/* The text of the first error a QMP peer answered; NULL: none. Caller frees. */
static char *
qmp_error(const char *output)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(JsonNode) node = json_from_string(lines[i], NULL);
        if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node) ||
            !json_object_has_member(json_node_get_object(node), "error"))
            continue;
        JsonNode *error = json_object_get_member(json_node_get_object(node), "error");
        const char *text = JSON_NODE_HOLDS_OBJECT(error)
                               ? json_object_get_string_member_with_default(
                                     json_node_get_object(error), "desc", "unknown error")
                               : "unknown error";
        return g_strdup(text);
    }
    return NULL;
}

gboolean
snapset_qemu_succeeded(const SnapsetChild *child, GError **error)
{
    if (!snapset_child_succeeded(child, error))
        return FALSE;
    g_autofree char *text = child->input != NULL ? qmp_error(child->output->str) : NULL;
    return text == NULL || snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", text);
}

SnapsetChild *
snapset_qemu_describe(const SnapsetQemuTools *tools, const SnapsetSource *source)
{
    GPtrArray *argv = g_ptr_array_new();

    add(argv, tools->qemu_img);
    add(argv, "info");
    add(argv, "-U");
    add(argv, "--output=json");
    add_objects(argv, tools);
    if (source->options != NULL) {
        add(argv, "--image-opts");
    } else if (source->format != NULL) {
        add(argv, "-f");
        add(argv, source->format);
    }
    add(argv, "--");
    add(argv, source->options != NULL ? source->options : source->name);
    return snapset_child_new(finish(argv), "qemu-img", NULL);
}
