/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making overlays on a set of files: all or none. */
#include "common/ops/overlays.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/overlay-name.h"
#include "common/core/rules.h"
#include "common/io/image-read.h"
#include "common/io/lock.h"
#include "common/io/stamp.h"
#include "common/ops/engine-parts.h"
#include "common/ops/space.h"

/* ---- plans ---- */

void
snapset_overlay_plan_free(SnapsetOverlayPlan *plan)
{
    if (plan == NULL)
        return;
    g_free(plan->base);
    g_free(plan->folder);
    g_free(plan->name);
    g_free(plan->path);
    g_free(plan->shown);
    g_free(plan->backing);
    g_free(plan->format);
    snapset_ledger_free(plan->ledger);
    g_free(plan);
}

static char *
real_path(const char *path, GError **error)
{
    char *found = realpath(path, NULL);
    char *copy = g_strdup(found);

    if (found == NULL)
        snapset_throw_errno(error, errno, "cannot find '%s'", path);
    free(found);
    return copy;
}

/* A device keeps the name it was given: what that leads to need not be called so tomorrow. */
static gboolean
find_base(SnapsetOverlayPlan *plan, const char *path, gboolean *ret_is_device, GError **error)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return snapset_throw_errno(error, errno, "cannot find '%s'", path);
    *ret_is_device = S_ISBLK(st.st_mode);
    plan->base = *ret_is_device ? g_canonicalize_filename(path, NULL) : real_path(path, error);
    plan->owner = st.st_uid;
    plan->group = st.st_gid;
    return plan->base != NULL;
}

static gboolean
find_folder(SnapsetOverlayPlan *plan, const char *image, const char *named, GError **error)
{
    g_autofree char *real = real_path(named != NULL ? named : image, error);

    if (real == NULL)
        return FALSE;
    plan->folder = named != NULL ? g_steal_pointer(&real) : g_path_get_dirname(real);
    return TRUE;
}

static gboolean
is_planned(GPtrArray *plans, const char *path)
{
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (plan != NULL && strcmp(plan->path, path) == 0)
            return TRUE;
    }
    return FALSE;
}

static void
choose_name(SnapsetOverlayPlan *plan, const char *tag, gboolean anew, GPtrArray *plans)
{
    g_autofree char *base = g_path_get_basename(plan->base);
    struct stat st;

    for (guint number = 1; plan->path == NULL; number++) {
        g_autofree char *name = snapset_overlay_name(base, tag, number);
        g_autofree char *path = g_build_filename(plan->folder, name, NULL);
        if (anew && (is_planned(plans, path) || lstat(path, &st) == 0))
            continue;
        plan->name = g_steal_pointer(&name);
        plan->path = g_steal_pointer(&path);
    }
}

SnapsetOverlayPlan *
snapset_overlay_plan_new(const SnapsetSet *set, guint index, const char *base, const char *format,
                         const char *tag, gboolean anew, const SnapsetOverlayOptions *options,
                         GPtrArray *plans, GError **error)
{
    g_autoptr(SnapsetOverlayPlan) plan = g_new0(SnapsetOverlayPlan, 1);
    const SnapsetSource *source = set->sources->pdata[index];
    gboolean is_device = FALSE;

    if (!find_base(plan, base, &is_device, error))
        return NULL;
    if (options->folder == NULL && snapset_set_handle(set, index)->is_block) {
        snapset_throw(error, SNAPSET_ERROR_USAGE,
                      "'%s' is a device: --overlay-dir must say where its overlay goes",
                      source->name);
        return NULL;
    }
    if (!find_folder(plan, source->path, options->folder, error))
        return NULL;
    choose_name(plan, tag, anew, plans);
    plan->shown = options->folder != NULL ? g_build_filename(options->folder, plan->name, NULL)
                                          : snapset_path_beside(source->path, plan->path);
    plan->backing = options->is_relative && !is_device
                        ? snapset_overlay_relative(plan->folder, plan->base)
                        : g_strdup(plan->base);
    plan->format = g_strdup(format);
    return g_steal_pointer(&plan);
}

