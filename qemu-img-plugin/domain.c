/* SPDX-License-Identifier: GPL-2.0-or-later */
/* apply and delete with --domain. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/ops/delete.h"
#include "common/ops/domain-images.h"
#include "common/ops/foreign.h"
#include "common/ops/operations.h"
#include "qemu-img-plugin/domain-link.h"
#include "qemu-img-plugin/print.h"

/* Libvirt does what it knows of only. */
static gboolean
check_known(const SnapsetOptions *options, const char *tag, GError **error)
{
    g_autoptr(GPtrArray) listed = options->link->driver->list(options->link->domain, error);

    for (guint i = 0; listed != NULL && i < listed->len; i++) {
        const SnapsetVirtSnapshot *one = listed->pdata[i];
        if (strcmp(one->name, tag) == 0)
            return TRUE;
    }
    g_autofree char *quoted = snapset_format_quoted(tag);
    return listed != NULL &&
           snapset_throw(error, SNAPSET_ERROR_FAILED,
                         "libvirt knows no snapshot %s of this domain; 'qemu-img snapshot-set sync "
                         "--domain' tells it what the images have",
                         quoted);
}

/* The running domain's images hold @tag (NULL: in files below them) again. */
static gboolean
note_applied(SnapsetOptions *options, guint noted, const char *tag, GError **error)
{
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_READING, error);

    if (before == NULL || !snapset_set_reload(options->set, error))
        return FALSE;
    g_autoptr(SnapsetLiveEvent) event =
        snapset_domain_event(tag != NULL ? SNAPSET_LIVE_EVENT_LOAD : SNAPSET_LIVE_EVENT_START,
                             tag != NULL ? tag : "", options->set->images);
    snapset_domain_note(options, noted, event);
    snapset_domain_link_remember(options->link, options->set);
    return TRUE;
}

static gboolean
record_applied(SnapsetOptions *options, const SnapsetUuid *identity, GError **error)
{
    g_autoptr(SnapsetSet) before = snapset_domain_open_again(options, SNAPSET_FOR_WRITING, error);
    return before != NULL && snapset_foreign_applied(options->set, identity, error);
}

static gboolean
revert(SnapsetOptions *options, const SnapsetSnapshot *snapshot, GError **error)
{
    guint noted = snapset_domain_count_noted(options);
    gboolean is_external = snapset_snapshot_is_external(snapshot);
    g_autofree char *tag = g_strdup(snapshot->tag); /* the set goes */
    SnapsetUuid identity = snapshot->identity;

    if (!options->link->driver->revert(options->link->domain, tag, error))
        return FALSE;
    if (snapset_domain_is_active(options))
        return note_applied(options, noted, is_external ? NULL : tag, error);
    return is_external ? snapset_domain_settle(options, noted, error)
                       : record_applied(options, &identity, error);
}

gboolean
snapset_domain_apply(SnapsetOptions *options, GError **error)
{
    if (options->save_current != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--save-current is not for --domain: create a snapshot first");
    if (options->overlay_dir != NULL || options->relative_backing)
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--overlay-dir and --relative-backing are not for --domain: libvirt "
                             "makes the overlays of what is applied");
    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    SnapsetSnapshot *snapshot =
        snapset_selector_resolve(options->operands[0], options->set->catalog, options->set->report);
    if (snapshot != NULL)
        snapset_rules_apply(options->set->catalog, snapshot, options->set->report);
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    SnapsetUuid identity = snapshot->identity;
    if (!check_known(options, snapshot->tag, error) ||
        (!options->dry_run && !revert(options, snapshot, error)))
        return FALSE;
    snapset_print_snapshot(options, "applied", &identity);
    return TRUE;
}

static void
judge_delete(const SnapsetOptions *options, GPtrArray *chosen)
{
    const SnapsetCatalog *catalog = options->set->catalog;

    for (guint i = 0; i < chosen->len; i++) {
        snapset_rules_delete(catalog, chosen->pdata[i], options->set->report);
        if (snapset_snapshot_is_external(chosen->pdata[i]))
            snapset_rules_chain_of(catalog, chosen->pdata[i], options->set->report);
    }
}

/* Their tags; NULL: libvirt does not know them all. */
static GPtrArray *
known_tags(const SnapsetOptions *options, GPtrArray *chosen, GError **error)
{
    g_autoptr(GPtrArray) tags = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *one = chosen->pdata[i];
        if (!check_known(options, one->tag, error))
            return NULL;
        g_ptr_array_add(tags, g_strdup(one->tag));
    }
    return g_steal_pointer(&tags);
}

static gboolean
remove_all(SnapsetOptions *options, GPtrArray *tags, GError **error)
{
    for (guint i = 0; i < tags->len; i++) {
        g_autofree char *quoted = snapset_format_quoted(tags->pdata[i]);
        if (!options->dry_run &&
            !options->link->driver->remove(options->link->domain, tags->pdata[i], FALSE, error))
            return FALSE;
        snapset_print_result(options, "deleted snapshot %s", quoted);
    }
    return TRUE;
}

gboolean
snapset_domain_delete(SnapsetOptions *options, GError **error)
{
    g_autoptr(GPtrArray) chosen = NULL;
    g_autoptr(GError) failure = NULL;

    if (!snapset_options_open(options, SNAPSET_FOR_READING, error))
        return FALSE;
    SnapsetSnapshot *snapshot =
        snapset_selector_resolve(options->operands[0], options->set->catalog, options->set->report);
    if (snapshot != NULL) {
        chosen = snapset_delete_choose(options->set, snapshot, options->children);
        judge_delete(options, chosen);
    }
    if (!snapset_report_verdict(options->set->report, error))
        return FALSE;
    g_autoptr(GPtrArray) tags = known_tags(options, chosen, error);
    if (tags == NULL)
        return FALSE;
    guint noted = snapset_domain_count_noted(options);
    gboolean removed = remove_all(options, tags, &failure);
    /* What is gone is gone, even if another stays. */
    gboolean settled = options->dry_run || snapset_domain_settle(options, noted, error);
    if (!removed && settled)
        g_propagate_error(error, g_steal_pointer(&failure));
    if (removed && settled && !options->dry_run && options->output == SNAPSET_OUTPUT_JSON)
        snapset_print_set(options);
    return removed && settled;
}
