/* A connection, then a session, and any peer.  The first byte of the input
 * says how the receiver behaves, the second how many bytes follow that say
 * where the rest is cut into pieces.
 *
 * What arrives, and how the connection ends, must not depend on the pieces;
 * memory stays within the limits; each call of a session is answered once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reeve/connection.h"
#include "reeve/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MAX_MESSAGE_BYTES = 500,
    MAX_OUTPUT_BYTES = 20000,
    MAX_DEPTH = 8,
    ANSWERS = 1, /* Bits of the first byte: replies to requests, */
    PAUSES = 2,  /* pauses after each message, */
    REFUSES = 4, /* and ends the connection by a notification. */
    N_CALLS = 3,
};

struct receiver {
    struct rv_loop loop;
    struct rv_connection connection;
    struct rv_session *session;
    unsigned int behaviour;
    int peer_fd;
    size_t n_messages;
    uint64_t digest; /* Of all messages so far. */
    size_t n_closed;
    int code;
    size_t n_answered[N_CALLS];
};

static void
note(struct receiver *receiver, const struct rv_jsonrpc_message *message)
{
    struct rv_buf text;
    rv_buf_init(&text, (size_t)1 << 20);
    RV_ASSERT(!rv_jsonrpc_format(message, &text));
    for (size_t i = 0; i < text.length; i++) {
        receiver->digest =
            (receiver->digest ^ (uint8_t)text.data[i]) * 1099511628211U;
    }
    receiver->n_messages++;
    rv_buf_deinit(&text);
}

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *receiver_)
{
    struct receiver *receiver = receiver_;
    note(receiver, message);
    RV_ASSERT(!receiver->n_closed);
    if ((receiver->behaviour & REFUSES)
        && message->type == RV_JSONRPC_NOTIFY) {
        return -EACCES;
    }
    if ((receiver->behaviour & ANSWERS)
        && message->type == RV_JSONRPC_REQUEST) {
        struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                           .id = message->id,
                                           .result = message->params};
        RV_ASSERT(!rv_connection_send(connection, &reply));
    }
    if (receiver->behaviour & PAUSES) {
        rv_connection_pause(connection);
    }
    return 0;
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *receiver_)
{
    struct receiver *receiver = receiver_;
    receiver->n_closed++;
    receiver->code = error->code;
    RV_ASSERT(RV_IMPLIES(error->code, error->text[0]));
    RV_ASSERT(!strchr(error->text, '\n'));
}

static const struct rv_connection_callbacks callbacks = {
    .on_message = on_message, .on_closed = on_closed};

static void
drain(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

static void
turn(struct receiver *receiver)
{
    RV_ASSERT(!rv_loop_run_once(&receiver->loop, 0));
    drain(receiver->peer_fd);
    if (!receiver->session && !receiver->n_closed) {
        RV_ASSERT(receiver->connection.input.capacity
                  <= 2 * (MAX_MESSAGE_BYTES + 100000));
        rv_connection_resume(&receiver->connection);
    }
}

/* Turns until nothing moves any more: one turn delivers a limited number. */
static void
settle(struct receiver *receiver)
{
    size_t before;
    do {
        before = receiver->n_messages;
        for (int i = 0; i < 4; i++) {
            turn(receiver);
        }
    } while (receiver->n_messages != before);
}

static struct rv_stream *
open_stream(struct receiver *receiver)
{
    int fds[2];
    struct rv_stream *stream = NULL;
    RV_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0, fds));
    RV_ASSERT(!rv_stream_adopt(fds[0], "fuzz", &stream));
    RV_ASSERT(!rv_loop_init(&receiver->loop));
    receiver->peer_fd = fds[1];
    return stream;
}

/* Sends it all, in pieces as the 'cuts' say, and then the end. */
static void
feed(struct receiver *receiver, const uint8_t *data, size_t size,
     const uint8_t *cuts, size_t n_cuts)
{
    size_t i = 0;
    while (size) {
        size_t n = n_cuts ? (size_t)cuts[i++ % n_cuts] + 1 : 4096;
        n = RV_MIN(n, size);
        if (send(receiver->peer_fd, data, n, MSG_NOSIGNAL) != (ssize_t)n) {
            break; /* Closed. */
        }
        data += n;
        size -= n;
        turn(receiver);
        if (!n_cuts) {
            settle(receiver);
        }
    }
    settle(receiver);
    shutdown(receiver->peer_fd, SHUT_WR);
    settle(receiver);
}

