#include "harness.h"

#include <errno.h>

#include "reeve/tls.h"

#if RV_WITH_TLS
#  include <arpa/inet.h>
#  include <netinet/tcp.h>
#  include <sys/socket.h>

#  include "net/certificates.h"

START_TEST(tls_makes_a_round_trip)
{
    struct pair pair;
    make_files();
    start(&pair, config_of("server", "ca"), config_of("client", "ca"));
    pair_connect(&pair);
    pair_check_connected(&pair);
    ck_assert_str_eq(rv_stream_peer_id(pair.client), "server");
    ck_assert_str_eq(rv_stream_peer_id(pair.server), "client");
    ck_assert_int_eq(
        strncmp(rv_stream_name(pair.server), "ssl:127.0.0.1:", 14), 0);
    ck_assert_int_eq(strncmp(rv_pstream_name(pair.listener), "pssl:", 5), 0);
    pair_check_works(&pair);
    pair_close(&pair);
    remove_files();
}
END_TEST

START_TEST(tls_resolves_host_names)
{
    struct pair pair;
    make_files();
    start_host(&pair, config_of("server", "ca"), config_of("client", "ca"),
               "localhost");
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
    remove_files();
}
END_TEST

START_TEST(each_protocol_works_large)
{
    static const char *const protocols[] = {"TLSv1.2", "TLSv1.3"};
    make_files();
    for (size_t i = 0; i < 2; i++) {
        struct rv_tls_settings settings = settings_of("client", "ca");
        struct pair pair;
        settings.protocols = protocols[i];
        start(&pair, config_of("server", "ca"), configure(&settings));
        pair_connect(&pair);
        pair_check_connected(&pair);
        pair_check_large(pair.client, pair.server, 16 << 20, 50000);
        pair_check_large(pair.server, pair.client, 16 << 20, 3000);
        pair_check_works(&pair);
        pair_close(&pair);
    }
    remove_files();
}
END_TEST

START_TEST(decrypted_bytes_are_announced)
{
    struct pair pair;
    char bytes[1000] = "";
    make_files();
    start(&pair, config_of("server", "ca"), config_of("client", "ca"));
    pair_connect(&pair);
    ck_assert_int_eq(rv_stream_send(pair.client, bytes, sizeof bytes),
                     sizeof bytes);
    ck_assert_int_eq(pair_receive(pair.server, bytes, 1), 1);
    ck_assert(rv_stream_is_ready(pair.server, RV_STREAM_RECV));
    ck_assert(!rv_stream_is_ready(pair.server, RV_STREAM_SEND));
    ck_assert_uint_eq(rv_stream_events(pair.server, RV_STREAM_RECV),
                      EPOLLIN | EPOLLOUT);
    ck_assert_int_eq(rv_stream_recv(pair.server, bytes, sizeof bytes), 999);
    ck_assert(!rv_stream_is_ready(pair.server, RV_STREAM_RECV));
    ck_assert_uint_eq(rv_stream_events(pair.server, RV_STREAM_RECV), EPOLLIN);
    pair_close(&pair);
    remove_files();
}
END_TEST

START_TEST(a_begun_send_must_be_repeated)
{
    struct pair pair;
    static char bytes[16384];
    ssize_t n;
    make_files();
    start(&pair, config_of("server", "ca"), config_of("client", "ca"));
    pair_connect(&pair);
    do {
        n = rv_stream_send(pair.client, bytes, sizeof bytes);
    } while (n > 0);
    ck_assert_int_eq(n, -EAGAIN);
    ck_assert_int_eq(rv_stream_send(pair.client, bytes, 10), -EINVAL);
    ck_assert_int_eq(rv_stream_state(pair.client), RV_STREAM_CONNECTED);
    pair_close(&pair);
    remove_files();
}
END_TEST

/* Failures. */

struct expectation {
    int client_code;
    const char *client_text;
    int server_code;
    const char *server_text;
};

static void
check_failure(struct rv_tls_config *server, struct rv_tls_config *client,
              const struct expectation *expectation)
{
    struct pair pair;
    start(&pair, server, client);
    pair_connect(&pair);
    check_end(pair.server, expectation->server_code, expectation->server_text);
    check_end(pair.client, expectation->client_code, expectation->client_text);
    pair_close(&pair);
}

