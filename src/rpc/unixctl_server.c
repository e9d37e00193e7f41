/* Design
 *
 * A client is one connection.  Its connection is paused from the moment a
 * request is handed to a handler until the call is answered, which keeps
 * replies in order and bounds what a client can make the server hold.
 *
 * A call belongs to its handler until answered; it and its client point to
 * each other, and whichever ends first clears the other's pointer.  So a call
 * may outlive its client, and even the server.
 */
#include "reeve/unixctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RV_LOG_THIS RV_LOG_RPC

#include "reeve/log.h"
#include "reeve/connection.h"
#include "reeve/coverage.h"
#include "rpc/unixctl_builtin.h"
#include "rpc/unixctl_listen.h"

RV_COVERAGE_DEFINE(unixctl_received);

enum {
    ACCEPTS_PER_TURN = 256,
    ACCEPT_RETRY_MS = 100, /* After running out of descriptors or memory. */
    /* Beyond the longest reply: so that an error reply always fits. */
    OUTPUT_MARGIN_BYTES = 4096,
};

struct client {
    struct rv_list node;
    struct rv_unixctl_server *server;
    struct rv_unixctl_call *call; /* In progress, or NULL. */
    uint64_t number;
    bool wants_json;
    struct rv_connection connection;
};

struct rv_unixctl_call {
    struct client *client; /* NULL once dead. */
    json_t *id, *method, *params;
    rv_unixctl_cancelled *cancelled;
    void *cancelled_context;
    bool wants_json;
};

/* Calls. */

const char *
rv_unixctl_call_name(const struct rv_unixctl_call *call)
{
    return json_string_value(call->method);
}

size_t
rv_unixctl_call_n_args(const struct rv_unixctl_call *call)
{
    return json_array_size(call->params);
}

const char *
rv_unixctl_call_arg(const struct rv_unixctl_call *call, size_t i)
{
    RV_ASSERT(i < rv_unixctl_call_n_args(call));
    return json_string_value(json_array_get(call->params, i));
}

bool
rv_unixctl_call_wants_json(const struct rv_unixctl_call *call)
{
    return call->wants_json;
}

void
rv_unixctl_call_set_json(struct rv_unixctl_call *call, bool wants_json)
{
    call->wants_json = wants_json;
    if (call->client) {
        call->client->wants_json = wants_json;
    }
}

bool
rv_unixctl_call_is_dead(const struct rv_unixctl_call *call)
{
    return !call->client;
}

void
rv_unixctl_call_on_cancelled(struct rv_unixctl_call *call,
                             rv_unixctl_cancelled *cancelled, void *context)
{
    call->cancelled = cancelled;
    call->cancelled_context = context;
}

static void
destroy_call(struct rv_unixctl_call *call)
{
    json_decref(call->id);
    json_decref(call->method);
    json_decref(call->params);
    free(call);
}

/* Sends one of 'result' and 'error'; both references stay the caller's. */
static int
send_answer(struct client *client, const struct rv_unixctl_call *call,
            json_t *result, json_t *error)
{
    struct rv_jsonrpc_message message = {
        .type = error ? RV_JSONRPC_ERROR : RV_JSONRPC_REPLY,
        .id = call->id,
        .result = result,
        .error = error,
    };
    return rv_connection_send(&client->connection, &message);
}

/* Puts an error in the place of an answer that could not be sent. */
static void
send_substitute(struct client *client, const struct rv_unixctl_call *call,
                int rc)
{
    json_t *text =
        json_string(rc == -EMSGSIZE ? "the reply is above the size limit\n"
                                    : "out of memory\n");
    int rc2 = text ? send_answer(client, call, NULL, text) : -ENOMEM;
    json_decref(text);
    if (rc2) {
        rv_connection_abort(&client->connection, rc2);
    }
}

/* Answers and frees 'call'.  Consumes 'result' or 'error'; when both are NULL
 * there was no memory for one. */
static void
answer(struct rv_unixctl_call *call, json_t *result, json_t *error)
{
    struct client *client = call->client;
    if (client) {
        int rc = result || error ? send_answer(client, call, result, error)
                                 : -ENOMEM;
        if (rc) {
            send_substitute(client, call, rc);
        }
        client->call = NULL;
        rv_connection_resume(&client->connection);
    }
    json_decref(result);
    json_decref(error);
    destroy_call(call);
}

/* 'text' with a newline at its end, which clients of all versions print
 * right.  NULL without memory. */
