/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line to the system log, without memory allocation and without ever waiting, as syslog(3)
 * does both: a log that is full must stop neither a guest's monitor nor its start.
 */
#pragma once

/* @priority as for syslog(3); a message that does not fit the log's buffer is dropped. */
void snapset_log_line(const char *program, int priority, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define snapset_guard_log(...) snapset_log_line("snapshot-set-guard", __VA_ARGS__)
