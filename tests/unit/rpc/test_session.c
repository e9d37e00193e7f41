/* Active and adopted sessions: states, probes, calls, limits. */
#include "rpc/session_fixture.h"

/* ---- Calls ---- */

START_TEST(calls_are_answered_once)
{
    struct fixture f;
    int peer = connect_one(&f);
    ck_assert_int_eq(call(&f), 0);
    ck_assert_str_eq(got(peer), "{\"id\":0,\"method\":\"m\",\"params\":[]}");
    json_t *params = json_pack("[i]", 7);
    int64_t id = -1;
    ck_assert_int_eq(
        rv_session_call(f.session, "n", params, on_reply, &f, &id), 0);
    json_decref(params);
    ck_assert_int_eq(id, 1);
    ck_assert_str_eq(got(peer), "{\"id\":1,\"method\":\"n\",\"params\":[7]}");
    put(peer, "{\"id\":1,\"error\":\"no\"}{\"id\":0,\"result\":5}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_replies, 1);
    ck_assert_int_eq(f.n_errors, 1);
    ck_assert_int_eq(f.n_messages, 0);
    /* The same again replies to nothing: it is the user's to judge. */
    put(peer, "{\"id\":0,\"result\":5}{\"id\":\"0\",\"result\":5}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_replies, 1);
    ck_assert_int_eq(f.n_messages, 2);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(many_calls_in_any_order)
{
    enum { N = 1000 };
    struct fixture f;
    int peer = connect_one(&f);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(call(&f), 0);
        got(peer);
    }
    /* 7 and 1000 have no common factor, so that each id comes once. */
    for (int i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"id\":%d,\"result\":1,\"error\":null}",
                 i * 7 % N);
        put(peer, text);
        turns(&f, 1);
        ck_assert_int_eq(f.n_replies, i + 1);
    }
    close(peer);
    turns(&f, 1);
    ck_assert_int_eq(f.n_lost, 0);
    finish(&f);
}
END_TEST

START_TEST(lost_calls_are_told)
{
    struct fixture f;
    int peer = connect_one(&f);
    int64_t cancelled = 0;
    ck_assert_int_eq(call(&f), 0);
    ck_assert_int_eq(
        rv_session_call(f.session, "m", NULL, on_reply, &f, &cancelled), 0);
    ck_assert_int_eq(call(&f), 0);
    ck_assert_int_eq(rv_session_cancel(f.session, cancelled), 0);
    ck_assert_int_eq(rv_session_cancel(f.session, cancelled), -ENOENT);
    put(peer, "{\"id\":1,\"result\":5}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_replies, 0);
    ck_assert_int_eq(f.n_messages, 1);
    close(peer);
    turns(&f, 1);
    ck_assert_int_eq(f.n_lost, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(call(&f), -ENOTCONN);
    /* A reply to a call of the connection before is none to a new one. */
    pass(&f, 1000);
    peer = take_peer(&f, 0);
    ck_assert_int_eq(call(&f), 0);
    put(peer, "{\"id\":0,\"result\":5}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_replies, 0);
    rv_session_destroy(f.session);
    f.session = NULL;
    ck_assert_int_eq(f.n_canceled, 1);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(last_words_are_heard)
{
    /* The peer answered and left; that a call after that cannot be sent must
     * not lose the answer. */
    struct fixture f;
    int peer = connect_one(&f);
    ck_assert_int_eq(call(&f), 0);
    got(peer);
    put(peer, "{\"id\":0,\"result\":5}");
    close(peer);
    ck_assert_int_eq(call(&f), 0);
    ck_assert_int_eq(call(&f), 0);
    turns(&f, 2);
    ck_assert_int_eq(f.n_replies, 1);
    ck_assert_int_eq(f.n_lost, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.last.code, -EPIPE);
    finish(&f);
}
END_TEST

START_TEST(other_messages)
{
    struct fixture f;
    int peer = connect_one(&f);
    json_t *value = json_pack("[s]", "x");
    ck_assert_int_eq(rv_session_notify(f.session, "n", value), 0);
    ck_assert_str_eq(got(peer),
                     "{\"id\":null,\"method\":\"n\",\"params\":[\"x\"]}");
    ck_assert_int_eq(rv_session_answer(f.session, value, value), 0);
    ck_assert_str_eq(got(peer),
                     "{\"id\":[\"x\"],\"result\":[\"x\"],\"error\":null}");
    ck_assert_int_eq(rv_session_refuse(f.session, value, value), 0);
    ck_assert_str_eq(got(peer),
                     "{\"id\":[\"x\"],\"result\":null,\"error\":[\"x\"]}");
    json_decref(value);
    put(peer, "{\"method\":\"n\",\"params\":[]}"
              "{\"id\":4,\"method\":\"r\",\"params\":[]}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 2);
    f.refuse_with = -EPROTO;
    put(peer, "{\"method\":\"n\",\"params\":[]}");
    turns(&f, 1);
    ck_assert_int_eq(f.last.code, -EPROTO);
    ck_assert(is_closed(peer));
    close(peer);
    finish(&f);
}
END_TEST

/* ---- Probes ---- */

static json_t *
long_params(size_t n)
{
    char *text = malloc(n);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', n);
    json_t *params = json_pack("[s#]", text, (int)n);
    free(text);
    return params;
}

START_TEST(echo_is_answered)
{
    struct fixture f;
    int peer = connect_one(&f);
    put(peer, "{\"id\":[1],\"method\":\"echo\",\"params\":[\"a\"]}");
    turns(&f, 1);
    ck_assert_str_eq(got(peer),
                     "{\"id\":[1],\"result\":[\"a\"],\"error\":null}");
    put(peer, "{\"id\":\"echo\",\"result\":[]}{\"id\":\"echo\",\"error\":1}");
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 0);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(unix_peers_are_not_probed)
{
    struct fixture f;
    int peer = connect_one(&f);
    pass(&f, 3600 * 1000);
    ck_assert_str_eq(got(peer), "");
    ck_assert_int_eq(f.n_disconnected, 0);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(silence_is_probed)
{
    struct fixture f;
    int peer = connect_one(&f);
    rv_session_set_probe_interval(f.session, 5000);
    ck_assert_int_eq(next_wake(&f), 5000);
    pass(&f, 4999);
    ck_assert_str_eq(got(peer), "");
    pass(&f, 1);
    ck_assert_str_eq(got(peer), PROBE);
    ck_assert_str_eq(state_of(&f), "IDLE");
    ck_assert_int_eq(next_wake(&f), 5000);
    put(peer, "{\"id\":\"echo\",\"result\":[],\"error\":null}");
    turns(&f, 1);
    ck_assert_str_eq(state_of(&f), "ACTIVE");
    ck_assert_int_eq(next_wake(&f), 5000);
    /* Bytes of a message that goes on for long are a sign of life. */
    for (int i = 0; i < 10; i++) {
        pass(&f, 4000);
        put(peer, i ? " " : "{\"id\":");
        turns(&f, 1);
    }
    ck_assert_str_eq(got(peer), "");
    rv_session_set_probe_interval(f.session, 0);
    pass(&f, 60000);
    ck_assert_str_eq(got(peer), "");
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(unanswered_probe_reconnects)
{
    struct fixture f;
    int peer = connect_one(&f);
    rv_session_set_probe_interval(f.session, 5000);
    ck_assert_int_eq(call(&f), 0);
    pass(&f, 5000);
    pass(&f, 4999);
    ck_assert_int_eq(f.n_disconnected, 0);
    pass(&f, 1);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    ck_assert_int_eq(f.n_lost, 1);
    ck_assert_str_eq(state_of(&f), "BACKOFF");
    ck_assert_uint_eq(rv_session_seqno(f.session), 2);
    pass(&f, 1000);
    ck_assert_int_eq(f.n_connected, 2);
    ck_assert_uint_eq(rv_session_seqno(f.session), 3);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(bytes_that_wait_are_found_before_a_probe)
{
    struct fixture f;
    int peer = connect_one(&f);
    rv_session_set_probe_interval(f.session, 5000);
    /* The timer is the first to run in a program that was busy for long. */
    put(peer, "{\"method\":\"n\",\"params\":[]}");
    rv_loop_clock_warp(&f.loop, 60000);
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 1);
    ck_assert_str_eq(got(peer), "");
    ck_assert_str_eq(state_of(&f), "ACTIVE");
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(slow_reader_is_alive)
{
    struct fixture f;
    int peer = connect_one(&f);
    rv_session_set_probe_interval(f.session, 5000);
    json_t *params = long_params(TEXT_BYTES);
    while (rv_session_backlog(f.session) < 4 << 20) {
        ck_assert_int_eq(rv_session_notify(f.session, "n", params), 0);
    }
    json_decref(params);
    /* It sends nothing, but takes a piece now and then. */
    for (int i = 0; i < 8; i++) {
        size_t before = rv_session_backlog(f.session);
        pass(&f, 4000);
        for (int j = 0; j < 4; j++) {
            got(peer);
            turns(&f, 1);
        }
        ck_assert_uint_lt(rv_session_backlog(f.session), before);
    }
    ck_assert_str_eq(state_of(&f), "ACTIVE");
    /* Then it stops. */
    for (int i = 0; i < 3; i++) {
        pass(&f, 5000);
    }
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    close(peer);
    finish(&f);
}
END_TEST

/* ---- Limits ---- */

START_TEST(backlog_is_limited)
{
    struct fixture f;
    prepare(&f);
    f.options.max_backlog_bytes = 1000000;
    int peer = connect_as_set(&f);
    json_t *params = long_params(1000001);
    ck_assert_int_eq(rv_session_notify(f.session, "n", params), -EMSGSIZE);
    ck_assert(rv_session_is_connected(f.session));
    json_decref(params);
    params = long_params(100000);
    ck_assert_int_eq(call(&f), 0);
    int rc = 0;
    for (int i = 0; i < 100 && !rc; i++) {
        rc = rv_session_notify(f.session, "n", params);
        ck_assert_uint_le(rv_session_backlog(f.session), 1000000);
    }
    ck_assert_int_eq(rc, -E2BIG);
    ck_assert(!rv_session_is_connected(f.session));
    ck_assert_int_eq(rv_session_notify(f.session, "n", params), -ENOTCONN);
    json_decref(params);
    ck_assert_int_eq(f.n_disconnected, 0);
    turns(&f, 1);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.last.code, -E2BIG);
    ck_assert_int_eq(f.n_lost, 1);
    ck_assert_uint_eq(rv_session_backlog(f.session), 0);
    close(peer);
    pass(&f, 1000);
    ck_assert_int_eq(f.n_connected, 2);
    finish(&f);
}
END_TEST

static void
fill_both_ways(struct fixture *f, int peer)
{
    json_t *params = long_params(4000000);
    ck_assert_int_eq(rv_session_notify(f->session, "n", params), 0);
    json_decref(params);
    ck_assert_uint_gt(rv_session_backlog(f->session), 0);
    for (int i = 0; i < 200; i++) {
        put(peer, "{\"method\":\"n\",\"params\":[]}");
    }
    turns(f, 3);
}

START_TEST(reads_while_its_bytes_wait)
{
    struct fixture f;
    int peer = connect_one(&f);
    fill_both_ways(&f, peer);
    ck_assert_int_eq(f.n_messages, 200);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(server_holds_its_input)
{
    struct fixture f;
    prepare(&f);
    f.options.holds_input = true;
    int peer = connect_as_set(&f);
    fill_both_ways(&f, peer);
    ck_assert_int_eq(f.n_messages, 0);
    for (int i = 0; i < 1000 && f.n_messages < 200; i++) {
        got(peer);
        turns(&f, 1);
    }
    ck_assert_int_eq(f.n_messages, 200);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(bad_peer_loses_its_connection)
{
    struct fixture f;
    int peer = connect_one(&f);
    put(peer, "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":[]}");
    turns(&f, 1);
    ck_assert_int_eq(f.last.code, -EPROTO);
    ck_assert(is_closed(peer));
    close(peer);
    pass(&f, 1000);
    peer = take_peer(&f, 0);
    put(peer, "{\"id\":");
    shutdown(peer, SHUT_WR);
    turns(&f, 2);
    ck_assert_int_eq(f.last.code, -ECONNRESET);
    close(peer);
    finish(&f);
}
END_TEST

/* ---- Connecting ---- */

START_TEST(tries_in_turn)
{
    struct fixture f;
    prepare(&f);
    listen_at(&f, 2);
    start_session(&f, 3);
    turns(&f, 2);
    ck_assert_int_eq(f.n_failed, 2);
    ck_assert_int_eq(f.last.code, -ENOENT);
    ck_assert_int_eq(f.n_connected, 1);
    int peer = take_peer(&f, 2);
    struct rv_session_status status;
    rv_session_get_status(f.session, &status);
    ck_assert_str_eq(status.remote, f.remotes[2]);
    ck_assert_uint_eq(status.stats.n_attempted, 3);
    ck_assert_uint_eq(status.stats.n_successful, 1);
    ck_assert_uint_eq(status.stats.seqno, 1);
    ck_assert_int_eq(status.last_error.code, -ENOENT);
    /* One that had lasted earns a full round without waits. */
    pass(&f, 2000);
    put(peer, " ");
    turns(&f, 1);
    listen_at(&f, 1);
    close(peer);
    turns(&f, 2);
    ck_assert_int_eq(f.n_failed, 3);
    ck_assert_int_eq(f.n_connected, 2);
    peer = take_peer(&f, 1);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(round_without_success_waits)
{
    struct fixture f;
    prepare(&f);
    start_session(&f, 3);
    turns(&f, 3);
    ck_assert_int_eq(f.n_failed, 3);
    ck_assert_str_eq(state_of(&f), "BACKOFF");
    ck_assert_int_eq(next_wake(&f), 1000);
    static const int64_t waits[] = {1000, 2000, 4000, 8000, 8000};
    for (size_t i = 0; i < RV_ARRAY_SIZE(waits); i++) {
        ck_assert_int_eq(next_wake(&f), waits[i]);
        pass(&f, waits[i] - 1);
        ck_assert_int_eq(f.n_failed, 3 + (int)i);
        pass(&f, 1);
        ck_assert_int_eq(f.n_failed, 4 + (int)i);
    }
    ck_assert(rv_session_is_alive(f.session));
    finish(&f);
}
END_TEST

START_TEST(peer_that_closes_at_once_is_waited_for)
{
    struct fixture f;
    prepare(&f);
    f.options.reconnect.first_backoff_ms = 100;
    listen_at(&f, 0);
    listen_at(&f, 1);
    start_session(&f, 2);
    static const int64_t waits[] = {0, 0, 100, 200, 400, 800, 1600};
    for (size_t i = 0; i < RV_ARRAY_SIZE(waits); i++) {
        if (waits[i]) {
            ck_assert_int_eq(next_wake(&f), waits[i]);
        }
        pass(&f, waits[i]);
        ck_assert_int_eq(f.n_connected, (int)i + 1);
        close(take_peer(&f, (int)i % 2));
        turns(&f, 1);
        ck_assert_int_eq(f.n_disconnected, (int)i + 1);
        ck_assert_int_eq(f.last.code, 0);
    }
    finish(&f);
}
END_TEST

START_TEST(gives_up_when_told_so)
{
    struct fixture f;
    prepare(&f);
    f.options.gives_up = true;
    start_session(&f, 3);
    turns(&f, 3);
    ck_assert_int_eq(f.n_failed, 3);
    ck_assert_int_eq(f.n_ended, 1);
    ck_assert_str_eq(state_of(&f), "VOID");
    ck_assert_int_eq(call(&f), -ENOTCONN);
    rv_session_destroy(f.session);
    listen_at(&f, 1);
    start_session(&f, 3);
    turns(&f, 3);
    ck_assert_int_eq(f.n_connected, 1);
    close(take_peer(&f, 1));
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.n_ended, 2);
    pass(&f, 3600 * 1000);
    ck_assert_int_eq(f.n_failed, 4);
    ck_assert_int_eq(f.n_ended, 2);
    finish(&f);
}
END_TEST

START_TEST(reconnects_by_force)
{
    struct fixture f;
    int peer = connect_one(&f);
    ck_assert_int_eq(call(&f), 0);
    /* A reply that came too late is not believed: the call is lost. */
    put(peer, "{\"id\":0,\"result\":5}");
    rv_session_force_reconnect(f.session);
    ck_assert(!rv_session_is_connected(f.session));
    ck_assert_int_eq(f.n_disconnected, 0);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.last.code, 0);
    ck_assert_int_eq(f.n_replies, 0);
    ck_assert_int_eq(f.n_lost, 1);
    rv_session_force_reconnect(f.session);
    ck_assert_str_eq(state_of(&f), "BACKOFF");
    pass(&f, 1000);
    ck_assert_int_eq(f.n_connected, 2);
    ck_assert_int_eq(rv_session_set_dscp(f.session, 64), -EINVAL);
    ck_assert_int_eq(rv_session_set_dscp(f.session, 0), 0);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(rv_session_set_dscp(f.session, 10), 0);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 2);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(refuses_wrong_remotes)
{
    static const struct {
        const char *remotes[2];
        size_t n;
        int code;
    } rows[] = {
        {{NULL}, 0, -EINVAL},
        {{"nonsense"}, 1, -EAFNOSUPPORT},
        {{"tcp:1:2:3:x"}, 1, -EINVAL},
        {{"tcp:127.0.0.1:1", "ptcp:0"}, 2, -EINVAL},
        {{"fd:3"}, 1, -EINVAL},
    };
    struct fixture f;
    prepare(&f);
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        struct rv_error error;
        int rc =
            rv_session_create(&f.loop, rows[i].remotes, rows[i].n, &f.options,
                              &callbacks, &f, &f.session, &error);
        ck_assert_int_eq(rc, rows[i].code);
        ck_assert_int_ne(error.text[0], '\0');
        ck_assert_ptr_null(f.session);
    }
    rv_session_destroy(NULL);
    finish(&f);
}
END_TEST

/* ---- Adopted streams ---- */

/* Makes a session of one end of a pair; returns the other. */
static int
adopt(struct fixture *f)
{
    int fds[2];
    struct rv_stream *stream;
    prepare(f);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    ck_assert_int_eq(rv_stream_adopt(fds[0], "tcp:peer", &stream), 0);
    ck_assert_int_eq(rv_session_adopt(&f->loop, stream, &f->options,
                                      &callbacks, f, &f->session),
                     0);
    return fds[1];
}

START_TEST(adopted_session_ends_with_its_peer)
{
    struct fixture f;
    int peer = adopt(&f);
    ck_assert_int_eq(f.n_connected, 0);
    turns(&f, 1);
    ck_assert_int_eq(f.n_connected, 1);
    ck_assert_int_eq(rv_session_set_dscp(f.session, 1), -EOPNOTSUPP);
    ck_assert_int_eq(call(&f), 0);
    close(peer);
    turns(&f, 1);
    ck_assert_int_eq(f.n_lost, 1);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.n_ended, 1);
    pass(&f, 3600 * 1000);
    ck_assert_int_eq(f.n_connected, 1);
    ck_assert_int_eq(f.n_failed, 0);
    finish(&f);
}
END_TEST

START_TEST(adopted_session_probes)
{
    struct fixture f;
    int peer = adopt(&f);
    turns(&f, 1);
    pass(&f, 5000);
    ck_assert_str_eq(got(peer), PROBE);
    pass(&f, 5000);
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    ck_assert_int_eq(f.n_ended, 1);
    ck_assert(is_closed(peer));
    close(peer);
    finish(&f);
}
END_TEST

/* ---- Destroying from within ---- */

static void
check_destroy(enum destroy_in here)
{
    struct fixture f;
    prepare(&f);
    f.destroys = here;
    f.options.gives_up = here == IN_ENDED;
    if (here != IN_FAILED) {
        listen_at(&f, 0);
    }
    start_session(&f, 1);
    turns(&f, 2);
    if (f.session && call(&f) == 0) {
        int peer = take_peer(&f, 0);
        put(peer, "{\"id\":9,\"result\":9}{\"id\":9,\"result\":9}");
        turns(&f, 1);
        if (f.session) {
            put(peer, "{\"id\":0,\"result\":0}{\"id\":9,\"result\":9}");
            close(peer);
            turns(&f, 2);
        } else {
            close(peer);
        }
    }
    ck_assert_ptr_null(f.session);
    ck_assert_int_eq(f.n_replies + f.n_canceled, f.n_messages ? 1 : 0);
    turns(&f, 2);
    finish(&f);
}

START_TEST(callbacks_may_destroy)
{
    for (int here = IN_CONNECTED; here <= IN_REPLY; here++) {
        check_destroy((enum destroy_in)here);
    }
}
END_TEST

/* Calls that are lost come one after another; the first destroys. */
START_TEST(lost_calls_may_destroy)
{
    struct fixture f;
    int peer = connect_one(&f);
    f.destroys = IN_REPLY;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(call(&f), 0);
    }
    close(peer);
    turns(&f, 2);
    ck_assert_ptr_null(f.session);
    ck_assert_int_eq(f.n_lost, 1);
    ck_assert_int_eq(f.n_canceled, 2);
    ck_assert_int_eq(f.n_disconnected, 0);
    finish(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(calls_are_answered_once),
        RV_TEST(many_calls_in_any_order),
        RV_TEST(lost_calls_are_told),
        RV_TEST(last_words_are_heard),
        RV_TEST(other_messages),
        RV_TEST(echo_is_answered),
        RV_TEST(unix_peers_are_not_probed),
        RV_TEST(silence_is_probed),
        RV_TEST(unanswered_probe_reconnects),
        RV_TEST(bytes_that_wait_are_found_before_a_probe),
        RV_TEST(slow_reader_is_alive),
        RV_TEST(backlog_is_limited),
        RV_TEST(reads_while_its_bytes_wait),
        RV_TEST(server_holds_its_input),
        RV_TEST(bad_peer_loses_its_connection),
        RV_TEST(tries_in_turn),
        RV_TEST(round_without_success_waits),
        RV_TEST(peer_that_closes_at_once_is_waited_for),
        RV_TEST(gives_up_when_told_so),
        RV_TEST(reconnects_by_force),
        RV_TEST(refuses_wrong_remotes),
        RV_TEST(adopted_session_ends_with_its_peer),
        RV_TEST(adopted_session_probes),
        RV_TEST(callbacks_may_destroy),
        RV_TEST(lost_calls_may_destroy),
    };
    return rv_test_run("session", tests, RV_ARRAY_SIZE(tests));
}
