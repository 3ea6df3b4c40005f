/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --domain: the images are those of a libvirt domain, and libvirt itself takes, applies and deletes
 * its snapshots, so that virsh(1) always knows of them. Everything is judged here before libvirt is
 * asked, and recorded afterwards in images that are not in use.
 */
#pragma once

#include "qemu-img-plugin/options.h"

/* The domain that a command line named, connected to. */
typedef struct SnapsetDomainLink SnapsetDomainLink;

/* Connect and look the domain up. NULL with SNAPSET_ERROR_FAILED. */
SnapsetDomainLink *snapset_domain_link_open(const char *uri, const char *name, GError **error);
void snapset_domain_link_free(SnapsetDomainLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapsetDomainLink, snapset_domain_link_free)

/* Add to the images of @set, which are its disks, what was done to them since it runs. */
void snapset_domain_link_remember(const SnapsetDomainLink *link, SnapsetSet *set);

/* Its writable disks as sources; SNAPSET_ERROR_USAGE when there is none. Caller unrefs. */
GPtrArray *snapset_domain_link_sources(SnapsetDomainLink *link, GError **error);

/* What create, apply, delete and sync do with --domain; as the commands themselves. */
gboolean snapset_domain_create(SnapsetOptions *options, SnapsetUuid *ret_identity, GError **error);
gboolean snapset_domain_apply(SnapsetOptions *options, GError **error);
gboolean snapset_domain_delete(SnapsetOptions *options, GError **error);
gboolean snapset_domain_sync(SnapsetOptions *options, GError **error);
