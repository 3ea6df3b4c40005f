/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our socket in the place of libvirt's monitor socket, which goes on beside it under another name.
 *
 * Addresses of sockets are short and folders of domains are not, so all names are relative to the
 * folder: the calls that need it make it the working directory and then leave it for "/".
 */
#pragma once

#include <stdbool.h>

/* What libvirt's socket is called from then on. */
#define SNAPSET_QEMU_SOCKET "monitor.qemu"

typedef struct {
    int folder;     /* O_PATH */
    char name[108]; /* of our socket, in it */
    int listener;   /* our socket, not blocking */
    unsigned long long inode;
} SnapsetPlace;

/* Take the place of the socket @path. On failure all is as before, and *ret_why says what failed,
 * with errno. */
bool snapset_place_take(SnapsetPlace *place, const char *path, const char **ret_why);

/* Undo that. */
void snapset_place_give_back(const SnapsetPlace *place);

/* Whether our socket still stands where we put it. */
bool snapset_place_is_ours(const SnapsetPlace *place);

/* Remove our socket, if it is ours. */
void snapset_place_remove(const SnapsetPlace *place);

/* A connection to QEMU, not blocking; -1 with errno. EAGAIN: it has not accepted the last one. */
int snapset_place_connect(const SnapsetPlace *place);
