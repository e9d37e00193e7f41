/* Passive sessions.  The listener stays open from one peer to the next, so
 * that none is refused meanwhile. */
#include <errno.h>

#include "rpc/session_internal.h"

/* How long accepting rests when it failed beside a connection, which the
 * machine has no state for. */
enum { ACCEPT_PAUSE_MS = 1000 };

void
rv__session_close_listener(struct rv_session *session)
{
    rv_io_stop(&session->listen_io);
    rv_pstream_close(session->pstream);
    session->pstream = NULL;
    session->accept_ms = RV_RECONNECT_NEVER;
}

static int
watch_listener(struct rv_session *session)
{
    session->accept_ms = RV_RECONNECT_NEVER;
    if (session->listen_io.loop) {
        return 0;
    }
    return rv_io_start(session->loop, &session->listen_io,
                       rv_pstream_fd(session->pstream), EPOLLIN);
}

void
rv__session_listen(struct rv_session *session)
{
    const char *name = session->remotes[0];
    struct rv_error error;
    int64_t now_ms = rv_loop_now(session->loop);
    int rc = session->pstream ? 0
                              : rv_pstream_open(name, &session->options.stream,
                                                &session->pstream, &error);
    if (!rc) {
        rc = watch_listener(session);
        if (rc) {
            rv_error_errno(&error, rc, "cannot listen on %s", name);
        }
    }
    if (rc) {
        rv_reconnect_connecting(&session->machine, now_ms);
        rv__session_end(session, rc, &error);
    } else {
        rv_reconnect_listening(&session->machine, now_ms);
    }
}

/* The listener stays readable, so it is not looked at for a while. */
static void
pause_accepting(struct rv_session *session, int rc)
{
    struct rv_error error;
    int64_t now_ms = rv_loop_now(session->loop);
    rv_error_errno(&error, rc, "%s: cannot accept",
                   rv_pstream_name(session->pstream));
    rv_io_stop(&session->listen_io);
    if (rv_reconnect_is_connected(&session->machine)) {
        session->accept_ms = now_ms + ACCEPT_PAUSE_MS;
    } else {
        rv_reconnect_listen_error(&session->machine, rc, now_ms);
    }
    rv__session_tell_failure(session, &error);
}

void
rv__session_accept_again(struct rv_session *session)
{
    if (watch_listener(session)) {
        session->accept_ms = rv_loop_now(session->loop) + ACCEPT_PAUSE_MS;
    }
}

static void
accept_peer(struct rv_session *session)
{
    struct rv_stream *stream = NULL;
    int rc = rv_pstream_accept(session->pstream, &stream);
    if (rc == -EAGAIN) {
        return;
    }
    if (rc) {
        pause_accepting(session, rc);
        return;
    }
    rv__session_close_stream(session);
    session->stream = stream;
    rv__session_advance(session);
}

static void
on_listener(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct rv_session *session = io->context;
    rv__session_enter(session);
    accept_peer(session);
    rv__session_run(session);
    rv__session_leave(session);
}

void
rv__session_init_listen(struct rv_session *session)
{
    rv_io_init(&session->listen_io, on_listener, session);
    session->accept_ms = RV_RECONNECT_NEVER;
}
