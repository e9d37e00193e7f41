/* JSON-RPC with a peer that may come and go.
 *
 * Room: rpc.  Runs in: anything with a loop.  Threads: that of the loop.
 * Blocks: never.  Source: the behaviour of Open vSwitch's jsonrpc_session.
 *
 * A session connects to a remote, or listens for one, and does so again
 * whenever the connection is lost.  It asks a silent peer whether it still
 * lives, and answers when it is asked.
 *
 *     static void
 *     on_databases(struct rv_session *session, int code,
 *                  const struct rv_jsonrpc_message *reply, void *context)
 *     {
 *         if (!code && reply->type == RV_JSONRPC_REPLY) {
 *             use reply->result;
 *         }
 *     }
 *     static void
 *     on_connected(struct rv_session *session, void *context)
 *     {
 *         rc = rv_session_call(session, "list_dbs", NULL, on_databases,
 *                              context, NULL);
 *     }
 *     const struct rv_session_callbacks callbacks = {
 *         .on_connected = on_connected};
 *     const char *remotes[] = {"tcp:127.0.0.1:6640", "tcp:127.0.0.1:6641"};
 *     struct rv_session_options options = {.gives_up = false};
 *     rc = rv_session_create(&loop, remotes, 2, &options, &callbacks, self,
 *                            &session, &error);
 *     ...                                 // run the loop
 *     rv_session_destroy(session);
 *
 * Callbacks come from the loop's turns, never from within a function of the
 * session, but for lines of the log and for the -ECANCELED of calls that
 * rv_session_destroy ends.  Every callback but on_log may use and destroy the
 * session.
 *
 * What was asked on a connection is lost with it: after each on_connected the
 * user starts anew (monitors, locks).  Whether a request whose connection died
 * was carried out is unknown; whoever sends it again must be able to bear
 * that it is done twice.
 *
 * With several remotes the next one is tried after each failure, round robin,
 * and the first round goes without waits, as does one after a connection that
 * had lasted.  A single passive remote (ptcp:, punix:, pssl:, pfd:) is
 * listened on; it has one peer, and a new one replaces the old, once its TLS
 * handshake has ended.
 *
 * Wrong: to send outside a connection and expect it to wait.  Sends fail with
 * -ENOTCONN then; on_connected is the place to begin.
 */
#ifndef REEVE_SESSION_H
#define REEVE_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/jsonrpc.h"
#include "reeve/log.h"
#include "reeve/loop.h"
#include "reeve/reconnect.h"
#include "reeve/stream.h"

RV_BEGIN_DECLARATIONS

struct rv_session;

/* Limits that hold unless others are given. */
enum {
    RV_SESSION_MAX_BYTES = 64 * 1024 * 1024,
    RV_SESSION_MAX_DEPTH = 1000,
};

/* All zero is a good default.  Copied by the session; 'stream.tls' gets a
 * reference. */
struct rv_session_options {
    /* 'connect_ms' of 0 leaves a try to the machine's time, which grows with
     * the backoff from a second to 'max_ms', and an accepted peer
     * RV_STREAM_CONNECT_MS for its handshake. */
    struct rv_stream_options stream;
    /* 'connect_timeout_ms' covers name lookup, connection and TLS handshake,
     * and the handshakes of accepted peers.  'asks_to_receive' is always
     * on. */
    struct rv_reconnect_options reconnect;
    size_t max_message_bytes; /* Received; 0: RV_SESSION_MAX_BYTES. */
    size_t max_backlog_bytes; /* To be sent; 0: RV_SESSION_MAX_BYTES. */
    unsigned int max_depth;   /* Brackets; 0: RV_SESSION_MAX_DEPTH. */
    /* Each remote is tried once.  When none takes the connection, or when the
     * one that did is lost, the session has ended. */
    bool gives_up;
    /* While sent bytes wait, nothing is read: right for a server, which must
     * not collect replies for a peer that does not take them.  Wrong if both
     * sides do so: each may wait for the other. */
    bool holds_input;
};

/* Each may be NULL. */
struct rv_session_callbacks {
    /* A connection stands; messages may be sent. */
    void (*on_connected)(struct rv_session *session, void *context);

    /* The connection that on_connected told of is over; comes once for each,
     * after the callbacks of its calls.  'error' has a sentence; its code is 0
     * when the peer closed between messages or rv_session_force_reconnect
     * asked; -ETIMEDOUT when a probe was not answered; -E2BIG past the
     * backlog; -ECONNABORTED when a new peer replaces this one; else as
     * rv_connection_callbacks of reeve/connection.h. */
    void (*on_disconnected)(struct rv_session *session,
                            const struct rv_error *error, void *context);

    /* A try came to nothing: to connect, to listen, or to accept a peer.
     * -ETIMEDOUT when it took too long. */
    void (*on_failed)(struct rv_session *session, const struct rv_error *error,
                      void *context);

    /* A message arrived that is no probe, no answer to one, and no reply to a
     * call.  It is released afterwards, unless the callback took members out
     * by setting them to NULL.  A negative errno ends the connection with
     * that error. */
    int (*on_message)(struct rv_session *session,
                      struct rv_jsonrpc_message *message, void *context);

    /* The session will not connect again; the last callback.  'error' tells
     * of the last failure. */
    void (*on_ended)(struct rv_session *session, const struct rv_error *error,
                     void *context);

    /* A line for the log, with the name of the remote.  Must not call the
     * session. */
    void (*on_log)(enum rv_log_level level, const char *text, void *context);
};

/* ---- Life ---- */

