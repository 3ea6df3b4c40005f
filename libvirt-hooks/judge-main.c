/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge: one short-lived process for each watched monitor command.
 *
 *     snapshot-set-judge judge  --domain NAME   the command on standard input; answers "allow",
 *                                               "deny TEXT" or, when it cannot judge,
 *                                               "unable TEXT" on standard output
 *     snapshot-set-judge record --domain NAME   the same; once QEMU has carried it out, which its
 *                                               reply on descriptor 3 tells, writes it into the
 *                                               domain's journal
 *
 * Anything but an answer and status 0 also means that it could not judge; the guard's policy
 * decides then.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/domain-xml.h"
#include "common/io/qmp-request.h"
#include "common/ops/domain-chains.h"
#include "common/ops/domain-images.h"
#include "common/ops/domain-nodes.h"
#include "common/ops/live-files.h"
#include "common/ops/policy-file.h"
#include "libvirt-hooks/guard/log.h"

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

/* One line of ASCII. */
static int
answer(const char *verdict, const char *text)
{
    g_autofree char *line = g_strdup(text);

    snapset_format_disarm(line);
    g_autofree char *ascii = g_str_to_ascii(line, "C");
    printf("%s %s\n", verdict, ascii);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int
allow(void)
{
    printf("allow\n");
    return fflush(stdout) == 0 ? 0 : 1;
}

/* The reasons first, what to do last. */
static int
deny(const SnapsetReport *report)
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
    return answer("deny", text->str);
}

static void G_GNUC_PRINTF(2, 3) log_line(const char *domain, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    snapset_format_disarm(message);
    snapset_log_line("snapshot-set-judge", LOG_WARNING, "domain %s: %s", domain, message);
}

static void
log_violations(const char *name, const SnapsetReport *report)
{
    for (guint i = 0; i < report->violations->len; i++) {
        const SnapsetViolation *violation = report->violations->pdata[i];
        log_line(name, "%s [%s]: %s", violation->verdict == SNAPSET_DENY ? "refused" : "warning",
                 snapset_rule_name(violation->rule), violation->message);
    }
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

/* What is recorded of all disks once @request has been carried out; NULL: nothing. */
static SnapsetLiveEvent *
event_of(const SnapsetLiveRequest *request, GPtrArray *images)
{
    const char *tag = request->tag != NULL ? request->tag : "";

    switch (request->kind) {
    case SNAPSET_LIVE_CREATE:
        return snapset_domain_event(SNAPSET_LIVE_EVENT_CREATE,
                                    request->tag != NULL ? tag : newest_tag(images), images);
    case SNAPSET_LIVE_LOAD:
        return snapset_domain_event(SNAPSET_LIVE_EVENT_LOAD, tag, images);
    case SNAPSET_LIVE_DELETE:
        return snapset_domain_event(SNAPSET_LIVE_EVENT_DELETE, tag, images);
    default:
        return NULL;
    }
}

static const char *
journal_of(const SnapsetDomain *domain)
{
    return domain->uuid != NULL ? domain->uuid : "";
}

/*
 * Whether what is recorded afterwards can be. The lineage needs no record of a deletion, which may
 * be what makes space again.
 */
static gboolean
reserve(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GPtrArray *images,
        GError **error)
{
    g_autoptr(SnapsetLiveEvent) event = event_of(request, images);

    return event == NULL || request->kind == SNAPSET_LIVE_DELETE ||
           snapset_live_journal_reserve(journal_of(domain), event, error);
}

/* The images to judge: those of the domain's disks, and after them that of a disk being plugged. */
static GPtrArray *
images_of(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GPtrArray *unread)
{
    GPtrArray *images = snapset_domain_images(domain, unread);
    SnapsetImage *plugged =
        request->kind == SNAPSET_LIVE_PLUG
            ? snapset_domain_image_of_node(domain, request->nodes->pdata[0], unread)
            : NULL;

    for (guint i = 0; plugged != NULL && i < images->len; i++) {
        const SnapsetImage *image = images->pdata[i];
        if (image->is_local && snapset_image_file_equal(image, plugged)) /* it is one already */
            g_clear_pointer(&plugged, snapset_image_free);
    }
    if (plugged != NULL)
        g_ptr_array_add(images, plugged);
    return images;
}

static int
judge(const char *name, const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(SnapsetReport) report = snapset_report_new(&policy.verdicts);
    g_autoptr(GPtrArray) unread = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = images_of(domain, request, unread);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_autoptr(GError) error = NULL;

    if (complaint != NULL)
        log_line(name, "%s", complaint);
    snapset_rules_live(catalog, domain, request, report);
    snapset_live_files_judge(request, report);
    log_violations(name, report);
    if (snapset_report_is_denied(report))
        return deny(report);
    if (unread->len > 0)
        return answer("unable", unread->pdata[0]);
    if (!reserve(domain, request, images, &error))
        return answer("unable", error->message);
    return allow();
}

static gboolean
is_about_chains(const SnapsetLiveRequest *request)
{
    return request->kind == SNAPSET_LIVE_EXTERNAL || request->kind == SNAPSET_LIVE_COPY ||
           request->kind == SNAPSET_LIVE_MOVE;
}

static gboolean
record_chain(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GError **error)
{
    g_autoptr(SnapsetLiveEvent) event = snapset_domain_chain_event(domain, request);

    return event == NULL || snapset_live_journal_append(journal_of(domain), event, error);
}

static gboolean
record_event(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GError **error)
{
    if (is_about_chains(request))
        return record_chain(domain, request, error);
    g_autoptr(GPtrArray) unread = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, unread);
    g_autoptr(SnapsetLiveEvent) event = event_of(request, images);

    return event == NULL || snapset_live_journal_append(journal_of(domain), event, error);
}

static int
record(const char *name, const SnapsetDomain *domain, const SnapsetLiveRequest *request)
{
    gboolean is_node =
        request->kind == SNAPSET_LIVE_ADD_NODE || request->kind == SNAPSET_LIVE_REMOVE_NODE;
    g_autoptr(GError) error = NULL;

    if (is_node ? snapset_domain_note_node(domain, request, &error)
                : record_event(domain, request, &error))
        return 0;
    log_line(name, "%s", error->message);
    return 1;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    umask(0077);
    if (argc != 4 || strcmp(argv[2], "--domain") != 0 ||
        (strcmp(argv[1], "judge") != 0 && strcmp(argv[1], "record") != 0)) {
        fputs("usage: snapshot-set-judge judge|record --domain NAME\n", stderr);
        return 1;
    }
    gboolean is_judge = strcmp(argv[1], "judge") == 0;
    g_autoptr(GString) command = read_command();
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command->str, command->len, &error);
    if (!is_judge && !was_carried_out())
        return 0;
    g_autoptr(SnapsetDomain) domain =
        request != NULL ? snapset_domain_running(argv[3], &error) : NULL;

    if (domain != NULL)
        return is_judge ? judge(argv[3], domain, request) : record(argv[3], domain, request);
    log_line(argv[3], "%s", error->message);
    if (!is_judge)
        return 1;
    /* what is no command to us may still be one to QEMU */
    return answer(request != NULL ? "unable" : "deny", error->message);
}
