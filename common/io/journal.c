/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal of one operation over a set. */
#include "common/io/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FOLDER "operations"
#define SUFFIX ".journal"
#define LOCK_SUFFIX ".lock"
#define LAYOUT_VERSION 1

static const char *const phase_names[] = {"make", "apply", "finish"};
G_STATIC_ASSERT(G_N_ELEMENTS(phase_names) == SNAPSET_PHASE_FINISH + 1);

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
image_free(gpointer data)
{
    SnapsetJournalImage *image = data;
    g_free(image->path);
    g_free(image->options);
    g_ptr_array_unref(image->doomed);
    g_clear_pointer(&image->after, g_bytes_unref);
    g_free(image);
}

static SnapsetJournal *
journal_alloc(const char *operation)
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

gboolean
snapset_journal_concerns(const SnapsetJournal *journal, const char *path, guint64 device,
                         guint64 inode)
{
    for (guint i = 0; i < journal->images->len; i++) {
        const SnapsetJournalImage *image = journal->images->pdata[i];
        if (strcmp(image->path, path) == 0 || (image->device == device && image->inode == inode))
            return TRUE;
    }
    return FALSE;
}

/* ---- text ---- */

/* (path, options, device, inode, doomed, after, sequence); empty options or after stand for none.
 */
#define DOOMED_TYPE "a(ayayt)"
#define IMAGE_TYPE "(ayaytt" DOOMED_TYPE "ayt)"

static GVariant *
encode_image(const SnapsetJournalImage *image)
{
    GVariantBuilder doomed;
    gsize size = 0;
    const void *after = image->after != NULL ? g_bytes_get_data(image->after, &size) : NULL;

    g_variant_builder_init(&doomed, G_VARIANT_TYPE(DOOMED_TYPE));
    for (guint i = 0; i < image->doomed->len; i++) {
        const SnapsetDoomed *entry = image->doomed->pdata[i];
        g_variant_builder_add(&doomed, "(@ay@ayt)", g_variant_new_bytestring(entry->id),
                              g_variant_new_bytestring(entry->tag), entry->binding);
    }
    return g_variant_new("(@ay@aytt@" DOOMED_TYPE "@ayt)", g_variant_new_bytestring(image->path),
                         g_variant_new_bytestring(image->options != NULL ? image->options : ""),
                         image->device, image->inode, g_variant_builder_end(&doomed),
                         g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, after, size, 1),
                         image->sequence);
}

static char *
encode(const SnapsetJournal *journal)
{
    GVariantBuilder images;
    g_autoptr(GVariantDict) dict = g_variant_dict_new(NULL);

    g_variant_builder_init(&images, G_VARIANT_TYPE("a" IMAGE_TYPE));
    for (guint i = 0; i < journal->images->len; i++)
        g_variant_builder_add_value(&images, encode_image(journal->images->pdata[i]));
    g_variant_dict_insert(dict, "version", "u", LAYOUT_VERSION);
    g_variant_dict_insert(dict, "operation", "s", journal->operation);
    g_variant_dict_insert(dict, "phase", "s", phase_names[journal->phase]);
    g_variant_dict_insert(dict, "started", "x", journal->started);
    if (journal->tag != NULL)
        g_variant_dict_insert(dict, "tag", "^ay", journal->tag);
    g_variant_dict_insert_value(
        dict, "objects",
        g_variant_new_bytestring_array((const char *const *)journal->objects->pdata,
                                       journal->objects->len));
    g_variant_dict_insert_value(dict, "images", g_variant_builder_end(&images));
    g_autoptr(GVariant) value = g_variant_ref_sink(g_variant_dict_end(dict));
    return g_variant_print(value, TRUE);
}

