/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A set of images, loaded. */
#include "common/ops/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
#include "common/io/chain.h"
#include "common/io/image-info.h"
#include "common/io/image-read.h"
#include "common/io/journal.h"
#include "common/io/lock.h"
#include "common/ops/chain.h"

/* ---- the set ---- */

static void
move_free(gpointer data)
{
    SnapsetMove *move = data;
    g_free(move->from);
    g_free(move->to);
    g_free(move);
}

SnapsetSet *
snapset_set_new(GPtrArray *sources, SnapsetQemuTools *tools, const SnapsetVerdicts *verdicts)
{
    SnapsetSet *set = g_new0(SnapsetSet, 1);
    set->sources = sources;
    set->tools = tools;
    set->handles = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_handle_free);
    set->images = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    set->report = snapset_report_new(verdicts);
    set->notes = g_ptr_array_new_with_free_func(g_free);
    set->moves = g_ptr_array_new_with_free_func(move_free);
    return set;
}

void
snapset_set_free(SnapsetSet *set)
{
    if (set == NULL)
        return;
    snapset_catalog_free(set->catalog);
    g_ptr_array_unref(set->images);
    g_ptr_array_unref(set->handles);
    g_ptr_array_unref(set->sources);
    snapset_report_free(set->report);
    snapset_qemu_tools_free(set->tools);
    g_ptr_array_unref(set->notes);
    g_ptr_array_unref(set->moves);
    g_free(set);
}

const SnapsetHandle *
snapset_set_handle(const SnapsetSet *set, guint index)
{
    return set->handles->pdata[index];
}

const SnapsetImage *
snapset_set_image(const SnapsetSet *set, guint index)
{
    return set->images->pdata[index];
}

void
snapset_set_note(SnapsetSet *set, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(set->notes, g_strdup_vprintf(format, args));
    va_end(args);
}

void
snapset_set_add_move(SnapsetSet *set, guint index, const char *to)
{
    SnapsetMove *move = g_new0(SnapsetMove, 1);

    move->from = g_strdup(snapset_set_image(set, index)->filename);
    move->to = g_strdup(to);
    g_ptr_array_add(set->moves, move);
}

void
snapset_set_replace(SnapsetSet *set, guint index, const char *path, const char *name,
                    const char *format)
{
    SnapsetSource *source = snapset_source_new_file(path, format);

    g_free(source->name);
    source->name = g_strdup(name);
    snapset_handle_free(set->handles->pdata[index]);
    snapset_source_free(set->sources->pdata[index]);
    set->sources->pdata[index] = source;
    set->handles->pdata[index] = snapset_handle_new(source);
}

/* ---- reading ---- */

/* Fewer images than this are read faster by one thread than others are started. */
#define IMAGES_PER_THREAD 64

/* Read natively what can be; leave NULL where qemu-img has to be asked. */
static gboolean
read_natively(const SnapsetSet *set, guint index, GError **error)
{
    const SnapsetSource *source = set->sources->pdata[index];
    const SnapsetHandle *handle = set->handles->pdata[index];
    g_autoptr(GError) failure = NULL;
    SnapsetImage *image = NULL;
    SnapsetReadDepth depth =
        set->access == SNAPSET_FOR_READING ? SNAPSET_READ_NEWEST : SNAPSET_READ_THOROUGH;

    if (source->path == NULL || (source->format != NULL && strcmp(source->format, "qcow2") != 0))
        return TRUE;
    if (handle->fd >= 0)
        image = snapset_image_read_fd(handle->fd, source->name, depth, NULL, &failure);
    else
        image = snapset_image_read(source->path, source->name, depth, &failure);
    if (image == NULL && !(g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NOT_QCOW2) &&
                           source->format == NULL)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return snapset_name_error(error, source->name);
    }
    if (image != NULL)
        snapset_chain_read(image, source->path);
    set->images->pdata[index] = image;
    return TRUE;
}

/* The images that one thread reads. */
typedef struct {
    const SnapsetSet *set;
    guint first, end;
    GError *error;
} Share;

static void
read_share(gpointer data, gpointer user_data)
{
    Share *share = data;
    for (guint i = share->first; i < share->end && share->error == NULL; i++)
        read_natively(share->set, i, &share->error);
}

