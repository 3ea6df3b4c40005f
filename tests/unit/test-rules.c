/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules: which of them speak, and of which images, for every situation. The sets are written
 * as tests/unit/build-image.h says.
 */
#include "common/core/rules.h"

#include <string.h>
#include <time.h>

#include "tests/unit/build-image.h"

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONGEST HUNDRED HUNDRED TEN TEN TEN TEN TEN "01234" /* 255 bytes, all digits */

/* "rule[tag](image image)" of each violation, "~" before a mere warning, ", " between. */
static char *
print_report(const SnapsetReport *report)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        g_autofree char *images = g_strjoinv(" ", violation->images);
        g_string_append_printf(out, "%s%s%s", i > 0 ? ", " : "",
                               violation->verdict == SNAPSET_WARN ? "~" : "",
                               snapset_rule_name(violation->rule));
        if (violation->tag != NULL)
            g_string_append_printf(out, "[%s]", violation->tag);
        if (*images != '\0')
            g_string_append_printf(out, "(%s)", images);
        /* one line that can be shown as it is, and no full stop */
        g_assert_true(g_utf8_validate(violation->message, -1, NULL));
        g_assert_null(strpbrk(violation->message, "\n\r\t\033"));
        g_assert_false(g_str_has_suffix(violation->message, "."));
    }
    return g_string_free(out, FALSE);
}

static SnapsetSnapshot *
first_of_tag(const SnapsetCatalog *catalog, const char *tag)
{
    for (guint i = 0; i < catalog->snapshots->len; i++) {
        SnapsetSnapshot *snapshot = snapset_catalog_snapshot(catalog, i);
        if (strcmp(snapshot->tag, tag) == 0)
            return snapshot;
    }
    g_error("no snapshot '%s'", tag);
}

static SnapsetReport *
ask(const SnapsetCatalog *catalog, const char *question, const char *tag)
{
    SnapsetReport *report = snapset_report_new(NULL);

    if (strcmp(question, "check") == 0)
        snapset_rules_check(catalog, report);
    else if (strcmp(question, "start") == 0)
        snapset_rules_start(catalog, report);
    else if (strcmp(question, "plug") == 0) /* the last one */
        snapset_rules_plug(catalog, catalog->images->len - 1, report);
    else if (strcmp(question, "create") == 0)
        snapset_rules_create(catalog, tag, report);
    else if (strcmp(question, "apply") == 0)
        snapset_rules_apply(catalog, first_of_tag(catalog, tag), report);
    else if (strcmp(question, "delete") == 0)
        snapset_rules_delete(catalog, first_of_tag(catalog, tag), report);
    else if (strcmp(question, "adopt") == 0)
        snapset_rules_adopt(catalog, tag, report);
    else if (strcmp(question, "current") == 0)
        snapset_rules_current(catalog, report);
    else
        g_error("no question '%s'", question);
    return report;
}

#define NINE                                                                                       \
    "a: x@1 b: x@1000 c: x@2000 d: x@3000 e: x@4000 f: x@5000 g: x@6000 h: x@7000 i: x@8000"

