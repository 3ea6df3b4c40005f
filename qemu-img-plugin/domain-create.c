/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create with --domain. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/io/domain-xml.h"
#include "common/ops/domain-images.h"
#include "common/ops/external-live.h"
#include "common/ops/foreign.h"
#include "qemu-img-plugin/domain-link.h"
#include "qemu-img-plugin/print.h"
#include "qemu-img-plugin/snapshot-xml.h"

/* ---- what libvirt is told ---- */

static void
append_overlays(GString *xml, const SnapsetDomain *domain, GPtrArray *overlays)
{
    g_string_append(xml, "<disks>");
    for (guint i = 0; i < overlays->len; i++)
        snapset_snapshot_xml_overlay(xml, ((SnapsetDisk *)domain->disks->pdata[i])->target,
                                     overlays->pdata[i]);
    snapset_snapshot_xml_others(xml, domain);
    g_string_append(xml, "</disks>");
}

/* What libvirt is asked for; @overlays: as of SnapsetOverlayUser, or NULL. */
static char *
new_snapshot_xml(const SnapsetOptions *options, GPtrArray *overlays)
{
    GString *xml = g_string_new("<domainsnapshot>");

    snapset_snapshot_xml_text(xml, "name", options->operands[0]);
    if (options->description != NULL)
        snapset_snapshot_xml_text(xml, "description", options->description);
    if (overlays != NULL)
        append_overlays(xml, options->link->disks, overlays);
    g_string_append(xml, "</domainsnapshot>");
    return g_string_free(xml, FALSE);
}

/* ---- internal ---- */

/* The identity that a snapshot of a running machine has: nothing can be recorded meanwhile. */
static gboolean
find_made(const SnapsetOptions *options, const char *tag, SnapsetUuid *ret_identity, GError **error)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    for (guint i = 0; i < options->set->catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(options->set->catalog, i);
        if (strcmp(snapshot->tag, tag) == 0)
            g_ptr_array_add(found, snapshot);
    }
    if (found->len != 1)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "libvirt took the snapshot, but the images do not show one");
    *ret_identity = ((SnapsetSnapshot *)found->pdata[0])->identity;
    return TRUE;
}

/* A running one, after @noted events. */
static gboolean
read_made_live(SnapsetOptions *options, guint noted, SnapsetUuid *ret_identity, GError **error)
{
    const char *tag = options->operands[0];
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_READING, error);

    if (before == NULL || !find_made(options, tag, ret_identity, error) ||
        !snapset_set_reload(options->set, error))
        return FALSE;
    g_autoptr(SnapsetLiveEvent) event =
        snapset_domain_event(SNAPSET_LIVE_EVENT_CREATE, tag, options->set->images);
    snapset_domain_note(options, noted, event);
    snapset_domain_link_remember(options->link, options->set);
    return TRUE;
}

static gboolean
read_made(SnapsetOptions *options, SnapsetUuid *ret_identity, GError **error)
{
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_RECORDING, error);

    return before != NULL && snapset_foreign_created(before, options->set, options->operands[0],
                                                     options->description, ret_identity, error);
}

static gboolean
create_internal(SnapsetOptions *options, SnapsetUuid *ret_identity, GError **error)
{
    const char *tag = options->operands[0];

    if (options->description != NULL && !snapset_description_check(options->description, error))
        return FALSE;
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    snapset_rules_create(options->set->catalog, tag, options->set->report);
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    if (options->dry_run)
        return TRUE;
    g_autofree char *xml = new_snapshot_xml(options, NULL);
    guint noted = snapset_domain_count_noted(options);
    if (!options->link->driver->create(options->link->domain, xml, 0, error))
        return FALSE;
    return snapset_domain_is_active(options) ? read_made_live(options, noted, ret_identity, error)
                                             : read_made(options, ret_identity, error);
}

/* ---- external ---- */

/* The domain as it runs, or as it is defined; NULL: libvirt does not say. Caller frees. */
static SnapsetDomain *
ask(const SnapsetDomainLink *link, gboolean as_defined, GError **error)
{
    g_autofree char *xml = link->driver->describe(link->domain, as_defined, error);
    return xml != NULL ? snapset_domain_from_xml(xml, strlen(xml), error) : NULL;
}

/* An overlay must come to stand on the file that it names: nobody may have put another there. */
static gboolean
check_disks(const SnapsetDomainLink *link, GError **error)
{
    const GPtrArray *disks = link->disks->disks;
    g_autoptr(SnapsetDomain) now = ask(link, FALSE, error);
    gboolean same = now != NULL && now->disks->len == disks->len;

    for (guint i = 0; same && i < disks->len; i++) {
        const SnapsetDisk *disk = disks->pdata[i];
        same = g_strcmp0(((SnapsetDisk *)now->disks->pdata[i])->path, disk->path) == 0;
    }
    return now != NULL &&
           (same || snapset_throw(error, SNAPSET_ERROR_FAILED,
                                  "the domain has other disks by now, so try again"));
}

