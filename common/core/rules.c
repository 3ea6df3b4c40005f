/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules as pure functions of what the images hold and what is asked. */
#include "common/core/rules.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"

/* The most names a message lists; the violation's images are never cut. */
#define NAMES_IN_MESSAGE 8

static char *
name_list(GPtrArray *names)
{
    if (names->len <= NAMES_IN_MESSAGE)
        return snapset_format_names(names);
    g_autoptr(GPtrArray) some = g_ptr_array_new();
    for (guint i = 0; i < NAMES_IN_MESSAGE; i++)
        g_ptr_array_add(some, names->pdata[i]);
    g_autofree char *list = snapset_format_names(some);
    return g_strdup_printf("%s and %u more", list, names->len - NAMES_IN_MESSAGE);
}

/* "6f1c0b52 on a.qcow2 (2026-11-21 19:50:21)" of one member. */
static void
append_member(GString *out, const SnapsetCatalog *catalog, const SnapsetMember *member)
{
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    char date[SNAPSET_DATE_TEXT_SIZE];
    g_autofree char *name =
        snapset_format_escaped(snapset_catalog_image(catalog, member->image)->filename);

    snapset_uuid_format_short(&member->entry->identity, uuid);
    snapset_format_date(member->entry->moment.date_sec, date);
    g_string_append_printf(out, "%s%s on %s (%s)", out->len > 0 ? ", " : "", uuid, name, date);
}

/* ---- tags ---- */

static gboolean
is_all_digits(const char *tag)
{
    return *tag != '\0' && strspn(tag, "0123456789") == strlen(tag);
}

static gboolean
is_valid_tag(const char *tag)
{
    if (strlen(tag) > SNAPSET_TAG_MAX || !g_utf8_validate(tag, -1, NULL))
        return FALSE;
    for (const char *at = tag; *at != '\0'; at = g_utf8_next_char(at)) {
        if (g_unichar_iscntrl(g_utf8_get_char(at)))
            return FALSE;
    }
    return TRUE;
}

static GPtrArray *
images_with_id(const SnapsetCatalog *catalog, const char *id)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < catalog->images->len; i++) {
        if (snapset_image_count_id(snapset_catalog_image(catalog, i), id) > 0)
            g_ptr_array_add(names, snapset_catalog_image(catalog, i)->filename);
    }
    return names;
}

void
snapset_rules_tag(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    g_autofree char *quoted = snapset_format_quoted(tag);

    if (*tag == '\0') {
        snapset_report_add(report, SNAPSET_RULE_TAG_EMPTY, tag, NULL,
                           g_strdup("give the snapshot a name"), "a tag may not be empty");
        return;
    }
    if (!is_valid_tag(tag)) {
        snapset_report_add(report, SNAPSET_RULE_TAG_INVALID, tag, NULL, NULL,
                           "tag %s is not 1 to %d bytes of UTF-8 without control characters",
                           quoted, SNAPSET_TAG_MAX);
        return;
    }
    g_autoptr(GPtrArray) owners = images_with_id(catalog, tag);
    g_autofree char *names = name_list(owners);
    /* libvirt names a snapshot that was given no name by the seconds since 1970. */
    gboolean is_epoch = strlen(tag) == 10;
    if (owners->len > 0)
        snapset_report_add(report, SNAPSET_RULE_TAG_NUMERIC, tag, owners,
                           g_strdup("choose a tag that is no snapshot's ID"),
                           "tag %s is the ID of another snapshot on %s", quoted, names);
    else if (is_all_digits(tag) && !is_epoch)
        snapset_report_add(report, SNAPSET_RULE_TAG_NUMERIC, tag, NULL,
                           g_strdup("choose a tag with something other than digits in it"),
                           "tag %s reads as an ID to QEMU", quoted);
}

void
snapset_rules_exists(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GString) where = g_string_new(NULL);

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        SnapsetMember member = {.image = i, .entry = snapset_image_find_tag_in_chain(image, tag)};
        if (member.entry == NULL)
            continue;
        g_ptr_array_add(names, image->filename);
        if (names->len <= NAMES_IN_MESSAGE)
            append_member(where, catalog, &member);
    }
    if (names->len == 0)
        return;
    g_autofree char *quoted = snapset_format_quoted(tag);
    g_autofree char *selector = snapset_format_selector(tag);
    snapset_report_add(report, SNAPSET_RULE_TAG_EXISTS, tag, names,
                       g_strdup_printf("choose another tag, or delete the old snapshot first: "
                                       "qemu-img snapshot-set delete %s IMAGE...",
                                       selector),
                       "tag %s exists already: %s", quoted, where->str);
}

