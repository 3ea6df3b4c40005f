/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the backing chain below an image, as QEMU would find it (docs/interop/qcow2.rst, "Backing
 * file"; block.c): names are relative to the folder that the overlay was named in, those with
 * "file:" and "json:" to the one that QEMU runs in; they are understood when they lead to local
 * files, and say nothing else of them.
 */
#pragma once

#include "common/core/image.h"
#include "common/io/file.h"

/*
 * Read what is below @image, which was found at @path, into its `backing`, from where that ends;
 * how far that goes and why no further is in `chain_end`. Takes no lock. Does nothing for an image
 * without a backing file.
 */
void snapset_chain_read(SnapsetImage *image, const char *path);

/*
 * The last link that was read, if it is of a format of which only QEMU knows the backing file. Who
 * has asked says it there (`backing_filename`, `backing_format`), and reads on. NULL: it is not.
 */
SnapsetImage *snapset_chain_unread(const SnapsetImage *image);

/*
 * The image at @path alone, of the format that its overlay, or QEMU, calls it (NULL: nobody says).
 * Of other formats than qcow2 only the file's size is known. NULL with an error.
 */
SnapsetImage *snapset_chain_read_link(const char *path, const char *format, GError **error);

/*
 * The local file that a program in @folder calls @name, whatever else the name says of it; NULL: it
 * is no local file. Caller frees.
 */
char *snapset_chain_file(const char *folder, const char *name);

/* The format of @link, in QEMU's words; NULL: nobody says it, and it is not qcow2. Borrowed. */
const char *snapset_chain_known_format(const SnapsetImage *link);

/*
 * The format of @base, which @overlay stands on, in QEMU's words; NULL: nobody says it, and QEMU
 * makes it out from the content. Borrowed.
 */
const char *snapset_chain_format(const SnapsetImage *overlay, const SnapsetImage *base);

/*
 * Which file @overlay, opened at @path, stands on. FALSE when it stands on none, or on none that
 * is there.
 */
gboolean snapset_chain_find(const SnapsetImage *overlay, const char *path,
                            SnapsetFileStatus *ret_status);

/*
 * Is it the one that was read as @base? By another name of the overlay, in another folder, a
 * relative name may lead elsewhere.
 */
gboolean snapset_chain_leads_to(const SnapsetImage *overlay, const char *path,
                                const SnapsetImage *base);

/* A file that stands on another. */
typedef struct {
    char *path;
    SnapsetFileStatus file, base;
} SnapsetChainOverlay;

/* The qcow2 files in @folders (of char *) that do. Array of SnapsetChainOverlay *; caller unrefs.
 */
GPtrArray *snapset_chain_overlays(GPtrArray *folders);
