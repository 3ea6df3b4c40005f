/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The snapshots of a set: the entries of all its images, put together by identity. */
#include "common/core/catalog.h"

#include <string.h>

#include "common/core/lineage.h"

static const char *const standing_names[] = {"complete", "partial", "colliding", "unproven"};
static const char *const source_names[] = {"none", "recorded", "libvirt", "inferred"};

G_STATIC_ASSERT(G_N_ELEMENTS(standing_names) == SNAPSET_UNPROVEN + 1);
G_STATIC_ASSERT(G_N_ELEMENTS(source_names) == SNAPSET_PARENT_INFERRED + 1);

const char *
snapset_standing_name(SnapsetStanding standing)
{
    return standing_names[standing];
}

const char *
snapset_parent_source_name(SnapsetParentSource source)
{
    return source_names[source];
}

/* ---- snapshots ---- */

static SnapsetSnapshot *
snapshot_new(const SnapsetEntry *entry)
{
    SnapsetSnapshot *snapshot = g_new0(SnapsetSnapshot, 1);
    snapshot->identity = entry->identity;
    snapshot->tag = entry->tag;
    snapshot->members = g_array_new(FALSE, FALSE, sizeof(SnapsetMember));
    return snapshot;
}

static void
snapshot_free(gpointer data)
{
    SnapsetSnapshot *snapshot = data;
    g_array_unref(snapshot->members);
    g_clear_pointer(&snapshot->parent_candidates, g_ptr_array_unref);
    g_free(snapshot);
}

gboolean
snapset_snapshot_is_external(const SnapsetSnapshot *snapshot)
{
    return snapset_snapshot_member(snapshot, 0)->entry->is_external;
}

gboolean
snapset_snapshot_is_buried(const SnapsetSnapshot *snapshot)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        if (member->link == 0 || member->entry->is_external)
            return FALSE;
    }
    return TRUE;
}

const SnapsetMember *
snapset_snapshot_member(const SnapsetSnapshot *snapshot, guint index)
{
    return &g_array_index(snapshot->members, SnapsetMember, index);
}

static int
compare_member_image(const void *a, const void *b)
{
    const SnapsetMember *left = a;
    const SnapsetMember *right = b;
    return (left->image > right->image) - (left->image < right->image);
}

const SnapsetMember *
snapset_snapshot_find(const SnapsetSnapshot *snapshot, guint index)
{
    SnapsetMember key = {.image = index};
    guint at = 0;

    if (!g_array_binary_search(snapshot->members, &key, compare_member_image, &at))
        return NULL;
    return snapset_snapshot_member(snapshot, at);
}

const SnapsetEntry *
snapset_snapshot_entry(const SnapsetSnapshot *snapshot, guint index)
{
    const SnapsetMember *member = snapset_snapshot_find(snapshot, index);
    return member != NULL ? member->entry : NULL;
}

guint64
snapset_snapshot_vm_state_size(const SnapsetSnapshot *snapshot)
{
    guint64 size = 0;
    for (guint i = 0; i < snapshot->members->len; i++)
        size = MAX(size, snapset_snapshot_member(snapshot, i)->entry->vm_state_size);
    return size;
}

const SnapsetMoment *
snapset_snapshot_moment(const SnapsetSnapshot *snapshot)
{
    return &snapset_snapshot_member(snapshot, 0)->entry->moment;
}

/* ---- grouping by identity ---- */

/* Entries that cannot be told apart by tag and identity: the nth of each image belong together. */
typedef struct {
    GPtrArray *snapshots;
    guint image; /* the image @used counts for */
    guint used;
} Twins;

static void
twins_free(gpointer data)
{
    Twins *twins = data;
    g_ptr_array_unref(twins->snapshots);
    g_free(twins);
}

static guint
hash_entry(gconstpointer key)
{
    const SnapsetEntry *entry = key;
    return snapset_uuid_hash(&entry->identity);
}

static gboolean
equal_entry(gconstpointer a, gconstpointer b)
{
    const SnapsetEntry *left = a;
    const SnapsetEntry *right = b;
    return snapset_uuid_equal(&left->identity, &right->identity) &&
           left->is_external == right->is_external && strcmp(left->tag, right->tag) == 0;
}

static SnapsetSnapshot *
twins_next(Twins *twins, guint image, const SnapsetEntry *entry, GPtrArray *snapshots)
{
    if (twins->image != image) {
        twins->image = image;
        twins->used = 0;
    }
    if (twins->used == twins->snapshots->len) {
        SnapsetSnapshot *snapshot = snapshot_new(entry);
        g_ptr_array_add(twins->snapshots, snapshot);
        g_ptr_array_add(snapshots, snapshot);
    }
    return twins->snapshots->pdata[twins->used++];
}

