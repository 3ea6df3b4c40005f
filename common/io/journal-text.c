/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Journals as text: GVariant dictionaries, so that what there is not need not be written. */
#include "common/io/journal-text.h"

#include <string.h>

#define LAYOUT_VERSION 2

static const char *const phase_names[] = {"make", "apply", "merge", "finish"};
G_STATIC_ASSERT(G_N_ELEMENTS(phase_names) == SNAPSET_PHASE_FINISH + 1);

#define DOOMED_TYPE "a(ayayt)"
#define OVERLAY_TYPE "(ayaytt)"

/* Of an image only what there is to say is written. */
static void
insert_string(GVariantDict *dict, const char *key, const char *value)
{
    if (value != NULL)
        g_variant_dict_insert(dict, key, "^ay", value);
}

static void
insert_number(GVariantDict *dict, const char *key, guint64 value)
{
    if (value != 0)
        g_variant_dict_insert(dict, key, "t", value);
}

static void
insert_bytes(GVariantDict *dict, const char *key, GBytes *bytes)
{
    if (bytes != NULL)
        g_variant_dict_insert_value(dict, key,
                                    g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE,
                                                              g_bytes_get_data(bytes, NULL),
                                                              g_bytes_get_size(bytes), 1));
}

static GVariant *
encode_doomed(const GPtrArray *doomed)
{
    GVariantBuilder builder;

    g_variant_builder_init(&builder, G_VARIANT_TYPE(DOOMED_TYPE));
    for (guint i = 0; i < doomed->len; i++) {
        const SnapsetDoomed *entry = doomed->pdata[i];
        g_variant_builder_add(&builder, "(@ay@ayt)", g_variant_new_bytestring(entry->id),
                              g_variant_new_bytestring(entry->tag), entry->binding);
    }
    return g_variant_builder_end(&builder);
}

static GVariant *
encode_image(const SnapsetJournalImage *image)
{
    g_autoptr(GVariantDict) dict = g_variant_dict_new(NULL);
    const SnapsetJournalOverlay *overlay = image->overlay;

    insert_string(dict, "path", image->path);
    insert_string(dict, "options", image->options);
    insert_string(dict, "format", image->format);
    insert_number(dict, "device", image->device);
    insert_number(dict, "inode", image->inode);
    if (image->doomed->len > 0)
        g_variant_dict_insert_value(dict, "doomed", encode_doomed(image->doomed));
    insert_bytes(dict, "after", image->after);
    insert_bytes(dict, "before", image->before);
    insert_number(dict, "sequence", image->sequence);
    insert_number(dict, "sealed", image->is_sealed);
    if (overlay != NULL)
        g_variant_dict_insert(
            dict, "overlay", "(@ay@aytt)", g_variant_new_bytestring(overlay->temporary),
            g_variant_new_bytestring(overlay->path), overlay->device, overlay->inode);
    insert_string(dict, "commit-into", image->commit_into);
    insert_number(dict, "active", image->is_active);
    insert_number(dict, "removed", image->is_removed);
    insert_number(dict, "merged-into", image->is_merged_into);
    insert_string(dict, "backing", image->backing);
    insert_string(dict, "backing-format", image->backing_format);
    return g_variant_dict_end(dict);
}

char *
snapset_journal_encode(const SnapsetJournal *journal)
{
    GVariantBuilder images;
    g_autoptr(GVariantDict) dict = g_variant_dict_new(NULL);

    g_variant_builder_init(&images, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; i < journal->images->len; i++)
        g_variant_builder_add_value(&images, encode_image(journal->images->pdata[i]));
    g_variant_dict_insert(dict, "version", "u", LAYOUT_VERSION);
    g_variant_dict_insert(dict, "operation", "s", journal->operation);
    g_variant_dict_insert(dict, "phase", "s", phase_names[journal->phase]);
    g_variant_dict_insert(dict, "started", "x", journal->started);
    if (journal->tag != NULL)
        g_variant_dict_insert(dict, "tag", "^ay", journal->tag);
    insert_number(dict, "handed-over", journal->is_handed_over);
    g_variant_dict_insert_value(
        dict, "objects",
        g_variant_new_bytestring_array((const char *const *)journal->objects->pdata,
                                       journal->objects->len));
    g_variant_dict_insert_value(dict, "images", g_variant_builder_end(&images));
    g_autoptr(GVariant) value = g_variant_ref_sink(g_variant_dict_end(dict));
    return g_variant_print(value, TRUE);
}

static char *
lookup_string(GVariantDict *dict, const char *key)
{
    char *value = NULL;
    return g_variant_dict_lookup(dict, key, "^ay", &value) ? value : NULL;
}

static guint64
lookup_number(GVariantDict *dict, const char *key)
{
    guint64 value = 0;
    return g_variant_dict_lookup(dict, key, "t", &value) ? value : 0;
}

static GBytes *
lookup_bytes(GVariantDict *dict, const char *key)
{
    g_autoptr(GVariant) value = g_variant_dict_lookup_value(dict, key, G_VARIANT_TYPE_BYTESTRING);
    return value != NULL ? g_variant_get_data_as_bytes(value) : NULL;
}

