/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which QMP commands the guard looks at, and what it does about them. */
#pragma once

#include "libvirt-hooks/guard/qmp-read.h"

enum {
    SNAPSET_WATCH_ASK = 1,    /* ask the judge before QEMU gets it */
    SNAPSET_WATCH_RECORD = 2, /* have it recorded once QEMU has done it */
    SNAPSET_WATCH_JOB = 4,    /* it is done when the job that it starts is */
    SNAPSET_WATCH_HMP = 8,    /* the answer is a text that tells success by not saying Error */
};

typedef enum {
    SNAPSET_COMMAND_PLAIN,    /* pass it on */
    SNAPSET_COMMAND_WATCHED,  /* *ret_flags says how */
    SNAPSET_COMMAND_NAMELESS, /* no command name in it (yet) */
    SNAPSET_COMMAND_BROKEN, /* QEMU would refuse it, and what it means is not certain: refuse it */
} SnapsetCommand;

/* What the message, or beginning of a message, @command is. */
SnapsetCommand snapset_watch_classify(SnapsetSpan command, unsigned *ret_flags);

/* Whether what is not there yet of @beginning, the beginning of a message, decides about it: the
 * command's name is known, and its arguments matter. */
bool snapset_watch_is_open(SnapsetSpan beginning);

/* Whether @command is the QMP command @name. */
bool snapset_watch_is(SnapsetSpan command, const char *name);

/* Whether it asks for out-of-band execution, in the negotiation at the start. */
bool snapset_watch_enables_oob(SnapsetSpan command);
