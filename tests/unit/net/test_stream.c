#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/pair.h"
#include "os/fd.h"

static const struct rv_stream_options no_options;

static char folder[64];

static const char *
make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/rv-net-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    return folder;
}

static void
remove_folder(void)
{
    ck_assert_int_eq(rmdir(folder), 0);
}

/* "tcp:HOST:PORT" of the listener. */
static const char *
name_of(const struct rv_pstream *listener, const char *scheme,
        const char *host)
{
    static char name[100];
    snprintf(name, sizeof name, "%s:%s:%d", scheme, host,
             rv_pstream_port(listener));
    return name;
}

START_TEST(tcp_makes_a_round_trip)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    char expected[64];
    snprintf(expected, sizeof expected, "ptcp:%d:127.0.0.1",
             rv_pstream_port(pair.listener));
    ck_assert_str_eq(rv_pstream_name(pair.listener), expected);
    const char *name = name_of(pair.listener, "tcp", "127.0.0.1");
    pair_dial(&pair, name, &no_options);
    ck_assert_str_eq(rv_stream_name(pair.client), name);
    pair_connect(&pair);
    ck_assert_int_eq(
        strncmp(rv_stream_name(pair.server), "tcp:127.0.0.1:", 14), 0);
    ck_assert_ptr_null(rv_stream_peer_id(pair.server));
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(tcp6_makes_a_round_trip)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:[::1]", &no_options);
    ck_assert_ptr_nonnull(strstr(rv_pstream_name(pair.listener), ":[::1]"));
    pair_dial(&pair, name_of(pair.listener, "tcp", "[::1]"), &no_options);
    pair_connect(&pair);
    ck_assert_int_eq(strncmp(rv_stream_name(pair.server), "tcp:[::1]:", 10),
                     0);
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(two_colons_listen_for_both_families)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:[::]", &no_options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "127.0.0.1"), &no_options);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(default_port_is_taken)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:[::1]", &no_options);
    struct rv_stream_options options = {.default_port =
                                            rv_pstream_port(pair.listener)};
    pair_dial(&pair, "tcp:[::1]", &options);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(unix_makes_a_round_trip)
{
    struct rv_stream_options options = {.rundir = make_folder(), .mode = 0600};
    struct pair pair;
    char path[100];
    struct stat info;
    uid_t uid = 12345;
    pid_t pid = 0;
    pair_listen(&pair, "punix:x.sock", &options);
    snprintf(path, sizeof path, "%s/x.sock", folder);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    pair_dial(&pair, "unix:x.sock", &options);
    pair_connect(&pair);
    ck_assert_str_eq(rv_stream_name(pair.server), "unix#0");
    ck_assert_int_eq(rv_stream_peer_user(pair.server, &uid, &pid), 0);
    ck_assert_uint_eq(uid, geteuid());
    ck_assert_int_eq(pid, getpid());
    pair_check_works(&pair);
    pair_close(&pair);
    remove_folder();
}
END_TEST

START_TEST(long_unix_paths_work)
{
    struct pair pair;
    char name[400], path[300];
    snprintf(path, sizeof path, "%s/%0120d", make_folder(), 7);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(name, sizeof name, "punix:%s/x.sock", path);
    pair_listen(&pair, name, &no_options);
    pair_dial(&pair, name + 1, &no_options);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
    ck_assert_int_eq(rmdir(path), 0);
    remove_folder();
}
END_TEST

START_TEST(unix_paths_that_cannot_be_are_refused)
{
    struct rv_stream *stream = NULL;
    struct rv_pstream *pstream = NULL;
    struct rv_error error;
    char name[300];
    snprintf(name, sizeof name, "unix:/tmp/%0200d", 7);
    ck_assert_int_eq(rv_stream_open(name, &no_options, &stream, &error),
                     -ENAMETOOLONG);
    ck_assert_int_eq(
        rv_pstream_open("punix:/nowhere/x", &no_options, &pstream, &error),
        -ENOENT);
    ck_assert_str_eq(error.text, "cannot listen on punix:/nowhere/x: "
                                 "No such file or directory");
    ck_assert_ptr_null(stream);
    ck_assert_ptr_null(pstream);
}
END_TEST

