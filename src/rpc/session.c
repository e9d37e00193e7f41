#include "reeve/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/name.h"
#include "reeve/tls.h"
#include "rpc/session_internal.h"

/* ---- Life ---- */

void
rv__session_enter(struct rv_session *session)
{
    session->n_entered++;
}

static void
free_session(struct rv_session *session)
{
    for (size_t i = 0; i < session->n_remotes; i++) {
        free(session->remotes[i]);
    }
    free(session->remotes);
    free((char *)(uintptr_t)session->options.stream.rundir);
    rv_tls_config_unref(session->options.stream.tls);
    rv_timer_stop(&session->timer);
    free(session);
}

void
rv__session_leave(struct rv_session *session)
{
    if (--session->n_entered) {
        return;
    }
    if (session->is_destroyed) {
        free_session(session);
    } else {
        rv__session_arm(session);
    }
}

void
rv_session_destroy(struct rv_session *session)
{
    if (!session || session->is_destroyed) {
        return;
    }
    rv__session_enter(session);
    session->is_destroyed = true;
    rv_connection_stop(&session->connection);
    rv__session_close_stream(session);
    rv__session_close_listener(session);
    rv__session_calls_fail(session, -ECANCELED);
    rv__session_leave(session);
}

/* What is not given. */
static void
complete_options(struct rv_session_options *options)
{
    if (!options->max_message_bytes) {
        options->max_message_bytes = RV_SESSION_MAX_BYTES;
    }
    if (!options->max_backlog_bytes) {
        options->max_backlog_bytes = RV_SESSION_MAX_BYTES;
    }
    if (!options->max_depth) {
        options->max_depth = RV_SESSION_MAX_DEPTH;
    }
    options->reconnect.asks_to_receive = true;
}

static int
copy_options(struct rv_session *session,
             const struct rv_session_options *options)
{
    session->options = *options;
    complete_options(&session->options);
    struct rv_stream_options *stream = &session->options.stream;
    stream->tls = stream->tls ? rv_tls_config_ref(stream->tls) : NULL;
    stream->rundir = NULL;
    if (options->stream.rundir) {
        stream->rundir = strdup(options->stream.rundir);
        return stream->rundir ? 0 : -ENOMEM;
    }
    return 0;
}

static int
copy_remotes(struct rv_session *session, const char *const *remotes, size_t n)
{
    session->remotes = calloc(n, sizeof *session->remotes);
    if (!session->remotes) {
        return -ENOMEM;
    }
    for (; session->n_remotes < n; session->n_remotes++) {
        char *copy = strdup(remotes[session->n_remotes]);
        if (!copy) {
            return -ENOMEM;
        }
        session->remotes[session->n_remotes] = copy;
    }
    return 0;
}

/* The machine's lines, with the name that it does not know. */
static void
on_machine_log(enum rv_log_level level, const char *text, void *session_)
{
    const struct rv_session *session = session_;
    if (session->callbacks->on_log) {
        char line[512];
        snprintf(line, sizeof line, "%.300s: %s",
                 session->remotes[session->remote], text);
        session->callbacks->on_log(level, line, session->context);
    }
}

static int
create(struct rv_loop *loop, const char *const *remotes, size_t n,
       const struct rv_session_options *options,
       const struct rv_session_callbacks *callbacks, void *context,
       struct rv_session **sessionp)
{
    struct rv_session *session = calloc(1, sizeof *session);
    if (!session) {
        return -ENOMEM;
    }
    session->loop = loop;
    session->callbacks = callbacks;
    session->context = context;
    rv__session_calls_init(&session->calls);
    rv__session_init_run(session);
    rv__session_init_listen(session);
    int rc = copy_options(session, options);
    if (!rc) {
        rc = copy_remotes(session, remotes, n);
    }
    if (!rc) {
        rc = rv_timer_start(loop, &session->timer, RV_RECONNECT_NEVER);
    }
    if (rc) {
        free_session(session);
        return rc;
    }
    rv_reconnect_init(&session->machine, rv_loop_now(loop));
    rv_reconnect_set_log(&session->machine, on_machine_log, session);
    rv_reconnect_set_options(&session->machine, &session->options.reconnect);
    *sessionp = session;
    return 0;
}

