/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about snapshots and disks out of QMP text. */
#include "common/io/qmp-request.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "common/core/hmp.h"

/* A command and what it means. The arguments' names mean the same in all of them. */
typedef struct {
    const char *name;
    SnapsetLiveKind kind;
    const char *tag_key; /* NULL: it has none */
} Command;

static const Command qmp_commands[] = {
    {"snapshot-save", SNAPSET_LIVE_CREATE, "tag"},
    {"snapshot-load", SNAPSET_LIVE_LOAD, "tag"},
    {"snapshot-delete", SNAPSET_LIVE_DELETE, "tag"},
    {"blockdev-snapshot-internal-sync", SNAPSET_LIVE_CREATE, "name"},
    {"blockdev-snapshot-delete-internal-sync", SNAPSET_LIVE_DELETE, "name"},
    {"blockdev-snapshot", SNAPSET_LIVE_EXTERNAL, NULL},
    {"blockdev-snapshot-sync", SNAPSET_LIVE_EXTERNAL, NULL},
};

/* The same for the human monitor: which of the words is what; NO_WORD: none. */
enum {
    NO_WORD = 3
};

typedef struct {
    const char *name;
    SnapsetLiveKind kind;
    guint tag, device, id;
    guint words; /* at most */
} HmpCommand;

/* QEMU, hmp-commands.hx. */
static const HmpCommand hmp_commands[] = {
    {"savevm", SNAPSET_LIVE_CREATE, 0, NO_WORD, NO_WORD, 1},
    {"loadvm", SNAPSET_LIVE_LOAD, 0, NO_WORD, NO_WORD, 1},
    {"delvm", SNAPSET_LIVE_DELETE, 0, NO_WORD, NO_WORD, 1},
    {"snapshot_blkdev", SNAPSET_LIVE_EXTERNAL, NO_WORD, 0, NO_WORD, 3},
    {"snapshot_blkdev_internal", SNAPSET_LIVE_CREATE, 1, 0, NO_WORD, 2},
    {"snapshot_delete_blkdev_internal", SNAPSET_LIVE_DELETE, 1, 0, 2, 3},
};

static const Command *
find(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(qmp_commands); i++) {
        if (strcmp(qmp_commands[i].name, name) == 0)
            return &qmp_commands[i];
    }
    return NULL;
}

static const HmpCommand *
find_hmp(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(hmp_commands); i++) {
        if (strcmp(hmp_commands[i].name, name) == 0)
            return &hmp_commands[i];
    }
    return NULL;
}