static const struct {
    const char *question, *tag, *name, *set, *violations;
} rows[] = {
    /* create: tags */
    {"create", "x", "nothing-there", "a: b:", ""},
    {"create", "x", "other-tags", "a: y@1 b: y@1", ""},
    {"create", "", "empty", "a: b:", "tag-empty[]"},
    {"create", "a\nb", "line-break", "a:", "tag-invalid[a\nb]"},
    {"create", "7", "digits", "a:", "tag-numeric[7]"},
    {"create", "7", "digits-that-are-an-id", "a: x@1#7 b: x@1#6", "tag-numeric[7](a)"},
    {"create", "1700000000", "epoch", "a: x@1", ""},
    {"create", "1700000000", "epoch-that-is-an-id", "a: x@1#1700000000", //
     "tag-numeric[1700000000](a)"},
    {"create", "one", "word-that-is-an-id", "a: x@1 b: x@1#one", "tag-numeric[one](b)"},
    {"create", "x", "exists", "a: x@1 b: x@1", "tag-exists[x](a b)"},
    {"create", "x", "exists-on-one", "a: b: x@1", "tag-exists[x](b)"},
    {"create", "x", "exists-twice-on-one", "a: x@1 x@2 b:", "tag-exists[x](a)"},
    {"create", "X", "exists-in-another-case", "a: x@1", ""},
    {"create", "7", "exists-and-numeric", "a: 7@1#3", "tag-numeric[7], tag-exists[7](a)"},
    {"create", "7", "exists-and-is-its-own-id", "a: 7@1#7", "tag-numeric[7](a), tag-exists[7](a)"},
    {"create", "", "empty-that-exists", "a: @1", "tag-empty[], tag-exists[](a)"},
    /* create: where the images stand */
    {"create", "n", "currents-agree", "a: x@1=A >A b: x@1=A >A", ""},
    {"create", "n", "currents-differ", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B",
     "current-mismatch(a b)"},
    {"create", "n", "one-records-no-current", "a: x@1=A >A b: x@1=A", ""},
    {"create", "n", "not-stopped-by-collisions", "a: x@1 b: x@1000", ""},
    {"create", "n", "not-stopped-by-partial", "a: x@1 b:", ""},
    {"create", "n", "not-stopped-by-bitmaps", "a: !bitmaps", ""},

    /* where the images stand */
    {"current", NULL, "none-records", "a: b: c:", ""},
    {"current", NULL, "one-records", "a: b: x@1=A >A c:", ""},
    {"current", NULL, "all-agree", "a: x@1=A >A b: x@1=A >A c: x@1=A >A", ""},
    {"current", NULL, "new-disk-never-mismatches", "a: x@1=A >A b: c: x@1=A >A", ""},
    {"current", NULL, "third-differs", "a: x@1=A >A b: x@1=A >A c: y@1=B >B",
     "current-mismatch(a b c)"},
    {"current", NULL, "second-differs", "a: x@1=A >A b: y@1=B >B c: x@1=A >A",
     "current-mismatch(a b c)"},
    {"current", NULL, "differ-beside-a-new-disk", "a: b: x@1=A >A c: y@1=B >B",
     "current-mismatch(b c)"},
    {"current", NULL, "unproven", "a: x@1=As >A b: x@2=Bs >B", ""},
    {"current", NULL, "colliding", "a: x@1=As >A b: x@900=Bs >B", "current-mismatch(a b)"},
    {"current", NULL, "accepted", "a: >Z b: >Z", ""},
    {"current", NULL, "accepted-apart", "a: >Y b: >Z", "current-mismatch(a b)"},
    {"current", NULL, "nine-images", "a: >A b: >B c: >C d: >D e: >E f: >F g: >G h: >H i: >I",
     "current-mismatch(a b c d e f g h i)"},
    {"current", NULL, "seals-do-not-matter", "a: x@1=A >A !sealed b: x@1=A >A", ""},

    /* apply */
    {"apply", "x", "complete", "a: x@1 b: x@1", ""},
    {"apply", "x", "complete-recorded", "a: x@1=A*2 b: x@1=A*2", ""},
    {"apply", "x", "partial", "a: x@1 b:", "set-partial[x](b)"},
    {"apply", "x", "partial-of-many", "a: x@1 b: c: x@1 d:", "set-partial[x](b d)"},
    {"apply", "x", "colliding-is-partial-too", "a: x@1 b: x@900", "set-partial[x](b)"},
    {"apply", "x", "unproven", "a: x@1 b: x@2", "identity-unproven[x](a b)"},
    {"apply", "x", "unproven-and-partial",
     "a: x@1 b: x@2 c:", "identity-unproven[x](a b), set-partial[x](c)"},
    {"apply", "x", "too-small", "a: x@1=A*3 b: x@1=A*3", "set-too-small[x]"},
    {"apply", "x", "too-small-by-one-record", "a: x@1=A*3 b: x@1=A", "set-too-small[x]"},
    {"apply", "x", "larger-set-is-partial", "a: x@1=A*1 b:", "set-partial[x](b)"},
    {"apply", "x", "too-small-and-partial", "a: x@1=A*3 b:", "set-partial[x](b), set-too-small[x]"},
    {"apply", "x", "covers-unknown", "a: x@1=A", ""},
    {"apply", "x", "single-covers-nothing", "a: x@1=As*3", ""},
    {"apply", "x", "bitmap", "a: x@1 b: x@1 !bitmaps", "load-would-fail[x](b)"},
    {"apply", "x", "bitmap-on-both", "a: x@1 !bitmaps b: x@1 !bitmaps",
     "load-would-fail[x](a), load-would-fail[x](b)"},
    {"apply", "x", "bitmap-where-it-is-not", "a: x@1 b: !bitmaps", "set-partial[x](b)"},
    {"apply", "x", "other-size-in-version-2", "a: x@1%512 !v2", "load-would-fail[x](a)"},
    {"apply", "x", "same-size-in-version-2", "a: x@1 !v2", ""},
    {"apply", "x", "other-size-in-version-3", "a: x@1%512", ""},
    {"apply", "x", "not-a-local-file", "a: x@1%512 !no-header", ""},
    {"apply", "x", "protected", "a: x@1=Ap", ""},
    {"apply", "x", "other-current", "a: x@1=A y@2=B >B", ""},
    {"apply", "x", "currents-differ", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B", ""},

    /* delete */
    {"delete", "x", "complete", "a: x@1 b: x@1", ""},
    {"delete", "x", "partial", "a: x@1 b:", "set-partial[x](b)"},
    {"delete", "x", "unproven", "a: x@1 b: x@2", "identity-unproven[x](a b)"},
    {"delete", "x", "too-small", "a: x@1=A*2", "set-too-small[x]"},
    {"delete", "x", "protected", "a: x@1=Ap b: x@1=Ap", "snapshot-protected[x](a b)"},
    {"delete", "x", "protected-on-one", "a: x@1=Ap b: x@1=A", "snapshot-protected[x](a b)"},
    {"delete", "x", "protected-and-partial",
     "a: x@1=Ap b:", "snapshot-protected[x](a), set-partial[x](b)"},
    {"delete", "x", "everything", "a: x@1=Asp b: x@2=Bs c: d: x@3=Cs*9",
     "snapshot-protected[x](a b d), identity-unproven[x](a b d), set-partial[x](c)"},
    {"delete", "x", "bitmap-does-not-matter", "a: x@1 !bitmaps", ""},
    {"delete", "x", "other-size-does-not-matter", "a: x@1%512 !v2", ""},

    /* adopt */
    {"adopt", "x", "unproven", "a: x@1 b: x@2", ""},
    {"adopt", "x", "complete", "a: x@1 b: x@1", ""},
    {"adopt", "x", "missing", "a: x@1 b: x@2 c:", "set-partial[x](c)"},
    {"adopt", "x", "missing-everywhere", "a: b:", "set-partial[x](a b)"},
    {"adopt", "x", "colliding", "a: x@1 b: x@900", "identity-collision[x](a b)"},
    {"adopt", "x", "colliding-and-missing",
     "a: x@1 b: x@900 c:", "identity-collision[x](a b), set-partial[x](c)"},
    {"adopt", "x", "twice", "a: x@1 x@2 b: x@1", "tag-duplicate[x](a)"},
    {"adopt", "x", "twice-on-both", "a: x@1 x@2 b: x@1 x@2",
     "tag-duplicate[x](a), tag-duplicate[x](b)"},
    {"adopt", "x", "other-tag-collides", "a: x@1 y@1 b: x@2 y@900", ""},

    /* start */
    {"start", NULL, "nothing", "a: b:", ""},
    {"start", NULL, "complete", "a: x@1/9 b: x@1", ""},
    {"start", NULL, "partial", "a: x@1 b:", ""},
    {"start", NULL, "duplicate", "a: x@1 x@2", ""},
    {"start", NULL, "unproven", "a: x@1 b: x@2", "~identity-unproven[x](a b)"},
    {"start", NULL, "collision-that-loads", "a: x@1/9 b: x@900", "identity-collision[x](a b)"},
    {"start", NULL, "collision-that-loads-from-the-other", "a: x@1 b: x@900/9",
     "identity-collision[x](a b)"},
    {"start", NULL, "collision-without-vm-state", "a: x@1 b: x@900", "~identity-collision[x](a b)"},
    {"start", NULL, "collision-not-on-every-disk",
     "a: x@1/9 b: x@900/9 c:", "~identity-collision[x](a b)"},
    {"start", NULL, "collisions", "a: x@1/9 y@1 b: x@900 y@900",
     "identity-collision[x](a b), ~identity-collision[y](a b)"},
    {"start", NULL, "unproven-and-collision", "a: x@1/9 y@1 b: x@900 y@2",
     "identity-collision[x](a b), ~identity-unproven[y](a b)"},
    {"start", NULL, "current-mismatch", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B",
     "current-mismatch(a b)"},
    {"start", NULL, "new-disk", "a: x@1=A >A b:", ""},

    /* plug */
    {"plug", NULL, "nothing", "a: x@1/9 b:", ""},
    {"plug", NULL, "first", "a: x@1/9 x@2", ""},
    {"plug", NULL, "same", "a: x@1/9 b: x@1", ""},
    {"plug", NULL, "unproven", "a: x@1 b: x@2", "~identity-unproven[x](a b)"},
    {"plug", NULL, "collision-that-loads", "a: x@1/9 b: x@1 c: x@900",
     "identity-collision[x](a b c)"},
    {"plug", NULL, "collision-that-loads-from-it", "a: x@1 b: x@900/9",
     "identity-collision[x](a b)"},
    {"plug", NULL, "collision-without-vm-state", "a: x@1 b: x@900", "~identity-collision[x](a b)"},
    {"plug", NULL, "collision-not-on-every-disk", "a: x@1/9 b: c: x@900/9",
     "~identity-collision[x](a c)"},
    {"plug", NULL, "collision-of-others", "a: x@1/9 y@1 b: x@900 y@1 c: y@1", ""},
    {"plug", NULL, "with-one-of-two", "a: x@1/9 b: x@900 c: x@900", "identity-collision[x](a b c)"},
    {"plug", NULL, "current-mismatch", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B", ""},
    {"plug", NULL, "in-the-base", "a: x@1/9 b: | x@900", "~identity-collision[x](a b)"},

    /* check: finds all */
    {"check", NULL, "nothing", "", ""},
    {"check", NULL, "clean", "a: x@1 y@2 b: x@1 y@2", ""},
    {"check", NULL, "clean-recorded", "a: x@1=A*2 >A !sealed b: x@1=A*2 >A !sealed", ""},
    {"check", NULL, "duplicate", "a: x@1 x@2 y@3", "tag-duplicate[x](a)"},
    {"check", NULL, "duplicate-once-an-image", "a: x@1 x@1 x@1 b: x@1 x@1 x@1",
     "tag-duplicate[x](a), tag-duplicate[x](b)"},
    {"check", NULL, "tag-is-an-id", "a: a@1#1 1@2#9", "tag-numeric[1](a)"},
    {"check", NULL, "tag-is-a-later-id", "a: 9@1#1 a@2#9", "tag-numeric[9](a)"},
    {"check", NULL, "tag-is-its-own-id", "a: 1@1#1", ""},
    {"check", NULL, "tag-is-its-own-id-and-another's-later", "a: 1@1#1 b@2#1", "tag-numeric[1](a)"},
    {"check", NULL, "tag-is-its-own-id-and-another's-before", "a: b@1#1 1@2#1",
     "tag-numeric[1](a)"},
    {"check", NULL, "tags-swapped-with-ids", "a: 2@1#1 1@2#2",
     "tag-numeric[2](a), tag-numeric[1](a)"},
    {"check", NULL, "tag-is-an-id-elsewhere", "a: 7@1#1 b: 7@1#1 y@2#8 c: 7@1#1 y@2#7",
     "tag-numeric[7](c), set-partial[y](a)"},
    {"check", NULL, "digits", "a: 77@1#1", ""},
    {"check", NULL, "invalid", "a: \\033x@1", "tag-invalid[\033x](a)"},
    {"check", NULL, "not-utf-8", "a: \\377@1", "tag-invalid[\377](a)"},
    {"check", NULL, "empty-tag", "a: x@1 @2", "tag-empty[](a)"},
    {"check", NULL, "empty-tag-twice", "a: @1 @2", "tag-empty[](a), tag-duplicate[](a)"},
    {"check", NULL, "empty-tag-on-both", "a: @1 b: @1", "tag-empty[](a), tag-empty[](b)"},
    {"check", NULL, "partial", "a: x@1 b:", "set-partial[x](b)"},
    {"check", NULL, "unproven", "a: x@1 b: x@2", "identity-unproven[x](a b)"},
    {"check", NULL, "unproven-and-partial",
     "a: x@1 b: x@2 c:", "identity-unproven[x](a b), set-partial[x](c)"},
    {"check", NULL, "collision", "a: x@1 b: x@900", "identity-collision[x](a b)"},
    {"check", NULL, "collision-of-nine", NINE, "identity-collision[x](a b c d e f g h i)"},
    {"check", NULL, "collision-once-a-tag", "a: x@1 y@1 b: x@900 y@900 c: x@5000 y@1",
     "identity-collision[x](a b c), identity-collision[y](a c b)"},
    {"check", NULL, "current-mismatch", "a: x@1=A y@2=B >A b: x@1=A y@2=B >B",
     "current-mismatch(a b)"},
    {"check", NULL, "record-damaged", "a: x@1 !damaged b: x@1", "record-damaged(a)"},
    {"check", NULL, "one-slot-damaged", "a: x@1 b: x@1 !one-damaged", "record-damaged(b)"},
    {"check", NULL, "two-records", "a: !two-records", "record-damaged(a)"},
    {"check", NULL, "foreign-record", "a: !foreign", "image-unsupported(a)"},
    {"check", NULL, "everything", "a: x@1 y@1 d@5 d@5 !damaged b: x@900 y@2 d@5 d@5 c: x@1 y@3",
     "record-damaged(a), tag-duplicate[d](a), tag-duplicate[d](b), identity-collision[x](a c b), "
     "identity-unproven[y](a b c), set-partial[d](c), set-partial[d](c)"},
};

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(rows[row].set);
    g_autoptr(SnapsetReport) report = ask(catalog, rows[row].question, rows[row].tag);
    g_autofree char *printed = print_report(report);

    g_assert_cmpstr(printed, ==, rows[row].violations);
    /* a question leaves the report's verdicts as they were */
    for (guint i = 0; i < SNAPSET_RULE_COUNT; i++)
        g_assert_cmpint(report->verdicts.of[i], ==, SNAPSET_DENY);
}

/* Which tags may be given, in a set where "5", "id" and "1700000009" are IDs. */
static const struct {
    const char *name, *tag, *rule;
} tags[] = {
    {"letter", "x", NULL},
    {"words", "before the upgrade", NULL},
    {"blank", " ", NULL},
    {"utf-8", "gr\303\266\303\237e", NULL},
    {"beyond-the-first-plane", "\xf0\x9f\x92\xbe", NULL},
    {"selector-like", "tag=x", NULL},
    {"slash", "a/b", NULL},
    {"dash", "-x", NULL},
    {"quotes", "'\"", NULL},
    {"backslash", "a\\b", NULL},
    {"digit-and-letter", "1a", NULL},
    {"digits-and-blank", "1 2", NULL},
    {"signed", "-1", NULL},
    {"decimal", "1.0", NULL},
    {"other-digits", "\xd9\xa1", NULL}, /* U+0661: no digit to QEMU */
    {"ten-digits", "1700000000", NULL},
    {"ten-zeros", "0000000000", NULL},
    {"255-bytes", "x" HUNDRED HUNDRED TEN TEN TEN TEN TEN "0123", NULL},

    {"empty", "", "tag-empty"},

    {"256-bytes", "x" LONGEST, "tag-invalid"},
    {"tab", "a\tb", "tag-invalid"},
    {"line-break", "a\n", "tag-invalid"},
    {"escape", "\033[0m", "tag-invalid"},
    {"delete", "a\x7f", "tag-invalid"},
    {"unit-separator", "\x1f", "tag-invalid"},
    {"control-of-two-bytes", "a\xc2\x85", "tag-invalid"}, /* U+0085 */
    {"latin-1", "\xe9", "tag-invalid"},
    {"cut-short", "a\xc3", "tag-invalid"},
    {"overlong", "\xc0\x80", "tag-invalid"},
    {"surrogate", "\xed\xa0\x80", "tag-invalid"},
    {"past-unicode", "\xf4\x90\x80\x80", "tag-invalid"},

    {"one-digit", "7", "tag-numeric"},
    {"zero", "0", "tag-numeric"},
    {"nine-digits", "170000000", "tag-numeric"},
    {"eleven-digits", "17000000000", "tag-numeric"},
    {"255-digits", LONGEST, "tag-numeric"},
    {"an-id", "5", "tag-numeric"},
    {"an-id-that-is-a-word", "id", "tag-numeric"},
    {"an-id-of-ten-digits", "1700000009", "tag-numeric"},
};

static void
test_tag(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(SnapsetCatalog) catalog = build_catalog("a: x@1#5 b: x@1#id y@2#1700000009");
    g_autoptr(SnapsetReport) report = snapset_report_new(NULL);

    snapset_rules_tag(catalog, tags[row].tag, report);
    g_assert_cmpuint(report->violations->len, ==, tags[row].rule != NULL);
    if (tags[row].rule != NULL) {
        const SnapsetViolation *violation = report->violations->pdata[0];
        g_assert_cmpstr(snapset_rule_name(violation->rule), ==, tags[row].rule);
        g_assert_cmpstr(violation->tag, ==, tags[row].tag);
    }
}

/* Refusals name images, tags, identities, dates; and the hint the command that resolves them. */
static const struct {
    const char *question, *tag, *set, *message, *hint;
} messages[] = {
    {"check", NULL, "a.qcow2: b@1795290621=A b.qcow2: b@1795290623=B",
     "tag 'b' is two different snapshots: 41414141 on a.qcow2 (2026-11-21 19:50:21), 42424242 on "
     "b.qcow2 (2026-11-21 19:50:23)",
     "adopt 'tag=b' --allow identity-collision IMAGE..."},
    {"check", NULL, "a: b@1=A b: b@2=B c: b@3=C",
     "tag 'b' is 3 different snapshots: 41414141 on a (1970-01-01 00:00:01), 42424242 on b "
     "(1970-01-01 00:00:02), 43434343 on c (1970-01-01 00:00:03)",
     "'id=UUID'"},
    {"check", NULL, NINE, "tag 'x' is 9 different snapshots: ", NULL},
    {"create", "b", "a: b@1=A b: c: b@2=B",
     "tag 'b' exists already: 41414141 on a (1970-01-01 00:00:01), 42424242 on c (1970-01-01 "
     "00:00:02)",
     "qemu-img snapshot-set delete 'tag=b' IMAGE..."},
    {"create", "", "a:", "a tag may not be empty", "give the snapshot a name"},
    {"create", "a\nb", "a:", "tag 'a\\nb' is not 1 to 255 bytes", NULL},
    {"create", "77", "a:", "tag '77' reads as an ID to QEMU", "other than digits"},
    {"create", "2", "a: x@1 y@2 b:", "tag '2' is the ID of another snapshot on a", NULL},
    {"apply", "x", "a: x@1=A b: c:", "snapshot 'x' (41414141) is missing on b, c",
     "--allow set-partial"},
    {"apply", "x", "a: x@1=A b: c: d: e: f: g: h: i: j:",
     "is missing on b, c, d, e, f, g, h, i and 1 more", NULL},
    {"apply", "x", "a: x@1=A*3", "snapshot 'x' (41414141) was taken over 3 images, and 1 is given",
     "--allow set-too-small"},
    {"apply", "x", "a: x@1=A*3 b: x@1=A*3",
     "snapshot 'x' (41414141) was taken over 3 images, and 2 are given", NULL},
    {"apply", "x", "a: x@1 b: x@2",
     "nothing proves that tag 'x' is one moment: ", "qemu-img snapshot-set adopt 'tag=x' IMAGE..."},
    {"apply", "x", "a: x@1 !bitmaps", "image with a dirty bitmap, and a has one",
     "qemu-img bitmap --remove a BITMAP"},
    {"apply", "x", "a: x@1%512 !v2", "version 2 image a cannot be resized",
     "qemu-img amend -o compat=1.1 a"},
    {"delete", "x", "a: x@1=Ap", "snapshot 'x' is protected",
     "qemu-img snapshot-set unprotect 'tag=x' IMAGE..."},
    {"check", NULL, "a: x@1=A >A b: y@2=B >B",
     "the images stand at different points: a at 'x' (41414141), b at 'y' (42424242)",
     "qemu-img snapshot-set accept IMAGE..."},
    {"current", NULL, "a: >A b: >B", "a at no snapshot (41414141), b at no snapshot (42424242)",
     NULL},
    {"check", NULL, "a: x@1 x@2", "a has tag 'x' more than once", "'id=UUID'"},
    {"check", NULL, "\\033a: \\033x@1", "on \\x1ba tag '\\x1bx' is not valid", NULL},
    {"check", NULL, "a: !damaged", "the record in a is damaged: recorded identities", "--repair"},
    {"check", NULL, "a: !one-damaged", "one of the two copies of the record in a", "--repair"},
    {"check", NULL, "a: !two-records", "a holds two records", "qemu-img convert"},
    {"check", NULL, "a: @1", "a has a snapshot without a tag", "'id=UUID'"},
    {"check", NULL, "a: !foreign", "a layout this version does not know", NULL},
    {"adopt", "x", "a: x@1 b:", "tag 'x' is missing on b", "--allow set-partial"},
    {"adopt", "x", "a: x@1 x@2", "a has tag 'x' more than once", "'id=UUID'"},
};

static void
test_message(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autofree char *set = g_strcompress(messages[row].set);
    g_autoptr(SnapsetCatalog) catalog = build_catalog(set);
    g_autoptr(SnapsetReport) report = ask(catalog, messages[row].question, messages[row].tag);
    gboolean found = FALSE;

    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        if (strstr(violation->message, messages[row].message) == NULL)
            continue;
        found = TRUE;
        if (messages[row].hint == NULL)
            continue;
        g_assert_nonnull(violation->hint);
        if (strstr(violation->hint, messages[row].hint) == NULL)
            g_assert_cmpstr(violation->hint, ==, messages[row].hint);
    }
    if (!found) {
        const SnapsetViolation *first = report->violations->len > 0
                                            ? report->violations->pdata[0]
                                            : &(SnapsetViolation){.message = (char *)"nothing"};
        g_assert_cmpstr(first->message, ==, messages[row].message);
    }
}