START_TEST(bound_unix_peers_have_a_name)
{
    struct rv_stream_options options = {.rundir = make_folder()};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct pair pair;
    const void *any = &address;
    pair_listen(&pair, "punix:x", &options);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/me", folder);
    ck_assert_int_eq(bind(fd, any, sizeof address), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/x", folder);
    ck_assert_int_eq(connect(fd, any, sizeof address), 0);
    pair.server = pair_accept(pair.listener);
    char expected[100];
    snprintf(expected, sizeof expected, "unix:%s/me", folder);
    ck_assert_str_eq(rv_stream_name(pair.server), expected);
    ck_assert_int_eq(unlink(expected + 5), 0);
    close(fd);
    pair_close(&pair);
    remove_folder();
}
END_TEST

START_TEST(unix_file_of_a_successor_stays)
{
    struct rv_stream_options options = {.rundir = make_folder()};
    struct pair pair, second;
    char path[100];
    pair_listen(&pair, "punix:x", &options);
    snprintf(path, sizeof path, "%s/x", folder);
    ck_assert_int_eq(unlink(path), 0);
    pair_listen(&second, "punix:x", &options);
    pair_close(&pair);
    ck_assert_int_eq(access(path, F_OK), 0);
    pair_close(&second);
    ck_assert_int_eq(access(path, F_OK), -1);
    remove_folder();
}
END_TEST

START_TEST(fd_makes_a_round_trip)
{
    struct pair pair = {.listener = NULL};
    int fds[2];
    char name[20];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(name, sizeof name, "fd:%d", fds[0]);
    pair_dial(&pair, name, &no_options);
    ck_assert_int_eq(rv_stream_adopt(fds[1], "other", &pair.server), 0);
    pair_connect(&pair);
    ck_assert_str_eq(rv_stream_name(pair.client), name);
    ck_assert_str_eq(rv_stream_name(pair.server), "other");
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(fd_must_be_a_stream_socket)
{
    struct rv_stream *stream = NULL;
    struct rv_pstream *pstream = NULL;
    struct rv_error error;
    char name[20];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    snprintf(name, sizeof name, "fd:%d", fd);
    ck_assert_int_eq(rv_stream_open(name, &no_options, &stream, &error),
                     -ENOTSOCK);
    close(fd);
    ck_assert_int_eq(rv_stream_open(name, &no_options, &stream, &error),
                     -EBADF);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(name, sizeof name, "pfd:%d", fd);
    ck_assert_int_eq(rv_pstream_open(name, &no_options, &pstream, &error),
                     -EINVAL);
    close(fd);
}
END_TEST

START_TEST(pfd_takes_a_listener_over)
{
    struct rv_stream_options options = {.rundir = make_folder()};
    struct pair first, pair;
    char name[20];
    pair_listen(&first, "punix:x", &options);
    int fd = fcntl(rv_pstream_fd(first.listener), F_DUPFD_CLOEXEC, 0);
    snprintf(name, sizeof name, "pfd:%d", fd);
    pair_listen(&pair, name, &options);
    pair_dial(&pair, "unix:x", &options);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
    pair_close(&first);
    remove_folder();
}
END_TEST

START_TEST(wrong_directions_and_options_are_refused)
{
    struct rv_stream *stream = NULL;
    struct rv_pstream *pstream = NULL;
    struct rv_error error;
    struct rv_stream_options options = {.dscp = 64};
    ck_assert_int_eq(rv_stream_open("ptcp:", &no_options, &stream, &error),
                     -EAFNOSUPPORT);
    ck_assert_int_eq(
        rv_pstream_open("tcp:1.2.3.4", &no_options, &pstream, &error),
        -EAFNOSUPPORT);
    ck_assert_int_eq(
        rv_stream_open("tcp:127.0.0.1", &options, &stream, &error), -EINVAL);
    ck_assert_int_eq(rv_pstream_open("ptcp:0", &options, &pstream, &error),
                     -EINVAL);
    ck_assert_int_eq(
        rv_stream_open("ssl:127.0.0.1", &no_options, &stream, &error),
        -ENOPROTOOPT);
    ck_assert_int_eq(rv_pstream_open("pssl:0", &no_options, &pstream, &error),
                     -ENOPROTOOPT);
    ck_assert(rv_stream_needs_probes("tcp:x"));
    ck_assert(rv_stream_needs_probes("pssl:"));
    ck_assert(!rv_stream_needs_probes("unix:x"));
}
END_TEST

/* A port where nobody listens. */
static const char *
closed_port(const char *host)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    const char *name = name_of(pair.listener, "tcp", host);
    pair_close(&pair);
    return name;
}

static void
check_refused(const char *name, const char *text)
{
    struct pair pair = {.listener = NULL};
    int rc;
    pair_dial(&pair, name, &no_options);
    while ((rc = rv_stream_connect(pair.client)) == -EAGAIN) {
        pair_wait(pair.client, RV_STREAM_CONNECT, NULL, 0);
    }
    ck_assert_int_eq(rc, -ECONNREFUSED);
    ck_assert_int_eq(rv_stream_state(pair.client), RV_STREAM_DISCONNECTED);
    ck_assert(rv_stream_is_ready(pair.client, RV_STREAM_RECV));
    ck_assert_int_eq(
        strncmp(rv_stream_reason(pair.client), name, strlen(name)), 0);
    ck_assert_ptr_nonnull(strstr(rv_stream_reason(pair.client), text));
    char byte = 'x';
    ck_assert_int_eq(rv_stream_send(pair.client, &byte, 1), -ECONNREFUSED);
    ck_assert_int_eq(rv_stream_recv(pair.client, &byte, 1), -ECONNREFUSED);
    pair_close(&pair);
}

START_TEST(refused_connections_say_so)
{
    check_refused(closed_port("127.0.0.1"), ": Connection refused");
    check_refused(closed_port("localhost"), ": Connection refused");
    struct rv_stream *stream;
    struct rv_error error;
    struct rv_stream_options options = {.rundir = make_folder()};
    ck_assert_int_eq(rv_stream_open("unix:none", &options, &stream, &error),
                     -ENOENT);
    ck_assert_str_eq(error.text, "cannot connect to unix:none: No such file "
                                 "or directory");
    remove_folder();
}
END_TEST

START_TEST(addresses_in_use_say_so)
{
    struct pair pair;
    struct rv_pstream *second = NULL;
    struct rv_error error;
    struct rv_stream_options options = {.rundir = make_folder()};
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    ck_assert_int_eq(rv_pstream_open(rv_pstream_name(pair.listener),
                                     &no_options, &second, &error),
                     -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(error.text, ": Address already in use"));
    pair_close(&pair);
    pair_listen(&pair, "punix:x", &options);
    ck_assert_int_eq(rv_pstream_open("punix:x", &options, &second, &error),
                     -EADDRINUSE);
    pair_close(&pair);
    remove_folder();
}
END_TEST

START_TEST(host_names_are_resolved)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "localhost"), &no_options);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

