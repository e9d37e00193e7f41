/* reeve-test test-jsonrpc [OPTION...] COMMAND [ARGUMENT...]
 *
 *     listen LOCAL                     answers "echo" until a notification
 *                                      "shutdown" came and all have left
 *     request REMOTE METHOD PARAMS     prints the reply
 *     notify REMOTE METHOD PARAMS
 *     help
 */
#include "reeve-test.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_text.h"
#include "os/rundir.h"
#include "reeve/connection.h"
#include "reeve/daemon.h"
#include "reeve/list.h"
#include "reeve/log_outputs.h"
#include "reeve/loop.h"
#include "reeve/stream.h"
#include "reeve/tls.h"

static const char program[] = "test-jsonrpc";

static const struct rv_connection_limits limits = {
    .max_message_bytes = 256 * 1024 * 1024,
    .max_output_bytes = 256 * 1024 * 1024,
    .max_depth = 1000,
};

/* What the command line asks for. */
struct settings {
    struct rv_daemon_options daemon;
    struct rv_tls_settings tls;
    char rundir[RV_RUNDIR_PATH];
    struct rv_stream_options stream;
};

/* Prints as the original does: the end of a connection has code 0. */
static void
say_closed(const struct rv_error *error)
{
    fprintf(stderr, "%s: connection closed (%s)\n", program,
            error->code ? strerror(-error->code) : "End of file");
}

/* ---- listen ---- */

struct server {
    struct rv_loop loop;
    struct rv_pstream *pstream;
    struct rv_io io;
    struct rv_list peers;
    bool is_done;
};

struct peer {
    struct rv_list node;
    struct rv_connection connection;
    struct server *server;
};

static int
answer(struct rv_connection *connection, struct rv_jsonrpc_message *request)
{
    struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                       .id = request->id};
    json_t *error = NULL;
    if (!strcmp(json_string_value(request->method), "echo")) {
        reply.result = request->params;
    } else {
        fprintf(stderr, "%s: unknown request %s\n", program,
                json_string_value(request->method));
        error = json_pack("{s:s}", "error", "unknown method");
        reply.type = RV_JSONRPC_ERROR;
        reply.error = error;
    }
    int rc = rv_connection_send(connection, &reply);
    json_decref(error);
    return rc;
}

static int
on_peer_message(struct rv_connection *connection,
                struct rv_jsonrpc_message *message, void *peer_)
{
    struct peer *peer = peer_;
    if (message->type == RV_JSONRPC_REQUEST) {
        return answer(connection, message);
    }
    if (message->type != RV_JSONRPC_NOTIFY) {
        fprintf(stderr, "%s: unsolicited JSON-RPC reply or error\n", program);
        return -EPROTO;
    }
    if (!strcmp(json_string_value(message->method), "shutdown")) {
        peer->server->is_done = true;
        return 0;
    }
    fprintf(stderr, "%s: unknown notification %s\n", program,
            json_string_value(message->method));
    return -ENOTTY;
}

static void
on_peer_closed(struct rv_connection *connection RV_UNUSED,
               const struct rv_error *error, void *peer_)
{
    struct peer *peer = peer_;
    say_closed(error);
    rv_list_remove(&peer->node);
    free(peer);
}

static const struct rv_connection_callbacks peer_callbacks = {
    .on_message = on_peer_message,
    .on_closed = on_peer_closed,
};

static void
add_peer(struct server *server, struct rv_stream *stream)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        reeve_test_fatal_of(program, ENOMEM, "cannot serve");
    }
    peer->server = server;
    rv_list_init(&peer->node);
    int rc = rv_connection_start(&peer->connection, &server->loop, stream,
                                 &limits, &peer_callbacks, peer);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot serve");
    }
    rv_list_push_back(&server->peers, &peer->node);
}

static void
on_acceptable(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct server *server = io->context;
    for (;;) {
        struct rv_stream *stream;
        int rc = rv_pstream_accept(server->pstream, &stream);
        if (rc == -EAGAIN) {
            return;
        }
        if (rc) {
            reeve_test_fatal_of(program, -rc, "pstream_accept failed");
        }
        add_peer(server, stream);
    }
}