static void
add_member(SnapsetCatalog *catalog, GHashTable *groups, SnapsetMember member)
{
    Twins *twins = g_hash_table_lookup(groups, member.entry);

    if (twins == NULL) {
        twins = g_new0(Twins, 1);
        twins->snapshots = g_ptr_array_new();
        g_hash_table_insert(groups, (gpointer)member.entry, twins);
    }
    SnapsetSnapshot *snapshot = twins_next(twins, member.image, member.entry, catalog->snapshots);
    g_array_append_val(snapshot->members, member);
}

static void
group_by_identity(SnapsetCatalog *catalog)
{
    g_autoptr(GHashTable) groups = g_hash_table_new_full(hash_entry, equal_entry, NULL, twins_free);

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = catalog->images->pdata[i];
        for (guint j = 0; j < snapset_image_link_count(image); j++) {
            const SnapsetImage *link = snapset_image_link(image, j);
            for (guint k = 0; k < link->entries->len; k++)
                add_member(catalog, groups, (SnapsetMember){i, j, snapset_image_entry(link, k)});
            for (guint k = 0; link->externals != NULL && k < link->externals->len; k++)
                add_member(catalog, groups,
                           (SnapsetMember){i, j, &g_array_index(link->externals, SnapsetEntry, k)});
        }
    }
}

/* ---- equal tags on different moments ---- */

static gboolean
is_set_record(const SnapsetRecord *record)
{
    return record != NULL && !(record->flags & SNAPSET_RECORD_SINGLE);
}

/* How many images @rivals cover together; an image covered twice sets @ret_twice. */
static guint
count_images(GPtrArray *rivals, guint images, gboolean *ret_twice)
{
    g_autofree guint8 *seen = g_malloc0(images);
    guint count = 0;

    *ret_twice = FALSE;
    for (guint i = 0; i < rivals->len; i++) {
        const SnapsetSnapshot *snapshot = rivals->pdata[i];
        for (guint j = 0; j < snapshot->members->len; j++) {
            guint image = snapset_snapshot_member(snapshot, j)->image;
            *ret_twice |= seen[image];
            count += !seen[image];
            seen[image] = TRUE;
        }
    }
    return count;
}

static gboolean
may_be_one_operation(GPtrArray *rivals)
{
    SnapsetSpread spread = SNAPSET_SPREAD_INIT;

    for (guint i = 0; i < rivals->len; i++) {
        const SnapsetSnapshot *snapshot = rivals->pdata[i];
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetEntry *entry = snapset_snapshot_member(snapshot, j)->entry;
            if (is_set_record(entry->record))
                return FALSE;
            snapset_spread_add(&spread, &entry->moment, entry->vm_state_size);
        }
    }
    return snapset_spread_is_close(&spread);
}

/* Move all members into the first of @rivals; the emptied ones are swept away later. */
static void
merge_unproven(GPtrArray *rivals)
{
    SnapsetSnapshot *first = rivals->pdata[0];

    for (guint i = 1; i < rivals->len; i++) {
        SnapsetSnapshot *other = rivals->pdata[i];
        g_array_append_vals(first->members, other->members->data, other->members->len);
        g_array_set_size(other->members, 0);
    }
    g_array_sort(first->members, compare_member_image);
    first->identity = snapset_snapshot_member(first, 0)->entry->identity;
    first->standing = SNAPSET_UNPROVEN;
}

/* @rivals: all incomplete snapshots that share a tag. */
static void
judge_rivals(GPtrArray *rivals, guint images)
{
    gboolean twice = FALSE;
    guint together = count_images(rivals, images, &twice);

    if (rivals->len > 1 && !twice && may_be_one_operation(rivals)) {
        merge_unproven(rivals);
        return;
    }
    for (guint i = 0; i < rivals->len; i++) {
        SnapsetSnapshot *snapshot = rivals->pdata[i];
        snapshot->standing =
            snapshot->members->len < together ? SNAPSET_COLLIDING : SNAPSET_PARTIAL;
    }
}

static void
judge_standing(SnapsetCatalog *catalog)
{
    g_autoptr(GHashTable) by_tag =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
    GHashTableIter iter;
    gpointer rivals;

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapshot->members->len == catalog->images->len)
            continue;
        rivals = g_hash_table_lookup(by_tag, snapshot->tag);
        if (rivals == NULL) {
            rivals = g_ptr_array_new();
            g_hash_table_insert(by_tag, (gpointer)snapshot->tag, rivals);
        }
        g_ptr_array_add(rivals, snapshot);
    }
    g_hash_table_iter_init(&iter, by_tag);
    while (g_hash_table_iter_next(&iter, NULL, &rivals))
        judge_rivals(rivals, catalog->images->len);
}

/* ---- what the records say of a snapshot ---- */

