/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stretches of backing chains that a deletion merges, and what stands against it. */
#include "common/ops/stretch.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/io/image-info.h"
#include "common/ops/space.h"

guint
snapset_stretch_base(const SnapsetStretch *stretch)
{
    return stretch->bottom + 1;
}

const SnapsetImage *
snapset_stretch_link(const SnapsetSet *set, const SnapsetStretch *stretch, guint link)
{
    return snapset_image_link(snapset_set_image(set, stretch->image), link);
}

const SnapsetStretch *
snapset_stretch_at(GArray *stretches, guint index)
{
    return &g_array_index(stretches, SnapsetStretch, index);
}

/* Is what link @link of image @index stands on one of the snapshots that are deleted? */
static gboolean
is_chosen(GPtrArray *chosen, guint index, guint link)
{
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetMember *member = snapset_snapshot_find(chosen->pdata[i], index);
        if (member != NULL && member->link == link)
            return TRUE;
    }
    return FALSE;
}

GArray *
snapset_stretches_find(const SnapsetSet *set, GPtrArray *chosen)
{
    GArray *stretches = g_array_new(FALSE, FALSE, sizeof(SnapsetStretch));

    for (guint i = 0; i < set->images->len; i++) {
        guint links = snapset_image_link_count(snapset_set_image(set, i));
        for (guint link = links - 1; link-- > 0;) {
            if (!is_chosen(chosen, i, link))
                continue;
            SnapsetStretch stretch = {i, link, link};
            while (stretch.top > 0 && is_chosen(chosen, i, stretch.top - 1))
                stretch.top--;
            g_array_append_val(stretches, stretch);
            link = stretch.top;
        }
    }
    return stretches;
}

/* ---- judging ---- */

static void G_GNUC_PRINTF(5, 6) refuse(SnapsetSet *set, const SnapsetStretch *stretch,
                                       SnapsetRule rule, const char *hint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    snapset_report_add_image(set->report, rule, NULL,
                             snapset_set_image(set, stretch->image)->filename, g_strdup(hint), "%s",
                             text);
}

/* All that is written to, but the image itself, which was judged when it was locked. */
static void
judge_headers(SnapsetSet *set, const SnapsetStretch *stretch)
{
    for (guint link = MAX(stretch->top, 2) - 1; link <= snapset_stretch_base(stretch); link++) {
        const SnapsetImage *file = snapset_stretch_link(set, stretch, link);
        g_autofree char *name = snapset_format_escaped(file->filename);
        g_autoptr(GError) failure = NULL;
        if (file->header != NULL && !snapset_stamp_is_possible(file, &failure) &&
            !g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM))
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, "%s: %s", name,
                   failure->message);
    }
}

/* Guessing would be one thing here, and another in QEMU once a guest has written to it. */
static void
judge_format(SnapsetSet *set, const SnapsetStretch *stretch)
{
    const SnapsetImage *bottom = snapset_stretch_link(set, stretch, stretch->bottom);
    const SnapsetImage *base = snapset_stretch_link(set, stretch, snapset_stretch_base(stretch));
    g_autofree char *name = snapset_format_escaped(bottom->filename);

    if (snapset_chain_format(bottom, base) == NULL)
        refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED,
               "qemu-img rebase -u -b BACKING-FILE -F FORMAT",
               "%s does not say which format its backing file has", name);
}

/* What a file that goes holds besides the guest's data would go with it. */
static void
judge_contents(SnapsetSet *set, const SnapsetStretch *stretch)
{
    for (guint link = stretch->top; link <= snapset_stretch_base(stretch); link++) {
        const SnapsetImage *file = snapset_stretch_link(set, stretch, link);
        g_autofree char *name = snapset_format_escaped(file->filename);
        if (file->header != NULL && file->header->crypt_method != 0)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                   "%s is encrypted, and is not merged", name);
        if (link == snapset_stretch_base(stretch))
            continue;
        if (file->entries->len > 0)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, "delete these first",
                   "%s holds internal snapshots, which would be lost when it is merged", name);
        if (file->header != NULL && file->header->has_bitmaps)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                   "finish or drop the backup that uses them (qemu-img bitmap --remove)",
                   "%s holds dirty bitmaps, which would be lost when it is merged", name);
        if (file->externals != NULL && file->externals->len > 1)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                   "%s records more than one snapshot of its backing file", name);
    }
}

/* The virtual size of the file below; of what is neither qcow2 nor raw QEMU knows it. */
static gboolean
base_size(const SnapsetSet *set, const SnapsetImage *base, const char *format, guint64 *ret_size,
          GError **error)
{
    if (base->header != NULL || strcmp(base->format, "raw") == 0)
        return snapset_round_up(base->virtual_size, 512, ret_size);
    g_autoptr(SnapsetSource) source = snapset_source_new_file(base->filename, format);
    g_autoptr(GPtrArray) children = g_ptr_array_new();
    g_autoptr(SnapsetChild) child = snapset_qemu_describe(set->tools, source);
    g_ptr_array_add(children, child);
    snapset_children_run(children, -1, NULL, NULL);
    g_autoptr(SnapsetImage) image = snapset_image_from_info(child, base->filename, error);
    if (image == NULL)
        return snapset_name_error(error, base->filename);
    *ret_size = image->virtual_size;
    return TRUE;
}

