/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deleting external snapshots of a running machine: QEMU commits overlays into their backing files,
 * disk by disk. A merge that has begun is not undone; the same command goes on where it stopped.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "common/core/format.h"
#include "common/core/live.h"
#include "common/core/overlay-name.h"
#include "common/core/rules.h"
#include "common/io/lock.h"
#include "common/ops/domain-chains.h"
#include "common/ops/machine.h"
#include "common/ops/stretch.h"

/* ---- what stands against it ---- */

static void
check_disk(SnapsetMachine *machine, const SnapsetStretch *stretch)
{
    if (snapset_machine_disk(machine, stretch->image)->root == NULL)
        snapset_set_report(machine->set, stretch->image, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                           "this QEMU has no name for its node");
    if (stretch->top == 0 && snapset_machine_disk(machine, stretch->image)->has_named_bitmaps)
        snapset_set_report(machine->set, stretch->image, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "finish or drop the backup that uses them",
                           "it holds dirty bitmaps, which would be lost when it is merged");
    for (guint link = stretch->top > 0 ? stretch->top - 1 : 0;
         link <= snapset_stretch_base(stretch); link++) {
        if (!snapset_stretch_link(machine->set, stretch, link)->is_local)
            snapset_set_report(machine->set, stretch->image, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                               "run this on the host, and in the folder, that QEMU runs in",
                               "a file of its backing chain is not here");
    }
}

static gboolean
judge(SnapsetMachine *machine, GPtrArray *chosen, GArray *stretches, GError **error)
{
    SnapsetSet *set = machine->set;

    snapset_machine_check_command(machine, "block-commit");
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        g_autoptr(SnapsetLiveRequest) request =
            snapset_machine_request(machine, SNAPSET_LIVE_DELETE, snapshot->tag, NULL);
        snapset_rules_delete(set->catalog, snapshot, set->report);
        snapset_rules_coverage(machine->all, request, set->report);
    }
    for (guint i = 0; i < stretches->len; i++)
        check_disk(machine, snapset_stretch_at(stretches, i));
    return snapset_report_verdict(set->report, error) &&
           snapset_stretches_judge(set, chosen, stretches, error) &&
           snapset_report_verdict(set->report, error);
}

/* ---- one merge ---- */

/* What a stretch is made of, while links come and go. */
typedef struct {
    guint disk;       /* index of the image */
    GPtrArray *files; /* of char *: from the uppermost overlay that goes to the lowest */
    char *base;       /* where their data go */
    guint64 inode;    /* of that */
    char *backing;    /* what the overlay above calls the base afterwards; NULL: there is none, they
                         are what the guest writes to */
} Merge;

static void
merge_free(gpointer data)
{
    Merge *merge = data;
    g_ptr_array_unref(merge->files);
    g_free(merge->base);
    g_free(merge->backing);
    g_free(merge);
}

static Merge *
merge_new(const SnapsetSet *set, const SnapsetStretch *stretch)
{
    Merge *merge = g_new0(Merge, 1);
    const SnapsetImage *base = snapset_stretch_link(set, stretch, snapset_stretch_base(stretch));

    merge->disk = stretch->image;
    merge->files = g_ptr_array_new_with_free_func(g_free);
    for (guint link = stretch->top; link <= stretch->bottom; link++)
        g_ptr_array_add(merge->files, g_strdup(snapset_stretch_link(set, stretch, link)->filename));
    merge->base = g_strdup(base->filename);
    merge->inode = base->inode;
    if (stretch->top == 0)
        return merge;
    const SnapsetImage *above = snapset_stretch_link(set, stretch, stretch->top - 1);
    g_autofree char *folder = g_path_get_dirname(above->filename);
    merge->backing = snapset_overlay_names_relative(above->backing_filename)
                         ? snapset_overlay_relative(folder, base->filename)
                         : g_strdup(base->filename);
    return merge;
}

/* What QEMU says of the file @path in the chain of a disk; NULL: it is not there any more. */
static JsonObject *
find_link(const SnapsetMachine *machine, guint disk, const char *path)
{
    const SnapsetImage *image = snapset_set_image(machine->set, disk);
    JsonObject *info = snapset_machine_disk(machine, disk)->info;

    for (guint link = 0; info != NULL && link < snapset_image_link_count(image); link++) {
        if (strcmp(snapset_image_link(image, link)->filename, path) == 0)
            return info;
        info = snapset_qmp_backing(info);
    }
    return NULL;
}

/* The uppermost of the files that still have to go; NULL: none has. */
static JsonObject *
find_top(const SnapsetMachine *machine, const Merge *merge)
{
    JsonObject *top = NULL;

    for (guint i = 0; top == NULL && i < merge->files->len; i++)
        top = find_link(machine, merge->disk, merge->files->pdata[i]);
    return top;
}

static SnapsetLiveEvent *
event_of(const SnapsetMachine *machine, gconstpointer data)
{
    const Merge *merge = data;
    SnapsetLiveEvent *event = snapset_live_event_new(SNAPSET_LIVE_EVENT_MOVE, "");
    const SnapsetImage *image = snapset_set_image(machine->set, merge->disk);

    snapset_live_event_add_image(event, merge->base, merge->inode, &snapset_uuid_nil, TRUE);
    for (guint link = 0; link < snapset_image_link_count(image); link++) {
        const SnapsetImage *overlay = snapset_image_link(image, link);
        if (g_ptr_array_find_with_equal_func(merge->files, overlay->filename, g_str_equal, NULL))
            snapset_domain_add_source(event, overlay);
    }
    return event;
}

