/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge: one process for each watched monitor command, started ahead of it. Whatever the
 * verdict is based on is read once the command is there.
 *
 *     snapshot-set-judge judge  --domain NAME   the command on standard input; answers "allow",
 *                                               "deny TEXT" or, when it cannot judge,
 *                                               "unable TEXT" on standard output. Having allowed
 *                                               it, goes on as record
 *     snapshot-set-judge record --domain NAME   the same command; once QEMU has carried it out,
 *                                               which its reply on descriptor 3 tells, writes it
 *                                               into the domain's journal, and says "recorded"
 *
 * Anything else than an answer also means that it could not judge; the guard's policy decides then.
 */
#include <fcntl.h>
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

/* us between the last word and the end of the process, which takes longer than what the reader of
 * that word has to do: it is to have the processor first */
#define END_PAUSE 10000

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

/* One line of ASCII; FALSE: that does not allow it. */
static gboolean
answer(const char *verdict, const char *text)
{
    g_autofree char *line = g_strdup(text);

    snapset_format_disarm(line);
    g_autofree char *ascii = g_str_to_ascii(line, "C");
    printf("%s %s\n", verdict, ascii);
    return FALSE;
}

static gboolean
allow(void)
{
    puts("allow");
    return TRUE;
}

/* The reasons first, what to do last. */
static gboolean
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

/* Wait for QEMU's reply; FALSE: there is none, so the command was not carried out. */
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

/* That a load has begun is known even if nobody lives to say that it was done. */
static gboolean
note_loading(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GError **error)
{
    g_autoptr(SnapsetLiveEvent) event =
        snapset_domain_loading(domain, request->tag != NULL ? request->tag : "");

    return snapset_live_journal_append(journal_of(domain), event, error);
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

static gboolean
judge_domain(const char *name, const SnapsetDomain *domain, const SnapsetLiveRequest *request)
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
    if (!reserve(domain, request, images, &error) ||
        (request->kind == SNAPSET_LIVE_LOAD && !note_loading(domain, request, &error)))
        return answer("unable", error->message);
    return allow();
}

/* Whether it may be carried out; @error: why there is no request. */
static gboolean
judge(const char *name, const SnapsetLiveRequest *request, GError *error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(SnapsetDomain) domain =
        request != NULL ? snapset_domain_running(name, &failure) : NULL;

    if (domain != NULL)
        return judge_domain(name, domain, request);
    const char *why = request != NULL ? failure->message : error->message;
    log_line(name, "%s", why);
    /* what is no command to us may still be one to QEMU */
    return answer(request != NULL ? "unable" : "deny", why);
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

static gboolean
record_domain(const SnapsetDomain *domain, const SnapsetLiveRequest *request, GError **error)
{
    if (request->kind == SNAPSET_LIVE_ADD_NODE || request->kind == SNAPSET_LIVE_REMOVE_NODE)
        return snapset_domain_note_node(domain, request, error);
    return record_event(domain, request, error);
}

static int
record(const char *name, const SnapsetLiveRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain = snapset_domain_running(name, &error);

    if (domain != NULL && record_domain(domain, request, &error)) {
        puts("recorded");
        fflush(stdout);
        g_usleep(END_PAUSE);
        return 0;
    }
    log_line(name, "%s", error->message);
    return 1;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gboolean is_followed = fcntl(REPLY_FD, F_GETFD) >= 0;

    umask(0077);
    if (argc != 4 || strcmp(argv[2], "--domain") != 0 ||
        (strcmp(argv[1], "judge") != 0 && strcmp(argv[1], "record") != 0)) {
        fputs("usage: snapshot-set-judge judge|record --domain NAME\n", stderr);
        return 1;
    }
    g_autoptr(GString) command = read_command();
    if (command->len == 0) /* there is none any more */
        return 0;
    g_autoptr(SnapsetLiveRequest) request =
        snapset_qmp_request_parse(command->str, command->len, &error);

    if (strcmp(argv[1], "judge") == 0) {
        gboolean is_allowed = judge(argv[3], request, error);
        if (fflush(stdout) != 0)
            return 1;
        if (!is_allowed)
            return 0;
    }
    if (!is_followed || !was_carried_out())
        return 0;
    if (request != NULL)
        return record(argv[3], request);
    log_line(argv[3], "%s", error->message);
    return 1;
}
