/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line of QEMU's human monitor, split as QEMU splits it (monitor/hmp.c: get_command_name(),
 * get_str(), monitor_parse_arguments()).
 */
#pragma once

#include "common/core/error.h"

/* QEMU's limits, with the terminating zero. */
#define SNAPSET_HMP_NAME_SIZE 256
#define SNAPSET_HMP_WORD_SIZE 1024

/*
 * The command's name and its first argument. *ret_argument is NULL when there is none; an empty
 * quoted word is "". Caller frees both. FALSE when QEMU would not get past the words either.
 */
gboolean snapset_hmp_parse(const char *line, char **ret_name, char **ret_argument);
