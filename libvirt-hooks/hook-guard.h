/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Putting the guard in front of a domain's monitor, and finding what QEMU was started with. */
#pragma once

#include "common/core/domain.h"
#include "common/core/policy.h"

/*
 * Start the guard of @domain, whose monitor socket libvirt has just opened. Returns once it
 * listens in the socket's place; FALSE with SNAPSET_ERROR_FAILED, and the socket as it was.
 */
gboolean snapset_hook_insert_guard(const SnapsetDomain *domain, const SnapsetPolicy *policy,
                                   GError **error);

/*
 * The snapshot that the domain's QEMU was told to load when it was started (-loadvm, which libvirt
 * up to 10.9 reverts with). Caller frees; NULL: none, or it cannot be told.
 */
char *snapset_hook_loaded_tag(const SnapsetDomain *domain);
