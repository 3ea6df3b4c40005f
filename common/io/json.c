/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of JSON objects that come from outside. */
#include "common/io/json.h"

static JsonNode *
value_of(JsonObject *object, const char *key, GType type)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, key) : NULL;
    gboolean fits =
        node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
    return fits ? node : NULL;
}

const char *
snapset_json_text(JsonObject *object, const char *key)
{
    JsonNode *node = value_of(object, key, G_TYPE_STRING);
    return node != NULL ? json_node_get_string(node) : NULL;
}

guint64
snapset_json_number(JsonObject *object, const char *key)
{
    JsonNode *node = value_of(object, key, G_TYPE_INT64);
    return node != NULL ? (guint64)MAX(json_node_get_int(node), 0) : 0;
}

gboolean
snapset_json_bool(JsonObject *object, const char *key)
{
    JsonNode *node = value_of(object, key, G_TYPE_BOOLEAN);
    return node != NULL && json_node_get_boolean(node);
}

JsonObject *
snapset_json_object(JsonObject *object, const char *key)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, key) : NULL;
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *
snapset_json_array(JsonObject *object, const char *key)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, key) : NULL;
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

guint
snapset_json_length(JsonArray *array)
{
    return array != NULL ? json_array_get_length(array) : 0;
}

JsonObject *
snapset_json_element(JsonArray *array, guint index)
{
    JsonNode *node = json_array_get_element(array, index);
    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}
