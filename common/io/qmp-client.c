/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a running QEMU's monitor. */
#include "common/io/qmp-client.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>

#include "common/core/error.h"
#include "common/io/json.h"

#define UNIX_PREFIX "unix:"
#define TCP_PREFIX "tcp:"

/* QEMU greets as soon as it has a client; one that just starts takes a while to get there. */
#define CONNECT_SECONDS 5

/* As much as one answer may be: thousands of disks, or of snapshots. */
#define MESSAGE_MAX (64 * 1024 * 1024)

#define JOB_PREFIX "snapshot-set-"

/* How often a job is asked how far it is. */
#define PROGRESS_USEC (200 * 1000)

struct SnapsetQmp {
    GSocketConnection *connection;
    GSocket *socket; /* the connection's */
    GByteArray *input;
    gsize scanned; /* bytes of @input that were looked at */
    guint depth;   /* open braces and brackets there */
    gboolean in_string, escaped;
    gboolean is_alive;
    GHashTable *commands; /* names that this QEMU knows; NULL: not asked yet */
};

void
snapset_qmp_free(SnapsetQmp *qmp)
{
    if (qmp == NULL)
        return;
    g_clear_object(&qmp->connection);
    g_byte_array_unref(qmp->input);
    g_clear_pointer(&qmp->commands, g_hash_table_unref);
    g_free(qmp);
}

/* ---- messages: by their braces, as they may be spread over lines ("pretty=on") ---- */

typedef enum {
    SCAN_MORE,
    SCAN_WHOLE,   /* this byte ends an object */
    SCAN_FOREIGN, /* no object begins so */
} Scan;

static Scan
scan_byte(SnapsetQmp *qmp, guint8 byte)
{
    if (qmp->in_string) {
        gboolean ends = byte == '"' && !qmp->escaped;
        qmp->escaped = byte == '\\' && !qmp->escaped;
        qmp->in_string = !ends;
        return SCAN_MORE;
    }
    if (byte == '{' || byte == '[')
        qmp->depth++;
    else if (qmp->depth == 0)
        return g_ascii_isspace(byte) ? SCAN_MORE : SCAN_FOREIGN;
    else if (byte == '"')
        qmp->in_string = TRUE;
    else if ((byte == '}' || byte == ']') && --qmp->depth == 0)
        return SCAN_WHOLE;
    return SCAN_MORE;
}

/* The next message of the input, which is taken out of it. */
static JsonNode *
parse_message(SnapsetQmp *qmp, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    gboolean parsed = json_parser_load_from_data(parser, (const char *)qmp->input->data,
                                                 (gssize)qmp->scanned, NULL);

    g_byte_array_remove_range(qmp->input, 0, (guint)qmp->scanned);
    qmp->scanned = 0;
    if (parsed && JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser)))
        return json_parser_steal_root(parser);
    snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU's answer cannot be read");
    return NULL;
}

static gboolean
receive(SnapsetQmp *qmp, GError **error)
{
    char buffer[65536];
    g_autoptr(GError) failure = NULL;
    gssize got = g_socket_receive(qmp->socket, buffer, sizeof buffer, NULL, &failure);

    qmp->is_alive = got > 0;
    if (got == 0)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU went away");
    if (g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
        return snapset_throw(error, SNAPSET_ERROR_FAILED,
                             "QEMU does not answer: another client has this monitor, or QEMU is "
                             "busy");
    if (got < 0)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU went away: %s", failure->message);
    if (qmp->input->len + (gsize)got > MESSAGE_MAX)
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU's answer is too long");
    g_byte_array_append(qmp->input, (const guint8 *)buffer, (guint)got);
    return TRUE;
}

/* Wait for a message, an event or an answer. */
static JsonNode *
read_message(SnapsetQmp *qmp, GError **error)
{
    for (;;) {
        while (qmp->scanned < qmp->input->len) {
            Scan scan = scan_byte(qmp, qmp->input->data[qmp->scanned++]);
            if (scan == SCAN_WHOLE)
                return parse_message(qmp, error);
            if (scan == SCAN_FOREIGN) {
                snapset_throw(error, SNAPSET_ERROR_FAILED, "this is no QMP monitor");
                return NULL;
            }
        }
        if (!receive(qmp, error))
            return NULL;
    }
}

/* ---- commands ---- */

static gboolean
send_command(SnapsetQmp *qmp, const char *command, GVariant *arguments, GError **error)
{
    GVariantDict dict;
    g_autoptr(GError) failure = NULL;
    gsize size = 0;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "execute", "s", command);
    if (arguments != NULL)
        g_variant_dict_insert_value(&dict, "arguments", arguments);
    g_autoptr(GVariant) message = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_autofree char *text = json_gvariant_serialize_data(message, &size);
    GOutputStream *stream = g_io_stream_get_output_stream(G_IO_STREAM(qmp->connection));
    if (g_output_stream_write_all(stream, text, size, NULL, NULL, &failure) &&
        g_output_stream_write_all(stream, "\r\n", 2, NULL, NULL, &failure))
        return TRUE;
    qmp->is_alive = FALSE;
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "QEMU went away: %s", failure->message);
}