START_TEST(unknown_host_names_say_so)
{
    struct pair pair = {.listener = NULL};
    int rc;
    pair_dial(&pair, "tcp:no-such-host.invalid:1", &no_options);
    while ((rc = rv_stream_connect(pair.client)) == -EAGAIN) {
        pair_wait(pair.client, RV_STREAM_CONNECT, NULL, 0);
    }
    ck_assert(rc == -ENOENT || rc == -EHOSTUNREACH);
    ck_assert_ptr_nonnull(strstr(rv_stream_reason(pair.client),
                                 "cannot resolve \"no-such-host.invalid\""));
    pair_close(&pair);
}
END_TEST

/* Threads of lookups given up go when they are done, and may hold a file open
 * until then. */
static void
wait_threads(void)
{
    struct stat info;
    do {
        sched_yield();
        ck_assert_int_eq(stat("/proc/self/task", &info), 0);
    } while (info.st_nlink > 3); /* ".", "..", and this thread. */
}

START_TEST(lookups_can_be_given_up)
{
    for (int i = 0; i < 50; i++) {
        struct pair pair = {.listener = NULL};
        pair_dial(&pair, "tcp:localhost:1", &no_options);
        if (i % 2) {
            rv_stream_run(pair.client);
        }
        pair_close(&pair);
    }
    wait_threads();
}
END_TEST

static int
option_of_fd(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(fd, level, option, &value, &length);
    return value;
}

static int
option_of(const struct rv_stream *stream, int level, int option)
{
    return option_of_fd(rv_stream_fd(stream), level, option);
}