/* Every image, by as many threads as there are processors; the first error in their order. */
static gboolean
read_all_natively(const SnapsetSet *set, GError **error)
{
    guint images = set->sources->len;
    guint count = CLAMP(images / IMAGES_PER_THREAD, 1, g_get_num_processors());
    g_autofree Share *shares = g_new0(Share, count);
    GThreadPool *pool =
        count > 1 ? g_thread_pool_new(read_share, NULL, (gint)count - 1, FALSE, NULL) : NULL;
    gboolean good = TRUE;

    for (guint i = 0; i < count; i++) {
        shares[i].set = set;
        shares[i].first = (guint64)images * i / count;
        shares[i].end = (guint64)images * (i + 1) / count;
        if (i > 0)
            g_thread_pool_push(pool, &shares[i], NULL);
    }
    read_share(&shares[0], NULL);
    if (pool != NULL)
        g_thread_pool_free(pool, FALSE, TRUE);
    for (guint i = 0; i < count; i++) {
        if (shares[i].error == NULL)
            continue;
        if (good)
            g_propagate_error(error, shares[i].error);
        else
            g_error_free(shares[i].error);
        good = FALSE;
    }
    return good;
}

/* Which file it is; qemu-img does not say. */
static void
identify(SnapsetImage *image, const char *path)
{
    g_auto(SnapsetFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    SnapsetFileStatus status;

    image->is_local = fd >= 0 && snapset_file_status(fd, &status, NULL);
    if (!image->is_local)
        return;
    image->device = status.device;
    image->inode = status.inode;
}

/* All images that are still NULL, at once. */
static gboolean
ask_qemu_img(SnapsetSet *set, GError **error)
{
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);
    guint next = 0;

    for (guint i = 0; i < set->images->len; i++) {
        if (set->images->pdata[i] == NULL)
            g_ptr_array_add(children, snapset_qemu_describe(set->tools, set->sources->pdata[i]));
    }
    snapset_children_run(children, -1, NULL, NULL);
    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetSource *source = set->sources->pdata[i];
        if (set->images->pdata[i] != NULL)
            continue;
        SnapsetImage *image = snapset_image_from_info(children->pdata[next++], source->name, error);
        if (image == NULL)
            return snapset_name_error(error, source->name);
        if (source->path != NULL) {
            identify(image, source->path);
            snapset_chain_read(image, source->path);
        }
        if (source->format != NULL) { /* of a file that is taken as it is QEMU says "file" */
            g_free(image->format);
            image->format = g_strdup(source->format);
        }
        set->images->pdata[i] = image;
    }
    return TRUE;
}

/* Do chains end at files that only QEMU knows the backing files of? */
static gboolean
has_unread(const SnapsetSet *set)
{
    for (guint i = 0; i < set->images->len; i++) {
        if (snapset_chain_unread(snapset_set_image(set, i)) != NULL)
            return TRUE;
    }
    return FALSE;
}

/* Have @link say what @child was told; FALSE: that it has no backing file, or nothing. */
static gboolean
learn_backing(SnapsetImage *link, const SnapsetChild *child)
{
    g_autoptr(SnapsetImage) told = snapset_image_from_info(child, link->filename, NULL);

    if (told == NULL || told->backing_filename == NULL)
        return FALSE;
    link->backing_filename = g_steal_pointer(&told->backing_filename);
    link->backing_format = g_steal_pointer(&told->backing_format);
    return TRUE;
}

/* Ask QEMU about the last links of such chains, and read on; @images: of SnapsetImage *. */
static GPtrArray *
read_on(const SnapsetSet *set, GPtrArray *images)
{
    GPtrArray *further = g_ptr_array_new();
    g_autoptr(GPtrArray) children =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_child_free);
    g_autoptr(GPtrArray) asked = g_ptr_array_new();

    for (guint i = 0; i < images->len; i++) {
        SnapsetImage *link = snapset_chain_unread(images->pdata[i]);
        if (link == NULL)
            continue;
        g_autoptr(SnapsetSource) source =
            snapset_source_new_file(link->filename, snapset_chain_known_format(link));
        g_ptr_array_add(children, snapset_qemu_describe(set->tools, source));
        g_ptr_array_add(asked, images->pdata[i]);
    }
    snapset_children_run(children, -1, NULL, NULL);
    for (guint i = 0; i < asked->len; i++) {
        SnapsetImage *image = asked->pdata[i];
        SnapsetImage *link = snapset_chain_unread(image);
        if (!learn_backing(link, children->pdata[i]))
            continue;
        snapset_chain_read(image, link->filename);
        g_ptr_array_add(further, image);
    }
    return further;
}

static void
read_unread(const SnapsetSet *set)
{
    g_autoptr(GPtrArray) images = g_ptr_array_ref(set->images);

    while (images->len > 0) { /* one link of each chain a round */
        GPtrArray *further = read_on(set, images);
        g_ptr_array_unref(images);
        images = further;
    }
}

