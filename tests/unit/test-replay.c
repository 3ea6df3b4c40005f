/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a live journal's events make of one image's record. Images are written as
 * tests/unit/build-image.h says, events so:
 *
 *     S:UUID[!]     the start: the current that the record named, ! if the image was known to stand
 *                   there
 *     C:UUID[,UUID] a snapshot is taken: this image's entry, and after a comma that of the image
 *                   named first
 *     L:UUID D:UUID it is loaded, deleted
 *     P:UUID[!]     at second 150 the disk is plugged in; as S for the rest
 *     X:UUID[!],OVERLAY  an overlay is made on it where it stands: the external snapshot OVERLAY
 *     O:OVERLAY,UUID[!]  it is made as such an overlay, on an image that stands there
 *     Y:UUID[!], Z:-,UUID[!]  its disk will go on in another image; it is the other image
 *     M:UUID[!]     data is moved into it
 *     @PATH, #INODE the events after it are about another file
 *
 * and what comes out as the records, `NAME*MEMBERS<PARENT` with i after the name for an inferred
 * parent, then `>CURRENT`, `!` if that is certain, `frozen` if it is a backing file now, `=` if
 * nothing changed. The journal begins at second 100.
 */
#include "common/ops/replay.h"

#include <string.h>

#include "tests/unit/build-image.h"

