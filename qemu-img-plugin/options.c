/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line. */
#include "qemu-img-plugin/options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ops/operations.h"
#include "common/ops/policy-file.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

/* What GOption fills in as text, to be looked at afterwards. */
typedef struct {
    char *output;
    char **objects;
    char **allow;
    char **rest;
    gboolean help;
} Raw;

static void
raw_clear(Raw *raw)
{
    g_free(raw->output);
    g_strfreev(raw->objects);
    g_strfreev(raw->allow);
    g_strfreev(raw->rest);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Raw, raw_clear)

static void
add_options(GOptionContext *context, SnapsetOptions *o, Raw *raw)
{
    SnapsetTakes takes = o->command->takes | (o->command->allowable != 0 ? SNAPSET_TAKES_ALLOW : 0);
    const char *outputs = takes & SNAPSET_TAKES_DRAWINGS ? "human|json|dot|svg" : "human|json";
    const GOptionEntry shared[] = {
        {"format", 'f', 0, G_OPTION_ARG_STRING, &o->format, "format of all images", "FMT"},
        {"image-opts", 0, 0, G_OPTION_ARG_NONE, &o->image_opts, "images are option strings", NULL},
        {"object", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw->objects, "a QEMU object, for keys",
         "OBJECTDEF"},
        {"domain", 0, 0, G_OPTION_ARG_STRING, &o->domain, "the images of a libvirt domain", "NAME"},
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &o->connect, "libvirt's URI, with --domain",
         "URI"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &raw->output, "how to print", outputs},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &o->quiet, "print errors only", NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &raw->help, "show this text", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &raw->rest, NULL, NULL},
        {NULL},
    };
    const struct {
        SnapsetTakes takes;
        gboolean unless;
        GOptionEntry entry;
    } own[] = {
        {SNAPSET_TAKES_MACHINE,
         FALSE,
         {"qmp", 0, 0, G_OPTION_ARG_FILENAME, &o->qmp, "the images of a running QEMU", "ADDRESS"}},
        {SNAPSET_TAKES_MACHINE,
         FALSE,
         {"device", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->devices, "only this disk of it", "NAME"}},
        {SNAPSET_WRITES,
         TRUE,
         {"force-share", 'U', 0, G_OPTION_ARG_NONE, &o->force_share,
          "read images in use (always done)", NULL}},
        {SNAPSET_WRITES,
         FALSE,
         {"dry-run", 0, 0, G_OPTION_ARG_NONE, &o->dry_run, "judge, and change nothing", NULL}},
        {SNAPSET_TAKES_PROGRESS,
         FALSE,
         {"progress", 'p', 0, G_OPTION_ARG_NONE, &o->progress, "show progress", NULL}},
        {SNAPSET_TAKES_ALLOW,
         FALSE,
         {"allow", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw->allow, "only warn about that rule",
          "RULE"}},
        {SNAPSET_TAKES_ALL,
         FALSE,
         {"all", 0, 0, G_OPTION_ARG_NONE, &o->all, "incomplete snapshots too", NULL}},
        {SNAPSET_TAKES_REPAIR,
         FALSE,
         {"repair", 0, 0, G_OPTION_ARG_NONE, &o->repair, "repair what can be", NULL}},
        {SNAPSET_TAKES_DESCRIPTION,
         FALSE,
         {"description", 0, 0, G_OPTION_ARG_FILENAME, &o->description, "a text to keep", "TEXT"}},
        {SNAPSET_TAKES_EXTERNAL,
         FALSE,
         {"external", 0, 0, G_OPTION_ARG_NONE, &o->external, "freeze the images, put overlays on",
          NULL}},
        {SNAPSET_TAKES_EXTERNAL,
         FALSE,
         {"overlay-format", 0, 0, G_OPTION_ARG_STRING, &o->overlay_format,
          "format of the overlays: qcow2", "FMT"}},
        {SNAPSET_TAKES_EXTERNAL,
         FALSE,
         {"quiesce", 0, 0, G_OPTION_ARG_NONE, &o->quiesce,
          "have the guest's agent freeze its file systems", NULL}},
        {SNAPSET_TAKES_OVERLAYS,
         FALSE,
         {"overlay-dir", 0, 0, G_OPTION_ARG_FILENAME, &o->overlay_dir, "where overlays are made",
          "DIR"}},
        {SNAPSET_TAKES_OVERLAYS,
         FALSE,
         {"relative-backing", 0, 0, G_OPTION_ARG_NONE, &o->relative_backing,
          "name backing files relative to overlays", NULL}},
        {SNAPSET_TAKES_SAVE_CURRENT,
         FALSE,
         {"save-current", 0, 0, G_OPTION_ARG_FILENAME, &o->save_current,
          "take a snapshot of the state before", "TAG"}},
        {SNAPSET_TAKES_GIVING_UP,
         FALSE,
         {"without-missing", 0, 0, G_OPTION_ARG_NONE, &o->without_missing,
          "give up images that are not there", NULL}},
        {SNAPSET_TAKES_GIVING_UP,
         FALSE,
         {"keep-written", 0, 0, G_OPTION_ARG_NONE, &o->keep_written,
          "leave images that were written to since as they are", NULL}},
        {SNAPSET_TAKES_CHILDREN,
         FALSE,
         {"children", 0, 0, G_OPTION_ARG_NONE, &o->children, "its descendants too", NULL}},
    };

    g_option_context_add_main_entries(context, shared, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        const GOptionEntry one[] = {own[i].entry, {NULL}};
        if (((takes & own[i].takes) != 0) != own[i].unless)
            g_option_context_add_main_entries(context, one, NULL);
    }
}

