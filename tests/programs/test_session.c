/* reeve-test test-session [OPTION...] REMOTE...
 *
 * A session with the remotes, driven by lines on standard input:
 *
 *     call METHOD [PARAMS]             PARAMS is a JSON array, [] if left out
 *     notify METHOD [PARAMS]
 *     answer ID RESULT | refuse ID ERROR      both JSON
 *     force-reconnect
 *     set-dscp NUMBER
 *     status
 *     exit                             as the end of the input
 *
 * What happens is printed, a line each.  ERROR is the name of an errno, or 0.
 *
 *     sent ID | not-sent ERROR         after each command that sends
 *     connected SEQNO NAME
 *     disconnected SEQNO ERROR TEXT
 *     failed ERROR TEXT | ended ERROR TEXT
 *     reply ID RESULT | error ID ERROR | lost ID ERROR    of calls
 *     request ID METHOD PARAMS | notification METHOD PARAMS
 *     status {...}
 *     log LEVEL TEXT                   with --verbose
 *
 * Options:
 *
 *     --probe-interval MS | --first-backoff MS | --connect-timeout MS
 *     --max-backlog BYTES | --gives-up | --holds-input | --verbose
 *     --private-key FILE | --certificate FILE | --ca-cert FILE
 *     --adopt         listens on the one remote, which is passive, and makes
 *                     a session of the first peer that comes
 */
#include "reeve-test.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reeve/buf.h"
#include "reeve/session.h"
#include "reeve/tls.h"

enum { INPUT_BYTES = 64 * 1024 * 1024, READ_BYTES = 65536 };

struct program {
    struct rv_loop loop;
    struct rv_io input_io;
    struct rv_buf input;
    struct rv_session *session; /* NULL until a peer comes, with --adopt. */
    struct rv_pstream *pstream; /* With --adopt, until then. */
    struct rv_io listen_io;
    struct rv_session_options options;
    struct rv_tls_settings tls;
    int64_t probe_interval_ms; /* -1: not given. */
    bool adopts, is_verbose;
    bool is_over;
};

/* ---- Events ---- */

static const char *
name_of(int code)
{
    const char *name = code ? strerrorname_np(-code) : "0";
    return name ? name : "EUNKNOWN";
}

/* Prints " VALUE". */
static void
print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    printf(" %s", text ? text : "null");
    free(text);
}

/* Standard output is a pipe to somebody who waits for this line. */
static void
end_line(void)
{
    putchar('\n');
    fflush(stdout);
}

static void
on_connected(struct rv_session *session, void *program RV_UNUSED)
{
    printf("connected %u %s", rv_session_seqno(session),
           rv_stream_name(rv_session_stream(session)));
    end_line();
}

static void
on_disconnected(struct rv_session *session, const struct rv_error *error,
                void *program RV_UNUSED)
{
    printf("disconnected %u %s %s", rv_session_seqno(session),
           name_of(error->code), error->text);
    end_line();
}

static void
on_failed(struct rv_session *session RV_UNUSED, const struct rv_error *error,
          void *program RV_UNUSED)
{
    printf("failed %s %s", name_of(error->code), error->text);
    end_line();
}

static void
on_ended(struct rv_session *session RV_UNUSED, const struct rv_error *error,
         void *program RV_UNUSED)
{
    printf("ended %s %s", name_of(error->code), error->text);
    end_line();
}

static int
on_message(struct rv_session *session RV_UNUSED,
           struct rv_jsonrpc_message *message, void *program RV_UNUSED)
{
    fputs(rv_jsonrpc_type_name(message->type), stdout);
    if (message->id) {
        print_json(message->id);
    }
    if (message->method) {
        printf(" %s", json_string_value(message->method));
        print_json(message->params);
    }
    end_line();
    return 0;
}

static void
on_log(enum rv_log_level level, const char *text, void *program_)
{
    const struct program *program = program_;
    if (program->is_verbose) {
        printf("log %s %s", rv_log_level_name(level), text);
        end_line();
    }
}

static const struct rv_session_callbacks callbacks = {
    .on_connected = on_connected,
    .on_disconnected = on_disconnected,
    .on_failed = on_failed,
    .on_ended = on_ended,
    .on_message = on_message,
    .on_log = on_log,
};

/* 'id_' is the call's number, which the program owns. */
static void
on_reply(struct rv_session *session RV_UNUSED, int code,
         const struct rv_jsonrpc_message *reply, void *id_)
{
    int64_t *id = id_;
    if (code) {
        printf("lost %lld %s", (long long)*id, name_of(code));
    } else if (reply->type == RV_JSONRPC_REPLY) {
        printf("reply %lld", (long long)*id);
        print_json(reply->result);
    } else {
        printf("error %lld", (long long)*id);
        print_json(reply->error);
    }
    end_line();
    free(id);
}

/* ---- Commands ---- */

