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
 * The command's name and the words after it, NULL-terminated; an empty quoted word is "". What
 * follows an option letter (-n) at once is a word of its own for QEMU, but not here. No words,
 * NULL, when QEMU would not get past them either. Caller frees both.
 */
void snapset_hmp_parse(const char *line, char **ret_name, char ***ret_words);
