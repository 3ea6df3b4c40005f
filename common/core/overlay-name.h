/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What overlays are called, and how they name their backing files. */
#pragma once

#include <glib.h>

/*
 * The file name of an overlay on the file called @base for a snapshot called @tag: as libvirt makes
 * it (src/conf/snapshot_conf.c), @base without its last suffix, a dot and the tag. With @number
 * above 1 that is added, for when the name is taken. Caller frees.
 */
char *snapset_overlay_name(const char *base, const char *tag, guint number);

/*
 * The file @path as an overlay in @folder names it by a relative name; both are absolute and free
 * of links. A colon in it cannot be taken for a protocol. Caller frees.
 */
char *snapset_overlay_relative(const char *folder, const char *path);

/*
 * How a backing file name as it is stored is read (block.c, path_has_protocol()): as a protocol and
 * what belongs to it, or as a path, absolute or relative to the overlay.
 */
gboolean snapset_overlay_names_protocol(const char *backing);
gboolean snapset_overlay_names_relative(const char *backing);
