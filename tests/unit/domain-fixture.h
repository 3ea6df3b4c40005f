/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain with real images and a live journal. Here qemu-img takes the place of QEMU: it breaks
 * seals, and gives the disks of one snapshot different dates, as transactions do.
 */
#pragma once

#include "common/io/file.h"
#include "common/ops/domain-images.h"

/* The domain's, and its journal's name. */
#define FIXTURE_UUID "c0ffee00-0123-4567-89ab-cdef01234567"

/* A domain over images a and b, in a folder of its own. Images have names of one letter. */
typedef struct {
    char *folder;
    SnapsetDomain *domain;
} Fixture;

void fixture_set_up(Fixture *fixture, gconstpointer data);
void fixture_tear_down(Fixture *fixture, gconstpointer data);

typedef struct {
    const char *name;
    void (*run)(Fixture *, gconstpointer);
} FixtureTest;

/* Have these tests run, each with a domain of its own, as /@program/NAME. */
void fixture_add_tests(const char *program, const FixtureTest *tests, gsize count);

/* ---- what happens ---- */

char *fixture_path(const Fixture *fixture, const char *name);

/* qemu-img with these arguments, the last of which is an image's name. */
void fixture_qemu_img(const Fixture *fixture, const char *arguments, const char *name);

/* The image @name is a disk of the domain from now on. */
void fixture_add_disk(Fixture *fixture, const char *name);

/* The image's auto-clear features, or incompatible ones, as QEMU would leave them. */
void fixture_put_byte(const Fixture *fixture, const char *name, goffset offset, guint8 byte);

/* The image's file, locked as by a running QEMU until it is closed. */
SnapsetFd fixture_lock(const Fixture *fixture, const char *name);

/* What the guard would note of the domain as it is now. */
SnapsetLiveEvent *fixture_event(const Fixture *fixture, SnapsetLiveEventKind kind, const char *tag);

/*
 * Words: "start", or "began" for a start some time ago; "+TAG" a snapshot is taken of all disks,
 * ">TAG" loaded, "-TAG" deleted, each noted in the journal. A word in brackets happens without
 * being noted.
 */
void fixture_run(const Fixture *fixture, const char *story);

/* Replay the journal, which must succeed; @closed: the machine is off now. */
void fixture_replay(const Fixture *fixture, gboolean closed);

/* ---- what came of it ---- */

/* The journal's path. */
char *fixture_journal(const Fixture *fixture);

gboolean fixture_has_journal(const Fixture *fixture);

SnapsetImage *fixture_read(const Fixture *fixture, const char *name);

/* The check sum of all its bytes. */
char *fixture_bytes(const Fixture *fixture, const char *name);

/*
 * Compare what these images hold with @want: "e<b" for each snapshot with a recorded parent, "e<-"
 * for a root, "e<?" for one whose parent nobody knows, "e<ib" for an inferred one, "e/" for one
 * that some image lacks; then ">TAG" where each image stands, with "!" if it is sealed.
 */
void fixture_expect(const Fixture *fixture, const char *names, const char *want);
