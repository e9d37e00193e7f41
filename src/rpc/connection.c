#include "reeve/connection.h"

#include <errno.h>
#include <string.h>

#include "net/provider.h"
#include "reeve/coverage.h"

enum {
    READ_BYTES = 4096,
    /* What one connection may take of a turn of the loop. */
    READS_PER_TURN = 16,
    MESSAGES_PER_TURN = 64,
};

/* The outcomes of a turn besides negative errnos. */
enum { GOES_ON, ENDED_CLEANLY };

RV_COVERAGE_DEFINE(jsonrpc_bytes_received);
RV_COVERAGE_DEFINE(jsonrpc_bytes_sent);
RV_COVERAGE_DEFINE(jsonrpc_connection);
RV_COVERAGE_DEFINE(jsonrpc_received);
RV_COVERAGE_DEFINE(jsonrpc_sent);

bool
rv_connection_has_unsent(const struct rv_connection *c)
{
    return c->sent < c->output.length;
}

size_t
rv_connection_unsent_bytes(const struct rv_connection *c)
{
    return c->output.length - c->sent;
}

/* Whether the peer has to take bytes before more of it is looked at. */
static bool
is_held_back(const struct rv_connection *c)
{
    return !c->reads_while_unsent && rv_connection_has_unsent(c);
}

static bool
has_unscanned(const struct rv_connection *c)
{
    return c->scanned < c->input.length;
}

static bool
may_read(const struct rv_connection *c)
{
    return !c->is_paused && !c->has_ended && !is_held_back(c)
           && !has_unscanned(c);
}

/* Tells the loop what to wait for.  A connection that has work left but waits
 * for nobody asks for writability, which comes at once because nothing is
 * unsent: this cannot fail, as starting a timer could.  Nor can the watching,
 * as the stream's descriptor does not change any more. */
static void
update_events(struct rv_connection *c)
{
    if (c->is_alivep) {
        return; /* Done at the end of the turn. */
    }
    unsigned int what = 0;
    bool has_work = !c->is_paused && (has_unscanned(c) || c->has_ended);
    if (rv_connection_has_unsent(c) || has_work || c->abort_code) {
        what |= RV_STREAM_SEND;
    }
    if (may_read(c)) {
        what |= RV_STREAM_RECV;
    }
    int rc = rv_stream_watch(c->stream, c->io.loop, &c->io, what);
    RV_ASSERT(!rc);
}

/* Sends as much as the stream takes; frees the buffer when all is gone. */
static int
flush(struct rv_connection *c)
{
    while (rv_connection_has_unsent(c)) {
        ssize_t n = rv_stream_send(c->stream, c->output.data + c->sent,
                                   c->output.length - c->sent);
        if (n == -EAGAIN) {
            break;
        }
        if (n == -EPIPE && c->reads_while_unsent) {
            /* What the peer said before it left is still to be heard. */
            c->is_deaf = true;
            c->sent = c->output.length;
            break;
        }
        if (n < 0) {
            rv_stream_abort(c->stream, (int)n, strerror((int)-n));
            return (int)n;
        }
        c->sent += (size_t)n;
        RV_COVERAGE_ADD(jsonrpc_bytes_sent, (uint64_t)n);
    }
    if (!rv_connection_has_unsent(c)) {
        rv_buf_deinit(&c->output);
        c->sent = 0;
    } else if (c->sent > c->output.length / 2) {
        /* Dropping the front only when it is the larger half keeps the cost
         * of moving the rest in proportion to the bytes sent. */
        rv_buf_consume(&c->output, c->sent);
        c->sent = 0;
    }
    return 0;
}

static int
receive(struct rv_connection *c)
{
    for (int i = 0; i < READS_PER_TURN; i++) {
        int rc = rv_buf_reserve(&c->input, READ_BYTES);
        if (rc) {
            return rc;
        }
        ssize_t n = rv_stream_recv(c->stream, c->input.data + c->input.length,
                                   READ_BYTES);
        if (n < 0) {
            return n == -EAGAIN ? 0 : (int)n;
        }
        RV_COVERAGE_ADD(jsonrpc_bytes_received, (uint64_t)n);
        c->input.length += (size_t)n;
        c->input.data[c->input.length] = '\0';
        c->has_ended = n == 0;
        c->was_active |= n > 0;
        if (n < READ_BYTES) {
            return 0; /* Most likely all there is; else there is a turn. */
        }
    }
    return 0;
}

