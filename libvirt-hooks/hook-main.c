/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The libvirt qemu hook: DOMAIN OPERATION SUBOPERATION EXTRA, the domain's XML on standard input.
 *
 * libvirt holds the domain's job while it waits for this program, so nothing here calls libvirt,
 * and a deadline of our own ends it. What is written to standard error reaches the person at virsh
 * when the start is refused; standard output stays empty, which leaves the XML of a migration or a
 * restore as it is.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/core/format.h"
#include "common/io/domain-xml.h"
#include "common/ops/domain-images.h"
#include "common/ops/operations.h"
#include "common/ops/policy-file.h"
#include "libvirt-hooks/hook-decide.h"
#include "libvirt-hooks/hook-environment.h"
#include "libvirt-hooks/hook-guard.h"

#define DEADLINE_SECONDS 5

/* Whatever takes so long must not keep machines from starting. */
static void
give_up(int signal_number)
{
    _exit(0);
}

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
    snapset_format_disarm(message);
    syslog(LOG_WARNING, "domain %s: %s", domain, message);
}

/* Finish or undo what a crash of an offline operation left of these images. */
static void
recover(const char *domain, const SnapsetDomain *disks, SnapsetReport *report)
{
    g_autoptr(GPtrArray) sources =
        g_ptr_array_new_with_free_func((GDestroyNotify)snapset_source_free);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    guint count = 0;

    for (guint i = 0; i < disks->disks->len; i++) {
        const SnapsetDisk *disk = disks->disks->pdata[i];
        if (disk->path == NULL)
            continue;
        SnapsetSource *source = snapset_source_new("-", disk->format, FALSE, NULL);
        g_free(source->path); /* a path here is never a protocol, whatever it looks like */
        source->path = g_strdup(disk->path);
        g_ptr_array_add(sources, source);
    }
    gboolean recovered = snapset_recover(sources, 0, &count, NULL, notes, &error);
    for (guint i = 0; i < notes->len; i++)
        log_line(domain, "%s", (char *)notes->pdata[i]);
    if (!recovered)
        snapset_report_add(report, SNAPSET_RULE_OPERATION_PENDING, NULL, NULL,
                           g_strdup("qemu-img snapshot-set recover"), "%s", error->message);
}

static int
prepare(const char *name, const SnapsetDomain *domain)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(SnapsetReport) report = snapset_report_new(&policy.verdicts);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);

    if (complaint != NULL)
        log_line(name, "%s", complaint);
    recover(name, domain, report);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    for (guint i = 0; i < notes->len; i++)
        log_line(name, "%s", (char *)notes->pdata[i]);
    g_autoptr(SnapsetCatalog) catalog = snapset_catalog_new(images);
    g_autoptr(SnapsetDecision) decision =
        snapset_hook_decide(SNAPSET_EVENT_PREPARE, catalog, report);
    for (guint i = 0; i < decision->log->len; i++)
        log_line(name, "%s", (char *)decision->log->pdata[i]);
    if (decision->refusal != NULL) {
        fputs(decision->refusal, stderr);
        log_line(name, "%s", decision->refusal);
    }
    return decision->exit_code;
}

/* ---- the guard and the live journal ---- */

/* Note in the domain's live journal what is true of its images now; failing is only logged. */
static void
append_event(const char *name, const SnapsetDomain *domain, SnapsetLiveEventKind kind,
             const char *tag)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) images = snapset_domain_images(domain, notes);
    g_autoptr(SnapsetLiveEvent) event = snapset_domain_event(kind, tag, images);
    g_autoptr(GError) error = NULL;

    if (!snapset_live_journal_append(domain->uuid != NULL ? domain->uuid : "", event, &error))
        log_line(name, "%s", error->message);
}

static int
start(const char *name, const SnapsetDomain *domain)
{
    g_autofree char *complaint = NULL;
    SnapsetPolicy policy = snapset_policy_load(name, &complaint);
    g_autoptr(GError) error = NULL;

    if (policy.guard_mode == SNAPSET_GUARD_OFF)
        return 0;
    if (snapset_hook_insert_guard(domain, &policy, &error)) {
        append_event(name, domain, SNAPSET_LIVE_EVENT_START, "");
        return 0;
    }
    log_line(name, "no guard: %s", error->message);
    if (policy.guard_mode == SNAPSET_GUARD_BEST_EFFORT)
        return 0;
    fprintf(
        stderr,
        "snapshot-set: the machine may not start without its monitor guard: %s\n"
        "hint: mode=best-effort in the [guard] section of the policy file starts it unguarded\n",
        error->message);
    return 1;
}

static void
started(const char *name, const SnapsetDomain *domain)
{
    g_autofree char *tag = snapset_hook_loaded_tag(domain);

    if (tag != NULL)
        append_event(name, domain, SNAPSET_LIVE_EVENT_LOAD, tag);
}

/* Bring the records up to date; what cannot be done now is done at the next start. */
static void
replay(const char *name, const SnapsetDomain *domain)
{
    g_autoptr(GError) error = NULL;

    if (!snapset_domain_replay(domain, &error))
        log_line(name, "the records are not up to date yet: %s", error->message);
}

static int
run(SnapsetHookEvent event, const char *name, const SnapsetDomain *domain)
{
    switch (event) {
    case SNAPSET_EVENT_PREPARE:
        replay(name, domain);
        return prepare(name, domain);
    case SNAPSET_EVENT_START:
        return start(name, domain);
    case SNAPSET_EVENT_STARTED:
        started(name, domain);
        return 0;
    case SNAPSET_EVENT_RELEASE:
        replay(name, domain);
        return 0;
    case SNAPSET_EVENT_OTHER:
        return 0;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    signal(SIGALRM, give_up);
    signal(SIGPIPE, SIG_IGN);
    alarm(DEADLINE_SECONDS);
    umask(0077);
    g_autoptr(GString) input = read_input();
    SnapsetHookEvent event = argc >= 4 ? snapset_hook_event(argv[2], argv[3]) : SNAPSET_EVENT_OTHER;
    if (event == SNAPSET_EVENT_OTHER)
        return 0;
    openlog("snapshot-set-hook", LOG_PID, LOG_DAEMON);
    snapset_hook_complete_environment();
    g_autoptr(SnapsetDomain) domain = snapset_domain_from_xml(input->str, input->len, &error);
    if (domain == NULL) {
        log_line(argv[1], "%s; nothing was judged", error->message);
        return 0;
    }
    return run(event, argv[1], domain);
}
