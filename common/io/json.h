/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of JSON objects that come from outside: what is missing or of another type is "none". */
#pragma once

#include <json-glib/json-glib.h>

/* A string, borrowed; NULL: none. @object may be NULL, here and below. */
const char *snapset_json_text(JsonObject *object, const char *key);

/* A number; 0: none, or negative. */
guint64 snapset_json_number(JsonObject *object, const char *key);

/* A boolean; FALSE: none. */
gboolean snapset_json_bool(JsonObject *object, const char *key);

/* An object or array, borrowed; NULL: none. */
JsonObject *snapset_json_object(JsonObject *object, const char *key);
JsonArray *snapset_json_array(JsonObject *object, const char *key);

/* How many elements @array has (NULL: 0), and those that are objects; NULL: another type. */
guint snapset_json_length(JsonArray *array);
JsonObject *snapset_json_element(JsonArray *array, guint index);
