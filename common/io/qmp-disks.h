/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks of a running QEMU, as its monitor tells them (QEMU, qapi/block-core.json). */
#pragma once

#include "common/io/json.h"
#include "common/io/qmp-client.h"

/* One disk that the guest can write to. */
typedef struct {
    char *name;         /* what to call it: the drive's or device's ID, else its node-name */
    GPtrArray *aliases; /* of char *: every name that a person may mean it by */
    char *qdev;         /* the device's QOM path or ID, which stays the same */
    char *device;       /* of the drive (-drive id=); NULL: it has none */
    char *node;         /* node-name of its image; NULL: a QEMU of before these */
    char *root;         /* that of the uppermost filter, or again of the image */
    gboolean is_named;  /* by a person: QEMU's own names ("#block123") are for one run only */
    gboolean has_bitmaps, has_named_bitmaps; /* those without a name are a job's */
    gboolean cache_direct, cache_no_flush;
    char *detect_zeroes; /* "off", "on", "unmap" */
    JsonObject *info;    /* "ImageInfo" of its image, with the whole chain below as QEMU has it */
} SnapsetQmpDisk;

/*
 * Every disk that the guest can write to, in QEMU's order; of SnapsetQmpDisk *. Left out are
 * read-only ones, CD-ROMs among them, floppies, empty drives, drives without a device, and flash
 * memory in a format that has no snapshots. Filters above an image (throttle, copy-on-read, those
 * of a running block job) are looked through. NULL with an error.
 */
GPtrArray *snapset_qmp_disks(SnapsetQmp *qmp, GError **error);

/* The image below that of @info, an "ImageInfo"; NULL: none. Filters are looked through. */
JsonObject *snapset_qmp_backing(JsonObject *info);

/*
 * The name of the one node that has the image of @info open; caller frees. NULL with an error when
 * there is none, or when several have.
 */
char *snapset_qmp_find_node(SnapsetQmp *qmp, JsonObject *info, GError **error);

/* The names of all nodes, of char *; caller unrefs. NULL with an error. */
GPtrArray *snapset_qmp_node_names(SnapsetQmp *qmp, GError **error);

/* What an "ImageInfo" says of the image itself, borrowed: its format, "raw" for a bare protocol. */
const char *snapset_qmp_format(JsonObject *info);