static void
read_records(SnapsetSnapshot *snapshot)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetRecord *record = snapset_snapshot_member(snapshot, i)->entry->record;
        if (record == NULL)
            continue;
        snapshot->is_recorded |= snapshot->standing != SNAPSET_UNPROVEN;
        snapshot->is_protected |= (record->flags & SNAPSET_RECORD_PROTECTED) != 0;
        if (is_set_record(record))
            snapshot->covers = MAX(snapshot->covers, record->members);
        if (snapshot->description == NULL)
            snapshot->description = record->description;
    }
}

static int
compare_dates(gconstpointer a, gconstpointer b)
{
    const SnapsetMoment *left = snapset_snapshot_moment(*(SnapsetSnapshot *const *)a);
    const SnapsetMoment *right = snapset_snapshot_moment(*(SnapsetSnapshot *const *)b);

    if (left->date_sec != right->date_sec)
        return left->date_sec < right->date_sec ? -1 : 1;
    return (left->date_nsec > right->date_nsec) - (left->date_nsec < right->date_nsec);
}

static void
sweep_and_sort(SnapsetCatalog *catalog)
{
    for (guint i = catalog->snapshots->len; i-- > 0;) {
        if (snapset_catalog_snapshot(catalog, i)->members->len == 0)
            g_ptr_array_remove_index(catalog->snapshots, i);
    }
    g_ptr_array_sort(catalog->snapshots, compare_dates);
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        snapshot->index = i;
        read_records(snapshot);
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetEntry *entry = snapset_snapshot_member(snapshot, j)->entry;
            if (!g_hash_table_contains(catalog->by_identity, &entry->identity))
                g_hash_table_insert(catalog->by_identity, (gpointer)&entry->identity, snapshot);
        }
    }
}

static void
index_collisions(SnapsetCatalog *catalog)
{
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapshot->standing != SNAPSET_COLLIDING)
            continue;
        GPtrArray *rivals = g_hash_table_lookup(catalog->colliding, snapshot->tag);
        if (rivals == NULL) {
            rivals = g_ptr_array_new();
            g_hash_table_insert(catalog->colliding, (gpointer)snapshot->tag, rivals);
        }
        g_ptr_array_add(rivals, snapshot);
    }
}

/* ---- the catalogue ---- */

SnapsetCatalog *
snapset_catalog_new(GPtrArray *images)
{
    SnapsetCatalog *catalog = g_new0(SnapsetCatalog, 1);

    catalog->images = g_ptr_array_ref(images);
    catalog->snapshots = g_ptr_array_new_with_free_func(snapshot_free);
    catalog->by_identity = g_hash_table_new(snapset_uuid_hash, snapset_uuid_equal_func);
    catalog->colliding =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
    catalog->currents = g_array_new(FALSE, TRUE, sizeof(SnapsetSnapshot *));
    group_by_identity(catalog);
    judge_standing(catalog);
    sweep_and_sort(catalog);
    index_collisions(catalog);
    snapset_lineage_resolve(catalog);
    return catalog;
}

void
snapset_catalog_free(SnapsetCatalog *catalog)
{
    if (catalog == NULL)
        return;
    g_ptr_array_unref(catalog->images);
    g_ptr_array_unref(catalog->snapshots);
    g_hash_table_unref(catalog->by_identity);
    g_hash_table_unref(catalog->colliding);
    g_array_unref(catalog->currents);
    g_free(catalog);
}

const SnapsetImage *
snapset_catalog_image(const SnapsetCatalog *catalog, guint index)
{
    return catalog->images->pdata[index];
}

SnapsetSnapshot *
snapset_catalog_snapshot(const SnapsetCatalog *catalog, guint index)
{
    return catalog->snapshots->pdata[index];
}

const SnapsetImage *
snapset_catalog_holder(const SnapsetCatalog *catalog, const SnapsetMember *member)
{
    const SnapsetImage *image = snapset_catalog_image(catalog, member->image);
    guint link = member->link + (member->entry->is_external ? 1 : 0);

    return link < snapset_image_link_count(image) ? snapset_image_link(image, link) : NULL;
}

static GPtrArray *
filenames(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot, gboolean having)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < catalog->images->len; i++) {
        if ((snapset_snapshot_entry(snapshot, i) != NULL) == having)
            g_ptr_array_add(names, snapset_catalog_image(catalog, i)->filename);
    }
    return names;
}

GPtrArray *
snapset_catalog_having(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    return filenames(catalog, snapshot, TRUE);
}

GPtrArray *
snapset_catalog_missing(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    return filenames(catalog, snapshot, FALSE);
}

SnapsetSnapshot *
snapset_catalog_find(const SnapsetCatalog *catalog, const SnapsetUuid *identity)
{
    return g_hash_table_lookup(catalog->by_identity, identity);
}
