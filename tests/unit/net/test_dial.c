/* Lookups and races of addresses.  The resolver of the C library is replaced
 * by one that answers what a test says, when it says so. */
#include "harness.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/connecting.h"
#include "net/pair.h"
#include "os/clock.h"

static const struct rv_stream_options no_options;

/* The resolver. */

enum { MAX_ANSWERS = 8 };

static struct sockaddr_storage answers[MAX_ANSWERS];
static size_t n_answers;
static int stuck_fds[2] = {-1, -1}; /* "stuck" waits for its end. */

int
getaddrinfo(const char *host, const char *service RV_UNUSED,
            const struct addrinfo *hints RV_UNUSED, struct addrinfo **infop)
{
    char byte;
    struct addrinfo *first = NULL;
    if (!strcmp(host, "stuck")) {
        ssize_t n = read(stuck_fds[0], &byte, 1);
        return n ? EAI_FAIL : EAI_AGAIN;
    }
    for (size_t i = n_answers; i-- > 0;) {
        struct addrinfo *info = calloc(1, sizeof *info);
        ck_assert_ptr_nonnull(info);
        bool is_v6 = answers[i].ss_family == AF_INET6;
        info->ai_addr = (void *)&answers[i];
        info->ai_addrlen =
            is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        info->ai_next = first;
        first = info;
    }
    *infop = first;
    return 0;
}

void
freeaddrinfo(struct addrinfo *info)
{
    while (info) {
        struct addrinfo *next = info->ai_next;
        free(info);
        info = next;
    }
}

