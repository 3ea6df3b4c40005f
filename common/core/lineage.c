/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lineage: which snapshot each came from, and where the images stand. */
#include "common/core/lineage.h"

static guint
count_records(const SnapsetImage *image)
{
    guint count = 0;
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        const SnapsetLedger *ledger = snapset_image_link(image, i)->ledger;
        count += ledger != NULL ? ledger->records->len : 0;
    }
    return count;
}

/* The snapshot that @identity names, or the nearest existing one above it by @image's records. */
static SnapsetSnapshot *
climb(const SnapsetCatalog *catalog, const SnapsetImage *image, SnapsetUuid identity)
{
    guint limit = count_records(image);

    /* At most one step a record, so a loop in hostile records ends too. */
    for (guint steps = 0; steps <= limit; steps++) {
        if (snapset_uuid_is_nil(&identity))
            return NULL;
        SnapsetSnapshot *snapshot = snapset_catalog_find(catalog, &identity);
        if (snapshot != NULL)
            return snapshot;
        const SnapsetRecord *gone = snapset_image_find_record(image, &identity);
        if (gone == NULL)
            return NULL;
        identity = gone->parent;
    }
    return NULL;
}

static gboolean
array_holds(GPtrArray *array, gconstpointer item)
{
    return g_ptr_array_find(array, item, NULL);
}

static void
resolve_parent(const SnapsetCatalog *catalog, SnapsetSnapshot *snapshot)
{
    g_autoptr(GPtrArray) parents = g_ptr_array_new();
    gboolean inferred = FALSE;
    gboolean libvirt = FALSE;
    gboolean any = FALSE;

    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        const SnapsetRecord *record = member->entry->record;
        if (record == NULL || snapset_record_parent_is_unknown(record))
            continue;
        const SnapsetImage *image = snapset_catalog_image(catalog, member->image);
        SnapsetSnapshot *parent = climb(catalog, image, record->parent);
        any = TRUE;
        inferred |= (record->flags & SNAPSET_RECORD_PARENT_INFERRED) != 0;
        libvirt |= (record->flags & SNAPSET_RECORD_PARENT_LIBVIRT) != 0;
        if (parent != NULL && parent != snapshot && !array_holds(parents, parent))
            g_ptr_array_add(parents, parent);
    }
    if (!any)
        return;
    snapshot->parent_source = inferred && parents->len > 0 ? SNAPSET_PARENT_INFERRED
                              : libvirt                    ? SNAPSET_PARENT_LIBVIRT
                                                           : SNAPSET_PARENT_RECORDED;
    if (parents->len == 1)
        snapshot->parent = parents->pdata[0];
    else if (parents->len > 1)
        snapshot->parent_candidates = g_steal_pointer(&parents);
}

/* Cut every loop that hostile or mixed-up records close, so that walks end. */
static void
cut_loops(SnapsetCatalog *catalog)
{
    g_autofree guint *visit = g_new0(guint, catalog->snapshots->len);

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        while (snapshot != NULL && visit[snapshot->index] == 0) {
            visit[snapshot->index] = i + 1;
            if (snapshot->parent != NULL && visit[snapshot->parent->index] == i + 1)
                snapshot->parent = NULL;
            snapshot = snapshot->parent;
        }
    }
}

static void
resolve_currents(SnapsetCatalog *catalog)
{
    SnapsetSnapshot *common = NULL;
    gboolean agree = TRUE;

    g_array_set_size(catalog->currents, catalog->images->len);
    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        SnapsetUuid uuid = snapset_image_current(image);
        if (snapset_uuid_is_nil(&uuid))
            continue;
        SnapsetSnapshot *current = climb(catalog, image, uuid);
        g_array_index(catalog->currents, SnapsetSnapshot *, i) = current;
        agree &= current != NULL && (common == NULL || common == current);
        common = current;
    }
    if (agree && common != NULL)
        common->is_current = TRUE;
}

