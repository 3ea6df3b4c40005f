/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The environment that libvirt leaves out. */
#pragma once

/*
 * Take over from the environment of the libvirt daemon, our parent, what its folders and ours
 * depend on when it is a user's own (qemu:///session): the XDG_* variables, of which libvirt passes
 * none on to hooks. What is set already stays. Must come before anyone asks GLib for a folder; the
 * guard and the judge inherit it. With a parent that cannot be read, the defaults of these
 * variables hold. For root it does nothing: the folders of qemu:///system are fixed.
 */
void snapset_hook_complete_environment(void);
