/* Sessions that listen, and those whose peers do not end a handshake. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include "rpc/session_fixture.h"

#if RV_WITH_TLS
#  include "net/certificates.h"
#endif

/* Starts a session with one remote. */
static void
create_with(struct fixture *f, const char *name)
{
    struct rv_error error;
    int rc = rv_session_create(&f->loop, &name, 1, &f->options, &callbacks, f,
                               &f->session, &error);
    ck_assert_msg(!rc, "%s", error.text);
    ck_assert_uint_eq(rv_session_port(f->session), 0);
    turns(f, 1);
}

static void
listen_on(struct fixture *f, const char *name)
{
    prepare(f);
    create_with(f, name);
}

/* Connects a peer to the session's port. */
static int
dial(const struct fixture *f)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(rv_session_port(f->session)),
        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
    };
    const void *any = &address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, any, sizeof address), 0);
    return fd;
}

static int
start_with_peer(struct fixture *f)
{
    listen_on(f, "ptcp:0:127.0.0.1");
    ck_assert_str_eq(state_of(f), "LISTENING");
    int peer = dial(f);
    turns(f, 2);
    ck_assert_int_eq(f->n_connected, 1);
    return peer;
}

START_TEST(listens_and_serves)
{
    struct fixture f;
    int peer = start_with_peer(&f);
    ck_assert_int_eq(strncmp(rv_stream_name(rv_session_stream(f.session)),
                             "tcp:127.0.0.1:", 14),
                     0);
    put(peer, "{\"id\":1,\"method\":\"m\",\"params\":[]}");
    wait_readable(rv_stream_fd(rv_session_stream(f.session)));
    turns(&f, 1);
    ck_assert_int_eq(f.n_messages, 1);
    /* It is probed, as it comes over a network. */
    pass(&f, 5000);
    wait_readable(peer);
    ck_assert_str_eq(got(peer), PROBE);
    close(peer);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    ck_assert_int_eq(f.n_failed, 0);
    /* At once the next. */
    peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_connected, 2);
    ck_assert_uint_eq(rv_session_seqno(f.session), 3);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(new_peer_replaces_the_old)
{
    struct fixture f;
    int old = start_with_peer(&f);
    ck_assert_int_eq(call(&f), 0);
    int peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_int_eq(f.last.code, -ECONNABORTED);
    ck_assert_int_eq(f.n_lost, 1);
    ck_assert_int_eq(f.n_connected, 2);
    ck_assert_uint_eq(rv_session_seqno(f.session), 3);
    got(old);
    ck_assert(is_closed(old));
    ck_assert_int_eq(call(&f), 0);
    put(peer, "{\"id\":1,\"result\":1}");
    wait_readable(rv_stream_fd(rv_session_stream(f.session)));
    turns(&f, 1);
    ck_assert_int_eq(f.n_replies, 1);
    close(old);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(replacing_may_destroy)
{
    struct fixture f;
    int old = start_with_peer(&f);
    f.destroys = IN_DISCONNECTED;
    int peer = dial(&f);
    turns(&f, 2);
    ck_assert_ptr_null(f.session);
    ck_assert_int_eq(f.n_connected, 1);
    close(old);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(listening_that_fails_is_tried_again)
{
    struct fixture taken;
    struct fixture f;
    char name[64];
    listen_on(&taken, "ptcp:0:127.0.0.1");
    snprintf(name, sizeof name, "ptcp:%d:127.0.0.1",
             rv_session_port(taken.session));
    listen_on(&f, name);
    ck_assert_int_eq(f.n_failed, 1);
    ck_assert_int_eq(f.last.code, -EADDRINUSE);
    ck_assert_str_eq(state_of(&f), "BACKOFF");
    finish(&taken);
    pass(&f, 1000);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    int peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_connected, 1);
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(settings_of_a_listener)
{
    struct fixture f;
    int peer = start_with_peer(&f);
    ck_assert_int_eq(rv_session_set_dscp(f.session, 10), 0);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 1);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    ck_assert_int_eq(rv_session_set_dscp(f.session, 12), 0);
    turns(&f, 2);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    close(peer);
    peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_connected, 2);
    rv_session_force_reconnect(f.session);
    turns(&f, 2);
    ck_assert_int_eq(f.n_disconnected, 2);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    close(peer);
    finish(&f);
}
END_TEST

