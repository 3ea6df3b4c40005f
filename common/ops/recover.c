/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finishing or undoing what a crash interrupted. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/chain.h"
#include "common/io/image-read.h"
#include "common/ops/engine.h"
#include "common/ops/operations.h"
#include "common/ops/overlays.h"

static void G_GNUC_PRINTF(2, 3) note(GPtrArray *notes, const char *format, ...)
{
    va_list args;

    if (notes == NULL)
        return;
    va_start(args, format);
    g_ptr_array_add(notes, g_strdup_vprintf(format, args));
    va_end(args);
}

/* An image that was removed, or that another file stands in for, needs nothing any more. */
static gboolean
is_gone(const SnapsetJournalImage *image)
{
    struct stat st;

    if (stat(image->path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR;
    /* Device numbers need not survive a restart of the host; inode numbers do. */
    return S_ISREG(st.st_mode) && st.st_ino != image->inode;
}

/* Open and lock every image of the journal that still exists; drop the others from it. */
static gboolean
open_images(SnapsetJournal *journal, SnapsetRecovery how, GPtrArray *sources, GPtrArray *handles,
            GPtrArray *notes, GError **error)
{
    for (guint i = 0; i < journal->images->len;) {
        const SnapsetJournalImage *image = journal->images->pdata[i];
        g_autofree char *name = snapset_format_quoted(image->path);
        if (is_gone(image) && image->is_removed) { /* as it was to be */
            g_ptr_array_remove_index(journal->images, i);
            continue;
        }
        if (is_gone(image) && !(how & SNAPSET_RECOVERY_WITHOUT_MISSING))
            return snapset_throw(error, SNAPSET_ERROR_PENDING,
                                 "%s is not there; bring it back, or give it up with 'recover "
                                 "--without-missing'",
                                 name);
        if (is_gone(image)) {
            note(notes, "%s is no longer there, and is left out", name);
            g_ptr_array_remove_index(journal->images, i);
            continue;
        }
        SnapsetSource *source =
            snapset_source_new(image->options != NULL ? image->options : image->path, NULL,
                               image->options != NULL, error);
        if (source == NULL)
            return FALSE;
        g_ptr_array_add(sources, source);
        g_free(source->path); /* options may name the file relative to another folder */
        source->path = g_strdup(image->path);
        SnapsetHandle *handle = snapset_handle_open(source, error);
        if (handle == NULL) {
            g_prefix_error(error, "%s: ", name);
            return FALSE;
        }
        g_ptr_array_add(handles, handle);
        i++;
    }
    return TRUE;
}

/* ---- what was made of the images since ---- */

static gboolean
is_file_of(const SnapsetEngine *engine, guint index, const SnapsetFileStatus *status)
{
    SnapsetFileStatus own;

    return snapset_file_status(snapset_engine_handle(engine, index)->fd, &own, NULL) &&
           own.device == status->device && own.inode == status->inode;
}

static gboolean
is_file_of_any(const SnapsetEngine *engine, const SnapsetFileStatus *status)
{
    for (guint i = 0; i < engine->handles->len; i++) {
        if (is_file_of(engine, i, status))
            return TRUE;
    }
    return FALSE;
}

static gboolean
check_overlay(const SnapsetEngine *engine, gboolean on_removed, const SnapsetChainOverlay *overlay,
              GError **error)
{
    if (is_file_of_any(engine, &overlay->file))
        return TRUE;
    for (guint i = 0; i < engine->handles->len; i++) {
        if ((on_removed && !snapset_engine_image(engine, i)->is_removed) ||
            !is_file_of(engine, i, &overlay->base))
            continue;
        g_autofree char *name = snapset_format_quoted(overlay->path);
        snapset_throw(error, SNAPSET_ERROR_PENDING, "%s was put on top of it since", name);
        return snapset_name_error(error, snapset_engine_handle(engine, i)->path);
    }
    return TRUE;
}

/*
 * Whether no file stands on an image, or (@on_removed) on one that goes, that the operation knows
 * nothing of: libvirt makes overlays of machines that are off, too.
 */
static gboolean
bears_no_other(const SnapsetEngine *engine, gboolean on_removed, GError **error)
{
    g_autoptr(GPtrArray) folders = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < engine->handles->len; i++) {
        g_autofree char *folder = g_path_get_dirname(snapset_engine_handle(engine, i)->path);
        if ((!on_removed || snapset_engine_image(engine, i)->is_removed) &&
            !g_ptr_array_find_with_equal_func(folders, folder, g_str_equal, NULL))
            g_ptr_array_add(folders, g_steal_pointer(&folder));
    }
    g_autoptr(GPtrArray) overlays = snapset_chain_overlays(folders);
    for (guint i = 0; i < overlays->len; i++) {
        if (!check_overlay(engine, on_removed, overlays->pdata[i], error))
            return FALSE;
    }
    return TRUE;
}

/* Go back, if that loses nothing; else, on a person's word, only forget how to go back. */
static gboolean
undo(SnapsetEngine *engine, SnapsetRecovery how, GPtrArray *notes, GError **error)
{
    const SnapsetJournal *journal = engine->journal;
    g_autoptr(GError) written = NULL;

    if (journal->phase != SNAPSET_PHASE_APPLY || (snapset_engine_is_unwritten(engine, &written) &&
                                                  bears_no_other(engine, FALSE, &written))) {
        note(notes, "'%s' of %u images: undone", journal->operation, journal->images->len);
        return snapset_engine_undo(engine, error);
    }
    if (!(how & SNAPSET_RECOVERY_KEEP_WRITTEN))
        return snapset_throw(error, SNAPSET_ERROR_PENDING,
                             "%s ('recover --keep-written' leaves all images as they are now, and "
                             "the state before in the snapshot '%s')",
                             written->message, journal->tag);
    note(notes, "all images stay as they are now; the state before is the snapshot '%s'",
         journal->tag);
    return TRUE;
}

static gboolean
finish(SnapsetEngine *engine, GPtrArray *notes, GError **error)
{
    const SnapsetJournal *journal = engine->journal;

    note(notes, "'%s' of %u images: finished", journal->operation, journal->images->len);
    return snapset_engine_finish(engine, error);
}

static gboolean
goes_forward(const SnapsetJournal *journal)
{
    return journal->phase == SNAPSET_PHASE_MERGE || journal->phase == SNAPSET_PHASE_FINISH;
}

/* Somebody has had an overlay open, or @used names it among the files that the machine has. */
static gboolean
is_used(const SnapsetJournalOverlay *overlay, GPtrArray *used)
{
    g_autoptr(SnapsetImage) image =
        snapset_image_read(overlay->path, overlay->path, SNAPSET_READ_NEWEST, NULL);
    struct stat st;

    if (image == NULL || image->inode != overlay->inode)
        return FALSE;
    for (guint i = 0; image->sealed && used != NULL && i < used->len; i++) {
        if (stat(used->pdata[i], &st) == 0 && st.st_dev == image->device &&
            st.st_ino == image->inode)
            return TRUE;
    }
    return !image->sealed;
}

/*
 * What became of overlays that were handed to libvirt, of which the images themselves know nothing?
 * SNAPSET_ERROR_PENDING when nothing else tells, either.
 */
static gboolean
find_out(const SnapsetJournal *journal, GPtrArray *used, gboolean *ret_taken, GError **error)
{
    *ret_taken = !journal->is_handed_over;
    for (guint i = 0; !*ret_taken && i < journal->images->len; i++) {
        const SnapsetJournalOverlay *overlay =
            ((SnapsetJournalImage *)journal->images->pdata[i])->overlay;
        *ret_taken = overlay != NULL && is_used(overlay, used);
    }
    return *ret_taken || used != NULL ||
           snapset_throw(error, SNAPSET_ERROR_PENDING,
                         "only libvirt knows whether the domain has the overlays; 'recover "
                         "--domain' asks it, or name the images that the domain has");
}

static gboolean
carry_out(SnapsetJournal *journal, SnapsetRecovery how, GPtrArray *used,
          const SnapsetQemuTools *tools, GPtrArray *notes, GError **error)
{
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_autoptr(GPtrArray) handles =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_handle_free);
    SnapsetEngine engine = {.journal = journal,
                            .handles = handles,
                            .tools = tools,
                            .is_recovery = TRUE,
                            .notes = notes};

    if (!open_images(journal, how, sources, handles, notes, error))
        return FALSE;
    gboolean forward = goes_forward(journal) && !snapset_overlays_are_overtaken(&engine);
    if (forward && !find_out(journal, used, &forward, error))
        return FALSE;
    if (forward && !bears_no_other(&engine, TRUE, error))
        return FALSE;
    if (!(forward ? finish(&engine, notes, error) : undo(&engine, how, notes, error)))
        return FALSE;
    return snapset_journal_remove(journal, error);
}

