/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What qemu-img snapshot-set wants of libvirt. It is a module of its own, loaded for --domain only,
 * so that nobody else waits for libvirt's libraries or has to install them.
 *
 * All functions fail with SNAPSET_ERROR_FAILED and libvirt's own words, and names and XML are as
 * virsh(1) takes and shows them.
 */
#pragma once

#include "common/core/error.h"

/* A connection and one of its domains. */
typedef struct SnapsetVirtDomain SnapsetVirtDomain;

/* How a snapshot is to be taken. */
typedef enum {
    SNAPSET_VIRT_EXTERNAL = 1 << 0, /* onto overlays that exist already */
    SNAPSET_VIRT_QUIESCE = 1 << 1,  /* the guest agent freezes the file systems */
    SNAPSET_VIRT_REDEFINE = 1 << 2, /* nothing is taken: only libvirt's metadata is written */
    SNAPSET_VIRT_CURRENT = 1 << 3,  /* with REDEFINE: and it is the current one */
} SnapsetVirtHow;

/* One snapshot that libvirt knows. */
typedef struct {
    char *name;
    char *parent; /* NULL: a root */
    gboolean is_current;
    gboolean is_external; /* of some disk */
} SnapsetVirtSnapshot;

typedef struct {
    /* Connect to @uri (NULL: libvirt's default) and find the domain of that name, or UUID. */
    SnapsetVirtDomain *(*open)(const char *uri, const char *name, GError **error);
    void (*close)(SnapsetVirtDomain *domain);
    gboolean (*is_active)(SnapsetVirtDomain *domain);

    /* Its XML: as it runs, if it does, or as it is defined. Caller frees. */
    char *(*describe)(SnapsetVirtDomain *domain, gboolean as_defined, GError **error);

    gboolean (*create)(SnapsetVirtDomain *domain, const char *xml, SnapsetVirtHow how,
                       GError **error);
    gboolean (*revert)(SnapsetVirtDomain *domain, const char *name, GError **error);
    gboolean (*remove)(SnapsetVirtDomain *domain, const char *name, gboolean children,
                       GError **error);

    /* Let libvirt forget a snapshot; the images keep it. */
    gboolean (*forget)(SnapsetVirtDomain *domain, const char *name, GError **error);

    /* Every snapshot it knows, of SnapsetVirtSnapshot *, parents first. Caller unrefs. */
    GPtrArray *(*list)(SnapsetVirtDomain *domain, GError **error);
} SnapsetVirtDriver;

/* The module's one symbol, and its name. */
extern const SnapsetVirtDriver snapset_virt_driver;
#define SNAPSET_VIRT_DRIVER_SYMBOL "snapset_virt_driver"