static json_t *
line_text(const char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (!n || text[n - 1] == '\n') {
        return rv_jsonrpc_text(n ? text : "");
    }
    char *line = malloc(n + 2);
    if (!line) {
        return NULL;
    }
    memcpy(line, text, n);
    memcpy(line + n, "\n", 2);
    json_t *string = rv_jsonrpc_text(line);
    free(line);
    return string;
}

void
rv_unixctl_reply(struct rv_unixctl_call *call, const char *text)
{
    json_t *result = line_text(text);
    if (result && call->wants_json) {
        result =
            json_pack("{s:s, s:o}", "reply-format", "plain", "reply", result);
    }
    answer(call, result, NULL);
}

void
rv_unixctl_reply_buf(struct rv_unixctl_call *call, struct rv_buf *text)
{
    if (text->failed) {
        rv_unixctl_reply_error(call, "out of memory");
    } else {
        rv_unixctl_reply(call, rv_buf_string(text));
    }
    rv_buf_deinit(text);
}

void
rv_unixctl_reply_json(struct rv_unixctl_call *call, json_t *result)
{
    if (call->wants_json || !result) {
        answer(call, result, NULL);
        return;
    }
    char *text = json_dumps(result, JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_decref(result);
    answer(call, text ? line_text(text) : NULL, NULL);
    free(text);
}

void
rv_unixctl_reply_error(struct rv_unixctl_call *call, const char *text)
{
    answer(call, NULL, line_text(text));
}

/* Commands. */

/* The place of 'name' in the sorted table, or where it belongs. */
static size_t
find_place(const struct rv_unixctl_server *server, const char *name,
           bool *is_found)
{
    size_t low = 0;
    size_t high = server->n_commands;
    *is_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, server->commands[middle].name);
        if (!order) {
            *is_found = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

int
rv_unixctl_register(struct rv_unixctl_server *server, const char *name,
                    const char *usage, int min_args, int max_args,
                    rv_unixctl_handler *handler, void *context)
{
    if (min_args < 0 || min_args > max_args) {
        return -EINVAL;
    }
    bool is_found;
    size_t place = find_place(server, name, &is_found);
    if (is_found) {
        return -EEXIST;
    }
    if (server->n_commands == server->commands_capacity) {
        size_t capacity = server->commands_capacity * 2 + 16;
        struct rv_unixctl_command *commands =
            reallocarray(server->commands, capacity, sizeof *commands);
        if (!commands) {
            return -ENOMEM;
        }
        server->commands = commands;
        server->commands_capacity = capacity;
    }
    struct rv_unixctl_command *command = &server->commands[place];
    memmove(command + 1, command,
            (server->n_commands - place) * sizeof *command);
    *command = (struct rv_unixctl_command){.name = name,
                                           .usage = usage,
                                           .min_args = (size_t)min_args,
                                           .max_args = (size_t)max_args,
                                           .handler = handler,
                                           .context = context};
    server->n_commands++;
    return 0;
}

/* Writes what is wrong with a request for 'command' (NULL: unknown) into
 * 'text', in the words of Open vSwitch; nothing when it is right. */
static void
judge_request(const struct rv_unixctl_call *call,
              const struct rv_unixctl_command *command, struct rv_buf *text)
{
    const char *name = rv_unixctl_call_name(call);
    size_t n = rv_unixctl_call_n_args(call);
    if (!command) {
        rv_buf_printf(text,
                      "\"%s\" is not a valid command (use "
                      "\"list-commands\" to see a list of valid commands)",
                      name);
    } else if (n < command->min_args) {
        rv_buf_printf(text, "\"%s\" command requires at least %zu arguments",
                      name, command->min_args);
    } else if (n > command->max_args) {
        rv_buf_printf(text, "\"%s\" command takes at most %zu arguments", name,
                      command->max_args);
    } else {
        for (size_t i = 0; i < n; i++) {
            if (!json_is_string(json_array_get(call->params, i))) {
                rv_buf_printf(text, "\"%s\" command has non-string argument",
                              name);
                return;
            }
        }
    }
}

static void
run_call(struct rv_unixctl_server *server, struct rv_unixctl_call *call)
{
    bool is_found;
    size_t place = find_place(server, rv_unixctl_call_name(call), &is_found);
    struct rv_unixctl_command *command =
        is_found ? &server->commands[place] : NULL;
    struct rv_buf complaint;
    rv_buf_init(&complaint, server->limits.max_request_bytes + 1024);
    RV_COVERAGE_INC(unixctl_received);
    judge_request(call, command, &complaint);
    if (command && !complaint.length && !complaint.failed) {
        command->handler(call, command->context);
    } else {
        rv_unixctl_reply_error(call, complaint.length
                                         ? rv_buf_string(&complaint)
                                         : "out of memory");
    }
    rv_buf_deinit(&complaint);
}

/* Clients. */

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *client_)
{
    struct client *client = client_;
    struct rv_unixctl_server *server = client->server;
    if (message->type != RV_JSONRPC_REQUEST) {
        return -EPROTO;
    }
    struct rv_unixctl_call *call = calloc(1, sizeof *call);
    if (!call) {
        return -ENOMEM;
    }
    call->client = client;
    call->wants_json = client->wants_json;
    call->id = message->id;
    call->method = message->method;
    call->params = message->params;
    message->id = message->method = message->params = NULL;
    client->call = call;
    rv_list_remove(&client->node);
    rv_list_push_back(&server->clients, &client->node);
    rv_connection_pause(connection);
    run_call(server, call);
    return 0;
}

/* Forgets a client and tells its call. */
static void
destroy_client(struct client *client)
{
    struct rv_unixctl_call *call = client->call;
    rv_list_remove(&client->node);
    client->server->n_clients--;
    rv_connection_stop(&client->connection);
    free(client);
    if (call) {
        call->client = NULL;
        if (call->cancelled) {
            call->cancelled(call, call->cancelled_context);
        }
    }
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *client_)
{
    struct client *client = client_;
    if (error->code == -EPROTO || error->code == -EMSGSIZE
        || error->code == -E2BIG) {
        rv_log_warn("control connection %llu: %s; closed",
                    (unsigned long long)client->number, error->text);
    } else if (error->code) {
        rv_log_debug("control connection %llu: %s; closed",
                     (unsigned long long)client->number, error->text);
    }
    destroy_client(client);
}

static const struct rv_connection_callbacks client_callbacks = {
    .on_message = on_message,
    .on_closed = on_closed,
};

static bool
is_client_idle(const struct client *client)
{
    return !client->call && !rv_connection_has_unsent(&client->connection);
}

/* The connection to give up first: the one idle for the longest, else the one
 * that has not read its reply for the longest; NULL if all have a call in
 * progress. */
static struct client *
find_expendable(const struct rv_unixctl_server *server)
{
    struct client *deaf = NULL;
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &server->clients) {
        struct client *client = RV_CONTAINER_OF(node, struct client, node);
        if (is_client_idle(client)) {
            return client;
        }
        if (!client->call && !deaf) {
            deaf = client;
        }
    }
    return deaf;
}

