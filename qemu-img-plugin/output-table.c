/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots as tables, by libsmartcols. */
#include <libsmartcols.h>
#include <stdio.h>

#include "common/core/format.h"
#include "qemu-img-plugin/output.h"

GPtrArray *
snapset_output_choose(const SnapsetCatalog *catalog, gboolean all)
{
    GPtrArray *chosen = g_ptr_array_new();
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (all || snapshot->standing == SNAPSET_COMPLETE)
            g_ptr_array_add(chosen, snapshot);
    }
    return chosen;
}

guint
snapset_output_hidden(const SnapsetCatalog *catalog)
{
    guint hidden = 0;
    for (guint i = 0; i < catalog->snapshots->len; i++)
        hidden += snapset_catalog_snapshot(catalog, i)->standing != SNAPSET_COMPLETE;
    return hidden;
}

struct libscols_table *
snapset_output_new_table(void)
{
    struct libscols_table *table = scols_new_table();

    if (table == NULL)
        g_error("out of memory");
    /* All text is escaped already; but what the locale cannot print the library has to encode. */
    scols_table_enable_noencoding(table, g_get_charset(NULL));
    return table;
}

/* The columns of a list; the last two only with --all. */
enum {
    COLUMN_MARK,
    COLUMN_UUID,
    COLUMN_TAG,
    COLUMN_SIZE,
    COLUMN_DATE,
    COLUMN_CLOCK,
    COLUMN_PARENT,
    COLUMN_STATE,
    COLUMN_MISSING,
};

static const struct {
    const char *name;
    int flags;
} columns[] = {
    [COLUMN_MARK] = {"", 0},
    [COLUMN_UUID] = {"UUID", 0},
    [COLUMN_TAG] = {"TAG", 0},
    [COLUMN_SIZE] = {"VM SIZE", SCOLS_FL_RIGHT},
    [COLUMN_DATE] = {"DATE", 0},
    [COLUMN_CLOCK] = {"VM CLOCK", SCOLS_FL_RIGHT},
    [COLUMN_PARENT] = {"PARENT", 0},
    [COLUMN_STATE] = {"STATE", 0},
    [COLUMN_MISSING] = {"MISSING ON", 0},
};

static void
set(struct libscols_line *line, int column, const char *text)
{
    scols_line_set_data(line, column, text);
}

static void
set_parent(struct libscols_line *line, const SnapsetSnapshot *snapshot)
{
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];

    if (snapshot->parent_candidates != NULL) {
        set(line, COLUMN_PARENT, "ambiguous");
    } else if (snapshot->parent == NULL) {
        set(line, COLUMN_PARENT, "-");
    } else {
        snapset_uuid_format_short(&snapshot->parent->identity, uuid);
        g_autofree char *text = g_strdup_printf(
            "%s%s", uuid, snapshot->parent_source == SNAPSET_PARENT_INFERRED ? " (inferred)" : "");
        set(line, COLUMN_PARENT, text);
    }
}

static void
add_row(struct libscols_table *table, const SnapsetSet *snapset, const SnapsetSnapshot *snapshot,
        gboolean all)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);
    const SnapsetMoment *moment = snapset_snapshot_moment(snapshot);
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    char text[SNAPSET_DATE_TEXT_SIZE];
    g_autofree char *tag = snapset_format_escaped(snapshot->tag);

    snapset_uuid_format_short(&snapshot->identity, uuid);
    set(line, COLUMN_MARK, snapshot->is_current ? "*" : "");
    set(line, COLUMN_UUID, uuid);
    set(line, COLUMN_TAG, tag);
    snapset_format_size(snapset_snapshot_vm_state_size(snapshot), text);
    set(line, COLUMN_SIZE, text);
    snapset_format_date(moment->date_sec, text);
    set(line, COLUMN_DATE, text);
    snapset_format_clock(moment->vm_clock_nsec, text);
    set(line, COLUMN_CLOCK, text);
    set_parent(line, snapshot);
    if (!all)
        return;
    g_autoptr(GPtrArray) missing = snapset_catalog_missing(snapset->catalog, snapshot);
    g_autofree char *names = snapset_format_names(missing);
    set(line, COLUMN_STATE, snapset_standing_name(snapshot->standing));
    set(line, COLUMN_MISSING, names);
}

