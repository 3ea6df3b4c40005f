/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Selectors and tags as a person types them: they name something or are refused, printably. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/core/format.h"
#include "common/core/rules.h"
#include "common/core/selector.h"
#include "tests/unit/build-image.h"

static void
check_printable(const char *text)
{
    g_assert(g_utf8_validate(text, -1, NULL));
    for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at))
        g_assert(!g_unichar_iscntrl(g_utf8_get_char(at)));
}

static void
check_report(const SnapsetReport *report)
{
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        check_printable(violation->message);
        if (violation->hint != NULL)
            check_printable(violation->hint);
    }
}

/* What is printed to be typed into a shell comes back as it was. */
static void
check_selector_text(const char *tag)
{
    g_autofree char *selector = snapset_format_selector(tag);
    g_auto(GStrv) words = NULL;

    check_printable(selector);
    g_assert(g_shell_parse_argv(selector, NULL, &words, NULL));
    g_assert(g_strv_length(words) == 1);
    g_assert(strcmp(selector, "id=UUID") == 0 || strcmp(words[0] + strlen("tag="), tag) == 0);
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static SnapsetCatalog *catalog;
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autofree char *escaped = snapset_format_escaped(text);
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);
    SnapsetUuid uuid;

    if (catalog == NULL)
        catalog = build_catalog("a: x@1=A y@2=As z@3=B t@5 t@5 u@6 b: x@1=A z@4=C y@3=Ds u@900#7");
    check_printable(escaped);
    check_selector_text(text);
    SnapsetSnapshot *found = snapset_selector_resolve(text, catalog, report);
    g_assert((found != NULL) == (report->violations->len == 0));
    snapset_rules_create(catalog, text, report);
    check_report(report);
    if (snapset_uuid_parse(text, &uuid)) {
        char again[SNAPSET_UUID_TEXT_SIZE];
        snapset_uuid_format(&uuid, again);
        g_assert(g_ascii_strcasecmp(text, again) == 0);
        g_assert(snapset_uuid_has_prefix(&uuid, text));
    }
    return 0;
}
