/* A peer is a session and its place in the server's list.  When a session has
 * ended its peer leaves the list before the user hears of it, so that a user
 * who destroys the server there, and the server that destroys its peers, never
 * meet the same one. */
#include "reeve/server.h"

#include <errno.h>
#include <stdlib.h>

#include "reeve/list.h"

enum {
    ACCEPTS_PER_TURN = 256,
    ACCEPT_RETRY_MS = 100, /* After running out of descriptors or memory. */
};

struct rv_server {
    struct rv_loop *loop;
    struct rv_pstream *pstream;
    struct rv_io io;
    struct rv_timer retry;
    struct rv_list peers;
    size_t n_peers, max_peers;
    struct rv_session_options options;
    const struct rv_session_callbacks *callbacks;
    void *context;
};

struct peer {
    struct rv_list node;
    struct rv_server *server;
    struct rv_session *session;
};

/* ---- Callbacks of sessions, passed on ---- */

static void
on_connected(struct rv_session *session, void *peer_)
{
    const struct rv_server *server = ((struct peer *)peer_)->server;
    if (server->callbacks->on_connected) {
        server->callbacks->on_connected(session, server->context);
    }
}

static void
on_disconnected(struct rv_session *session, const struct rv_error *error,
                void *peer_)
{
    const struct rv_server *server = ((struct peer *)peer_)->server;
    if (server->callbacks->on_disconnected) {
        server->callbacks->on_disconnected(session, error, server->context);
    }
}

static void
on_failed(struct rv_session *session, const struct rv_error *error,
          void *peer_)
{
    const struct rv_server *server = ((struct peer *)peer_)->server;
    if (server->callbacks->on_failed) {
        server->callbacks->on_failed(session, error, server->context);
    }
}

static int
on_message(struct rv_session *session, struct rv_jsonrpc_message *message,
           void *peer_)
{
    const struct rv_server *server = ((struct peer *)peer_)->server;
    return server->callbacks->on_message ? server->callbacks->on_message(
               session, message, server->context)
                                         : 0;
}

static void
on_log(enum rv_log_level level, const char *text, void *peer_)
{
    const struct rv_server *server = ((struct peer *)peer_)->server;
    if (server->callbacks->on_log) {
        server->callbacks->on_log(level, text, server->context);
    }
}

static void
on_ended(struct rv_session *session, const struct rv_error *error, void *peer_)
{
    struct peer *peer = peer_;
    struct rv_server *server = peer->server;
    rv_list_remove(&peer->node);
    if (server->n_peers-- == server->max_peers && !server->retry.loop) {
        rv_io_set_events(&server->io, EPOLLIN);
    }
    if (server->callbacks->on_ended) {
        server->callbacks->on_ended(session, error, server->context);
    }
    rv_session_destroy(session);
    free(peer);
}

static const struct rv_session_callbacks peer_callbacks = {
    .on_connected = on_connected,
    .on_disconnected = on_disconnected,
    .on_failed = on_failed,
    .on_message = on_message,
    .on_ended = on_ended,
    .on_log = on_log,
};

/* ---- Accepting ---- */

/* Serves 'stream', which stays the caller's on failure. */
static int
add_peer(struct rv_server *server, struct rv_stream *stream)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        return -ENOMEM;
    }
    peer->server = server;
    rv_list_init(&peer->node);
    int rc = rv_session_adopt(server->loop, stream, &server->options,
                              &peer_callbacks, peer, &peer->session);
    if (rc) {
        free(peer);
        return rc;
    }
    rv_list_push_back(&server->peers, &peer->node);
    server->n_peers++;
    return 0;
}

static void
on_retry(struct rv_timer *timer)
{
    struct rv_server *server = timer->context;
    if (server->n_peers < server->max_peers) {
        rv_io_set_events(&server->io, EPOLLIN);
    }
}

/* What waits keeps the listener readable: without a pause the loop would
 * spin. */
static void
pause_accepting(struct rv_server *server)
{
    int64_t when_ms = rv_loop_now(server->loop) + ACCEPT_RETRY_MS;
    if (!rv_timer_start(server->loop, &server->retry, when_ms)) {
        rv_io_set_events(&server->io, 0);
    }
}

static void
on_acceptable(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct rv_server *server = io->context;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (server->n_peers >= server->max_peers) {
            rv_io_set_events(&server->io, 0); /* Until a peer leaves. */
            return;
        }
        struct rv_stream *stream = NULL;
        int rc = rv_pstream_accept(server->pstream, &stream);
        if (!rc) {
            rc = add_peer(server, stream);
            if (rc) {
                rv_stream_close(stream);
            }
        }
        if (rc == -EAGAIN) {
            return;
        }
        if (rc) {
            pause_accepting(server);
            return;
        }
    }
}

/* ---- Life ---- */

int
rv_server_create(struct rv_loop *loop, const char *local,
                 const struct rv_server_options *options,
                 const struct rv_session_callbacks *callbacks, void *context,
                 struct rv_server **serverp, struct rv_error *error)
{
    const struct rv_server_options no_options = {.max_sessions = 0};
    options = options ? options : &no_options;
    struct rv_server *server = calloc(1, sizeof *server);
    if (!server) {
        return rv_error_errno(error, -ENOMEM, "server");
    }
    size_t max = options->max_sessions;
    server->loop = loop;
    server->max_peers = max ? max : RV_SERVER_MAX_SESSIONS;
    server->options = options->session;
    /* Of the listener alone; nothing of it may be kept. */
    server->options.stream = (struct rv_stream_options){.dscp = 0};
    server->callbacks = callbacks;
    server->context = context;
    rv_list_init(&server->peers);
    rv_io_init(&server->io, on_acceptable, server);
    rv_timer_init(&server->retry, on_retry, server);
    int rc = rv_pstream_open(local, &options->session.stream, &server->pstream,
                             error);
    if (!rc) {
        rc = rv_io_start(loop, &server->io, rv_pstream_fd(server->pstream),
                         EPOLLIN);
        if (rc) {
            rv_error_errno(error, rc, "%s", local);
        }
    }
    if (rc) {
        rv_server_destroy(server);
        return rc;
    }
    *serverp = server;
    return 0;
}

void
rv_server_destroy(struct rv_server *server)
{
    if (!server) {
        return;
    }
    rv_io_stop(&server->io);
    rv_timer_stop(&server->retry);
    rv_pstream_close(server->pstream);
    while (!rv_list_is_empty(&server->peers)) {
        struct peer *peer =
            RV_CONTAINER_OF(server->peers.next, struct peer, node);
        rv_list_remove(&peer->node);
        rv_session_destroy(peer->session);
        free(peer);
    }
    free(server);
}

const char *
rv_server_name(const struct rv_server *server)
{
    return rv_pstream_name(server->pstream);
}

size_t
rv_server_n_sessions(const struct rv_server *server)
{
    return server->n_peers;
}

void
rv_server_for_each(struct rv_server *server,
                   void (*visit)(struct rv_session *session, void *context),
                   void *context)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &server->peers) {
        visit(RV_CONTAINER_OF(node, struct peer, node)->session, context);
    }
}
