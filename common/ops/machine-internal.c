/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots of a running machine: QEMU's jobs, judged before they are begun. */
#include <string.h>

#include "common/core/format.h"
#include "common/core/live.h"
#include "common/core/rules.h"
#include "common/ops/delete.h"
#include "common/ops/domain-images.h"
#include "common/ops/machine.h"
#include "common/ops/space.h"

#define OFFLINE_HINT "shut the machine down, and do it on its images"

/* Run the job of @command; @vmstate (NULL: none) is the node of the disk with the VM state. */
static gboolean
run_job(SnapsetMachine *machine, const char *command, const SnapsetLiveRequest *request,
        const char *vmstate, GError **error)
{
    GVariantDict arguments;

    g_variant_dict_init(&arguments, NULL);
    g_variant_dict_insert(&arguments, "tag", "s", request->tag);
    if (vmstate != NULL)
        g_variant_dict_insert(&arguments, "vmstate", "s", vmstate);
    g_variant_dict_insert_value(
        &arguments, "devices",
        g_variant_new_strv((const char *const *)request->nodes->pdata, request->nodes->len));
    return snapset_qmp_run_job(machine->qmp, command, &arguments, machine->set->progress,
                               machine->set->progress_data, error);
}

/* ---- what stands against it ---- */

/* QEMU's monitor knows tags only, as UTF-8. */
static void
check_tag_is_text(SnapsetMachine *machine, const char *tag)
{
    g_autofree char *quoted = snapset_format_quoted(tag);

    if (!g_utf8_validate(tag, -1, NULL))
        snapset_report_add(machine->set->report, SNAPSET_RULE_TAG_INVALID, tag, NULL,
                           g_strdup(OFFLINE_HINT),
                           "tag %s is not UTF-8, and QEMU's monitor takes nothing else", quoted);
}

/* Only qcow2 holds internal snapshots with a VM state. */
static void
check_formats(SnapsetMachine *machine)
{
    for (guint i = 0; i < machine->chosen->len; i++) {
        const SnapsetImage *image = snapset_set_image(machine->set, i);
        const SnapsetQmpDisk *disk = snapset_machine_disk(machine, i);
        g_autofree char *name = snapset_format_escaped(disk->name);
        if (strcmp(image->format, "qcow2") != 0)
            snapset_report_add_image(
                machine->set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image->filename,
                g_strdup("take an external snapshot (--external), or leave the disk out (--device "
                         "of the others, --allow coverage)"),
                "%s: a %s image holds no snapshots", name, image->format);
        else if (disk->node == NULL)
            snapset_report_add_image(machine->set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                                     image->filename, g_strdup(OFFLINE_HINT),
                                     "%s: this QEMU has no name for its node", name);
    }
}

/* What the guard would say too. */
static void
judge(SnapsetMachine *machine, SnapsetLiveKind kind, const char *tag)
{
    g_autoptr(SnapsetLiveRequest) request = snapset_machine_request(machine, kind, tag, NULL);

    snapset_rules_coverage(machine->all, request, machine->set->report);
    snapset_rules_live(machine->set->catalog, machine->domain, request, machine->set->report);
}

static void
judge_create(SnapsetMachine *machine, const char *tag)
{
    SnapsetSet *set = machine->set;

    snapset_machine_check_command(machine, "snapshot-save");
    check_formats(machine);
    judge(machine, SNAPSET_LIVE_CREATE, tag);
    snapset_rules_current(set->catalog, set->report);
    snapset_space_check(set, NULL);
}

/* The guest cannot be given other files while it runs. FALSE when @snapshot is external. */
static gboolean
check_internal(SnapsetMachine *machine, const SnapsetSnapshot *snapshot)
{
    if (!snapset_snapshot_is_external(snapshot))
        return TRUE;
    g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
    g_autofree char *selector = snapset_format_selector(snapshot->tag);
    snapset_report_add(machine->set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, snapshot->tag, NULL,
                       g_strdup_printf("shut the machine down, then: qemu-img snapshot-set apply "
                                       "%s IMAGE...",
                                       selector),
                       "snapshot %s is external, and a running machine cannot apply it", quoted);
    return FALSE;
}