/* Does libvirt say, of what runs or of what is defined, that a disk is one of @paths? */
static gboolean
uses_none(const SnapsetDomainLink *link, GPtrArray *paths)
{
    for (int as_defined = 0; as_defined <= 1; as_defined++) {
        g_autoptr(SnapsetDomain) now = ask(link, as_defined, NULL);
        for (guint i = 0; now != NULL && i < now->disks->len; i++) {
            const SnapsetDisk *disk = now->disks->pdata[i];
            if (disk->path != NULL &&
                g_ptr_array_find_with_equal_func(paths, disk->path, g_str_equal, NULL))
                return FALSE;
        }
        if (now == NULL)
            return FALSE;
    }
    return TRUE;
}

/* SnapsetOverlayUser: libvirt has QEMU go on in them, or else only switches the definition. */
static gboolean
hand_over(GPtrArray *paths, gpointer data, GError **error)
{
    const SnapsetOptions *options = data;
    const SnapsetDomainLink *link = options->link;
    SnapsetVirtHow how = SNAPSET_VIRT_EXTERNAL | (options->quiesce ? SNAPSET_VIRT_QUIESCE : 0);
    g_autofree char *xml = new_snapshot_xml(options, paths);

    if (!check_disks(link, error))
        return FALSE;
    if (link->driver->create(link->domain, xml, how, error))
        return TRUE;
    if (!uses_none(link, paths))
        (*error)->code = SNAPSET_ERROR_PENDING;
    return FALSE;
}

/* What is to be said of the work, which was done on the set that is no more. */
static void
keep_words(SnapsetSet *before, SnapsetSet *now)
{
    g_ptr_array_extend_and_steal(now->moves, g_steal_pointer(&before->moves));
    g_ptr_array_extend_and_steal(now->notes, g_steal_pointer(&before->notes));
    before->moves = g_ptr_array_new();
    before->notes = g_ptr_array_new();
}

/* The overlays are in use: have that recorded, and show the domain as it is now. */
static gboolean
read_live(SnapsetOptions *options, guint noted, GPtrArray *plans, GError **error)
{
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_READING, error);

    if (before == NULL)
        return FALSE;
    keep_words(before, options->set);
    /* What an event says of an image must be what the image itself says. */
    if (!snapset_external_live_check(options->set, plans, error) ||
        !snapset_set_reload(options->set, error))
        return FALSE;
    g_autoptr(SnapsetLiveEvent) event = snapset_external_live_event(options->set, plans);
    snapset_domain_note(options, noted, event);
    return TRUE;
}

static gboolean
take_external(SnapsetOptions *options, gboolean active, SnapsetUuid *ret_identity, GError **error)
{
    const char *tag = options->operands[0];
    SnapsetOverlayOptions overlays = {options->overlay_dir, options->relative_backing, hand_over,
                                      options};
    SnapsetExternal external = {tag, options->description, snapset_new_external_identity(),
                                options->set->images->len};
    g_autoptr(GPtrArray) plans = NULL;
    guint noted = snapset_domain_count_noted(options);

    if (!active)
        return snapset_create_external(options->set, tag, options->description, &overlays,
                                       options->dry_run, ret_identity, error);
    if (!snapset_external_live(options->set, &external, &overlays, options->dry_run, &plans, error))
        return FALSE;
    *ret_identity = external.identity;
    return options->dry_run || read_live(options, noted, plans, error);
}

/* What only libvirt knows of the disks, and what it takes no external snapshot of. */
static void
judge_disks(const SnapsetOptions *options)
{
    const GPtrArray *disks = options->link->disks->disks;

    for (guint i = 0; i < disks->len; i++) {
        const SnapsetDisk *disk = disks->pdata[i];
        if (strcmp(disk->target, SNAPSET_NVRAM) == 0)
            snapset_set_report(options->set, i, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                               "it holds the firmware's variables, which can have no overlay");
        if (disk->is_encrypted && strcmp(disk->format, "qcow2") != 0) /* that says so itself */
            snapset_set_report(options->set, i, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                               "it is encrypted, and what is written to an overlay would not be");
    }
}

static gboolean
create_external(SnapsetOptions *options, SnapsetUuid *ret_identity, GError **error)
{
    gboolean active = snapset_domain_is_active(options);

    if (options->quiesce && !active)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--quiesce is for a domain that runs, and this one is shut off");
    if (!snapset_options_open(options, active ? SNAPSET_FOR_READING : SNAPSET_FOR_OVERLAYS, error))
        return FALSE;
    judge_disks(options);
    return take_external(options, active, ret_identity, error);
}

gboolean
snapset_domain_create(SnapsetOptions *options, SnapsetUuid *ret_identity, GError **error)
{
    return options->external ? create_external(options, ret_identity, error)
                             : create_internal(options, ret_identity, error);
}