START_TEST(unknown_authorities_are_refused)
{
    make_files();
    check_failure(
        config_of("server", "ca"), config_of("stranger", "ca"),
        &(struct expectation){-EKEYREJECTED,
                              "the peer refused our certificate: it is "
                              "signed by an authority unknown to it",
                              -EKEYREJECTED,
                              "the peer's certificate is refused: it "
                              "is signed by an unknown authority"});
    check_failure(
        config_of("stranger", "ca"), config_of("client", "ca"),
        &(struct expectation){-EKEYREJECTED,
                              "the peer's certificate is refused: it "
                              "is signed by an unknown authority",
                              -EKEYREJECTED,
                              "the peer refused our certificate: it is "
                              "signed by an authority unknown to it"});
    remove_files();
}
END_TEST

START_TEST(expired_certificates_are_refused)
{
    make_files();
    check_failure(
        config_of("server", "ca"), config_of("expired", "ca"),
        &(struct expectation){-EKEYEXPIRED,
                              "the peer refused our certificate: it has "
                              "expired",
                              -EKEYEXPIRED,
                              "the peer's certificate is refused: it "
                              "has expired"});
    check_failure(
        config_of("expired", "ca"), config_of("client", "ca"),
        &(struct expectation){-EKEYEXPIRED,
                              "the peer's certificate is refused: it "
                              "has expired",
                              -EKEYEXPIRED,
                              "the peer refused our certificate: it has "
                              "expired"});
    remove_files();
}
END_TEST

START_TEST(missing_certificates_are_refused)
{
    make_files();
    check_failure(config_of("server", "ca"), config_of(NULL, "ca"),
                  &(struct expectation){-EKEYREJECTED,
                                        "the peer wants a certificate, and we "
                                        "have none",
                                        -EKEYREJECTED,
                                        "the peer shows no certificate"});
    remove_files();
}
END_TEST

START_TEST(versions_must_meet)
{
    struct rv_tls_settings server, client;
    make_files();
    server = settings_of("server", "ca");
    client = settings_of("client", "ca");
    server.protocols = "TLSv1.3";
    client.protocols = "TLSv1.2";
    check_failure(configure(&server), configure(&client),
                  &(struct expectation){
                      -EPROTO, "the peer speaks no version of TLS that we do",
                      -EPROTO,
                      "the peer speaks no version of TLS that we do"});
    remove_files();
}
END_TEST

START_TEST(names_are_checked_on_request)
{
    struct rv_tls_settings settings;
    struct pair pair;
    make_files();
    settings = settings_of("client", "ca");
    settings.check_name = true;
    /* By the address, which the certificate holds. */
    start(&pair, config_of("server", "ca"), configure(&settings));
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
    settings.server_name = "server";
    start(&pair, config_of("server", "ca"), configure(&settings));
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
    settings.server_name = "another.example.org";
    check_failure(config_of("server", "ca"), configure(&settings),
                  &(struct expectation){
                      -EKEYREJECTED,
                      "the peer's certificate is refused: it "
                      "is for another name",
                      -EKEYREJECTED, "the peer refused our certificate"});
    remove_files();
}
END_TEST

START_TEST(verification_can_be_off)
{
    struct pair pair;
    make_files();
    start(&pair, config_of("stranger", "none"), config_of(NULL, "none"));
    pair_connect(&pair);
    pair_check_connected(&pair);
    ck_assert_ptr_null(rv_stream_peer_id(pair.client));
    pair_check_works(&pair);
    pair_close(&pair);
    remove_files();
}
END_TEST

/* Peers that do not speak TLS: a plain socket on one side. */

static void
send_plain(struct rv_stream *plain, const char *bytes, size_t n)
{
    while (rv_stream_connect(plain) == -EAGAIN) {
        pair_wait(plain, RV_STREAM_CONNECT, NULL, 0);
    }
    ck_assert_int_eq(rv_stream_send(plain, bytes, n), (ssize_t)n);
}