static gboolean
commit(SnapsetMachine *machine, const Merge *merge, GError **error)
{
    SnapsetSet *set = machine->set;
    const char *device = snapset_machine_disk(machine, merge->disk)->root;
    JsonObject *from = find_top(machine, merge);
    JsonObject *into = find_link(machine, merge->disk, merge->base);
    GVariantDict arguments;

    if (from == NULL || into == NULL)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU has another chain there by now");
    g_autofree char *top = snapset_qmp_find_node(machine->qmp, from, error);
    g_autofree char *base = top != NULL ? snapset_qmp_find_node(machine->qmp, into, error) : NULL;
    if (base == NULL)
        return FALSE;
    g_variant_dict_init(&arguments, NULL);
    g_variant_dict_insert(&arguments, "device", "s", device);
    g_variant_dict_insert(&arguments, "top-node", "s", top);
    g_variant_dict_insert(&arguments, "base-node", "s", base);
    g_variant_dict_insert(&arguments, "auto-dismiss", "b", FALSE);
    if (merge->backing != NULL)
        g_variant_dict_insert(&arguments, "backing-file", "s", merge->backing);
    return snapset_qmp_run_job(machine->qmp, "block-commit", &arguments, set->progress,
                               set->progress_data, error);
}

/* ---- what is left ---- */

/* Have QEMU close what nothing of it uses any more, if it was opened for us; others it may need. */
static void
close_nodes(SnapsetMachine *machine)
{
    g_autoptr(GPtrArray) nodes = snapset_qmp_node_names(machine->qmp, NULL);

    for (guint i = 0; nodes != NULL && i < nodes->len; i++) {
        const char *node = nodes->pdata[i];
        g_autoptr(JsonNode) closed =
            g_str_has_prefix(node, SNAPSET_NODE_PREFIX)
                ? snapset_qmp_execute(machine->qmp, "blockdev-del",
                                      g_variant_new_parsed("{'node-name': <%s>}", node), NULL)
                : NULL; /* of one that is in use it says no */
    }
}

static void
remove_files(SnapsetMachine *machine, const Merge *merge)
{
    for (guint i = 0; i < merge->files->len; i++) {
        const char *path = merge->files->pdata[i];
        g_autofree char *name = snapset_format_quoted(path);
        if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) /* a device stays */
            continue;
        if (snapset_lock_is_held(path))
            snapset_set_note(machine->set,
                             "%s holds nothing that is needed any more; QEMU still has it open, so "
                             "remove it later",
                             name);
        else if (g_unlink(path) < 0 && errno != ENOENT)
            snapset_set_note(machine->set, "%s could not be removed: %s", name, g_strerror(errno));
    }
}

/* ---- together ---- */

static gboolean
merge_one(SnapsetMachine *machine, const Merge *merge, GError **error)
{
    gboolean is_done =
        find_top(machine, merge) == NULL && find_link(machine, merge->disk, merge->base) != NULL;

    /* The base is no snapshot any more from the first byte on. */
    if (!is_done && !(snapset_machine_note(machine, event_of, merge, error) &&
                      commit(machine, merge, error) && snapset_machine_load(machine, error)))
        return FALSE;
    close_nodes(machine);
    remove_files(machine, merge);
    return TRUE;
}

static gboolean
carry_out(SnapsetMachine *machine, GPtrArray *merges, GError **error)
{
    guint done = 0;

    /* What a command that was killed has begun QEMU is still at. */
    snapset_qmp_finish_jobs(machine->qmp, "commit", machine->set->progress,
                            machine->set->progress_data);
    if (!snapset_machine_load(machine, error))
        return FALSE;
    while (done < merges->len && merge_one(machine, merges->pdata[done], error))
        done++;
    if (done == merges->len)
        return TRUE;
    g_autofree char *name = snapset_format_quoted(((const Merge *)merges->pdata[done])->base);
    g_prefix_error(error, "%u of %u merges are done, and that into %s is not: ", done, merges->len,
                   name);
    return FALSE;
}

/* Where the guest's own file was merged away it goes on in the one below. */
static void
say_moves(SnapsetMachine *machine, GPtrArray *merges)
{
    for (guint i = 0; i < merges->len; i++) {
        const Merge *merge = merges->pdata[i];
        if (merge->backing == NULL)
            snapset_set_add_move(machine->set, merge->disk, merge->base);
    }
}

gboolean
snapset_machine_delete_external(SnapsetMachine *machine, GPtrArray *chosen, gboolean dry_run,
                                GError **error)
{
    SnapsetSet *set = machine->set;
    g_autoptr(GArray) stretches = snapset_stretches_find(set, chosen);
    g_autoptr(GPtrArray) merges = g_ptr_array_new_with_free_func(merge_free);

    if (set->tools == NULL)
        set->tools = snapset_qemu_tools_new(NULL, error);
    if (set->tools == NULL || !judge(machine, chosen, stretches, error))
        return FALSE;
    for (guint i = 0; i < stretches->len; i++)
        g_ptr_array_add(merges, merge_new(set, snapset_stretch_at(stretches, i)));
    say_moves(machine, merges);
    snapset_machine_hold(machine);
    return dry_run || (carry_out(machine, merges, error) && snapset_machine_load(machine, error));
}
