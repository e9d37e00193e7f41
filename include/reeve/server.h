/* A JSON-RPC server: a session for each peer that connects.
 *
 * Room: rpc.  Runs in: anything with a loop.  Threads: that of the loop.
 * Blocks: never.  Source: ovsdb(7) for the names.
 *
 *     static int
 *     on_message(struct rv_session *session,
 *                struct rv_jsonrpc_message *message, void *self)
 *     {
 *         if (message->type != RV_JSONRPC_REQUEST) {
 *             return 0;
 *         }
 *         return rv_session_answer(session, message->id, message->params);
 *     }
 *     static const struct rv_session_callbacks callbacks = {
 *         .on_message = on_message};
 *     struct rv_server_options options = {.session.holds_input = true};
 *     rc = rv_server_create(&loop, "ptcp:6650:127.0.0.1", &options,
 *                           &callbacks, self, &server, &error);
 *     ...                                  // run the loop
 *     rv_server_destroy(server);
 *
 * The sessions belong to the server, which destroys each after its on_ended.
 * All have the callbacks and the context of the server; they are told apart by
 * their address.  To end one, return a negative errno from on_message, or call
 * rv_session_force_reconnect().  Every callback but on_log may destroy the
 * server.
 *
 * Wrong: rv_session_destroy() for a session of a server.
 * Wrong: using a session after its on_ended.
 */
#ifndef REEVE_SERVER_H
#define REEVE_SERVER_H

#include <stddef.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/loop.h"
#include "reeve/session.h"

RV_BEGIN_DECLARATIONS

struct rv_server;

/* Sessions that a server has at most unless another number is given. */
enum { RV_SERVER_MAX_SESSIONS = 10000 };

/* All zero is a good default; only read while the server is created, but for
 * 'session.stream.tls', of which it has its own reference. */
struct rv_server_options {
    struct rv_session_options session; /* 'stream' also for the listener. */
    size_t max_sessions; /* While there are so many nobody is accepted; 0:
                          * RV_SERVER_MAX_SESSIONS. */
};

/* Listens on the passive name 'local' (see reeve/stream.h) and serves whoever
 * connects; the caller destroys '*serverp'.  'options' may be NULL;
 * 'callbacks' must live as long as the server.  Errors with a sentence: as
 * rv_pstream_open, and as rv_io_start. */
int rv_server_create(struct rv_loop *loop, const char *local,
                     const struct rv_server_options *options,
                     const struct rv_session_callbacks *callbacks,
                     void *context, struct rv_server **serverp,
                     struct rv_error *error) RV_MUST_CHECK;

/* Stops listening, destroys all sessions without on_disconnected and on_ended
 * (calls that wait get -ECANCELED), and frees.  Accepts NULL. */
void rv_server_destroy(struct rv_server *server);

/* The name listened on, with the port in use: "ptcp:41234:0.0.0.0". */
const char *rv_server_name(const struct rv_server *server);

/* The sessions there are now, handshakes under way included. */
size_t rv_server_n_sessions(const struct rv_server *server);

/* Calls 'visit' for each session; it must neither destroy the server nor end
 * a session in ways that call back at once (none of reeve/session.h does). */
void rv_server_for_each(struct rv_server *server,
                        void (*visit)(struct rv_session *session,
                                      void *context),
                        void *context);

RV_END_DECLARATIONS

#endif
