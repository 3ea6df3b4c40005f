/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot: the guarded builtin "qemu-img snapshot -c|-a|-d", handed over by the dispatcher.
 *
 * Whatever is not understood, or not a local qcow2 image, is the real qemu-img's: it is run with
 * the arguments as they came.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io/qemu-img.h"
#include "common/ops/builtin.h"
#include "common/ops/policy-file.h"
#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/print.h"

typedef struct {
    GPtrArray *objects;
    gboolean image_opts;
    int what; /* 'c', 'a', 'd'; 0: none */
    const char *argument;
    const char *image;
} Arguments;

/* FALSE: not for us. The arguments are copied, because getopt_long() moves them about. */
static gboolean
parse(int argc, char **argv, Arguments *arguments)
{
    enum {
        OPTION_OBJECT = 256,
        OPTION_IMAGE_OPTS
    };
    static const struct option options[] = {
        {"object", required_argument, NULL, OPTION_OBJECT},
        {"image-opts", no_argument, NULL, OPTION_IMAGE_OPTS},
        {"apply", required_argument, NULL, 'a'},
        {"create", required_argument, NULL, 'c'},
        {"delete", required_argument, NULL, 'd'},
        {"quiet", no_argument, NULL, 'q'},
        {"format", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    g_autofree char **copy = g_memdup2(argv, (argc + 1) * sizeof *argv);
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, copy, "a:c:d:f:q", options, NULL)) != -1) {
        switch (option) {
        case 'a':
        case 'c':
        case 'd':
            if (arguments->what != 0)
                return FALSE;
            arguments->what = option;
            arguments->argument = optarg;
            break;
        case 'q':
            break;
        case 'f': /* since QEMU 10.1 */
            if (strcmp(optarg, "qcow2") != 0)
                return FALSE;
            break;
        case OPTION_OBJECT:
            g_ptr_array_add(arguments->objects, optarg);
            break;
        case OPTION_IMAGE_OPTS:
            arguments->image_opts = TRUE;
            break;
        default:
            return FALSE;
        }
    }
    if (arguments->what == 0 || optind != argc - 1)
        return FALSE;
    arguments->image = copy[optind];
    return TRUE;
}

static int
run_real(const SnapsetQemuTools *tools, char **argv)
{
    /* The dispatcher, if it is what was found after all, must not hand it over again. */
    g_setenv("SNAPSHOT_SET_INSIDE", "1", TRUE);
    g_autoptr(GPtrArray) real = g_ptr_array_new();
    g_ptr_array_add(real, (gpointer) "qemu-img");
    g_ptr_array_add(real, (gpointer) "snapshot");
    for (char **argument = argv + 1; *argument != NULL; argument++)
        g_ptr_array_add(real, *argument);
    g_ptr_array_add(real, NULL);
    execv(tools->qemu_img, (char **)real->pdata);
    snapset_print_error("cannot run '%s': %s", tools->qemu_img, g_strerror(errno));
    return 1;
}

/* Pass on what the real one said, and how it ended. */
static int
pass_on(const SnapsetChild *child)
{
    g_autoptr(GError) failure = NULL;

    if (child->input == NULL)
        fputs(child->output->str, stdout);
    fputs(child->errors->str, stderr);
    if (snapset_qemu_succeeded(child, &failure))
        return 0;
    if (child->errors->len == 0)
        snapset_print_error("%s", failure->message);
    return WIFEXITED(child->wait_status) && WEXITSTATUS(child->wait_status) != 0
               ? WEXITSTATUS(child->wait_status)
               : 1;
}

/* A set of the one image, for writing. NULL: the real one is to say what is wrong with it. */
static SnapsetSet *
load(const Arguments *arguments, SnapsetQemuTools *tools, const SnapsetVerdicts *verdicts,
     GError **pending)
{
    guint count = 0, running = 0;
    SnapsetSource *source = snapset_source_new(arguments->image, NULL, arguments->image_opts, NULL);
    if (source == NULL)
        return NULL;
    GPtrArray *sources = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_ptr_array_add(sources, source);
    g_autoptr(SnapsetSet) set = snapset_set_new(sources, tools, verdicts);
    snapset_machine_replay(sources, NULL,
                           NULL); /* what cannot be recorded is no reason to refuse */
    if (source->path == NULL || !snapset_recover(sources, 0, &count, &running, NULL, pending) ||
        (running > 0 && !snapset_throw(pending, SNAPSET_ERROR_PENDING,
                                       "another command is at work on it, or on its set")) ||
        !snapset_set_load(set, SNAPSET_FOR_WRITING, NULL) ||
        snapset_set_image(set, 0)->header == NULL || snapset_set_handle(set, 0)->path == NULL) {
        set->tools = NULL; /* the caller's still */
        return NULL;
    }
    return g_steal_pointer(&set);
}

int
snapset_cmd_snapshot(int argc, char **argv)
{
    g_autoptr(GPtrArray) objects = g_ptr_array_new();
    g_autofree char *complaint = NULL;
    g_autoptr(GError) error = NULL;
    SnapsetPolicy policy = snapset_policy_load(NULL, &complaint);
    Arguments arguments = {.objects = objects};
    gboolean ours = parse(argc, argv, &arguments);
    g_autoptr(SnapsetQemuTools) tools = snapset_qemu_tools_new(objects, &error);

    if (tools == NULL) {
        snapset_print_error("%s", error->message);
        return 1;
    }
    if (!ours)
        return run_real(tools, argv);
    if (complaint != NULL)
        snapset_print_warning("%s", complaint);
    g_autoptr(SnapsetSet) set = load(&arguments, tools, &policy.verdicts, &error);
    if (set == NULL && error == NULL)
        return run_real(tools, argv);
    g_autoptr(SnapsetChild) child = NULL;
    if (set != NULL) {
        g_steal_pointer(&tools);
        if (snapset_builtin_run(set, arguments.what, arguments.argument, &child, &error)) {
            snapset_print_report(set->report, TRUE, FALSE);
            return pass_on(child);
        }
        snapset_print_report(set->report, FALSE, FALSE);
        if (g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_REFUSED))
            return snapset_error_exit_code(error);
    }
    snapset_print_error("%s", error->message);
    return snapset_error_exit_code(error);
}
