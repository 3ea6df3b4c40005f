/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lineage as a tree of text, as Graphviz's dot, and as a drawing. */
#include <libsmartcols.h>
#include <stdio.h>

#include "common/core/format.h"
#include "qemu-img-plugin/output.h"

gboolean *
snapset_output_mark(const SnapsetCatalog *catalog, GPtrArray *chosen)
{
    gboolean *marks = g_new0(gboolean, catalog->snapshots->len + 1);
    for (guint i = 0; i < chosen->len; i++)
        marks[((const SnapsetSnapshot *)chosen->pdata[i])->index] = TRUE;
    return marks;
}

const SnapsetSnapshot *
snapset_output_parent(const SnapsetSnapshot *snapshot, const gboolean *is_chosen)
{
    const SnapsetSnapshot *parent = snapshot->parent;
    while (parent != NULL && !is_chosen[parent->index])
        parent = parent->parent;
    return parent;
}

char *
snapset_output_remarks(const SnapsetSnapshot *snapshot)
{
    GString *out = g_string_new(NULL);
    const struct {
        gboolean holds;
        const char *text;
    } remarks[] = {
        {snapshot->is_current, "current"},
        {snapset_snapshot_is_external(snapshot), "external"},
        {snapset_snapshot_is_buried(snapshot), "in a backing file"},
        {snapshot->is_protected, "protected"},
        {snapshot->parent_source == SNAPSET_PARENT_INFERRED, "parent inferred"},
        {snapshot->parent_candidates != NULL, "parent ambiguous"},
        {snapshot->standing != SNAPSET_COMPLETE, snapset_standing_name(snapshot->standing)},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(remarks); i++) {
        if (remarks[i].holds)
            g_string_append_printf(out, "%s%s", out->len > 0 ? ", " : "", remarks[i].text);
    }
    return g_string_free(out, FALSE);
}

/* ---- the order of a drawing: parents before their children, these together ---- */

typedef struct {
    const SnapsetSnapshot *snapshot;
    gint parent; /* index of its parent's row; -1: a root */
    guint depth;
} Row;

/* Walks without recursion: lineages can be as long as the table allows. */
static GArray *
rows_of(const SnapsetSet *set, GPtrArray *chosen)
{
    g_autofree gboolean *marks = snapset_output_mark(set->catalog, chosen);
    guint count = set->catalog->snapshots->len;
    g_autofree GPtrArray **children = g_new0(GPtrArray *, count + 1);
    g_autoptr(GArray) pending = g_array_new(FALSE, FALSE, sizeof(Row));
    GArray *rows = g_array_new(FALSE, FALSE, sizeof(Row));

    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *parent = snapset_output_parent(chosen->pdata[i], marks);
        guint at = parent != NULL ? parent->index : count;
        if (children[at] == NULL)
            children[at] = g_ptr_array_new();
        g_ptr_array_add(children[at], chosen->pdata[i]);
    }
    Row top = {NULL, -1, 0};
    for (guint at = count;;) {
        for (guint i = children[at] != NULL ? children[at]->len : 0; i-- > 0;) {
            Row row = {children[at]->pdata[i], top.snapshot != NULL ? (gint)rows->len - 1 : -1,
                       top.snapshot != NULL ? top.depth + 1 : 0};
            g_array_append_val(pending, row);
        }
        if (pending->len == 0)
            break;
        top = g_array_index(pending, Row, pending->len - 1);
        g_array_set_size(pending, pending->len - 1);
        g_array_append_val(rows, top);
        at = top.snapshot->index;
    }
    for (guint i = 0; i <= count; i++)
        g_clear_pointer(&children[i], g_ptr_array_unref);
    return rows;
}

static const Row *
row_at(const GArray *rows, guint index)
{
    return &g_array_index(rows, Row, index);
}

/* ---- text ---- */

void
snapset_output_tree(const SnapsetSet *set, GPtrArray *chosen)
{
    g_autoptr(GArray) rows = rows_of(set, chosen);
    g_autofree struct libscols_line **lines = g_new0(struct libscols_line *, rows->len + 1);
    struct libscols_table *table = snapset_output_new_table();

    scols_table_new_column(table, "TAG", 0, SCOLS_FL_TREE);
    scols_table_new_column(table, "UUID", 0, 0);
    scols_table_new_column(table, "DATE", 0, 0);
    scols_table_new_column(table, "REMARKS", 0, 0);
    for (guint i = 0; i < rows->len; i++) {
        const Row *row = row_at(rows, i);
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        char date[SNAPSET_DATE_TEXT_SIZE];
        g_autofree char *tag = snapset_format_escaped(row->snapshot->tag);
        g_autofree char *remarks = snapset_output_remarks(row->snapshot);
        snapset_uuid_format_short(&row->snapshot->identity, uuid);
        snapset_format_date(snapset_snapshot_moment(row->snapshot)->date_sec, date);
        lines[i] = scols_table_new_line(table, row->parent >= 0 ? lines[row->parent] : NULL);
        scols_line_set_data(lines[i], 0, tag);
        scols_line_set_data(lines[i], 1, uuid);
        scols_line_set_data(lines[i], 2, date);
        scols_line_set_data(lines[i], 3, remarks);
    }
    scols_print_table(table);
    scols_unref_table(table);
}