static const struct {
    const char *name, *image, *events, *want;
} rows[] = {
    {"nothing", "a:", "S:-!", ">- !="},
    {"no-part-in-it", "a: x@1=A >A !sealed", "@b S:-! C:(y@200)", "A*0<- >A !="},
    {"other-inode", "a: x@1=A >A", "#6 S:A! C:(y@200)", "A*0<- >A="},
    {"nil-entry", "a:", "S:-! C:- L:-", ">- !="},

    /* taking */
    {"first", "a: x@200", "S:-! C:(x@200)", "x*1<- >x !"},
    {"chain", "a: x@200 y@201 z@202", "S:-! C:(x@200) C:(y@201) C:(z@202)",
     "x*1<- y*1<x z*1<y >z !"},
    {"onto-a-recorded-one", "a: x@1=A y@200 >A", "S:A! C:(y@200)", "A*0<- y*1<A >y !"},
    {"same-tag-in-one-second", "a: x@200.1 x@200.2", "S:-! C:(x@200.1) D:(x@200.1) C:(x@200.2)",
     "x@200.1*1<- x@200.2*1<x@200.1 >x@200.2 !"},
    {"dates-differ-by-image", "a: x@200", "S:-! C:(x@200),(x@201)", "x@201*2<- >x@201 !"},
    {"other-image-had-no-part", "a: x@200", "S:-! C:(x@200),-", "x*1<- >x !"},
    {"dates-differ-this-is-first", "a: x@200", "S:-! C:(x@200),(x@200)", "x*2<- >x !"},

    /* loading: P6 */
    {"load-and-take", "a: a@200 b@201 c@202 d@203 e@204",
     "S:-! C:(a@200) C:(b@201) C:(c@202) C:(d@203) L:(b@201) C:(e@204)",
     "a*1<- b*1<a c*1<b d*1<c e*1<b >e !"},
    {"load-of-a-recorded-one", "a: x@1=A y@2=B >B", "S:B! L:(x@1)", "A*0<- B*0<- >A !"},
    {"load-of-one-without-record", "a: x@1 y@200", "S:- L:(x@1) C:(y@200)", "y*1<x >y !"},
    {"load-without-guard", "a: x@1=A y@2=B >B", "L:(x@1)", "A*0<- B*0<- >A !"},
    {"load-makes-certain", "a: x@1=A y@2=B z@200 >B", "S:B L:(x@1) C:(z@200)",
     "A*0<- B*0<- z*1<A >z !"},

    /* deleting: what came from it still needs the record */
    {"deleted", "a: x@1=A >A", "S:A! C:(y@200) D:(y@200)", "A*0<- y*1<A >y !"},
    {"deleted-and-again", "a: y@201", "S:-! C:(y@200) D:(y@200) C:(y@201)",
     "y@200*1<- y@201*1<y@200 >y@201 !"},
    {"gone-and-nothing-said", "a: z@202", "S:-! C:(x@200) C:(z@202)", "x*1<- z*1<x >z !"},

    /* broken seals: where the image stood is not known */
    {"seal-broken", "a: x@1=A y@200 >A", "S:A C:(y@200)", "A*0<- yi*1<A >y !"},
    {"seal-broken-only-the-first", "a: x@1=A y@200 z@201 >A", "S:A C:(y@200) C:(z@201)",
     "A*0<- yi*1<A z*1<y >z !"},
    {"seal-broken-nothing-taken", "a: x@1=A >A", "S:A", "A*0<- >A="},
    {"seal-kept-nothing-taken", "a: x@1=A >A", "S:A!", "A*0<- >A !="},
    {"unrecorded-past-is-no-root", "a: x@1 y@200", "S:- C:(y@200)", "yi*1<- >y !"},
    {"plugged-in-later", "a: x@1=A y@200 z@201 >A", "C:(y@200) C:(z@201)",
     "A*0<- yi*1<A z*1<y >z !"},

    /* once more after a crash: records are there, the image perhaps sealed */
    {"again", "a: x@200=(x@200)*1 y@201=(y@201)*1<(x@200) >(y@201)", "S:-! C:(x@200) C:(y@201)",
     "x*1<- y*1<x >y !="},
    {"again-sealed", "a: x@200=(x@200)*1 >(x@200) !sealed", "S:-! C:(x@200)", "x*1<- >x !="},
    {"again-after-a-load", "a: x@200=(x@200)*1 y@201=(y@201)*1<(x@200) >(x@200)",
     "S:-! C:(x@200) C:(y@201) L:(x@200)", "x*1<- y*1<x >x !="},
    {"again-inferred", "a: x@1=A y@200=(y@200)i*1<A >(y@200)", "S:A C:(y@200)",
     "A*0<- yi*1<A >y !="},
    {"again-half", "a: x@200=(x@200)*1 y@201 >-", "S:-! C:(x@200) C:(y@201)", "x*1<- y*1<x >y !"},

    /* the image changed since: by a command offline, or by another machine */
    {"applied-since", "a: x@1=A y@200 >A !sealed", "S:A! C:(y@200)", "A*0<- y*1<A >A !"},
    {"created-since", "a: x@1=A y@200 z@300=C<A >C !sealed", "S:A! C:(y@200)",
     "A*0<- C*0<A y*1<A >C !"},
    {"created-since-and-seal-broken", "a: x@1=A y@200 z@300=C<A >C", "S:A! C:(y@200)",
     "A*0<- C*0<A y*1<A >C"},
    {"adopted-since", "a: x@200=B*2 >-", "S:-! C:(x@200)", "B*2<- >B !"},
    {"later-record-counts", "a: x@200=A y@201 ~(x@200)", "S:-! C:(x@200) C:(y@201)",
     "A*0<- x*0<- y*1<x >y !"},

    /* several starts: the replay after the first one could not be done */
    {"two-starts", "a: x@1=A y@200 z@201 >A", "S:A! C:(y@200) S:A C:(z@201)",
     "A*0<- y*1<A zi*1<y >z !"},
    {"two-starts-nothing-between", "a: x@1=A z@201 >A", "S:A! S:A C:(z@201)", "A*0<- zi*1<A >z !"},
    {"two-starts-stamped-between", "a: x@1=A w@199=C<A y@200 z@201 >C",
     "S:A! C:(y@200) S:C C:(z@201)", "A*0<- C*0<A y*1<A zi*1<C >z !"},
    {"two-starts-sealed-between", "a: x@1=A y@200 z@201 >A", "S:A! C:(y@200) S:A! C:(z@201)",
     "A*0<- y*1<A z*1<A >z !"},
    {"stale", "a: x@1=A y@200 z@300=C<A >C", "S:A! C:(y@200) S:C", "A*0<- C*0<A y*1<A >C"},

    /* an event that could not be written, or that another host has: what the image stood at then,
       and until the next event, is not known */
    {"one-not-told", "a: x@200 y@201 z@202", "S:-! C:(x@200) C:(z@202)", "x*1<- zi*1<- >z !"},
    {"first-not-told", "a: w@1=A y@201 z@202 >A", "S:A! C:(z@202)", "A*0<- zi*1<- >z !"},
    {"last-not-told", "a: x@200 y@201", "S:-! C:(x@200)", "x*1<- >-"},
    {"last-not-told-and-deleted", "a: y@201", "S:-! C:(x@200) D:(x@200)", "x*1<- >-"},
    {"only-one-not-told", "a: x@200", "S:-!", ">-="},
    {"only-one-not-told-after-another", "a: w@1=A x@200 >A", "S:A!", "A*0<- >-"},
    {"loaded-and-one-not-told", "a: x@200 y@201", "S:-! C:(x@200) L:(x@200)", "x*1<- >-"},
    {"load-not-told", "a: x@200 y@201 z@202", "S:-! C:(x@200) C:(y@201) B:- C:(z@202)",
     "x*1<- y*1<x zi*1<- >z !"},
    {"load-not-told-last", "a: x@200", "S:-! C:(x@200) B:-", "x*1<- >-"},
    {"load-told", "a: x@200 y@201 z@202", "S:-! C:(x@200) C:(y@201) B:- L:(x@200) C:(z@202)",
     "x*1<- y*1<x z*1<x >z !"},
    {"taken-elsewhere", "a: x@200 y@201 z@202", "S:-! C:(x@200) S:- C:(z@202)",
     "x*1<- zi*1<- >z !"},
    {"taken-elsewhere-by-another-clock", "a: x@200 y@50 z@202", "S:-! C:(x@200) S:- C:(z@202)",
     "x*1<- zi*1<- >z !"},
    {"before-it-was-plugged-in", "a: w@1=A x@120 y@200 >A", "@b S:-! @a P:A! C:(y@200)",
     "A*0<- y*1<A >y !"},
    {"after-it-was-plugged-in", "a: w@1=A x@180 y@200 >A", "@b S:-! @a P:A! C:(y@200)",
     "A*0<- yi*1<- >y !"},
    {"told-later", "a: y@201 x@200", "S:-! C:(x@200) C:(y@201)", "x*1<- y*1<x >y !"},
    {"older-ones-need-not-be-told", "a: x@99 y@200 >-", "S:-! C:(y@200)", "y*1<- >y !"},
    {"recorded-ones-need-not-be-told", "a: x@200=A y@201 >A", "S:A! C:(y@201)", "A*0<- y*1<A >y !"},

    /* overlays */
    {"frozen", "a: x@1=A >A", "S:A! X:A!,V", "A*0<- >A ! frozen="},
    {"frozen-after-one-was-taken", "a: x@200", "S:-! C:(x@200) X:(x@200)!,V", "x*1<- >x ! frozen"},
    {"frozen-and-data-moved-in", "a: x@1=A >A", "S:A! X:A!,V M:A", "A*0<- >A !="},
    {"frozen-and-opened-anew", "a: x@1=A >A", "S:A! X:A!,V S:A", "A*0<- >A="},
    {"frozen-and-copied-from", "a: x@1=A >A", "S:A! X:A!,V Y:A!", "A*0<- >A !="},
    {"overlay", "a:", "O:V,A!", "V*1<A >V !"},
    {"overlay-on-a-root", "a:", "O:V,-!", "V*1<- >V !"},
    {"overlay-on-who-knows-what", "a:", "O:V,A", "Vi*1<A >V !"},
    {"overlay-and-one-taken", "a: y@200", "O:V,A! C:(y@200)", "V*1<A y*1<V >y !"},
    {"overlay-on-an-overlay", "a:", "O:V,A! X:V!,W", "V*1<A >V ! frozen"},
    {"overlay-stamped-before-who-knew", "a: ~Vei*1<A >V", "O:V,A!", "V*1<A >V !"},
    {"overlay-stamped-with-another-parent", "a: ~Vei*1<B >V", "O:V,A!", "Vi*1<B >V !="},
    {"overlay-again", "a: ~Ve*1<A >V", "O:V,A!", "V*1<A >V !="},

    {"overlay-of-no-known-base", "a:", "S:-! X:-!", ">- !="},

    /* copies */
    {"copied-to", "a:", "Z:-,A!", ">A !"},
    {"copied-to-from-who-knows-where", "a:", "Z:-,A", ">A"},
    {"copied-to-and-one-taken", "a: y@200", "Z:-,A! C:(y@200)", "y*1<A >y !"},
    {"copied-from", "a: x@1=A >A", "S:A! Y:A!", "A*0<- >A !="},

    /* no record of ours */
    {"external-record-is-none", "a: x@200 ~(x@200)e", "S:-! C:(x@200)", "x*0<- x*1<- >x !"},
};

