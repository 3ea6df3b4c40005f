/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A running QEMU as a set. */
#include "common/ops/machine.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/chain.h"
#include "common/io/image-info.h"
#include "common/io/lock.h"

/* A snapshot may be taken between QEMU's list and our reading. */
#define TRIES 3

SnapsetMachine *
snapset_machine_new(const char *address, char **wanted, const SnapsetVerdicts *verdicts,
                    GError **error)
{
    SnapsetQmp *qmp = snapset_qmp_connect(address, error);

    if (qmp == NULL)
        return NULL;
    SnapsetMachine *machine = g_new0(SnapsetMachine, 1);
    machine->qmp = qmp;
    machine->wanted = g_strdupv(wanted);
    machine->chosen = g_ptr_array_new();
    machine->set = snapset_set_new(g_ptr_array_new(), NULL, verdicts);
    machine->notes = g_ptr_array_new_with_free_func(g_free);
    return machine;
}

void
snapset_machine_free(SnapsetMachine *machine)
{
    if (machine == NULL)
        return;
    snapset_qmp_free(machine->qmp);
    g_strfreev(machine->wanted);
    g_ptr_array_unref(machine->chosen);
    g_clear_pointer(&machine->disks, g_ptr_array_unref);
    snapset_domain_free(machine->all);
    snapset_domain_free(machine->domain);
    snapset_set_free(machine->set);
    g_ptr_array_unref(machine->notes);
    g_free(machine->journal);
    g_free(machine);
}

const SnapsetQmpDisk *
snapset_machine_disk(const SnapsetMachine *machine, guint index)
{
    return machine->chosen->pdata[index];
}

/* ---- files ---- */

/*
 * The file that QEMU calls @filename; NULL: none here. A relative name is relative to the folder
 * that QEMU was started in, which is its own still, or ours. Caller frees.
 */
static char *
find_file(const SnapsetMachine *machine, const char *filename)
{
    pid_t peer = snapset_qmp_peer(machine->qmp);
    g_autofree char *link = g_strdup_printf("/proc/%d/cwd", (int)peer);
    g_autofree char *theirs = peer > 0 ? g_file_read_link(link, NULL) : NULL;
    g_autofree char *ours = g_get_current_dir();
    const char *folders[] = {theirs, ours};

    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        char *path = folders[i] != NULL ? snapset_chain_file(folders[i], filename) : NULL;
        if (path != NULL && snapset_lock_is_held(path)) /* it is that very file */
            return path;
        g_free(path);
    }
    return NULL;
}

/* Is what was read here what QEMU has? */
static gboolean
agree(const SnapsetImage *native, const SnapsetImage *told)
{
    gboolean same = native->entries->len == told->entries->len;

    for (guint i = 0; same && i < native->entries->len; i++) {
        const SnapsetEntry *left = snapset_image_entry(native, i);
        const SnapsetEntry *right = snapset_image_entry(told, i);
        same = strcmp(left->id, right->id) == 0 &&
               left->moment.date_sec == right->moment.date_sec &&
               left->moment.date_nsec == right->moment.date_nsec &&
               left->moment.vm_clock_nsec == right->moment.vm_clock_nsec;
    }
    return same;
}

/* One image of a chain; it is local if it was read here, and then named by its path. */
static SnapsetImage *
read_link(const SnapsetMachine *machine, JsonObject *info)
{
    const char *filename = snapset_json_text(info, "filename");
    const char *format = snapset_qmp_format(info);
    g_autoptr(SnapsetImage) told = snapset_image_from_json(info, filename != NULL ? filename : "");
    g_autofree char *path = find_file(machine, told->filename);
    g_autoptr(SnapsetImage) native =
        path != NULL ? snapset_chain_read_link(path, format, NULL) : NULL;

    if (native == NULL || !agree(native, told))
        return g_steal_pointer(&told);
    native->virtual_size = told->virtual_size; /* of a format that is not read natively */
    return g_steal_pointer(&native);
}