/* ---- one snapshot ---- */

void
snapset_rules_collision(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    g_autoptr(GString) where = g_string_new(NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const GPtrArray *rivals = g_hash_table_lookup(catalog->colliding, tag);
    guint moments = rivals != NULL ? rivals->len : 0;

    for (guint i = 0; i < moments; i++) {
        const SnapsetSnapshot *snapshot = rivals->pdata[i];
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetMember *member = snapset_snapshot_member(snapshot, j);
            g_ptr_array_add(names, snapset_catalog_image(catalog, member->image)->filename);
            if (names->len <= NAMES_IN_MESSAGE)
                append_member(where, catalog, member);
        }
    }
    if (names->len > NAMES_IN_MESSAGE)
        g_string_append_printf(where, " and %u more", names->len - NAMES_IN_MESSAGE);
    g_autofree char *quoted = snapset_format_quoted(tag);
    g_autofree char *selector = snapset_format_selector(tag);
    g_autofree char *count = moments == 2 ? g_strdup("two") : g_strdup_printf("%u", moments);
    snapset_report_add(report, SNAPSET_RULE_IDENTITY_COLLISION, tag, names,
                       g_strdup_printf("these images do not belong together at that tag; 'id=UUID' "
                                       "names one of the snapshots; only if you know that they "
                                       "are one moment: qemu-img snapshot-set adopt %s "
                                       "--allow identity-collision IMAGE...",
                                       selector),
                       "tag %s is %s different snapshots: %s", quoted, count, where->str);
}

static void
check_unproven(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
               SnapsetReport *report)
{
    if (snapshot->standing != SNAPSET_UNPROVEN)
        return;
    g_autoptr(GPtrArray) names = snapset_catalog_having(catalog, snapshot);
    g_autoptr(GString) where = g_string_new(NULL);
    for (guint i = 0; i < MIN(snapshot->members->len, NAMES_IN_MESSAGE); i++)
        append_member(where, catalog, snapset_snapshot_member(snapshot, i));
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
    g_autofree char *selector = snapset_format_selector(snapshot->tag);
    snapset_report_add(report, SNAPSET_RULE_IDENTITY_UNPROVEN, snapshot->tag, names,
                       g_strdup_printf("if you know that they were taken together: qemu-img "
                                       "snapshot-set adopt %s IMAGE...",
                                       selector),
                       "nothing proves that tag %s is one moment: %s", quoted, where->str);
}

static void
check_partial(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot, const char *hint,
              SnapsetReport *report)
{
    g_autoptr(GPtrArray) missing = snapset_catalog_missing(catalog, snapshot);
    if (missing->len == 0)
        return;
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    snapset_uuid_format_short(&snapshot->identity, uuid);
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
    g_autofree char *names = name_list(missing);
    snapset_report_add(report, SNAPSET_RULE_SET_PARTIAL, snapshot->tag, missing, g_strdup(hint),
                       "snapshot %s (%s) is missing on %s", quoted, uuid, names);
}

static void
check_too_small(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                SnapsetReport *report)
{
    if (snapshot->covers <= catalog->images->len)
        return;
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    snapset_uuid_format_short(&snapshot->identity, uuid);
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
    snapset_report_add(report, SNAPSET_RULE_SET_TOO_SMALL, snapshot->tag, NULL,
                       g_strdup("name the other images too, or, if they are gone for good, add "
                                "--allow set-too-small"),
                       "snapshot %s (%s) was taken over %u images, and %u %s given", quoted, uuid,
                       snapshot->covers, catalog->images->len,
                       catalog->images->len == 1 ? "is" : "are");
}

/* ---- what makes qcow2_snapshot_goto() fail (QEMU, block/qcow2-snapshot.c, block/snapshot.c) ----
 */

static void
check_load(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot, SnapsetReport *report)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        const SnapsetImage *image = snapset_catalog_image(catalog, member->image);
        if (image->header == NULL || member->link > 0 || member->entry->is_external)
            continue;
        g_autofree char *name = snapset_format_escaped(image->filename);
        if (image->has_bitmaps)
            snapset_report_add_image(
                report, SNAPSET_RULE_LOAD_WOULD_FAIL, snapshot->tag, image->filename,
                g_strdup_printf("finish or drop the backup that uses it: qemu-img bitmap --remove "
                                "%s BITMAP ('qemu-img info' names the bitmaps)",
                                name),
                "QEMU applies no snapshot to an image with a dirty bitmap, and %s has one", name);
        if (image->header->version < 3 && member->entry->disk_size != image->virtual_size)
            snapset_report_add_image(
                report, SNAPSET_RULE_LOAD_WOULD_FAIL, snapshot->tag, image->filename,
                g_strdup_printf("qemu-img amend -o compat=1.1 %s", name),
                "the snapshot has another disk size, and version 2 image %s cannot be resized",
                name);
    }
}