static void
judge_apply(SnapsetMachine *machine, const SnapsetSnapshot *target)
{
    SnapsetSet *set = machine->set;

    if (!check_internal(machine, target))
        return;
    snapset_machine_check_command(machine, "snapshot-load");
    check_tag_is_text(machine, target->tag);
    snapset_rules_whole(set->catalog, target, SNAPSET_TO_APPLY, set->report);
    judge(machine, SNAPSET_LIVE_LOAD, target->tag);
    if (snapset_snapshot_vm_state_size(target) > 0)
        return;
    g_autofree char *quoted = snapset_format_quoted(target->tag);
    snapset_report_add(
        set->report, SNAPSET_RULE_LOAD_WOULD_FAIL, target->tag, NULL, g_strdup(OFFLINE_HINT),
        "snapshot %s is of the disks alone: a running machine cannot go back without "
        "a VM state",
        quoted);
}

static void
judge_delete(SnapsetMachine *machine, const SnapsetSnapshot *snapshot)
{
    SnapsetSet *set = machine->set;

    snapset_machine_check_command(machine, "snapshot-delete");
    check_tag_is_text(machine, snapshot->tag);
    snapset_rules_whole(set->catalog, snapshot, SNAPSET_TO_DELETE, set->report);
    judge(machine, SNAPSET_LIVE_DELETE, snapshot->tag);
}

/* ---- what was done ---- */

typedef struct {
    SnapsetLiveEventKind kind;
    const char *tag;
} Deed;

static SnapsetLiveEvent *
event_of(const SnapsetMachine *machine, gconstpointer data)
{
    const Deed *deed = data;
    return snapset_domain_event(deed->kind, deed->tag, machine->set->images);
}

/* ---- create ---- */

/* The job failed: take away what it may have left on some of the disks. */
static gboolean
clean_up(SnapsetMachine *machine, const SnapsetLiveRequest *request, GError **error)
{
    g_autofree char *first = g_strdup((*error)->message);
    g_autoptr(SnapsetLiveRequest) left = NULL;
    g_autoptr(GError) failure = NULL;

    if (!snapset_machine_load(machine, &failure))
        return snapset_throw((g_clear_error(error), error), SNAPSET_ERROR_FAILED,
                             "%s; and it cannot be told what is left of it: %s", first,
                             failure->message);
    left = snapset_live_request_new(SNAPSET_LIVE_DELETE);
    left->tag = g_strdup(request->tag);
    for (guint i = 0; i < machine->chosen->len; i++) {
        if (snapset_image_find_tag(snapset_set_image(machine->set, i), request->tag) != NULL)
            g_ptr_array_add(left->nodes, g_strdup(snapset_machine_disk(machine, i)->node));
    }
    g_clear_error(error);
    if (left->nodes->len > 0 && !run_job(machine, "snapshot-delete", left, NULL, &failure))
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "%s; and what it left on some disks could not be deleted: %s", first,
                             failure->message);
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "%s; no disk has the snapshot", first);
}

/* The snapshot just made, which every chosen disk must have as one moment. */
static gboolean
find_made(SnapsetMachine *machine, const char *tag, SnapsetUuid *ret_identity, GError **error)
{
    const SnapsetEntry *first = snapset_image_find_tag(snapset_set_image(machine->set, 0), tag);
    const SnapsetSnapshot *made =
        first != NULL ? snapset_catalog_find(machine->set->catalog, &first->identity) : NULL;

    if (made == NULL || made->standing != SNAPSET_COMPLETE)
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "QEMU has taken the snapshot, and not all disks have it");
    *ret_identity = made->identity;
    return TRUE;
}

/* Have QEMU take the snapshot of @request; what it leaves behind on failure is taken away. */
static gboolean
save(SnapsetMachine *machine, const SnapsetLiveRequest *request, GError **error)
{
    if (!run_job(machine, "snapshot-save", request, request->nodes->pdata[0], error))
        return clean_up(machine, request, error);
    return snapset_machine_note(machine, event_of, &(Deed){SNAPSET_LIVE_EVENT_CREATE, request->tag},
                                error);
}

gboolean
snapset_machine_create(SnapsetMachine *machine, const char *tag, gboolean dry_run,
                       SnapsetUuid *ret_identity, GError **error)
{
    g_autoptr(SnapsetLiveRequest) request =
        snapset_machine_request(machine, SNAPSET_LIVE_CREATE, tag, NULL);

    judge_create(machine, tag);
    if (!snapset_report_verdict(machine->set->report, error))
        return FALSE;
    return dry_run ||
           (save(machine, request, error) && find_made(machine, tag, ret_identity, error));
}

/* ---- apply ---- */