/* The same image twice, by two names or by two hard links, is no set. */
static gboolean
check_distinct(const SnapsetSet *set, GError **error)
{
    g_autoptr(GHashTable) seen =
        g_hash_table_new(snapset_image_file_hash, snapset_image_file_equal);

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        if (!image->is_local)
            continue;
        const SnapsetImage *first = g_hash_table_lookup(seen, image);
        if (first != NULL) {
            g_autofree char *one = snapset_format_quoted(first->filename);
            g_autofree char *other = snapset_format_quoted(image->filename);
            return snapset_throw(error, SNAPSET_ERROR_USAGE, "%s and %s are the same image", one,
                                 other);
        }
        g_hash_table_add(seen, (gpointer)image);
    }
    return TRUE;
}

static gboolean
find_tools(SnapsetSet *set, GError **error)
{
    if (set->tools == NULL)
        set->tools = snapset_qemu_tools_new(NULL, error);
    return set->tools != NULL;
}

gboolean
snapset_set_reload(SnapsetSet *set, GError **error)
{
    gboolean all_native = TRUE;

    g_clear_pointer(&set->catalog, snapset_catalog_free);
    g_ptr_array_set_size(set->images, 0);
    g_ptr_array_set_size(set->images, set->sources->len);
    if (!read_all_natively(set, error))
        return FALSE;
    for (guint i = 0; i < set->sources->len; i++)
        all_native &= set->images->pdata[i] != NULL;
    if (!all_native && (!find_tools(set, error) || !ask_qemu_img(set, error)))
        return FALSE;
    if (has_unread(set)) {
        if (!find_tools(set, error))
            return FALSE;
        read_unread(set);
    }
    if (!check_distinct(set, error))
        return FALSE;
    set->catalog = snapset_catalog_new(set->images);
    return TRUE;
}

gboolean
snapset_set_take(SnapsetSet *set, GPtrArray *sources, GPtrArray *images, GError **error)
{
    g_clear_pointer(&set->catalog, snapset_catalog_free);
    g_ptr_array_unref(set->images);
    set->images = images;
    g_ptr_array_set_size(set->handles, 0);
    g_ptr_array_unref(set->sources);
    set->sources = sources;
    for (guint i = 0; i < sources->len; i++)
        g_ptr_array_add(set->handles, snapset_handle_new(sources->pdata[i]));
    if (!check_distinct(set, error))
        return FALSE;
    set->catalog = snapset_catalog_new(images);
    return TRUE;
}

/* ---- what stands in the way ---- */

static void
report_pending(SnapsetSet *set, const SnapsetJournal *journal)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        const char *path = snapset_set_handle(set, i)->path;
        if (image->is_local && snapset_journal_concerns(journal, path != NULL ? path : "",
                                                        image->device, image->inode))
            g_ptr_array_add(names, image->filename);
    }
    if (names->len == 0)
        return;
    g_autofree char *list = snapset_format_names(names);
    snapset_report_add(set->report, SNAPSET_RULE_OPERATION_PENDING, NULL, names,
                       g_strdup("qemu-img snapshot-set recover"),
                       "'%s' of %s was interrupted, or is still running", journal->operation, list);
}

/* A journal that cannot be read is reported too: it may be about these images. */
void
snapset_set_check_pending(SnapsetSet *set)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GPtrArray) journals = snapset_journal_scan(&failure);

    if (journals == NULL)
        snapset_report_add(set->report, SNAPSET_RULE_OPERATION_PENDING, NULL, NULL, NULL, "%s",
                           failure->message);
    for (guint i = 0; journals != NULL && i < journals->len; i++)
        report_pending(set, journals->pdata[i]);
}

void
snapset_set_report(SnapsetSet *set, guint index, SnapsetRule rule, const char *hint,
                   const char *what)
{
    const SnapsetSource *source = set->sources->pdata[index];
    g_autofree char *name = snapset_format_escaped(source->name);
    snapset_report_add_image(set->report, rule, NULL, source->name, g_strdup(hint), "%s: %s", name,
                             what);
}

/* Lock image @index; what cannot be locked is reported, and read without a lock. */
static gboolean
open_handle(SnapsetSet *set, guint index, GError **error)
{
    SnapsetHandle *handle = set->handles->pdata[index];
    g_autoptr(GError) failure = NULL;

    if (handle->source->path == NULL)
        return TRUE;
    if (!snapset_handle_open_file(handle, error))
        return snapset_name_error(error, handle->source->name);
    if (snapset_lock_image(handle->fd, &failure))
        return TRUE;
    snapset_close(handle->fd);
    handle->fd = -1;
    snapset_set_report(set, index, SNAPSET_RULE_IMAGE_LOCKED,
                       "shut the machine down, or wait for the program that uses the image",
                       failure->message);
    return TRUE;
}