/* Why @base cannot grow with a larger overlay; NULL: it can. */
static const char *
growth_fault(const SnapsetImage *base)
{
    if (base->header == NULL && strcmp(base->format, "raw") != 0)
        return "whose format cannot grow to its size";
    if (base->header == NULL && base->inode == 0)
        return "a device, which cannot grow to its size";
    if (base->header == NULL)
        return NULL;
    if (base->header->has_bitmaps) /* QEMU resizes them, but for those that are inconsistent */
        return "which cannot grow to its size while it holds dirty bitmaps";
    if (base->header->version < 3 && base->entries->len > 0)
        return "which has internal snapshots, and of version 2 cannot grow to its size";
    return NULL;
}

/* The file below grows with a larger overlay, if it can; it never shrinks. */
static gboolean
judge_sizes(SnapsetSet *set, const SnapsetStretch *stretch, GError **error)
{
    const SnapsetImage *base = snapset_stretch_link(set, stretch, snapset_stretch_base(stretch));
    const SnapsetImage *bottom = snapset_stretch_link(set, stretch, stretch->bottom);
    const char *fault = growth_fault(base);
    g_autofree char *below = snapset_format_escaped(base->filename);
    guint64 size = 0;

    if (!base_size(set, base, snapset_chain_format(bottom, base), &size, error))
        return FALSE;
    for (guint link = stretch->top; link <= stretch->bottom; link++) {
        const SnapsetImage *file = snapset_stretch_link(set, stretch, link);
        g_autofree char *name = snapset_format_escaped(file->filename);
        if (file->virtual_size < size)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                   "%s is smaller than %s, which cannot shrink to its size", name, below);
        else if (file->virtual_size > size && fault != NULL)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, "%s is larger than %s, %s",
                   name, below, fault);
    }
    return TRUE;
}

static void
add_folder_of(GPtrArray *folders, const char *path)
{
    char *real = realpath(path, NULL);
    g_autofree char *folder = g_path_get_dirname(real != NULL ? real : path);

    free(real);
    if (!g_ptr_array_find_with_equal_func(folders, folder, g_str_equal, NULL))
        g_ptr_array_add(folders, g_steal_pointer(&folder));
}

/* The overlays in all folders of the set's files. */
static GPtrArray *
find_overlays(const SnapsetSet *set)
{
    g_autoptr(GPtrArray) folders = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        for (guint link = 0; link < snapset_image_link_count(image); link++)
            add_folder_of(folders, snapset_image_link(image, link)->filename);
    }
    return snapset_chain_overlays(folders);
}

static gboolean
holds_file(const SnapsetImage *image, guint first, guint last, const SnapsetFileStatus *status)
{
    SnapsetImage file = {.device = status->device, .inode = status->inode};

    for (guint link = first; link <= last; link++) {
        if (snapset_image_file_equal(snapset_image_link(image, link), &file))
            return TRUE;
    }
    return FALSE;
}

/* As the person would call them who named the image. */
static char *
show_names(GPtrArray *paths, const char *named)
{
    g_autoptr(GPtrArray) shown = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < paths->len; i++)
        g_ptr_array_add(shown, snapset_path_beside(named, paths->pdata[i]));
    return snapset_format_names(shown);
}

/* In no folder that is looked through are the devices that images of the set are on. */
static void
add_devices(const SnapsetSet *set, const SnapsetStretch *stretch, GPtrArray *others)
{
    const SnapsetImage *image = snapset_set_image(set, stretch->image);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *other = snapset_set_image(set, i);
        const SnapsetImage *base =
            snapset_image_link(other, MIN(1, snapset_image_link_count(other) - 1));
        SnapsetFileStatus status = {.device = base->device, .inode = base->inode};
        if (other != image && other->inode == 0 &&
            holds_file(image, stretch->top, snapset_stretch_base(stretch), &status))
            g_ptr_array_add(others, other->filename);
    }
}

/* Nothing else may stand on what is changed or goes, be it another image of the set. */
static void
judge_siblings(SnapsetSet *set, const SnapsetStretch *stretch, GPtrArray *overlays)
{
    const SnapsetImage *image = snapset_set_image(set, stretch->image);
    guint last = snapset_image_link_count(image) - 1;
    g_autoptr(GPtrArray) others = g_ptr_array_new();

    for (guint i = 0; i < overlays->len; i++) {
        const SnapsetChainOverlay *overlay = overlays->pdata[i];
        if (holds_file(image, stretch->top, snapset_stretch_base(stretch), &overlay->base) &&
            !holds_file(image, 0, last, &overlay->file))
            g_ptr_array_add(others, overlay->path);
    }
    add_devices(set, stretch, others);
    if (others->len == 0)
        return;
    g_autofree char *names = show_names(others, image->filename);
    g_autofree char *name = snapset_format_escaped(image->filename);
    snapset_report_add(set->report, SNAPSET_RULE_CHAIN_BROKEN, NULL, others,
                       g_strdup("remove these files, if nothing needs them any more"),
                       "merging the chain of %s would change what other overlays stand on: %s",
                       name, names);
}