/* A plain client of a TLS server; sends 'n' bytes, then closes if asked. */
static void
check_plain_client(const char *bytes, size_t n, bool closes, int code,
                   const char *text)
{
    struct rv_tls_config *config = config_of("server", "ca");
    struct rv_stream_options options = {.tls = config};
    struct pair pair;
    char name[40];
    pair_listen(&pair, "pssl:0:127.0.0.1", &options);
    snprintf(name, sizeof name, "tcp:127.0.0.1:%d",
             rv_pstream_port(pair.listener));
    pair_dial(&pair, name, &options);
    send_plain(pair.client, bytes, n);
    pair.server = pair_accept(pair.listener);
    if (closes) {
        ck_assert_int_eq(rv_stream_shutdown(pair.client), 0);
    }
    check_end(pair.server, code, text);
    rv_tls_config_unref(config);
    pair_close(&pair);
}

START_TEST(plain_clients_are_told_apart)
{
    static const char request[] = "{\"id\":0,\"method\":\"echo\"}";
    static const char http[] = "GET / HTTP/1.0\r\n\r\n";
    make_files();
    check_plain_client(request, sizeof request - 1, false, -EPROTO,
                       "the peer does not speak TLS");
    check_plain_client(http, sizeof http - 1, false, -EPROTO,
                       "the peer does not speak TLS, but HTTP");
    check_plain_client("", 0, true, -ECONNRESET,
                       "the peer closed the connection in the middle of the "
                       "TLS handshake");
    check_plain_client("\x16\x03\x01", 3, true, -ECONNRESET,
                       "the peer closed the connection in the middle of the "
                       "TLS handshake");
    remove_files();
}
END_TEST

START_TEST(plain_servers_are_told_apart)
{
    struct rv_tls_config *config;
    make_files();
    config = config_of("client", "ca");
    for (int i = 0; i < 2; i++) {
        struct rv_stream_options options = {.tls = config};
        struct pair pair;
        char name[40];
        pair_listen(&pair, "ptcp:0:127.0.0.1", &options);
        snprintf(name, sizeof name, "ssl:127.0.0.1:%d",
                 rv_pstream_port(pair.listener));
        pair_dial(&pair, name, &options);
        pair_wait(pair.client, RV_STREAM_CONNECT, NULL, 0);
        rv_stream_run(pair.client);
        pair.server = pair_accept(pair.listener);
        if (i) {
            send_plain(pair.server, "hello, world", 12);
        } else {
            ck_assert_int_eq(rv_stream_shutdown(pair.server), 0);
        }
        check_end(pair.client, i ? -EPROTO : -ECONNRESET,
                  i ? "the peer does not speak TLS"
                    : "the peer closed the connection in the middle of the "
                      "TLS handshake");
        pair_close(&pair);
    }
    rv_tls_config_unref(config);
    remove_files();
}
END_TEST

/* A handshake through a middleman who can be slow, or cut it at any byte. */

/* Passes up to 'n' bytes on; returns how many. */
static ssize_t
pass(int from, int to, size_t n)
{
    char bytes[4096];
    ssize_t got = recv(from, bytes, RV_MIN(n, sizeof bytes), MSG_DONTWAIT);
    if (got > 0) {
        ck_assert_int_eq(send(to, bytes, (size_t)got, MSG_NOSIGNAL), got);
    }
    return got;
}

struct middle {
    struct pair pair;
    int client_fd, server_fd; /* The middleman's ends. */
};

