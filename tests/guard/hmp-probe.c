/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says how the judge splits lines of the human monitor, for tests that compare it with QEMU.
 * Standard input as for frame-probe. Output, a line for each: name and words in hexadecimal, a
 * blank before each word, then `;`; or the name and `!` when QEMU cannot read the words.
 */
#include <stdio.h>

#include "common/core/hmp.h"

static void
print_hex(const char *text)
{
    for (; *text != '\0'; text++)
        printf("%02x", (guint8)*text);
}

static void
probe(const char *line)
{
    g_autofree char *name = NULL;
    g_auto(GStrv) words = NULL;

    snapset_hmp_parse(line, &name, &words);
    print_hex(name);
    for (gsize i = 0; words != NULL && words[i] != NULL; i++) {
        putchar(' ');
        print_hex(words[i]);
    }
    puts(words == NULL ? "!" : ";");
}

int
main(void)
{
    gsize length;

    while (scanf("%zu", &length) == 1 && getchar() == '\n') {
        g_autofree char *line = g_malloc0(length + 1);
        if (fread(line, 1, length, stdin) != length)
            return 1;
        probe(line);
    }
    return 0;
}
