#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/connection.h"

#define REQUEST "{\"id\":0,\"method\":\"m\",\"params\":[]}"

/* One connection and the peer's end of its socket. */
struct fixture {
    struct rv_loop loop;
    struct rv_connection connection;
    int peer;
    int n_messages;
    int n_closed;
    int closed_code;
    int refuse_with; /* What on_message returns. */
    bool pauses, stops, replies;
};

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *fixture_)
{
    struct fixture *f = fixture_;
    f->n_messages++;
    if (f->pauses) {
        rv_connection_pause(connection);
    }
    if (f->replies) {
        struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                           .id = message->id,
                                           .result = message->params};
        ck_assert_int_eq(rv_connection_send(connection, &reply), 0);
    }
    if (f->stops) {
        rv_connection_stop(connection);
        /* A use of the connection from here on shows in the next turns. */
        memset(connection, 0xee, sizeof *connection);
    }
    return f->refuse_with;
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *fixture_)
{
    struct fixture *f = fixture_;
    f->n_closed++;
    f->closed_code = error->code;
}

static const struct rv_connection_callbacks callbacks = {
    .on_message = on_message, .on_closed = on_closed};

static void
start(struct fixture *f)
{
    *f = (struct fixture){.peer = -1};
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                                fds),
                     0);
    f->peer = fds[1];
    ck_assert_int_eq(rv_loop_init(&f->loop), 0);
    struct rv_connection_limits limits = {.max_message_bytes = 100000,
                                          .max_output_bytes = 3000000,
                                          .max_depth = 10};
    struct rv_stream *stream;
    ck_assert_int_eq(rv_stream_adopt(fds[0], "test", &stream), 0);
    ck_assert_int_eq(rv_connection_start(&f->connection, &f->loop, stream,
                                         &limits, &callbacks, f),
                     0);
}

static void
finish(struct fixture *f)
{
    rv_connection_stop(&f->connection);
    rv_loop_deinit(&f->loop);
    if (f->peer >= 0) {
        close(f->peer);
    }
}

static void
turns(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_loop_run_once(&f->loop, 0), 0);
    }
}

static void
put(struct fixture *f, const char *text)
{
    ssize_t n = send(f->peer, text, strlen(text), MSG_NOSIGNAL);
    ck_assert_int_eq(n, (ssize_t)strlen(text));
}

static void
check_closed(struct fixture *f, int code)
{
    ck_assert_int_eq(f->n_closed, 1);
    ck_assert_int_eq(f->closed_code, code);
    ck_assert_ptr_null(f->connection.stream);
}

START_TEST(delivers_in_order_and_frees_buffers)
{
    struct fixture f;
    start(&f);
    put(&f, REQUEST REQUEST "\n" REQUEST);
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 3);
    ck_assert_ptr_null(f.connection.input.data);
    ck_assert_ptr_null(f.connection.output.data);
    finish(&f);
}
END_TEST

START_TEST(takes_byte_by_byte)
{
    struct fixture f;
    start(&f);
    const char *text = REQUEST;
    for (size_t i = 0; text[i]; i++) {
        ck_assert_int_eq(f.n_messages, 0);
        ck_assert_int_eq(send(f.peer, text + i, 1, 0), 1);
        turns(&f, 1);
    }
    ck_assert_int_eq(f.n_messages, 1);
    ck_assert_ptr_null(f.connection.input.data);
    finish(&f);
}
END_TEST

START_TEST(end_between_messages_is_clean)
{
    struct fixture f;
    start(&f);
    put(&f, REQUEST "\n");
    close(f.peer);
    f.peer = -1;
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 1);
    check_closed(&f, 0);
    finish(&f);
}
END_TEST

START_TEST(end_within_a_message_is_told)
{
    struct fixture f;
    start(&f);
    put(&f, "{\"id\":");
    turns(&f, 1);
    shutdown(f.peer, SHUT_WR);
    turns(&f, 2);
    check_closed(&f, -ECONNRESET);
    finish(&f);
}
END_TEST

