/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots as tables, by libsmartcols. */
#include <libsmartcols.h>
#include <stdio.h>

#include "common/core/format.h"
#include "qemu-img-plugin/output.h"

/* Every image has it, where it can be applied. */
static gboolean
is_usable(const SnapsetSnapshot *snapshot)
{
    return snapshot->standing == SNAPSET_COMPLETE && !snapset_snapshot_is_buried(snapshot);
}

GPtrArray *
snapset_output_choose(const SnapsetCatalog *catalog, gboolean all)
{
    GPtrArray *chosen = g_ptr_array_new();
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (all || is_usable(snapshot))
            g_ptr_array_add(chosen, snapshot);
    }
    return chosen;
}

guint
snapset_output_hidden(const SnapsetCatalog *catalog)
{
    guint hidden = 0;
    for (guint i = 0; i < catalog->snapshots->len; i++)
        hidden += !is_usable(snapset_catalog_snapshot(catalog, i));
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

/* Which columns a list has. */
typedef enum {
    SHOWS_ALWAYS = 0,
    SHOWS_ALL = 1 << 0,   /* with --all */
    SHOWS_KINDS = 1 << 1, /* where not all are internal */
    SHOWS_FILES = 1 << 2, /* where not all stand in the images themselves */
} Shows;

enum {
    COLUMN_MARK,
    COLUMN_UUID,
    COLUMN_TAG,
    COLUMN_KIND,
    COLUMN_SIZE,
    COLUMN_DATE,
    COLUMN_CLOCK,
    COLUMN_PARENT,
    COLUMN_STATE,
    COLUMN_MISSING,
    COLUMN_FILES,
};

static const struct {
    const char *name;
    int flags;
    Shows needs; /* all of them */
} columns[] = {
    [COLUMN_MARK] = {"", 0, SHOWS_ALWAYS},
    [COLUMN_UUID] = {"UUID", 0, SHOWS_ALWAYS},
    [COLUMN_TAG] = {"TAG", 0, SHOWS_ALWAYS},
    [COLUMN_KIND] = {"KIND", 0, SHOWS_KINDS},
    [COLUMN_SIZE] = {"VM SIZE", SCOLS_FL_RIGHT, SHOWS_ALWAYS},
    [COLUMN_DATE] = {"DATE", 0, SHOWS_ALWAYS},
    [COLUMN_CLOCK] = {"VM CLOCK", SCOLS_FL_RIGHT, SHOWS_ALWAYS},
    [COLUMN_PARENT] = {"PARENT", 0, SHOWS_ALWAYS},
    [COLUMN_STATE] = {"STATE", 0, SHOWS_ALL},
    [COLUMN_MISSING] = {"MISSING ON", 0, SHOWS_ALL},
    [COLUMN_FILES] = {"STORED IN", 0, SHOWS_ALL | SHOWS_FILES},
};

static const char *
kind_name(const SnapsetSnapshot *snapshot)
{
    return snapset_snapshot_is_external(snapshot) ? "external" : "internal";
}

/* The backing file that holds the state of @member; NULL: the image itself does. */
static const char *
stored_in(const SnapsetCatalog *catalog, const SnapsetMember *member)
{
    const SnapsetImage *holder = snapset_catalog_holder(catalog, member);

    if (holder == snapset_catalog_image(catalog, member->image))
        return NULL;
    return holder != NULL ? holder->filename : "?";
}

static Shows
what_shows(const SnapsetCatalog *catalog, GPtrArray *chosen, gboolean all)
{
    Shows shows = all ? SHOWS_ALL : SHOWS_ALWAYS;

    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        if (snapset_snapshot_is_external(snapshot))
            shows |= SHOWS_KINDS;
        for (guint j = 0; j < snapshot->members->len; j++) {
            if (stored_in(catalog, snapset_snapshot_member(snapshot, j)) != NULL)
                shows |= SHOWS_FILES;
        }
    }
    return shows;
}

/* A row while it is filled: only the columns shown are there. */
typedef struct {
    struct libscols_line *line;
    Shows shows;
} Row;

static void
put(const Row *row, guint column, const char *text)
{
    gsize at = 0;

    if ((columns[column].needs & ~row->shows) != 0)
        return;
    for (guint i = 0; i < column; i++)
        at += (columns[i].needs & ~row->shows) == 0;
    scols_line_set_data(row->line, at, text);
}