static void
decode_image(SnapsetJournal *journal, GVariant *value)
{
    g_autoptr(GVariant) path = g_variant_get_child_value(value, 0);
    g_autoptr(GVariant) options = g_variant_get_child_value(value, 1);
    g_autoptr(GVariant) doomed = g_variant_get_child_value(value, 4);
    g_autoptr(GVariant) after = g_variant_get_child_value(value, 5);
    guint64 device = 0;
    guint64 inode = 0;
    const char *text = g_variant_get_bytestring(options);

    g_variant_get_child(value, 2, "t", &device);
    g_variant_get_child(value, 3, "t", &inode);
    SnapsetJournalImage *image = snapset_journal_add_image(
        journal, g_variant_get_bytestring(path), *text != '\0' ? text : NULL, device, inode);
    for (gsize i = 0; i < g_variant_n_children(doomed); i++) {
        const char *id = NULL;
        const char *tag = NULL;
        guint64 binding = 0;
        g_variant_get_child(doomed, i, "(^&ay^&ayt)", &id, &tag, &binding);
        snapset_journal_doom(image, id, tag, binding);
    }
    g_variant_get_child(value, 6, "t", &image->sequence);
    if (g_variant_get_size(after) > 0)
        image->after = g_variant_get_data_as_bytes(after);
}

static gboolean
decode_phase(const char *name, SnapsetPhase *ret_phase)
{
    for (guint i = 0; i < G_N_ELEMENTS(phase_names); i++) {
        if (strcmp(phase_names[i], name) == 0) {
            *ret_phase = i;
            return TRUE;
        }
    }
    return FALSE;
}

static SnapsetJournal *
decode(const char *text)
{
    g_autoptr(GVariant) value =
        g_utf8_validate(text, -1, NULL)
            ? g_variant_parse(G_VARIANT_TYPE_VARDICT, text, NULL, NULL, NULL)
            : NULL;
    if (value == NULL)
        return NULL;
    g_autoptr(GVariantDict) dict = g_variant_dict_new(value);
    guint32 version = 0;
    const char *operation = NULL;
    const char *phase = NULL;
    g_autofree char *tag = NULL;
    g_autoptr(GVariant) images =
        g_variant_dict_lookup_value(dict, "images", G_VARIANT_TYPE("a" IMAGE_TYPE));
    g_autoptr(GVariant) objects =
        g_variant_dict_lookup_value(dict, "objects", G_VARIANT_TYPE_BYTESTRING_ARRAY);

    if (!g_variant_dict_lookup(dict, "version", "u", &version) || version != LAYOUT_VERSION ||
        !g_variant_dict_lookup(dict, "operation", "&s", &operation) ||
        !g_variant_dict_lookup(dict, "phase", "&s", &phase) || images == NULL || objects == NULL)
        return NULL;
    g_autoptr(SnapsetJournal) journal = journal_alloc(operation);
    if (!decode_phase(phase, &journal->phase) ||
        !g_variant_dict_lookup(dict, "started", "x", &journal->started))
        return NULL;
    if (g_variant_dict_lookup(dict, "tag", "^ay", &tag))
        journal->tag = g_steal_pointer(&tag);
    for (gsize i = 0; i < g_variant_n_children(objects); i++) {
        g_autoptr(GVariant) object = g_variant_get_child_value(objects, i);
        g_ptr_array_add(journal->objects, g_strdup(g_variant_get_bytestring(object)));
    }
    for (gsize i = 0; i < g_variant_n_children(images); i++) {
        g_autoptr(GVariant) image = g_variant_get_child_value(images, i);
        decode_image(journal, image);
    }
    return g_steal_pointer(&journal);
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
    g_autoptr(SnapsetJournal) journal = journal_alloc(operation);
    journal->path = g_build_filename(folder, file, NULL);
    journal->started = g_get_real_time() / G_USEC_PER_SEC;
    if (!take_lock(journal, error))
        return NULL;
    return g_steal_pointer(&journal);
}

gboolean
snapset_journal_write(SnapsetJournal *journal, GError **error)
{
    g_autofree char *text = encode(journal);
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
    SnapsetJournal *journal = decode(text);
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
    g_autoptr(SnapsetJournal) lock = journal_alloc(seen->operation);

    lock->path = g_strdup(seen->path);
    if (!take_lock(lock, error))
        return NULL;
    /* Only under the lock is what the file says the last word. */
    SnapsetJournal *journal = load(seen->path, error);
    if (journal != NULL)
        journal->lock = snapset_steal_fd(&lock->lock);
    return journal;
}
