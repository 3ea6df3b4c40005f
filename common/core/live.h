/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A snapshot command on its way to a running QEMU, and the rules over it (DESIGN.md, section 9).
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
} SnapsetLiveKind;

typedef struct {
    SnapsetLiveKind kind;
    char *tag;           /* NULL: none given */
    char *id;            /* of the entry to be deleted; NULL: any of that tag */
    gboolean covers_all; /* QEMU itself takes every writable disk (savevm) */
    gboolean in_transaction;
    gboolean is_mixed;     /* a transaction of different snapshots */
    gboolean is_malformed; /* QEMU cannot read it; what was meant cannot be told */
    GPtrArray *nodes;      /* of char *: the node-names it is about, unless it covers all */
} SnapsetLiveRequest;

SnapsetLiveRequest *snapset_live_request_new(SnapsetLiveKind kind);
void snapset_live_request_free(SnapsetLiveRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetLiveRequest, snapset_live_request_free)

/*
 * Judge @request over the writable disks of @domain; @catalog was made of exactly these, in the
 * same order.
 */
void snapset_rules_live(const SnapsetCatalog *catalog, const SnapsetDomain *domain,
                        const SnapsetLiveRequest *request, SnapsetReport *report);
