/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules over a snapshot command on its way to a running QEMU. */
#include "common/core/live.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"

static void
file_free(gpointer data)
{
    SnapsetLiveFile *file = data;
    g_free(file->path);
    g_free(file->format);
    g_free(file);
}

SnapsetLiveRequest *
snapset_live_request_new(SnapsetLiveKind kind)
{
    SnapsetLiveRequest *request = g_new0(SnapsetLiveRequest, 1);
    request->kind = kind;
    request->nodes = g_ptr_array_new_with_free_func(g_free);
    request->overlays = g_ptr_array_new_with_free_func(g_free);
    request->files = g_ptr_array_new_with_free_func(file_free);
    return request;
}

void
snapset_live_request_free(SnapsetLiveRequest *request)
{
    if (request == NULL)
        return;
    g_free(request->tag);
    g_free(request->id);
    g_ptr_array_unref(request->nodes);
    g_ptr_array_unref(request->overlays);
    g_ptr_array_unref(request->files);
    g_free(request->below);
    g_free(request->path);
    g_free(request);
}

void
snapset_live_request_add_file(SnapsetLiveRequest *request, const char *path, const char *format,
                              gboolean is_made)
{
    SnapsetLiveFile *file = g_new0(SnapsetLiveFile, 1);
    file->path = g_strdup(path);
    file->format = g_strdup(format != NULL ? format : "qcow2");
    file->is_made = is_made;
    g_ptr_array_add(request->files, file);
}

/* ---- which disks ---- */

static gboolean
is_covered(const SnapsetLiveRequest *request, const SnapsetDisk *disk)
{
    if (request->covers_all || disk->node == NULL) /* without a name there is no telling */
        return TRUE;
    return g_ptr_array_find_with_equal_func(request->nodes, disk->node, g_str_equal, NULL);
}

/* The disks left out; targets borrowed, array owned. */
static GPtrArray *
left_out(const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    GPtrArray *targets = g_ptr_array_new();
    for (guint i = 0; i < domain->disks->len; i++) {
        const SnapsetDisk *disk = domain->disks->pdata[i];
        if (!is_covered(request, disk))
            g_ptr_array_add(targets, disk->target);
    }
    return targets;
}

void
snapset_rules_coverage(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
                       SnapsetReport *report)
{
    g_autoptr(GPtrArray) targets = left_out(domain, request);
    gboolean touches_none = targets->len == domain->disks->len;

    /* About other nodes altogether: disks whose changes are thrown away, say. */
    if (targets->len == 0 || touches_none)
        return;
    g_autofree char *names = snapset_format_names(targets);
    if (request->kind == SNAPSET_LIVE_LOAD)
        snapset_report_add(report, SNAPSET_RULE_COVERAGE, request->tag, targets,
                           g_strdup("load it on every writable disk"),
                           "the load would leave out writable disks: %s", names);
    else if (request->kind == SNAPSET_LIVE_EXTERNAL && !request->in_transaction)
        snapset_report_add(report, SNAPSET_RULE_ATOMIC, request->tag, targets,
                           g_strdup("take the overlays of all disks in one transaction"),
                           "a snapshot of one disk alone; writable disks left out: %s", names);
    else
        snapset_report_add(report, SNAPSET_RULE_COVERAGE, request->tag, targets,
                           g_strdup("include every writable disk"),
                           "the %s would leave out writable disks: %s",
                           request->kind == SNAPSET_LIVE_DELETE ? "deletion" : "snapshot", names);
}

/* ---- loading ---- */

static void
check_loaded_image(const SnapsetImage *image, const char *tag, SnapsetReport *report)
{
    const SnapsetEntry *entry = snapset_image_find_tag(image, tag);
    g_autofree char *quoted = snapset_format_quoted(tag);
    g_autofree char *name = snapset_format_escaped(image->filename);

    if (snapset_image_count_tag(image, tag) > 1)
        snapset_report_add_image(report, SNAPSET_RULE_TAG_DUPLICATE, tag, image->filename, NULL,
                                 "%s has tag %s more than once, and QEMU would take the first",
                                 name, quoted);
    if (snapset_image_find_loaded(image, tag) != entry)
        snapset_report_add_image(report, SNAPSET_RULE_TAG_NUMERIC, tag, image->filename, NULL,
                                 "on %s tag %s is the ID of another snapshot, and QEMU would load "
                                 "that",
                                 name, quoted);
    if (image->has_bitmaps)
        snapset_report_add_image(report, SNAPSET_RULE_LOAD_WOULD_FAIL, tag, image->filename, NULL,
                                 "%s has a dirty bitmap: the load would fail half-way", name);
    if (entry != NULL && image->header != NULL && entry->disk_size != image->virtual_size)
        snapset_report_add_image(report, SNAPSET_RULE_LOAD_WOULD_FAIL, tag, image->filename, NULL,
                                 "snapshot %s has another size than %s has today", quoted, name);
}