/* A name that goes on behind a zero byte cannot be written as a set in text. */
static void
test_nul_in_tag(void)
{
    g_autoptr(GPtrArray) images =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    SnapsetImage *image = snapset_image_new("a", "qcow2");
    SnapsetMoment moment = {1, 0, 0, NULL};

    snapset_image_add_entry(image, (SnapsetBytes){(const guint8 *)"1", 1},
                            (SnapsetBytes){(const guint8 *)"ab\0cd", 5}, &moment);
    g_ptr_array_add(images, image);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_autoptr(SnapsetReport) report = ask(catalog, "check", NULL);
    g_autofree char *printed = print_report(report);
    g_assert_cmpstr(printed, ==, "tag-invalid[ab](a)");
    const SnapsetViolation *violation = report->violations->pdata[0];
    g_assert_nonnull(strstr(violation->message, "behind a zero byte"));
}

int
main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    tzset();
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/rules/%s/%s", rows[i].question, rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(tags); i++) {
        g_autofree char *path = g_strdup_printf("/rules/tag/%s", tags[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_tag);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(messages); i++) {
        g_autofree char *path = g_strdup_printf("/rules/message/%" G_GSIZE_FORMAT, i);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_message);
    }
    g_test_add_func("/rules/nul-in-tag", test_nul_in_tag);
    return g_test_run();
}
