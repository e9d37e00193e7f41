/* A JSON-RPC server as a daemon: jsonrpcd LOCAL [DAEMON-OPTION...] */
#include <reeve/daemon.h>
#include <reeve/server.h>
#include <reeve/unixctl.h>
#include <stdio.h>
#include <string.h>

static struct rv_log_module module = RV_LOG_MODULE("jsonrpcd");
#define RV_LOG_THIS (&module)

static int
on_message(struct rv_session *peer, struct rv_jsonrpc_message *m, void *calls)
{
    if (m->type != RV_JSONRPC_REQUEST) {
        return 0; /* A negative errno would end the session. */
    }
    const char *method = json_string_value(m->method);
    json_int_t a, b, n = ++*(json_int_t *)calls;
    bool adds =
        !strcmp(method, "add") && !json_unpack(m->params, "[II!]", &a, &b);
    json_t *result = !strcmp(method, "params")  ? json_incref(m->params)
                     : !strcmp(method, "calls") ? json_integer(n)
                     : adds                     ? json_integer(a + b)
                                                : NULL;
    json_t *value = result ? result : json_string("no such request");
    int rc = result ? rv_session_answer(peer, m->id, value)
                    : rv_session_refuse(peer, m->id, value);
    json_decref(value);
    return rc;
}

static void
on_lost(struct rv_session *peer RV_UNUSED, const struct rv_error *error,
        void *calls RV_UNUSED)
{
    rv_log_warn("%s", error->text);
}

static const struct rv_session_callbacks events = {.on_message = on_message,
                                                   .on_disconnected = on_lost,
                                                   .on_failed = on_lost};

static void
on_calls(struct rv_unixctl_call *call, void *n_calls)
{
    rv_unixctl_reply_json(call, json_integer(*(json_int_t *)n_calls));
}

int
main(int argc, char **argv)
{
    struct rv_daemon_options options = RV_DAEMON_OPTIONS("jsonrpcd");
    struct rv_error error = {0, "usage: jsonrpcd LOCAL [DAEMON-OPTION...]"};
    struct rv_daemon daemon;
    struct rv_loop loop;
    struct rv_unixctl_server ctl;
    struct rv_server *server = NULL;
    json_int_t n_calls = 0;
    int rc = argc > 1;
    for (int i = 2; i < argc && rc > 0; i += rc) {
        rc = rv_daemon_option(&options, argv[i], argv[i + 1], &error);
    }
    if (rc <= 0 || rv_daemon_start_block(&daemon, &options, &error)
        || rv_loop_init(&loop) || rv_unixctl_server_init(&ctl)) {
        fprintf(stderr, "jsonrpcd: %s\n", error.text);
        return 1;
    }
    rv_loop_hold_signals();
    if (!rv_unixctl_register(&ctl, "calls", "", 0, 0, on_calls, &n_calls)
        && !rv_unixctl_server_open(&ctl, &loop, NULL, NULL, &error)
        && !rv_server_create(&loop, argv[1], NULL, &events, &n_calls, &server,
                             &error)
        && !rv_daemon_complete(&daemon, &error)) {
        rv_log_info("serving %s", rv_server_name(server));
        rc = rv_loop_run_until_signal_block(&loop);
    } else {
        rc = rv_error_wrap(&error, "jsonrpcd");
        fprintf(stderr, "%s\n", error.text);
    }
    rv_server_destroy(server);
    rv_unixctl_server_deinit(&ctl);
    rv_loop_deinit(&loop);
    rv_daemon_stop(&daemon);
    return rc > 0 ? 0 : 1;
}
