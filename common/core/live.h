/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command about snapshots, or about disks, on its way to a running QEMU, and the rules over it
 * (DESIGN.md, section 9).
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/domain.h"
#include "common/core/report.h"

typedef enum {
    SNAPSET_LIVE_NONE,   /* nothing about snapshots */
    SNAPSET_LIVE_CREATE, /* an internal snapshot */
    SNAPSET_LIVE_LOAD,
    SNAPSET_LIVE_DELETE,
    SNAPSET_LIVE_EXTERNAL, /* overlays */
    SNAPSET_LIVE_ADD_NODE, /* an image is opened; that alone gives it to nobody */
    SNAPSET_LIVE_REMOVE_NODE,
    SNAPSET_LIVE_PLUG, /* the guest gets a disk */
    SNAPSET_LIVE_COPY, /* a disk is being copied to another image, to go on there */
    SNAPSET_LIVE_MOVE, /* data is being moved into an image of a disk's backing chain */
} SnapsetLiveKind;

/* The file of an overlay, which QEMU makes over whatever stands there unless it is to be used. */
typedef struct {
    char *path; /* as QEMU is told it */
    char *format;
    gboolean is_made; /* already */
} SnapsetLiveFile;

typedef struct {
    SnapsetLiveKind kind;
    char *tag;           /* NULL: none given */
    char *id;            /* of the entry to be deleted; NULL: any of that tag */
    gboolean covers_all; /* QEMU itself takes every writable disk (savevm) */
    gboolean in_transaction;
    gboolean is_mixed;     /* a transaction of different snapshots */
    gboolean is_malformed; /* QEMU cannot read it; what was meant cannot be told */
    GPtrArray *nodes;      /* of char *: the node-names it is about, unless it covers all */
    GPtrArray *overlays;   /* of char *: of each of nodes the overlay's node-name or, with a slash,
                              its file; of a copy, where it goes;
                              of a move down, the uppermost that is moved */
    GPtrArray *files;      /* of SnapsetLiveFile *: those of the overlays that are named by file */
    /* of a node that is added, whose name is the only one of nodes */
    char *below;        /* the node that it stands on; NULL: none, or it is inside this command */
    char *path;         /* absolute, of its file; NULL: that of the node below, or none */
    gboolean has_qcow2; /* it, or what it stands on inside this command, is qcow2 */
} SnapsetLiveRequest;

SnapsetLiveRequest *snapset_live_request_new(SnapsetLiveKind kind);
void snapset_live_request_free(SnapsetLiveRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetLiveRequest, snapset_live_request_free)

/* The overlay is to be the file @path; @format: NULL is QEMU's default, qcow2. */
void snapset_live_request_add_file(SnapsetLiveRequest *request, const char *path,
                                   const char *format, gboolean is_made);

/*
 * Does @request leave out one of the writable disks of @domain: coverage, or atomic? Part of the
 * next for what takes or loads snapshots.
 */
void snapset_rules_coverage(const SnapsetDomain *domain, const SnapsetLiveRequest *request,
                            SnapsetReport *report);

/*
 * Judge @request over the writable disks of @domain; @catalog was made of exactly these, in the
 * same order, and of a disk that is being plugged after them.
 */
void snapset_rules_live(const SnapsetCatalog *catalog, const SnapsetDomain *domain,
                        const SnapsetLiveRequest *request, SnapsetReport *report);