/* Makes room for another connection.  False if all are busy. */
static bool
close_expendable(struct rv_unixctl_server *server, const char *why)
{
    struct client *client = find_expendable(server);
    if (!client) {
        return false;
    }
    rv_log_warn("control connection %llu closed, having been idle for the "
                "longest: %s",
                (unsigned long long)client->number, why);
    destroy_client(client);
    return true;
}

static int
check_peer(const struct rv_unixctl_server *server,
           const struct rv_stream *stream)
{
    uid_t user = 0;
    pid_t process = 0;
    int rc = rv_stream_peer_user(stream, &user, &process);
    if (rc == -EOPNOTSUPP) {
        return server->allows_network ? 0 : -EPERM;
    }
    if (!rc && user && user != geteuid()) {
        rv_log_warn("control connection of user %u, process %d refused: not "
                    "the owner",
                    (unsigned int)user, (int)process);
        return -EPERM;
    }
    return rc;
}

/* Serves 'stream', which stays the caller's on failure. */
static int
add_client(struct rv_unixctl_server *server, struct rv_stream *stream)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        return -ENOMEM;
    }
    const struct rv_unixctl_limits *limits = &server->limits;
    struct rv_connection_limits connection_limits = {
        .max_message_bytes = limits->max_request_bytes,
        .max_output_bytes = limits->max_reply_bytes + OUTPUT_MARGIN_BYTES,
        .max_depth = limits->max_depth,
    };
    int rc =
        rv_connection_start(&client->connection, server->loop, stream,
                            &connection_limits, &client_callbacks, client);
    if (rc) {
        free(client);
        return rc;
    }
    client->server = server;
    client->number = server->n_accepted++;
    server->n_clients++;
    rv_list_init(&client->node);
    rv_list_push_back(&server->clients, &client->node);
    return 0;
}

/* Serves 'stream' if it may be served; consumes it. */
static int
admit(struct rv_unixctl_server *server, struct rv_stream *stream)
{
    int rc = check_peer(server, stream);
    if (!rc && server->n_clients >= server->limits.max_connections
        && !close_expendable(server, "too many connections")) {
        rv_log_warn("control connection refused: all %u are busy",
                    server->n_clients);
        rc = -EBUSY;
    }
    if (!rc) {
        rc = add_client(server, stream);
    }
    if (rc) {
        rv_stream_close(stream);
    }
    return rc;
}

