/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots as JSON, in QAPI's style of names. */
#include <json-glib/json-glib.h>
#include <stdio.h>

#include "qemu-img-plugin/output.h"

#define NSEC_PER_SEC 1000000000

static void
add_string(JsonBuilder *builder, const char *key, const char *text)
{
    json_builder_set_member_name(builder, key);
    if (text == NULL) {
        json_builder_add_null_value(builder);
        return;
    }
    g_autofree char *valid = g_utf8_make_valid(text, -1); /* JSON knows no other bytes */
    json_builder_add_string_value(builder, valid);
}

static void
add_int(JsonBuilder *builder, const char *key, guint64 value)
{
    json_builder_set_member_name(builder, key);
    json_builder_add_int_value(builder, MIN(value, G_MAXINT64));
}

static void
add_bool(JsonBuilder *builder, const char *key, gboolean value)
{
    json_builder_set_member_name(builder, key);
    json_builder_add_boolean_value(builder, value != FALSE);
}

static void
add_uuid(JsonBuilder *builder, const char *key, const SnapsetUuid *uuid)
{
    char text[SNAPSET_UUID_TEXT_SIZE];
    if (uuid != NULL)
        snapset_uuid_format(uuid, text);
    add_string(builder, key, uuid != NULL ? text : NULL);
}

static void
add_chain(JsonBuilder *builder, const SnapsetImage *image)
{
    json_builder_set_member_name(builder, "backing-chain");
    json_builder_begin_array(builder);
    for (guint i = 1; i < snapset_image_link_count(image); i++) {
        g_autofree char *valid = g_utf8_make_valid(snapset_image_link(image, i)->filename, -1);
        json_builder_add_string_value(builder, valid);
    }
    json_builder_end_array(builder);
}

static void
add_image(JsonBuilder *builder, const SnapsetImage *image)
{
    SnapsetUuid current = snapset_image_current(image);

    json_builder_begin_object(builder);
    add_string(builder, "filename", image->filename);
    add_string(builder, "format", image->format);
    add_uuid(builder, "current", snapset_uuid_is_nil(&current) ? NULL : &current);
    add_int(builder, "virtual-size", image->virtual_size);
    add_string(builder, "backing-filename", image->backing_filename);
    if (image->backing_filename != NULL)
        add_chain(builder, image);
    add_bool(builder, "sealed", image->sealed);
    json_builder_end_object(builder);
}

static const char *
identity_kind(const SnapsetSnapshot *snapshot)
{
    if (snapshot->standing == SNAPSET_UNPROVEN)
        return "unproven";
    return snapshot->is_recorded ? "recorded" : "derived";
}

static void
add_lineage(JsonBuilder *builder, const SnapsetSnapshot *snapshot)
{
    add_uuid(builder, "parent", snapshot->parent != NULL ? &snapshot->parent->identity : NULL);
    add_string(builder, "parent-source", snapset_parent_source_name(snapshot->parent_source));
    json_builder_set_member_name(builder, "parent-candidates");
    json_builder_begin_array(builder);
    for (guint i = 0; snapshot->parent_candidates != NULL && i < snapshot->parent_candidates->len;
         i++) {
        const SnapsetSnapshot *candidate = snapshot->parent_candidates->pdata[i];
        char text[SNAPSET_UUID_TEXT_SIZE];
        snapset_uuid_format(&candidate->identity, text);
        json_builder_add_string_value(builder, text);
    }
    json_builder_end_array(builder);
}

static void
add_members(JsonBuilder *builder, const SnapsetSet *set, const SnapsetSnapshot *snapshot)
{
    g_autoptr(GPtrArray) missing = snapset_catalog_missing(set->catalog, snapshot);

    json_builder_set_member_name(builder, "images");
    json_builder_begin_array(builder);
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        json_builder_begin_object(builder);
        add_string(builder, "filename", snapset_set_image(set, member->image)->filename);
        add_string(builder, "qcow2-id", member->entry->is_external ? NULL : member->entry->id);
        const SnapsetImage *holder = snapset_catalog_holder(set->catalog, member);
        if (holder != snapset_set_image(set, member->image))
            add_string(builder, "stored-in", holder != NULL ? holder->filename : NULL);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "missing");
    json_builder_begin_array(builder);
    for (guint i = 0; i < missing->len; i++) {
        g_autofree char *valid = g_utf8_make_valid(missing->pdata[i], -1);
        json_builder_add_string_value(builder, valid);
    }
    json_builder_end_array(builder);
}