/* Whether the remotes are such as a session can have. */
static int
check_remotes(const char *const *remotes, size_t n, bool *is_passivep,
              struct rv_error *error)
{
    if (!n) {
        return rv_error_set(error, -EINVAL, "no remote is given");
    }
    for (size_t i = 0; i < n; i++) {
        struct rv_stream_name name;
        int rc =
            rv_stream_name_parse(remotes[i], RV_STREAM_PORT, &name, error);
        if (rc) {
            return rc;
        }
        if (name.is_passive && n > 1) {
            return rv_error_set(error, -EINVAL,
                                "%s: a remote to listen on cannot be one of "
                                "several",
                                remotes[i]);
        }
        if (name.kind == RV_STREAM_FD && !name.is_passive) {
            return rv_error_set(error, -EINVAL,
                                "%s: a descriptor cannot be connected again",
                                remotes[i]);
        }
        *is_passivep = name.is_passive;
    }
    return 0;
}

/* The machine limits the tries; nobody but the stream an accepted peer. */
static void
limit_connecting(struct rv_session *session)
{
    int64_t most_ms = session->options.reconnect.connect_timeout_ms;
    struct rv_stream_options *stream = &session->options.stream;
    if (stream->connect_ms) {
        return;
    }
    if (!session->is_passive) {
        stream->connect_ms = -1;
    } else if (most_ms > 0) {
        stream->connect_ms = (int)RV_MIN(most_ms, INT32_MAX);
    }
}

int
rv_session_create(struct rv_loop *loop, const char *const *remotes, size_t n,
                  const struct rv_session_options *options,
                  const struct rv_session_callbacks *callbacks, void *context,
                  struct rv_session **sessionp, struct rv_error *error)
{
    bool is_passive = false;
    struct rv_session *session = NULL;
    int rc = check_remotes(remotes, n, &is_passive, error);
    if (rc) {
        return rc;
    }
    int64_t now_ms = rv_loop_now(loop);
    rc = create(loop, remotes, n, options, callbacks, context, &session);
    if (rc) {
        return rv_error_errno(error, rc, "session");
    }
    struct rv_reconnect *machine = &session->machine;
    session->is_passive = is_passive;
    limit_connecting(session);
    rv_reconnect_set_passive(machine, is_passive, now_ms);
    rv_reconnect_set_backoff_free_tries(machine, (unsigned int)n);
    if (options->gives_up) {
        rv_reconnect_set_max_tries(machine, (unsigned int)n);
    }
    rv__session_choose(session, 0);
    rv_reconnect_enable(machine, now_ms);
    rv__session_arm(session);
    *sessionp = session;
    return 0;
}

int
rv_session_adopt(struct rv_loop *loop, struct rv_stream *stream,
                 const struct rv_session_options *options,
                 const struct rv_session_callbacks *callbacks, void *context,
                 struct rv_session **sessionp)
{
    struct rv_session_options own = *options;
    own.stream = (struct rv_stream_options){.tls = NULL};
    if (!own.reconnect.connect_timeout_ms) {
        own.reconnect.connect_timeout_ms = RV_STREAM_CONNECT_MS;
    }
    const char *name = rv_stream_name(stream);
    struct rv_session *session = NULL;
    int rc = create(loop, &name, 1, &own, callbacks, context, &session);
    if (rc) {
        return rc;
    }
    session->is_adopted = true;
    session->stream = stream;
    rv_reconnect_set_max_tries(&session->machine, 1);
    rv__session_choose(session, 0);
    rv_reconnect_enable(&session->machine, rv_loop_now(loop));
    rv__session_arm(session);
    *sessionp = session;
    return 0;
}

/* ---- Settings ---- */

void
rv_session_set_backoff(struct rv_session *session, int64_t min_ms,
                       int64_t max_ms)
{
    rv_reconnect_set_backoff(&session->machine, min_ms, max_ms);
    rv__session_arm(session);
}

void
rv_session_set_probe_interval(struct rv_session *session, int64_t interval_ms)
{
    session->has_probe_interval = true;
    rv_reconnect_set_probe_interval(&session->machine, interval_ms);
    rv__session_arm(session);
}

/* Lets a passive session listen anew; its peer, if there is one, is given up
 * by the caller. */
static void
listen_anew(struct rv_session *session)
{
    int64_t now_ms = rv_loop_now(session->loop);
    rv__session_close_stream(session);
    rv__session_close_listener(session);
    if (session->machine.state == RV_RECONNECT_STATE_LISTENING) {
        if (session->options.gives_up) {
            rv_reconnect_set_max_tries(&session->machine, 1);
        }
        rv_reconnect_disable(&session->machine, now_ms);
        rv_reconnect_enable(&session->machine, now_ms);
    }
}

