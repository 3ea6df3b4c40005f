/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The error domain. */
#include "common/core/error.h"

#include <stdarg.h>

G_DEFINE_QUARK(snapset - error - quark, snapset_error)

gboolean
snapset_throw(GError **error, SnapsetErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, SNAPSET_ERROR, code, message);
    return FALSE;
}

gboolean
snapset_throw_errno(GError **error, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, SNAPSET_ERROR, SNAPSET_ERROR_FAILED, "%s: %s", message, g_strerror(errnum));
    return FALSE;
}

int
snapset_error_exit_code(const GError *error)
{
    if (g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_REFUSED))
        return 2;
    if (g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_PENDING))
        return 3;
    return 1;
}
