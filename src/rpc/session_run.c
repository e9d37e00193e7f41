/* What the reconnect machine asks for, and what it is told.
 *
 * The machine is told first and the user afterwards, so that within each
 * callback the session already says what the callback tells. */
#include <errno.h>
#include <string.h>

#include "reeve/coverage.h"
#include "rpc/session_internal.h"

RV_COVERAGE_DEFINE(session_connect);
RV_COVERAGE_DEFINE(session_probe);

static int64_t
now_of(const struct rv_session *session)
{
    return rv_loop_now(session->loop);
}

void
rv__session_close_stream(struct rv_session *session)
{
    rv_stream_close(session->stream);
    session->stream = NULL;
}

void
rv__session_choose(struct rv_session *session, size_t i)
{
    session->remote = i;
    if (!session->has_probe_interval) {
        bool needs_probes = rv_stream_needs_probes(session->remotes[i]);
        rv_reconnect_set_probe_interval(
            &session->machine,
            needs_probes ? RV_RECONNECT_PROBE_INTERVAL_MS : 0);
    }
}

void
rv__session_tell_failure(struct rv_session *session,
                         const struct rv_error *error)
{
    session->last_error = *error;
    if (session->callbacks->on_failed) {
        session->callbacks->on_failed(session, error, session->context);
    }
}

/* ---- The end of a connection, or of a try ---- */

/* After a connection that had lasted all remotes are tried without waits
 * again.  One that carried nothing earns no such round, or a peer that
 * accepts and then closes would be called without end. */
static void
refresh_free_tries(struct rv_session *session)
{
    const struct rv_reconnect *machine = &session->machine;
    if (rv_reconnect_is_connected(machine) && session->n_remotes > 1
        && machine->last_activity_ms - machine->last_connected_ms
               >= machine->min_backoff_ms) {
        rv_reconnect_set_backoff_free_tries(&session->machine,
                                            (unsigned int)session->n_remotes);
    }
}

static void
tell_machine(struct rv_session *session, int code)
{
    struct rv_reconnect *machine = &session->machine;
    bool was_forced = machine->state == RV_RECONNECT_STATE_RECONNECT;
    rv_reconnect_disconnected(machine, code, now_of(session));
    if (was_forced && session->is_passive
        && rv_reconnect_is_enabled(machine)) {
        /* The machine would wait before it listens again, although nobody
         * was called in vain. */
        rv_reconnect_disable(machine, now_of(session));
        rv_reconnect_enable(machine, now_of(session));
    }
}

static void
tell_disconnected(struct rv_session *session, const struct rv_error *error)
{
    if (!session->is_told) {
        rv__session_tell_failure(session, error);
        return;
    }
    session->is_told = false;
    session->last_error = *error;
    rv__session_calls_fail(session, -ECONNRESET);
    if (!session->is_destroyed && session->callbacks->on_disconnected) {
        session->callbacks->on_disconnected(session, error, session->context);
    }
}

void
rv__session_end(struct rv_session *session, int code,
                const struct rv_error *error)
{
    struct rv_error reason = *error;
    rv_connection_stop(&session->connection);
    session->doom.code = 0;
    if (!session->is_passive) {
        rv__session_close_stream(session);
    }
    refresh_free_tries(session);
    tell_machine(session, reason.code ? reason.code : code);
    rv__session_choose(session, (session->remote + 1) % session->n_remotes);
    tell_disconnected(session, &reason);
}

/* ---- Connections ---- */

/* Takes an answer, or a question, that is the session's own business. */
static bool
take_probe(struct rv_session *session,
           const struct rv_jsonrpc_message *message)
{
    bool is_own = json_is_string(message->id)
                  && !strcmp(json_string_value(message->id), "echo");
    switch (message->type) {
    case RV_JSONRPC_REQUEST:
        if (strcmp(json_string_value(message->method), "echo") != 0) {
            return false;
        }
        /* What fails ends the connection, or else the peer does. */
        (void)!rv_session_answer(session, message->id, message->params);
        return true;
    case RV_JSONRPC_REPLY:
    case RV_JSONRPC_ERROR:
        return is_own || rv__session_calls_take(session, message);
    case RV_JSONRPC_NOTIFY:
        break;
    }
    return false;
}

