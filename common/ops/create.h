/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What create shares with apply --save-current. */
#pragma once

#include "common/core/stamp-plan.h"
#include "common/ops/engine.h"

/* A snapshot about to be taken. */
typedef struct {
    SnapsetUuid identity;
    const char *tag;
    const char *description; /* NULL: none */
} SnapsetNewSnapshot;

/* Add everything that stands against taking it to the set's report. */
void snapset_create_judge(SnapsetSet *set, const SnapsetNewSnapshot *wanted);

/*
 * Its record in image @index, bound to @entry (NULL: not made yet; the record's size does not
 * depend on it). Caller frees.
 */
SnapsetRecord *snapset_create_record(const SnapsetSet *set, guint index,
                                     const SnapsetNewSnapshot *wanted, const SnapsetEntry *entry);