/* The node of the disk whose entry of @snapshot holds the VM state. */
static const char *
vmstate_node(const SnapsetMachine *machine, const SnapsetSnapshot *snapshot)
{
    for (guint i = 0; i < snapshot->members->len; i++) {
        const SnapsetMember *member = snapset_snapshot_member(snapshot, i);
        if (member->entry->vm_state_size > 0)
            return snapset_machine_disk(machine, member->image)->node;
    }
    return NULL;
}

static gboolean
load(SnapsetMachine *machine, const SnapsetLiveRequest *request, const char *vmstate,
     GError **error)
{
    if (!snapset_machine_note(machine, event_of, &(Deed){SNAPSET_LIVE_EVENT_LOADING, request->tag},
                              error))
        return FALSE;
    if (run_job(machine, "snapshot-load", request, vmstate, error))
        return snapset_machine_note(machine, event_of,
                                    &(Deed){SNAPSET_LIVE_EVENT_LOAD, request->tag}, error);
    g_prefix_error(error, "the machine may stand on a mix of two moments now, until another "
                          "snapshot is loaded: ");
    return FALSE;
}

gboolean
snapset_machine_apply(SnapsetMachine *machine, const char *selector, const char *save_tag,
                      gboolean dry_run, SnapsetUuid *ret_identity, GError **error)
{
    SnapsetSet *set = machine->set;
    const SnapsetSnapshot *target = snapset_selector_resolve(selector, set->catalog, set->report);
    g_autoptr(SnapsetLiveRequest) request = NULL;
    g_autoptr(SnapsetLiveRequest) saving =
        save_tag != NULL ? snapset_machine_request(machine, SNAPSET_LIVE_CREATE, save_tag, NULL)
                         : NULL;
    g_autofree char *vmstate = NULL;

    if (target != NULL) {
        request = snapset_machine_request(machine, SNAPSET_LIVE_LOAD, target->tag, target);
        vmstate = g_strdup(vmstate_node(machine, target));
        judge_apply(machine, target);
    }
    if (saving != NULL)
        judge_create(machine, save_tag);
    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_return_val_if_fail(target != NULL, FALSE);
    *ret_identity = target->identity;
    return dry_run || ((saving == NULL || save(machine, saving, error)) &&
                       load(machine, request, vmstate, error));
}

/* ---- delete ---- */

static gboolean
delete_chosen(SnapsetMachine *machine, GPtrArray *chosen, GError **error)
{
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        g_autoptr(SnapsetLiveRequest) request =
            snapset_machine_request(machine, SNAPSET_LIVE_DELETE, snapshot->tag, snapshot);
        if (run_job(machine, "snapshot-delete", request, NULL, error))
            continue;
        g_autofree char *quoted = snapset_format_quoted(snapshot->tag);
        g_prefix_error(error,
                       "%u of %u snapshots are deleted, and %s is not, or not from all "
                       "disks: ",
                       i, chosen->len, quoted);
        return FALSE;
    }
    return TRUE;
}

static gboolean
delete_internal(SnapsetMachine *machine, GPtrArray *chosen, gboolean dry_run, GError **error)
{
    for (guint i = 0; i < chosen->len; i++)
        judge_delete(machine, chosen->pdata[i]);
    if (!snapset_report_verdict(machine->set->report, error))
        return FALSE;
    return dry_run ||
           (delete_chosen(machine, chosen, error) && snapset_machine_load(machine, error));
}

gboolean
snapset_machine_delete(SnapsetMachine *machine, const char *selector, gboolean children,
                       gboolean dry_run, GPtrArray **ret_deleted, GError **error)
{
    SnapsetSet *set = machine->set;
    SnapsetSnapshot *snapshot = snapset_selector_resolve(selector, set->catalog, set->report);
    g_autoptr(GPtrArray) chosen = NULL;
    g_autoptr(GPtrArray) deleted = NULL;
    gboolean external = FALSE;

    if (!snapset_report_verdict(set->report, error))
        return FALSE;
    g_return_val_if_fail(snapshot != NULL, FALSE);
    chosen = snapset_delete_choose(set, snapshot, children);
    deleted = snapset_delete_describe(chosen);
    if (!snapset_delete_check_kinds(chosen, &external, error) ||
        !(external ? snapset_machine_delete_external(machine, chosen, dry_run, error)
                   : delete_internal(machine, chosen, dry_run, error)))
        return FALSE;
    *ret_deleted = g_steal_pointer(&deleted);
    return TRUE;
}