/* Makes a session with 'n' (not 0) remotes, which are copied; it begins in
 * the loop's next turn.  'callbacks' must live as long as the session.
 * -EINVAL and -EAFNOSUPPORT for names that are wrong, a passive name among
 * others, and fd:, which cannot be connected twice (see rv_session_adopt);
 * -ENOMEM. */
int rv_session_create(struct rv_loop *loop, const char *const *remotes,
                      size_t n, const struct rv_session_options *options,
                      const struct rv_session_callbacks *callbacks,
                      void *context, struct rv_session **sessionp,
                      struct rv_error *error) RV_MUST_CHECK;

/* Makes a session over 'stream', which it takes over: accepted, adopted or
 * still connecting, watched by nobody.  When the connection is over the
 * session has ended.  Of the options 'stream' and 'gives_up' do not matter.
 * -ENOMEM; 'stream' stays the caller's then. */
int rv_session_adopt(struct rv_loop *loop, struct rv_stream *stream,
                     const struct rv_session_options *options,
                     const struct rv_session_callbacks *callbacks,
                     void *context, struct rv_session **sessionp)
    RV_MUST_CHECK;

/* Closes all and frees.  Calls that wait get -ECANCELED; no other callback
 * comes.  Accepts NULL. */
void rv_session_destroy(struct rv_session *session);

/* ---- Settings ---- */

/* The waits between tries; as rv_reconnect_set_backoff. */
void rv_session_set_backoff(struct rv_session *session, int64_t min_ms,
                            int64_t max_ms);

/* How long a peer may be silent before it is probed, and then before it is
 * given up; 0 or less: no probes, else at least a second.  Unless set: 5 s
 * over a network, no probes over a unix socket. */
void rv_session_set_probe_interval(struct rv_session *session,
                                   int64_t interval_ms);

/* Sets the differentiated services code point, 0 to 63; if it is another than
 * before the session connects, or listens, anew.  -EINVAL; -EOPNOTSUPP for an
 * adopted one. */
int rv_session_set_dscp(struct rv_session *session, int dscp);

/* Gives up the connection, or the try, that is under way; without one nothing
 * happens. */
void rv_session_force_reconnect(struct rv_session *session);

/* ---- Messages ----
 *
 * What is sent is queued, and as much as the socket takes leaves at once.
 *
 * All of these return -ENOTCONN when there is no connection; -EMSGSIZE for a
 * message that is longer than the whole backlog may be; -E2BIG when it does
 * not fit behind what waits: the peer is too slow, and the connection ends in
 * the loop's next turn; -EINVAL for what is not a message; -ENOMEM.  Values
 * of JSON stay the caller's. */

/* Sends 'message' as it is.  Replies to a request sent in this way come to
 * on_message; its id should be one of rv_session_new_id. */
int rv_session_send(struct rv_session *session,
                    const struct rv_jsonrpc_message *message) RV_MUST_CHECK;

/* A number that no other request of this session has. */
int64_t rv_session_new_id(struct rv_session *session);

/* What became of a call.  'code' 0: 'reply' is what the peer answered, a
 * reply or an error.  -ECONNRESET: the connection ended first, and whether
 * the request was carried out is unknown.  -ECANCELED: the session was
 * destroyed.  'reply' is NULL in both, else it lives as long as the call. */
typedef void rv_session_reply(struct rv_session *session, int code,
                              const struct rv_jsonrpc_message *reply,
                              void *context);

/* Sends a request; 'params' is an array, NULL an empty one.  After success
 * 'on_reply' is called exactly once, unless the call is cancelled, and
 * '*idp', if not NULL, is its number. */
int rv_session_call(struct rv_session *session, const char *method,
                    json_t *params, rv_session_reply *on_reply, void *context,
                    int64_t *idp) RV_MUST_CHECK;

/* Forgets a call: its callback will not be called.  The peer may carry it out
 * all the same.  -ENOENT if it does not wait (any more). */
int rv_session_cancel(struct rv_session *session, int64_t id);

/* Sends a notification; 'params' is an array, NULL an empty one. */
int rv_session_notify(struct rv_session *session, const char *method,
                      json_t *params) RV_MUST_CHECK;

/* Answers the request that had 'id' with 'result', which is not null; or with
 * 'reason', likewise. */
int rv_session_answer(struct rv_session *session, json_t *id, json_t *result)
    RV_MUST_CHECK;
int rv_session_refuse(struct rv_session *session, json_t *id, json_t *reason)
    RV_MUST_CHECK;

/* ---- Facts ---- */

/* Whether messages may be sent now. */
bool rv_session_is_connected(const struct rv_session *session);

/* Whether the session has not ended. */
bool rv_session_is_alive(const struct rv_session *session);

/* Counts connections and disconnections together: as long as it stays the
 * same, so does the connection. */
unsigned int rv_session_seqno(const struct rv_session *session);

/* Bytes that wait for the peer to take them. */
size_t rv_session_backlog(const struct rv_session *session);

/* The stream of the present connection, for rv_stream_peer_id and the like;
 * NULL without one.  It stays the session's. */
const struct rv_stream *rv_session_stream(const struct rv_session *session);

/* The port listened on; 0 if none is. */
uint16_t rv_session_port(const struct rv_session *session);

struct rv_session_status {
    const char *remote; /* In use, or tried next; lives with the session. */
    const char *state;  /* "ACTIVE" and the like; static. */
    size_t n_calls;     /* That wait for their replies. */
    size_t backlog_bytes;
    struct rv_reconnect_stats stats; /* Times are those of the loop. */
    struct rv_error last_error;      /* Code 0 and "" if there was none. */
};

void rv_session_get_status(const struct rv_session *session,
                           struct rv_session_status *status);

RV_END_DECLARATIONS

#endif