/* The answer to the command that was sent; events before it are passed over. */
static JsonNode *
read_answer(SnapsetQmp *qmp, GError **error)
{
    for (;;) {
        g_autoptr(JsonNode) message = read_message(qmp, error);
        if (message == NULL)
            return NULL;
        JsonObject *object = json_node_get_object(message);
        JsonObject *refusal = snapset_json_object(object, "error");
        if (refusal != NULL) {
            const char *reason = snapset_json_text(refusal, "desc");
            snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", reason != NULL ? reason : "no reason");
            return NULL;
        }
        if (json_object_has_member(object, "return"))
            return json_object_dup_member(object, "return");
    }
}

JsonNode *
snapset_qmp_execute(SnapsetQmp *qmp, const char *command, GVariant *arguments, GError **error)
{
    JsonNode *answer =
        send_command(qmp, command, arguments, error) ? read_answer(qmp, error) : NULL;

    if (answer == NULL)
        g_prefix_error(error, "%s: ", command);
    return answer;
}

gboolean
snapset_qmp_has_command(SnapsetQmp *qmp, const char *command)
{
    if (qmp->commands == NULL) {
        g_autoptr(JsonNode) answer = snapset_qmp_execute(qmp, "query-commands", NULL, NULL);
        JsonArray *all =
            answer != NULL && JSON_NODE_HOLDS_ARRAY(answer) ? json_node_get_array(answer) : NULL;
        qmp->commands = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        for (guint i = 0; i < snapset_json_length(all); i++) {
            const char *name = snapset_json_text(snapset_json_element(all, i), "name");
            if (name != NULL)
                g_hash_table_add(qmp->commands, g_strdup(name));
        }
    }
    return g_hash_table_contains(qmp->commands, command);
}

/* ---- jobs ---- */

/* How job @id stands: *ret_job is its part of *ret_answer, which the caller frees. */
static gboolean
query_job(SnapsetQmp *qmp, const char *id, JsonNode **ret_answer, JsonObject **ret_job,
          GError **error)
{
    g_autoptr(JsonNode) answer = snapset_qmp_execute(qmp, "query-jobs", NULL, error);

    if (answer == NULL)
        return FALSE;
    JsonArray *jobs = JSON_NODE_HOLDS_ARRAY(answer) ? json_node_get_array(answer) : NULL;
    for (guint i = 0; i < snapset_json_length(jobs); i++) {
        JsonObject *job = snapset_json_element(jobs, i);
        if (g_strcmp0(snapset_json_text(job, "id"), id) != 0)
            continue;
        *ret_job = job;
        *ret_answer = g_steal_pointer(&answer);
        return TRUE;
    }
    return snapset_throw(error, SNAPSET_ERROR_FAILED, "somebody else has ended the job");
}

/* A job that goes along with the guest's writes is done when it is told to be. */
static gboolean
complete_job(SnapsetQmp *qmp, const char *id, GError **error)
{
    g_autoptr(JsonNode) answer =
        snapset_qmp_execute(qmp, "job-complete", g_variant_new_parsed("{'id': <%s>}", id), error);
    return answer != NULL;
}

/* Wait until the job has concluded. FALSE with its error, in QEMU's own words. */
static gboolean
wait_for_job(SnapsetQmp *qmp, const char *id, SnapsetProgress progress, gpointer data,
             GError **error)
{
    gboolean completed = FALSE;

    for (;;) {
        g_autoptr(JsonNode) answer = NULL;
        JsonObject *job = NULL;
        if (!query_job(qmp, id, &answer, &job, error))
            return FALSE;
        if (!completed && g_strcmp0(snapset_json_text(job, "status"), "ready") == 0) {
            if (!complete_job(qmp, id, error))
                return FALSE;
            completed = TRUE;
        }
        if (g_strcmp0(snapset_json_text(job, "status"), "concluded") == 0) {
            const char *failure = snapset_json_text(job, "error");
            return failure == NULL || snapset_throw(error, SNAPSET_ERROR_FAILED, "%s", failure);
        }
        guint64 total = snapset_json_number(job, "total-progress");
        guint64 done = snapset_json_number(job, "current-progress");
        if (progress != NULL && total > 0 && done < total)
            progress((double)done / (double)total, data);
        /* An event, of which there is one whenever a job changes, ends the waiting. */
        g_socket_condition_timed_wait(qmp->socket, G_IO_IN, PROGRESS_USEC, NULL, NULL);
    }
}

