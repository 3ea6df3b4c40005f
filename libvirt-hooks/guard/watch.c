/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See watch.h; the two tables of commands are the whole list. */
#include "libvirt-hooks/guard/watch.h"

#include <string.h>

typedef struct {
    const char *name;
    unsigned flags;
    bool (*concerns_disks)(SnapsetSpan arguments); /* NULL: it always does */
} Watched;

enum {
    ASK = SNAPSET_WATCH_ASK,
    RECORD = SNAPSET_WATCH_RECORD,
    JOB = SNAPSET_WATCH_JOB,
    HMP = SNAPSET_WATCH_HMP,
};

/* ---- which of the commands that plug disks are about disks at all ---- */

/* A file or block device, a qcow2 image, or what may stand between that and the guest; and none of
 * these can be written to when it says so. */
static bool
adds_disk_node(SnapsetSpan arguments)
{
    static const char *const drivers[] = {"file",     "host_device",  "qcow2",
                                          "throttle", "copy-on-read", NULL};
    SnapsetSpan value;

    if (snapset_read_member(arguments, "read-only", &value) > 0 && *value.at == 't')
        return false;
    if (snapset_read_member(arguments, "driver", &value) == 0)
        return false;
    for (const char *const *driver = drivers; *driver; driver++)
        if (snapset_read_is(value, *driver))
            return true;
    return false;
}

static bool
adds_disk(SnapsetSpan arguments)
{
    SnapsetSpan drive;

    return snapset_read_member(arguments, "drive", &drive) > 0;
}

/* ---- the tables ---- */

static const Watched qmp_commands[] = {
    {"snapshot-save", ASK | RECORD | JOB, NULL},
    {"snapshot-load", ASK | RECORD | JOB, NULL},
    {"snapshot-delete", ASK | RECORD | JOB, NULL},
    {"blockdev-snapshot", ASK | RECORD, NULL},
    {"blockdev-snapshot-sync", ASK | RECORD, NULL},
    {"blockdev-snapshot-internal-sync", ASK | RECORD, NULL},
    {"blockdev-snapshot-delete-internal-sync", ASK | RECORD, NULL},
    {"transaction", ASK | RECORD, NULL},
    {"blockdev-add", RECORD, adds_disk_node},
    {"blockdev-del", RECORD, NULL},
    {"device_add", ASK, adds_disk},
    {"blockdev-mirror", RECORD, NULL},
    {"drive-mirror", RECORD, NULL},
    {"block-commit", RECORD, NULL},
    {"block-stream", RECORD, NULL},
    {NULL, 0, NULL},
};

static const Watched hmp_commands[] = {
    {"savevm", ASK | RECORD | HMP, NULL},
    {"loadvm", ASK | RECORD | HMP, NULL},
    {"delvm", ASK | RECORD | HMP, NULL},
    {"snapshot_blkdev", ASK | RECORD | HMP, NULL},
    {"snapshot_blkdev_internal", ASK | RECORD | HMP, NULL},
    {"snapshot_delete_blkdev_internal", ASK | RECORD | HMP, NULL},
    {NULL, 0, NULL},
};

static bool
is_hmp_blank(int character)
{
    return character == ' ' || (character >= '\t' && character <= '\r');
}

/* Whether the human monitor takes @line for the command @name: blanks before it, a blank, a slash
 * or the end after it. */
static bool
is_hmp_command(SnapsetSpan line, const char *name)
{
    size_t position = 0;
    int character;

    do
        character = snapset_read_character(line, &position);
    while (is_hmp_blank(character));
    for (; *name; name++) {
        if (character != *name)
            return false;
        character = snapset_read_character(line, &position);
    }
    return character == -1 || character == '/' || is_hmp_blank(character);
}

static SnapsetCommand
verdict(const Watched *watched, SnapsetSpan arguments, unsigned *ret_flags)
{
    if (watched->concerns_disks && !watched->concerns_disks(arguments))
        return SNAPSET_COMMAND_PLAIN;
    *ret_flags = watched->flags;
    return SNAPSET_COMMAND_WATCHED;
}

static const char hmp_command[] = "human-monitor-command";

static SnapsetCommand
classify_hmp(SnapsetSpan arguments, unsigned *ret_flags)
{
    SnapsetSpan line;
    unsigned count = snapset_read_member(arguments, "command-line", &line);

    if (count > 1)
        return SNAPSET_COMMAND_BROKEN;
    if (count == 0 || (*line.at != '"' && *line.at != '\''))
        return SNAPSET_COMMAND_PLAIN;
    for (const Watched *watched = hmp_commands; watched->name; watched++)
        if (is_hmp_command(line, watched->name))
            return verdict(watched, arguments, ret_flags);
    return SNAPSET_COMMAND_PLAIN;
}

enum {
    EXECUTE,
    EXEC_OOB,
    ARGUMENTS,
    ID,
    MEMBERS
};

/* The members that decide what is done, found in one walk; false: one stands there twice. */
static bool
find_members(SnapsetSpan command, SnapsetSpan *members)
{
    static const char *const names[MEMBERS] = {"execute", "exec-oob", "arguments", "id"};
    SnapsetSpan name = {0}, value = {0};

    while (snapset_read_next(command, &name, &value)) {
        for (int i = 0; i < MEMBERS; i++) {
            if (!snapset_read_is(name, names[i]))
                continue;
            if (members[i].at)
                return false;
            members[i] = value;
        }
    }
    return true;
}

SnapsetCommand
snapset_watch_classify(SnapsetSpan command, unsigned *ret_flags)
{
    SnapsetSpan members[MEMBERS] = {0};

    *ret_flags = 0;
    if (!find_members(command, members) || (members[EXECUTE].at && members[EXEC_OOB].at))
        return SNAPSET_COMMAND_BROKEN;
    if (members[EXEC_OOB].at)
        return SNAPSET_COMMAND_PLAIN;
    if (!members[EXECUTE].at)
        return SNAPSET_COMMAND_NAMELESS;
    if (snapset_read_is(members[EXECUTE], hmp_command))
        return classify_hmp(members[ARGUMENTS], ret_flags);
    for (const Watched *watched = qmp_commands; watched->name; watched++)
        if (snapset_read_is(members[EXECUTE], watched->name))
            return verdict(watched, members[ARGUMENTS], ret_flags);
    return SNAPSET_COMMAND_PLAIN;
}

bool
snapset_watch_is_open(SnapsetSpan beginning)
{
    bool open = snapset_watch_is(beginning, hmp_command);

    for (const Watched *watched = qmp_commands; watched->name; watched++)
        open |= watched->concerns_disks && snapset_watch_is(beginning, watched->name);
    return open;
}

bool
snapset_watch_is(SnapsetSpan command, const char *name)
{
    SnapsetSpan value;

    return snapset_read_member(command, "execute", &value) == 1 && snapset_read_is(value, name);
}

bool
snapset_watch_enables_oob(SnapsetSpan command)
{
    SnapsetSpan arguments, enable, element = {0};

    if (!snapset_watch_is(command, "qmp_capabilities") ||
        snapset_read_member(command, "arguments", &arguments) == 0 ||
        snapset_read_member(arguments, "enable", &enable) == 0)
        return false;
    while (snapset_read_element(enable, &element))
        if (snapset_read_is(element, "oob"))
            return true;
    return false;
}
