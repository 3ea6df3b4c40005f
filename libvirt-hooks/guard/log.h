/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line to the system log, without memory allocation and without ever waiting, as syslog(3)
 * does both: a log that is full must not stop a guest's monitor.
 */
#pragma once

/* @priority as for syslog(3); a message that does not fit the log's buffer is dropped. */
void snapset_guard_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
