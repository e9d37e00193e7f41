/* A JSON-RPC client that measures servers of any make; it shares no code with
 * reeve.  Each command prints one JSON object.
 *
 *     rpc-load rate ADDRESS METHOD DEPTH MS [THINK_US]
 *         One connection with DEPTH requests in flight for MS milliseconds,
 *         and THINK_US microseconds of rest before each.  With depth 1 the
 *         times of single requests are known.
 *     rpc-load crowd ADDRESS METHOD N AT_ONCE LIMIT_MS [--hold]
 *         N connections, at most AT_ONCE of them being set up at a time; each
 *         sends one request and waits for its reply, and stays open until all
 *         have theirs or LIMIT_MS have passed; with --hold, until the end of
 *         the standard input, and answers what the server asks meanwhile.
 *     rpc-load large ADDRESS BYTES PIECE
 *         A notification of BYTES bytes, written in pieces, and an `echo`
 *         behind it: the time until its reply, or until the server hung up.
 *
 * ADDRESS is unix:PATH or tcp:IPV4:PORT.  What a reply says is not looked at,
 * except that it must have no error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_SECONDS = 60, STARTS_PER_TURN = 64 };

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } u;
    socklen_t length;
};

/* Finds the ends of replies, which are objects, in a stream of bytes. */
struct scanner {
    int depth;
    bool is_in_string, is_escaped;
};

static _Noreturn __attribute__((format(printf, 1, 2))) void
die(const char *format, ...)
{
    va_list args;
    fputs("rpc-load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static int64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long
number(const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || end == text || value < 0) {
        die("%s is not a number", text);
    }
    return value;
}

static void
parse_address(const char *text, struct address *address)
{
    memset(address, 0, sizeof *address);
    if (!strncmp(text, "unix:", 5)
        && strlen(text + 5) < sizeof address->u.un.sun_path) {
        address->u.un.sun_family = AF_UNIX;
        memcpy(address->u.un.sun_path, text + 5, strlen(text + 5));
        address->length = sizeof address->u.un;
        return;
    }
    char host[64] = "";
    const char *port = strrchr(text, ':');
    if (!strncmp(text, "tcp:", 4) && port > text + 4
        && (size_t)(port - text - 4) < sizeof host) {
        memcpy(host, text + 4, (size_t)(port - text - 4));
        address->u.in.sin_family = AF_INET;
        address->u.in.sin_port = htons((uint16_t)number(port + 1));
        address->length = sizeof address->u.in;
        if (inet_pton(AF_INET, host, &address->u.in.sin_addr) == 1) {
            return;
        }
    }
    die("%s is neither unix:PATH nor tcp:IPV4:PORT", text);
}

static int
open_socket(const struct address *address, int flags)
{
    int family = address->u.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    if (family == AF_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    return fd;
}

/* A connection whose calls block, though not for ever. */
static int
connect_block(const struct address *address)
{
    int fd = open_socket(address, 0);
    struct timeval limit = {.tv_sec = REPLY_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, &address->u.any, address->length)) {
        die("connect: %s", strerror(errno));
    }
    return fd;
}

static int
format_request(char *text, size_t size, long id, const char *method)
{
    return snprintf(text, size, "{\"id\":%ld,\"method\":\"%s\",\"params\":[]}",
                    id, method);
}

/* How many replies end in these bytes. */
static long
count_replies(struct scanner *scanner, const char *bytes, size_t n)
{
    long count = 0;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (scanner->is_escaped) {
            scanner->is_escaped = false;
        } else if (scanner->is_in_string) {
            scanner->is_in_string = c != '"';
            scanner->is_escaped = c == '\\';
        } else if (c == '"') {
            scanner->is_in_string = true;
        } else if (c == '{' || c == '[') {
            scanner->depth++;
        } else if (c == '}' || c == ']') {
            scanner->depth--;
            count += !scanner->depth;
        }
    }
    return count;
}

static void
check_reply(const char *bytes, size_t n)
{
    if (n && (bytes[0] != '{' || memmem(bytes, n, "\"error\":\"", 9))) {
        die("not a reply without an error: %.*s", (int)n, bytes);
    }
}

