/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Identity: the derivation against another implementation of it, and what may be one operation. */
#include "common/core/identity.h"

#include <string.h>

#define TEN "xxxxxxxxxx"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONGEST HUNDRED HUNDRED TEN TEN TEN TEN TEN "xxxxx" /* 255 bytes */

/*
 * Each UUID is what this Python program prints for the row:
 *
 *     import hashlib, struct, uuid
 *     def derive(tag, sec, nsec, clock):
 *         b = bytearray(hashlib.sha256(b"snapshot-set derived identity v1\n" +
 *                       struct.pack(">IIQ", sec, nsec, clock) + tag).digest()[:16])
 *         b[6] = b[6] & 0x0f | 0x80
 *         b[8] = b[8] & 0x3f | 0x80
 *         return uuid.UUID(bytes=bytes(b))
 */
static const struct {
    SnapsetMoment moment;
    const char *uuid;
} vectors[] = {
    {{1795290621, 123456789, 141048000000, "b"}, "b3b6de6f-729e-8b25-9288-264d202dcf65"},
    /* the example of FORMAT.md */
    {{1795290621, 689877000, 141048123456, "before-upgrade"},
     "61afcbdf-18bf-83d6-9744-e0887a3bcaba"},
    {{0, 0, 0, ""}, "be493be6-7ac5-8458-b890-db36ca53c564"},
    {{G_MAXUINT32, G_MAXUINT32, G_MAXUINT64, "\xff\xfe"}, "be59328e-7ddd-8b65-a2c8-6793013f2839"},
    {{1700000000, 1, 0, "pr\303\251-gr\303\266\303\237e"}, "decf719d-0a2e-8c59-81b6-f48af238455e"},
    {{1, 2, 3, LONGEST}, "3dca8c76-4026-8edf-9579-c8489f4d7486"},
};

static void
test_derive(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(vectors); i++) {
        char text[SNAPSET_UUID_TEXT_SIZE];
        SnapsetUuid uuid = snapset_identity_derive(&vectors[i].moment);
        snapset_uuid_format(&uuid, text);
        g_assert_cmpstr(text, ==, vectors[i].uuid);
    }
}

/* Each part of the moment matters by itself, and none can stand in for another. */
static void
test_distinct(void)
{
    static const SnapsetMoment moments[] = {
        {1, 2, 3, "a"}, {2, 2, 3, "a"}, {1, 1, 3, "a"},  {1, 2, 4, "a"},
        {1, 2, 3, "b"}, {1, 2, 3, ""},  {1, 2, 3, "aa"}, {2, 1, 3, "a"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(moments); i++) {
        for (gsize j = 0; j < G_N_ELEMENTS(moments); j++) {
            SnapsetUuid a = snapset_identity_derive(&moments[i]);
            SnapsetUuid b = snapset_identity_derive(&moments[j]);
            g_assert_cmpint(snapset_uuid_equal(&a, &b), ==, i == j);
        }
    }
}

static void
test_binding(void)
{
    SnapsetUuid uuid = snapset_identity_derive(&vectors[0].moment);
    g_assert_cmphex(snapset_identity_binding(&uuid), ==, 0xb3b6de6f729e8b25);
}

#define SECOND G_GUINT64_CONSTANT(1000000000)

/* May entries of these dates and VM clocks, in seconds, have been made by one operation? */
static const struct {
    const char *name;
    struct {
        guint32 date;
        guint64 clock, vm_state;
    } entries[3]; /* a date of 0 ends them */
    gboolean close;
} spreads[] = {
    {"alone", {{100, 0, 0}}, TRUE},
    {"same-second", {{100, 0, 0}, {100, 0, 0}}, TRUE},
    {"60-s", {{100, 0, 0}, {160, 0, 0}}, TRUE},
    {"61-s", {{100, 0, 0}, {161, 0, 0}}, FALSE},
    {"61-s-backwards", {{161, 0, 0}, {100, 0, 0}}, FALSE},
    {"60-s-between-first-and-last", {{100, 0, 0}, {130, 0, 0}, {160, 0, 0}}, TRUE},
    {"61-s-in-two-steps", {{100, 0, 0}, {130, 0, 0}, {161, 0, 0}}, FALSE},
    {"clocks-agree", {{1000, 500, 0}, {1010, 510, 0}}, TRUE},
    {"clocks-60-s-off", {{1000, 500, 0}, {1000, 560, 0}}, TRUE},
    {"clocks-61-s-off", {{1000, 500, 0}, {1000, 561, 0}}, FALSE},
    {"one-clock-is-0", {{1000, 0, 0}, {1000, 500, 0}}, FALSE},
    {"one-clock-is-0-another-small", {{1000, 0, 0}, {1000, 30, 0}}, TRUE},
    {"date-and-clock-apart", {{1000, 100, 0}, {1060, 100, 0}}, TRUE},
    {"date-and-clock-apart-the-other-way", {{1000, 130, 0}, {1040, 100, 0}}, FALSE},
    {"vm-state-in-one", {{100, 0, 0}, {100, 0, 1}}, FALSE},
    {"vm-state-in-all", {{100, 5, 1}, {100, 5, 1}}, FALSE},
    {"vm-state-beyond-32-bits", {{100, 0, 0}, {100, 0, G_GUINT64_CONSTANT(1) << 32}}, FALSE},
    {"clock-before-1970", {{1, 18446744073, 0}, {1, 18446744073, 0}}, TRUE},
    {"dates-at-both-ends", {{1, 0, 0}, {G_MAXUINT32, 0, 0}}, FALSE},
};

static void
test_spread(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    SnapsetSpread spread = SNAPSET_SPREAD_INIT;

    for (gsize i = 0; i < 3 && spreads[row].entries[i].date != 0; i++) {
        SnapsetMoment moment = {spreads[row].entries[i].date, 0,
                                spreads[row].entries[i].clock * SECOND, "t"};
        snapset_spread_add(&spread, &moment, spreads[row].entries[i].vm_state);
    }
    g_assert_cmpint(snapset_spread_is_close(&spread), ==, spreads[row].close);
}

/* A clock of less than a second is a clock: the machine ran. */
static void
test_short_clock(void)
{
    SnapsetSpread spread = SNAPSET_SPREAD_INIT;
    SnapsetMoment never_ran = {1000, 0, 0, "t"};
    SnapsetMoment ran = {1000, 0, 1, "t"};

    snapset_spread_add(&spread, &never_ran, 0);
    g_assert_false(spread.any_clock);
    snapset_spread_add(&spread, &ran, 0);
    g_assert_true(spread.any_clock);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identity/derive", test_derive);
    g_test_add_func("/identity/distinct", test_distinct);
    g_test_add_func("/identity/binding", test_binding);
    for (gsize i = 0; i < G_N_ELEMENTS(spreads); i++) {
        g_autofree char *path = g_strdup_printf("/identity/spread/%s", spreads[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_spread);
    }
    g_test_add_func("/identity/short-clock", test_short_clock);
    return g_test_run();
}