static void
add_answer(int family, uint16_t port)
{
    void *address = &answers[n_answers++];
    if (family == AF_INET6) {
        *(struct sockaddr_in6 *)address =
            (struct sockaddr_in6){.sin6_family = AF_INET6,
                                  .sin6_port = htons(port),
                                  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        return;
    }
    *(struct sockaddr_in *)address =
        (struct sockaddr_in){.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Lookups given up keep a thread until they are done. */
static void
wait_threads(void)
{
    struct stat info;
    do {
        sched_yield();
        ck_assert_int_eq(stat("/proc/self/task", &info), 0);
    } while (info.st_nlink > 3); /* ".", "..", and this thread. */
}

static void
get_stuck(void)
{
    ck_assert_int_eq(pipe(stuck_fds), 0);
}

static void
end_stuck(void)
{
    close(stuck_fds[1]);
    wait_threads();
    close(stuck_fds[0]);
}

/* Addresses. */

/* A port where nothing listens. */
static uint16_t
closed_port(void)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    uint16_t port = rv_pstream_port(pair.listener);
    pair_close(&pair);
    return port;
}

/* A port that never answers: its queue is full. */
struct hole {
    struct pair pair;
    uint16_t port;
};

static void
open_hole(struct hole *hole)
{
    struct rv_stream_options options = {.backlog = 1};
    char name[40];
    pair_listen(&hole->pair, "ptcp:0:127.0.0.1", &options);
    ck_assert_int_eq(listen(rv_pstream_fd(hole->pair.listener), 0), 0);
    hole->port = rv_pstream_port(hole->pair.listener);
    snprintf(name, sizeof name, "tcp:127.0.0.1:%d", hole->port);
    pair_dial(&hole->pair, name, &no_options);
    while (rv_stream_connect(hole->pair.client) == -EAGAIN) {
        pair_wait(hole->pair.client, RV_STREAM_CONNECT, NULL, 0);
    }
}

/* Drives 'stream' until it is connected or has failed. */
static int
finish(struct rv_stream *stream)
{
    for (;;) {
        int rc = rv_stream_connect(stream);
        if (rc != -EAGAIN) {
            return rc;
        }
        struct pollfd pollfd;
        pair_add(&pollfd, stream, RV_STREAM_CONNECT);
        int timeout = rv_stream_timeout_ms(stream);
        ck_assert_int_ge(poll(&pollfd, 1, timeout < 0 ? -1 : timeout + 1), 0);
    }
}

START_TEST(dead_addresses_delay_a_little)
{
    struct hole hole;
    struct pair pair;
    open_hole(&hole);
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    add_answer(AF_INET, hole.port);
    add_answer(AF_INET, rv_pstream_port(pair.listener));
    int64_t start = rv_clock_ms();
    pair_dial(&pair, "tcp:some.where", &no_options);
    ck_assert_int_eq(finish(pair.client), 0);
    int64_t took = rv_clock_ms() - start;
    ck_assert_int_ge(took, RV_STREAM_STAGGER_MS - 1);
    ck_assert_int_lt(took, 3000);
    pair.server = pair_accept(pair.listener);
    pair_check_works(&pair);
    pair_close(&pair);
    pair_close(&hole.pair);
    wait_threads();
}
END_TEST

START_TEST(refused_addresses_delay_nothing)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    while (n_answers < MAX_ANSWERS - 1) {
        add_answer(AF_INET, closed_port());
    }
    add_answer(AF_INET, rv_pstream_port(pair.listener));
    int64_t start = rv_clock_ms();
    pair_dial(&pair, "tcp:some.where", &no_options);
    ck_assert_int_eq(finish(pair.client), 0);
    ck_assert_int_lt(rv_clock_ms() - start, 7 * RV_STREAM_STAGGER_MS);
    pair.server = pair_accept(pair.listener);
    pair_check_works(&pair);
    pair_close(&pair);
    wait_threads();
}
END_TEST

START_TEST(families_take_turns)
{
    struct hole hole;
    struct pair pair, pair6;
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    open_hole(&hole);
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    pair_listen(&pair6, "ptcp:0:[::1]", &no_options);
    add_answer(AF_INET, hole.port);
    add_answer(AF_INET, rv_pstream_port(pair.listener));
    add_answer(AF_INET, rv_pstream_port(pair.listener));
    add_answer(AF_INET6, rv_pstream_port(pair6.listener));
    pair_dial(&pair, "tcp:some.where", &no_options);
    ck_assert_int_eq(finish(pair.client), 0);
    ck_assert_int_eq(
        getpeername(rv_stream_fd(pair.client), (void *)&peer, &length), 0);
    ck_assert_int_eq(peer.ss_family, AF_INET6);
    pair_close(&pair);
    pair_close(&pair6);
    pair_close(&hole.pair);
    wait_threads();
}
END_TEST

START_TEST(the_end_of_all_addresses_is_told)
{
    struct pair pair = {.listener = NULL};
    for (int i = 0; i < 3; i++) {
        add_answer(AF_INET, closed_port());
    }
    pair_dial(&pair, "tcp:some.where", &no_options);
    ck_assert_int_eq(finish(pair.client), -ECONNREFUSED);
    ck_assert_str_eq(rv_stream_reason(pair.client),
                     "tcp:some.where: Connection refused (as all its "
                     "addresses)");
    pair_close(&pair);
    wait_threads();
}
END_TEST

START_TEST(names_without_addresses_say_so)
{
    struct pair pair = {.listener = NULL};
    pair_dial(&pair, "tcp:some.where", &no_options);
    ck_assert_int_eq(finish(pair.client), -ENOENT);
    ck_assert_str_eq(rv_stream_reason(pair.client),
                     "tcp:some.where: cannot resolve \"some.where\": it has "
                     "no address");
    pair_close(&pair);
    wait_threads();
}
END_TEST

/* Time. */

START_TEST(silence_ends_without_a_loop)
{
    struct rv_stream_options options = {.connect_ms = 30};
    struct hole hole;
    struct pair pair = {.listener = NULL};
    char name[40];
    open_hole(&hole);
    snprintf(name, sizeof name, "tcp:127.0.0.1:%d", hole.port);
    pair_dial(&pair, name, &options);
    ck_assert_int_eq(rv_stream_connect(pair.client), -EAGAIN);
    ck_assert_int_eq(finish(pair.client), -ETIMEDOUT);
    ck_assert_ptr_nonnull(
        strstr(rv_stream_reason(pair.client), ": not connected within 30 ms"));
    ck_assert_int_eq(rv_stream_timeout_ms(pair.client), -1);
    pair_close(&pair);
    options.connect_ms = -1;
    pair_dial(&pair, name, &options);
    ck_assert_int_eq(rv_stream_connect(pair.client), -EAGAIN);
    ck_assert_int_eq(rv_stream_timeout_ms(pair.client), -1);
    pair_close(&pair);
    pair_close(&hole.pair);
}
END_TEST

static void
start_connecting(struct connecting *c, const char *name)
{
    struct rv_stream *stream = NULL;
    ck_assert_int_eq(rv_stream_open(name, &no_options, &stream, NULL), 0);
    connecting_start(c, stream);
}

START_TEST(silence_ends_in_a_loop)
{
    struct connecting c;
    get_stuck();
    start_connecting(&c, "tcp:stuck");
    /* The time runs from the opening; some passed before the clock stopped. */
    rv_loop_clock_warp(&c.loop, RV_STREAM_CONNECT_MS - 2000);
    ck_assert_int_eq(rv_loop_run_once(&c.loop, 0), 0);
    ck_assert_int_eq(rv_stream_state(c.stream), RV_STREAM_CONNECTING);
    rv_loop_clock_warp(&c.loop, 2001);
    connecting_run_to(&c, -ETIMEDOUT);
    rv_stream_close(c.stream);
    end_stuck();
}
END_TEST

START_TEST(aborted_races_wake_their_loop)
{
    struct hole hole;
    struct connecting c;
    open_hole(&hole);
    add_answer(AF_INET, hole.port);
    add_answer(AF_INET, hole.port);
    start_connecting(&c, "tcp:some.where");
    for (int i = 0; i < 3; i++) { /* The answer, the first, the second. */
        ck_assert_int_eq(rv_loop_run_once(&c.loop, 400), 0);
    }
    ck_assert_int_eq(c.rc, -EAGAIN);
    rv_stream_abort(c.stream, -ECANCELED, "not needed");
    connecting_run_to(&c, -ECANCELED);
    rv_stream_close(c.stream);
    pair_close(&hole.pair);
    wait_threads();
}
END_TEST

/* Threads. */

START_TEST(lookups_are_limited)
{
    static struct rv_stream *streams[RV_STREAM_MAX_LOOKUPS];
    struct rv_stream *more = NULL;
    struct rv_error error;
    get_stuck();
    for (size_t i = 0; i < RV_STREAM_MAX_LOOKUPS; i++) {
        ck_assert_int_eq(
            rv_stream_open("tcp:stuck", &no_options, &streams[i], NULL), 0);
    }
    ck_assert_int_eq(rv_stream_open("tcp:stuck", &no_options, &more, &error),
                     -EBUSY);
    ck_assert_str_eq(error.text, "tcp:stuck: cannot resolve \"stuck\" now: "
                                 "too many lookups are under way");
    ck_assert_ptr_null(more);

    /* Closing waits for nothing, and gives no thread back. */
    for (size_t i = 0; i < RV_STREAM_MAX_LOOKUPS; i++) {
        rv_stream_close(streams[i]);
    }
    ck_assert_int_eq(rv_stream_open("tcp:stuck", &no_options, &more, NULL),
                     -EBUSY);

    /* A child has threads of its own. */
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        _exit(rv_stream_open("tcp:stuck", &no_options, &more, NULL) != 0);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);

    end_stuck();
    add_answer(AF_INET, 1);
    ck_assert_int_eq(rv_stream_open("tcp:some", &no_options, &more, NULL), 0);
    rv_stream_close(more);
    wait_threads();
}
END_TEST

START_TEST(dead_name_servers_say_so)
{
    struct pair pair = {.listener = NULL};
    get_stuck();
    pair_dial(&pair, "tcp:stuck", &no_options);
    ck_assert_int_eq(rv_stream_connect(pair.client), -EAGAIN);
    close(stuck_fds[1]);
    ck_assert_int_eq(finish(pair.client), -EHOSTUNREACH);
    ck_assert_str_eq(rv_stream_reason(pair.client),
                     "tcp:stuck: cannot resolve \"stuck\": no name server "
                     "answered");
    pair_close(&pair);
    wait_threads();
    close(stuck_fds[0]);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(dead_addresses_delay_a_little),
        RV_TEST(refused_addresses_delay_nothing),
        RV_TEST(families_take_turns),
        RV_TEST(the_end_of_all_addresses_is_told),
        RV_TEST(names_without_addresses_say_so),
        RV_TEST(silence_ends_without_a_loop),
        RV_TEST(silence_ends_in_a_loop),
        RV_TEST(aborted_races_wake_their_loop),
        RV_TEST(lookups_are_limited),
        RV_TEST(dead_name_servers_say_so),
    };
    return rv_test_run("dial", tests, RV_ARRAY_SIZE(tests));
}