static void
run_turn(struct rv_loop *loop)
{
    int rc = rv_loop_run_once(loop, -1);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot wait");
    }
}

static void
init_loop(struct rv_loop *loop)
{
    int rc = rv_loop_init(loop);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "cannot open the loop");
    }
}

/* 0, or the negative errno of what failed, which '*whatp' names. */
static int
start_server(struct server *server, const char *local,
             const struct rv_stream_options *options, const char **whatp)
{
    rv_list_init(&server->peers);
    *whatp = "could not listen on";
    int rc = rv_pstream_open(local, options, &server->pstream, NULL);
    if (!rc) {
        *whatp = "could not accept from";
        rc = rv_loop_init(&server->loop);
    }
    if (!rc) {
        rv_io_init(&server->io, on_acceptable, server);
        rc = rv_io_start(&server->loop, &server->io,
                         rv_pstream_fd(server->pstream), EPOLLIN);
    }
    return rc;
}

static void
do_listen(const struct settings *settings, char **words)
{
    struct server server = {.is_done = false};
    struct rv_daemon daemon;
    struct rv_error error;
    if (rv_daemon_start_block(&daemon, &settings->daemon, &error)) {
        reeve_test_fatal_of(program, 0, "%s", error.text);
    }
    const char *what;
    int rc = start_server(&server, words[1], &settings->stream, &what);
    if (rc) {
        rv_daemon_stop(&daemon);
        reeve_test_fatal_of(program, -rc, "%s \"%s\"", what, words[1]);
    }
    if (rv_daemon_complete(&daemon, &error)) {
        rv_daemon_stop(&daemon);
        reeve_test_fatal_of(program, 0, "%s", error.text);
    }
    while (!server.is_done || !rv_list_is_empty(&server.peers)) {
        run_turn(&server.loop);
    }
    rv_io_stop(&server.io);
    rv_pstream_close(server.pstream);
    rv_loop_deinit(&server.loop);
    rv_daemon_stop(&daemon);
}

/* ---- request and notify ---- */

struct client {
    struct rv_loop loop;
    struct rv_connection connection;
    bool has_reply;
};

/* The message as it stands on the wire, "error" of a reply included. */
static void
print_message(const struct rv_jsonrpc_message *message)
{
    struct rv_buf text;
    char *complaint, *sorted;
    rv_buf_init(&text, limits.max_message_bytes * 2);
    if (rv_jsonrpc_format(message, &text)) {
        reeve_test_fatal("out of memory");
    }
    json_t *value = json_text_read(rv_buf_string(&text), &complaint);
    if (!value) {
        reeve_test_fatal("reeve's own message is wrong: %s", complaint);
    }
    sorted = json_text_write(value, false);
    puts(sorted);
    free(sorted);
    json_decref(value);
    rv_buf_deinit(&text);
}

static int
on_reply(struct rv_connection *connection, struct rv_jsonrpc_message *message,
         void *client_)
{
    struct client *client = client_;
    if (!client->has_reply) {
        print_message(message);
        client->has_reply = true;
        rv_connection_pause(connection);
    }
    return 0;
}

static void
on_lost(struct rv_connection *connection RV_UNUSED,
        const struct rv_error *error, void *client_)
{
    const struct client *client = client_;
    if (!client->has_reply) {
        /* The peer that left before its reply just reads as an end. */
        bool is_end = !error->code || error->code == -ECONNRESET;
        reeve_test_fatal_of(program, is_end ? EOF : -error->code,
                            "error waiting for reply");
    }
}

static const struct rv_connection_callbacks client_callbacks = {
    .on_message = on_reply,
    .on_closed = on_lost,
};

static void
on_connect_event(struct rv_io *io RV_UNUSED, uint32_t events RV_UNUSED)
{
}