static int
on_message(struct rv_connection *connection RV_UNUSED,
           struct rv_jsonrpc_message *message, void *session_)
{
    struct rv_session *session = session_;
    if (!rv_session_is_connected(session)) {
        return 0; /* Given up already; what comes now was not received. */
    }
    int rc = 0;
    rv__session_enter(session);
    if (!take_probe(session, message) && session->callbacks->on_message) {
        rc =
            session->callbacks->on_message(session, message, session->context);
    }
    rv__session_leave(session);
    return rc;
}

static void
on_activity(struct rv_connection *connection RV_UNUSED, void *session_)
{
    struct rv_session *session = session_;
    int64_t now_ms = now_of(session);
    rv_reconnect_receive_attempted(&session->machine, now_ms);
    rv_reconnect_activity(&session->machine, now_ms);
    rv__session_arm(session);
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *session_)
{
    struct rv_session *session = session_;
    struct rv_error reason = session->doom.code ? session->doom : *error;
    if (!reason.code) {
        rv_error_set(&reason, 0, "%s: the peer closed the connection",
                     session->remotes[session->remote]);
    }
    rv__session_enter(session);
    rv__session_end(session, RV_RECONNECT_CLOSED, &reason);
    rv__session_run(session);
    rv__session_leave(session);
}

static const struct rv_connection_callbacks connection_callbacks = {
    .on_message = on_message,
    .on_closed = on_closed,
    .on_activity = on_activity,
};

/* Makes the stream, which is connected, the session's connection. */
static void
become_connected(struct rv_session *session)
{
    const struct rv_connection_limits limits = {
        .max_message_bytes = session->options.max_message_bytes,
        .max_output_bytes = session->options.max_backlog_bytes,
        .max_depth = session->options.max_depth,
        .reads_while_unsent = !session->options.holds_input,
    };
    int rc = rv_connection_start(&session->connection, session->loop,
                                 session->stream, &limits,
                                 &connection_callbacks, session);
    if (rc) {
        struct rv_error error;
        rv_error_errno(&error, rc, "%s", rv_stream_name(session->stream));
        rv__session_close_stream(session);
        rv__session_end(session, rc, &error);
        return;
    }
    session->stream = NULL;
    session->doom.code = 0;
    rv_reconnect_connected(&session->machine, now_of(session));
    if (session->options.gives_up) {
        rv_reconnect_set_max_tries(&session->machine, 0);
        rv__session_close_listener(session);
    }
    session->is_told = true;
    if (session->callbacks->on_connected) {
        session->callbacks->on_connected(session, session->context);
    }
}

/* ---- Tries ---- */

/* Ends the peer that is there in favour of the one that 'stream' leads to.
 * False if the callbacks of the old one have ended the new one. */
static bool
replace_peer(struct rv_session *session)
{
    if (session->connection.stream) {
        struct rv_error error;
        rv_error_set(&error, -ECONNABORTED, "%s: replaced by %s",
                     session->remotes[session->remote],
                     rv_stream_name(session->stream));
        if (session->callbacks->on_log) {
            session->callbacks->on_log(RV_LOG_INFO, error.text,
                                       session->context);
        }
        rv__session_end(session, 0, &error);
    }
    return !session->is_destroyed && session->stream;
}

static void
fail_stream(struct rv_session *session, int rc)
{
    struct rv_error error;
    const char *reason = rv_stream_reason(session->stream);
    rv_error_set(&error, rc, "%s", *reason ? reason : strerror(-rc));
    if (session->is_passive) {
        rv__session_close_stream(session);
        rv__session_tell_failure(session, &error);
    } else {
        rv__session_end(session, rc, &error);
    }
}

void
rv__session_advance(struct rv_session *session)
{
    int rc = rv_stream_connect(session->stream);
    if (rc == -EAGAIN) {
        rc = rv_stream_watch(session->stream, session->loop,
                             &session->stream_io, RV_STREAM_CONNECT);
        if (!rc) {
            return;
        }
    }
    if (rc) {
        fail_stream(session, rc);
    } else if (!session->is_passive || replace_peer(session)) {
        become_connected(session);
    }
}

