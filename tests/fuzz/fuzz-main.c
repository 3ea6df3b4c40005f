/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Run the files named on the command line through a fuzz target, once each. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        g_autoptr(GError) error = NULL;
        gsize size = 0;
        if (!g_file_get_contents(argv[i], &data, &size, &error)) {
            fprintf(stderr, "%s\n", error->message);
            return 1;
        }
        g_autofree guint8 *exact = g_memdup2(data, size); /* no byte more, for the sanitizers */
        LLVMFuzzerTestOneInput(exact, size);
    }
    return argc > 1 ? 0 : 1;
}