/* ---- judging ---- */

static void
judge_name(SnapsetSet *set, guint index, const char *tag, const SnapsetOverlayPlan *plan,
           GPtrArray *plans)
{
    const char *image = snapset_set_image(set, index)->filename;
    g_autofree char *name = snapset_format_escaped(image);
    g_autofree char *shown = snapset_format_quoted(plan->shown);
    struct stat st;

    if (lstat(plan->path, &st) == 0)
        snapset_report_add_image(set->report, SNAPSET_RULE_TAG_EXISTS, tag, image,
                                 g_strdup("choose another tag, or another folder with "
                                          "--overlay-dir"),
                                 "the overlay of %s would be %s, which exists already", name,
                                 shown);
    for (guint i = 0; i < index; i++) {
        const SnapsetOverlayPlan *other = plans->pdata[i];
        if (other == NULL || strcmp(other->path, plan->path) != 0)
            continue;
        g_autofree char *first = snapset_format_escaped(snapset_set_image(set, i)->filename);
        snapset_report_add_image(set->report, SNAPSET_RULE_TAG_EXISTS, tag, image,
                                 g_strdup("rename one of the images, or, if they are in folders "
                                          "of their own, leave out --overlay-dir"),
                                 "the overlays of %s and %s would both be %s", first, name, shown);
    }
    if (strlen(plan->name) > NAME_MAX)
        snapset_report_add_image(set->report, SNAPSET_RULE_TAG_INVALID, tag, image, NULL,
                                 "the name of the overlay of %s would have %zu bytes, and a file "
                                 "name has %d at most",
                                 name, strlen(plan->name), NAME_MAX);
    if (strlen(plan->backing) > QCOW2_BACKING_NAME_MAX)
        snapset_report_add_image(set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, image, NULL,
                                 "%s: its name would have %zu bytes in the overlay, and qcow2 "
                                 "takes %d",
                                 name, strlen(plan->backing), QCOW2_BACKING_NAME_MAX);
}

static void
judge_folder(SnapsetSet *set, guint index, const SnapsetOverlayPlan *plan)
{
    struct stat st;

    if (stat(plan->folder, &st) == 0 && S_ISDIR(st.st_mode) && access(plan->folder, W_OK) == 0)
        return;
    g_autofree char *text =
        g_strdup_printf("its overlay cannot be made in the folder '%s'", plan->folder);
    snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                       "name another folder with --overlay-dir", text);
}

void
snapset_overlays_judge(SnapsetSet *set, const char *tag, GPtrArray *plans)
{
    g_autoptr(SnapsetSpace) space = snapset_space_new();

    if (strchr(tag, '/') != NULL) {
        g_autofree char *quoted = snapset_format_quoted(tag);
        snapset_report_add(set->report, SNAPSET_RULE_TAG_INVALID, tag, NULL,
                           g_strdup("choose a tag without a slash"),
                           "tag %s cannot be part of an overlay's file name", quoted);
        return;
    }
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (plan == NULL)
            continue;
        judge_folder(set, i, plan);
        judge_name(set, i, tag, plan, plans);
        snapset_space_add(space, plan->folder,
                          snapset_space_of_overlay(snapset_set_image(set, i)->virtual_size),
                          plan->shown);
    }
    snapset_space_judge(space, set->report);
}

void
snapset_overlays_move(SnapsetSet *set, GPtrArray *plans)
{
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (plan != NULL)
            snapset_set_add_move(set, i, plan->shown);
    }
}

gboolean
snapset_overlays_replace(SnapsetSet *set, GPtrArray *plans, GError **error)
{
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (plan != NULL)
            snapset_set_replace(set, i, plan->path, plan->shown, "qcow2");
    }
    return snapset_set_reload(set, error);
}