static void
put_parent(const Row *row, const SnapsetSnapshot *snapshot)
{
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];

    if (snapshot->parent_candidates != NULL) {
        put(row, COLUMN_PARENT, "ambiguous");
    } else if (snapshot->parent == NULL) {
        put(row, COLUMN_PARENT, "-");
    } else {
        snapset_uuid_format_short(&snapshot->parent->identity, uuid);
        g_autofree char *text = g_strdup_printf(
            "%s%s", uuid, snapshot->parent_source == SNAPSET_PARENT_INFERRED ? " (inferred)" : "");
        put(row, COLUMN_PARENT, text);
    }
}

static void
put_files(const Row *row, const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();

    for (guint i = 0; i < snapshot->members->len; i++) {
        const char *file = stored_in(catalog, snapset_snapshot_member(snapshot, i));
        if (file != NULL)
            g_ptr_array_add(files, (gpointer)file);
    }
    g_autofree char *names = snapset_format_names(files);
    put(row, COLUMN_FILES, names);
}

static void
put_snapshot(const Row *row, const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot)
{
    const SnapsetMoment *moment = snapset_snapshot_moment(snapshot);
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    char text[SNAPSET_DATE_TEXT_SIZE];
    g_autofree char *tag = snapset_format_escaped(snapshot->tag);

    snapset_uuid_format_short(&snapshot->identity, uuid);
    put(row, COLUMN_MARK, snapshot->is_current ? "*" : "");
    put(row, COLUMN_UUID, uuid);
    put(row, COLUMN_TAG, tag);
    put(row, COLUMN_KIND, kind_name(snapshot));
    snapset_format_size(snapset_snapshot_vm_state_size(snapshot), text);
    put(row, COLUMN_SIZE, text);
    snapset_format_date(moment->date_sec, text);
    put(row, COLUMN_DATE, text);
    snapset_format_clock(moment->vm_clock_nsec, text);
    put(row, COLUMN_CLOCK, text);
    put_parent(row, snapshot);
    if (!(row->shows & SHOWS_ALL))
        return;
    g_autoptr(GPtrArray) missing = snapset_catalog_missing(catalog, snapshot);
    g_autofree char *names = snapset_format_names(missing);
    put(row, COLUMN_STATE, snapset_standing_name(snapshot->standing));
    put(row, COLUMN_MISSING, names);
    put_files(row, catalog, snapshot);
}

void
snapset_output_table(const SnapsetSet *set, GPtrArray *chosen, gboolean all)
{
    struct libscols_table *table = snapset_output_new_table();
    Shows shows = what_shows(set->catalog, chosen, all);

    for (gsize i = 0; i < G_N_ELEMENTS(columns); i++) {
        if ((columns[i].needs & ~shows) == 0)
            scols_table_new_column(table, columns[i].name, 0, columns[i].flags);
    }
    for (guint i = 0; i < chosen->len; i++) {
        Row row = {scols_table_new_line(table, NULL), shows};
        put_snapshot(&row, set->catalog, chosen->pdata[i]);
    }
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
print_members(const SnapsetSet *set, const SnapsetSnapshot *snapshot)
{
    static const char *const names[] = {"IMAGE",   "IDENTITY",  "DATE",     "VM CLOCK",
                                        "VM SIZE", "DISK SIZE", "STORED IN"};
    struct libscols_table *table = snapset_output_new_table();
    g_autoptr(GPtrArray) one = g_ptr_array_new();
    g_ptr_array_add(one, (gpointer)snapshot);
    gsize count = G_N_ELEMENTS(names) - !(what_shows(set->catalog, one, FALSE) & SHOWS_FILES);

    for (gsize i = 0; i < count; i++)
        scols_table_new_column(table, names[i], 0, i >= 3 && i < 6 ? SCOLS_FL_RIGHT : 0);
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        struct libscols_line *line = scols_table_new_line(table, NULL);
        const char *file = stored_in(set->catalog, member);
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        char text[SNAPSET_DATE_TEXT_SIZE];
        g_autofree char *name =
            snapset_format_escaped(snapset_set_image(set, member->image)->filename);
        g_autofree char *below = file != NULL ? snapset_format_escaped(file) : NULL;
        snapset_uuid_format_short(&member->entry->identity, uuid);
        scols_line_set_data(line, 0, name);
        scols_line_set_data(line, 1, uuid);
        snapset_format_date(member->entry->moment.date_sec, text);
        scols_line_set_data(line, 2, text);
        snapset_format_clock(member->entry->moment.vm_clock_nsec, text);
        scols_line_set_data(line, 3, text);
        snapset_format_size(member->entry->vm_state_size, text);
        scols_line_set_data(line, 4, text);
        snapset_format_size(member->entry->disk_size, text);
        scols_line_set_data(line, 5, text);
        if (below != NULL)
            scols_line_set_data(line, 6, below);
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
