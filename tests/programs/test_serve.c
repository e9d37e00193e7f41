/* reeve-test test-serve [OPTION...] NAME...
 *
 * A server of JSON-RPC on the passive names, made of connections as a user's
 * program is, for peers that misbehave.  It answers
 *
 *     echo VALUE...        the values
 *     fill N               a text of N bytes
 *
 * refuses other requests with "unknown method", overlooks notifications, and
 * ends whom it never asked but who replies.  It runs to the end of its
 * standard input.  Each of its lines is one event:
 *
 *     listening NAME
 *     closed NAME ERROR TEXT       ERROR: the name of an errno, or 0
 *     refused NAME                 beyond --max-connections
 *     paused ERROR                 no descriptor is left; goes on in a moment
 *
 * Options:
 *
 *     --max-connections N | --max-message BYTES | --max-backlog BYTES
 *     --connect-timeout MS
 *     --private-key FILE | --certificate FILE | --ca-cert FILE
 */
#include "reeve-test.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reeve/connection.h"
#include "reeve/list.h"
#include "reeve/tls.h"

static const char program[] = "test-serve";

enum { MAX_LISTENERS = 8, PAUSE_MS = 20 };

struct listener {
    struct server *server;
    struct rv_pstream *pstream;
    struct rv_io io;
};

struct server {
    struct rv_loop loop;
    struct rv_io input_io;
    struct rv_timer timer; /* Of a pause. */
    struct rv_stream_options stream;
    struct rv_tls_settings tls;
    struct rv_connection_limits limits;
    struct listener listeners[MAX_LISTENERS];
    size_t n_listeners;
    struct rv_list peers;
    size_t n_peers, max_peers;
    bool is_over;
};

struct peer {
    struct rv_list node;
    struct rv_connection connection;
    struct server *server;
    char name[200];
};

/* ---- Messages ---- */

static json_t *
make_filling(const json_t *params)
{
    size_t n = (size_t)json_integer_value(json_array_get(params, 0));
    char *text = malloc(n);
    json_t *value = NULL;
    if (text) {
        memset(text, 'x', n);
        value = json_stringn(text, n);
        free(text);
    }
    return value;
}

static int
answer(struct rv_connection *connection,
       const struct rv_jsonrpc_message *request)
{
    struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                       .id = request->id};
    json_t *owned = NULL;
    const char *method = json_string_value(request->method);
    if (!strcmp(method, "echo")) {
        reply.result = request->params;
    } else if (!strcmp(method, "fill")) {
        reply.result = owned = make_filling(request->params);
    } else {
        reply.type = RV_JSONRPC_ERROR;
        reply.error = owned = json_string("unknown method");
    }
    int rc = rv_connection_send(connection, &reply);
    json_decref(owned);
    return rc;
}

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *peer RV_UNUSED)
{
    switch (message->type) {
    case RV_JSONRPC_REQUEST:
        return answer(connection, message);
    case RV_JSONRPC_NOTIFY:
        return 0;
    case RV_JSONRPC_REPLY:
    case RV_JSONRPC_ERROR:
    default:
        return -EPROTO;
    }
}

static void
drop(struct peer *peer)
{
    rv_list_remove(&peer->node);
    peer->server->n_peers--;
    free(peer);
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *peer_)
{
    struct peer *peer = peer_;
    printf("closed %s %s %s\n", peer->name,
           error->code ? strerrorname_np(-error->code) : "0", error->text);
    fflush(stdout);
    drop(peer);
}

static const struct rv_connection_callbacks callbacks = {
    .on_message = on_message, .on_closed = on_closed};

/* ---- Connections ---- */

static void
add_peer(struct server *server, struct rv_stream *stream)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        reeve_test_fatal_of(program, ENOMEM, "cannot serve");
    }
    peer->server = server;
    snprintf(peer->name, sizeof peer->name, "%s", rv_stream_name(stream));
    rv_list_push_back(&server->peers, &peer->node);
    server->n_peers++;
    int rc = rv_connection_start(&peer->connection, &server->loop, stream,
                                 &server->limits, &callbacks, peer);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot serve");
    }
}

static void
watch_listeners(struct server *server)
{
    for (size_t i = 0; i < server->n_listeners; i++) {
        struct listener *listener = &server->listeners[i];
        int rc = rv_io_start(&server->loop, &listener->io,
                             rv_pstream_fd(listener->pstream), EPOLLIN);
        if (rc) {
            reeve_test_fatal_of(program, -rc, "cannot accept");
        }
    }
}

static void
unwatch_listeners(struct server *server)
{
    for (size_t i = 0; i < server->n_listeners; i++) {
        rv_io_stop(&server->listeners[i].io);
    }
}

static void
on_pause_end(struct rv_timer *timer)
{
    watch_listeners(timer->context);
}