static json_t *
parse(const char *text)
{
    json_error_t problem;
    json_t *value = json_loads(*text ? text : "[]", JSON_DECODE_ANY, &problem);
    if (!value) {
        reeve_test_fatal("%s: %s", text, problem.text);
    }
    return value;
}

/* Cuts the first word off '*textp'. */
static char *
next_word(char **textp)
{
    char *word = strsep(textp, " ");
    if (!*textp) {
        *textp = word + strlen(word);
    }
    return word;
}

static void
print_sent(int rc, const char *id)
{
    printf(rc ? "not-sent %s" : "sent %s", rc ? name_of(rc) : id);
    end_line();
}

static void
do_call(struct program *program, char *text)
{
    const char *method = next_word(&text);
    json_t *params = parse(text);
    int64_t *id = malloc(sizeof *id);
    if (!id) {
        reeve_test_fatal("out of memory");
    }
    int rc =
        rv_session_call(program->session, method, params, on_reply, id, id);
    char digits[24] = "";
    if (rc) {
        free(id);
    } else {
        snprintf(digits, sizeof digits, "%lld", (long long)*id);
    }
    json_decref(params);
    print_sent(rc, digits);
}

static void
do_notify(struct program *program, char *text)
{
    const char *method = next_word(&text);
    json_t *params = parse(text);
    print_sent(rv_session_notify(program->session, method, params), "-");
    json_decref(params);
}

static void
reply(struct program *program, char *text,
      int (*send)(struct rv_session *, json_t *, json_t *))
{
    char *id_text = next_word(&text);
    json_t *id = parse(id_text);
    json_t *value = parse(text);
    print_sent(send(program->session, id, value), id_text);
    json_decref(id);
    json_decref(value);
}

static void
do_answer(struct program *program, char *text)
{
    reply(program, text, rv_session_answer);
}

static void
do_refuse(struct program *program, char *text)
{
    reply(program, text, rv_session_refuse);
}

static void
do_force_reconnect(struct program *program, char *text RV_UNUSED)
{
    rv_session_force_reconnect(program->session);
}

static void
do_set_dscp(struct program *program, char *text)
{
    int rc =
        rv_session_set_dscp(program->session, (int)strtol(text, NULL, 10));
    if (rc) {
        reeve_test_fatal("set-dscp %s: %s", text, strerror(-rc));
    }
}

static void
do_status(struct program *program, char *text RV_UNUSED)
{
    struct rv_session_status status;
    rv_session_get_status(program->session, &status);
    json_t *value = json_pack(
        "{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:s, s:s}",
        "remote", status.remote, "state", status.state, "connected",
        rv_session_is_connected(program->session), "alive",
        rv_session_is_alive(program->session), "calls",
        (json_int_t)status.n_calls, "backlog",
        (json_int_t)status.backlog_bytes, "backoff",
        (json_int_t)status.stats.backoff_ms, "attempted",
        (int)status.stats.n_attempted, "successful",
        (int)status.stats.n_successful, "seqno", (int)status.stats.seqno,
        "port", (int)rv_session_port(program->session), "last_error",
        name_of(status.last_error.code), "last_reason",
        status.last_error.text);
    fputs("status", stdout);
    print_json(value);
    end_line();
    json_decref(value);
}

static void
do_exit(struct program *program, char *text RV_UNUSED)
{
    program->is_over = true;
}

static const struct {
    const char *name;
    void (*run)(struct program *program, char *text);
} commands[] = {
    {"answer", do_answer},     {"call", do_call},
    {"exit", do_exit},         {"force-reconnect", do_force_reconnect},
    {"notify", do_notify},     {"refuse", do_refuse},
    {"set-dscp", do_set_dscp}, {"status", do_status},
};

static void
run_line(struct program *program, char *line)
{
    const char *name = next_word(&line);
    if (!program->session && strcmp(name, "exit") != 0) {
        reeve_test_fatal("%s: there is no session yet", name);
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (!strcmp(commands[i].name, name)) {
            commands[i].run(program, line);
            return;
        }
    }
    reeve_test_fatal("unknown command '%s'", name);
}

static void
on_input(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct program *program = io->context;
    struct rv_buf *input = &program->input;
    if (rv_buf_reserve(input, READ_BYTES)) {
        reeve_test_fatal("a line of the input is too long");
    }
    ssize_t n = read(STDIN_FILENO, input->data + input->length, READ_BYTES);
    if (n <= 0) {
        program->is_over = true;
        return;
    }
    input->length += (size_t)n;
    char *end;
    while (!program->is_over
           && (end = memchr(input->data, '\n', input->length))) {
        *end = '\0';
        size_t used = (size_t)(end - input->data) + 1;
        run_line(program, input->data);
        rv_buf_consume(input, used);
    }
}

/* ---- The session ---- */

static void
set_up(struct program *program)
{
    if (program->probe_interval_ms >= 0) {
        rv_session_set_probe_interval(program->session,
                                      program->probe_interval_ms);
    }
}

