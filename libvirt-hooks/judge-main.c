/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge: one short-lived process for each watched monitor command.
 *
 *     snapshot-set-judge judge  --domain NAME   the command on standard input; answers "allow" or
 *                                               "deny TEXT" on standard output
 *     snapshot-set-judge record --domain NAME   the same; once QEMU has carried it out, which its
 *                                               reply on descriptor 3 tells, writes it into the
 *                                               domain's journal
 *
 * Anything but an answer and status 0 means that it could not judge; the guard's policy decides.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/domain-xml.h"
#include "common/io/qmp-request.h"
#include "common/ops/domain-images.h"
#include "common/ops/policy-file.h"

/* As much of a command as the relay ever holds. */
#define COMMAND_MAX (64 * 1024)

#define REPLY_FD 3

static GString *
read_command(void)
{
    GString *command = g_string_new(NULL);
    char buffer[4096];
    gssize got;

    while (command->len <= COMMAND_MAX && (got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        g_string_append_len(command, buffer, got);
    return command;
}

/* One line of ASCII: the reasons first, what to do last. */
static void
print_refusal(const SnapsetReport *report)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        if (violation->verdict != SNAPSET_DENY)
            continue;
        g_string_append_printf(text, "%srefused [%s]: %s%s%s", text->len > 0 ? "; " : "",
                               snapset_rule_name(violation->rule), violation->message,
                               violation->hint != NULL ? "; hint: " : "",
                               violation->hint != NULL ? violation->hint : "");
    }
    snapset_format_disarm(text->str);
    g_autofree char *ascii = g_str_to_ascii(text->str, "C");
    printf("deny %s\n", ascii);
}

static int
judge(const char *name, const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(SnapsetReport) report = snapset_report_new(&policy.verdicts);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);

    if (complaint != NULL)
        syslog(LOG_WARNING, "%s", complaint);
    snapset_rules_live(catalog, domain, request, report);
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        syslog(LOG_WARNING, "domain %s: %s [%s]: %s", name,
               violation->verdict == SNAPSET_DENY ? "refused" : "warning",
               snapset_rule_name(violation->rule), violation->message);
    }
    if (snapset_report_is_denied(report))
        print_refusal(report);
    else
        printf("allow\n");
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Wait for QEMU's reply; FALSE: it ends without one, so the command was not carried out. */
static gboolean
was_carried_out(void)
{
    char buffer[4096];
    gboolean said = FALSE;
    gssize got;

    while ((got = read(REPLY_FD, buffer, sizeof buffer)) > 0)
        said = TRUE;
    return said;
}

static SnapsetLiveEventKind
event_kind(SnapsetLiveKind kind)
{
    switch (kind) {
    case SNAPSET_LIVE_LOAD:
        return SNAPSET_LIVE_EVENT_LOAD;
    case SNAPSET_LIVE_DELETE:
        return SNAPSET_LIVE_EVENT_DELETE;
    default:
        return SNAPSET_LIVE_EVENT_CREATE;
    }
}

/* The tag of the newest entry: what a savevm without a name has made. */
static const char *
newest_tag(GPtrArray *images)
{
    const SnapsetEntry *newest = NULL;

    for (guint i = 0; i < images->len; i++) {
        const SnapsetImage *image = images->pdata[i];
        const SnapsetEntry *last =
            image->entries->len > 0 ? snapset_image_entry(image, image->entries->len - 1) : NULL;
        if (last != NULL && (newest == NULL || last->moment.date_sec > newest->moment.date_sec))
            newest = last;
    }
    return newest != NULL ? newest->tag : "";
}

static int
record(const char *name, const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    if (request->kind == SNAPSET_LIVE_NONE || request->kind == SNAPSET_LIVE_EXTERNAL)
        return 0;
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    const char *tag = request->tag;
    if (tag == NULL)
        tag = request->kind == SNAPSET_LIVE_CREATE ? newest_tag(images) : "";
    g_autoptr(SnapsetLiveEvent) event =
        snapset_domain_event(event_kind(request->kind), tag, images);
    if (snapset_live_journal_append(domain->uuid != NULL ? domain->uuid : "", event, &error))
        return 0;
    syslog(LOG_ERR, "domain %s: %s", name, error->message);
    return 1;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    umask(0077);
    openlog("snapshot-set-judge", LOG_PID, LOG_DAEMON);
    if (argc != 4 || strcmp(argv[2], "--domain") != 0 ||
        (strcmp(argv[1], "judge") != 0 && strcmp(argv[1], "record") != 0)) {
        fputs("usage: snapshot-set-judge judge|record --domain NAME\n", stderr);
        return 1;
    }
    g_autoptr(GString) command = read_command();
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command->str, command->len, &error);
    gboolean is_judge = strcmp(argv[1], "judge") == 0;
    if (request == NULL && is_judge) {
        printf("deny the command cannot be judged: %s\n", error->message);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (!is_judge && !was_carried_out())
        return 0;
    g_autoptr(SnapsetDomain) domain =
        request != NULL ? snapset_domain_running(argv[3], &error) : NULL;
    if (domain == NULL) {
        syslog(LOG_ERR, "domain %s: %s", argv[3], error->message);
        return 1;
    }
    return is_judge ? judge(argv[3], domain, request) : record(argv[3], domain, request);
}