void
snapset_output_table(const SnapsetSet *set_, GPtrArray *chosen, gboolean all)
{
    struct libscols_table *table = snapset_output_new_table();
    gsize count = all ? G_N_ELEMENTS(columns) : COLUMN_STATE;

    for (gsize i = 0; i < count; i++)
        scols_table_new_column(table, columns[i].name, 0, columns[i].flags);
    for (guint i = 0; i < chosen->len; i++)
        add_row(table, set_, chosen->pdata[i], all);
    scols_print_table(table);
    scols_unref_table(table);
}

/* ---- one snapshot ---- */

static void
print_field(const char *name, const char *value)
{
    printf("%-12s %s\n", name, value);
}

static void
print_members(const SnapsetSet *snapset, const SnapsetSnapshot *snapshot)
{
    static const char *const names[] = {"IMAGE",    "IDENTITY", "DATE",
                                        "VM CLOCK", "VM SIZE",  "DISK SIZE"};
    struct libscols_table *table = snapset_output_new_table();

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        scols_table_new_column(table, names[i], 0, i >= 3 ? SCOLS_FL_RIGHT : 0);
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        struct libscols_line *line = scols_table_new_line(table, NULL);
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        char text[SNAPSET_DATE_TEXT_SIZE];
        g_autofree char *name =
            snapset_format_escaped(snapset_set_image(snapset, member->image)->filename);
        snapset_uuid_format_short(&member->entry->identity, uuid);
        set(line, 0, name);
        set(line, 1, uuid);
        snapset_format_date(member->entry->moment.date_sec, text);
        set(line, 2, text);
        snapset_format_clock(member->entry->moment.vm_clock_nsec, text);
        set(line, 3, text);
        snapset_format_size(member->entry->vm_state_size, text);
        set(line, 4, text);
        snapset_format_size(member->entry->disk_size, text);
        set(line, 5, text);
    }
    scols_print_table(table);
    scols_unref_table(table);
}

static void
print_parent(const SnapsetSnapshot *snapshot)
{
    char uuid[SNAPSET_UUID_TEXT_SIZE];

    for (guint i = 0; snapshot->parent_candidates != NULL && i < snapshot->parent_candidates->len;
         i++) {
        const SnapsetSnapshot *candidate = snapshot->parent_candidates->pdata[i];
        snapset_uuid_format(&candidate->identity, uuid);
        print_field("parent?", uuid);
    }
    if (snapshot->parent == NULL)
        return;
    snapset_uuid_format(&snapshot->parent->identity, uuid);
    g_autofree char *tag = snapset_format_quoted(snapshot->parent->tag);
    g_autofree char *text = g_strdup_printf("%s %s (%s)", uuid, tag,
                                            snapset_parent_source_name(snapshot->parent_source));
    print_field("parent", text);
}

void
snapset_output_details(const SnapsetSet *snapset, const SnapsetSnapshot *snapshot)
{
    char uuid[SNAPSET_UUID_TEXT_SIZE];
    g_autofree char *tag = snapset_format_escaped(snapshot->tag);
    g_autofree char *remarks = snapset_output_remarks(snapshot);
    g_autoptr(GPtrArray) missing = snapset_catalog_missing(snapset->catalog, snapshot);

    snapset_uuid_format(&snapshot->identity, uuid);
    print_field("tag", tag);
    print_field("identity", uuid);
    print_field("state", snapset_standing_name(snapshot->standing));
    if (*remarks != '\0')
        print_field("remarks", remarks);
    if (snapshot->description != NULL) {
        g_autofree char *text = snapset_format_escaped(snapshot->description);
        print_field("description", text);
    }
    print_parent(snapshot);
    if (snapshot->covers != 0) {
        g_autofree char *text =
            g_strdup_printf("%u image%s", snapshot->covers, snapshot->covers == 1 ? "" : "s");
        print_field("taken over", text);
    }
    if (missing->len > 0) {
        g_autofree char *names = snapset_format_names(missing);
        print_field("missing on", names);
    }
    printf("\n");
    print_members(snapset, snapshot);
}