/* Only what stands in the active image itself can be applied or deleted by QEMU. */
static void
check_reachable(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot, SnapsetRule rule,
                SnapsetReport *report)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        if (member->link == 0 || member->entry->is_external)
            continue;
        const SnapsetImage *holder = snapset_catalog_holder(catalog, member);
        const char *image = snapset_catalog_image(catalog, member->image)->filename;
        g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
        g_autofree char *name = snapset_format_escaped(image);
        g_autofree char *below = snapset_format_escaped(holder->filename);
        snapset_report_add_image(report, rule, snapshot->tag, image, NULL,
                                 "snapshot %s is inside %s, a backing file of %s, where overlays "
                                 "depend on it",
                                 quoted, below, name);
    }
}

/* ---- the set as a whole ---- */

void
snapset_rules_current(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GString) where = g_string_new(NULL);
    gboolean agree = TRUE;
    gint first = -1;

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        SnapsetUuid current = snapset_image_current(image);
        if (snapset_uuid_is_nil(&current))
            continue;
        first = first < 0 ? (gint)i : first;
        agree &= snapset_lineage_agree(catalog, first, i);
        g_ptr_array_add(names, image->filename);
        if (names->len > NAMES_IN_MESSAGE)
            continue;
        const SnapsetSnapshot *at = g_array_index(catalog->currents, SnapsetSnapshot *, i);
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        snapset_uuid_format_short(&current, uuid);
        g_autofree char *name = snapset_format_escaped(image->filename);
        g_autofree char *tag =
            at != NULL ? snapset_format_quoted(at->tag) : g_strdup("no snapshot");
        g_string_append_printf(where, "%s%s at %s (%s)", where->len > 0 ? ", " : "", name, tag,
                               uuid);
    }
    if (agree)
        return;
    snapset_report_add(report, SNAPSET_RULE_CURRENT_MISMATCH, NULL, names,
                       g_strdup("apply one snapshot to all of them, or, if they belong together as "
                                "they stand: qemu-img snapshot-set accept IMAGE..."),
                       "the images stand at different points: %s", where->str);
}

/* Count @word once more, and return how often that makes. */
static guint
add_one(GHashTable *counts, const char *word)
{
    guint count = GPOINTER_TO_UINT(g_hash_table_lookup(counts, word)) + 1;
    g_hash_table_insert(counts, (gpointer)word, GUINT_TO_POINTER(count));
    return count;
}

/* Tags of one image that QEMU would confuse: twice, or also an ID. */
static void
check_image_tags(const SnapsetCatalog *catalog, const SnapsetImage *image, SnapsetReport *report)
{
    g_autoptr(GHashTable) tags = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree char *name = snapset_format_escaped(image->filename);

    for (guint i = 0; i < image->entries->len; i++)
        add_one(ids, snapset_image_entry(image, i)->id);
    for (guint i = 0; i < image->entries->len; i++) {
        const SnapsetEntry *entry = snapset_image_entry(image, i);
        guint owners = GPOINTER_TO_UINT(g_hash_table_lookup(ids, entry->tag));
        g_autofree char *quoted = snapset_format_quoted(entry->tag);
        guint times = add_one(tags, entry->tag);
        if (times == 1 && *entry->tag == '\0')
            snapset_report_add_image(report, SNAPSET_RULE_TAG_EMPTY, entry->tag, image->filename,
                                     g_strdup("'id=UUID' names it ('list --all')"),
                                     "%s has a snapshot without a tag", name);
        if (times == 2)
            snapset_report_add_image(report, SNAPSET_RULE_TAG_DUPLICATE, entry->tag,
                                     image->filename,
                                     g_strdup("'id=UUID' names one of them ('list --all'); delete "
                                              "or keep each by that"),
                                     "%s has tag %s more than once", name, quoted);
        if (owners > (strcmp(entry->id, entry->tag) == 0)) /* another entry's, that is */
            snapset_report_add_image(report, SNAPSET_RULE_TAG_NUMERIC, entry->tag, image->filename,
                                     g_strdup("use snapshot-set for these snapshots: QEMU's own "
                                              "commands take the one for the other"),
                                     "on %s tag %s is the ID of another snapshot", name, quoted);
        if (entry->tag_has_nul || (*entry->tag != '\0' && !is_valid_tag(entry->tag)))
            snapset_report_add_image(report, SNAPSET_RULE_TAG_INVALID, entry->tag, image->filename,
                                     NULL, "on %s tag %s is not valid%s", name, quoted,
                                     entry->tag_has_nul ? ": it goes on behind a zero byte" : "");
    }
}

