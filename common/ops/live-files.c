/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a running QEMU is told to use as overlays. */
#include "common/ops/live-files.h"

#include <string.h>
#include <sys/stat.h>

#include "common/core/format.h"
#include "common/core/overlay-name.h"
#include "common/io/image-read.h"
#include "common/ops/space.h"

/* Of the formats that QEMU can make (qemu-img create), those that take a backing file. */
static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk", NULL};

/* Where libvirt has QEMU run, so what relative names begin at (virExec, VIR_EXEC_DAEMON). */
#define QEMU_FOLDER "/"

/* The file as we can look at it; NULL: we cannot, as it is QEMU's descriptor, say. */
static char *
local_path(const SnapsetLiveFile *file)
{
    const char *path = g_str_has_prefix(file->path, "file:") ? file->path + 5 : file->path;

    if (*path == '\0' || snapset_overlay_names_protocol(path) || g_str_has_prefix(path, "/dev/fd"))
        return NULL;
    return *path == '/' ? g_strdup(path) : g_strconcat(QEMU_FOLDER, path, NULL);
}

static void
report_failing(SnapsetReport *report, const SnapsetLiveFile *file, const char *why)
{
    g_autofree char *quoted = snapset_format_quoted(file->path);

    snapset_report_add_image(report, SNAPSET_RULE_ATOMIC, NULL, file->path, NULL,
                             "the overlay %s cannot be %s: %s", quoted,
                             file->is_made ? "used" : "made", why);
}

/* It is to be used as it is. */
static void
judge_content(const SnapsetLiveFile *file, const char *path, SnapsetReport *report)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(SnapsetImage) image =
        strcmp(file->format, "qcow2") == 0
            ? snapset_image_read(path, path, SNAPSET_READ_NEWEST, &failure)
            : NULL;

    if (failure != NULL)
        report_failing(report, file, failure->message);
}

/*
 * An empty file is what mktemp(1) makes to keep a name; libvirt takes it too. Nobody expects a
 * block device, whose size is 0 here, to be empty.
 */
static void
judge_place(const SnapsetLiveFile *file, const char *path, const char *folder,
            SnapsetReport *report)
{
    g_autofree char *quoted = snapset_format_quoted(path);
    struct stat st;

    if (stat(path, &st) < 0) {
        if (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode))
            report_failing(report, file, "there is no such folder");
    } else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        report_failing(report, file, "there is something that is no file");
    } else if (st.st_size > 0) {
        snapset_report_add_image(report, SNAPSET_RULE_TAG_EXISTS, NULL, path,
                                 g_strdup("name a new file; or, if it is an overlay that is to be "
                                          "used, say \"mode\": \"existing\""),
                                 "the overlay %s exists already, and QEMU would overwrite it",
                                 quoted);
    }
}

static gboolean
is_named_before(const SnapsetLiveRequest *request, guint index, const char *path)
{
    for (guint i = 0; i < index; i++) {
        g_autofree char *named = local_path(request->files->pdata[i]);
        if (g_strcmp0(named, path) == 0)
            return TRUE;
    }
    return FALSE;
}

static void
judge_file(const SnapsetLiveRequest *request, guint index, SnapsetSpace *space,
           SnapsetReport *report)
{
    const SnapsetLiveFile *file = request->files->pdata[index];
    g_autofree char *path = local_path(file);

    if (!g_strv_contains(formats, file->format))
        report_failing(report, file, "its format takes no backing file");
    if (path == NULL)
        return;
    if (is_named_before(request, index, path))
        report_failing(report, file, "it is another disk's overlay, too");
    if (file->is_made) {
        judge_content(file, path, report);
        return;
    }
    g_autofree char *folder = g_path_get_dirname(path);
    judge_place(file, path, folder, report);
    snapset_space_add(space, folder, snapset_space_of_overlay(0), path);
}

void
snapset_live_files_judge(const SnapsetLiveRequest *request, SnapsetReport *report)
{
    g_autoptr(SnapsetSpace) space = snapset_space_new();

    for (guint i = 0; i < request->files->len; i++)
        judge_file(request, i, space, report);
    snapset_space_judge(space, report);
}
