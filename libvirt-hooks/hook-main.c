/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The libvirt qemu hook: DOMAIN OPERATION SUBOPERATION EXTRA, the domain's XML on standard input.
 *
 * libvirt holds the domain's job while it waits for this program, so nothing here calls libvirt,
 * and the work has a deadline (hook-supervise.h). What is written to standard error reaches the
 * person at virsh when the start is refused; standard output stays empty, which leaves the XML of a
 * migration or a restore as it is.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/domain-xml.h"
#include "common/ops/domain-adopt.h"
#include "common/ops/domain-images.h"
#include "common/ops/operations.h"
#include "common/ops/policy-file.h"
#include "libvirt-hooks/guard/log.h"
#include "libvirt-hooks/hook-decide.h"
#include "libvirt-hooks/hook-environment.h"
#include "libvirt-hooks/hook-guard.h"
#include "libvirt-hooks/hook-supervise.h"

/* Less than a person's patience; for the guard more, because without it a start may be refused. */
#define DEADLINE_SECONDS 2
#define GUARD_DEADLINE_SECONDS 5

/* All of standard input, read to its end even when it is more than anyone would parse. */
static GString *
read_input(void)
{
    GString *input = g_string_new(NULL);
    char buffer[65536];
    gssize got;

    while ((got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0) {
        if (input->len <= SNAPSET_DOMAIN_XML_MAX)
            g_string_append_len(input, buffer, got);
    }
    return input;
}

static void G_GNUC_PRINTF(2, 3) log_line(const char *domain, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *line = g_strdup_printf("domain %s: %s", domain, message);
    snapset_format_disarm(line);
    snapset_log_line("snapshot-set-hook", LOG_WARNING, "%s", line);
}

static void
log_lines(const char *domain, GPtrArray *lines, const char *consequence)
{
    for (guint i = 0; i < lines->len; i++)
        log_line(domain, "%s%s", (char *)lines->pdata[i], consequence);
}

/* The domain's disks as files that an offline operation may have been interrupted on. */
static GPtrArray *
sources_of(const SnapsetDomain *disks)
{
    GPtrArray *sources = g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);

    for (guint i = 0; i < disks->disks->len; i++) {
        const SnapsetDisk *disk = disks->disks->pdata[i];
        if (disk->path == NULL)
            continue;
        g_ptr_array_add(sources, snapset_source_new_file(disk->path, disk->format));
    }
    return sources;
}

/* What is said when there is no time left to say more. */
static void
refuse_pending(const SnapsetReport *report, SnapsetOutcome *outcome, const char *why)
{
    if (report->verdicts.of[SNAPSET_RULE_OPERATION_PENDING] == SNAPSET_DENY)
        snapset_outcome_refuse(outcome,
                               "snapshot-set: refused [operation-pending]: %s\n"
                               "hint: qemu-img snapshot-set recover\n",
                               why);
}

/*
 * Finish or undo what a crash of an offline operation left of these images; FALSE: it stays, or is
 * still at work. Disks half-way between two moments are not started with because that takes long.
 */
static gboolean
recover(const char *domain, const SnapsetDomain *disks, SnapsetReport *report,
        SnapsetOutcome *outcome)
{
    g_autoptr(GPtrArray) sources = sources_of(disks);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    guint count = 0, running = 0;

    if (!snapset_recover(sources, SNAPSET_RECOVERY_TRY, &count, &running, NULL, NULL) ||
        count + running > 0)
        refuse_pending(report, outcome,
                       "recovering an interrupted operation on these disks takes long");
    gboolean recovered =
        snapset_recover(sources, SNAPSET_RECOVERY_IN_USE, &count, &running, notes, &error);
    if (recovered && running == 0)
        snapset_outcome_pass(outcome);
    else
        refuse_pending(report, outcome, "an operation on these disks has not come to its end");
    log_lines(domain, notes, "");
    if (!recovered)
        snapset_report_add(report, SNAPSET_RULE_OPERATION_PENDING, NULL, NULL,
                           g_strdup("qemu-img snapshot-set recover"), "%s", error->message);
    else if (running > 0)
        snapset_report_add(report, SNAPSET_RULE_OPERATION_PENDING, NULL, NULL,
                           g_strdup("start the machine once that has ended"),
                           "a command of snapshot-set is at work on these disks");
    return recovered && running == 0;
}

/* Bring the records up to date; what cannot be done now is done at the next start. */
static void
replay(const char *name, const SnapsetDomain *domain, gboolean closed)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    if (!snapset_domain_replay(domain, closed, notes, &error))
        log_line(name, "the records are not up to date yet: %s", error->message);
    else
        log_lines(name, notes, "; what the guest did with its snapshots is not recorded there");
}

/* The disks as they are judged: with what libvirt's own metadata tells of them recorded. */
static SnapsetCatalog *
read_disks(const char *name, const SnapsetDomain *domain)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) adopted = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) again = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    gboolean is_changed = snapset_domain_adopt(domain, catalog, adopted);

    log_lines(name, notes, "; it is judged as if it had no snapshots");
    log_lines(name, adopted, "");
    if (!is_changed)
        return g_steal_pointer(&catalog);
    g_autoptr(GPtrArray) changed = snapset_domain_images(domain, again);
    return snapset_catalog_new(changed);
}

