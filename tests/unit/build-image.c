/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of images for tests, made in memory out of one line of text each. */
#include "tests/unit/build-image.h"

#include <string.h>

#define UUID "[A-Z?-]|\\([^)]*\\)"
#define MOMENT "(?<tag>[^@]*)@(?<date>\\d+)(\\.(?<nsec>\\d+))?(\\+(?<clock>\\d+))?"
#define RECORD                                                                                     \
    "(?<uuid>" UUID ")(?<flags>[episbfl]*)(\\*(?<members>\\d+))?(<(?<parent>" UUID "))?"           \
    "('(?<external>[^']*)')?"

/* In the order of SnapsetRecordFlags. */
static const char flag_letters[] = "episbfl";

static GMatchInfo *
match(const char *pattern, const char *word)
{
    g_autofree char *anchored = g_strdup_printf("^(?:%s)$", pattern);
    g_autoptr(GRegex) regex = g_regex_new(anchored, G_REGEX_RAW, 0, NULL);
    GMatchInfo *info = NULL;
    if (!g_regex_match(regex, word, 0, &info))
        g_error("cannot build '%s'", word);
    return info;
}

static guint64
number(GMatchInfo *info, const char *name)
{
    g_autofree char *text = g_match_info_fetch_named(info, name);
    return text != NULL && *text != '\0' ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static char *
text_of(GMatchInfo *info, const char *name)
{
    g_autofree char *text = g_match_info_fetch_named(info, name);
    return text != NULL && *text != '\0' ? g_steal_pointer(&text) : NULL;
}

static SnapsetMoment
moment_of(GMatchInfo *info, const char *tag)
{
    return (SnapsetMoment){number(info, "date"), number(info, "nsec"),
                           number(info, "clock") * 1000000000, tag};
}

static char *
tag_of(GMatchInfo *info)
{
    g_autofree char *raw = g_match_info_fetch_named(info, "tag");
    return g_strcompress(raw);
}

SnapsetUuid
build_uuid(const char *word)
{
    SnapsetUuid uuid = snapset_uuid_nil;

    if (*word == '(') {
        g_autofree char *inner = g_strndup(word + 1, strlen(word) - 2);
        g_autoptr(GMatchInfo) info = match(MOMENT, inner);
        g_autofree char *tag = tag_of(info);
        SnapsetMoment moment = moment_of(info, tag);
        return snapset_identity_derive(&moment);
    }
    if (*word != '-')
        memset(uuid.bytes, *word, sizeof uuid.bytes);
    return uuid;
}

char *
build_uuid_name(const SnapsetUuid *uuid)
{
    char digits[SNAPSET_UUID_SHORT_DIGITS + 1];
    char letter = uuid->bytes[0];
    SnapsetUuid of_letter = build_uuid(&letter);

    if (snapset_uuid_is_nil(uuid))
        return g_strdup("-");
    if (g_ascii_isupper(letter) && snapset_uuid_equal(uuid, &of_letter))
        return g_strdup_printf("%c", letter);
    snapset_uuid_format_short(uuid, digits);
    return g_strdup(digits);
}

char *
build_snapshot_name(const SnapsetSnapshot *snapshot)
{
    if (snapshot == NULL)
        return g_strdup("-");
    g_autofree char *uuid = build_uuid_name(&snapshot->identity);
    return strlen(uuid) == 1 ? g_strdup_printf("%s.%s", snapshot->tag, uuid)
                             : g_strdup(snapshot->tag);
}

static SnapsetLedger *
ledger_of(SnapsetImage *image)
{
    if (image->ledger == NULL) {
        image->ledger = snapset_ledger_new();
        image->ledger->sequence = 1;
        image->ledger_state = SNAPSET_LEDGER_GOOD;
    }
    return image->ledger;
}

/* @entry: the one described; NULL: it is gone. */
static void
add_record(SnapsetImage *image, const SnapsetEntry *entry, const char *word)
{
    g_autoptr(GMatchInfo) info = match(RECORD, word);
    g_autofree char *name = text_of(info, "uuid");
    g_autofree char *flags = text_of(info, "flags");
    g_autofree char *parent = text_of(info, "parent");
    SnapsetUuid uuid = *name == '?' ? entry->derived : build_uuid(name);
    guint64 binding = snapset_load_be64(uuid.bytes);

    if (entry != NULL)
        binding = snapset_identity_binding(&entry->derived);
    SnapsetRecord *record = snapset_record_new(&uuid, binding);
    record->members = number(info, "members");
    if (parent != NULL)
        record->parent = build_uuid(parent);
    record->tag = text_of(info, "external");
    for (const char *flag = flags; flag != NULL && *flag != '\0'; flag++)
        record->flags |= 1 << (strchr(flag_letters, *flag) - flag_letters);
    g_ptr_array_add(ledger_of(image)->records, record);
}

static void
add_entry(SnapsetImage *image, const char *word)
{
    g_autoptr(GMatchInfo) info =
        match(MOMENT "(/(?<state>\\d+))?(%(?<size>\\d+))?(#(?<id>[^=]*))?(=(?<record>" RECORD "))?",
              word);
    g_autofree char *tag = tag_of(info);
    g_autofree char *own_id = text_of(info, "id");
    g_autofree char *record = text_of(info, "record");
    g_autofree char *id =
        own_id != NULL ? g_strdup(own_id) : g_strdup_printf("%u", image->entries->len + 1);
    SnapsetMoment moment = moment_of(info, tag);
    SnapsetEntry *entry =
        snapset_image_add_entry(image, (SnapsetBytes){(guint8 *)id, strlen(id)},
                                (SnapsetBytes){(guint8 *)tag, strlen(tag)}, &moment);

    entry->vm_state_size = number(info, "state");
    entry->disk_size = number(info, "size");
    if (record != NULL)
        add_record(image, entry, record);
}

static const struct {
    const char *word;
    SnapsetChainEnd end;
} ends[] = {
    {"!missing", SNAPSET_CHAIN_MISSING}, {"!unreadable", SNAPSET_CHAIN_UNREADABLE},
    {"!loop", SNAPSET_CHAIN_LOOP},       {"!too-long", SNAPSET_CHAIN_TOO_LONG},
    {"!remote", SNAPSET_CHAIN_REMOTE},
};

static gboolean
set_end(SnapsetImage *image, const char *word)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ends); i++) {
        if (strcmp(ends[i].word, word) != 0)
            continue;
        image->chain_end = ends[i].end;
        image->chain_end_name = g_strdup("end");
        return TRUE;
    }
    return FALSE;
}