static void
run_connection(struct receiver *receiver, const uint8_t *data, size_t size,
               const uint8_t *cuts, size_t n_cuts)
{
    struct rv_connection_limits limits = {.max_message_bytes =
                                              MAX_MESSAGE_BYTES,
                                          .max_output_bytes = MAX_OUTPUT_BYTES,
                                          .max_depth = MAX_DEPTH};
    struct rv_stream *stream = open_stream(receiver);
    RV_ASSERT(!rv_connection_start(&receiver->connection, &receiver->loop,
                                   stream, &limits, &callbacks, receiver));
    feed(receiver, data, size, cuts, n_cuts);
    RV_ASSERT(receiver->n_closed == 1);
    rv_connection_stop(&receiver->connection);
    rv_loop_deinit(&receiver->loop);
    close(receiver->peer_fd);
}

/* The session. */

static void
on_reply(struct rv_session *session RV_UNUSED, int code,
         const struct rv_jsonrpc_message *reply, void *count)
{
    RV_ASSERT(RV_IMPLIES(!code, reply));
    ++*(size_t *)count;
}

static void
on_connected(struct rv_session *session, void *receiver_)
{
    struct receiver *receiver = receiver_;
    for (size_t i = 0; i < N_CALLS; i++) {
        RV_ASSERT(!rv_session_call(session, "m", NULL, on_reply,
                                   &receiver->n_answered[i], NULL));
    }
}

static int
on_session_message(struct rv_session *session RV_UNUSED,
                   struct rv_jsonrpc_message *message, void *receiver_)
{
    struct receiver *receiver = receiver_;
    note(receiver, message);
    bool is_refused =
        (receiver->behaviour & REFUSES) && message->type == RV_JSONRPC_NOTIFY;
    return is_refused ? -EACCES : 0;
}

static void
on_disconnected(struct rv_session *session RV_UNUSED,
                const struct rv_error *error, void *receiver_)
{
    struct receiver *receiver = receiver_;
    receiver->n_closed++;
    receiver->code = error->code;
}

static const struct rv_session_callbacks session_callbacks = {
    .on_connected = on_connected,
    .on_message = on_session_message,
    .on_disconnected = on_disconnected};

static void
run_session(struct receiver *receiver, const uint8_t *data, size_t size,
            const uint8_t *cuts, size_t n_cuts)
{
    struct rv_session_options options = {
        .max_message_bytes = MAX_MESSAGE_BYTES, .max_depth = MAX_DEPTH};
    struct rv_stream *stream = open_stream(receiver);
    RV_ASSERT(!rv_session_adopt(&receiver->loop, stream, &options,
                                &session_callbacks, receiver,
                                &receiver->session));
    settle(receiver);
    feed(receiver, data, size, cuts, n_cuts);
    RV_ASSERT(receiver->n_closed == 1);
    rv_session_destroy(receiver->session);
    for (size_t i = 0; i < N_CALLS; i++) {
        RV_ASSERT(receiver->n_answered[i] == 1);
    }
    rv_loop_deinit(&receiver->loop);
    close(receiver->peer_fd);
}

/* Both ways of cutting. */

typedef void run_function(struct receiver *receiver, const uint8_t *data,
                          size_t size, const uint8_t *cuts, size_t n_cuts);

static void
compare(run_function *run, unsigned int behaviour, const uint8_t *data,
        size_t size, size_t n_cuts)
{
    struct receiver whole = {.behaviour = behaviour};
    struct receiver pieces = {.behaviour = behaviour};
    run(&whole, data + n_cuts, size - n_cuts, NULL, 0);
    run(&pieces, data + n_cuts, size - n_cuts, data, n_cuts);
    RV_ASSERT(whole.n_messages == pieces.n_messages);
    RV_ASSERT(whole.digest == pieces.digest);
    RV_ASSERT(whole.code == pieces.code);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 8000) {
        return 0;
    }
    size_t n_cuts = RV_MIN((size_t)data[1] % 16, size - 2);
    compare(run_connection, data[0], data + 2, size - 2, n_cuts);
    compare(run_session, data[0], data + 2, size - 2, n_cuts);
    return 0;
}
