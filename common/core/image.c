/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk image in memory. */
#include "common/core/image.h"

#include <string.h>

SnapsetImage *
snapset_image_new(const char *filename, const char *format)
{
    SnapsetImage *image = g_new0(SnapsetImage, 1);
    image->filename = g_strdup(filename);
    image->format = g_strdup(format);
    image->entries = g_array_new(FALSE, TRUE, sizeof(SnapsetEntry));
    return image;
}

void
snapset_image_free(SnapsetImage *image)
{
    if (image == NULL)
        return;
    g_free(image->filename);
    g_free(image->format);
    g_free(image->backing_filename);
    g_free(image->backing_format);
    g_clear_pointer(&image->backing, g_ptr_array_unref);
    g_free(image->chain_end_name);
    snapset_qcow2_header_free(image->header);
    g_array_unref(image->entries);
    g_clear_pointer(&image->externals, g_array_unref);
    g_clear_pointer(&image->strings, g_string_chunk_free);
    snapset_ledger_free(image->ledger);
    g_free(image);
}

static const char *
keep_string(SnapsetImage *image, SnapsetBytes bytes)
{
    if (image->strings == NULL)
        image->strings = g_string_chunk_new(64);
    if (bytes.size == 0)
        return "";
    gsize length = strnlen((const char *)bytes.data, bytes.size);
    return g_string_chunk_insert_len(image->strings, (const char *)bytes.data, length);
}

SnapsetEntry *
snapset_image_add_entry(SnapsetImage *image, SnapsetBytes id, SnapsetBytes name,
                        const SnapsetMoment *moment)
{
    SnapsetEntry entry = {
        .id = keep_string(image, id),
        .tag = keep_string(image, name),
        .moment = *moment,
    };
    entry.tag_has_nul = strlen(entry.tag) < name.size;
    entry.moment.tag = entry.tag;
    entry.derived = snapset_identity_derive(&entry.moment);
    entry.identity = entry.derived;
    g_array_append_val(image->entries, entry);
    return &g_array_index(image->entries, SnapsetEntry, image->entries->len - 1);
}

/* Up to so many records a search from the first is faster than a table. */
#define FEW_RECORDS 16

static const SnapsetRecord *
search_record(const SnapsetLedger *ledger, guint64 binding)
{
    for (guint i = ledger->records->len; i-- > 0;) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        if (record->binding == binding && !(record->flags & SNAPSET_RECORD_EXTERNAL))
            return record;
    }
    return NULL;
}

static GHashTable *
index_records(const SnapsetLedger *ledger)
{
    GHashTable *by_binding = g_hash_table_new(g_int64_hash, g_int64_equal);
    for (guint i = 0; i < ledger->records->len; i++) {
        SnapsetRecord *record = ledger->records->pdata[i];
        if (!(record->flags & SNAPSET_RECORD_EXTERNAL))
            g_hash_table_insert(by_binding, &record->binding, record);
    }
    return by_binding;
}

/* @record says what the backing file is. */
static void
add_external(SnapsetImage *image, const SnapsetRecord *record)
{
    guint64 time = snapset_uuid_time(&record->identity);
    SnapsetEntry entry = {
        .id = "",
        .tag = record->tag != NULL ? record->tag : "",
        .disk_size = image->virtual_size,
        .is_external = TRUE,
        .derived = record->identity,
        .record = record,
        .identity = record->identity,
    };

    entry.moment = (SnapsetMoment){.date_sec = (guint32)(time / 1000),
                                   .date_nsec = (guint32)(time % 1000) * 1000000,
                                   .tag = entry.tag};
    if (image->externals == NULL)
        image->externals = g_array_new(FALSE, TRUE, sizeof(SnapsetEntry));
    g_array_append_val(image->externals, entry);
}

static void
add_externals(SnapsetImage *image)
{
    for (guint i = 0; image->backing_filename != NULL && i < image->ledger->records->len; i++) {
        const SnapsetRecord *record = image->ledger->records->pdata[i];
        if (record->flags & SNAPSET_RECORD_EXTERNAL && !(record->flags & SNAPSET_RECORD_FROZEN))
            add_external(image, record);
    }
}

void
snapset_image_finish(SnapsetImage *image)
{
    g_autoptr(GHashTable) by_binding = NULL;

    if (image->ledger == NULL || image->ledger->records->len == 0)
        return;
    add_externals(image);
    if (image->ledger->records->len > FEW_RECORDS)
        by_binding = index_records(image->ledger);
    for (guint i = 0; i < image->entries->len; i++) {
        SnapsetEntry *entry = &g_array_index(image->entries, SnapsetEntry, i);
        guint64 binding = snapset_identity_binding(&entry->derived);
        entry->record = by_binding != NULL ? g_hash_table_lookup(by_binding, &binding)
                                           : search_record(image->ledger, binding);
        if (entry->record != NULL)
            entry->identity = entry->record->identity;
    }
}