int
rv_unixctl_server_adopt(struct rv_unixctl_server *server, int fd)
{
    RV_ASSERT(server->loop);
    struct rv_stream *stream;
    int rc = rv_stream_adopt(fd, "unix", &stream);
    if (rc) {
        close(fd);
        return rc;
    }
    return admit(server, stream);
}

/* Accepting. */

static void
on_retry(struct rv_timer *timer)
{
    struct rv_unixctl_server *server = timer->context;
    rv_io_set_events(&server->listener, EPOLLIN);
}

/* After a failed accept: what waits keeps the listening socket readable, so
 * without a pause the loop would spin. */
static void
pause_accepting(struct rv_unixctl_server *server, int code)
{
    rv_log_err("cannot accept a control connection: %s", strerror(-code));
    int64_t when_ms = rv_loop_now(server->loop) + ACCEPT_RETRY_MS;
    if (!rv_timer_start(server->loop, &server->retry, when_ms)) {
        rv_io_set_events(&server->listener, 0);
    }
}

static bool
is_shortage(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS
           || code == -ENOMEM;
}

/* Takes one connection that waits; '*acceptedp' tells whether there was one,
 * whatever became of it. */
static int
accept_one(struct rv_unixctl_server *server, bool *acceptedp)
{
    *acceptedp = false;
    if (server->pstream) {
        struct rv_stream *stream;
        int rc = rv_pstream_accept(server->pstream, &stream);
        if (rc) {
            return rc;
        }
        *acceptedp = true;
        return admit(server, stream);
    }
    int fd =
        accept4(server->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *acceptedp = true;
    return rv_unixctl_server_adopt(server, fd);
}

static void
on_acceptable(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct rv_unixctl_server *server = io->context;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        bool is_accepted;
        int rc = accept_one(server, &is_accepted);
        if (is_accepted || rc == -EINTR || rc == -ECONNABORTED) {
            if (is_accepted && is_shortage(rc)) {
                rv_log_err("cannot serve a control connection: %s",
                           strerror(-rc));
            }
            continue;
        }
        /* The kernel looks for a free descriptor before it looks whether
         * anybody waits: behind one that was accepted a shortage says
         * nothing, and must not cost that one its connection. */
        if (rc == -EAGAIN || (i > 0 && is_shortage(rc))) {
            return;
        }
        if (!is_shortage(rc) || !close_expendable(server, strerror(-rc))) {
            pause_accepting(server, rc);
            return;
        }
    }
}

/* Server. */

int
rv_unixctl_server_init(struct rv_unixctl_server *server)
{
    *server = (struct rv_unixctl_server){.loop = NULL};
    rv_list_init(&server->clients);
    rv_io_init(&server->listener, on_acceptable, server);
    rv_timer_init(&server->retry, on_retry, server);
    snprintf(server->version, sizeof server->version, "%.100s (reeve) %s",
             program_invocation_short_name, RV_VERSION);
    RV_COVERAGE_REGISTER(unixctl_received);
    int rc = rv_unixctl_builtin_register(server);
    if (rc) {
        rv_unixctl_server_deinit(server);
    }
    return rc;
}

void
rv_unixctl_server_deinit(struct rv_unixctl_server *server)
{
    rv_unixctl_server_stop(server);
    free(server->commands);
    server->commands = NULL;
    server->n_commands = server->commands_capacity = 0;
}

void
rv_unixctl_server_set_version(struct rv_unixctl_server *server,
                              const char *text)
{
    snprintf(server->version, sizeof server->version, "%s", text);
}

int
rv_unixctl_server_start(struct rv_unixctl_server *server, struct rv_loop *loop,
                        int listen_fd, const struct rv_unixctl_limits *limits)
{
    RV_ASSERT(!server->loop);
    int rc = rv_io_start(loop, &server->listener, listen_fd, EPOLLIN);
    if (rc) {
        return rc;
    }
    server->loop = loop;
    server->limits = *limits;
    return 0;
}

void
rv_unixctl_server_stop(struct rv_unixctl_server *server)
{
    rv_io_stop(&server->listener);
    rv_timer_stop(&server->retry);
    while (!rv_list_is_empty(&server->clients)) {
        destroy_client(
            RV_CONTAINER_OF(server->clients.next, struct client, node));
    }
    rv__unixctl_unlisten(server);
    server->loop = NULL;
}

bool
rv_unixctl_server_is_idle(const struct rv_unixctl_server *server)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &server->clients) {
        if (!is_client_idle(RV_CONTAINER_OF(node, struct client, node))) {
            return false;
        }
    }
    return true;
}