void
snapset_lineage_resolve(SnapsetCatalog *catalog)
{
    for (guint i = 0; i < catalog->snapshots->len; i++)
        resolve_parent(catalog, snapset_catalog_snapshot(catalog, i));
    cut_loops(catalog);
    resolve_currents(catalog);
}

gboolean
snapset_lineage_agree(const SnapsetCatalog *catalog, guint a, guint b)
{
    SnapsetUuid left = snapset_image_current(snapset_catalog_image(catalog, a));
    SnapsetUuid right = snapset_image_current(snapset_catalog_image(catalog, b));

    if (snapset_uuid_is_nil(&left) || snapset_uuid_is_nil(&right) ||
        snapset_uuid_equal(&left, &right))
        return TRUE;
    const SnapsetSnapshot *at = g_array_index(catalog->currents, SnapsetSnapshot *, a);
    return at != NULL && at == g_array_index(catalog->currents, SnapsetSnapshot *, b);
}

/*
 * An overlay without entries of its own can have come from nothing but what it stands on, whoever
 * wrote to it.
 */
static gboolean
must_stand_at(const SnapsetImage *image, const SnapsetUuid *current)
{
    gboolean found = FALSE;

    for (guint i = 0; image->externals != NULL && i < image->externals->len; i++) {
        const SnapsetEntry *entry = &g_array_index(image->externals, SnapsetEntry, i);
        found |= snapset_uuid_equal(&entry->identity, current);
    }
    return found && image->entries->len == 0;
}

SnapsetUuid
snapset_lineage_next_parent(const SnapsetCatalog *catalog, guint index, gboolean *ret_inferred)
{
    const SnapsetImage *image = snapset_catalog_image(catalog, index);
    SnapsetUuid current = snapset_image_current(image);

    for (guint i = 0; snapset_uuid_is_nil(&current) && i < catalog->images->len; i++) {
        image = snapset_catalog_image(catalog, i);
        current = snapset_image_current(image);
    }
    *ret_inferred =
        !snapset_uuid_is_nil(&current) && !image->sealed && !must_stand_at(image, &current);
    return current;
}

GPtrArray *
snapset_lineage_descendants(const SnapsetCatalog *catalog, const SnapsetSnapshot *ancestor)
{
    GPtrArray *descendants = g_ptr_array_new();
    g_autoptr(GHashTable) children =
        g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_ptr_array_unref);

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapshot->parent == NULL)
            continue;
        GPtrArray *siblings = g_hash_table_lookup(children, snapshot->parent);
        if (siblings == NULL) {
            siblings = g_ptr_array_new();
            g_hash_table_insert(children, snapshot->parent, siblings);
        }
        g_ptr_array_add(siblings, snapshot);
    }
    const SnapsetSnapshot *at = ancestor;
    for (guint next = 0; at != NULL;
         at = next < descendants->len ? descendants->pdata[next++] : NULL) {
        GPtrArray *siblings = g_hash_table_lookup(children, at);
        if (siblings != NULL)
            g_ptr_array_extend(descendants, siblings, NULL, NULL);
    }
    return descendants;
}

/* ---- changes to a ledger ---- */

SnapsetLedger *
snapset_lineage_ledger(const SnapsetImage *image)
{
    SnapsetLedger *ledger =
        image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
    if (!image->sealed)
        snapset_lineage_thaw(ledger);
    return ledger;
}

SnapsetRecord *
snapset_lineage_record(SnapsetLedger *ledger, const SnapsetEntry *entry)
{
    SnapsetRecord *record = snapset_ledger_find(ledger, &entry->identity);

    if (record == NULL) {
        record = snapset_record_new(&entry->identity, snapset_identity_binding(&entry->derived));
        record->flags = SNAPSET_RECORD_PARENT_INFERRED; /* with a nil parent: not known */
        g_ptr_array_add(ledger->records, record);
    }
    return record;
}

SnapsetRecord *
snapset_lineage_adopt(SnapsetLedger *ledger, const SnapsetEntry *entry, const SnapsetUuid *identity,
                      guint members)
{
    SnapsetRecord *record = snapset_lineage_record(ledger, entry);

    record->identity = *identity;
    record->members = (guint16)MIN(members, G_MAXUINT16);
    record->flags &= ~SNAPSET_RECORD_SINGLE;
    return record;
}

