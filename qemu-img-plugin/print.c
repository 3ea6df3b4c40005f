/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said to a person. */
#include "qemu-img-plugin/print.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/core/format.h"
#include "qemu-img-plugin/output.h"

#define PREFIX "qemu-img: snapshot-set: "

void
snapset_print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    snapset_format_disarm(message);
    fprintf(stderr, PREFIX "%s\n", message);
}

void
snapset_print_warning(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    snapset_format_disarm(message);
    fprintf(stderr, PREFIX "warning: %s\n", message);
}

void
snapset_print_report(const SnapsetReport *report, gboolean done, gboolean quiet)
{
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        gboolean denied = !done && violation->verdict == SNAPSET_DENY;
        if (!denied && quiet)
            continue;
        fprintf(stderr, PREFIX "%s [%s]: %s\n", denied ? "refused" : "warning",
                snapset_rule_name(violation->rule), violation->message);
        if (denied && violation->hint != NULL)
            fprintf(stderr, "hint: %s\n", violation->hint);
    }
}

void
snapset_print_result(const SnapsetOptions *options, const char *format, ...)
{
    if (options->quiet || options->output != SNAPSET_OUTPUT_HUMAN)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    for (guint i = 0; i < options->set->notes->len; i++)
        printf("%s\n", (char *)options->set->notes->pdata[i]);
    printf("%s%s\n", options->dry_run ? "dry run: would have " : "", message);
}

void
snapset_print_moves(const SnapsetOptions *options)
{
    const GPtrArray *moves = options->set->moves;

    if (options->quiet || options->output != SNAPSET_OUTPUT_HUMAN)
        return;
    for (guint i = 0; i < moves->len; i++) {
        const SnapsetMove *move = moves->pdata[i];
        g_autofree char *from = snapset_format_escaped(move->from);
        g_autofree char *to = snapset_format_escaped(move->to);
        printf("%s -> %s\n", from, to);
    }
}

void
snapset_print_unrecorded(const SnapsetOptions *options)
{
    const SnapsetSet *set = options->set;
    g_autoptr(GPtrArray) overlays = g_ptr_array_new_with_free_func(g_free);

    if (options->quiet || options->output != SNAPSET_OUTPUT_HUMAN || set->catalog->snapshots->len)
        return;
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        if (image->backing_filename != NULL)
            g_ptr_array_add(overlays,
                            g_strdup_printf("%s on %s", image->filename, image->backing_filename));
    }
    g_autofree char *names = snapset_format_names(overlays);
    if (overlays->len > 0)
        fprintf(stderr, "no snapshot is recorded, but these are overlays: %s\n", names);
}

void
snapset_print_set(const SnapsetOptions *options)
{
    g_autoptr(GPtrArray) all = snapset_output_choose(options->set->catalog, TRUE);
    snapset_output_json(options->set, all);
}

void
snapset_print_snapshot(const SnapsetOptions *options, const char *done, const SnapsetUuid *identity)
{
    const SnapsetSnapshot *snapshot = snapset_catalog_find(options->set->catalog, identity);
    char uuid[SNAPSET_UUID_SHORT_DIGITS + 1];

    if (snapshot == NULL) /* a dry run has made none */
        return;
    if (options->output == SNAPSET_OUTPUT_JSON) {
        snapset_output_json_snapshot(options->set, snapshot);
        return;
    }
    snapset_uuid_format_short(&snapshot->identity, uuid);
    g_autofree char *tag = snapset_format_quoted(snapshot->tag);
    snapset_print_result(options, "%s snapshot %s (%s) on %u image%s", done, tag, uuid,
                         snapshot->members->len, snapshot->members->len == 1 ? "" : "s");
}
