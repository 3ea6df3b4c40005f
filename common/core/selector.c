/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a person names a snapshot. */
#include "common/core/selector.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"

gboolean
snapset_selector_parse(const char *text, SnapsetSelector *ret_selector, SnapsetReport *report)
{
    if (g_str_has_prefix(text, "tag=")) {
        *ret_selector = (SnapsetSelector){text + strlen("tag="), NULL};
        return TRUE;
    }
    g_autofree char *quoted = snapset_format_quoted(text);
    if (!g_str_has_prefix(text, "id=")) {
        g_autofree char *selector = snapset_format_selector(text);
        snapset_report_add(report, SNAPSET_RULE_SELECTOR_BARE, NULL, NULL,
                           g_strdup_printf("name the snapshot by its tag, %s, or by its "
                                           "identity, 'id=UUID'",
                                           selector),
                           "%s may be read as a tag or as an ID", quoted);
        return FALSE;
    }
    *ret_selector = (SnapsetSelector){NULL, text + strlen("id=")};
    if (snapset_uuid_prefix_is_valid(ret_selector->prefix))
        return TRUE;
    snapset_report_add(report, SNAPSET_RULE_SELECTOR_UNKNOWN, NULL, NULL,
                       g_strdup("'id=' takes a UUID or its first 4 or more digits, as 'list --all' "
                                "shows them; a qcow2 ID names nothing"),
                       "%s is not an identity", quoted);
    return FALSE;
}

static gboolean
matches(const SnapsetSelector *selector, const SnapsetSnapshot *snapshot)
{
    if (selector->tag != NULL)
        return strcmp(snapshot->tag, selector->tag) == 0;
    for (guint i = 0; i < snapshot->members->len; i++) {
        if (snapset_uuid_has_prefix(&snapset_snapshot_member(snapshot, i)->entry->identity,
                                    selector->prefix))
            return TRUE;
        if (snapshot->standing != SNAPSET_UNPROVEN) /* all members have the same identity */
            return FALSE;
    }
    return FALSE;
}

GPtrArray *
snapset_selector_match(const SnapsetSelector *selector, const SnapsetCatalog *catalog)
{
    GPtrArray *found = g_ptr_array_new();
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (matches(selector, snapshot))
            g_ptr_array_add(found, snapshot);
    }
    return found;
}

static char *
describe_matches(GPtrArray *found)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < found->len; i++) {
        const SnapsetSnapshot *snapshot = found->pdata[i];
        char uuid[SNAPSET_UUID_TEXT_SIZE];
        char date[SNAPSET_DATE_TEXT_SIZE];
        g_autofree char *tag = snapset_format_quoted(snapshot->tag);
        snapset_uuid_format(&snapshot->identity, uuid);
        snapset_format_date(snapset_snapshot_moment(snapshot)->date_sec, date);
        g_string_append_printf(out, "%s%s %s (%s)", i > 0 ? ", " : "", uuid, tag, date);
    }
    return g_string_free(out, FALSE);
}

/* Several snapshots fit: say why, which is worse than being ambiguous. */
static void
report_several(const SnapsetSelector *selector, GPtrArray *found, const SnapsetCatalog *catalog,
               SnapsetReport *report)
{
    g_autofree char *list = describe_matches(found);
    SnapsetRule rule = SNAPSET_RULE_SELECTOR_AMBIGUOUS;

    for (guint i = 0; selector->tag != NULL && i < found->len; i++) {
        if (((SnapsetSnapshot *)found->pdata[i])->standing == SNAPSET_COLLIDING) {
            snapset_rules_collision(catalog, selector->tag, report);
            return;
        }
        rule = SNAPSET_RULE_TAG_DUPLICATE;
    }
    g_autofree char *name =
        snapset_format_quoted(selector->tag != NULL ? selector->tag : selector->prefix);
    snapset_report_add(report, rule, selector->tag, NULL,
                       g_strdup("name one of them with 'id=UUID'"), "%s fits %u snapshots: %s",
                       name, found->len, list);
}

SnapsetSnapshot *
snapset_selector_resolve(const char *text, const SnapsetCatalog *catalog, SnapsetReport *report)
{
    SnapsetSelector selector;

    if (!snapset_selector_parse(text, &selector, report))
        return NULL;
    g_autoptr(GPtrArray) found = snapset_selector_match(&selector, catalog);
    if (found->len == 1)
        return found->pdata[0];
    if (found->len > 1) {
        report_several(&selector, found, catalog, report);
        return NULL;
    }
    g_autofree char *name = snapset_format_quoted(text);
    snapset_report_add(report, SNAPSET_RULE_SELECTOR_UNKNOWN, selector.tag, NULL,
                       g_strdup("'list --all' shows every snapshot of these images"),
                       "no image has a snapshot %s", name);
    return NULL;
}
