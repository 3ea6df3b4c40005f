/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guarded builtin: "qemu-img snapshot -c|-a|-d" on one image, judged, carried out by the real
 * qemu-img, and recorded in that image. An offline virsh snapshot-create, -revert or -delete runs
 * it once a disk.
 */
#pragma once

#include "common/ops/set.h"

typedef enum {
    SNAPSET_BUILTIN_CREATE = 'c',
    SNAPSET_BUILTIN_APPLY = 'a',
    SNAPSET_BUILTIN_DELETE = 'd',
} SnapsetBuiltin;

/*
 * @set is one image, loaded with SNAPSET_FOR_WRITING; what its report already says of the image (it
 * is locked, it cannot be recorded) does not count here: the real qemu-img decides that. Fails with
 * SNAPSET_ERROR_REFUSED before anything is changed. Else *ret_child is the real one, ended; the
 * caller passes on its output and status, and frees it.
 *
 * @argument is a tag for CREATE; else "tag=TAG", "id=UUID", or as qemu-img takes it: an ID or a tag
 * for APPLY, a tag for DELETE.
 */
gboolean snapset_builtin_run(SnapsetSet *set, SnapsetBuiltin what, const char *argument,
                             SnapsetChild **ret_child, GError **error);