/* Which files the machine has to use now. */
static void
add_moves(JsonBuilder *builder, const SnapsetSet *set)
{
    json_builder_set_member_name(builder, "overlays");
    json_builder_begin_array(builder);
    for (guint i = 0; i < set->moves->len; i++) {
        const SnapsetMove *move = set->moves->pdata[i];
        json_builder_begin_object(builder);
        add_string(builder, "image", move->from);
        add_string(builder, "overlay", move->to);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

static void
add_snapshot(JsonBuilder *builder, const SnapsetSet *set, const SnapsetSnapshot *snapshot,
             gboolean with_moves)
{
    const SnapsetMoment *moment = snapset_snapshot_moment(snapshot);

    json_builder_begin_object(builder);
    add_uuid(builder, "id", &snapshot->identity);
    add_string(builder, "identity", identity_kind(snapshot));
    add_string(builder, "tag", snapshot->tag);
    add_string(builder, "description", snapshot->description);
    add_int(builder, "date-sec", moment->date_sec);
    add_int(builder, "date-nsec", moment->date_nsec);
    add_int(builder, "vm-clock-sec", moment->vm_clock_nsec / NSEC_PER_SEC);
    add_int(builder, "vm-clock-nsec", moment->vm_clock_nsec % NSEC_PER_SEC);
    add_int(builder, "vm-state-size", snapset_snapshot_vm_state_size(snapshot));
    add_lineage(builder, snapshot);
    add_bool(builder, "complete", snapshot->standing == SNAPSET_COMPLETE);
    add_bool(builder, "current", snapshot->is_current);
    add_bool(builder, "protected", snapshot->is_protected);
    add_string(builder, "kind", snapset_snapshot_is_external(snapshot) ? "external" : "internal");
    add_int(builder, "members", snapshot->covers);
    add_members(builder, set, snapshot);
    if (with_moves)
        add_moves(builder, set);
    json_builder_end_object(builder);
}

static void
add_violation(JsonBuilder *builder, const SnapsetViolation *violation)
{
    json_builder_begin_object(builder);
    add_string(builder, "rule", snapset_rule_name(violation->rule));
    add_string(builder, "message", violation->message);
    add_string(builder, "hint", violation->hint);
    add_string(builder, "tag", violation->tag);
    json_builder_set_member_name(builder, "images");
    json_builder_begin_array(builder);
    for (char **image = violation->images; *image != NULL; image++) {
        g_autofree char *valid = g_utf8_make_valid(*image, -1);
        json_builder_add_string_value(builder, valid);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
}

static void
print(JsonBuilder *builder)
{
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autoptr(JsonGenerator) generator = json_generator_new();

    json_generator_set_root(generator, root);
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_indent(generator, 4);
    g_autofree char *text = json_generator_to_data(generator, NULL);
    printf("%s\n", text);
}

void
snapset_output_json(const SnapsetSet *set, GPtrArray *chosen)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "images");
    json_builder_begin_array(builder);
    for (guint i = 0; i < set->images->len; i++)
        add_image(builder, snapset_set_image(set, i));
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "snapshots");
    json_builder_begin_array(builder);
    for (guint i = 0; i < chosen->len; i++)
        add_snapshot(builder, set, chosen->pdata[i], FALSE);
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "violations");
    json_builder_begin_array(builder);
    for (guint i = 0; i < set->report->violations->len; i++)
        add_violation(builder, set->report->violations->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    print(builder);
}

void
snapset_output_json_snapshot(const SnapsetSet *set, const SnapsetSnapshot *snapshot)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    add_snapshot(builder, set, snapshot, set->moves->len > 0);
    print(builder);
}