START_TEST(one_peer_and_no_more)
{
    struct fixture f;
    prepare(&f);
    f.options.gives_up = true;
    create_with(&f, "ptcp:0:127.0.0.1");
    int peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_connected, 1);
    ck_assert_uint_eq(rv_session_port(f.session), 0);
    close(peer);
    turns(&f, 2);
    ck_assert_int_eq(f.n_ended, 1);
    finish(&f);
}
END_TEST

/* Accepts under a limit of descriptors that leaves no room, and again once
 * there is. */
static void
check_shortage(struct fixture *f, int peer, int n_connected)
{
    struct rlimit limit;
    struct rlimit none;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none =
        (struct rlimit){.rlim_cur = (rlim_t)peer, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(f, 3);
    ck_assert_int_eq(f->n_failed, 1);
    ck_assert_int_eq(f->last.code, -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    turns(f, 3);
    ck_assert_int_eq(f->n_connected, n_connected);
    pass(f, 1000);
    ck_assert_int_eq(f->n_connected, n_connected + 1);
    ck_assert_int_eq(f->n_failed, 1);
}

START_TEST(shortage_of_descriptors_is_waited_out)
{
    struct fixture f;
    listen_on(&f, "ptcp:0:127.0.0.1");
    int first = dial(&f);
    check_shortage(&f, first, 0);
    f.n_failed = 0;
    int second = dial(&f);
    check_shortage(&f, second, 1);
    ck_assert_int_eq(f.n_disconnected, 1);
    close(first);
    close(second);
    finish(&f);
}
END_TEST

#if RV_WITH_TLS

/* A peer that does not know TLS, and says nothing. */
START_TEST(silent_peer_does_not_replace)
{
    struct fixture f;
    make_files();
    prepare(&f);
    f.options.stream.tls = config_of("server", "ca");
    create_with(&f, "pssl:0:127.0.0.1");
    rv_tls_config_unref(f.options.stream.tls);
    int peer = dial(&f);
    turns(&f, 2);
    ck_assert_int_eq(f.n_connected, 0);
    pass(&f, RV_STREAM_CONNECT_MS - 1000);
    ck_assert_int_eq(f.n_failed, 0);
    pass(&f, 1000);
    ck_assert_int_eq(f.n_failed, 1);
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    ck_assert(is_closed(peer));
    close(peer);
    peer = dial(&f);
    put(peer, "{\"id\":1}");
    turns(&f, 3);
    ck_assert_int_eq(f.n_failed, 2);
    ck_assert_int_eq(f.last.code, -EPROTO);
    ck_assert_str_eq(state_of(&f), "LISTENING");
    close(peer);
    finish(&f);
    remove_files();
}
END_TEST

/* A server that accepts and says nothing holds a client for the time of a
 * connection, not longer. */
START_TEST(handshake_is_part_of_connecting)
{
    struct fixture server;
    struct fixture f;
    char name[64];
    make_files();
    listen_on(&server, "ptcp:0:127.0.0.1");
    snprintf(name, sizeof name, "ssl:127.0.0.1:%d",
             rv_session_port(server.session));
    prepare(&f);
    f.options.stream.tls = config_of("client", "ca");
    f.options.reconnect.connect_timeout_ms = 3000;
    create_with(&f, name);
    rv_tls_config_unref(f.options.stream.tls);
    turns(&f, 3);
    ck_assert_str_eq(state_of(&f), "CONNECTING");
    pass(&f, 2999);
    ck_assert_int_eq(f.n_failed, 0);
    pass(&f, 1);
    ck_assert_int_eq(f.n_failed, 1);
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    ck_assert_int_eq(f.n_connected, 0);
    finish(&f);
    finish(&server);
    remove_files();
}
END_TEST

START_TEST(adopted_handshake_has_a_limit)
{
    struct fixture f;
    struct pair pair;
    struct rv_stream_options options = {.tls = NULL};
    make_files();
    options.tls = config_of("server", "ca");
    pair_listen(&pair, "pssl:0:127.0.0.1", &options);
    rv_tls_config_unref(options.tls);
    char name[64];
    snprintf(name, sizeof name, "tcp:127.0.0.1:%d",
             rv_pstream_port(pair.listener));
    options.tls = NULL;
    pair_dial(&pair, name, &options);
    pair.server = pair_accept(pair.listener);
    prepare(&f);
    ck_assert_int_eq(rv_session_adopt(&f.loop, pair.server, &f.options,
                                      &callbacks, &f, &f.session),
                     0);
    pair.server = NULL;
    turns(&f, 2);
    pass(&f, RV_STREAM_CONNECT_MS - 1000);
    ck_assert(rv_session_is_alive(f.session));
    pass(&f, 1000);
    ck_assert_int_eq(f.n_failed, 1);
    ck_assert_int_eq(f.n_ended, 1);
    ck_assert_int_eq(f.last.code, -ETIMEDOUT);
    finish(&f);
    pair_close(&pair);
    remove_files();
}
END_TEST

/* A session at each end. */
START_TEST(both_ends_over_tls)
{
    static struct fixture server;
    static struct fixture f;
    char name[64];
    make_files();
    prepare(&server);
    prepare(&f);
    server.options.stream.tls = config_of("server", "ca");
    f.options.stream.tls = config_of("client", "ca");
    create_with(&server, "pssl:0:127.0.0.1");
    snprintf(name, sizeof name, "ssl:127.0.0.1:%d",
             rv_session_port(server.session));
    create_with(&f, name);
    rv_tls_config_unref(server.options.stream.tls);
    rv_tls_config_unref(f.options.stream.tls);
    while (!server.n_connected || !f.n_connected) {
        turns(&f, 1);
        turns(&server, 1);
    }
    ck_assert_str_eq(rv_stream_peer_id(rv_session_stream(server.session)),
                     "client");
    /* Each is probed, and each answers. */
    for (int i = 0; i < 10; i++) {
        pass(&server, 5000);
        while (strcmp(state_of(&server), "ACTIVE") != 0) {
            turns(&f, 1);
            turns(&server, 1);
        }
        pass(&f, 5000);
        while (strcmp(state_of(&f), "ACTIVE") != 0) {
            turns(&server, 1);
            turns(&f, 1);
        }
    }
    ck_assert_int_eq(server.n_disconnected + f.n_disconnected, 0);
    ck_assert_int_eq(server.n_messages + f.n_messages, 0);
    rv_session_destroy(f.session);
    f.session = NULL;
    while (!server.n_disconnected) {
        turns(&server, 1);
    }
    ck_assert_int_eq(server.last.code, 0);
    finish(&f);
    finish(&server);
    remove_files();
}
END_TEST

#endif

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(listens_and_serves),
        RV_TEST(new_peer_replaces_the_old),
        RV_TEST(replacing_may_destroy),
        RV_TEST(listening_that_fails_is_tried_again),
        RV_TEST(settings_of_a_listener),
        RV_TEST(one_peer_and_no_more),
        RV_TEST(shortage_of_descriptors_is_waited_out),
#if RV_WITH_TLS
        RV_TEST(silent_peer_does_not_replace),
        RV_TEST(handshake_is_part_of_connecting),
        RV_TEST(adopted_handshake_has_a_limit),
        RV_TEST(both_ends_over_tls),
#endif
    };
    return rv_test_run("session_passive", tests, RV_ARRAY_SIZE(tests));
}