static void
check_refused(const char *text, int code)
{
    struct fixture f;
    start(&f);
    put(&f, text);
    turns(&f, 3);
    ck_assert_int_eq(f.n_messages, 0);
    check_closed(&f, code);
    finish(&f);
}

START_TEST(garbage_closes)
{
    check_refused("}", -EPROTO);
    check_refused("5 ", -EPROTO);
    check_refused("{bad}", -EPROTO);
    check_refused("GET / HTTP/1.0\r\n\r\n", -EPROTO);
    check_refused("{\"id\":[[[[[[[[[[[[", -E2BIG);
    check_refused("{\"id\":1,\"method\":\"m\",\"params\":[],\"x\":1}",
                  -EPROTO);
}
END_TEST

START_TEST(refused_message_closes)
{
    struct fixture f;
    start(&f);
    f.refuse_with = -EPROTO;
    put(&f, REQUEST REQUEST);
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 1);
    check_closed(&f, -EPROTO);
    finish(&f);
}
END_TEST

START_TEST(too_long_a_message_closes_in_bounded_memory)
{
    struct fixture f;
    start(&f);
    put(&f, "{\"id\":\"");
    char bytes[4096];
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < 25600 && !f.n_closed; i++) {
        ssize_t n = send(f.peer, bytes, sizeof bytes, MSG_NOSIGNAL);
        ck_assert(n > 0 || errno == EAGAIN || errno == EPIPE);
        turns(&f, 1);
        ck_assert_uint_le(f.connection.input.capacity, 200000);
    }
    check_closed(&f, -EMSGSIZE);
    finish(&f);
}
END_TEST

START_TEST(one_turn_takes_a_bounded_share)
{
    struct fixture f;
    start(&f);
    struct rv_buf text;
    rv_buf_init(&text, 100000);
    for (int i = 0; i < 1000; i++) {
        rv_buf_puts(&text, REQUEST);
    }
    put(&f, text.data);
    rv_buf_deinit(&text);
    turns(&f, 1);
    ck_assert_int_gt(f.n_messages, 0);
    ck_assert_int_lt(f.n_messages, 200);
    turns(&f, 40);
    ck_assert_int_eq(f.n_messages, 1000);
    finish(&f);
}
END_TEST

START_TEST(paused_holds_back_until_resumed)
{
    struct fixture f;
    start(&f);
    f.pauses = true;
    put(&f, REQUEST REQUEST);
    turns(&f, 3);
    ck_assert_int_eq(f.n_messages, 1);
    rv_connection_resume(&f.connection);
    ck_assert_int_eq(f.n_messages, 1);
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 2);
    rv_connection_resume(&f.connection);
    put(&f, REQUEST);
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 3);
    finish(&f);
}
END_TEST

START_TEST(leaving_while_paused_is_noticed)
{
    struct fixture f;
    start(&f);
    f.pauses = true;
    put(&f, REQUEST);
    turns(&f, 1);
    close(f.peer);
    f.peer = -1;
    turns(&f, 1);
    check_closed(&f, -ECONNRESET);
    finish(&f);
}
END_TEST

START_TEST(half_closed_peer_gets_its_reply)
{
    struct fixture f;
    start(&f);
    f.pauses = true;
    put(&f, REQUEST);
    shutdown(f.peer, SHUT_WR);
    turns(&f, 3);
    ck_assert_int_eq(f.n_closed, 0);
    struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                       .id = json_integer(0),
                                       .result = json_true()};
    ck_assert_int_eq(rv_connection_send(&f.connection, &reply), 0);
    rv_connection_resume(&f.connection);
    turns(&f, 2);
    check_closed(&f, 0);
    char text[100] = "";
    ck_assert_int_gt(recv(f.peer, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, "{\"id\":0,\"result\":true,\"error\":null}");
    rv_jsonrpc_deinit(&reply);
    finish(&f);
}
END_TEST