/* qemu-img finds the files by their real places, and they must be the same from there. */
static void
judge_names(SnapsetSet *set, const SnapsetStretch *stretch, guint first)
{
    for (guint link = first; link <= stretch->bottom; link++) {
        const SnapsetImage *overlay = snapset_stretch_link(set, stretch, link);
        char *path = realpath(overlay->filename, NULL);
        gboolean leads_on =
            path != NULL &&
            snapset_chain_leads_to(overlay, path, snapset_stretch_link(set, stretch, link + 1));
        g_autofree char *name = snapset_format_escaped(overlay->filename);
        free(path);
        if (!leads_on)
            refuse(set, stretch, SNAPSET_RULE_CHAIN_BROKEN,
                   "give its backing file an absolute name with qemu-img rebase -u",
                   "the relative backing file name of %s leads elsewhere from where it really is",
                   name);
    }
}

static void
judge_removal(SnapsetSet *set, const SnapsetStretch *stretch)
{
    for (guint link = stretch->top; link <= stretch->bottom; link++) {
        const SnapsetImage *file = snapset_stretch_link(set, stretch, link);
        char *path = realpath(file->filename, NULL);
        g_autofree char *folder = g_path_get_dirname(path != NULL ? path : file->filename);
        g_autofree char *name = snapset_format_escaped(file->filename);
        struct stat st;
        gboolean is_device = stat(file->filename, &st) == 0 && S_ISBLK(st.st_mode);
        free(path);
        if (is_device)
            snapset_set_note(set, "%s is a device: it is not needed any more, and left as it is",
                             name);
        else if (access(folder, W_OK) < 0)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                   "%s cannot be removed from its folder", name);
    }
}

/* Into the file below goes no more than the overlays take. */
static void
add_space(SnapsetSpace *space, const SnapsetSet *set, const SnapsetStretch *stretch)
{
    const SnapsetImage *base = snapset_stretch_link(set, stretch, snapset_stretch_base(stretch));
    guint64 bytes = 0;

    for (guint link = stretch->top; link <= stretch->bottom; link++) {
        struct stat st;
        if (stat(snapset_stretch_link(set, stretch, link)->filename, &st) == 0)
            bytes += (guint64)st.st_blocks * 512;
    }
    if (base->inode != 0) /* no device */
        snapset_space_add(space, base->filename, bytes, base->filename);
}

/* What stands on no file that can be read cannot be merged. */
static void
judge_reach(SnapsetSet *set, GPtrArray *chosen)
{
    for (guint i = 0; i < chosen->len; i++) {
        const SnapsetSnapshot *snapshot = chosen->pdata[i];
        for (guint j = 0; j < snapshot->members->len; j++) {
            const SnapsetMember *member = snapset_snapshot_member(snapshot, j);
            const SnapsetImage *image = snapset_set_image(set, member->image);
            if (image->chain_end != SNAPSET_CHAIN_REMOTE || /* else it was said */
                snapset_catalog_holder(set->catalog, member) != NULL)
                continue;
            g_autofree char *below = snapset_format_quoted(image->chain_end_name);
            g_autofree char *text =
                g_strdup_printf("its backing file %s is not one that can be merged into", below);
            snapset_set_report(set, member->image, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, text);
        }
    }
}

gboolean
snapset_stretches_judge(SnapsetSet *set, GPtrArray *chosen, GArray *stretches, GError **error)
{
    g_autoptr(SnapsetSpace) space = snapset_space_new();
    g_autoptr(GPtrArray) overlays = find_overlays(set);

    snapset_rules_links(set->catalog, set->report);
    judge_reach(set, chosen);
    for (guint i = 0; i < stretches->len; i++) {
        const SnapsetStretch *stretch = snapset_stretch_at(stretches, i);
        if (i > 0 && snapset_stretch_at(stretches, i - 1)->image == stretch->image)
            refuse(set, stretch, SNAPSET_RULE_IMAGE_UNSUPPORTED, "delete them one by one",
                   "between the snapshots others stand that are to stay");
        snapset_set_check_options(set, stretch->image);
        judge_headers(set, stretch);
        judge_contents(set, stretch);
        judge_format(set, stretch);
        if (!judge_sizes(set, stretch, error))
            return FALSE;
        judge_names(set, stretch, stretch->top > 0 ? stretch->top - 1 : 0);
        judge_removal(set, stretch);
        judge_siblings(set, stretch, overlays);
        add_space(space, set, stretch);
    }
    snapset_space_judge(space, set->report);
    return TRUE;
}