/* Connects; the caller owns the stream. */
static struct rv_stream *
connect_to(struct rv_loop *loop, const char *name,
           const struct rv_stream_options *options)
{
    struct rv_stream *stream;
    struct rv_io io;
    rv_io_init(&io, on_connect_event, NULL);
    int rc = rv_stream_open(name, options, &stream, NULL);
    if (!rc) {
        while ((rc = rv_stream_connect(stream)) == -EAGAIN) {
            rc = rv_stream_watch(stream, loop, &io, RV_STREAM_CONNECT);
            if (rc) {
                break;
            }
            run_turn(loop);
        }
    }
    rv_io_stop(&io);
    if (rc) {
        reeve_test_fatal_of(program, -rc, "could not open \"%s\"", name);
    }
    return stream;
}

static json_t *
parse_params(const char *text)
{
    char *complaint;
    json_t *params = json_text_read(text, &complaint);
    if (!params) {
        reeve_test_fatal_of(program, 0, "\"%s\": %s", text, complaint);
    }
    return params;
}

static void
call(const struct settings *settings, char **words, enum rv_jsonrpc_type type)
{
    bool is_request = type == RV_JSONRPC_REQUEST;
    struct client client = {.has_reply = !is_request};
    struct rv_jsonrpc_message message = {
        .type = type,
        .method = rv_jsonrpc_text(words[2]),
        .params = parse_params(words[3]),
        .id = is_request ? json_integer(0) : NULL,
    };
    if (!json_is_array(message.params)) {
        reeve_test_fatal_of(program, 0,
                            "not a %s: \"params\" must be JSON "
                            "array",
                            is_request ? "valid JSON-RPC request"
                                       : "JSON RPC-valid notification");
    }
    init_loop(&client.loop);
    struct rv_stream *stream =
        connect_to(&client.loop, words[1], &settings->stream);
    int rc = rv_connection_start(&client.connection, &client.loop, stream,
                                 &limits, &client_callbacks, &client);
    if (!rc) {
        rc = rv_connection_send(&client.connection, &message);
    }
    if (rc) {
        reeve_test_fatal_of(program, -rc, "could not send %s",
                            rv_jsonrpc_type_name(type));
    }
    while (!client.has_reply || rv_connection_has_unsent(&client.connection)) {
        run_turn(&client.loop);
    }
    rv_connection_stop(&client.connection);
    rv_loop_deinit(&client.loop);
    rv_jsonrpc_deinit(&message);
}

static void
do_request(const struct settings *settings, char **words)
{
    call(settings, words, RV_JSONRPC_REQUEST);
}

static void
do_notify(const struct settings *settings, char **words)
{
    call(settings, words, RV_JSONRPC_NOTIFY);
}

/* ---- Command line ---- */

static void
print_help(void)
{
    printf("%s: JSON-RPC test utility\n"
           "usage: %s [OPTIONS] COMMAND [ARG...]\n"
           "  listen LOCAL                  listen for connections\n"
           "  request REMOTE METHOD PARAMS  send a request, print the reply\n"
           "  notify REMOTE METHOD PARAMS   send a notification\n"
           "\nREMOTE: tcp:HOST:PORT, ssl:HOST:PORT, unix:FILE\n"
           "LOCAL: ptcp:PORT[:IP], pssl:PORT[:IP], punix:FILE, pfd:FD\n"
           "\nTLS:\n"
           "  -p, --private-key=FILE  -c, --certificate=FILE\n"
           "  -C, --ca-cert=FILE      --bootstrap-ca-cert=FILE\n"
           "  --ssl-protocols=PROTOS  --ssl-ciphers=LIST\n"
           "  --ssl-ciphersuites=LIST --ssl-server-name=NAME\n"
           "\n" RV_DAEMON_USAGE "\nOther options:\n"
           "  -v, --verbose[=SPEC]    -h, --help\n",
           program, program);
}

enum { BOOTSTRAP = 256, PROTOCOLS, CIPHERS, CIPHERSUITES, SERVER_NAME };