static void
set_attribute(SnapsetImage *image, const char *word)
{
    if (strcmp(word, "!sealed") == 0) {
        image->sealed = TRUE;
    } else if (strcmp(word, "!bitmaps") == 0) {
        image->has_bitmaps = TRUE;
    } else if (strcmp(word, "!v2") == 0) {
        image->header->version = 2;
    } else if (strcmp(word, "!two-records") == 0) {
        image->header->sset_count = 2;
        image->ledger_state = SNAPSET_LEDGER_DAMAGED;
    } else if (strcmp(word, "!no-header") == 0) {
        g_clear_pointer(&image->header, snapset_qcow2_header_free);
    } else if (strcmp(word, "!incomplete") == 0) {
        g_array_index(image->entries, SnapsetEntry, image->entries->len - 1).incomplete = TRUE;
    } else if (strcmp(word, "!one-damaged") == 0) {
        ledger_of(image);
        image->ledger_state = SNAPSET_LEDGER_ONE_DAMAGED;
    } else if (strcmp(word, "!damaged") == 0) {
        image->ledger_state = SNAPSET_LEDGER_DAMAGED;
    } else if (strcmp(word, "!foreign") == 0) {
        image->ledger_state = SNAPSET_LEDGER_FOREIGN;
    } else {
        g_error("cannot build '%s'", word);
    }
}

static SnapsetImage *
image_new(const char *filename)
{
    SnapsetImage *image = snapset_image_new(filename, "qcow2");
    image->header = g_new0(SnapsetQcow2Header, 1);
    image->header->version = 3;
    image->header->extensions = g_array_new(FALSE, FALSE, sizeof(SnapsetQcow2Extension));
    image->is_local = TRUE;
    return image;
}

/* A new image of the set, or a new link of the one that is @active. */
static void
add_link(GPtrArray *images, SnapsetImage **active, SnapsetImage *image, gboolean is_link)
{
    if (!is_link) {
        *active = image;
        g_ptr_array_add(images, image);
        return;
    }
    if ((*active)->backing == NULL)
        (*active)->backing = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    g_ptr_array_add((*active)->backing, image);
}

GPtrArray *
build_images(const char *text)
{
    GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_image_free);
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    SnapsetImage *image = NULL;
    SnapsetImage *active = NULL;
    guint64 inode = 0;

    for (gsize i = 0; words[i] != NULL; i++) {
        const char *word = words[i];
        if (g_str_has_suffix(word, ":")) {
            gboolean is_link = *word == '/';
            g_autofree char *name = g_strndup(word + is_link, strlen(word) - 1 - is_link);
            if (is_link)
                image->backing_filename = g_strdup(name);
            image = image_new(name);
            image->inode = ++inode;
            add_link(images, &active, image, is_link);
        } else if (strcmp(word, "|") == 0) {
            g_autofree char *name = g_strdup_printf("%s.base%u", active->filename,
                                                    snapset_image_link_count(active) - 1);
            image->backing_filename = g_strdup(name);
            image = image_new(name);
            image->inode = ++inode;
            add_link(images, &active, image, TRUE);
        } else if (*word == '!' && set_end(active, word)) {
            image->backing_filename = g_strdup("end");
        } else if (*word == '>') {
            ledger_of(image)->current = build_uuid(word + 1);
        } else if (*word == '~') {
            add_record(image, NULL, word + 1);
        } else if (*word == '!') {
            set_attribute(image, word);
        } else if (*word != '\0') {
            add_entry(image, word);
        }
    }
    for (guint i = 0; i < images->len; i++) {
        for (guint j = 0; j < snapset_image_link_count(images->pdata[i]); j++)
            snapset_image_finish((SnapsetImage *)snapset_image_link(images->pdata[i], j));
    }
    return images;
}

SnapsetCatalog *
build_catalog(const char *text)
{
    g_autoptr(GPtrArray) images = build_images(text);
    return snapset_catalog_new(images);
}

char *
build_ledger_text(const SnapsetLedger *ledger)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < ledger->records->len; i++) {
        const SnapsetRecord *record = ledger->records->pdata[i];
        g_autofree char *name = build_uuid_name(&record->identity);
        g_autofree char *parent = build_uuid_name(&record->parent);
        g_string_append(out, name);
        for (guint bit = 0; flag_letters[bit] != '\0'; bit++) {
            if (record->flags & 1 << bit)
                g_string_append_c(out, flag_letters[bit]);
        }
        g_string_append_printf(out, "<%s ", parent);
    }
    g_autofree char *current = build_uuid_name(&ledger->current);
    g_string_append_printf(out, ">%s", current);
    return g_string_free(out, FALSE);
}
