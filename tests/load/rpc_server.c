/* A JSON-RPC server on libreeve that answers `echo` with its parameters, and
 * every other request with an error; notifications are dropped.
 *
 *     rpc-server MESSAGE_BYTES NAME...
 *
 * It listens on each passive NAME (punix:FILE, ptcp:0:127.0.0.1), prints the
 * names in use, one a line, and serves until its standard input ends.  A
 * message longer than MESSAGE_BYTES ends its connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/rlimit.h"
#include "reeve/connection.h"

enum { MARGIN_BYTES = 4096, MAX_DEPTH = 1000 };

struct server {
    struct rv_loop loop;
    struct rv_io input;
    struct rv_list clients;
    struct rv_connection_limits limits;
    bool is_over;
};

struct listener {
    struct server *server;
    struct rv_pstream *pstream;
    struct rv_io io;
};

struct client {
    struct rv_list node;
    struct rv_connection connection;
};

static void
check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "rpc-server: %s: %s\n", what, strerror(-rc));
        exit(EXIT_FAILURE);
    }
}

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *client RV_UNUSED)
{
    if (message->type != RV_JSONRPC_REQUEST) {
        return message->type == RV_JSONRPC_NOTIFY ? 0 : -EPROTO;
    }
    bool is_echo = !strcmp(json_string_value(message->method), "echo");
    struct rv_jsonrpc_message reply = {
        .type = is_echo ? RV_JSONRPC_REPLY : RV_JSONRPC_ERROR,
        .id = message->id,
        .result = is_echo ? message->params : NULL,
        .error = is_echo ? NULL : message->method,
    };
    return rv_connection_send(connection, &reply);
}

static void
destroy_client(struct client *client)
{
    rv_connection_stop(&client->connection);
    rv_list_remove(&client->node);
    free(client);
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error RV_UNUSED, void *client)
{
    destroy_client(client);
}

static const struct rv_connection_callbacks callbacks = {
    .on_message = on_message,
    .on_closed = on_closed,
};

static void
add_client(struct server *server, struct rv_stream *stream)
{
    struct client *client = calloc(1, sizeof *client);
    check(client ? 0 : -ENOMEM, "a client");
    check(rv_connection_start(&client->connection, &server->loop, stream,
                              &server->limits, &callbacks, client),
          "a client");
    rv_list_init(&client->node);
    rv_list_push_back(&server->clients, &client->node);
}

static void
on_acceptable(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct listener *listener = io->context;
    struct rv_stream *stream;
    int rc = rv_pstream_accept(listener->pstream, &stream);
    while (!rc) {
        add_client(listener->server, stream);
        rc = rv_pstream_accept(listener->pstream, &stream);
    }
    check(rc == -EAGAIN ? 0 : rc, "accept");
}

static void
open_listener(struct server *server, const char *name,
              struct listener *listener)
{
    struct rv_stream_options options = {.dscp = 0};
    struct rv_error error;
    if (rv_pstream_open(name, &options, &listener->pstream, &error)) {
        fprintf(stderr, "rpc-server: %s\n", error.text);
        exit(EXIT_FAILURE);
    }
    listener->server = server;
    rv_io_init(&listener->io, on_acceptable, listener);
    check(rv_io_start(&server->loop, &listener->io,
                      rv_pstream_fd(listener->pstream), EPOLLIN),
          name);
    puts(rv_pstream_name(listener->pstream));
}

static void
on_input(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct server *server = io->context;
    char bytes[64];
    server->is_over = read(io->fd, bytes, sizeof bytes) <= 0;
}

static void
serve(struct server *server, char **names, size_t n)
{
    struct listener *listeners = calloc(n, sizeof *listeners);
    check(listeners ? 0 : -ENOMEM, "listeners");
    for (size_t i = 0; i < n; i++) {
        open_listener(server, names[i], &listeners[i]);
    }
    fflush(stdout);
    while (!server->is_over) {
        check(rv_loop_run_once(&server->loop, -1), "epoll_wait");
    }
    while (!rv_list_is_empty(&server->clients)) {
        destroy_client(
            RV_CONTAINER_OF(server->clients.next, struct client, node));
    }
    for (size_t i = 0; i < n; i++) {
        rv_io_stop(&listeners[i].io);
        rv_pstream_close(listeners[i].pstream);
    }
    free(listeners);
}

int
main(int argc, char **argv)
{
    unsigned long bytes = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (!bytes) {
        fputs("usage: rpc-server MESSAGE_BYTES NAME...\n", stderr);
        return EXIT_FAILURE;
    }
    rv_rlimit_raise_nofile();
    struct server server = {
        .limits = {.max_message_bytes = bytes,
                   .max_output_bytes = bytes + MARGIN_BYTES,
                   .max_depth = MAX_DEPTH},
    };
    rv_list_init(&server.clients);
    check(rv_loop_init(&server.loop), "epoll");
    rv_io_init(&server.input, on_input, &server);
    check(rv_io_start(&server.loop, &server.input, STDIN_FILENO, EPOLLIN),
          "standard input");
    serve(&server, argv + 2, (size_t)argc - 2);
    rv_io_stop(&server.input);
    rv_loop_deinit(&server.loop);
    return EXIT_SUCCESS;
}