static void
check_writable(SnapsetSet *set, guint index, gboolean needs_record)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    g_autoptr(GError) failure = NULL;

    if (image->header != NULL && image->header->crypt_method != 0 && set->tools != NULL &&
        set->tools->objects->len == 0) {
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "--object secret,id=KEY,file=FILE --image-opts "
                           "driver=qcow2,encrypt.key-secret=KEY,file.filename=IMAGE",
                           "it is encrypted, and QEMU needs its key");
        return;
    }
    if (image->ledger_state == SNAPSET_LEDGER_DAMAGED && image->header->sset_count == 1)
        snapset_set_report(set, index, SNAPSET_RULE_RECORD_DAMAGED,
                           "qemu-img snapshot-set check --repair IMAGE...",
                           "its record is damaged; recorded identities and parents are lost");
    if (snapset_stamp_is_possible(image, &failure))
        return;
    if (!g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM))
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, failure->message);
    else if (needs_record)
        snapset_set_report(set, index, SNAPSET_RULE_NO_ROOM,
                           "convert the image to one of larger clusters (qemu-img convert)",
                           failure->message);
}

void
snapset_set_check_options(SnapsetSet *set, guint index)
{
    const SnapsetSource *source = set->sources->pdata[index];

    if (source->has_other_options)
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "leave out of --image-opts what does not change what the image holds",
                           "an overlay names a file and its format, and has no place for other "
                           "options");
}

/* Can an overlay stand on it, and the record be kept? */
static void
check_base(SnapsetSet *set, guint index)
{
    const SnapsetImage *image = snapset_set_image(set, index);
    gboolean is_encrypted = image->header != NULL ? image->header->crypt_method != 0
                                                  : strcmp(image->format, "luks") == 0;

    if (snapset_set_handle(set, index)->path == NULL)
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL,
                           "it is not a local file");
    else if (is_encrypted)
        snapset_set_report(set, index, SNAPSET_RULE_IMAGE_UNSUPPORTED,
                           "take an internal snapshot (without --external)",
                           "it is encrypted, and what is written to an overlay would not be");
    else if (image->header != NULL)
        check_writable(set, index, FALSE);
    if (!is_encrypted)
        snapset_set_check_options(set, index);
}

gboolean
snapset_set_load(SnapsetSet *set, SnapsetAccess access, GError **error)
{
    gboolean writing = access != SNAPSET_FOR_READING && access != SNAPSET_FOR_CHECKING;

    set->access = access;
    for (guint i = 0; i < set->sources->len; i++) {
        g_ptr_array_add(set->handles, snapset_handle_new(set->sources->pdata[i]));
        if (writing && !open_handle(set, i, error))
            return FALSE;
    }
    if (!snapset_set_reload(set, error) || (writing && !snapset_chain_check(set, error)))
        return FALSE;
    snapset_set_check_pending(set);
    if (!writing || access == SNAPSET_FOR_REPAIRING)
        return TRUE;
    for (guint i = 0; i < set->images->len; i++) {
        if (access == SNAPSET_FOR_OVERLAYS)
            check_base(set, i);
        else
            check_writable(set, i, access == SNAPSET_FOR_RECORDING);
    }
    return TRUE;
}

/* ---- ledgers ---- */

SnapsetLedger *
snapset_set_ledger(const SnapsetSet *set, guint index)
{
    return snapset_lineage_ledger(snapset_set_image(set, index));
}

GBytes *
snapset_image_encode(const SnapsetImage *image, SnapsetLedger *ledger, GError **error)
{
    if (!snapset_stamp_fits(image, ledger, NULL))
        snapset_lineage_compact(ledger, image);
    return snapset_stamp_fits(image, ledger, error)
               ? snapset_ledger_encode(ledger, SNAPSET_SLOT_SIZE_MAX, error)
               : NULL;
}

GBytes *
snapset_set_encode(SnapsetSet *set, guint index, SnapsetLedger *ledger, gboolean is_needed)
{
    g_autoptr(GError) failure = NULL;
    GBytes *bytes = snapset_image_encode(snapset_set_image(set, index), ledger, &failure);

    if (is_needed && g_error_matches(failure, SNAPSET_ERROR, SNAPSET_ERROR_NO_ROOM))
        snapset_set_report(set, index, SNAPSET_RULE_NO_ROOM,
                           "delete snapshots that are no longer needed", failure->message);
    return bytes;
}