gboolean
snapset_overlays_use(GPtrArray *plans, const SnapsetOverlayOptions *options, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < plans->len; i++)
        g_ptr_array_add(paths, ((const SnapsetOverlayPlan *)plans->pdata[i])->path);
    return options->use == NULL || options->use(paths, options->use_data, error);
}

/* ---- making ---- */

void
snapset_overlays_note(SnapsetSet *set)
{
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        g_autofree char *name = snapset_format_escaped(image->filename);
        if (image->entries->len > 0)
            snapset_set_note(set,
                             "%s has internal snapshots: they can be applied no more while "
                             "it is a backing file",
                             name);
    }
}

void
snapset_overlays_add(SnapsetJournalImage *image, const SnapsetOverlayPlan *plan)
{
    g_autofree char *random = g_uuid_string_random();
    g_autofree char *name = g_strdup_printf(".snapshot-set-%s", random);
    g_autofree char *temporary = g_build_filename(plan->folder, name, NULL);

    snapset_journal_add_overlay(image, temporary, plan->path);
}

/* An empty file in the place of each overlay; the journal then knows it again by its inode. */
static gboolean
reserve(SnapsetEngine *engine, GPtrArray *plans, GError **error)
{
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        SnapsetJournalOverlay *overlay = snapset_engine_image(engine, i)->overlay;
        SnapsetFileStatus status;
        g_auto(SnapsetFd) fd =
            snapset_file_make(overlay->temporary, plan->owner, plan->group, error);
        if (fd < 0 || !snapset_file_status(fd, &status, error))
            return FALSE;
        overlay->device = status.device;
        overlay->inode = status.inode;
    }
    return snapset_journal_write(engine->journal, error);
}

/* @data: the plans. */
static SnapsetChild *
create_overlay(const SnapsetEngine *engine, guint index, const SnapsetImage *image, gpointer data,
               GError **error)
{
    const SnapsetOverlayPlan *plan = ((GPtrArray *)data)->pdata[index];
    const SnapsetImage *in_use = engine->is_in_use ? engine->before->pdata[index] : NULL;
    return snapset_qemu_create_overlay(
        engine->tools, snapset_engine_image(engine, index)->overlay->temporary, plan->backing,
        plan->format, in_use != NULL ? &in_use->virtual_size : NULL);
}

static gboolean
stamp_overlay(const SnapsetJournalOverlay *overlay, SnapsetLedger *ledger, GError **error)
{
    g_auto(SnapsetFd) fd = open(overlay->temporary, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    SnapsetFileStatus status;

    if (fd < 0)
        return snapset_throw_errno(error, errno, "cannot open '%s'", overlay->temporary);
    if (!snapset_file_status(fd, &status, error))
        return FALSE;
    if (status.device != overlay->device || status.inode != overlay->inode)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "'%s' is another file",
                             overlay->temporary);
    if (!snapset_lock_image(fd, error) || !snapset_stamp(fd, ledger, SNAPSET_SEAL_SET, error))
        return FALSE;
    return fsync(fd) == 0 || snapset_throw_errno(error, errno, "cannot write it to disk");
}

/* What the overlay will say of the image must be true before it gets its name. */
static gboolean
check_frozen(const SnapsetEngine *engine, guint index, GError **error)
{
    if (snapset_engine_image(engine, index)->after == NULL)
        return TRUE;
    g_autoptr(SnapsetImage) now = snapset_engine_read(engine, index, error);
    if (now == NULL)
        return FALSE;
    return snapset_image_is_frozen_as(now, NULL) ||
           snapset_throw(error, SNAPSET_ERROR_FAILED, "'%s' could not be sealed",
                         snapset_engine_handle(engine, index)->source->name);
}