static gboolean
recover_one(const SnapsetJournal *seen, SnapsetRecovery how, GPtrArray *used, guint *count,
            guint *running, GPtrArray *notes, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(SnapsetJournal) journal = snapset_journal_claim(seen, &failure);

    if (g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_LOCKED)) {
        note(notes, "%s", failure->message);
        (*running)++;
        return TRUE;
    }
    if (failure != NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    if (journal == NULL)
        return TRUE;
    (*count)++;
    if (how & SNAPSET_RECOVERY_TRY) {
        note(notes, "'%s' of %u images would be %s", journal->operation, journal->images->len,
             goes_forward(journal) ? "finished" : "undone");
        return TRUE;
    }
    g_autoptr(SnapsetQemuTools) tools = snapset_qemu_tools_new(journal->objects, error);
    if (tools != NULL && carry_out(journal, how, used, tools, notes, &failure))
        return TRUE;
    if (failure == NULL)
        return FALSE;
    return snapset_throw(error, SNAPSET_ERROR_PENDING,
                         "the interrupted '%s' cannot be recovered now: %s", journal->operation,
                         failure->message);
}

/* The paths of these files and of those they stand on. What is raw has no backing file. */
static GPtrArray *
files_of(GPtrArray *sources)
{
    GPtrArray *files = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < sources->len; i++) {
        const SnapsetSource *source = sources->pdata[i];
        if (source->path == NULL)
            continue;
        g_ptr_array_add(files, g_strdup(source->path));
        g_autoptr(SnapsetImage) image =
            g_strcmp0(source->format, "raw") != 0
                ? snapset_image_read(source->path, source->path, SNAPSET_READ_NEWEST, NULL)
                : NULL;
        if (image == NULL)
            continue;
        snapset_chain_read(image, source->path);
        for (guint link = 1; link < snapset_image_link_count(image); link++)
            g_ptr_array_add(files, g_strdup(snapset_image_link(image, link)->filename));
    }
    return files;
}

static gboolean
concerns_any(const SnapsetJournal *journal, GPtrArray *files)
{
    for (guint i = 0; i < files->len; i++) {
        if (snapset_journal_concerns_file(journal, files->pdata[i]))
            return TRUE;
    }
    return FALSE;
}

gboolean
snapset_recover(GPtrArray *sources, SnapsetRecovery how, guint *ret_count, guint *ret_running,
                GPtrArray *notes, GError **error)
{
    g_autoptr(GPtrArray) journals = snapset_journal_scan(error);
    g_autoptr(GPtrArray) files =
        journals != NULL && journals->len > 0 && sources != NULL ? files_of(sources) : NULL;
    GPtrArray *used = how & SNAPSET_RECOVERY_IN_USE ? files : NULL;
    guint running = 0;

    *ret_count = 0;
    if (journals == NULL)
        return FALSE;
    for (guint i = 0; i < journals->len; i++) {
        if (files != NULL && !concerns_any(journals->pdata[i], files))
            continue;
        if (!recover_one(journals->pdata[i], how, used, ret_count, &running, notes, error))
            return FALSE;
    }
    if (ret_running != NULL)
        *ret_running = running;
    return TRUE;
}