/* ---- events ---- */

typedef struct {
    GPtrArray *events;
    const char *path;
    guint64 inode;
    GHashTable *names; /* what a UUID is called here */
} Story;

static void
remember(Story *story, const SnapsetUuid *uuid, const char *word)
{
    g_autofree char *name = *word == '(' ? g_strndup(word + 1, strlen(word) - 2) : g_strdup(word);
    g_hash_table_insert(story->names, g_memdup2(uuid, sizeof *uuid), g_steal_pointer(&name));
}

static SnapsetUuid
uuid_of(Story *story, const char *word)
{
    SnapsetUuid uuid = build_uuid(word);
    remember(story, &uuid, word);
    return uuid;
}

/* UUID[!] of this image, or of another one. */
static void
add_image(Story *story, SnapsetLiveEvent *event, gboolean is_own, const char *word)
{
    gboolean certain = g_str_has_suffix(word, "!");
    g_autofree char *name = g_strndup(word, strlen(word) - certain);
    SnapsetUuid uuid = uuid_of(story, name);

    snapset_live_event_add_image(event, is_own ? story->path : "other", is_own ? story->inode : 1,
                                 &uuid, certain);
}

/* What the letters before the colons mean, and which of two images in the event this one is. */
static const struct {
    char letter;
    SnapsetLiveEventKind kind;
    gboolean is_second;
} kinds[] = {
    {'S', SNAPSET_LIVE_EVENT_START, FALSE},       {'C', SNAPSET_LIVE_EVENT_CREATE, TRUE},
    {'L', SNAPSET_LIVE_EVENT_LOAD, FALSE},        {'D', SNAPSET_LIVE_EVENT_DELETE, FALSE},
    {'P', SNAPSET_LIVE_EVENT_FORMAT_NODE, FALSE}, {'X', SNAPSET_LIVE_EVENT_EXTERNAL, FALSE},
    {'O', SNAPSET_LIVE_EVENT_EXTERNAL, TRUE},     {'Y', SNAPSET_LIVE_EVENT_COPY, FALSE},
    {'Z', SNAPSET_LIVE_EVENT_COPY, TRUE},         {'M', SNAPSET_LIVE_EVENT_MOVE, FALSE},
    {'B', SNAPSET_LIVE_EVENT_LOADING, FALSE},
};

