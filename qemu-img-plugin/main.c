/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img snapshot-set: one table of commands. */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "qemu-img-plugin/commands.h"
#include "qemu-img-plugin/domain.h"
#include "qemu-img-plugin/print.h"

#define MAY_SAVE (SNAPSET_MAY(TAG_NUMERIC) | SNAPSET_MAY(CURRENT_MISMATCH) | SNAPSET_MAY(NO_SPACE))
#define MAY_MISS                                                                                   \
    (SNAPSET_MAY(SET_PARTIAL) | SNAPSET_MAY(SET_TOO_SMALL) | SNAPSET_MAY(IDENTITY_UNPROVEN))

static const SnapsetCommand commands[] = {
    {"list", "", "show the snapshots that all images have", 0,
     SNAPSET_TAKES_ALL | SNAPSET_TAKES_MACHINE, 0, snapset_cmd_list},
    {"tree", "", "show which snapshot each came from", 0,
     SNAPSET_TAKES_ALL | SNAPSET_TAKES_DRAWINGS | SNAPSET_TAKES_MACHINE, 0, snapset_cmd_tree},
    {"show", "SELECTOR", "show one snapshot in full", 1, SNAPSET_TAKES_MACHINE, 0,
     snapset_cmd_show},
    {"check", "", "test every rule over the images", 0,
     SNAPSET_TAKES_REPAIR | SNAPSET_TAKES_MACHINE | SNAPSET_WRITES, G_MAXUINT32, snapset_cmd_check},
    {"create", "TAG", "take a snapshot of all images", 1,
     SNAPSET_TAKES_DESCRIPTION | SNAPSET_TAKES_EXTERNAL | SNAPSET_TAKES_OVERLAYS |
         SNAPSET_TAKES_PROGRESS | SNAPSET_TAKES_MACHINE | SNAPSET_WRITES,
     MAY_SAVE | SNAPSET_MAY(COVERAGE), snapset_cmd_create},
    {"apply", "SELECTOR", "bring all images back to a snapshot", 1,
     SNAPSET_TAKES_SAVE_CURRENT | SNAPSET_TAKES_OVERLAYS | SNAPSET_TAKES_PROGRESS |
         SNAPSET_TAKES_MACHINE | SNAPSET_WRITES,
     MAY_SAVE | MAY_MISS | SNAPSET_MAY(COVERAGE) | SNAPSET_MAY(CHAIN_BROKEN), snapset_cmd_apply},
    {"delete", "SELECTOR", "delete a snapshot from all images", 1,
     SNAPSET_TAKES_CHILDREN | SNAPSET_TAKES_PROGRESS | SNAPSET_TAKES_MACHINE | SNAPSET_WRITES,
     MAY_MISS | SNAPSET_MAY(COVERAGE) | SNAPSET_MAY(NO_SPACE), snapset_cmd_delete},
    {"adopt", "SELECTOR", "record that equal tags are one snapshot", 1,
     SNAPSET_WRITES | SNAPSET_WANTS_A_WORD,
     SNAPSET_MAY(IDENTITY_COLLISION) | SNAPSET_MAY(SET_PARTIAL), snapset_cmd_adopt},
    {"accept", "", "record that the images belong together as they stand", 0, SNAPSET_WRITES, 0,
     snapset_cmd_accept},
    {"protect", "SELECTOR", "keep a snapshot from being deleted", 1, SNAPSET_WRITES, 0,
     snapset_cmd_protect},
    {"unprotect", "SELECTOR", "allow a snapshot to be deleted", 1, SNAPSET_WRITES, 0,
     snapset_cmd_unprotect},
    {"describe", "SELECTOR TEXT", "keep a text with a snapshot", 2, SNAPSET_WRITES, 0,
     snapset_cmd_describe},
    {"recover", "", "finish or undo interrupted operations", 0,
     SNAPSET_TAKES_NO_IMAGE | SNAPSET_TAKES_GIVING_UP | SNAPSET_WRITES, 0, snapset_cmd_recover},
    {"sync", "", "tell libvirt what the images of a domain have", 0,
     SNAPSET_WANTS_DOMAIN | SNAPSET_WRITES, 0, snapset_domain_sync},
};

static void
print_usage(FILE *out)
{
    fprintf(out, "Usage: qemu-img snapshot-set COMMAND [OPTION...] IMAGE...\n\n"
                 "Snapshots over sets of disk images: all images or none.\n\nCommands:\n");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\nA SELECTOR is tag=TAG or id=UUID.\n"
                 "'qemu-img snapshot-set COMMAND --help' shows a command's options.\n");
}

static const SnapsetCommand *
find_command(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* A result that did not reach its reader is none. */
static gboolean
flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return TRUE;
    snapset_print_error("cannot write to standard output");
    return FALSE;
}

/* A stream that was closed would be an image's descriptor next, and get what is printed. */
static gboolean
fill_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    return fd >= 0 && close(fd) == 0;
}

/* Every file that is changed is held open: chains of many disks are more than the usual 1,024. */
static void
raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* if that fails, opening does, and says so */
    }
}

/* Of a refusal all reasons, of any other failure the one. */
static void
print_outcome(const SnapsetOptions *options, const GError *error)
{
    const SnapsetReport *report = options->set != NULL ? options->set->report : NULL;
    gboolean refused = g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_REFUSED) ||
                       g_error_matches(error, SNAPSET_ERROR, SNAPSET_ERROR_PENDING);

    if (options->told)
        return;
    if (report != NULL && (error == NULL || refused))
        snapset_print_report(report, error == NULL, options->quiet);
    /* What stands in the report is not said twice. */
    if (error != NULL && !(refused && report != NULL && snapset_report_is_denied(report)))
        snapset_print_error("%s", error->message);
}

static int
run(const SnapsetCommand *command, int argc, char **argv)
{
    SnapsetOptions options = {0};
    g_autoptr(GError) error = NULL;
    gboolean done = snapset_options_parse(&options, command, argc, argv, &error);

    if (done && options.help != NULL)
        printf("%s", options.help);
    else if (done)
        done = command->run(&options, &error);
    print_outcome(&options, error);
    snapset_options_clear(&options);
    if (!flush_output())
        return 1;
    return done ? 0 : snapset_error_exit_code(error);
}

int
main(int argc, char **argv)
{
    if (!fill_streams())
        return 1;
    raise_file_limit();
    setlocale(LC_ALL, "");
    if (argc < 2) {
        snapset_print_error("expecting a command; see 'qemu-img snapshot-set --help'");
        return 1;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return flush_output() ? 0 : 1;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("qemu-img-snapshot-set " SNAPSET_VERSION "\n");
        return flush_output() ? 0 : 1;
    }
    if (strcmp(argv[1], "snapshot") == 0)
        return snapset_cmd_snapshot(argc - 1, argv + 1);
    const SnapsetCommand *command = find_command(argv[1]);
    if (command == NULL) {
        snapset_print_error("there is no command '%s'; see 'qemu-img snapshot-set --help'",
                            argv[1]);
        return 1;
    }
    return run(command, argc - 1, argv + 1);
}
