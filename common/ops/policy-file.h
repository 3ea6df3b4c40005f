/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy of this host. */
#pragma once

#include "common/core/policy.h"

/*
 * Read the policy file ($SNAPSHOT_SET_POLICY, else /etc/snapshot-set/policy.conf) for @domain
 * (NULL: none). A missing file means the defaults; so does a broken one, and then *ret_complaint
 * (caller frees) says what is wrong with it.
 */
SnapsetPolicy snapset_policy_load(const char *domain, char **ret_complaint);