static void
check_load(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    if (g_hash_table_contains(catalog->colliding, tag))
        snapset_rules_collision(catalog, tag, report);
    for (guint i = 0; i < catalog->images->len; i++)
        check_loaded_image(snapset_catalog_image(catalog, i), tag, report);
}

/* ---- deleting ---- */

/* Whether it is @entry, of the disk number @image, that QEMU would delete. */
static gboolean
is_deleted(const SnapsetDomain *domain, const SnapsetLiveRequest *request, guint image,
           const SnapsetEntry *entry)
{
    return is_covered(request, domain->disks->pdata[image]) &&
           (request->tag == NULL || strcmp(entry->tag, request->tag) == 0) &&
           (request->id == NULL || strcmp(entry->id, request->id) == 0);
}

/* Whether QEMU would delete some entry of @snapshot. */
static gboolean
is_hit(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
       const SnapsetSnapshot *snapshot)
{
    gboolean hit = FALSE;

    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        /* what stands in a backing file is out of its reach */
        hit |= member->link == 0 && !member->entry->is_external &&
               is_deleted(domain, request, member->image, member->entry);
    }
    return hit;
}

/* One command that deletes different snapshots because they share a tag. */
static void
check_deleted_rivals(const SnapsetCatalog *catalog, const SnapsetDomain *domain,
                     const SnapsetLiveRequest *request, SnapsetReport *report)
{
    const GPtrArray *rivals = g_hash_table_lookup(catalog->colliding, request->tag);
    guint hits = 0;

    for (guint i = 0; rivals != NULL && i < rivals->len; i++)
        hits += is_hit(domain, request, rivals->pdata[i]);
    if (hits > 1)
        snapset_rules_collision(catalog, request->tag, report);
}

static void
check_protected(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
                const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                SnapsetReport *report)
{
    if (!snapshot->is_protected || !is_hit(domain, request, snapshot))
        return;
    g_autoptr(GPtrArray) names = snapset_catalog_having(catalog, snapshot);
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
    snapset_report_add(report, SNAPSET_RULE_SNAPSHOT_PROTECTED, snapshot->tag, names, NULL,
                       "snapshot %s is protected", quoted);
}

static void
check_delete(const SnapsetCatalog *catalog, const SnapsetDomain *domain,
             const SnapsetLiveRequest *request, SnapsetReport *report)
{
    for (guint i = 0; i < catalog->snapshots->len; i++)
        check_protected(domain, request, catalog, snapset_catalog_snapshot(catalog, i), report);
    if (request->tag == NULL || request->id != NULL) /* an ID leaves no doubt */
        return;
    check_deleted_rivals(catalog, domain, request, report);
    g_autofree char *quoted = snapset_format_quoted(request->tag);
    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        g_autofree char *name = snapset_format_escaped(image->filename);
        if (is_covered(request, domain->disks->pdata[i]) &&
            snapset_image_count_tag(image, request->tag) > 1)
            snapset_report_add_image(report, SNAPSET_RULE_TAG_DUPLICATE, request->tag,
                                     image->filename, NULL,
                                     "%s has tag %s more than once, and QEMU would delete the "
                                     "first",
                                     name, quoted);
    }
}

/* What is wrong with the command itself, whatever the disks hold. */
static void
check_form(const SnapsetLiveRequest *request, SnapsetReport *report)
{
    if (request->is_malformed)
        snapset_report_add(report, SNAPSET_RULE_TAG_INVALID, request->tag, NULL,
                           g_strdup("choose a tag without quotes and backslashes"),
                           "QEMU cannot read this command");
    if (request->is_mixed)
        snapset_report_add(report, SNAPSET_RULE_ATOMIC, request->tag, NULL,
                           g_strdup("take one snapshot of all disks"),
                           "the transaction would take different snapshots of the disks");
}

void
snapset_rules_live(const SnapsetCatalog *catalog, const SnapsetDomain *domain,
                   const SnapsetLiveRequest *request, SnapsetReport *report)
{
    check_form(request, report);
    switch (request->kind) {
    case SNAPSET_LIVE_NONE:
    case SNAPSET_LIVE_ADD_NODE:
    case SNAPSET_LIVE_REMOVE_NODE:
    case SNAPSET_LIVE_COPY:
    case SNAPSET_LIVE_MOVE:
        break;
    case SNAPSET_LIVE_CREATE:
        snapset_rules_coverage(domain, request, report);
        if (request->tag != NULL) {
            snapset_rules_tag(catalog, request->tag, report);
            snapset_rules_exists(catalog, request->tag, report);
        }
        break;
    case SNAPSET_LIVE_LOAD:
        snapset_rules_coverage(domain, request, report);
        check_load(catalog, request->tag, report);
        break;
    case SNAPSET_LIVE_DELETE:
        check_delete(catalog, domain, request, report);
        break;
    case SNAPSET_LIVE_EXTERNAL:
        snapset_rules_coverage(domain, request, report);
        break;
    case SNAPSET_LIVE_PLUG:
        for (guint i = domain->disks->len; i < catalog->images->len; i++)
            snapset_rules_plug(catalog, i, report);
        break;
    }
}
