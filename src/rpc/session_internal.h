/* What the files of the session share.
 *
 * Room: rpc.  Threads: that of the loop.  Blocks: never.
 *
 *     session.c          life, settings, sending, facts
 *     session_run.c      what the reconnect machine asks for; connections
 *     session_listen.c   passive sessions: listening, accepting
 *     session_calls.c    calls that wait for their replies
 *
 * User callbacks may destroy the session.  Every entry from the loop is held
 * between rv__session_enter and rv__session_leave, which keep the memory;
 * after each callback 'is_destroyed' tells whether to stop.
 */
#ifndef RV_RPC_SESSION_INTERNAL_H
#define RV_RPC_SESSION_INTERNAL_H

#include "reeve/connection.h"
#include "reeve/list.h"
#include "reeve/session.h"

/* Calls by their ids, and in their order. */
struct rv__session_calls {
    struct rv__session_call **buckets; /* Owned; NULL without calls. */
    size_t n_buckets;                  /* A power of two, or 0. */
    size_t n_calls;
    struct rv_list in_order;
};

struct rv_session {
    /* Set once. */
    struct rv_loop *loop;
    struct rv_session_options options; /* 'stream.rundir' is owned. */
    const struct rv_session_callbacks *callbacks;
    void *context;
    char **remotes; /* Owned; one of an adopted session: its peer's name. */
    size_t n_remotes;
    bool is_passive, is_adopted;

    size_t remote;           /* In use, or tried next. */
    bool has_probe_interval; /* Set by the user: no remote changes it. */
    struct rv_reconnect machine;
    /* Always started, so that moving it cannot fail. */
    struct rv_timer timer;

    /* What connects: the try of an active session, or the newest peer of a
     * passive one in its handshake. */
    struct rv_stream *stream; /* Owned; NULL. */
    struct rv_io stream_io;

    /* What is connected: while the machine says so. */
    struct rv_connection connection;
    struct rv_error doom; /* Code not 0: it ends in its next turn. */
    bool is_told;         /* on_connected was called; the other is due. */

    struct rv_pstream *pstream; /* Owned; NULL. */
    struct rv_io listen_io;
    int64_t accept_ms; /* When to accept again after a failure; NEVER. */

    struct rv__session_calls calls;
    int64_t next_id;
    struct rv_error last_error;
    unsigned int n_entered;
    bool is_destroyed;
    bool has_ended; /* on_ended was called. */
};

/* session.c */

void rv__session_enter(struct rv_session *session);

/* Frees the session if it was destroyed meanwhile; else sets its timer.  It
 * may not be used afterwards if this is the outermost entry. */
void rv__session_leave(struct rv_session *session);

/* session_run.c */

void rv__session_init_run(struct rv_session *session);

/* Does what is due now. */
void rv__session_run(struct rv_session *session);

/* Moves the timer to what is due next. */
void rv__session_arm(struct rv_session *session);

/* Chooses 'session->remotes[i]' for the next try. */
void rv__session_choose(struct rv_session *session, size_t i);

/* Goes on with 'session->stream', which is not NULL. */
void rv__session_advance(struct rv_session *session);

void rv__session_close_stream(struct rv_session *session);

/* Ends the try that is under way, or the connection, for the reason 'error'
 * (code 0: not a failure, and 'code' tells the machine of which kind). */
void rv__session_end(struct rv_session *session, int code,
                     const struct rv_error *error);

/* Calls on_failed, and notes the reason. */
void rv__session_tell_failure(struct rv_session *session,
                              const struct rv_error *error);

/* session_listen.c */

void rv__session_init_listen(struct rv_session *session);
void rv__session_listen(struct rv_session *session);
void rv__session_close_listener(struct rv_session *session);

/* To be called when 'accept_ms' has passed. */
void rv__session_accept_again(struct rv_session *session);

/* session_calls.c */

void rv__session_calls_init(struct rv__session_calls *calls);

/* Answers the call that 'message' replies to.  False if there is none. */
bool rv__session_calls_take(struct rv_session *session,
                            const struct rv_jsonrpc_message *message);

/* Ends all calls with 'code'.  The session may be destroyed afterwards. */
void rv__session_calls_fail(struct rv_session *session, int code);

#endif