START_TEST(options_are_set)
{
    struct rv_stream_options options = {.dscp = 46};
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "127.0.0.1"), &options);
    pair_connect(&pair);
    ck_assert_int_eq(
        option_of_fd(rv_pstream_fd(pair.listener), IPPROTO_IP, IP_TOS),
        46 << 2);
    struct rv_stream *both[] = {pair.client, pair.server};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(option_of(both[i], IPPROTO_IP, IP_TOS), 46 << 2);
        ck_assert_int_ne(option_of(both[i], IPPROTO_TCP, TCP_NODELAY), 0);
        int fd = rv_stream_fd(both[i]);
        ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    }
    pair_close(&pair);
    pair_listen(&pair, "ptcp:0:[::1]", &options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "[::1]"), &options);
    pair_connect(&pair);
    ck_assert_int_eq(option_of(pair.client, IPPROTO_IPV6, IPV6_TCLASS),
                     46 << 2);
    ck_assert_int_eq(option_of(pair.server, IPPROTO_IPV6, IPV6_TCLASS),
                     46 << 2);
    pair_close(&pair);
}
END_TEST

START_TEST(large_transfers_arrive_whole)
{
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "127.0.0.1"), &no_options);
    pair_connect(&pair);
    pair_check_large(pair.client, pair.server, 32 << 20, 100000);
    pair_check_large(pair.server, pair.client, 32 << 20, 4096);
    pair_close(&pair);
}
END_TEST

START_TEST(resets_end_the_stream)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    struct pair pair;
    char byte;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "127.0.0.1"), &no_options);
    pair_connect(&pair);
    setsockopt(rv_stream_fd(pair.client), SOL_SOCKET, SO_LINGER, &linger,
               sizeof linger);
    rv_stream_close(pair.client);
    pair.client = NULL;
    ck_assert_int_eq(pair_receive(pair.server, &byte, 1), -ECONNRESET);
    ck_assert_int_eq(rv_stream_connect(pair.server), -ECONNRESET);
    ck_assert_ptr_nonnull(
        strstr(rv_stream_reason(pair.server), ": Connection reset by peer"));
    ck_assert_int_eq(rv_stream_send(pair.server, &byte, 1), -ECONNRESET);
    pair_close(&pair);
}
END_TEST

START_TEST(a_thousand_connect_at_once)
{
    enum { N = 1000 };
    static struct rv_stream *clients[N], *servers[N];
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    struct pair pair;
    setrlimit(RLIMIT_NOFILE, &limit);
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    const char *name = name_of(pair.listener, "tcp", "127.0.0.1");
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(rv_stream_open(name, &no_options, &clients[i], NULL),
                         0);
    }
    for (int i = 0; i < N; i++) {
        while (rv_stream_connect(clients[i]) == -EAGAIN) {
            pair_wait(clients[i], RV_STREAM_CONNECT, NULL, 0);
        }
        ck_assert_str_eq(rv_stream_reason(clients[i]), "");
    }
    int n = 0;
    while (!rv_pstream_accept(pair.listener, &servers[n])) {
        n++;
        ck_assert_int_le(n, N);
    }
    ck_assert_int_eq(n, N);
    for (int i = 0; i < N; i++) {
        rv_stream_close(clients[i]);
        rv_stream_close(servers[i]);
    }
    pair_close(&pair);
}
END_TEST

START_TEST(accept_tells_of_missing_descriptors)
{
    struct pair pair;
    struct rv_stream *stream = NULL;
    struct rlimit old, limit;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    pair_dial(&pair, name_of(pair.listener, "tcp", "127.0.0.1"), &no_options);
    pair_wait(pair.client, RV_STREAM_CONNECT, NULL, 0);
    getrlimit(RLIMIT_NOFILE, &old);
    limit = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_eq(rv_pstream_accept(pair.listener, &stream), -EMFILE);
    setrlimit(RLIMIT_NOFILE, &old);
    pair.server = pair_accept(pair.listener);
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
}
END_TEST

/* A client in a loop: sends a line when connected, and ends with the reply. */
struct looper {
    struct rv_loop loop;
    struct rv_io io;
    struct rv_stream *stream;
    char reply[16];
    int rc;
    bool is_sent, is_done;
};

static void
on_event(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct looper *looper = io->context;
    unsigned int what = RV_STREAM_CONNECT;
    looper->rc = rv_stream_connect(looper->stream);
    if (!looper->rc && !looper->is_sent) {
        ck_assert_int_eq(rv_stream_send(looper->stream, "hello", 5), 5);
        looper->is_sent = true;
    }
    if (!looper->rc) {
        what = RV_STREAM_RECV;
        looper->is_done =
            rv_stream_recv(looper->stream, looper->reply, 15) > 0;
    }
    if (looper->rc && looper->rc != -EAGAIN) {
        looper->is_done = true;
    }
    if (looper->is_done) {
        rv_stream_close(looper->stream);
        ck_assert_ptr_null(io->loop);
        return;
    }
    ck_assert_int_eq(rv_stream_watch(looper->stream, &looper->loop, io, what),
                     0);
}

