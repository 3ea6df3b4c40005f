/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a person names a snapshot: tag=TAG or id=UUID (or a prefix of 4 digits or more), never bare,
 * because QEMU takes a bare word for an ID in one command and for a tag in the next.
 */
#pragma once

#include "common/core/catalog.h"
#include "common/core/report.h"

typedef struct {
    const char *tag; /* borrowed from the text; NULL: by identity */
    const char *prefix;
} SnapsetSelector;

/* Parse; FALSE after adding selector-bare or selector-unknown to @report. */
gboolean snapset_selector_parse(const char *text, SnapsetSelector *ret_selector,
                                SnapsetReport *report) G_GNUC_WARN_UNUSED_RESULT;

/* Every snapshot that @selector fits; owned array. */
GPtrArray *snapset_selector_match(const SnapsetSelector *selector, const SnapsetCatalog *catalog);

/*
 * The one snapshot that @text names; NULL after adding what is wrong to @report: selector-bare,
 * selector-unknown, or where several fit the reason why: identity-collision, tag-duplicate,
 * selector-ambiguous.
 */
SnapsetSnapshot *snapset_selector_resolve(const char *text, const SnapsetCatalog *catalog,
                                          SnapsetReport *report);