static gboolean
parse_output(SnapsetOptions *o, const char *text, GError **error)
{
    static const char *const names[] = {"human", "json", "dot", "svg"};
    gsize known = o->command->takes & SNAPSET_TAKES_DRAWINGS ? 4 : 2;

    if (text == NULL)
        return TRUE;
    for (gsize i = 0; i < known; i++) {
        if (strcmp(names[i], text) == 0) {
            o->output = i;
            return TRUE;
        }
    }
    return snapset_throw(error, SNAPSET_ERROR_USAGE, "--output cannot be '%s' here", text);
}

/* Policy first, where going on has a meaning for this command; then --allow. */
static gboolean
parse_allow(SnapsetOptions *o, char **allow, GError **error)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(o->domain, &complaint);

    if (complaint != NULL)
        snapset_print_warning("%s", complaint);
    for (guint rule = 0; rule < SNAPSET_RULE_COUNT; rule++) {
        if (!(o->command->takes & SNAPSET_WANTS_A_WORD) && (o->command->allowable & 1u << rule))
            o->verdicts.of[rule] = policy.verdicts.of[rule];
    }
    for (guint i = 0; allow != NULL && allow[i] != NULL; i++) {
        SnapsetRule rule;
        if (!snapset_rule_parse(allow[i], &rule))
            return snapset_throw(error, SNAPSET_ERROR_USAGE, "there is no rule '%s'", allow[i]);
        if (!(o->command->allowable & 1u << rule))
            return snapset_throw(error, SNAPSET_ERROR_USAGE,
                                 "'%s' cannot go on against the rule '%s'", o->command->name,
                                 allow[i]);
        o->verdicts.of[rule] = SNAPSET_WARN;
    }
    return TRUE;
}

