/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about snapshots and disks out of QMP text. */
#pragma once

#include "common/core/live.h"

/*
 * What the snapshot command @text asks for (QEMU, qapi/: migration.json, block-core.json,
 * transaction.json; human-monitor-command is looked into). NULL with SNAPSET_ERROR_MALFORMED when
 * it is none that is known here, or cannot be read as a command, though QEMU might.
 */
SnapsetLiveRequest *snapset_qmp_request_parse(const char *text, gsize size, GError **error);
