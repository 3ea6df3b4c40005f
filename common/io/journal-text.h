/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Journals as text, for common/io/journal.c. */
#pragma once

#include "common/io/journal.h"

/* A journal without images, path and lock. */
SnapsetJournal *snapset_journal_alloc(const char *operation);

/* The text of its file. Caller frees. */
char *snapset_journal_encode(const SnapsetJournal *journal);

/* What that text says; NULL: it is none. */
SnapsetJournal *snapset_journal_decode(const char *text);