/* A listener stays readable while its connections cannot be taken: to look
 * again at once would keep the processor busy. */
static void
pause_accepting(struct server *server, int rc)
{
    printf("paused %s\n", strerrorname_np(-rc));
    fflush(stdout);
    unwatch_listeners(server);
    rc = rv_timer_start(&server->loop, &server->timer,
                        rv_loop_now(&server->loop) + PAUSE_MS);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot pause");
    }
}

static void
on_acceptable(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct listener *listener = io->context;
    struct server *server = listener->server;
    for (;;) {
        struct rv_stream *stream;
        int rc = rv_pstream_accept(listener->pstream, &stream);
        if (rc == -EAGAIN) {
            return;
        }
        if (rc) {
            pause_accepting(server, rc);
            return;
        }
        if (server->n_peers < server->max_peers) {
            add_peer(server, stream);
            continue;
        }
        printf("refused %s\n", rv_stream_name(stream));
        fflush(stdout);
        rv_stream_close(stream);
    }
}

/* ---- Life ---- */

static void
on_input(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct server *server = io->context;
    char bytes[256];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    server->is_over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void
open_listener(struct server *server, const char *name)
{
    struct rv_error error;
    if (server->n_listeners == MAX_LISTENERS) {
        reeve_test_fatal_of(program, 0, "too many names");
    }
    struct listener *listener = &server->listeners[server->n_listeners++];
    listener->server = server;
    rv_io_init(&listener->io, on_acceptable, listener);
    if (rv_pstream_open(name, &server->stream, &listener->pstream, &error)) {
        reeve_test_fatal_of(program, 0, "%s", error.text);
    }
    printf("listening %s\n", rv_pstream_name(listener->pstream));
    fflush(stdout);
}

static void
parse_options(struct server *server, int argc, char **argv)
{
    enum { CONNECTIONS, MESSAGE, BACKLOG, TIMEOUT, KEY, CERTIFICATE, CA };
    static const struct option options[] = {
        {"max-connections", required_argument, NULL, CONNECTIONS},
        {"max-message", required_argument, NULL, MESSAGE},
        {"max-backlog", required_argument, NULL, BACKLOG},
        {"connect-timeout", required_argument, NULL, TIMEOUT},
        {"private-key", required_argument, NULL, KEY},
        {"certificate", required_argument, NULL, CERTIFICATE},
        {"ca-cert", required_argument, NULL, CA},
        {NULL, 0, NULL, 0},
    };
    const char **files[] = {&server->tls.private_key, &server->tls.certificate,
                            &server->tls.ca_cert};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == '?') {
            exit(EXIT_FAILURE);
        }
        if (option >= KEY) {
            *files[option - KEY] = optarg;
            continue;
        }
        size_t number = strtoul(optarg, NULL, 10);
        if (option == CONNECTIONS) {
            server->max_peers = number;
        } else if (option == MESSAGE) {
            server->limits.max_message_bytes = number;
        } else if (option == BACKLOG) {
            server->limits.max_output_bytes = number;
        } else {
            server->stream.connect_ms = (int)number;
        }
    }
}

static void
close_all(struct server *server)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &server->peers) {
        struct peer *peer = RV_CONTAINER_OF(node, struct peer, node);
        rv_connection_stop(&peer->connection);
        drop(peer);
    }
    unwatch_listeners(server);
    for (size_t i = 0; i < server->n_listeners; i++) {
        rv_pstream_close(server->listeners[i].pstream);
    }
    rv_timer_stop(&server->timer);
    rv_io_stop(&server->input_io);
    rv_loop_deinit(&server->loop);
    rv_tls_config_unref(server->stream.tls);
}

static void
run(struct server *server, char **names)
{
    struct rv_error error;
    if (server->tls.ca_cert
        && rv_tls_config_create(&server->tls, &server->stream.tls, &error)) {
        reeve_test_fatal_of(program, 0, "%s", error.text);
    }
    int rc = rv_loop_init(&server->loop);
    if (!rc) {
        rv_io_init(&server->input_io, on_input, server);
        rc = rv_io_start(&server->loop, &server->input_io, STDIN_FILENO,
                         EPOLLIN);
    }
    while (!rc && *names) {
        open_listener(server, *names++);
    }
    watch_listeners(server);
    while (!rc && !server->is_over) {
        rc = rv_loop_run_once(&server->loop, -1);
    }
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot wait");
    }
    close_all(server);
}

int
test_serve(int argc, char **argv)
{
    struct server server = {.limits = {.max_message_bytes = 1 << 20,
                                       .max_output_bytes = 1 << 20,
                                       .max_depth = 100},
                            .max_peers = 100};
    rv_list_init(&server.peers);
    rv_timer_init(&server.timer, on_pause_end, &server);
    parse_options(&server, argc, argv);
    run(&server, argv + optind);
    return EXIT_SUCCESS;
}