static void
add_event(Story *story, gsize kind, const char *word)
{
    SnapsetLiveEvent *event = snapset_live_event_new(kinds[kind].kind, "");
    g_auto(GStrv) both = g_strsplit(word, ",", 2);

    event->time = kinds[kind].kind == SNAPSET_LIVE_EVENT_FORMAT_NODE ? 150 : 100;
    if (both[1] != NULL && kinds[kind].is_second)
        add_image(story, event, FALSE, both[1]);
    add_image(story, event, TRUE, both[0]);
    if ((both[1] != NULL || kinds[kind].kind == SNAPSET_LIVE_EVENT_COPY) && !kinds[kind].is_second)
        add_image(story, event, FALSE, both[1] != NULL ? both[1] : "-");
    g_ptr_array_add(story->events, event);
}

static void
add_word(Story *story, const char *word)
{
    gsize kind = 0;

    if (*word == '@') {
        story->path = word + 1;
    } else if (*word == '#') {
        story->inode = g_ascii_strtoull(word + 1, NULL, 10);
    } else {
        while (kinds[kind].letter != *word)
            kind++;
        add_event(story, kind, word + 2);
    }
}

/* ---- what came out ---- */

/* "x" when no other tag of the story is x, else "x@200". */
static char *
name_of(Story *story, const SnapsetUuid *uuid)
{
    const char *name = g_hash_table_lookup(story->names, uuid);
    GHashTableIter iter;
    gpointer other;

    if (name == NULL)
        return build_uuid_name(uuid);
    gsize tag = strcspn(name, "@");
    gboolean alone = TRUE;
    g_hash_table_iter_init(&iter, story->names);
    while (g_hash_table_iter_next(&iter, NULL, &other))
        alone &= other == name || strcspn(other, "@") != tag || strncmp(other, name, tag) != 0;
    return alone ? g_strndup(name, tag) : g_strdup(name);
}