/* Drops the bytes of finished values, and the buffer with the last one. */
static void
compact(struct rv_connection *c)
{
    size_t pending = rv_json_frame_pending(&c->frame);
    rv_buf_consume(&c->input, c->scanned - pending);
    c->scanned = pending;
    if (!c->input.length) {
        rv_buf_deinit(&c->input);
    }
}

static int
deliver_message(struct rv_connection *c, struct rv_error *error)
{
    struct rv_jsonrpc_message message;
    const char *start = c->input.data + c->scanned - c->frame.length;
    int rc = rv_jsonrpc_parse(start, c->frame.length, &message, error);
    if (rc) {
        return rc;
    }
    RV_COVERAGE_INC(jsonrpc_received);
    rc = c->callbacks->on_message(c, &message, c->context);
    rv_jsonrpc_deinit(&message);
    if (rc) {
        rv_error_set(error, rc, "%s refused",
                     rv_jsonrpc_type_name(message.type));
    }
    return rc;
}

static int
explain_frame(const struct rv_connection *c, int rc, struct rv_error *error)
{
    if (rc == -EMSGSIZE) {
        return rv_error_set(error, rc, "message above the limit of %zu bytes",
                            c->frame.max_bytes);
    }
    if (rc == -E2BIG) {
        return rv_error_set(error, rc,
                            "message nested above the limit of %u brackets",
                            c->frame.max_depth);
    }
    return rv_error_set(error, rc, "no JSON value where one should start");
}

/* Hands the messages received to the callback, as far as this turn allows. */
static int
deliver(struct rv_connection *c, const bool *is_alive, struct rv_error *error)
{
    for (int i = 0;; i++) {
        /* Behind unsent bytes the rest cannot wait for the next turn, as a
         * full socket might not let it come. */
        if (i >= MESSAGES_PER_TURN && !rv_connection_has_unsent(c)) {
            break;
        }
        if (!has_unscanned(c) || c->is_paused || is_held_back(c)
            || c->abort_code) {
            break;
        }
        size_t used;
        int rc = rv_json_frame_scan(&c->frame, c->input.data + c->scanned,
                                    c->input.length - c->scanned, &used);
        if (rc < 0) {
            return explain_frame(c, rc, error);
        }
        c->scanned += used;
        if (rc == RV_JSON_FRAME_COMPLETE) {
            rc = deliver_message(c, error);
            if (rc || !*is_alive) {
                return rc;
            }
        }
    }
    compact(c);
    return 0;
}

/* Puts a failure to send or receive into words. */
static int
explain_failure(const struct rv_connection *c, int rc, const char *text,
                struct rv_error *error)
{
    if (rv_stream_state(c->stream) == RV_STREAM_DISCONNECTED) {
        return rv_error_set(error, rc, "%s", rv_stream_reason(c->stream));
    }
    return rv_error_errno(error, rc, "%s", text);
}

/* Judges, after the work of a turn, whether the connection is over. */
static int
check_end(const struct rv_connection *c, uint32_t events,
          struct rv_error *error)
{
    bool is_waiting = c->is_paused || is_held_back(c);
    if ((events & (EPOLLHUP | EPOLLERR)) && is_waiting) {
        return rv_error_set(error, -ECONNRESET,
                            "the peer left before its reply");
    }
    if (!c->has_ended || is_waiting || has_unscanned(c)) {
        return GOES_ON;
    }
    if (c->input.length) {
        return rv_error_set(error, -ECONNRESET,
                            "the peer left in the middle of a message");
    }
    if (c->is_deaf) {
        return rv_error_set(error, -EPIPE,
                            "the peer left without taking all that was sent");
    }
    return ENDED_CLEANLY;
}