START_TEST(stopping_in_the_callback_is_safe)
{
    struct fixture f;
    start(&f);
    f.stops = true;
    put(&f, REQUEST REQUEST);
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 1);
    ck_assert_int_eq(f.n_closed, 0);
    rv_loop_deinit(&f.loop);
    close(f.peer);
}
END_TEST

/* A reply of about one megabyte. */
static json_t *
long_result(void)
{
    static char text[1000001];
    memset(text, 'y', sizeof text - 1);
    return json_string(text);
}

START_TEST(deaf_peer_is_not_read)
{
    struct fixture f;
    start(&f);
    struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                       .id = json_integer(0),
                                       .result = long_result()};
    ck_assert_int_eq(rv_connection_send(&f.connection, &reply), 0);
    ck_assert(rv_connection_has_unsent(&f.connection));
    put(&f, REQUEST);
    turns(&f, 5);
    ck_assert_int_eq(f.n_messages, 0);
    /* The queue has an end, and what does not fit leaves no trace. */
    ck_assert_int_eq(rv_connection_send(&f.connection, &reply), 0);
    int rc = 0;
    for (int i = 0; i < 4 && !rc; i++) {
        rc = rv_connection_send(&f.connection, &reply);
    }
    ck_assert_int_eq(rc, -EMSGSIZE);
    static char bytes[65536];
    size_t total = 0;
    for (int i = 0; i < 1000 && rv_connection_has_unsent(&f.connection); i++) {
        ssize_t n = recv(f.peer, bytes, sizeof bytes, 0);
        total += n > 0 ? (size_t)n : 0;
        turns(&f, 1);
    }
    ck_assert_uint_gt(total, 2000000);
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 1);
    ck_assert_ptr_null(f.connection.output.data);
    rv_jsonrpc_deinit(&reply);
    finish(&f);
}
END_TEST

START_TEST(abort_closes_also_a_full_socket)
{
    struct fixture f;
    start(&f);
    struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                       .id = json_integer(0),
                                       .result = long_result()};
    ck_assert_int_eq(rv_connection_send(&f.connection, &reply), 0);
    rv_connection_abort(&f.connection, -ENOMEM);
    turns(&f, 1);
    ck_assert_int_eq(f.n_closed, 1);
    rv_jsonrpc_deinit(&reply);
    finish(&f);
}
END_TEST

START_TEST(idle_connection_causes_no_events)
{
    struct fixture f;
    start(&f);
    f.replies = true;
    put(&f, REQUEST);
    turns(&f, 2);
    ck_assert_int_eq(f.n_messages, 1);
    struct epoll_event event;
    ck_assert_int_eq(epoll_wait(f.loop.epoll_fd, &event, 1, 0), 0);
    f.pauses = true;
    put(&f, REQUEST REQUEST);
    turns(&f, 2);
    ck_assert_int_eq(epoll_wait(f.loop.epoll_fd, &event, 1, 0), 0);
    shutdown(f.peer, SHUT_WR);
    ck_assert_int_eq(epoll_wait(f.loop.epoll_fd, &event, 1, 0), 0);
    finish(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(delivers_in_order_and_frees_buffers),
        RV_TEST(takes_byte_by_byte),
        RV_TEST(end_between_messages_is_clean),
        RV_TEST(end_within_a_message_is_told),
        RV_TEST(garbage_closes),
        RV_TEST(refused_message_closes),
        RV_TEST(too_long_a_message_closes_in_bounded_memory),
        RV_TEST(one_turn_takes_a_bounded_share),
        RV_TEST(paused_holds_back_until_resumed),
        RV_TEST(leaving_while_paused_is_noticed),
        RV_TEST(half_closed_peer_gets_its_reply),
        RV_TEST(stopping_in_the_callback_is_safe),
        RV_TEST(deaf_peer_is_not_read),
        RV_TEST(abort_closes_also_a_full_socket),
        RV_TEST(idle_connection_causes_no_events),
    };
    return rv_test_run("connection", tests, RV_ARRAY_SIZE(tests));
}