static char *
print(Story *story, const SnapsetLedger *ledger, SnapsetReplayed replayed)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < ledger->records->len; i++) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        g_autofree char *name = name_of(story, &record->identity);
        g_autofree char *parent = name_of(story, &record->parent);
        g_string_append_printf(out, "%s%s*%u<%s ", name,
                               record->flags & SNAPSET_RECORD_PARENT_INFERRED ? "i" : "",
                               record->members, parent);
    }
    g_autofree char *current = name_of(story, &ledger->current);
    g_string_append_printf(out, ">%s%s%s%s", current, replayed.is_certain ? " !" : "",
                           replayed.frozen_by != NULL ? " frozen" : "",
                           replayed.is_changed ? "" : "=");
    return g_string_free(out, FALSE);
}

static char *
tell(const SnapsetImage *image, SnapsetLedger *ledger, const char *events)
{
    g_auto(GStrv) words = g_strsplit(events, " ", -1);
    g_autoptr(GPtrArray) list =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_live_event_free);
    g_autoptr(GHashTable) names =
        g_hash_table_new_full(snapset_uuid_hash, snapset_uuid_equal_func, g_free, g_free);
    Story story = {list, image->filename, image->inode, names};

    for (gsize i = 0; words[i] != NULL; i++)
        add_word(&story, words[i]);
    SnapsetReplayed replayed = snapset_replay(image, list, ledger);
    return print(&story, ledger, replayed);
}

static SnapsetLedger *
ledger_of(const SnapsetImage *image)
{
    return image->ledger != NULL ? snapset_ledger_copy(image->ledger) : snapset_ledger_new();
}

static void
test_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) images = build_images(rows[row].image);
    SnapsetImage *image = images->pdata[0];
    g_autoptr(SnapsetLedger) ledger = ledger_of(image);
    g_autofree char *got = tell(image, ledger, rows[row].events);

    g_assert_cmpstr(got, ==, rows[row].want);
}

/* A replay whose result went to disk, done once more: nothing is left to do. */
static void
test_twice(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) images = build_images(rows[row].image);
    SnapsetImage *image = images->pdata[0];
    g_autoptr(SnapsetLedger) once = ledger_of(image);
    g_autofree char *first = tell(image, once, rows[row].events);

    snapset_ledger_free(image->ledger);
    image->ledger = snapset_ledger_copy(once);
    snapset_image_finish(image);
    g_autoptr(SnapsetLedger) twice = snapset_ledger_copy(once);
    g_autofree char *second = tell(image, twice, rows[row].events);
    g_assert_true(g_str_has_suffix(second, "="));
    second[strlen(second) - 1] = '\0';
    if (g_str_has_suffix(first, "="))
        first[strlen(first) - 1] = '\0';
    g_assert_cmpstr(second, ==, first);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/replay/once/%s", rows[i].name);
        g_autofree char *again = g_strdup_printf("/replay/twice/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
        g_test_add_data_func(again, GSIZE_TO_POINTER(i), test_twice);
    }
    return g_test_run();
}