/* Sends, then receives what the events promise. */
static int
move_bytes(struct rv_connection *c, uint32_t events, struct rv_error *error)
{
    size_t unsent = rv_connection_unsent_bytes(c);
    int rc = flush(c);
    if (rc) {
        return explain_failure(c, rc, "cannot send", error);
    }
    c->was_active = rv_connection_unsent_bytes(c) < unsent;
    /* Also on a hang-up: requests sent before it are still to be read. */
    if (may_read(c)
        && ((events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            || rv_stream_is_ready(c->stream, RV_STREAM_RECV))) {
        rc = receive(c);
        if (rc) {
            return explain_failure(c, rc, "cannot receive", error);
        }
    }
    return 0;
}

static int
take_turn(struct rv_connection *c, uint32_t events, const bool *is_alive,
          struct rv_error *error)
{
    if (c->abort_code) {
        return explain_failure(c, c->abort_code, "given up", error);
    }
    int rc = rv_stream_connect(c->stream);
    if (rc) {
        return rc == -EAGAIN ? GOES_ON
                             : explain_failure(c, rc, "cannot connect", error);
    }
    rc = move_bytes(c, events, error);
    if (rc) {
        return rc;
    }
    if (c->was_active && c->callbacks->on_activity) {
        c->callbacks->on_activity(c, c->context);
        if (!*is_alive) {
            return 0;
        }
    }
    rc = deliver(c, is_alive, error);
    if (rc || !*is_alive) {
        return rc;
    }
    if (c->abort_code) {
        return explain_failure(c, c->abort_code, "given up", error);
    }
    return check_end(c, events, error);
}

static void
release(struct rv_connection *c)
{
    rv_stream_close(c->stream);
    c->stream = NULL;
    rv_buf_deinit(&c->input);
    rv_buf_deinit(&c->output);
    c->scanned = 0;
    c->sent = 0;
}

static void
on_event(struct rv_io *io, uint32_t events)
{
    struct rv_connection *c = io->context;
    struct rv_error error;
    error.code = 0;
    error.text[0] = '\0';
    bool is_alive = true;
    c->is_alivep = &is_alive;
    int rc = take_turn(c, events, &is_alive, &error);
    if (!is_alive) {
        return;
    }
    c->is_alivep = NULL;
    if (rc == GOES_ON) {
        update_events(c);
        return;
    }
    release(c);
    c->callbacks->on_closed(c, &error, c->context);
}

int
rv_connection_start(struct rv_connection *c, struct rv_loop *loop,
                    struct rv_stream *stream,
                    const struct rv_connection_limits *limits,
                    const struct rv_connection_callbacks *callbacks,
                    void *context)
{
    *c = (struct rv_connection){.callbacks = callbacks,
                                .context = context,
                                .reads_while_unsent =
                                    limits->reads_while_unsent};
    rv_json_frame_init(&c->frame, limits->max_message_bytes,
                       limits->max_depth);
    /* A turn reads on past the limit, and white space is not counted. */
    rv_buf_init(&c->input, limits->max_message_bytes
                               + (size_t)READS_PER_TURN * READ_BYTES);
    rv_buf_init(&c->output, limits->max_output_bytes);
    rv_io_init(&c->io, on_event, c);
    rv__stream_unwatch(stream);
    int rc = rv_stream_watch(stream, loop, &c->io, RV_STREAM_RECV);
    if (rc) {
        return rc;
    }
    c->stream = stream;
    RV_COVERAGE_INC(jsonrpc_connection);
    return 0;
}

void
rv_connection_stop(struct rv_connection *c)
{
    if (c->is_alivep) {
        *c->is_alivep = false;
        c->is_alivep = NULL;
    }
    release(c);
}

void
rv_connection_receive(struct rv_connection *c)
{
    if (c->stream && !c->is_alivep) {
        on_event(&c->io, EPOLLIN);
    }
}

int
rv_connection_send(struct rv_connection *c,
                   const struct rv_jsonrpc_message *message)
{
    int rc = rv_jsonrpc_format(message, &c->output);
    if (rc == -EMSGSIZE && c->sent) {
        /* Bytes that are gone do not count against the limit. */
        rv_buf_consume(&c->output, c->sent);
        c->sent = 0;
        rc = rv_jsonrpc_format(message, &c->output);
    }
    if (rc) {
        if (!rv_connection_has_unsent(c)) {
            rv_buf_deinit(&c->output);
            c->sent = 0;
        }
        return rc;
    }
    RV_COVERAGE_INC(jsonrpc_sent);
    rc = flush(c);
    if (rc) {
        rv_connection_abort(c, rc);
    }
    update_events(c);
    return 0;
}

void
rv_connection_pause(struct rv_connection *c)
{
    c->is_paused = true;
    update_events(c);
}

void
rv_connection_resume(struct rv_connection *c)
{
    c->is_paused = false;
    update_events(c);
}

void
rv_connection_abort(struct rv_connection *c, int code)
{
    if (!c->stream) {
        return;
    }
    c->abort_code = code;
    /* A full socket would keep a turn by writability away; a hang-up comes
     * in any case. */
    rv_stream_abort(c->stream, code, strerror(-code));
    update_events(c);
}
