/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules (DESIGN.md, section 5) as pure functions of what the images hold and what is asked.
 * Each adds what it finds to the report. What only the host knows (locks, space) is added by
 * common/ops.
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/report.h"

/* The most bytes a tag may have; QEMU cuts longer ones silently. */
#define SNAPSET_TAG_MAX 255

/* Everything that can be said of the set as it stands. */
void snapset_rules_check(const SnapsetCatalog *catalog, SnapsetReport *report);

/*
 * May a machine be started on these images? Refused is only what is recorded, and what QEMU itself
 * would load without a word; what is inferred or unproven, or cannot be loaded, warns.
 */
void snapset_rules_start(const SnapsetCatalog *catalog, SnapsetReport *report);

/*
 * May image @index become a disk of the machine that runs on all others? As at its start, of the
 * tags that this image has.
 */
void snapset_rules_plug(const SnapsetCatalog *catalog, guint index, SnapsetReport *report);

/* May a snapshot called @tag be taken of all images? */
void snapset_rules_create(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report);

typedef enum {
    SNAPSET_TO_APPLY,
    SNAPSET_TO_DELETE,
} SnapsetPurpose;

/*
 * Is @snapshot one moment for certain, and in reach on all images? Part of the next two; a running
 * machine's are judged by this and by common/core/live.h.
 */
void snapset_rules_whole(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                         SnapsetPurpose purpose, SnapsetReport *report);

/* May @snapshot be applied to all images? */
void snapset_rules_apply(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                         SnapsetReport *report);

/* May @snapshot be deleted from all images? */
void snapset_rules_delete(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                          SnapsetReport *report);

/* May all entries called @tag be declared one moment? */
void snapset_rules_adopt(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report);

/* Do all images stand at the same point of the lineage? */
void snapset_rules_current(const SnapsetCatalog *catalog, SnapsetReport *report);

/* Is @tag one that may be given at all: tag-empty, tag-invalid, tag-numeric? */
void snapset_rules_tag(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report);

/* Does some image have @tag already: tag-exists. */
void snapset_rules_exists(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report);

/* ---- backing chains (rules-chain.c) ---- */

/* Is @base, as far as records prove it, no longer what it was when @overlay was made on it? */
gboolean snapset_chain_has_changed(const SnapsetImage *overlay, const SnapsetImage *base);

/*
 * chain-broken: is each backing file there, and what it was when its overlay was made? And is none
 * of the images itself such a backing file, which a machine must not write to?
 */
void snapset_rules_chain(const SnapsetCatalog *catalog, SnapsetReport *report);

/* The same of the backing files alone. */
void snapset_rules_links(const SnapsetCatalog *catalog, SnapsetReport *report);

/* The same, and may each image get another overlay? Or is its chain as long as it can be? */
void snapset_rules_overlays(const SnapsetCatalog *catalog, SnapsetReport *report);

/*
 * The same of what applying @snapshot depends on: of an external one the chains from its overlays
 * down; of an internal one that no overlay stands on the images it is applied to.
 */
void snapset_rules_chain_of(const SnapsetCatalog *catalog, const SnapsetSnapshot *snapshot,
                            SnapsetReport *report);

/* The identity-collision of all snapshots that share @tag. */
void snapset_rules_collision(const SnapsetCatalog *catalog, const char *tag, SnapsetReport *report);