int
rv_session_set_dscp(struct rv_session *session, int dscp)
{
    if (dscp < 0 || dscp > 63) {
        return -EINVAL;
    }
    if (session->is_adopted) {
        return -EOPNOTSUPP;
    }
    if (session->options.stream.dscp != dscp) {
        session->options.stream.dscp = dscp;
        /* A listener that was inherited cannot be opened again. */
        if (session->is_passive
            && strncmp(session->remotes[0], "pfd:", 4) != 0) {
            listen_anew(session);
        }
        rv_session_force_reconnect(session);
    }
    return 0;
}

void
rv_session_force_reconnect(struct rv_session *session)
{
    rv_reconnect_force(&session->machine, rv_loop_now(session->loop));
    rv__session_arm(session);
}

/* ---- Messages ---- */

/* Judges a message that does not fit: the peer is too slow, unless nobody
 * could take a message of that length. */
static int
end_backlog(struct rv_session *session,
            const struct rv_jsonrpc_message *message)
{
    size_t backlog = rv_session_backlog(session);
    size_t most = session->options.max_backlog_bytes;
    struct rv_buf text;
    rv_buf_init(&text, most);
    int rc = rv_jsonrpc_format(message, &text);
    rv_buf_deinit(&text);
    if (rc) {
        return rc;
    }
    rc = rv_error_set(&session->doom, -E2BIG,
                      "%zu bytes wait for the peer, and no more than %zu may",
                      backlog, most);
    rv_connection_abort(&session->connection, rc);
    return rc;
}

int
rv_session_send(struct rv_session *session,
                const struct rv_jsonrpc_message *message)
{
    if (!rv_session_is_connected(session)) {
        return -ENOTCONN;
    }
    int rc = rv_connection_send(&session->connection, message);
    return rc == -EMSGSIZE ? end_backlog(session, message) : rc;
}

int64_t
rv_session_new_id(struct rv_session *session)
{
    return session->next_id++;
}

int
rv_session_notify(struct rv_session *session, const char *method,
                  json_t *params)
{
    struct rv_jsonrpc_message message = {
        .type = RV_JSONRPC_NOTIFY,
        .method = rv_jsonrpc_text(method),
        .params = params ? json_incref(params) : json_array(),
    };
    int rc = message.method && message.params
                 ? rv_session_send(session, &message)
                 : -ENOMEM;
    rv_jsonrpc_deinit(&message);
    return rc;
}

int
rv_session_answer(struct rv_session *session, json_t *id, json_t *result)
{
    struct rv_jsonrpc_message message = {
        .type = RV_JSONRPC_REPLY, .id = id, .result = result};
    return rv_session_send(session, &message);
}

int
rv_session_refuse(struct rv_session *session, json_t *id, json_t *reason)
{
    struct rv_jsonrpc_message message = {
        .type = RV_JSONRPC_ERROR, .id = id, .error = reason};
    return rv_session_send(session, &message);
}

/* ---- Facts ---- */

bool
rv_session_is_connected(const struct rv_session *session)
{
    return session->connection.stream && !session->doom.code
           && !session->is_destroyed
           && rv_reconnect_is_connected(&session->machine);
}

bool
rv_session_is_alive(const struct rv_session *session)
{
    return rv_reconnect_is_enabled(&session->machine);
}

unsigned int
rv_session_seqno(const struct rv_session *session)
{
    return session->machine.seqno;
}

size_t
rv_session_backlog(const struct rv_session *session)
{
    return session->connection.stream
               ? rv_connection_unsent_bytes(&session->connection)
               : 0;
}

const struct rv_stream *
rv_session_stream(const struct rv_session *session)
{
    return session->connection.stream;
}

uint16_t
rv_session_port(const struct rv_session *session)
{
    return session->pstream ? rv_pstream_port(session->pstream) : 0;
}

void
rv_session_get_status(const struct rv_session *session,
                      struct rv_session_status *status)
{
    *status = (struct rv_session_status){
        .remote = session->remotes[session->remote],
        .state = rv_reconnect_state_name(session->machine.state),
        .n_calls = session->calls.n_calls,
        .backlog_bytes = rv_session_backlog(session),
        .last_error = session->last_error,
    };
    rv_reconnect_get_stats(&session->machine, rv_loop_now(session->loop),
                           &status->stats);
}
