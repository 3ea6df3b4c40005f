/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folders for tests: in memory where there is such a place, as everything of ours is synced. */
#pragma once

#include <glib.h>

/* A new, empty folder. */
char *scratch_new(void);

/* Remove it and all that is in it, and free its name. */
void scratch_free(char *folder);
