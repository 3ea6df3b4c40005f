/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal of one operation over a set. */
#include "common/io/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io/journal-text.h"

#define FOLDER "operations"
#define SUFFIX ".journal"
#define LOCK_SUFFIX ".lock"

/* ---- values ---- */

static void
doomed_free(gpointer data)
{
    SnapsetDoomed *doomed = data;
    g_free(doomed->id);
    g_free(doomed->tag);
    g_free(doomed);
}

static void
overlay_free(SnapsetJournalOverlay *overlay)
{
    g_free(overlay->temporary);
    g_free(overlay->path);
    g_free(overlay);
}

static void
image_free(gpointer data)
{
    SnapsetJournalImage *image = data;
    g_free(image->path);
    g_free(image->options);
    g_free(image->format);
    g_ptr_array_unref(image->doomed);
    g_clear_pointer(&image->after, g_bytes_unref);
    g_clear_pointer(&image->before, g_bytes_unref);
    g_clear_pointer(&image->overlay, overlay_free);
    g_free(image->commit_into);
    g_free(image->backing);
    g_free(image->backing_format);
    g_free(image);
}

SnapsetJournal *
snapset_journal_alloc(const char *operation)
{
    SnapsetJournal *journal = g_new0(SnapsetJournal, 1);
    journal->operation = g_strdup(operation);
    journal->objects = g_ptr_array_new_with_free_func(g_free);
    journal->images = g_ptr_array_new_with_free_func(image_free);
    journal->lock = -1;
    return journal;
}

void
snapset_journal_free(SnapsetJournal *journal)
{
    if (journal == NULL)
        return;
    g_free(journal->operation);
    g_free(journal->tag);
    g_ptr_array_unref(journal->objects);
    g_ptr_array_unref(journal->images);
    g_free(journal->path);
    snapset_close(journal->lock);
    g_free(journal);
}

SnapsetJournalImage *
snapset_journal_add_image(SnapsetJournal *journal, const char *path, const char *options,
                          guint64 device, guint64 inode)
{
    SnapsetJournalImage *image = g_new0(SnapsetJournalImage, 1);
    image->path = g_strdup(path);
    image->options = g_strdup(options);
    image->format = g_strdup("qcow2");
    image->device = device;
    image->inode = inode;
    image->doomed = g_ptr_array_new_with_free_func(doomed_free);
    g_ptr_array_add(journal->images, image);
    return image;
}

void
snapset_journal_doom(SnapsetJournalImage *image, const char *id, const char *tag, guint64 binding)
{
    SnapsetDoomed *doomed = g_new0(SnapsetDoomed, 1);
    doomed->id = g_strdup(id);
    doomed->tag = g_strdup(tag);
    doomed->binding = binding;
    g_ptr_array_add(image->doomed, doomed);
}

void
snapset_journal_add_overlay(SnapsetJournalImage *image, const char *temporary, const char *path)
{
    image->overlay = g_new0(SnapsetJournalOverlay, 1);
    image->overlay->temporary = g_strdup(temporary);
    image->overlay->path = g_strdup(path);
}

/* The numbers of devices, which have no inode, are others after a restart of the host. */
static gboolean
is_file(const char *path, guint64 device, guint64 inode, const char *its_path, guint64 its_device,
        guint64 its_inode)
{
    return strcmp(path, its_path) == 0 ||
           (inode != 0 && device == its_device && inode == its_inode);
}

gboolean
snapset_journal_concerns(const SnapsetJournal *journal, const char *path, guint64 device,
                         guint64 inode)
{
    for (guint i = 0; i < journal->images->len; i++) {
        const SnapsetJournalImage *image = journal->images->pdata[i];
        const SnapsetJournalOverlay *overlay = image->overlay;
        if (is_file(path, device, inode, image->path, image->device, image->inode) ||
            (overlay != NULL &&
             is_file(path, device, inode, overlay->path, overlay->device, overlay->inode)))
            return TRUE;
    }
    return FALSE;
}

static gboolean
is_same_file(const struct stat *st, const char *path)
{
    struct stat its;

    if (stat(path, &its) < 0)
        return FALSE;
    return S_ISBLK(st->st_mode) ? S_ISBLK(its.st_mode) && st->st_rdev == its.st_rdev
                                : st->st_dev == its.st_dev && st->st_ino == its.st_ino;
}