static void
check_ledger(const SnapsetImage *image, SnapsetReport *report)
{
    g_autofree char *name = snapset_format_escaped(image->filename);

    if (image->ledger_state == SNAPSET_LEDGER_ONE_DAMAGED)
        snapset_report_add_image(report, SNAPSET_RULE_RECORD_DAMAGED, NULL, image->filename,
                                 g_strdup("qemu-img snapshot-set check --repair IMAGE..."),
                                 "one of the two copies of the record in %s is damaged; the last "
                                 "change to it may be lost",
                                 name);
    else if (image->header != NULL && image->header->sset_count > 1)
        snapset_report_add_image(report, SNAPSET_RULE_RECORD_DAMAGED, NULL, image->filename,
                                 g_strdup("copy the image with 'qemu-img convert'"),
                                 "%s holds two records, and neither can be trusted", name);
    else if (image->ledger_state == SNAPSET_LEDGER_DAMAGED)
        snapset_report_add_image(report, SNAPSET_RULE_RECORD_DAMAGED, NULL, image->filename,
                                 g_strdup("qemu-img snapshot-set check --repair IMAGE... starts a "
                                          "new one"),
                                 "the record in %s is damaged: recorded identities and parents "
                                 "are lost",
                                 name);
    else if (image->ledger_state == SNAPSET_LEDGER_FOREIGN)
        snapset_report_add_image(report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image->filename,
                                 g_strdup("use the newer snapshot-set that wrote it"),
                                 "the record in %s has a layout this version does not know", name);
}

/* What no command reaches is in nobody's way, nor are those that it shares its tag with. */
static gboolean
is_out_of_reach(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    const GPtrArray *rivals = g_hash_table_lookup(catalog->colliding, snapshot->tag);
    gboolean buried = snapset_snapshot_is_buried(snapshot);

    for (guint i = 0; snapshot->standing == SNAPSET_COLLIDING && i < rivals->len; i++)
        buried &= snapset_snapshot_is_buried(rivals->pdata[i]);
    return buried;
}

void
snapset_rules_check(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    g_autoptr(GHashTable) collided = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < catalog->images->len; i++) {
        check_ledger(snapset_catalog_image(catalog, i), report);
        check_image_tags(catalog, snapset_catalog_image(catalog, i), report);
    }
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (is_out_of_reach(catalog, snapshot))
            continue;
        if (snapshot->standing == SNAPSET_COLLIDING) {
            if (g_hash_table_add(collided, (gpointer)snapshot->tag))
                snapset_rules_collision(catalog, snapshot->tag, report);
            continue;
        }
        check_unproven(catalog, snapshot, report);
        check_partial(catalog, snapshot,
                      "it can be applied or deleted where it is with --allow set-partial", report);
    }
    snapset_rules_current(catalog, report);
    snapset_rules_chain(catalog, report);
}

/* QEMU loads a tag that every disk has, if one of the entries holds VM state. */
static gboolean
is_loadable_live(const SnapsetCatalog *catalog, const char *tag)
{
    gboolean has_state = FALSE;

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetEntry *entry = snapset_image_find_tag(snapset_catalog_image(catalog, i), tag);
        if (entry == NULL)
            return FALSE;
        has_state |= entry->vm_state_size != 0;
    }
    return has_state;
}

/* The verdict of @rule, but never worse than a warning. */
static SnapsetVerdict
soften(SnapsetReport *report, SnapsetRule rule)
{
    SnapsetVerdict verdict = report->verdicts.of[rule];
    report->verdicts.of[rule] = MAX(verdict, SNAPSET_WARN);
    return verdict;
}

/* What of one snapshot matters to a machine that runs on all images. @collided are the tags whose
 * collisions were reported already. */