void
snapset_lineage_take_parent(SnapsetRecord *record, const SnapsetUuid *parent)
{
    if (!(record->flags & SNAPSET_RECORD_PARENT_INFERRED))
        return;
    record->parent = *parent;
    record->flags &= ~SNAPSET_RECORD_PARENT_INFERRED;
    record->flags |= SNAPSET_RECORD_PARENT_LIBVIRT;
}

void
snapset_lineage_repoint(SnapsetLedger *ledger, const SnapsetUuid *from, const SnapsetUuid *to)
{
    if (snapset_uuid_equal(&ledger->current, from))
        ledger->current = *to;
    for (guint i = 0; i < ledger->records->len; i++) {
        SnapsetRecord *record = ledger->records->pdata[i];
        if (snapset_uuid_equal(&record->parent, from))
            record->parent = *to;
    }
}

/* Children of @gone, and current, move to its parent. */
static void
climb_over(SnapsetLedger *ledger, const SnapsetUuid *gone, const SnapsetUuid *parent,
           gboolean is_unknown)
{
    for (guint i = 0; is_unknown && i < ledger->records->len; i++) {
        SnapsetRecord *child = ledger->records->pdata[i];
        if (snapset_uuid_equal(&child->parent, gone))
            child->flags |= SNAPSET_RECORD_PARENT_INFERRED; /* and no root */
    }
    snapset_lineage_repoint(ledger, gone, parent);
}

void
snapset_lineage_forget(SnapsetLedger *ledger, const SnapsetRecord *gone)
{
    SnapsetRecord *record = snapset_ledger_find(ledger, &gone->identity);

    climb_over(ledger, &gone->identity, &gone->parent, snapset_record_parent_is_unknown(gone));
    if (record != NULL)
        g_ptr_array_remove(ledger->records, record);
}

void
snapset_lineage_remove(SnapsetLedger *ledger, const SnapsetUuid *identity)
{
    const SnapsetRecord *record = snapset_ledger_find(ledger, identity);

    if (record == NULL) {
        climb_over(ledger, identity, &snapset_uuid_nil, TRUE);
        return;
    }
    g_autoptr(SnapsetRecord) gone = snapset_record_copy(record);
    snapset_lineage_forget(ledger, gone);
}

static SnapsetRecord *
external_record(const SnapsetExternal *external, const SnapsetUuid *parent, gboolean inferred)
{
    SnapsetRecord *record = snapset_record_new(&external->identity, 0);

    record->flags = SNAPSET_RECORD_EXTERNAL;
    if (inferred)
        record->flags |= SNAPSET_RECORD_PARENT_INFERRED;
    record->members = (guint16)MIN(external->members, G_MAXUINT16);
    record->parent = *parent;
    record->tag = g_strdup(external->tag);
    record->description = g_strdup(external->description);
    return record;
}

SnapsetLedger *
snapset_lineage_overlay(const SnapsetExternal *external, const SnapsetUuid *parent,
                        gboolean inferred, gboolean base_sealed)
{
    SnapsetLedger *ledger = snapset_ledger_new();
    SnapsetRecord *record = external_record(external, parent, inferred);

    if (base_sealed)
        record->flags |= SNAPSET_RECORD_BASE_SEALED;
    g_ptr_array_add(ledger->records, record);
    ledger->current = external->identity;
    return ledger;
}

void
snapset_lineage_freeze(SnapsetLedger *ledger, const SnapsetExternal *external,
                       const SnapsetUuid *parent, gboolean inferred)
{
    SnapsetRecord *record = external_record(external, parent, inferred);

    record->flags |= SNAPSET_RECORD_FROZEN;
    g_ptr_array_add(ledger->records, record);
    ledger->current = external->identity;
}

static gboolean
is_overlay_record(const SnapsetRecord *record)
{
    return record->flags & SNAPSET_RECORD_EXTERNAL && !(record->flags & SNAPSET_RECORD_FROZEN);
}