gboolean
snapset_journal_concerns_file(const SnapsetJournal *journal, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return FALSE;
    for (guint i = 0; i < journal->images->len; i++) {
        const SnapsetJournalImage *image = journal->images->pdata[i];
        if (is_same_file(&st, image->path) ||
            (image->overlay != NULL && is_same_file(&st, image->overlay->path)))
            return TRUE;
    }
    return snapset_journal_concerns(journal, path, st.st_dev, S_ISBLK(st.st_mode) ? 0 : st.st_ino);
}

/* ---- files ---- */

static char *
lock_path(const SnapsetJournal *journal)
{
    return g_strdup_printf("%.*s" LOCK_SUFFIX, (int)(strlen(journal->path) - strlen(SUFFIX)),
                           journal->path);
}

static gboolean
take_lock(SnapsetJournal *journal, GError **error)
{
    g_autofree char *path = lock_path(journal);
    g_auto(SnapsetFd) fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return snapset_throw_errno(error, errno, "cannot open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return snapset_throw(error, SNAPSET_ERROR_LOCKED, "'%s' is still running",
                                 journal->operation);
        return snapset_throw_errno(error, errno, "cannot lock '%s'", path);
    }
    journal->lock = snapset_steal_fd(&fd);
    return TRUE;
}

SnapsetJournal *
snapset_journal_new(const char *operation, GError **error)
{
    g_autofree char *state = snapset_state_dir(TRUE, error);
    if (state == NULL)
        return NULL;
    g_autofree char *folder = g_build_filename(state, FOLDER, NULL);
    if (g_mkdir_with_parents(folder, 0700) < 0) {
        snapset_throw_errno(error, errno, "cannot make the state folder '%s'", folder);
        return NULL;
    }
    g_autofree char *name = g_uuid_string_random();
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
    g_autoptr(SnapsetJournal) journal = snapset_journal_alloc(operation);
    journal->path = g_build_filename(folder, file, NULL);
    journal->started = g_get_real_time() / G_USEC_PER_SEC;
    if (!take_lock(journal, error))
        return NULL;
    return g_steal_pointer(&journal);
}

gboolean
snapset_journal_write(SnapsetJournal *journal, GError **error)
{
    g_autofree char *text = snapset_journal_encode(journal);
    g_autoptr(GError) failure = NULL;

    if (g_file_set_contents_full(journal->path, text, -1,
                                 G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                 &failure))
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "cannot write the journal: %s",
                         failure->message);
}

gboolean
snapset_journal_remove(SnapsetJournal *journal, GError **error)
{
    g_autofree char *lock = lock_path(journal);

    if (unlink(journal->path) < 0 && errno != ENOENT)
        return snapset_throw_errno(error, errno, "cannot remove '%s'", journal->path);
    unlink(lock); /* of no consequence if it stays */
    return TRUE;
}

static SnapsetJournal *
load(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) failure = NULL;

    if (!g_file_get_contents(path, &text, NULL, &failure)) {
        /* The operation may have ended in the meantime. */
        if (!g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", failure->message);
        return NULL;
    }
    SnapsetJournal *journal = snapset_journal_decode(text);
    if (journal == NULL) {
        snapset_throw(error, SNAPSET_ERROR_PENDING,
                      "the journal '%s' of an interrupted operation cannot be read; remove it "
                      "once your images are known to be whole",
                      path);
        return NULL;
    }
    journal->path = g_strdup(path);
    return journal;
}

GPtrArray *
snapset_journal_scan(GError **error)
{
    g_autoptr(GPtrArray) journals =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_journal_free);
    g_autofree char *state = snapset_state_dir(FALSE, NULL);
    g_autofree char *folder = g_build_filename(state, FOLDER, NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(name, SUFFIX))
            continue;
        g_autoptr(GError) failure = NULL;
        g_autofree char *path = g_build_filename(folder, name, NULL);
        SnapsetJournal *journal = load(path, &failure);
        if (journal != NULL) {
            g_ptr_array_add(journals, journal);
        } else if (failure != NULL) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return NULL;
        }
    }
    return g_steal_pointer(&journals);
}

SnapsetJournal *
snapset_journal_claim(const SnapsetJournal *seen, GError **error)
{
    g_autoptr(SnapsetJournal) lock = snapset_journal_alloc(seen->operation);

    lock->path = g_strdup(seen->path);
    if (!take_lock(lock, error))
        return NULL;
    /* Only under the lock is what the file says the last word. */
    SnapsetJournal *journal = load(seen->path, error);
    if (journal != NULL)
        journal->lock = snapset_steal_fd(&lock->lock);
    return journal;
}
