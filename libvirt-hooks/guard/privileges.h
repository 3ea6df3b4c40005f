/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guard's processes may do; keeper.h says why. None of this can fail in a way that
 * matters: without privileges to begin with there is nothing to give up. */
#pragma once

/* Let the kernel kill any other process first, as far as we may ask for that. */
void snapset_protect_from_oom_killer(void);

/* Keep, for this process and all it starts, only what reaches files of other users. */
void snapset_keep_file_privileges(void);

/* Use none of them in this process, and use them again. */
void snapset_lower_privileges(void);
void snapset_raise_privileges(void);
