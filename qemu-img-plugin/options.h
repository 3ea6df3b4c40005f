/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: what all commands share, and what each has of its own. */
#pragma once

#include "common/ops/machine.h"

typedef enum {
    SNAPSET_OUTPUT_HUMAN,
    SNAPSET_OUTPUT_JSON,
    SNAPSET_OUTPUT_DOT,
    SNAPSET_OUTPUT_SVG,
} SnapsetOutput;

/* Options that only some commands take. */
typedef enum {
    SNAPSET_TAKES_ALL = 1 << 0,
    SNAPSET_TAKES_REPAIR = 1 << 1,
    SNAPSET_TAKES_DESCRIPTION = 1 << 2,
    SNAPSET_TAKES_SAVE_CURRENT = 1 << 3,
    SNAPSET_TAKES_CHILDREN = 1 << 4,
    SNAPSET_TAKES_DRAWINGS = 1 << 5,   /* --output=dot|svg */
    SNAPSET_TAKES_NO_IMAGE = 1 << 6,   /* images may be left out */
    SNAPSET_WRITES = 1 << 7,           /* takes --dry-run, and no -U */
    SNAPSET_TAKES_GIVING_UP = 1 << 11, /* --without-missing, --keep-written */
    SNAPSET_TAKES_PROGRESS = 1 << 9,
    SNAPSET_TAKES_ALLOW = 1 << 10,    /* follows from what is allowable */
    SNAPSET_WANTS_DOMAIN = 1 << 12,   /* --domain, and no images */
    SNAPSET_TAKES_MACHINE = 1 << 13,  /* --qmp in place of images, --device */
    SNAPSET_TAKES_EXTERNAL = 1 << 14, /* --external, --overlay-format, --quiesce */
    SNAPSET_TAKES_OVERLAYS = 1 << 15, /* --overlay-dir, --relative-backing */
    SNAPSET_WANTS_A_WORD = 1 << 8,    /* only --allow counts: no policy speaks for a person */
} SnapsetTakes;

typedef struct SnapsetOptions SnapsetOptions;

typedef struct {
    const char *name;
    const char *operands; /* before the images, as in the synopsis; "" : none */
    const char *summary;
    guint operand_count;
    SnapsetTakes takes;
    guint32 allowable; /* bit 1 << rule: --allow RULE has a meaning here */
    gboolean (*run)(SnapsetOptions *options, GError **error);
} SnapsetCommand;

#define SNAPSET_MAY(rule) (1u << SNAPSET_RULE_##rule)

/* What the command line said. */
struct SnapsetOptions {
    const SnapsetCommand *command;
    char *format;
    gboolean force_share, quiet, progress, image_opts, dry_run;
    gboolean all, repair, children, without_missing, keep_written;
    gboolean external, relative_backing, quiesce;
    char *description, *save_current, *overlay_dir, *overlay_format;
    char *domain, *connect;
    char *qmp, **devices;
    SnapsetOutput output;
    GPtrArray *objects;             /* of char * */
    SnapsetVerdicts verdicts;       /* policy and --allow together */
    char **operands;                /* operand_count of them, then the images */
    char *help;                     /* the text of --help, if that was asked for; else NULL */
    struct SnapsetDomainLink *link; /* with --domain; else NULL */
    SnapsetMachine *machine;        /* once opened, with --qmp; else NULL */
    SnapsetSet *set;                /* once opened; a machine's is the machine's own */
    gboolean told;                  /* what is to be said of the outcome was printed */
};

/* Parse; FALSE with SNAPSET_ERROR_USAGE. With --help only options->help is filled in. */
gboolean snapset_options_parse(SnapsetOptions *options, const SnapsetCommand *command, int argc,
                               char **argv, GError **error);
void snapset_options_clear(SnapsetOptions *options);

/* The images as sources; NULL with SNAPSET_ERROR_USAGE. Caller unrefs. */
GPtrArray *snapset_options_sources(const SnapsetOptions *options, GError **error);

/*
 * Load the images into options->set, with --qmp those of options->machine; for writing, recover
 * first what a crash left of them. Returns FALSE with an error; what rules have to say is in the
 * set's report.
 */
gboolean snapset_options_open(SnapsetOptions *options, SnapsetAccess access, GError **error);
