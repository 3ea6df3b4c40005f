/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said to a person: errors, refusals, warnings, results. */
#pragma once

#include "common/core/report.h"
#include "qemu-img-plugin/options.h"

/* "qemu-img: snapshot-set: MESSAGE" on standard error. */
void snapset_print_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
void snapset_print_warning(const char *format, ...) G_GNUC_PRINTF(1, 2);

/*
 * All violations on standard error: refusals, and unless @quiet warnings, each with its hint. What
 * would be refused is a warning when the command went on (@done), as those that only read do.
 */
void snapset_print_report(const SnapsetReport *report, gboolean done, gboolean quiet);

/* The set's notes and a line of result on standard output, unless --quiet or --output=json. */
void snapset_print_result(const SnapsetOptions *options, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* "IMAGE -> FILE" of every image whose active file is another one now; none with JSON. */
void snapset_print_moves(const SnapsetOptions *options);

/* Where there is no snapshot at all, but there are overlays: which, on standard error. */
void snapset_print_unrecorded(const SnapsetOptions *options);

/* The whole set as it is after a command, as an object. */
void snapset_print_set(const SnapsetOptions *options);

/*
 * The result of a command that did something (@done, say "created") with the snapshot of that
 * identity: one line, or under --output=json the snapshot as an object.
 */
void snapset_print_snapshot(const SnapsetOptions *options, const char *done,
                            const SnapsetUuid *identity);