static gboolean
finish_job(SnapsetQmp *qmp, const char *id, SnapsetProgress progress, gpointer data, GError **error)
{
    gboolean done = wait_for_job(qmp, id, progress, data, error);
    g_autoptr(JsonNode) dismissed =
        snapset_qmp_execute(qmp, "job-dismiss", g_variant_new_parsed("{'id': <%s>}", id), NULL);
    return done;
}

gboolean
snapset_qmp_run_job(SnapsetQmp *qmp, const char *command, GVariantDict *arguments,
                    SnapsetProgress progress, gpointer data, GError **error)
{
    g_autofree char *random = g_uuid_string_random();
    g_autofree char *id = g_strdup_printf(JOB_PREFIX "%.8s", random);

    g_variant_dict_insert(arguments, "job-id", "s", id);
    g_autoptr(JsonNode) begun =
        snapset_qmp_execute(qmp, command, g_variant_dict_end(arguments), error);
    if (begun == NULL)
        return FALSE;
    if (!finish_job(qmp, id, progress, data, error)) {
        g_prefix_error(error, "%s: ", command);
        return FALSE;
    }
    if (progress != NULL)
        progress(1, data);
    return TRUE;
}

void
snapset_qmp_finish_jobs(SnapsetQmp *qmp, const char *type, SnapsetProgress progress, gpointer data)
{
    g_autoptr(JsonNode) answer = snapset_qmp_execute(qmp, "query-jobs", NULL, NULL);
    JsonArray *jobs =
        answer != NULL && JSON_NODE_HOLDS_ARRAY(answer) ? json_node_get_array(answer) : NULL;

    for (guint i = 0; i < snapset_json_length(jobs); i++) {
        JsonObject *job = snapset_json_element(jobs, i);
        const char *id = snapset_json_text(job, "id");
        if (id != NULL && g_str_has_prefix(id, JOB_PREFIX) &&
            g_strcmp0(snapset_json_text(job, "type"), type) == 0)
            finish_job(qmp, id, progress, data, NULL);
    }
}

/* ---- connecting ---- */

static GSocketConnectable *
parse_address(const char *address, GError **error)
{
    g_autoptr(GSocketConnectable) host = NULL;
    const char *path = address + strlen(UNIX_PREFIX);

    if (g_str_has_prefix(address, UNIX_PREFIX) && *path != '\0')
        return G_SOCKET_CONNECTABLE(g_unix_socket_address_new(path));
    if (g_str_has_prefix(address, TCP_PREFIX))
        host = g_network_address_parse(address + strlen(TCP_PREFIX), 0, NULL);
    if (host != NULL && g_network_address_get_port(G_NETWORK_ADDRESS(host)) != 0)
        return g_steal_pointer(&host);
    snapset_throw(error, SNAPSET_ERROR_USAGE, "--qmp takes unix:PATH or tcp:HOST:PORT, not '%s'",
                  address);
    return NULL;
}

/* Be greeted, and leave the negotiation of capabilities, for which there is a time limit. */
static gboolean
greet(SnapsetQmp *qmp, GError **error)
{
    g_autoptr(JsonNode) greeting = read_message(qmp, error);

    if (greeting == NULL)
        return FALSE;
    if (!json_object_has_member(json_node_get_object(greeting), "QMP"))
        return snapset_throw(error, SNAPSET_ERROR_FAILED, "this is no QMP monitor");
    g_autoptr(JsonNode) agreed = snapset_qmp_execute(qmp, "qmp_capabilities", NULL, error);
    return agreed != NULL;
}

SnapsetQmp *
snapset_qmp_connect(const char *address, GError **error)
{
    g_autoptr(GSocketConnectable) peer = parse_address(address, error);
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(SnapsetQmp) qmp = g_new0(SnapsetQmp, 1);
    g_autoptr(GError) failure = NULL;

    qmp->input = g_byte_array_new();
    if (peer == NULL)
        return NULL;
    g_socket_client_set_timeout(client, CONNECT_SECONDS);
    g_socket_client_set_enable_proxy(client, FALSE);
    qmp->connection = g_socket_client_connect(client, peer, NULL, &failure);
    if (qmp->connection == NULL) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "cannot connect to '%s': %s", address,
                      failure->message);
        return NULL;
    }
    qmp->socket = g_socket_connection_get_socket(qmp->connection);
    if (!greet(qmp, &failure)) {
        snapset_throw(error, SNAPSET_ERROR_FAILED, "'%s': %s", address, failure->message);
        return NULL;
    }
    g_socket_set_timeout(qmp->socket, 0);
    return g_steal_pointer(&qmp);
}

gboolean
snapset_qmp_is_alive(const SnapsetQmp *qmp)
{
    return qmp->is_alive;
}

pid_t
snapset_qmp_peer(const SnapsetQmp *qmp)
{
    g_autoptr(GCredentials) peer = g_socket_get_credentials(qmp->socket, NULL);
    return peer != NULL ? MAX(g_credentials_get_unix_pid(peer, NULL), 0) : 0;
}