/* Sends all, on a blocking socket.  False when the server hung up. */
static bool
send_block(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return false;
        }
        if (sent < 0) {
            die("send: %s", strerror(errno));
        }
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* The rate of one connection. */

struct samples {
    uint32_t *ns;
    size_t n, capacity;
};

static int
compare_samples(const void *a_, const void *b_)
{
    const uint32_t *a = a_;
    const uint32_t *b = b_;
    return (*a > *b) - (*a < *b);
}

static void
add_sample(struct samples *samples, int64_t ns)
{
    if (samples->n == samples->capacity) {
        samples->capacity = 2 * samples->capacity + 4096;
        samples->ns =
            realloc(samples->ns, samples->capacity * sizeof *samples->ns);
        if (!samples->ns) {
            die("no memory");
        }
    }
    samples->ns[samples->n++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static double
percentile_us(const struct samples *samples, double part)
{
    double last = samples->n ? (double)(samples->n - 1) : 0;
    return samples->n ? samples->ns[(size_t)(last * part)] / 1e3 : 0;
}

struct rate {
    int fd;
    const char *method;
    long depth, think_us;
    long sent, replied;
    int64_t start_ns, end_ns, sent_ns;
    struct samples samples;
    struct scanner scanner;
};

/* Rests for as long as one thinks, unless the server hangs up meanwhile. */
static void
think(const struct rate *rate)
{
    struct pollfd hung_up = {rate->fd, POLLRDHUP, 0};
    struct timespec time = {rate->think_us / 1000000,
                            rate->think_us % 1000000 * 1000};
    if (ppoll(&hung_up, 1, &time, NULL)) {
        die("the server hung up");
    }
}

static void
send_requests(struct rate *rate)
{
    char text[4096];
    size_t length = 0;
    if (rate->think_us) {
        think(rate);
    }
    while (rate->sent - rate->replied < rate->depth
           && length + 256 < sizeof text) {
        length += (size_t)format_request(text + length, sizeof text - length,
                                         rate->sent++, rate->method);
    }
    rate->sent_ns = now_ns();
    if (!send_block(rate->fd, text, length)) {
        die("the server hung up");
    }
}

static void
receive_replies(struct rate *rate)
{
    char bytes[4096];
    ssize_t n = recv(rate->fd, bytes, sizeof bytes, 0);
    if (n <= 0) {
        die("recv: %s", n ? strerror(errno) : "the server hung up");
    }
    if (!rate->replied) {
        check_reply(bytes, (size_t)n);
    }
    long count = count_replies(&rate->scanner, bytes, (size_t)n);
    if (count && rate->depth == 1) {
        add_sample(&rate->samples, now_ns() - rate->sent_ns);
    }
    rate->replied += count;
}

static void
print_rate(struct rate *rate)
{
    double seconds = (double)(rate->end_ns - rate->start_ns) / 1e9;
    if (rate->samples.n) {
        qsort(rate->samples.ns, rate->samples.n, sizeof *rate->samples.ns,
              compare_samples);
    }
    printf("{\"replies\":%ld,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
           "\"max_us\":%.1f}\n",
           rate->replied, (double)rate->replied / seconds,
           percentile_us(&rate->samples, 0.5),
           percentile_us(&rate->samples, 0.99),
           percentile_us(&rate->samples, 1));
}

static int
run_rate(int argc, char **argv)
{
    struct address address;
    parse_address(argv[1], &address);
    struct rate rate = {
        .method = argv[2],
        .depth = number(argv[3]),
        .think_us = argc > 5 ? number(argv[5]) : 0,
    };
    rate.fd = connect_block(&address);
    rate.start_ns = now_ns();
    int64_t stop_ns = rate.start_ns + number(argv[4]) * 1000000;
    bool is_over = false;
    while (!is_over || rate.replied < rate.sent) {
        if (!is_over && rate.sent - rate.replied < rate.depth) {
            send_requests(&rate);
        }
        receive_replies(&rate);
        rate.end_ns = now_ns();
        is_over = rate.end_ns >= stop_ns;
    }
    print_rate(&rate);
    free(rate.samples.ns);
    close(rate.fd);
    return EXIT_SUCCESS;
}

/* Many connections. */

enum state { UNUSED, CONNECTING, WAITING, SERVED, FAILED };

struct member {
    int fd;
    enum state state;
    struct scanner scanner;
};

struct crowd {
    struct address address;
    const char *method;
    struct member *members;
    long n, at_once;
    long n_started, n_served, n_failed;
    int epoll_fd;
    int64_t start_ns, limit_ns, last_ns;
};

static void
fail(struct crowd *crowd, struct member *member)
{
    close(member->fd);
    member->fd = -1;
    member->state = FAILED;
    crowd->n_failed++;
}

static void
watch(const struct crowd *crowd, struct member *member, int how,
      uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = member};
    if (epoll_ctl(crowd->epoll_fd, how, member->fd, &event)) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static void
ask(struct crowd *crowd, struct member *member)
{
    char text[256];
    int n = format_request(text, sizeof text, 0, crowd->method);
    member->state = WAITING;
    if (send(member->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        fail(crowd, member);
    }
}

/* A unix socket whose queue is full offers nothing to wait for, so its connect
 * blocks; the server does its part meanwhile. */
static void
start_member(struct crowd *crowd, struct member *member)
{
    bool is_unix = crowd->address.u.any.sa_family == AF_UNIX;
    member->fd = open_socket(&crowd->address, is_unix ? 0 : SOCK_NONBLOCK);
    int rc = connect(member->fd, &crowd->address.u.any, crowd->address.length);
    if (rc && errno != EINPROGRESS) {
        fail(crowd, member);
        return;
    }
    watch(crowd, member, EPOLL_CTL_ADD, is_unix ? EPOLLIN : EPOLLOUT);
    member->state = CONNECTING;
    if (is_unix) {
        ask(crowd, member);
    }
}

static void
receive_reply(struct crowd *crowd, struct member *member)
{
    char bytes[4096];
    ssize_t n = recv(member->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        crowd->n_served -= member->state == SERVED;
        fail(crowd, member);
        return;
    }
    check_reply(bytes, member->state == WAITING ? (size_t)n : 0);
    if (count_replies(&member->scanner, bytes, (size_t)n)
        && member->state == WAITING) {
        member->state = SERVED;
        crowd->n_served++;
        crowd->last_ns = now_ns();
    }
}

static void
run_member(struct crowd *crowd, struct member *member)
{
    if (member->state != CONNECTING) {
        receive_reply(crowd, member);
        return;
    }
    int code = 0;
    socklen_t length = sizeof code;
    getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &code, &length);
    if (code) {
        fail(crowd, member);
    } else {
        watch(crowd, member, EPOLL_CTL_MOD, EPOLLIN);
        ask(crowd, member);
    }
}

static bool
is_crowd_done(const struct crowd *crowd)
{
    return crowd->n_served + crowd->n_failed >= crowd->n
           || now_ns() >= crowd->limit_ns;
}

/* Starts some of those that are missing.  Whether more could be started. */
static bool
start_some(struct crowd *crowd)
{
    for (int i = 0;; i++) {
        long n_open = crowd->n_started - crowd->n_served - crowd->n_failed;
        if (crowd->n_started == crowd->n || n_open >= crowd->at_once) {
            return false;
        }
        if (i == STARTS_PER_TURN) {
            return true;
        }
        start_member(crowd, &crowd->members[crowd->n_started++]);
    }
}

static void
gather(struct crowd *crowd)
{
    struct epoll_event events[256];
    while (!is_crowd_done(crowd)) {
        bool has_more = start_some(crowd);
        int64_t left_ms = (crowd->limit_ns - now_ns()) / 1000000;
        int n = epoll_wait(crowd->epoll_fd, events, 256,
                           has_more || left_ms < 0 ? 0 : (int)left_ms);
        for (int i = 0; i < n; i++) {
            run_member(crowd, events[i].data.ptr);
        }
    }
}

/* The only thing that a server asks is whether the client lives. */
static void
answer_probe(struct crowd *crowd, struct member *member)
{
    static const char reply[] =
        "{\"id\":\"echo\",\"result\":[],\"error\":null}";
    char bytes[4096];
    ssize_t n = recv(member->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        n = send(member->fd, reply, sizeof reply - 1, MSG_NOSIGNAL);
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        fail(crowd, member);
    }
}

/* Until the standard input ends. */
static void
hold(struct crowd *crowd)
{
    struct member input = {.fd = STDIN_FILENO};
    struct epoll_event event;
    char bytes[64];
    watch(crowd, &input, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        if (epoll_wait(crowd->epoll_fd, &event, 1, -1) != 1) {
            continue;
        }
        if (event.data.ptr != &input) {
            answer_probe(crowd, event.data.ptr);
        } else if (read(input.fd, bytes, sizeof bytes) <= 0) {
            return;
        }
    }
}

static void
raise_nofile(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
run_crowd(int argc, char **argv)
{
    bool is_holding = argc > 6 && !strcmp(argv[6], "--hold");
    struct crowd crowd = {
        .method = argv[2],
        .n = number(argv[3]),
        .at_once = number(argv[4]),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
    };
    parse_address(argv[1], &crowd.address);
    raise_nofile();
    crowd.members = calloc((size_t)crowd.n + 1, sizeof *crowd.members);
    if (!crowd.members || crowd.epoll_fd < 0) {
        die("no memory");
    }
    crowd.start_ns = crowd.last_ns = now_ns();
    crowd.limit_ns = crowd.start_ns + number(argv[5]) * 1000000;
    gather(&crowd);
    printf("{\"served\":%ld,\"failed\":%ld,\"ms\":%.1f}\n", crowd.n_served,
           crowd.n_failed, (double)(crowd.last_ns - crowd.start_ns) / 1e6);
    fflush(stdout);
    if (is_holding) {
        hold(&crowd);
    }
    free(crowd.members); /* Its descriptors go with the process. */
    return EXIT_SUCCESS;
}

/* One large message. */

static char *
make_message(size_t bytes)
{
    static const char start[] = "{\"id\":null,\"method\":\"n\",\"params\":[\"";
    static const char end[] = "\"]}";
    size_t frame = sizeof start - 1 + sizeof end - 1;
    if (bytes < frame) {
        die("a message has %zu bytes at least", frame);
    }
    char *message = malloc(bytes);
    if (!message) {
        die("no memory");
    }
    memset(message, 'x', bytes);
    memcpy(message, start, sizeof start - 1);
    memcpy(message + bytes - (sizeof end - 1), end, sizeof end - 1);
    return message;
}

/* Whether a reply came, and not the end of the connection. */
static bool
wait_reply(int fd)
{
    struct scanner scanner = {.depth = 0};
    char bytes[4096];
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno != ECONNRESET) {
            die("recv: %s", strerror(errno));
        }
        if (n <= 0) {
            return false;
        }
        if (count_replies(&scanner, bytes, (size_t)n)) {
            return true;
        }
    }
}

static int
run_large(int argc, char **argv)
{
    (void)argc;
    struct address address;
    parse_address(argv[1], &address);
    size_t bytes = (size_t)number(argv[2]);
    size_t piece = (size_t)number(argv[3]);
    char *message = make_message(bytes);
    char echo[256];
    int length = format_request(echo, sizeof echo, 1, "echo");
    int fd = connect_block(&address);
    int64_t start_ns = now_ns();
    bool is_open = true;
    for (size_t i = 0; is_open && i < bytes; i += piece) {
        is_open =
            send_block(fd, message + i, bytes - i < piece ? bytes - i : piece);
    }
    is_open =
        is_open && send_block(fd, echo, (size_t)length) && wait_reply(fd);
    printf("{\"outcome\":\"%s\",\"ms\":%.2f}\n", is_open ? "reply" : "closed",
           (double)(now_ns() - start_ns) / 1e6);
    free(message);
    close(fd);
    return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
    argc--;
    argv++;
    if (argc >= 5 && argc <= 6 && !strcmp(argv[0], "rate")) {
        return run_rate(argc, argv);
    }
    if (argc >= 6 && argc <= 7 && !strcmp(argv[0], "crowd")) {
        return run_crowd(argc, argv);
    }
    if (argc == 4 && !strcmp(argv[0], "large")) {
        return run_large(argc, argv);
    }
    die("usage: rpc-load rate ADDRESS METHOD DEPTH MS [THINK_US]\n"
        "       rpc-load crowd ADDRESS METHOD N AT_ONCE LIMIT_MS [--hold]\n"
        "       rpc-load large ADDRESS BYTES PIECE");
}
