/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `qemu-img` that stands before the real one: runs plugins, hands `snapshot -c|-a|-d` to ours,
 * and becomes the real qemu-img for everything else.
 *
 * Until it has become another program it allocates no memory, opens nothing that stays open, and
 * changes neither environment, signals nor the order of arguments (getopt never permutes here).
 */
#include "common/io/find-qemu-img.h"
#include "qemu-img-plugin/plugin-search.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How snapset_find_qemu_img() tells any dispatcher from the real one: an ELF note. */
__attribute__((section(".note.snapshot-set"), aligned(4), used)) static const struct {
    uint32_t name_size;
    uint32_t description_size;
    uint32_t type;
    char name[sizeof SNAPSET_DISPATCHER_MARK];
} dispatcher_note = {sizeof SNAPSET_DISPATCHER_MARK, 0, 1, SNAPSET_DISPATCHER_MARK};
_Static_assert(sizeof SNAPSET_DISPATCHER_MARK % 4 == 0, "the name of a note fills whole words");

static char program_name[] = "qemu-img";

/* As QEMU ends: 1 for every error, and its own name before the message. */
static _Noreturn void
fail_to_run(const char *path)
{
    fprintf(stderr, "qemu-img: cannot run '%s': %s\n", path, strerror(errno));
    exit(EXIT_FAILURE);
}

static _Noreturn void
exec_real(char **argv)
{
    char path[PATH_MAX];
    if (snapset_find_qemu_img(path) < 0) {
        fputs("qemu-img: cannot find the real qemu-img; set SNAPSHOT_SET_QEMU_IMG\n", stderr);
        exit(EXIT_FAILURE);
    }
    argv[0] = program_name;
    execv(path, argv);
    fail_to_run(path);
}

/* @argv[0] is replaced; the plugin is spared the search that ends at itself or at us. */
static _Noreturn void
exec_plugin(char *path, char **argv)
{
    char real[PATH_MAX];
    if (snapset_find_qemu_img(real) == 0)
        setenv("SNAPSHOT_SET_QEMU_IMG", real, 1);
    argv[0] = path;
    execv(path, argv);
    fail_to_run(path);
}

/* Die as the child died: a caller that looks at the status sees no difference. */
static _Noreturn void
end_as(int status)
{
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

static _Noreturn void
help(char **argv)
{
    int status = 0;
    signal(SIGCHLD, SIG_DFL); /* ignored, as a parent may have left it, there is no status */
    pid_t child = fork();
    if (child == 0)
        exec_real(argv);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (child < 0) {
        perror("qemu-img: cannot run the real qemu-img");
        exit(EXIT_FAILURE);
    }
    if (status == 0) {
        snapset_print_plugins();
        fflush(stdout);
    }
    end_as(status);
}

/*
 * Read the options before the command as qemu-img does. Returns 'h' for its help, 'c' when
 * argv[optind] is a command, and 0 when qemu-img itself prints something and ends.
 */
static int
read_global_options(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"trace", required_argument, NULL, 'T'},
        {NULL, 0, NULL, 0},
    };
    int option;
    do {
        option = getopt_long(argc, argv, "+:hVT:", long_options, NULL);
    } while (option == 'T');
    if (option == 'h')
        return 'h';
    return option == -1 && optind < argc ? 'c' : 0;
}

/*
 * Whether `snapshot` with these arguments changes a snapshot table, that is, has exactly one of -a,
 * -c and -d, no -l, no help and one file; anything else the real one refuses in its own words.
 *
 * The options are those of QEMU since 10.1. Earlier ones know only some of them, and what only they
 * accept (--f, --fo and --for, ambiguous now) means --force-share, which no change is done with.
 * The leading '-' makes getopt return files in their place, as option 1, where qemu-img lets it
 * move them to the end; the ':' keeps it silent.
 */
static bool
changes_snapshots(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"format", required_argument, NULL, 'f'},
        {"image-opts", no_argument, NULL, 'i'},
        {"list", no_argument, NULL, 'l'},
        {"apply", required_argument, NULL, 'a'},
        {"create", required_argument, NULL, 'c'},
        {"delete", required_argument, NULL, 'd'},
        {"force-share", no_argument, NULL, 'U'},
        {"quiet", no_argument, NULL, 'q'},
        {"object", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    int changes = 0, lists = 0, files = 0, option;
    optind = 0; /* makes getopt start anew */
    while ((option = getopt_long(argc, argv, "-:hf:la:c:d:Uq", long_options, NULL)) != -1) {
        if (option == 'h' || option == '?' || option == ':')
            return false;
        changes += option == 'a' || option == 'c' || option == 'd';
        lists += option == 'l';
        files += option == 1;
    }
    return changes == 1 && lists == 0 && files + argc - optind == 1;
}

/*
 * Become the program that @argv[@at], the command, asks for; return if that is the real one.
 * A plugin gets no trace options: what stands before the command is for the real qemu-img, and
 * keeping them there instead of judging would be a way around the guard.
 */
static void
exec_plugin_for(int argc, char **argv, int at)
{
    char path[PATH_MAX];
    char **command = argv + at;
    if (strcmp(*command, "snapshot") != 0) {
        if (snapset_find_plugin(*command, path) == 0)
            exec_plugin(path, command);
        return;
    }
    /* the word before the command is free to hold the plugin's name: there is always one */
    if (changes_snapshots(argc - at, command) && snapset_find_plugin("snapshot-set", path) == 0)
        exec_plugin(path, command - 1);
}

int
main(int argc, char **argv)
{
    char *bare[] = {program_name, NULL};
    if (argc < 1) /* kernels before 5.18 allow it: there is no argv[0] to replace */
        exec_real(bare);
    if (getenv("SNAPSHOT_SET_INSIDE")) /* our own command runs it: it has judged already */
        exec_real(argv);
    switch (read_global_options(argc, argv)) {
    case 'h':
        help(argv);
    case 'c':
        exec_plugin_for(argc, argv, optind);
    }
    exec_real(argv);
}