static void
start_middle(struct middle *middle, struct rv_tls_config *server,
             struct rv_tls_config *client)
{
    struct rv_stream_options options = {.tls = server};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    char name[40];
    void *any = &address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int listen_fd = socket(AF_INET, type, 0);
    ck_assert_int_eq(bind(listen_fd, any, length), 0);
    ck_assert_int_eq(listen(listen_fd, 1), 0);
    getsockname(listen_fd, any, &length);
    pair_listen(&middle->pair, "pssl:0:127.0.0.1", &options);
    options.tls = client;
    snprintf(name, sizeof name, "ssl:127.0.0.1:%d", ntohs(address.sin_port));
    pair_dial(&middle->pair, name, &options);
    struct pollfd pollfd = {.fd = listen_fd, .events = POLLIN};
    ck_assert_int_eq(poll(&pollfd, 1, PAIR_WAIT_MS), 1);
    middle->client_fd = accept(listen_fd, NULL, NULL);
    close(listen_fd);
    middle->server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_port = htons(rv_pstream_port(middle->pair.listener));
    ck_assert_int_eq(connect(middle->server_fd, any, length), 0);
    middle->pair.server = pair_accept(middle->pair.listener);
    int on = 1;
    setsockopt(middle->client_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(middle->server_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    rv_tls_config_unref(server);
    rv_tls_config_unref(client);
}

/* Passes at most 'limit' bytes of the handshake on, 'piece' at a time.  True
 * when both sides are connected. */
static bool
pass_handshake(struct middle *middle, size_t limit, size_t piece)
{
    size_t passed = 0;
    int n_idle = 0;
    while (passed < limit && n_idle < 100) {
        rv_stream_run(middle->pair.client);
        rv_stream_run(middle->pair.server);
        size_t n = RV_MIN(piece, limit - passed);
        ssize_t a = pass(middle->client_fd, middle->server_fd, n);
        ssize_t b = pass(middle->server_fd, middle->client_fd, n);
        passed += (size_t)RV_MAX(a, 0) + (size_t)RV_MAX(b, 0);
        n_idle = a > 0 || b > 0 ? 0 : n_idle + 1;
        if (a <= 0 && b <= 0
            && rv_stream_state(middle->pair.client) == RV_STREAM_CONNECTED
            && rv_stream_state(middle->pair.server) == RV_STREAM_CONNECTED) {
            return true;
        }
    }
    return false;
}

START_TEST(handshakes_may_come_byte_by_byte)
{
    struct middle middle;
    make_files();
    start_middle(&middle, config_of("server", "ca"),
                 config_of("client", "ca"));
    ck_assert(pass_handshake(&middle, SIZE_MAX, 1));
    pair_check_connected(&middle.pair);
    close(middle.client_fd);
    close(middle.server_fd);
    pair_close(&middle.pair);
    remove_files();
}
END_TEST

static void
check_cut(struct rv_stream *stream)
{
    int rc = wait_failure(stream);
    ck_assert_msg(rc == -ECONNRESET || rc == -EPIPE, "%d: %s", rc,
                  rv_stream_reason(stream));
    ck_assert_str_ne(rv_stream_reason(stream), "");
}

START_TEST(handshakes_may_be_cut_anywhere)
{
    struct rv_tls_config *server, *client;
    make_files();
    server = config_of("server", "ca");
    client = config_of("client", "ca");
    bool is_whole = false;
    for (size_t limit = 1; !is_whole; limit += 61) {
        struct middle middle;
        ck_assert_uint_lt(limit, 20000);
        start_middle(&middle, rv_tls_config_ref(server),
                     rv_tls_config_ref(client));
        is_whole = pass_handshake(&middle, limit, 4096);
        close(middle.client_fd);
        close(middle.server_fd);
        check_cut(middle.pair.client);
        check_cut(middle.pair.server);
        pair_close(&middle.pair);
    }
    rv_tls_config_unref(server);
    rv_tls_config_unref(client);
    remove_files();
}
END_TEST

START_TEST(closing_without_end_is_told)
{
    struct middle middle;
    char byte;
    make_files();
    start_middle(&middle, config_of("server", "ca"),
                 config_of("client", "ca"));
    ck_assert(pass_handshake(&middle, SIZE_MAX, 4096));
    close(middle.server_fd);
    ck_assert_int_eq(pair_receive(middle.pair.server, &byte, 1), -ECONNRESET);
    ck_assert_ptr_nonnull(
        strstr(rv_stream_reason(middle.pair.server), "without ending TLS"));
    close(middle.client_fd);
    pair_close(&middle.pair);
    remove_files();
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(tls_makes_a_round_trip),
        RV_TEST(tls_resolves_host_names),
        RV_TEST(each_protocol_works_large),
        RV_TEST(decrypted_bytes_are_announced),
        RV_TEST(a_begun_send_must_be_repeated),
        RV_TEST(unknown_authorities_are_refused),
        RV_TEST(expired_certificates_are_refused),
        RV_TEST(missing_certificates_are_refused),
        RV_TEST(versions_must_meet),
        RV_TEST(names_are_checked_on_request),
        RV_TEST(verification_can_be_off),
        RV_TEST(plain_clients_are_told_apart),
        RV_TEST(plain_servers_are_told_apart),
        RV_TEST(handshakes_may_come_byte_by_byte),
        RV_TEST(handshakes_may_be_cut_anywhere),
        RV_TEST(closing_without_end_is_told),
    };
    return rv_test_run("tls", tests, RV_ARRAY_SIZE(tests));
}

#else

int
main(void)
{
    return rv_test_run("tls", NULL, 0);
}
#endif
