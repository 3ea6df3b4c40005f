/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A libvirt domain as far as its disks go; common/io/domain-xml.h fills it in. */
#pragma once

#include <glib.h>

#define SNAPSET_NVRAM "nvram"

/* One disk that the guest can write to. */
typedef struct {
    char *target;          /* "vda"; SNAPSET_NVRAM for the firmware's variables */
    char *format;          /* QEMU's name; "raw" where libvirt names none */
    char *path;            /* the file or block device; NULL: on the network, or in a pool */
    gboolean is_encrypted; /* libvirt has a secret for it */
    char *node;         /* QEMU's node-name of the disk as the guest sees it; NULL: not running */
    GPtrArray *backing; /* of SnapsetDisk *: its backing chain as libvirt has it, the next first */
} SnapsetDisk;

typedef struct {
    char *name;
    char *uuid;        /* as text */
    char *id;          /* libvirt's number while it runs, as text; NULL: not running */
    GPtrArray *disks;  /* of SnapsetDisk * */
    GPtrArray *others; /* of char *: the targets of its other disks */
} SnapsetDomain;

SnapsetDomain *snapset_domain_new(void);
void snapset_domain_free(SnapsetDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetDomain, snapset_domain_free)

/* Add a disk; strings are copied, @path may be NULL. The disk belongs to the domain. */
SnapsetDisk *snapset_domain_add_disk(SnapsetDomain *domain, const char *target, const char *format,
                                     const char *path);

/* Add a file at the lower end of its backing chain; it belongs to the disk. */
SnapsetDisk *snapset_disk_add_backing(SnapsetDisk *disk, const char *format, const char *path);

/* The disk, or file of a backing chain, behind QEMU's node @node; NULL: none. */
const SnapsetDisk *snapset_domain_find_node(const SnapsetDomain *domain, const char *node);