static gboolean
parse_operands(SnapsetOptions *o, Raw *raw, GError **error)
{
    guint count = raw->rest != NULL ? g_strv_length(raw->rest) : 0;
    gboolean elsewhere = o->domain != NULL || o->qmp != NULL;
    gboolean needs_image = !(o->command->takes & SNAPSET_TAKES_NO_IMAGE) && !elsewhere;

    if (o->command->takes & SNAPSET_WANTS_DOMAIN && o->domain == NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "expecting --domain NAME");
    if (o->domain != NULL && o->qmp != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "--domain and --qmp exclude each other");
    if (elsewhere && count > o->command->operand_count)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "--%s takes the place of IMAGE...",
                             o->domain != NULL ? "domain" : "qmp");
    if (elsewhere && (o->format != NULL || o->image_opts))
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "with --%s says what the images are",
                             o->domain != NULL ? "domain libvirt" : "qmp QEMU");
    if (o->domain == NULL && o->connect != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "--connect goes with --domain");
    if (o->qmp == NULL && o->devices != NULL)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "--device goes with --qmp");
    if (o->qmp != NULL && (o->repair || o->objects->len > 0))
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "--qmp goes with neither --repair nor --object: QEMU has the images "
                             "open");
    if (count < o->command->operand_count + needs_image)
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "expecting %s%sIMAGE...",
                             o->command->operands, *o->command->operands != '\0' ? " " : "");
    o->operands = g_steal_pointer(&raw->rest);
    if (o->operands == NULL)
        o->operands = g_new0(char *, 1);
    return TRUE;
}

static const char *
image_operands(const SnapsetCommand *command)
{
    if (command->takes & SNAPSET_WANTS_DOMAIN)
        return "";
    return command->takes & SNAPSET_TAKES_NO_IMAGE ? "[IMAGE...]" : "IMAGE...";
}

static gboolean
link_domain(SnapsetOptions *options, GError **error)
{
    if (options->domain != NULL)
        options->link = snapset_domain_link_open(options->connect, options->domain, error);
    return options->domain == NULL || options->link != NULL;
}

gboolean
snapset_options_parse(SnapsetOptions *options, const SnapsetCommand *command, int argc, char **argv,
                      GError **error)
{
    g_autofree char *parameters =
        g_strdup_printf("%s%s%s", command->operands, *command->operands != '\0' ? " " : "",
                        image_operands(command));
    g_autoptr(GOptionContext) context = g_option_context_new(parameters);
    g_autoptr(GError) failure = NULL;
    g_auto(Raw) raw = {0};
    g_auto(GStrv) arguments = g_new0(char *, argc + 1);
    g_autofree char *name = g_strdup_printf("qemu-img snapshot-set %s", command->name);

    options->command = command;
    options->objects = g_ptr_array_new_with_free_func(g_free);
    g_option_context_set_summary(context, command->summary);
    g_option_context_set_help_enabled(context, FALSE); /* it would not notice a full disk */
    add_options(context, options, &raw);
    for (int i = 0; i < argc; i++)
        arguments[i] = g_strdup(i == 0 ? name : argv[i]);
    g_set_prgname(name);
    if (!g_option_context_parse_strv(context, &arguments, &failure))
        return snapset_throw(error, SNAPSET_ERROR_USAGE, "%s", failure->message);
    if (raw.help) {
        g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
        GString *help = g_string_new(text);
        g_string_replace(help, "\xe2\x80\xa6", "...", 0); /* GOption's ellipsis, in any locale */
        options->help = g_string_free(help, FALSE);
        return TRUE;
    }
    for (guint i = 0; raw.objects != NULL && raw.objects[i] != NULL; i++)
        g_ptr_array_add(options->objects, g_strdup(raw.objects[i]));
    return parse_output(options, raw.output, error) && parse_allow(options, raw.allow, error) &&
           parse_operands(options, &raw, error) && link_domain(options, error);
}

void
snapset_options_clear(SnapsetOptions *options)
{
    g_free(options->format);
    g_free(options->description);
    g_free(options->save_current);
    g_free(options->overlay_dir);
    g_free(options->overlay_format);
    g_free(options->domain);
    g_free(options->connect);
    g_clear_pointer(&options->objects, g_ptr_array_unref);
    g_strfreev(options->operands);
    g_free(options->help);
    g_free(options->qmp);
    g_strfreev(options->devices);
    if (options->machine != NULL)
        snapset_machine_free(options->machine);
    else
        snapset_set_free(options->set);
    snapset_domain_link_free(options->link);
}