static void
on_peer(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct program *program = io->context;
    struct rv_stream *stream;
    if (rv_pstream_accept(program->pstream, &stream)) {
        return;
    }
    if (rv_session_adopt(&program->loop, stream, &program->options, &callbacks,
                         program, &program->session)) {
        reeve_test_fatal("out of memory");
    }
    set_up(program);
    rv_io_stop(io);
    rv_pstream_close(program->pstream);
    program->pstream = NULL;
}

static void
start(struct program *program, const char *const *remotes, size_t n)
{
    struct rv_error error;
    int rc;
    if (program->adopts) {
        rc = rv_pstream_open(remotes[0], &program->options.stream,
                             &program->pstream, &error);
        rv_io_init(&program->listen_io, on_peer, program);
        if (!rc) {
            rc = rv_io_start(&program->loop, &program->listen_io,
                             rv_pstream_fd(program->pstream), EPOLLIN);
        }
    } else {
        rc = rv_session_create(&program->loop, remotes, n, &program->options,
                               &callbacks, program, &program->session, &error);
    }
    if (rc) {
        reeve_test_fatal("%s", error.text);
    }
    if (program->session) {
        set_up(program);
    }
}

enum {
    ADOPT,
    CA_CERT,
    CERTIFICATE,
    CONNECT_TIMEOUT,
    FIRST_BACKOFF,
    GIVES_UP,
    HOLDS_INPUT,
    MAX_BACKLOG,
    PRIVATE_KEY,
    PROBE_INTERVAL,
    VERBOSE,
};

static const struct option long_options[] = {
    {"adopt", no_argument, NULL, ADOPT},
    {"ca-cert", required_argument, NULL, CA_CERT},
    {"certificate", required_argument, NULL, CERTIFICATE},
    {"connect-timeout", required_argument, NULL, CONNECT_TIMEOUT},
    {"first-backoff", required_argument, NULL, FIRST_BACKOFF},
    {"gives-up", no_argument, NULL, GIVES_UP},
    {"holds-input", no_argument, NULL, HOLDS_INPUT},
    {"max-backlog", required_argument, NULL, MAX_BACKLOG},
    {"private-key", required_argument, NULL, PRIVATE_KEY},
    {"probe-interval", required_argument, NULL, PROBE_INTERVAL},
    {"verbose", no_argument, NULL, VERBOSE},
    {NULL, 0, NULL, 0},
};

static void
take_option(struct program *program, int option)
{
    long number = optarg ? strtol(optarg, NULL, 10) : 0;
    struct rv_session_options *options = &program->options;
    switch (option) {
    case ADOPT:
        program->adopts = true;
        break;
    case CA_CERT:
        program->tls.ca_cert = optarg;
        break;
    case CERTIFICATE:
        program->tls.certificate = optarg;
        break;
    case CONNECT_TIMEOUT:
        options->reconnect.connect_timeout_ms = number;
        break;
    case FIRST_BACKOFF:
        options->reconnect.first_backoff_ms = number;
        break;
    case GIVES_UP:
        options->gives_up = true;
        break;
    case HOLDS_INPUT:
        options->holds_input = true;
        break;
    case MAX_BACKLOG:
        options->max_backlog_bytes = (size_t)number;
        break;
    case PRIVATE_KEY:
        program->tls.private_key = optarg;
        break;
    case PROBE_INTERVAL:
        program->probe_interval_ms = number;
        break;
    case VERBOSE:
        program->is_verbose = true;
        break;
    default:
        exit(EXIT_FAILURE);
    }
}

static void
take_tls(struct program *program)
{
    struct rv_error error;
    if (program->tls.ca_cert
        && rv_tls_config_create(&program->tls, &program->options.stream.tls,
                                &error)) {
        reeve_test_fatal("%s", error.text);
    }
}

int
test_session(int argc, char **argv)
{
    struct program program = {.probe_interval_ms = -1};
    int option;
    while ((option = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
        take_option(&program, option);
    }
    if (optind == argc) {
        reeve_test_fatal("no remote is given");
    }
    take_tls(&program);
    rv_buf_init(&program.input, INPUT_BYTES);
    if (rv_loop_init(&program.loop)) {
        reeve_test_fatal("cannot open a loop");
    }
    rv_io_init(&program.input_io, on_input, &program);
    if (rv_io_start(&program.loop, &program.input_io, STDIN_FILENO, EPOLLIN)) {
        reeve_test_fatal("standard input must be a pipe or a terminal");
    }
    start(&program, (const char *const *)(argv + optind),
          (size_t)(argc - optind));
    while (!program.is_over) {
        rv_loop_run_once(&program.loop, -1);
    }
    rv_session_destroy(program.session);
    rv_io_stop(&program.listen_io);
    rv_pstream_close(program.pstream);
    rv_io_stop(&program.input_io);
    rv_loop_deinit(&program.loop);
    rv_tls_config_unref(program.options.stream.tls);
    rv_buf_deinit(&program.input);
    return EXIT_SUCCESS;
}