static gboolean
make(SnapsetEngine *engine, GPtrArray *plans, GError **error)
{
    if (!reserve(engine, plans, error) || !snapset_engine_run(engine, create_overlay, plans, error))
        return FALSE;
    for (guint i = 0; i < plans->len; i++) {
        const SnapsetOverlayPlan *plan = plans->pdata[i];
        if (!stamp_overlay(snapset_engine_image(engine, i)->overlay, plan->ledger, error))
            return snapset_name_error(error, plan->shown);
    }
    gboolean good = snapset_engine_stamp(engine, error);
    for (guint i = 0; good && i < plans->len; i++)
        good = check_frozen(engine, i, error);
    return good;
}

gboolean
snapset_overlays_make(SnapsetEngine *engine, GPtrArray *plans, GError **error)
{
    if (!snapset_journal_write(engine->journal, error)) {
        snapset_journal_remove(engine->journal, NULL);
        return FALSE;
    }
    return make(engine, plans, error) || snapset_engine_abort(engine, error);
}

/* ---- naming, and removing ---- */

static gboolean
publish(const SnapsetJournalOverlay *overlay, GError **error)
{
    gboolean is_there = FALSE;

    if (snapset_file_is(overlay->path, overlay->inode, &is_there))
        return snapset_file_remove(overlay->temporary, error); /* where a link was made */
    if (!is_there)
        return snapset_file_publish(overlay->temporary, overlay->path, error);
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "'%s' has been made by somebody else",
                         overlay->path);
}

gboolean
snapset_overlays_publish(SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetJournalImage *image = snapset_engine_image(engine, i);
        if (image->overlay == NULL)
            continue;
        if (!publish(image->overlay, error))
            return FALSE;
        snapset_engine_note(engine, "%s -> %s", image->path, image->overlay->path);
    }
    return TRUE;
}

/* One that somebody has written to is no longer ours alone. */
static gboolean
withdraw(SnapsetEngine *engine, const SnapsetJournalOverlay *overlay, GError **error)
{
    gboolean is_there = FALSE;

    if (snapset_file_is(overlay->path, overlay->inode, &is_there)) {
        g_autoptr(SnapsetImage) image =
            snapset_image_read(overlay->path, overlay->path, SNAPSET_READ_NEWEST, NULL);
        /* A QEMU that opened it, and then said no, has broken the seal for nothing. */
        if (engine->is_in_use || (image != NULL && image->sealed))
            return snapset_file_remove(overlay->path, error);
        g_autofree char *name = snapset_format_quoted(overlay->path);
        snapset_engine_note(engine, "%s was written to since, and is left there", name);
    }
    return snapset_file_remove(overlay->temporary, error);
}

/* The image gets the record back that it had, if ours is still there. */
static gboolean
restore(SnapsetEngine *engine, guint index, GError **error)
{
    const SnapsetJournalImage *image = snapset_engine_image(engine, index);

    if (image->before == NULL || image->after == NULL)
        return TRUE;
    g_autoptr(SnapsetImage) now = snapset_engine_read(engine, index, error);
    if (now == NULL)
        return FALSE;
    return !snapset_engine_has_content(now, image->after) ||
           snapset_engine_stamp_bytes(engine, index, image->before,
                                      image->is_sealed ? SNAPSET_SEAL_KEEP : SNAPSET_SEAL_BREAK,
                                      error);
}

gboolean
snapset_overlays_undo(SnapsetEngine *engine, GError **error)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetJournalOverlay *overlay = snapset_engine_image(engine, i)->overlay;
        if (overlay != NULL && !withdraw(engine, overlay, error))
            return FALSE;
    }
    for (guint i = 0; i < engine->handles->len; i++) {
        if (!restore(engine, i, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
snapset_overlays_are_overtaken(const SnapsetEngine *engine)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        const SnapsetJournalImage *image = snapset_engine_image(engine, i);
        if (image->overlay == NULL || image->after == NULL)
            continue;
        g_autoptr(SnapsetImage) now = snapset_engine_read(engine, i, NULL);
        if (now == NULL || !snapset_image_is_frozen_as(now, NULL))
            return TRUE;
    }
    return FALSE;
}