static void
start_looper(struct looper *looper, const char *name)
{
    *looper = (struct looper){.rc = 1};
    ck_assert_int_eq(rv_loop_init(&looper->loop), 0);
    rv_io_init(&looper->io, on_event, looper);
    ck_assert_int_eq(rv_stream_open(name, &no_options, &looper->stream, NULL),
                     0);
    ck_assert_int_eq(rv_stream_watch(looper->stream, &looper->loop,
                                     &looper->io, RV_STREAM_CONNECT),
                     0);
}

static void
turn(struct looper *looper)
{
    ck_assert_int_eq(rv_loop_run_once(&looper->loop, PAIR_WAIT_MS), 0);
}

START_TEST(loops_follow_a_stream)
{
    struct looper looper;
    struct pair pair;
    char line[16] = "";
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    start_looper(&looper, name_of(pair.listener, "tcp", "localhost"));
    while (!looper.is_sent) {
        turn(&looper);
    }
    pair.server = pair_accept(pair.listener);
    ck_assert_int_eq(pair_receive(pair.server, line, 15), 5);
    ck_assert_int_eq(rv_stream_send(pair.server, "world", 5), 5);
    while (!looper.is_done) {
        turn(&looper);
    }
    ck_assert_str_eq(looper.reply, "world");
    rv_loop_deinit(&looper.loop);
    pair_close(&pair);
}
END_TEST

START_TEST(loops_learn_of_failures)
{
    struct looper looper;
    start_looper(&looper, closed_port("localhost"));
    while (!looper.is_done) {
        turn(&looper);
    }
    ck_assert_int_eq(looper.rc, -ECONNREFUSED);
    rv_loop_deinit(&looper.loop);
}
END_TEST

START_TEST(aborted_streams_wake_their_loop)
{
    struct looper looper;
    struct pair pair;
    pair_listen(&pair, "ptcp:0:127.0.0.1", &no_options);
    start_looper(&looper, name_of(pair.listener, "tcp", "127.0.0.1"));
    while (!looper.is_sent) {
        turn(&looper);
    }
    rv_stream_abort(looper.stream, -ETIMEDOUT, "no answer");
    ck_assert_ptr_nonnull(
        strstr(rv_stream_reason(looper.stream), ": no answer"));
    while (!looper.is_done) {
        turn(&looper);
    }
    ck_assert_int_eq(looper.rc, -ETIMEDOUT);
    rv_loop_deinit(&looper.loop);
    pair_close(&pair);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(tcp_makes_a_round_trip),
        RV_TEST(tcp6_makes_a_round_trip),
        RV_TEST(two_colons_listen_for_both_families),
        RV_TEST(default_port_is_taken),
        RV_TEST(unix_makes_a_round_trip),
        RV_TEST(long_unix_paths_work),
        RV_TEST(unix_paths_that_cannot_be_are_refused),
        RV_TEST(bound_unix_peers_have_a_name),
        RV_TEST(unix_file_of_a_successor_stays),
        RV_TEST(fd_makes_a_round_trip),
        RV_TEST(fd_must_be_a_stream_socket),
        RV_TEST(pfd_takes_a_listener_over),
        RV_TEST(wrong_directions_and_options_are_refused),
        RV_TEST(refused_connections_say_so),
        RV_TEST(addresses_in_use_say_so),
        RV_TEST(host_names_are_resolved),
        RV_TEST(unknown_host_names_say_so),
        RV_TEST(lookups_can_be_given_up),
        RV_TEST(options_are_set),
        RV_TEST(large_transfers_arrive_whole),
        RV_TEST(resets_end_the_stream),
        RV_TEST(a_thousand_connect_at_once),
        RV_TEST(accept_tells_of_missing_descriptors),
        RV_TEST(loops_follow_a_stream),
        RV_TEST(loops_learn_of_failures),
        RV_TEST(aborted_streams_wake_their_loop),
    };
    return rv_test_run("stream", tests, RV_ARRAY_SIZE(tests));
}
