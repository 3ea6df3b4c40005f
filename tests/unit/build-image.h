/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of images for tests, made in memory out of one line of text each:
 *
 *     "a: one@100 two@200+30=B<A >B b: one@100"
 *
 * Words, separated by blanks:
 *
 *     NAME:      begins the image of that file name; all that follows belongs to it
 *     /NAME:     begins the next file of its backing chain; | does so without a name
 *     TAG@DATE   an entry of that tag and date in seconds, and directly after it, in this order,
 *         .NSEC      nanoseconds
 *         +CLOCK     VM clock, seconds
 *         /STATE     VM state size, bytes
 *         %SIZE      disk size, bytes (0)
 *         #ID        qcow2 ID (1, 2, 3, ... in each image)
 *         =RECORD    a record of the entry
 *     ~RECORD    a record whose entry is gone
 *     >UUID      the image's current
 *     !sealed !bitmaps !v2 !no-header !incomplete (the entry before it)
 *     !one-damaged !damaged !two-records !foreign   the state of the record
 *     !missing !unreadable !loop !too-long !remote   how the chain ends, at a file called "end"
 *
 *     RECORD is UUID[FLAGS][*MEMBERS][<PARENT]['TAG']; FLAGS are e external, b base sealed,
 *     f frozen, p protected, i parent was inferred, s single, l parent is libvirt's; PARENT is
 *     a UUID. Without one it is nil: a root.
 *     UUID is a capital letter (16 such bytes), - (nil), ? (the derived identity of the entry
 *     before it) or (TAG@DATE...) (the derived identity of such an entry).
 *
 * A tag may hold \n, \033 and the like, as in C.
 */
#pragma once

#include "common/core/catalog.h"

/* The images of @text; they are freed with the array. */
GPtrArray *build_images(const char *text);

/* The catalogue of @text; its images are freed with it. */
SnapsetCatalog *build_catalog(const char *text);

/*
 * What a ledger says, in the same words: "UUIDFLAGS<PARENT" of each record, then ">CURRENT". Caller
 * frees.
 */
char *build_ledger_text(const SnapsetLedger *ledger);

/* The UUID that a word of the above kind stands for. */
SnapsetUuid build_uuid(const char *word);

/* What a UUID is called in these texts: its letter, -, or its first 8 digits. Caller frees. */
char *build_uuid_name(const SnapsetUuid *uuid);

/* "tag" of a snapshot, with ".LETTER" after it if its identity is a letter; NULL gives "-". */
char *build_snapshot_name(const SnapsetSnapshot *snapshot);
