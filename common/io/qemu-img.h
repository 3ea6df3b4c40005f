/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real qemu-img, and what we have it do: everything that touches guest data, L1/L2 tables,
 * reference counts or snapshot tables.
 */
#pragma once

#include "common/core/image.h"
#include "common/io/children.h"
#include "common/io/source.h"

/* Where QEMU's programs are, and the --object options a person gave. */
typedef struct {
    char *qemu_img;       /* path of the real qemu-img */
    char *storage_daemon; /* path of qemu-storage-daemon; NULL: not installed */
    GPtrArray *objects;   /* of char *, the arguments of --object */
} SnapsetQemuTools;

/* Find them. @objects (of char *) is copied and may be NULL. NULL with SNAPSET_ERROR_FAILED. */
SnapsetQemuTools *snapset_qemu_tools_new(GPtrArray *objects, GError **error);
void snapset_qemu_tools_free(SnapsetQemuTools *tools);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetQemuTools, snapset_qemu_tools_free)

/* One image that qemu-img is to work on. */
typedef struct {
    const char *path;    /* absolute, links resolved */
    const char *options; /* as the person gave them with --image-opts; NULL: made from the path */
    gboolean is_block;   /* a block device */
} SnapsetQemuTarget;

/* A child that makes an entry called @tag; qemu-img itself checks nothing about it. */
SnapsetChild *snapset_qemu_create(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                  const char *tag);

/*
 * A child that applies, or deletes, exactly @entry of @image, whatever other entries have the same
 * tag, or an ID that equals it. NULL with SNAPSET_ERROR_FAILED when no command can tell it from
 * another one.
 */
SnapsetChild *snapset_qemu_apply(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                 const SnapsetImage *image, const SnapsetEntry *entry,
                                 GError **error);
SnapsetChild *snapset_qemu_delete(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                  const SnapsetImage *image, const SnapsetEntry *entry,
                                  GError **error);

/* A child that applies, or deletes, what qemu-img itself finds under that name. */
SnapsetChild *snapset_qemu_named(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                 gboolean apply, const char *name);

/*
 * A child that makes the empty file @path a qcow2 overlay on @backing, as that is to stand in it.
 * Its size is that of the backing file; or, if a machine has that open, @size bytes (else NULL).
 */
SnapsetChild *snapset_qemu_create_overlay(const SnapsetQemuTools *tools, const char *path,
                                          const char *backing, const char *backing_format,
                                          const guint64 *size);

/*
 * A child that writes what an overlay holds, and all below it as far as @base, into that file of
 * its chain. The overlay stays as it is. Doing it again changes nothing.
 */
SnapsetChild *snapset_qemu_commit(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                  const char *base);

/* A child that writes another name of the backing file into an overlay, and nothing else. */
SnapsetChild *snapset_qemu_rebase(const SnapsetQemuTools *tools, const SnapsetQemuTarget *target,
                                  const char *backing, const char *backing_format);

/* TRUE when a child made by one of these did its work. */
gboolean snapset_qemu_succeeded(const SnapsetChild *child, GError **error);

/* A child that describes @source (qemu-img info -U --output=json). */
SnapsetChild *snapset_qemu_describe(const SnapsetQemuTools *tools, const SnapsetSource *source);