/* ---- dot ---- */

static char *
dot_quoted(const char *text)
{
    g_autofree char *escaped = snapset_format_escaped(text);
    g_auto(GStrv) parts = g_strsplit(escaped, "\"", -1);
    return g_strjoinv("\\\"", parts);
}

void
snapset_output_dot(const SnapsetSet *set, GPtrArray *chosen)
{
    g_autoptr(GArray) rows = rows_of(set, chosen);

    printf("digraph snapshots {\n    rankdir=LR;\n    node [shape=box, fontname=\"monospace\"];\n");
    for (guint i = 0; i < rows->len; i++) {
        const Row *row = row_at(rows, i);
        char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
        g_autofree char *tag = dot_quoted(row->snapshot->tag);
        snapset_uuid_format_short(&row->snapshot->identity, uuid);
        printf("    n%u [label=\"%s\\n%s\"%s];\n", row->snapshot->index, tag, uuid,
               row->snapshot->is_current ? ", penwidth=2" : "");
        if (row->parent >= 0)
            printf("    n%u -> n%u%s;\n", row_at(rows, row->parent)->snapshot->index,
                   row->snapshot->index,
                   row->snapshot->parent_source == SNAPSET_PARENT_INFERRED ? " [style=dashed]"
                                                                           : "");
    }
    printf("}\n");
}

/* ---- svg: one row a snapshot, its depth to the right, an edge down and across to it ---- */

#define SVG_ROW 28
#define SVG_INDENT 28
#define SVG_MARGIN 20
#define SVG_TEXT_WIDTH 640
#define SVG_RADIUS 6

static void
svg_row(const GArray *rows, guint index)
{
    const Row *row = row_at(rows, index);
    guint x = SVG_MARGIN + row->depth * SVG_INDENT;
    guint y = SVG_MARGIN + index * SVG_ROW;
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];
    char date[SNAPSET_DATE_TEXT_SIZE];
    g_autofree char *escaped = snapset_format_escaped(row->snapshot->tag);
    g_autofree char *tag = g_markup_escape_text(escaped, -1);
    g_autofree char *remarks = snapset_output_remarks(row->snapshot);

    snapset_uuid_format_short(&row->snapshot->identity, uuid);
    snapset_format_date(snapset_snapshot_moment(row->snapshot)->date_sec, date);
    if (row->parent >= 0)
        printf("  <path d=\"M %u %u V %u H %u\" fill=\"none\" stroke=\"#666\"%s/>\n",
               x - SVG_INDENT, SVG_MARGIN + (guint)row->parent * SVG_ROW + SVG_RADIUS, y,
               x - SVG_RADIUS,
               row->snapshot->parent_source == SNAPSET_PARENT_INFERRED ? " stroke-dasharray=\"4 3\""
                                                                       : "");
    printf("  <circle cx=\"%u\" cy=\"%u\" r=\"%d\" fill=\"%s\" stroke=\"#333\"/>\n", x, y,
           SVG_RADIUS, row->snapshot->is_current ? "#333" : "#fff");
    printf("  <text x=\"%u\" y=\"%u\">%s  <tspan fill=\"#666\">%s  %s  %s</tspan></text>\n",
           x + 2 * SVG_RADIUS, y + 4, tag, uuid, date, remarks);
}

void
snapset_output_svg(const SnapsetSet *set, GPtrArray *chosen)
{
    g_autoptr(GArray) rows = rows_of(set, chosen);
    guint depth = 0;

    for (guint i = 0; i < rows->len; i++)
        depth = MAX(depth, row_at(rows, i)->depth);
    printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
           "font-family=\"monospace\" font-size=\"13\">\n",
           2 * SVG_MARGIN + depth * SVG_INDENT + SVG_TEXT_WIDTH,
           2 * SVG_MARGIN + rows->len * SVG_ROW);
    for (guint i = 0; i < rows->len; i++)
        svg_row(rows, i);
    printf("</svg>\n");
}