void
snapset_image_set_ledger(SnapsetImage *image, SnapsetLedger *ledger)
{
    for (guint i = 0; i < image->entries->len; i++) {
        SnapsetEntry *entry = &g_array_index(image->entries, SnapsetEntry, i);
        entry->record = NULL;
        entry->identity = entry->derived;
    }
    g_clear_pointer(&image->externals, g_array_unref);
    snapset_ledger_free(image->ledger);
    image->ledger = ledger;
    image->ledger_state = SNAPSET_LEDGER_GOOD;
    snapset_image_finish(image);
}

guint
snapset_image_entry_count(const SnapsetImage *image)
{
    return image->entries->len;
}

const SnapsetEntry *
snapset_image_entry(const SnapsetImage *image, guint index)
{
    return &g_array_index(image->entries, SnapsetEntry, index);
}

const SnapsetEntry *
snapset_image_find_identity(const SnapsetImage *image, const SnapsetUuid *identity)
{
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        if (snapset_uuid_equal(&entry->identity, identity))
            return entry;
    }
    return NULL;
}

const SnapsetEntry *
snapset_image_find_loaded(const SnapsetImage *image, const char *name)
{
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        if (strcmp(entry->id, name) == 0)
            return entry;
    }
    return snapset_image_find_tag(image, name);
}

guint
snapset_image_count_tag(const SnapsetImage *image, const char *tag)
{
    guint count = 0;
    for (guint i = 0; i < image->entries->len; i++)
        count += strcmp(snapset_image_entry(image, i)->tag, tag) == 0;
    return count;
}

guint
snapset_image_count_id(const SnapsetImage *image, const char *id)
{
    guint count = 0;
    for (guint i = 0; i < image->entries->len; i++)
        count += strcmp(snapset_image_entry(image, i)->id, id) == 0;
    return count;
}

SnapsetUuid
snapset_image_current(const SnapsetImage *image)
{
    return image->ledger != NULL ? image->ledger->current : snapset_uuid_nil;
}

/* ---- the chain ---- */

guint
snapset_image_link_count(const SnapsetImage *image)
{
    return 1 + (image->backing != NULL ? image->backing->len : 0);
}

const SnapsetImage *
snapset_image_link(const SnapsetImage *image, guint link)
{
    return link == 0 ? image : image->backing->pdata[link - 1];
}

static const SnapsetEntry *
find_tag(const GArray *entries, const char *tag)
{
    for (guint i = 0; entries != NULL && i < entries->len; i++) {
        const SnapsetEntry *entry = &g_array_index(entries, SnapsetEntry, i);
        if (strcmp(entry->tag, tag) == 0)
            return entry;
    }
    return NULL;
}

const SnapsetEntry *
snapset_image_find_tag(const SnapsetImage *image, const char *tag)
{
    return find_tag(image->entries, tag);
}

const SnapsetEntry *
snapset_image_find_tag_in_chain(const SnapsetImage *image, const char *tag)
{
    const SnapsetEntry *found = NULL;

    for (guint i = 0; found == NULL && i < snapset_image_link_count(image); i++) {
        const SnapsetImage *link = snapset_image_link(image, i);
        found = find_tag(link->entries, tag);
        if (found == NULL)
            found = find_tag(link->externals, tag);
    }
    return found;
}

const SnapsetRecord *
snapset_image_find_record(const SnapsetImage *image, const SnapsetUuid *identity)
{
    const SnapsetRecord *found = NULL;

    for (guint i = 0; found == NULL && i < snapset_image_link_count(image); i++) {
        const SnapsetImage *link = snapset_image_link(image, i);
        if (link->ledger != NULL)
            found = snapset_ledger_find(link->ledger, identity);
    }
    return found;
}

gboolean
snapset_image_is_frozen_as(const SnapsetImage *image, const SnapsetUuid *identity)
{
    for (guint i = 0; image->sealed && image->ledger != NULL && i < image->ledger->records->len;
         i++) {
        const SnapsetRecord *record = image->ledger->records->pdata[i];
        if ((record->flags & SNAPSET_RECORD_FROZEN) &&
            (identity == NULL || snapset_uuid_equal(&record->identity, identity)))
            return TRUE;
    }
    return FALSE;
}

guint
snapset_image_file_hash(gconstpointer image)
{
    const SnapsetImage *file = image;
    return g_int64_hash(&file->inode) ^ g_int64_hash(&file->device);
}

gboolean
snapset_image_file_equal(gconstpointer a, gconstpointer b)
{
    const SnapsetImage *left = a;
    const SnapsetImage *right = b;
    return left->inode == right->inode && left->device == right->device;
}