/* A string member; NULL: none, or something else. */
static const char *
text_of(JsonObject *object, const char *key)
{
    JsonNode *node = key != NULL ? json_object_get_member(object, key) : NULL;
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

static JsonObject *
object_of(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static JsonArray *
array_of(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static void
add_node(SnapsetLiveRequest *request, const char *node)
{
    if (node != NULL)
        g_ptr_array_add(request->nodes, g_strdup(node));
}

static void
add_overlay(SnapsetLiveRequest *request, const char *overlay)
{
    if (overlay != NULL)
        g_ptr_array_add(request->overlays, g_strdup(overlay));
}

/* QEMU refuses a member that a command does not have, so that all can be asked for all. */
static void
read_arguments(SnapsetLiveRequest *request, const Command *command, JsonObject *arguments)
{
    static const char *const node_keys[] = {"device", "node", "node-name"};
    JsonArray *devices = array_of(arguments, "devices");
    const char *overlay = text_of(arguments, "overlay");
    const char *file = text_of(arguments, "snapshot-file");

    request->kind = command->kind;
    if (file != NULL)
        snapset_live_request_add_file(request, file, text_of(arguments, "format"),
                                      g_strcmp0(text_of(arguments, "mode"), "existing") == 0);
    if (request->tag == NULL)
        request->tag = g_strdup(text_of(arguments, command->tag_key));
    if (request->id == NULL)
        request->id = g_strdup(text_of(arguments, "id"));
    for (gsize i = 0; i < G_N_ELEMENTS(node_keys); i++) {
        const char *node = text_of(arguments, node_keys[i]);
        add_node(request, node);
        if (node != NULL)
            add_overlay(request, overlay != NULL ? overlay : file);
    }
    for (guint i = 0; devices != NULL && i < json_array_get_length(devices); i++) {
        JsonNode *node = json_array_get_element(devices, i);
        add_node(request, JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL);
    }
}

/* Another action of a transaction: of the same snapshot, or what cannot be one. */
static void
add_action(SnapsetLiveRequest *request, JsonObject *action)
{
    const char *type = text_of(action, "type");
    const Command *command = type != NULL ? find(type) : NULL;
    JsonObject *data = object_of(action, "data");

    if (command == NULL || data == NULL)
        return;
    request->is_mixed |= request->kind != SNAPSET_LIVE_NONE &&
                         (request->kind != command->kind ||
                          g_strcmp0(request->tag, text_of(data, command->tag_key)) != 0);
    read_arguments(request, command, data);
}

/* The members of a transaction that are about snapshots, as one request. */
static SnapsetLiveRequest *
parse_transaction(JsonObject *arguments)
{
    SnapsetLiveRequest *request = snapset_live_request_new(SNAPSET_LIVE_NONE);
    JsonArray *actions = arguments != NULL ? array_of(arguments, "actions") : NULL;

    request->in_transaction = TRUE;
    for (guint i = 0; actions != NULL && i < json_array_get_length(actions); i++) {
        JsonNode *node = json_array_get_element(actions, i);
        if (JSON_NODE_HOLDS_OBJECT(node))
            add_action(request, json_node_get_object(node));
    }
    return request;
}

/*
 * The node that blockdev-add makes (QEMU, qapi/block-core.json, BlockdevOptions). What it stands on
 * is its "file", another node's name or again such an object.
 */
static SnapsetLiveRequest *
parse_node(JsonObject *options)
{
    SnapsetLiveRequest *request = snapset_live_request_new(SNAPSET_LIVE_ADD_NODE);

    add_node(request, text_of(options, "node-name"));
    for (JsonObject *at = options; at != NULL; at = object_of(at, "file")) {
        const char *filename = text_of(at, "filename");
        request->has_qcow2 |= g_strcmp0(text_of(at, "driver"), "qcow2") == 0;
        if (text_of(at, "file") != NULL)
            request->below = g_strdup(text_of(at, "file"));
        else if (filename != NULL && g_path_is_absolute(filename) && request->path == NULL)
            request->path = g_strdup(filename);
    }
    return request;
}

/* A command about one node, which its argument @key names. */
static SnapsetLiveRequest *
parse_node_name(SnapsetLiveKind kind, JsonObject *arguments, const char *key)
{
    SnapsetLiveRequest *request = snapset_live_request_new(kind);

    add_node(request, text_of(arguments, key));
    return request;
}

/* The commands that make disks come and go, or work on their files. NULL: another command. */
static SnapsetLiveRequest *
parse_disk_command(const char *name, JsonObject *arguments)
{
    SnapsetLiveRequest *request = NULL;
    const char *top = text_of(arguments, "top-node");

    if (strcmp(name, "blockdev-add") == 0)
        request = parse_node(arguments);
    else if (strcmp(name, "blockdev-del") == 0)
        request = parse_node_name(SNAPSET_LIVE_REMOVE_NODE, arguments, "node-name");
    else if (strcmp(name, "device_add") == 0)
        request = parse_node_name(SNAPSET_LIVE_PLUG, arguments, "drive");
    else if (strcmp(name, "block-stream") == 0)
        request = parse_node_name(SNAPSET_LIVE_MOVE, arguments, "device");
    else if (strcmp(name, "block-commit") == 0)
        request = parse_node_name(SNAPSET_LIVE_MOVE, arguments, "base-node");
    else if (strcmp(name, "blockdev-mirror") == 0 || strcmp(name, "drive-mirror") == 0)
        request = parse_node_name(SNAPSET_LIVE_COPY, arguments, "device");
    if (request != NULL && request->kind == SNAPSET_LIVE_COPY)
        add_overlay(request, text_of(arguments, "target"));
    if (strcmp(name, "block-commit") == 0 && request->nodes->len > 0)
        add_overlay(request, top != NULL ? top : text_of(arguments, "device"));
    if (request != NULL && request->nodes->len == 0)
        request->kind = SNAPSET_LIVE_NONE; /* QEMU asks for the missing name */
    return request;
}

/* Without what it is about, QEMU asks for that; savevm alone finds a name by itself. */
static void
drop_nameless(SnapsetLiveRequest *request)
{
    if (request->tag == NULL && request->id == NULL && request->kind != SNAPSET_LIVE_EXTERNAL &&
        !(request->kind == SNAPSET_LIVE_CREATE && request->covers_all))
        request->kind = SNAPSET_LIVE_NONE;
}

static const char *
word(char **words, guint index)
{
    return index < g_strv_length(words) ? words[index] : NULL;
}

/* The words without the only option there is: -n, before the device and perhaps joined to it. */
static char **
skip_option(char **words)
{
    if (words[0] == NULL || !g_str_has_prefix(words[0], "-n"))
        return words;
    if (words[0][2] == '\0')
        return words + 1;
    memmove(words[0], words[0] + 2, strlen(words[0]) - 1);
    return words;
}

/* What the human monitor would make of a line. NULL: another command. */
static SnapsetLiveRequest *
parse_hmp(const char *line)
{
    g_autofree char *name = NULL;
    g_auto(GStrv) all = NULL;

    snapset_hmp_parse(line, &name, &all);
    const HmpCommand *command = find_hmp(name);
    if (command == NULL)
        return NULL;
    SnapsetLiveRequest *request = snapset_live_request_new(SNAPSET_LIVE_NONE);
    gboolean reuses = all != NULL && all[0] != NULL && g_str_has_prefix(all[0], "-n");
    char **words = command->kind == SNAPSET_LIVE_EXTERNAL && all != NULL ? skip_option(all) : all;
    request->is_malformed = words == NULL || g_strv_length(words) > command->words;
    if (request->is_malformed)
        return request;
    request->kind = command->kind;
    request->covers_all = command->device == NO_WORD;
    request->tag = g_strdup(word(words, command->tag));
    request->id = g_strdup(word(words, command->id));
    add_node(request, word(words, command->device));
    if (command->kind == SNAPSET_LIVE_EXTERNAL)
        add_overlay(request, word(words, 1));
    if (command->kind == SNAPSET_LIVE_EXTERNAL && word(words, 1) != NULL)
        snapset_live_request_add_file(request, word(words, 1), word(words, 2), reuses);
    drop_nameless(request);
    return request;
}

/*
 * QEMU's JSON as others read it: with double quotes only. FALSE when it holds a zero character,
 * which QEMU makes two bytes of and others the end of the text.
 */
static gboolean
make_plain(const char *text, gsize size, GString *plain)
{
    char quote = '\0';

    for (const char *at = text; at < text + size; at++) {
        if (quote != '\0' && *at == '\\' && at + 1 < text + size) {
            if (text + size - at >= 6 && strncmp(at, "\\u0000", 6) == 0)
                return FALSE;
            at++;
            g_string_append_len(plain, at[0] == '\'' ? at : at - 1, at[0] == '\'' ? 1 : 2);
        } else if (*at == quote || (quote == '\0' && (*at == '"' || *at == '\''))) {
            quote = quote == '\0' ? *at : '\0';
            g_string_append_c(plain, '"');
        } else if (*at == '"') {
            g_string_append(plain, "\\\"");
        } else {
            g_string_append_c(plain, *at);
        }
    }
    return TRUE;
}

static JsonNode *
parse_json(JsonParser *parser, const char *text, gsize size)
{
    g_autoptr(GString) plain = g_string_sized_new(size + 64);

    if (!make_plain(text, size, plain) ||
        !json_parser_load_from_data(parser, plain->str, (gssize)plain->len, NULL))
        return NULL;
    return json_parser_get_root(parser);
}

/* What the command @name is about; NULL: it is none that is known. */
static SnapsetLiveRequest *
parse_command(const char *name, JsonObject *arguments)
{
    const char *line = arguments != NULL ? text_of(arguments, "command-line") : NULL;

    if (strcmp(name, "transaction") == 0)
        return parse_transaction(arguments);
    if (strcmp(name, "human-monitor-command") == 0)
        return parse_hmp(line != NULL ? line : "");
    const Command *command = find(name);
    if (command == NULL)
        return arguments != NULL ? parse_disk_command(name, arguments) : NULL;
    SnapsetLiveRequest *request = snapset_live_request_new(SNAPSET_LIVE_NONE);
    if (arguments != NULL)
        read_arguments(request, command, arguments);
    drop_nameless(request);
    return request;
}

SnapsetLiveRequest *
snapset_qmp_request_parse(const char *text, gsize size, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    JsonNode *root = parse_json(parser, text, size);
    JsonObject *object =
        root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    const char *name = object != NULL ? text_of(object, "execute") : NULL;
    SnapsetLiveRequest *request =
        name != NULL ? parse_command(name, object_of(object, "arguments")) : NULL;

    if (request == NULL)
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "%s",
                      name != NULL ? "this is no snapshot command" : "this is not a QMP command");
    return request;
}
