/* JSON-RPC messages over one stream.
 *
 * Room: rpc.  Runs in: master.  Threads: that of its loop.  Blocks: never.
 *
 * Messages come by a callback, one at a time and in order.  While sent bytes
 * wait for a slow peer nothing is read from it, so a peer that does not read
 * its replies only fills its own socket; two peers that both do so may wait
 * for each other, so that a client sets 'reads_while_unsent'.  A connection
 * holds no buffers while nothing is under way.
 *
 *     struct rv_connection connection;
 *     rc = rv_connection_start(&connection, &loop, stream, &limits,
 *                              &callbacks, self);
 *     ...
 *     rc = rv_connection_send(&connection, &message);
 *     ...
 *     rv_connection_stop(&connection);
 *
 * Either callback may stop the connection and free the memory it is in.
 */
#ifndef REEVE_CONNECTION_H
#define REEVE_CONNECTION_H

#include <stdbool.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/error.h"
#include "reeve/loop.h"
#include "reeve/stream.h"
#include "reeve/json_frame.h"
#include "reeve/jsonrpc.h"

RV_BEGIN_DECLARATIONS

struct rv_connection;

struct rv_connection_limits {
    size_t max_message_bytes; /* Of a received message. */
    size_t max_output_bytes;  /* Of all that waits to be sent. */
    unsigned int max_depth;   /* Brackets within brackets. */
    bool reads_while_unsent;  /* Also while bytes wait to be sent. */
};

struct rv_connection_callbacks {
    /* A message arrived.  It is released afterwards, unless the callback took
     * members out by setting them to NULL.  A negative errno ends the
     * connection with that error. */
    int (*on_message)(struct rv_connection *, struct rv_jsonrpc_message *,
                      void *context);

    /* The connection is over and its descriptor closed; called once, and
     * never after rv_connection_stop.  'error->code' is 0 when the peer
     * closed between messages; -EPROTO for what is not a message; -EMSGSIZE
     * and -E2BIG past a limit; -ECONNRESET when the peer left in the middle of
     * a message or before its reply; -EPIPE when it left without taking all
     * that was sent; or the failure of the stream. */
    void (*on_closed)(struct rv_connection *, const struct rv_error *error,
                      void *context);

    /* The peer lives: in this turn bytes came, or it made room for bytes that
     * had waited.  Comes before the messages of the turn.  May be NULL. */
    void (*on_activity)(struct rv_connection *, void *context);
};

struct rv_connection {
    struct rv_io io;
    struct rv_stream *stream; /* Owned; NULL when not started. */
    bool is_paused;           /* By rv_connection_pause. */
    bool has_ended;           /* The peer sends no more. */
    bool reads_while_unsent;  /* As in the limits. */
    bool is_deaf;             /* The peer takes no more. */
    bool was_active;          /* Bytes came or went in this turn. */
    int abort_code;           /* Not 0: to be closed in its next turn. */
    bool *is_alivep;          /* Not NULL during a turn; cleared by a stop. */
    size_t scanned;           /* Bytes of 'input' that 'frame' has seen. */
    size_t sent;              /* Bytes of 'output' that are gone. */
    unsigned int max_depth;
    struct rv_json_frame frame;
    struct rv_buf input;
    struct rv_buf output;
    const struct rv_connection_callbacks *callbacks;
    void *context;
};

/* Takes over 'stream', also from a source that watches it, and reads from
 * it.  It is connected or accepted: a TLS
 * handshake may be under way, a name lookup or a choice of addresses may not.
 * 'callbacks' must live as long as the connection.  On failure (-ENOMEM,
 * -ENOSPC) 'stream' stays the caller's. */
int rv_connection_start(struct rv_connection *connection, struct rv_loop *loop,
                        struct rv_stream *stream,
                        const struct rv_connection_limits *limits,
                        const struct rv_connection_callbacks *callbacks,
                        void *context) RV_MUST_CHECK;

/* Closes without a callback and frees the buffers.  Idempotent. */
void rv_connection_stop(struct rv_connection *connection);

/* Queues 'message', which stays the caller's, and sends what the socket takes
 * at once.  -EMSGSIZE when more would wait than 'max_output_bytes', -ENOMEM;
 * nothing is queued then.  A dead socket is no error here: the loop reports
 * it by on_closed. */
int rv_connection_send(struct rv_connection *connection,
                       const struct rv_jsonrpc_message *message) RV_MUST_CHECK;

/* Holds back further messages, and stops reading, until resumed.  That the
 * peer left is still noticed.  Idempotent.  Wrong with 'reads_while_unsent':
 * what was held back may then wait until the socket has room again. */
void rv_connection_pause(struct rv_connection *connection);

/* Messages held back come in the loop's next turn, never from within this
 * call.  Idempotent. */
void rv_connection_resume(struct rv_connection *connection);

/* Ends the connection with 'code', a negative errno, in the next turn. */
void rv_connection_abort(struct rv_connection *connection, int code);

/* Tries to receive now, as a turn of the loop would; callbacks come from
 * within. */
void rv_connection_receive(struct rv_connection *connection);

/* Whether bytes wait to be sent, and how many. */
bool rv_connection_has_unsent(const struct rv_connection *connection);
size_t rv_connection_unsent_bytes(const struct rv_connection *connection);

RV_END_DECLARATIONS

#endif
