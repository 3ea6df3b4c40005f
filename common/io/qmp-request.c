/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshot commands out of QMP text. */
#include "common/io/qmp-request.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "common/core/hmp.h"

/* A command and what it means; sought by name. */
typedef struct {
    const char *name;
    SnapsetLiveKind kind;
    const char *tag_key;  /* NULL: it has none */
    const char *node_key; /* one node's; NULL: "devices", a list */
} Command;

static const Command qmp_commands[] = {
    {"snapshot-save", SNAPSET_LIVE_CREATE, "tag", NULL},
    {"snapshot-load", SNAPSET_LIVE_LOAD, "tag", NULL},
    {"snapshot-delete", SNAPSET_LIVE_DELETE, "tag", NULL},
    {"blockdev-snapshot-internal-sync", SNAPSET_LIVE_CREATE, "name", "device"},
    {"blockdev-snapshot-delete-internal-sync", SNAPSET_LIVE_DELETE, "name", "device"},
    {"blockdev-snapshot", SNAPSET_LIVE_EXTERNAL, NULL, "node"},
    {"blockdev-snapshot-sync", SNAPSET_LIVE_EXTERNAL, NULL, "node-name"},
};

static const Command hmp_commands[] = {
    {"savevm", SNAPSET_LIVE_CREATE, NULL, NULL},
    {"loadvm", SNAPSET_LIVE_LOAD, NULL, NULL},
    {"delvm", SNAPSET_LIVE_DELETE, NULL, NULL},
};

static const Command *
find(const Command *commands, gsize count, const char *name)
{
    for (gsize i = 0; i < count; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
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
read_arguments(SnapsetLiveRequest *request, const Command *command, JsonObject *arguments)
{
    const char *tag = text_of(arguments, command->tag_key);
    JsonArray *devices = array_of(arguments, "devices");

    if (tag != NULL && request->tag == NULL)
        request->tag = g_strdup(tag);
    add_node(request, text_of(arguments, command->node_key));
    for (guint i = 0;
         command->node_key == NULL && devices != NULL && i < json_array_get_length(devices); i++) {
        JsonNode *node = json_array_get_element(devices, i);
        add_node(request, JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL);
    }
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
        JsonObject *action = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        const char *type = action != NULL ? text_of(action, "type") : NULL;
        const Command *command =
            type != NULL ? find(qmp_commands, G_N_ELEMENTS(qmp_commands), type) : NULL;
        JsonObject *data = action != NULL ? object_of(action, "data") : NULL;
        if (command == NULL || data == NULL)
            continue;
        request->kind = command->kind;
        read_arguments(request, command, data);
    }
    return request;
}

/* What the human monitor would make of a line; a line it cannot read is about nothing. */
static SnapsetLiveRequest *
parse_hmp(const char *line)
{
    g_autofree char *name = NULL;
    g_autofree char *argument = NULL;
    const Command *command = NULL;

    if (snapset_hmp_parse(line, &name, &argument))
        command = find(hmp_commands, G_N_ELEMENTS(hmp_commands), name);
    SnapsetLiveRequest *request =
        snapset_live_request_new(command != NULL ? command->kind : SNAPSET_LIVE_NONE);
    request->covers_all = TRUE;
    request->tag = g_steal_pointer(&argument);
    if (request->tag == NULL && request->kind != SNAPSET_LIVE_CREATE)
        request->kind = SNAPSET_LIVE_NONE; /* QEMU asks for the missing name */
    return request;
}

SnapsetLiveRequest *
snapset_qmp_request_parse(const char *text, gsize size, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    JsonNode *root = json_parser_load_from_data(parser, text, (gssize)size, NULL)
                         ? json_parser_get_root(parser)
                         : NULL;
    JsonObject *object =
        root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    const char *name = object != NULL ? text_of(object, "execute") : NULL;

    if (name == NULL) {
        snapset_throw(error, SNAPSET_ERROR_MALFORMED, "this is not a QMP command");
        return NULL;
    }
    JsonObject *arguments = object_of(object, "arguments");
    if (strcmp(name, "transaction") == 0)
        return parse_transaction(arguments);
    if (strcmp(name, "human-monitor-command") == 0)
        return parse_hmp(arguments != NULL && text_of(arguments, "command-line") != NULL
                             ? text_of(arguments, "command-line")
                             : "");
    const Command *command = find(qmp_commands, G_N_ELEMENTS(qmp_commands), name);
    SnapsetLiveRequest *request =
        snapset_live_request_new(command != NULL ? command->kind : SNAPSET_LIVE_NONE);
    if (command != NULL && arguments != NULL)
        read_arguments(request, command, arguments);
    if (request->tag == NULL && request->kind != SNAPSET_LIVE_EXTERNAL)
        request->kind = SNAPSET_LIVE_NONE; /* QEMU asks for the missing argument */
    return request;
}
