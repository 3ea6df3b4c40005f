/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a running QEMU is told to use as overlays (blockdev-snapshot-sync). It makes them
 * one after another, over whatever stands there, and leaves those behind that it made before one
 * that cannot be used. So what can be known is looked at before.
 */
#pragma once

#include "common/core/live.h"

/*
 * Report what stands against the files of @request: tag-exists, atomic, no-space. Only absolute
 * names are looked at.
 */
void snapset_live_files_judge(const SnapsetLiveRequest *request, SnapsetReport *report);