static void
check_start(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot, GHashTable *collided,
            SnapsetReport *report)
{
    if (is_out_of_reach(catalog, snapshot))
        return;
    SnapsetVerdict unproven = soften(report, SNAPSET_RULE_IDENTITY_UNPROVEN);
    check_unproven(catalog, snapshot, report);
    report->verdicts.of[SNAPSET_RULE_IDENTITY_UNPROVEN] = unproven;
    if (snapshot->standing != SNAPSET_COLLIDING ||
        !g_hash_table_add(collided, (gpointer)snapshot->tag))
        return;
    SnapsetVerdict collision = report->verdicts.of[SNAPSET_RULE_IDENTITY_COLLISION];
    if (!is_loadable_live(catalog, snapshot->tag))
        soften(report, SNAPSET_RULE_IDENTITY_COLLISION);
    snapset_rules_collision(catalog, snapshot->tag, report);
    report->verdicts.of[SNAPSET_RULE_IDENTITY_COLLISION] = collision;
}

void
snapset_rules_start(const SnapsetCatalog *catalog, SnapsetReport *report)
{
    g_autoptr(GHashTable) collided = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < catalog->snapshots->len; i++)
        check_start(catalog, snapset_catalog_snapshot(catalog, i), collided, report);
    snapset_rules_current(catalog, report);
    snapset_rules_chain(catalog, report);
}

void
snapset_rules_plug(const SnapsetCatalog *catalog, guint index, SnapsetReport *report)
{
    g_autoptr(GHashTable) collided = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (snapset_snapshot_entry(snapshot, index) != NULL)
            check_start(catalog, snapshot, collided, report);
    }
}

void
snapset_rules_create(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    snapset_rules_tag(catalog, tag, report);
    snapset_rules_exists(catalog, tag, report);
    snapset_rules_current(catalog, report);
}

void
snapset_rules_whole(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                    SnapsetPurpose purpose, SnapsetReport *report)
{
    gboolean apply = purpose == SNAPSET_TO_APPLY;

    check_unproven(catalog, snapshot, report);
    check_partial(catalog, snapshot,
                  apply ? "to apply it where it is, and leave the other images as they are, add "
                          "--allow set-partial"
                        : "to delete it where it is, add --allow set-partial",
                  report);
    check_too_small(catalog, snapshot, report);
    check_reachable(catalog, snapshot,
                    apply ? SNAPSET_RULE_LOAD_WOULD_FAIL : SNAPSET_RULE_IMAGE_UNSUPPORTED, report);
}

void
snapset_rules_apply(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                    SnapsetReport *report)
{
    snapset_rules_whole(catalog, snapshot, SNAPSET_TO_APPLY, report);
    check_load(catalog, snapshot, report);
    snapset_rules_chain_of(catalog, snapshot, report);
}

void
snapset_rules_delete(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                     SnapsetReport *report)
{
    if (snapshot->is_protected) {
        g_autoptr(GPtrArray) names = snapset_catalog_having(catalog, snapshot);
        g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
        g_autofree char *selector = snapset_format_selector(snapshot->tag);
        snapset_report_add(report, SNAPSET_RULE_SNAPSHOT_PROTECTED, snapshot->tag, names,
                           g_strdup_printf("qemu-img snapshot-set unprotect %s IMAGE...", selector),
                           "snapshot %s is protected", quoted);
    }
    snapset_rules_whole(catalog, snapshot, SNAPSET_TO_DELETE, report);
}

void
snapset_rules_adopt(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report)
{
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    gboolean colliding = FALSE;
    g_autofree char *quoted = snapset_format_quoted(tag);

    for (guint i = 0; i < catalog->images->len; i++) {
        const SnapsetImage *image = snapset_catalog_image(catalog, i);
        guint count = snapset_image_count_tag(image, tag);
        g_autofree char *name = snapset_format_escaped(image->filename);
        if (count == 0)
            g_ptr_array_add(missing, image->filename);
        if (count > 1)
            snapset_report_add_image(report, SNAPSET_RULE_TAG_DUPLICATE, tag, image->filename,
                                     g_strdup("delete all but one of them with 'id=UUID' first"),
                                     "%s has tag %s more than once", name, quoted);
    }
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        const SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        colliding |= snapshot->standing == SNAPSET_COLLIDING && strcmp(snapshot->tag, tag) == 0;
    }
    if (colliding)
        snapset_rules_collision(catalog, tag, report);
    if (missing->len > 0) {
        g_autofree char *names = name_list(missing);
        snapset_report_add(report, SNAPSET_RULE_SET_PARTIAL, tag, missing,
                           g_strdup("to adopt it where it is, add --allow set-partial"),
                           "tag %s is missing on %s", quoted, names);
    }
}