static void
on_stream(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct rv_session *session = io->context;
    rv__session_enter(session);
    rv__session_advance(session);
    rv__session_run(session);
    rv__session_leave(session);
}

static void
start_try(struct rv_session *session)
{
    if (session->is_passive) {
        rv__session_listen(session);
        return;
    }
    rv_reconnect_connecting(&session->machine, now_of(session));
    if (!session->stream) {
        struct rv_error error;
        int rc =
            rv_stream_open(session->remotes[session->remote],
                           &session->options.stream, &session->stream, &error);
        if (rc) {
            rv__session_end(session, rc, &error);
            return;
        }
    }
    rv__session_advance(session);
}

/* ---- What is due ---- */

static void
stop_try(struct rv_session *session)
{
    const char *name = session->remotes[session->remote];
    struct rv_error error;
    if (session->machine.state == RV_RECONNECT_STATE_CONNECTING) {
        rv_error_set(&error, -ETIMEDOUT, "%s: not connected in time", name);
    } else if (session->machine.state == RV_RECONNECT_STATE_IDLE) {
        rv_error_set(&error, -ETIMEDOUT, "%s: no answer to a probe", name);
    } else {
        rv_error_set(&error, 0, "%s: given up as asked", name);
    }
    rv__session_end(session, 0, &error);
}

static void
send_probe(struct rv_session *session)
{
    struct rv_jsonrpc_message probe = {
        .type = RV_JSONRPC_REQUEST,
        .id = json_string("echo"),
        .method = json_string("echo"),
        .params = json_array(),
    };
    if (probe.id && probe.method && probe.params) {
        /* Whatever fails here shows as silence of the peer. */
        (void)!rv_session_send(session, &probe);
    }
    rv_jsonrpc_deinit(&probe);
}

static void
act(struct rv_session *session, enum rv_reconnect_action action)
{
    switch (action) {
    case RV_RECONNECT_CONNECT:
        RV_COVERAGE_INC(session_connect);
        start_try(session);
        break;
    case RV_RECONNECT_DISCONNECT:
        stop_try(session);
        break;
    case RV_RECONNECT_PROBE:
        RV_COVERAGE_INC(session_probe);
        send_probe(session);
        break;
    case RV_RECONNECT_RECEIVE:
        rv_connection_receive(&session->connection);
        rv_reconnect_receive_attempted(&session->machine, now_of(session));
        break;
    case RV_RECONNECT_NOTHING:
        break;
    }
}

static void
tell_end(struct rv_session *session)
{
    if (rv_session_is_alive(session) || session->has_ended) {
        return;
    }
    session->has_ended = true;
    rv__session_close_stream(session);
    rv__session_close_listener(session);
    if (session->callbacks->on_ended) {
        struct rv_error error = session->last_error;
        session->callbacks->on_ended(session, &error, session->context);
    }
}

void
rv__session_run(struct rv_session *session)
{
    if (!session->is_destroyed && session->accept_ms <= now_of(session)) {
        rv__session_accept_again(session);
    }
    while (!session->is_destroyed) {
        enum rv_reconnect_action action =
            rv_reconnect_run(&session->machine, now_of(session));
        if (action == RV_RECONNECT_NOTHING) {
            tell_end(session);
            return;
        }
        act(session, action);
    }
}

void
rv__session_arm(struct rv_session *session)
{
    int64_t now_ms = now_of(session);
    int64_t when_ms = rv_reconnect_deadline(&session->machine, now_ms);
    when_ms = RV_MIN(when_ms, session->accept_ms);
    if (when_ms != session->timer.when_ms) {
        int rc = rv_timer_start(session->loop, &session->timer, when_ms);
        RV_ASSERT(!rc);
    }
}

static void
on_timer(struct rv_timer *timer)
{
    struct rv_session *session = timer->context;
    /* The loop has just given this timer's place up, so that it can be had
     * again for certain. */
    int rc = rv_timer_start(session->loop, timer, RV_RECONNECT_NEVER);
    RV_ASSERT(!rc);
    rv__session_enter(session);
    rv__session_run(session);
    rv__session_leave(session);
}

void
rv__session_init_run(struct rv_session *session)
{
    rv_timer_init(&session->timer, on_timer, session);
    rv_io_init(&session->stream_io, on_stream, session);
}