GPtrArray *
snapset_options_sources(const SnapsetOptions *options, GError **error)
{
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);

    if (options->link != NULL)
        return snapset_domain_link_sources(options->link, error);
    for (char **name = options->operands + options->command->operand_count; *name != NULL; name++) {
        SnapsetSource *source =
            snapset_source_new(*name, options->format, options->image_opts, error);
        if (source == NULL)
            return NULL;
        g_ptr_array_add(sources, source);
    }
    return g_steal_pointer(&sources);
}

static void
show_progress(double done, gpointer data)
{
    fprintf(stderr, "    (%.2f/100%%)%c", 100 * done, done < 1 ? '\r' : '\n');
    fflush(stderr);
}

/* Finish or undo what was interrupted, and record what was done while a machine ran. */
static gboolean
recover_first(const SnapsetOptions *options, GPtrArray *sources, GError **error)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    SnapsetRecovery how = (options->dry_run ? SNAPSET_RECOVERY_TRY : 0) |
                          (options->link != NULL ? SNAPSET_RECOVERY_IN_USE : 0);
    guint count = 0;
    gboolean recovered = snapset_recover(sources, how, &count, NULL, notes, error);

    for (guint i = 0; count > 0 && i < notes->len; i++)
        snapset_print_warning("an interrupted operation: %s", (char *)notes->pdata[i]);
    return recovered && (options->dry_run || snapset_machine_replay(sources, NULL, error));
}

static gboolean
open_machine(SnapsetOptions *options, GError **error)
{
    options->machine =
        snapset_machine_new(options->qmp, options->devices, &options->verdicts, error);
    if (options->machine == NULL)
        return FALSE;
    options->set = options->machine->set;
    if (!snapset_machine_load(options->machine, error))
        return FALSE;
    for (guint i = 0; !options->quiet && i < options->machine->notes->len; i++)
        snapset_print_warning("%s", (char *)options->machine->notes->pdata[i]);
    return TRUE;
}

static gboolean
open_images(SnapsetOptions *options, SnapsetAccess access, GError **error)
{
    g_autoptr(GPtrArray) sources = snapset_options_sources(options, error);
    g_autoptr(SnapsetQemuTools) tools = NULL;
    gboolean writing = access != SNAPSET_FOR_READING && access != SNAPSET_FOR_CHECKING;

    if (sources == NULL || (writing && !recover_first(options, sources, error)))
        return FALSE;
    if (writing || options->objects->len > 0) {
        tools = snapset_qemu_tools_new(options->objects, error);
        if (tools == NULL)
            return FALSE;
    }
    options->set =
        snapset_set_new(g_steal_pointer(&sources), g_steal_pointer(&tools), &options->verdicts);
    if (!snapset_set_load(options->set, access, error))
        return FALSE;
    if (options->link != NULL && !writing)
        snapset_domain_link_remember(options->link, options->set);
    return TRUE;
}

gboolean
snapset_options_open(SnapsetOptions *options, SnapsetAccess access, GError **error)
{
    static const int postponed[] = {SIGINT, SIGTERM, SIGHUP};
    gboolean reading = access == SNAPSET_FOR_READING || access == SNAPSET_FOR_CHECKING;
    gboolean changes = !reading || (options->command->takes & SNAPSET_WRITES && !options->dry_run);

    /* Connecting may be waited for in vain. */
    if (options->qmp != NULL && !open_machine(options, error))
        return FALSE;
    /* All or none: what has begun is not to be cut short by a key or a closing terminal. Others do
       the work where a machine runs; but what they did has to be recorded. */
    for (gsize i = 0; changes && i < G_N_ELEMENTS(postponed); i++)
        signal(postponed[i], SIG_IGN);
    if (options->qmp == NULL && !open_images(options, access, error))
        return FALSE;
    if (options->progress)
        options->set->progress = show_progress;
    return TRUE;
}