static void
prepare(const char *name, const SnapsetDomain *domain, SnapsetOutcome *outcome)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(SnapsetReport) report = snapset_report_new(&policy.verdicts);

    if (complaint != NULL)
        log_line(name, "%s", complaint);
    /* What was begun offline came after what a crash of the host left in the live journal. */
    if (recover(name, domain, report, outcome))
        replay(name, domain, FALSE);
    g_autoptr(SnapsetCatalog) catalog = read_disks(name, domain);
    g_autoptr(SnapsetDecision) decision =
        snapset_hook_decide(SNAPSET_EVENT_PREPARE, catalog, report);
    log_lines(name, decision->log, "");
    if (decision->refusal != NULL) {
        snapset_outcome_refuse(outcome, "%s", decision->refusal);
        log_line(name, "%s", g_strdelimit(decision->refusal, "\n", ' '));
    }
}

/* ---- the guard and the live journal ---- */

/* Failing is only logged. */
static void
append(const char *name, const SnapsetDomain *domain, const SnapsetLiveEvent *event)
{
    g_autoptr(GError) error = NULL;

    if (!snapset_live_journal_append(domain->uuid != NULL ? domain->uuid : "", event, &error))
        log_line(name, "%s", error->message);
}

/* Note in the domain's live journal what is true of its images now. */
static void
append_event(const char *name, const SnapsetDomain *domain, SnapsetLiveEventKind kind,
             const char *tag)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    g_autoptr(SnapsetLiveEvent) event = snapset_domain_event(kind, tag, images);

    append(name, domain, event);
}

static void
refuse_unguarded(SnapsetOutcome *outcome, const char *why)
{
    snapset_outcome_refuse(
        outcome,
        "snapshot-set: the machine may not start without its monitor guard: %s\n"
        "hint: mode=best-effort in the [guard] section of the policy file starts it unguarded\n",
        why);
}

/* Until the guard is in place, or known to be dispensable, the start is refused. */
static void
start(const char *name, const SnapsetDomain *domain, SnapsetOutcome *outcome)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(GError) error = NULL;

    if (policy.guard_mode != SNAPSET_GUARD_REQUIRED)
        snapset_outcome_pass(outcome);
    if (policy.guard_mode == SNAPSET_GUARD_OFF)
        return;
    if (snapset_hook_insert_guard(domain, &policy, &error)) {
        snapset_outcome_pass(outcome);
        append_event(name, domain, SNAPSET_LIVE_EVENT_START, "");
        return;
    }
    log_line(name, "no guard: %s", error->message);
    if (policy.guard_mode == SNAPSET_GUARD_REQUIRED)
        refuse_unguarded(outcome, error->message);
}

static void
started(const char *name, const SnapsetDomain *domain)
{
    g_autofree char *tag = snapset_hook_loaded_tag(domain);

    if (tag == NULL)
        return;
    g_autoptr(SnapsetLiveEvent) loading = snapset_domain_loading(domain, tag);
    append(name, domain, loading); /* what was loaded is known once the images are read */
    append_event(name, domain, SNAPSET_LIVE_EVENT_LOAD, tag);
}

/* An event of a domain's life. */
typedef struct {
    SnapsetHookEvent event;
    const char *name;
    const GString *xml;
} Call;

static void
handle(SnapsetOutcome *outcome, gpointer data)
{
    const Call *call = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(SnapsetDomain) domain =
        snapset_domain_from_xml(call->xml->str, call->xml->len, &error);

    if (domain == NULL) {
        log_line(call->name, "%s; nothing was judged", error->message);
        snapset_outcome_pass(outcome);
        return;
    }
    if (call->event == SNAPSET_EVENT_PREPARE)
        prepare(call->name, domain, outcome);
    else if (call->event == SNAPSET_EVENT_RELEASE)
        replay(call->name, domain, TRUE);
    else if (call->event == SNAPSET_EVENT_START)
        start(call->name, domain, outcome);
    else if (call->event == SNAPSET_EVENT_STARTED)
        started(call->name, domain);
}

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    g_autoptr(GString) input = read_input();
    SnapsetHookEvent event = argc >= 4 ? snapset_hook_event(argv[2], argv[3]) : SNAPSET_EVENT_OTHER;
    if (event == SNAPSET_EVENT_OTHER)
        return 0;
    snapset_hook_complete_environment();
    Call call = {event, argv[1], input};
    SnapsetOutcome *outcome = snapset_outcome_new();
    gboolean is_start = event == SNAPSET_EVENT_START;
    if (is_start)
        refuse_unguarded(outcome, "putting it in place took too long, or failed");
    const char *failure = snapset_supervise(is_start ? GUARD_DEADLINE_SECONDS : DEADLINE_SECONDS,
                                            handle, outcome, &call);
    if (failure != NULL)
        log_line(call.name, "%s: the hook %s, and was given up; the event %s", argv[2], failure,
                 outcome->exit_code == 0 ? "passes" : "is refused");
    fputs(outcome->text, stderr);
    return outcome->exit_code;
}