static const struct option options[] = {
    {"help", no_argument, NULL, 'h'},
    {"verbose", optional_argument, NULL, 'v'},
    {"private-key", required_argument, NULL, 'p'},
    {"certificate", required_argument, NULL, 'c'},
    {"ca-cert", required_argument, NULL, 'C'},
    {"bootstrap-ca-cert", required_argument, NULL, BOOTSTRAP},
    {"ssl-protocols", required_argument, NULL, PROTOCOLS},
    {"ssl-ciphers", required_argument, NULL, CIPHERS},
    {"ssl-ciphersuites", required_argument, NULL, CIPHERSUITES},
    {"ssl-server-name", required_argument, NULL, SERVER_NAME},
    {NULL, 0, NULL, 0},
};

static void
take_option(struct settings *settings, int option)
{
    struct rv_tls_settings *tls = &settings->tls;
    struct rv_error error;
    switch (option) {
    case 'h':
        print_help();
        exit(EXIT_SUCCESS);
    case 'v':
        if (rv_log_option("verbose", optarg, &error)) {
            reeve_test_fatal_of(program, 0, "%s", error.text);
        }
        break;
    case 'p':
        tls->private_key = optarg;
        break;
    case 'c':
        tls->certificate = optarg;
        break;
    case 'C':
    case BOOTSTRAP:
        tls->ca_cert = optarg;
        tls->bootstrap_ca_cert = option == BOOTSTRAP;
        break;
    case PROTOCOLS:
        tls->protocols = optarg;
        break;
    case CIPHERS:
        tls->ciphers = optarg;
        break;
    case CIPHERSUITES:
        tls->ciphersuites = optarg;
        break;
    case SERVER_NAME:
        tls->server_name = optarg;
        break;
    default:
        exit(EXIT_FAILURE);
    }
}

static void
prepare(struct settings *settings)
{
    struct rv_error error;
    int rc = rv_rundir_path(NULL, settings->rundir, &error);
    settings->stream.rundir = settings->rundir;
    if (!rc && settings->tls.ca_cert) {
        rc = rv_tls_config_create(&settings->tls, &settings->stream.tls,
                                  &error);
    }
    if (rc) {
        reeve_test_fatal_of(program, 0, "%s", error.text);
    }
}

static void
run_command(struct settings *settings, int n, char **words)
{
    static const struct {
        const char *name;
        int n_args;
        void (*run)(const struct settings *, char **);
    } commands[] = {
        {"listen", 1, do_listen},
        {"request", 3, do_request},
        {"notify", 3, do_notify},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (strcmp(words[0], commands[i].name)) {
            continue;
        }
        if (n - 1 != commands[i].n_args) {
            reeve_test_fatal_of(
                program, 0, "'%s' command %s %d arguments", words[0],
                n - 1 < commands[i].n_args ? "requires at least"
                                           : "takes at most",
                commands[i].n_args);
        }
        prepare(settings);
        commands[i].run(settings, words);
        rv_tls_config_unref(settings->stream.tls);
        return;
    }
    reeve_test_fatal_of(program, 0,
                        "unknown command '%s'; use --help for help", words[0]);
}

/* Takes the options of daemons out of 'argv'; the new number of words. */
static int
take_daemon_options(struct settings *settings, int argc, char **argv)
{
    int n = 1;
    struct rv_error error;
    for (int i = 1; i < argc;) {
        int taken =
            rv_daemon_option(&settings->daemon, argv[i], argv[i + 1], &error);
        if (taken < 0) {
            reeve_test_fatal_of(program, 0, "%s", error.text);
        }
        if (!taken) {
            argv[n++] = argv[i++];
        }
        i += taken;
    }
    argv[n] = NULL;
    return n;
}

int
test_jsonrpc(int argc, char **argv)
{
    struct settings settings = {.daemon = RV_DAEMON_OPTIONS(program)};
    int option;
    argc = take_daemon_options(&settings, argc, argv);
    while ((option = getopt_long(argc, argv, "hv::p:c:C:", options, NULL))
           != -1) {
        take_option(&settings, option);
    }
    if (optind == argc) {
        reeve_test_fatal_of(program, 0,
                            "missing command name; use --help for help");
    }
    if (!strcmp(argv[optind], "help")) {
        print_help();
        return EXIT_SUCCESS;
    }
    run_command(&settings, argc - optind, argv + optind);
    return EXIT_SUCCESS;
}
