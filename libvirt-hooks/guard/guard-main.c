/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshot-set-guard: put a guard before a guest's monitor, list the guards that run. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvirt-hooks/guard/keeper.h"

enum {
    DEFAULT_DEADLINE = 2000,
    LONGEST_DEADLINE = 60000,
    STATUS_UNUSED = 3
};

typedef struct {
    const char *monitor, *domain, *judge;
    long deadline;
    bool allow_on_failure;
    int ready_fd;
} Options;

static int
usage(FILE *to)
{
    fputs("Usage: snapshot-set-guard run --monitor PATH --domain NAME --judge PROGRAM\n"
          "           [--deadline MS] [--on-judge-failure deny|allow] [--ready-fd N]\n"
          "       snapshot-set-guard status [--output table|json]\n",
          to);
    return to == stdout ? 0 : 1;
}

static int
complain(const char *what, const char *of)
{
    fprintf(stderr, "snapshot-set-guard: %s '%s'\n", what, of);
    return 1;
}

static bool
read_number(const char *text, long least, long most, long *ret_value)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < least || value > most)
        return false;
    *ret_value = value;
    return true;
}

/* Take one option; false: its value is no good. */
static bool
take_option(Options *options, int option, const char *value)
{
    long number;

    switch (option) {
    case 'm':
        options->monitor = value;
        return *value == '/';
    case 'd':
        options->domain = value;
        return *value != '\0';
    case 'j':
        options->judge = value;
        return *value == '/';
    case 't':
        return read_number(value, 1, LONGEST_DEADLINE, &options->deadline);
    case 'f':
        options->allow_on_failure = strcmp(value, "allow") == 0;
        return options->allow_on_failure || strcmp(value, "deny") == 0;
    default:
        if (!read_number(value, 3, 1 << 20, &number))
            return false;
        options->ready_fd = number;
        return true;
    }
}

/* Returns whether to go on; otherwise it said what is wrong. */
static bool
parse_run(Options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"monitor", required_argument, NULL, 'm'},
        {"domain", required_argument, NULL, 'd'},
        {"judge", required_argument, NULL, 'j'},
        {"deadline", required_argument, NULL, 't'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"on-judge-failure", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == '?')
            return false;
        if (take_option(options, option, optarg))
            continue;
        complain("not a good value:", optarg);
        return false;
    }
    if (options->monitor && options->domain && options->judge && optind == argc)
        return true;
    usage(stderr);
    return false;
}

/* Descriptors of the caller's, but for its own @keep, would hold its pipes open; returns where that
 * one is now. */
static int
close_inherited(int keep)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
    if (keep >= 0 && dup2(keep, STATUS_UNUSED) < 0)
        keep = -1;
    syscall(SYS_close_range, keep >= 0 ? STATUS_UNUSED + 1 : STATUS_UNUSED, ~0U, 0);
    return keep >= 0 ? STATUS_UNUSED : -1;
}

static void
detach(void)
{
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    close(null);
    if (chdir("/") != 0)
        _exit(1);
}

/* Run the keeper in a process that belongs to nobody; true once clients can connect. */
static bool
start_keeper(const SnapsetKeeperSetup *setup, int ready_fd)
{
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) != 0)
        return false;
    pid = fork();
    if (pid == 0) {
        if (setsid() < 0 || (pid = fork()) != 0)
            _exit(pid < 0);
        if (ready_fd >= 0)
            close(ready_fd);
        close(ready[0]);
        detach();
        _exit(snapset_keeper_run(setup, ready[1]));
    }
    close(ready[1]);
    return pid > 0 && read(ready[0], &byte, 1) == 1;
}

static int
run(int argc, char **argv)
{
    Options options = {.deadline = DEFAULT_DEADLINE, .ready_fd = -1};
    SnapsetKeeperSetup setup;
    const char *why;

    if (!parse_run(&options, argc, argv))
        return 1;
    options.ready_fd = close_inherited(options.ready_fd);
    setup = (SnapsetKeeperSetup){
        .setup = {.helper = {options.judge, options.domain, options.deadline},
                  .allow_on_failure = options.allow_on_failure},
        .domain = options.domain,
        .monitor = options.monitor,
    };
    if (!snapset_place_take(&setup.place, options.monitor, &why)) {
        fprintf(stderr, "snapshot-set-guard: cannot guard '%s': %s: %s\n", options.monitor, why,
                strerror(errno));
        return 1;
    }
    if (!start_keeper(&setup, options.ready_fd)) {
        snapset_place_give_back(&setup.place);
        return complain("cannot start the guard of", options.domain);
    }
    if (options.ready_fd >= 0 && write(options.ready_fd, "ready\n", 6) != 6)
        return complain("cannot tell that it is ready, the guard of", options.domain);
    return 0;
}

static int
status(int argc, char **argv)
{
    static const struct option known[] = {{"output", required_argument, NULL, 'o'},
                                          {NULL, 0, NULL, 0}};
    const char *output = "table";
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == '?')
            return 1;
        output = optarg;
    }
    if (optind != argc || (strcmp(output, "json") != 0 && strcmp(output, "table") != 0))
        return usage(stderr);
    return snapset_status_print(strcmp(output, "json") == 0);
}

int
main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "run") == 0)
        return run(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "status") == 0)
        return status(argc - 1, argv + 1);
    return usage(argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
}