/* What the frozen @base is, in the words of an overlay; TRUE when that is news. */
static gboolean
stand_on_record(SnapsetLedger *ledger, const SnapsetRecord *base)
{
    SnapsetRecord *known = snapset_ledger_find(ledger, &base->identity);

    if (known != NULL && known->flags & SNAPSET_RECORD_BASE_SEALED)
        return FALSE;
    if (known == NULL) {
        known = snapset_record_copy(base);
        known->flags &= ~SNAPSET_RECORD_FROZEN;
        g_ptr_array_add(ledger->records, known);
    }
    known->flags |= SNAPSET_RECORD_BASE_SEALED;
    if (snapset_uuid_is_nil(&ledger->current))
        ledger->current = base->identity;
    return TRUE;
}

gboolean
snapset_lineage_stand_on(SnapsetLedger *ledger, const SnapsetImage *base, gboolean only)
{
    gboolean changed = FALSE;

    for (guint i = ledger->records->len; only && i-- > 0;) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        if (!is_overlay_record(record) || snapset_image_is_frozen_as(base, &record->identity))
            continue;
        snapset_lineage_remove(ledger, &record->identity);
        changed = TRUE;
    }
    for (guint i = 0; base->ledger != NULL && i < base->ledger->records->len; i++) {
        const SnapsetRecord *record = base->ledger->records->pdata[i];
        if (snapset_image_is_frozen_as(base, &record->identity))
            changed |= stand_on_record(ledger, record);
    }
    return changed;
}

void
snapset_lineage_thaw(SnapsetLedger *ledger)
{
    for (guint i = ledger->records->len; i-- > 0;) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        if (record->flags & SNAPSET_RECORD_FROZEN)
            snapset_lineage_remove(ledger, &record->identity);
    }
}

/* Take over what @ledger says, but for what it says of its image's backing file. */
static void
take_over(SnapsetLedger *merged, const SnapsetLedger *ledger, gboolean is_uppermost)
{
    for (guint i = 0; i < ledger->records->len; i++) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        gboolean is_frozen = (record->flags & SNAPSET_RECORD_FROZEN) != 0;
        if ((record->flags & SNAPSET_RECORD_EXTERNAL) && !(is_frozen && is_uppermost))
            continue;
        if (snapset_ledger_find(merged, &record->identity) == NULL)
            g_ptr_array_add(merged->records, snapset_record_copy(record));
    }
    merged->current = ledger->current;
}

SnapsetLedger *
snapset_lineage_merge(const SnapsetLedger *base, GPtrArray *above)
{
    SnapsetLedger *merged = snapset_ledger_copy(base);

    for (guint i = merged->records->len; i-- > 0;) {
        const SnapsetRecord *record = merged->records->pdata[i];
        if (record->flags & SNAPSET_RECORD_FROZEN)
            g_ptr_array_remove_index(merged->records, i);
    }
    for (guint i = 0; i < above->len; i++) {
        if (above->pdata[i] != NULL)
            take_over(merged, above->pdata[i], i + 1 == above->len);
    }
    return merged;
}

void
snapset_lineage_compact(SnapsetLedger *ledger, const SnapsetImage *image)
{
    g_autoptr(GHashTable) live = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_autofree guint64 *bindings = g_new0(guint64, MAX(image->entries->len, 1));

    for (guint i = 0; i < image->entries->len; i++) {
        bindings[i] = snapset_identity_binding(&snapset_image_entry(image, i)->derived);
        g_hash_table_add(live, &bindings[i]);
    }
    for (guint i = ledger->records->len; i-- > 0;) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        gboolean is_old =
            image->ledger != NULL && snapset_ledger_find(image->ledger, &record->identity) != NULL;
        if (is_old && !(record->flags & SNAPSET_RECORD_EXTERNAL) &&
            !g_hash_table_contains(live, &record->binding))
            snapset_lineage_remove(ledger, &record->identity);
    }
}