/* The disk's image and the chain below it, as QEMU has it and not as the images say. */
static SnapsetImage *
read_disk(SnapsetMachine *machine, const SnapsetQmpDisk *disk)
{
    SnapsetImage *image = read_link(machine, disk->info);

    if (g_str_has_prefix(image->filename, "json:")) { /* nobody can read that */
        g_free(image->filename);
        image->filename = g_strdup(disk->name);
    }
    image->has_bitmaps = disk->has_bitmaps;
    for (JsonObject *below = snapset_qmp_backing(disk->info); below != NULL;
         below = snapset_qmp_backing(below)) {
        if (image->backing == NULL)
            image->backing = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
        g_ptr_array_add(image->backing, read_link(machine, below));
    }
    if (!image->is_local) {
        g_autofree char *quoted = snapset_format_quoted(image->filename);
        g_ptr_array_add(machine->notes,
                        g_strdup_printf("%s cannot be read here as QEMU has it open: its "
                                        "snapshots are as QEMU lists them, without records",
                                        quoted));
    }
    return image;
}

/* ---- the journal ---- */

/*
 * A digest of the file that the first disk's chain ends at: overlays come and go, and nobody else
 * writes to that. Two machines on copies of one image share a journal, which does no harm.
 */
static SnapsetUuid
digest_of_disk(const SnapsetMachine *machine)
{
    const SnapsetQmpDisk *disk = machine->disks->pdata[0];
    JsonObject *info = disk->info;
    SnapsetFileStatus status = {0};
    guint8 digest[32];
    gsize size = sizeof digest;

    for (JsonObject *below = info; below != NULL; below = snapset_qmp_backing(below))
        info = below;
    const char *filename = snapset_json_text(info, "filename");
    g_autofree char *path = find_file(machine, filename != NULL ? filename : "");
    g_auto(SnapsetFd) fd = path != NULL ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    if (fd < 0 || !snapset_file_status(fd, &status, NULL))
        g_checksum_update(checksum, (const guchar *)filename, filename != NULL ? -1 : 0);
    g_checksum_update(checksum, (const guchar *)&status.device, sizeof status.device);
    g_checksum_update(checksum, (const guchar *)&status.inode, sizeof status.inode);
    g_checksum_get_digest(checksum, digest, &size);
    return snapset_uuid_from_digest(digest);
}

/* The machine's own UUID, which a libvirt domain has too, or one that is made for it. */
static void
find_journal(SnapsetMachine *machine)
{
    g_autoptr(JsonNode) answer = snapset_qmp_execute(machine->qmp, "query-uuid", NULL, NULL);
    const char *own = answer != NULL && JSON_NODE_HOLDS_OBJECT(answer)
                          ? snapset_json_text(json_node_get_object(answer), "UUID")
                          : NULL;
    SnapsetUuid uuid = snapset_uuid_nil;
    char text[SNAPSET_UUID_TEXT_SIZE];

    if (own == NULL || !snapset_uuid_parse(own, &uuid) || snapset_uuid_is_nil(&uuid))
        uuid = digest_of_disk(machine);
    snapset_uuid_format(&uuid, text);
    machine->journal = g_strdup(text);
}

/* ---- disks ---- */

static gboolean
is_wanted(const SnapsetMachine *machine, const SnapsetQmpDisk *disk)
{
    for (char **name = machine->wanted; name != NULL && *name != NULL; name++) {
        if (g_ptr_array_find_with_equal_func(disk->aliases, *name, g_str_equal, NULL))
            return TRUE;
    }
    return machine->wanted == NULL;
}

/* Every name of --device must be one of a disk. */
static gboolean
check_wanted(const SnapsetMachine *machine, GError **error)
{
    for (char **name = machine->wanted; name != NULL && *name != NULL; name++) {
        gboolean found = FALSE;
        for (guint i = 0; !found && i < machine->disks->len; i++) {
            const SnapsetQmpDisk *disk = machine->disks->pdata[i];
            found = g_ptr_array_find_with_equal_func(disk->aliases, *name, g_str_equal, NULL);
        }
        if (found)
            continue;
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        for (guint i = 0; i < machine->disks->len; i++)
            g_ptr_array_add(names, ((SnapsetQmpDisk *)machine->disks->pdata[i])->name);
        g_autofree char *list = snapset_format_names(names);
        return snapset_throw(error, SNAPSET_ERROR_USAGE,
                             "the guest writes to no disk '%s'; its disks are %s", *name, list);
    }
    if (machine->disks->len > 0)
        return TRUE;
    return snapset_throw(error, SNAPSET_ERROR_USAGE, "the machine has no disk that it writes to");
}

