/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See watch.h; the two tables are the whole list. */
#include "libvirt-hooks/guard/watch.h"

#include <string.h>

typedef struct {
    const char *name;
    unsigned flags; /* 0: known, but not watched so far */
} Watched;

enum {
    ASK = SNAPSET_WATCH_ASK,
    RECORD = SNAPSET_WATCH_RECORD,
    JOB = SNAPSET_WATCH_JOB,
    HMP = SNAPSET_WATCH_HMP,
};

static const Watched qmp_commands[] = {
    {"snapshot-save", ASK | RECORD | JOB},
    {"snapshot-load", ASK | RECORD | JOB},
    {"snapshot-delete", ASK | RECORD | JOB},
    {"blockdev-snapshot", ASK | RECORD},
    {"blockdev-snapshot-sync", ASK | RECORD},
    {"blockdev-snapshot-internal-sync", ASK | RECORD},
    {"blockdev-snapshot-delete-internal-sync", ASK | RECORD},
    {"transaction", ASK | RECORD},
    /* hot-plug: ASK and RECORD here are all it takes, once the judge has rules for it */
    {"blockdev-add", 0},
    {"device_add", 0},
    {NULL, 0},
};

static const Watched hmp_commands[] = {
    {"savevm", ASK | RECORD | HMP},
    {"loadvm", ASK | RECORD | HMP},
    {"delvm", ASK | RECORD | HMP},
    {"snapshot_blkdev", ASK | RECORD | HMP},
    {"snapshot_blkdev_internal", ASK | RECORD | HMP},
    {"snapshot_delete_blkdev_internal", ASK | RECORD | HMP},
    {NULL, 0},
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
verdict(unsigned flags, unsigned *ret_flags)
{
    *ret_flags = flags;
    return flags ? SNAPSET_COMMAND_WATCHED : SNAPSET_COMMAND_PLAIN;
}

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
            return verdict(watched->flags, ret_flags);
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
    if (snapset_read_is(members[EXECUTE], "human-monitor-command"))
        return classify_hmp(members[ARGUMENTS], ret_flags);
    for (const Watched *watched = qmp_commands; watched->name; watched++)
        if (snapset_read_is(members[EXECUTE], watched->name))
            return verdict(watched->flags, ret_flags);
    return SNAPSET_COMMAND_PLAIN;
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