static void
decode_doomed(SnapsetJournalImage *image, GVariantDict *dict)
{
    g_autoptr(GVariant) doomed =
        g_variant_dict_lookup_value(dict, "doomed", G_VARIANT_TYPE(DOOMED_TYPE));

    for (gsize i = 0; doomed != NULL && i < g_variant_n_children(doomed); i++) {
        const char *id = NULL;
        const char *tag = NULL;
        guint64 binding = 0;
        g_variant_get_child(doomed, i, "(^&ay^&ayt)", &id, &tag, &binding);
        snapset_journal_doom(image, id, tag, binding);
    }
}

static void
decode_overlay(SnapsetJournalImage *image, GVariantDict *dict)
{
    g_autoptr(GVariant) value =
        g_variant_dict_lookup_value(dict, "overlay", G_VARIANT_TYPE(OVERLAY_TYPE));
    const char *temporary = NULL;
    const char *path = NULL;
    guint64 device = 0;
    guint64 inode = 0;

    if (value == NULL)
        return;
    g_variant_get(value, "(^&ay^&aytt)", &temporary, &path, &device, &inode);
    snapset_journal_add_overlay(image, temporary, path);
    image->overlay->device = device;
    image->overlay->inode = inode;
}

/* FALSE when it does not even name an image. */
static gboolean
decode_image(SnapsetJournal *journal, GVariant *value)
{
    g_autoptr(GVariantDict) dict = g_variant_dict_new(value);
    g_autofree char *path = lookup_string(dict, "path");
    g_autofree char *options = lookup_string(dict, "options");
    g_autofree char *format = lookup_string(dict, "format");

    if (path == NULL || format == NULL)
        return FALSE;
    SnapsetJournalImage *image = snapset_journal_add_image(
        journal, path, options, lookup_number(dict, "device"), lookup_number(dict, "inode"));
    g_free(image->format);
    image->format = g_steal_pointer(&format);
    decode_doomed(image, dict);
    image->after = lookup_bytes(dict, "after");
    image->before = lookup_bytes(dict, "before");
    image->sequence = lookup_number(dict, "sequence");
    image->is_sealed = lookup_number(dict, "sealed") != 0;
    decode_overlay(image, dict);
    image->commit_into = lookup_string(dict, "commit-into");
    image->is_active = lookup_number(dict, "active") != 0;
    image->is_removed = lookup_number(dict, "removed") != 0;
    image->is_merged_into = lookup_number(dict, "merged-into") != 0;
    image->backing = lookup_string(dict, "backing");
    image->backing_format = lookup_string(dict, "backing-format");
    return TRUE;
}

static gboolean
decode_phase(const char *name, SnapsetPhase *ret_phase)
{
    for (guint i = 0; i < G_N_ELEMENTS(phase_names); i++) {
        if (strcmp(phase_names[i], name) == 0) {
            *ret_phase = i;
            return TRUE;
        }
    }
    return FALSE;
}

SnapsetJournal *
snapset_journal_decode(const char *text)
{
    g_autoptr(GVariant) value =
        g_utf8_validate(text, -1, NULL)
            ? g_variant_parse(G_VARIANT_TYPE_VARDICT, text, NULL, NULL, NULL)
            : NULL;
    if (value == NULL)
        return NULL;
    g_autoptr(GVariantDict) dict = g_variant_dict_new(value);
    guint32 version = 0;
    const char *operation = NULL;
    const char *phase = NULL;
    g_autofree char *tag = NULL;
    g_autoptr(GVariant) images =
        g_variant_dict_lookup_value(dict, "images", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) objects =
        g_variant_dict_lookup_value(dict, "objects", G_VARIANT_TYPE_BYTESTRING_ARRAY);

    if (!g_variant_dict_lookup(dict, "version", "u", &version) || version != LAYOUT_VERSION ||
        !g_variant_dict_lookup(dict, "operation", "&s", &operation) ||
        !g_variant_dict_lookup(dict, "phase", "&s", &phase) || images == NULL || objects == NULL)
        return NULL;
    g_autoptr(SnapsetJournal) journal = snapset_journal_alloc(operation);
    if (!decode_phase(phase, &journal->phase) ||
        !g_variant_dict_lookup(dict, "started", "x", &journal->started))
        return NULL;
    if (g_variant_dict_lookup(dict, "tag", "^ay", &tag))
        journal->tag = g_steal_pointer(&tag);
    journal->is_handed_over = lookup_number(dict, "handed-over") != 0;
    for (gsize i = 0; i < g_variant_n_children(objects); i++) {
        g_autoptr(GVariant) object = g_variant_get_child_value(objects, i);
        g_ptr_array_add(journal->objects, g_strdup(g_variant_get_bytestring(object)));
    }
    for (gsize i = 0; i < g_variant_n_children(images); i++) {
        g_autoptr(GVariant) image = g_variant_get_child_value(images, i);
        if (!decode_image(journal, image))
            return NULL;
    }
    return g_steal_pointer(&journal);
}
