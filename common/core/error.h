/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one error domain, and what each error means to the caller's exit code.
 *
 * Functions that can fail take a GError ** last, return FALSE, NULL or -1 on failure and leave
 * their out-parameters untouched.
 */
#pragma once

#include <glib.h>

#define SNAPSET_ERROR (snapset_error_quark())

/* One code per cause that a caller branches on. */
typedef enum {
    SNAPSET_ERROR_FAILED,    /* I/O or internal error */
    SNAPSET_ERROR_USAGE,     /* the command line, or an argument, makes no sense */
    SNAPSET_ERROR_MALFORMED, /* foreign bytes break the format they claim to have */
    SNAPSET_ERROR_NOT_QCOW2, /* the bytes do not claim to be qcow2 at all */
    SNAPSET_ERROR_SHORT,     /* more bytes are needed to go on parsing */
    SNAPSET_ERROR_LOCKED,    /* someone else has the image open */
    SNAPSET_ERROR_CHANGING,  /* the image changed each time it was read */
    SNAPSET_ERROR_NO_ROOM,   /* the image's header cannot hold the record */
    SNAPSET_ERROR_REFUSED,   /* a rule said no; the report says which */
    SNAPSET_ERROR_PENDING,   /* an interrupted operation must be recovered first */
} SnapsetErrorCode;

GQuark snapset_error_quark(void);

/* Set @error and return FALSE, so that an error exit is one line. */
gboolean snapset_throw(GError **error, SnapsetErrorCode code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* As snapset_throw(), with ": " and the text of @errnum after the message. */
gboolean snapset_throw_errno(GError **error, int errnum, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* The exit code of a command that failed with @error: 1, 2 or 3 (DESIGN.md, section 7). */
int snapset_error_exit_code(const GError *error);