static void
add_disk(SnapsetDomain *domain, const SnapsetQmpDisk *disk)
{
    SnapsetDisk *added =
        snapset_domain_add_disk(domain, disk->name, snapset_qmp_format(disk->info), NULL);
    added->node = g_strdup(disk->node);
}

/* Ask QEMU, and choose. */
static gboolean
query(SnapsetMachine *machine, GError **error)
{
    GPtrArray *disks = snapset_qmp_disks(machine->qmp, error);

    if (disks == NULL)
        return FALSE;
    g_clear_pointer(&machine->disks, g_ptr_array_unref);
    machine->disks = disks;
    snapset_domain_free(machine->all);
    snapset_domain_free(machine->domain);
    machine->all = snapset_domain_new();
    machine->domain = snapset_domain_new();
    g_ptr_array_set_size(machine->chosen, 0);
    for (guint i = 0; i < disks->len; i++) {
        SnapsetQmpDisk *disk = disks->pdata[i];
        add_disk(machine->all, disk);
        if (!is_wanted(machine, disk))
            continue;
        add_disk(machine->domain, disk);
        g_ptr_array_add(machine->chosen, disk);
    }
    return check_wanted(machine, error);
}

/* Read what was chosen. *ret_all: nothing had to be taken from QEMU. */
static gboolean
read_chosen(SnapsetMachine *machine, gboolean remember, gboolean *ret_all, GError **error)
{
    GPtrArray *sources = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);

    *ret_all = TRUE;
    g_ptr_array_set_size(machine->notes, 0);
    for (guint i = 0; i < machine->chosen->len; i++) {
        SnapsetImage *image = read_disk(machine, machine->chosen->pdata[i]);
        g_ptr_array_add(sources, snapset_source_new_file(image->filename, image->format));
        g_ptr_array_add(images, image);
        *ret_all &= image->is_local;
    }
    if (remember)
        snapset_machine_remember(machine->journal, NULL, images);
    return snapset_set_take(machine->set, sources, images, error);
}

static gboolean
load(SnapsetMachine *machine, gboolean remember, GError **error)
{
    gboolean is_first = machine->journal == NULL;
    gboolean all = FALSE;

    for (int i = 0; !all && i < TRIES; i++) {
        if (!query(machine, error))
            return FALSE;
        if (machine->journal == NULL)
            find_journal(machine);
        if (!read_chosen(machine, remember, &all, error))
            return FALSE;
    }
    if (is_first)
        snapset_set_check_pending(machine->set);
    return TRUE;
}

gboolean
snapset_machine_load(SnapsetMachine *machine, GError **error)
{
    return load(machine, TRUE, error);
}

gboolean
snapset_machine_note(SnapsetMachine *machine, SnapsetMachineEvent make_event, gconstpointer data,
                     GError **error)
{
    /* What an event says of an image must be what the image itself says. */
    if (!load(machine, FALSE, error))
        return FALSE;
    g_autoptr(SnapsetLiveEvent) event = make_event(machine, data);
    snapset_machine_append(machine->journal, machine->set, event);
    return load(machine, TRUE, error);
}

void
snapset_machine_hold(SnapsetMachine *machine)
{
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();

    for (guint i = 0; i < machine->chosen->len; i++)
        g_strv_builder_add(names, snapset_machine_disk(machine, i)->qdev);
    g_strfreev(machine->wanted);
    machine->wanted = g_strv_builder_end(names);
}

/* ---- what is asked of QEMU ---- */

SnapsetLiveRequest *
snapset_machine_request(const SnapsetMachine *machine, SnapsetLiveKind kind, const char *tag,
                        const SnapsetSnapshot *snapshot)
{
    SnapsetLiveRequest *request = snapset_live_request_new(kind);

    request->tag = g_strdup(tag);
    for (guint i = 0; i < machine->chosen->len; i++) {
        const char *node = snapset_machine_disk(machine, i)->node;
        if (node != NULL && (snapshot == NULL || snapset_snapshot_entry(snapshot, i) != NULL))
            g_ptr_array_add(request->nodes, g_strdup(node));
    }
    return request;
}

void
snapset_machine_check_command(SnapsetMachine *machine, const char *command)
{
    if (!snapset_qmp_has_command(machine->qmp, command))
        snapset_report_add(machine->set->report, SNAPSET_RULE_IMAGE_UNSUPPORTED, NULL, NULL, NULL,
                           "this QEMU is too old: it has no %s", command);
}
