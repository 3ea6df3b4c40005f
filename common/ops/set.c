/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A set of images, loaded. */
#include "common/ops/set.h"

#include <stdarg.h>
#include <string.h>

#include "common/core/format.h"
#include "common/core/lineage.h"
#include "common/core/stamp-plan.h"
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

/* ---- what stands in the way ---- */

/* Any file of its chain. */
static gboolean
concerns(const SnapsetJournal *journal, const SnapsetImage *image, const char *path)
{
    for (guint i = 0; i < snapset_image_link_count(image); i++) {
        const SnapsetImage *link = snapset_image_link(image, i);
        const char *name = i == 0 ? path : link->filename;
        if (link->is_local && (snapset_journal_concerns(journal, "", link->device, link->inode) ||
                               (name != NULL && snapset_journal_concerns_file(journal, name))))
            return TRUE;
    }
    return FALSE;
}

static void
report_pending(SnapsetSet *set, const SnapsetJournal *journal)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (guint i = 0; i < set->images->len; i++) {
        const SnapsetImage *image = snapset_set_image(set, i);
        if (concerns(journal, image, snapset_set_handle(set, i)->source->path))
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
