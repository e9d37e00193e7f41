/* A load client that counts every request that got no proper answer.
 *
 *     load --port 8080 --connections 16 --keep-alive --duration 5
 *     load --port 8080 --connections 64 --think-ms 2 --until-eof
 *
 * One thread, one epoll, --connections clients, each with one request at a
 * time.  With --until-eof it runs until its standard input ends; every line
 * that it reads there makes it print what it has counted so far, so that a
 * driver can wait for "some requests were answered" without a sleep.  The
 * last line of output is the result; each is one JSON object.  Requests in
 * flight at the end are waited for, so that each is counted as something.
 *
 * What counts as lost ("lost" is their sum):
 *   refused        the connect failed
 *   reset_fresh    reset before any byte of the connection's first answer
 *   reset_reused   the same for a later request of a kept-alive connection
 *   eof_fresh, eof_reused   the same, but closed instead of reset
 *   short          closed or reset in the middle of an answer
 *   wrong          not status 200, or a body without --expect
 *   timeout        no complete answer within --timeout-ms
 *
 * What does not: 'idle_closed', a kept-alive connection that the server closed
 * while no request was in flight; 'told_close', one that it announced to close
 * ("Connection: close"); 'local', no local port or descriptor was left.
 *
 * The last "pid=N" and "generation=N" of each body name the answering process:
 * for each, the first and the last time of an answer, in milliseconds of
 * CLOCK_MONOTONIC, which a driver can compare with its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    RETRY_MS = 5,       /* After a failed connect: no busy loop. */
    CLOSE_WAIT_MS = 50, /* For the server to close first. */
    N_ERRORS = 20,      /* That are described in the result. */
    N_BUCKETS = 64 * 32,
};

enum kind {
    REFUSED,
    RESET_FRESH,
    RESET_REUSED,
    EOF_FRESH,
    EOF_REUSED,
    SHORT,
    WRONG,
    TIMEOUT,
    N_KINDS,
};

static const char *const kind_names[N_KINDS] = {
    "refused",    "reset_fresh", "reset_reused", "eof_fresh",
    "eof_reused", "short",       "wrong",        "timeout",
};

enum state {
    RESTING,    /* No connection; in a queue, or the run has ended. */
    CONNECTING, /* The request goes out when the connection is there. */
    WAITING,    /* For the answer. */
    THINKING,   /* Connected, no request in flight. */
    CLOSING,    /* Answered; the server closes first. */
};

struct client {
    struct client *previous, *next; /* In 'queue'. */
    struct queue *queue;
    int64_t due_us;

    int fd;
    enum state state;
    bool is_reused;      /* An answer came on this connection before. */
    int64_t start_us;    /* Of the request, its connect included. */
    size_t worker;       /* Index of the last one that answered. */
    size_t length, need; /* Of the answer; need 0: unknown yet. */
    bool is_close;       /* The answer says so, or has no length. */
    char in[8192];
};

/* All waits of one kind last equally long, so their ends are in order. */
struct queue {
    int64_t delay_us;
    struct client *first, *last;
};

struct worker {
    char pid[24], generation[24];
    uint64_t n;
    int64_t first_us, last_us;
};

struct failure {
    enum kind kind;
    int64_t at_us, start_us;
    int error;
    size_t worker;
    bool has_worker;
};

struct load {
    struct sockaddr_in address;
    const char *expect;
    char request[1024];
    size_t request_length;
    bool is_keep_alive, is_until_eof, is_stopping;
    int64_t end_us; /* INT64_MAX: until the end of the input. */

    int epoll_fd;
    struct queue thinking, retrying, timing, closing;
    struct client *clients;
    size_t n_clients, n_active;

    int64_t start_us;
    uint64_t ok, opened, idle_closed, told_close, local;
    uint64_t lost[N_KINDS];
    uint64_t buckets[N_BUCKETS];
    int64_t max_us, max_end_us;
    struct worker *workers;
    size_t n_workers, n_workers_allocated;
    struct failure failures[N_ERRORS];
    size_t n_failures;
};

static int64_t
now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Log-linear: 32 buckets to each power of two, so 3% exact. */
static size_t
bucket_of(uint64_t us)
{
    if (us < 64) {
        return us;
    }
    unsigned int shift = 58 - (unsigned int)__builtin_clzll(us);
    size_t bucket = (size_t)shift * 32 + (us >> shift);
    return bucket < N_BUCKETS ? bucket : N_BUCKETS - 1;
}

static uint64_t
bucket_value(size_t bucket)
{
    if (bucket < 64) {
        return bucket;
    }
    unsigned int shift = (unsigned int)(bucket / 32) - 1;
    return (32 + (uint64_t)bucket % 32) << shift;
}

static uint64_t
percentile(const struct load *load, double part)
{
    uint64_t left = (uint64_t)((double)load->ok * part);
    for (size_t i = 0; i < N_BUCKETS; i++) {
        if (load->buckets[i] > left) {
            return bucket_value(i);
        }
        left -= load->buckets[i];
    }
    return 0;
}

static void
dequeue(struct client *c)
{
    if (!c->queue) {
        return;
    }
    *(c->previous ? &c->previous->next : &c->queue->first) = c->next;
    *(c->next ? &c->next->previous : &c->queue->last) = c->previous;
    c->queue = NULL;
    c->previous = c->next = NULL;
}

static void
enqueue(struct client *c, struct queue *queue, int64_t from_us)
{
    dequeue(c);
    c->queue = queue;
    c->due_us = from_us + queue->delay_us;
    c->previous = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = c;
    queue->last = c;
}

static void
note_failure(struct load *load, struct client *c, enum kind kind, int error)
{
    load->lost[kind]++;
    if (load->n_failures < N_ERRORS) {
        load->failures[load->n_failures++] =
            (struct failure){.kind = kind,
                             .at_us = now_us(),
                             .start_us = c->start_us,
                             .error = error,
                             .worker = c->worker,
                             .has_worker = c->is_reused};
    }
}

static void start_request(struct load *load, struct client *c);

/* Goes on to the next request after 'queue', or rests at the end. */
static void
go_on(struct load *load, struct client *c, struct queue *queue)
{
    if (load->is_stopping) {
        if (c->fd >= 0) {
            close(c->fd);
            c->fd = -1;
        }
        dequeue(c);
        c->state = RESTING;
        load->n_active--;
    } else {
        c->state = c->fd >= 0 ? THINKING : RESTING;
        enqueue(c, queue, now_us());
    }
}

static void
hang_up(struct load *load, struct client *c, struct queue *queue)
{
    close(c->fd);
    c->fd = -1;
    go_on(load, c, queue);
}

static void
fail(struct load *load, struct client *c, enum kind kind, int error)
{
    note_failure(load, c, kind, error);
    hang_up(load, c, &load->retrying);
}

static void
fail_read(struct load *load, struct client *c, int error)
{
    if (c->length > 0) {
        fail(load, c, SHORT, error);
    } else if (error) {
        fail(load, c, c->is_reused ? RESET_REUSED : RESET_FRESH, error);
    } else {
        fail(load, c, c->is_reused ? EOF_REUSED : EOF_FRESH, 0);
    }
}

static void
watch(struct load *load, struct client *c, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(load->epoll_fd, how, c->fd, &event)) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void
send_request(struct load *load, struct client *c)
{
    c->state = WAITING;
    c->length = c->need = 0;
    ssize_t n = send(c->fd, load->request, load->request_length, MSG_NOSIGNAL);
    if (n < 0) {
        fail_read(load, c, errno);
    }
}

static void
open_connection(struct load *load, struct client *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        load->local++;
        go_on(load, c, &load->retrying);
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->is_reused = false;
    int rc = connect(c->fd, (struct sockaddr *)&load->address,
                     sizeof load->address);
    if (rc && errno == EADDRNOTAVAIL) {
        load->local++;
        hang_up(load, c, &load->retrying);
    } else if (rc && errno != EINPROGRESS) {
        fail(load, c, REFUSED, errno);
    } else {
        load->opened++;
        c->state = CONNECTING;
        watch(load, c, EPOLL_CTL_ADD, EPOLLOUT);
    }
}

static void
start_request(struct load *load, struct client *c)
{
    c->start_us = now_us();
    enqueue(c, &load->timing, c->start_us);
    if (c->fd < 0) {
        open_connection(load, c);
    } else {
        send_request(load, c);
    }
}

static void
finish_connect(struct load *load, struct client *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == ECONNREFUSED || error == ETIMEDOUT) {
        fail(load, c, REFUSED, error);
    } else if (error) {
        fail(load, c, RESET_FRESH, error);
    } else {
        watch(load, c, EPOLL_CTL_MOD, EPOLLIN);
        send_request(load, c);
    }
}

/* Copies what follows the last 'key' up to a space; "" without any. */
static void
find_value(const char *body, const char *key, char *value, size_t size)
{
    const char *at = NULL;
    for (const char *p = body; (p = strstr(p, key)); p += strlen(key)) {
        at = p + strlen(key);
    }
    size_t length = at ? strcspn(at, " \t\r\n,\"") : 0;
    length = length < size ? length : size - 1;
    memcpy(value, at ? at : "", length);
    value[length] = '\0';
}

static void
note_worker(struct load *load, struct client *c, const char *body, int64_t now)
{
    struct worker found = {.first_us = now};
    find_value(body, "pid=", found.pid, sizeof found.pid);
    find_value(body, "generation=", found.generation, sizeof found.generation);
    size_t i = load->n_workers;
    /* The newest first: those of long ago do not answer any more. */
    while (i > 0
           && (strcmp(load->workers[i - 1].pid, found.pid) != 0
               || strcmp(load->workers[i - 1].generation, found.generation)
                      != 0)) {
        i--;
    }
    if (i == 0) {
        if (load->n_workers == load->n_workers_allocated) {
            load->n_workers_allocated = 2 * load->n_workers_allocated + 64;
            load->workers =
                realloc(load->workers,
                        load->n_workers_allocated * sizeof *load->workers);
            if (!load->workers) {
                abort();
            }
        }
        load->workers[load->n_workers++] = found;
        i = load->n_workers;
    }
    c->worker = i - 1;
    load->workers[i - 1].n++;
    load->workers[i - 1].last_us = now;
}

static void
finish_answer(struct load *load, struct client *c)
{
    int64_t now = now_us();
    c->in[c->length] = '\0';
    const char *body = strstr(c->in, "\r\n\r\n");
    if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0
        || (load->expect && !strstr(body, load->expect))) {
        fail(load, c, WRONG, 0);
        return;
    }
    load->ok++;
    load->buckets[bucket_of((uint64_t)(now - c->start_us))]++;
    if (now - c->start_us > load->max_us) {
        load->max_us = now - c->start_us;
        load->max_end_us = now;
    }
    note_worker(load, c, body, now);
    c->is_reused = true;
    if (!c->is_close && !load->is_keep_alive) {
        hang_up(load, c, &load->thinking);
    } else if (!c->is_close) {
        go_on(load, c, &load->thinking);
    } else {
        load->told_close += load->is_keep_alive;
        c->state = CLOSING;
        enqueue(c, &load->closing, now);
    }
}

/* Learns from a complete head how long the answer is. */
static void
parse_head(struct client *c)
{
    c->in[c->length] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) {
        return;
    }
    *end = '\0';
    const char *length = strcasestr(c->in, "\r\nContent-Length:");
    const char *chunked = strcasestr(c->in, "\r\nTransfer-Encoding: chunked");
    c->is_close = strcasestr(c->in, "\r\nConnection: close") != NULL
                  || (!length && !chunked);
    *end = '\r';
    size_t head = (size_t)(end - c->in) + 4;
    if (length) {
        c->need = head + strtoul(length + 17, NULL, 10);
    } else if (chunked) {
        c->need = strstr(end, "\r\n0\r\n\r\n") ? c->length : 0;
    }
}

static void
receive(struct load *load, struct client *c)
{
    size_t room = sizeof c->in - 1 - c->length;
    ssize_t n = recv(c->fd, c->in + c->length, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    } else if (n <= 0 && c->length > 0 && c->need == 0 && c->is_close) {
        finish_answer(load, c); /* The end of the stream ends the body. */
        return;
    } else if (n <= 0) {
        fail_read(load, c, n < 0 ? errno : 0);
        return;
    }
    c->length += (size_t)n;
    if (!c->need) {
        parse_head(c);
    }
    if (c->need && c->length >= c->need) {
        finish_answer(load, c);
    } else if (c->length == sizeof c->in - 1) {
        fail(load, c, WRONG, EMSGSIZE);
    }
}

/* The server has nothing to say now but the end. */
static void
see_close(struct load *load, struct client *c)
{
    char bytes[256];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    } else if (n > 0) {
        fail(load, c, WRONG, EPROTO);
    } else if (c->state == CLOSING) {
        hang_up(load, c, &load->thinking);
    } else {
        load->idle_closed++;
        close(c->fd);
        c->fd = -1;
        c->state = RESTING; /* Its think time goes on. */
    }
}

static void
run_client(struct load *load, struct client *c)
{
    switch (c->state) {
    case CONNECTING:
        finish_connect(load, c);
        break;
    case WAITING:
        receive(load, c);
        break;
    case THINKING:
    case CLOSING:
        see_close(load, c);
        break;
    case RESTING:
        break;
    }
}

static void
expire(struct load *load, struct client *c)
{
    if (c->queue == &load->timing) {
        fail(load, c, TIMEOUT, 0);
    } else if (c->queue == &load->closing) {
        hang_up(load, c, &load->thinking);
    } else {
        if (c->state == THINKING && load->thinking.delay_us > 0) {
            see_close(load, c); /* As connection pools look before use. */
        }
        start_request(load, c);
    }
}

/* Runs what is due; the microseconds until the next is. */
static int64_t
run_queues(struct load *load)
{
    struct queue *queues[] = {&load->thinking, &load->retrying, &load->timing,
                              &load->closing};
    int64_t now = now_us(), next_us = now + 1000000;
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        /* What a queue's clients enqueue anew is for the next turn. */
        size_t n = load->n_clients;
        struct client *c;
        while ((c = queues[i]->first) && c->due_us <= now && n-- > 0) {
            expire(load, c);
        }
        if (c && c->due_us < next_us) {
            next_us = c->due_us;
        }
    }
    if (load->end_us < next_us) {
        next_us = load->end_us;
    }
    return next_us > now ? next_us - now : 0;
}

static void
stop(struct load *load)
{
    load->is_stopping = true;
    for (size_t i = 0; i < load->n_clients; i++) {
        struct client *c = &load->clients[i];
        if (c->state == THINKING || c->state == RESTING
            || c->state == CLOSING) {
            go_on(load, c, NULL);
        }
    }
}

static void
print_workers(const struct load *load)
{
    printf("\"workers\":[");
    for (size_t i = 0; i < load->n_workers; i++) {
        const struct worker *w = &load->workers[i];
        printf("%s{\"pid\":\"%s\",\"generation\":\"%s\",\"n\":%llu,"
               "\"first_ms\":%.3f,\"last_ms\":%.3f}",
               i ? "," : "", w->pid, w->generation, (unsigned long long)w->n,
               (double)w->first_us / 1e3, (double)w->last_us / 1e3);
    }
    printf("],\"errors\":[");
    for (size_t i = 0; i < load->n_failures; i++) {
        const struct failure *f = &load->failures[i];
        printf("%s{\"kind\":\"%s\",\"error\":\"%s\",\"sent_ms\":%.3f,"
               "\"at_ms\":%.3f,\"pid\":\"%s\"}",
               i ? "," : "", kind_names[f->kind],
               f->error ? strerrorname_np(f->error) : "",
               (double)f->start_us / 1e3, (double)f->at_us / 1e3,
               f->has_worker ? load->workers[f->worker].pid : "");
    }
    printf("]");
}

static void
print_result(const struct load *load)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < N_KINDS; i++) {
        lost += load->lost[i];
    }
    printf("{\"ok\":%llu,\"lost\":%llu,", (unsigned long long)load->ok,
           (unsigned long long)lost);
    for (size_t i = 0; i < N_KINDS; i++) {
        printf("\"%s\":%llu,", kind_names[i],
               (unsigned long long)load->lost[i]);
    }
    printf("\"idle_closed\":%llu,\"told_close\":%llu,\"local\":%llu,"
           "\"opened\":%llu,\"start_ms\":%.3f,\"end_ms\":%.3f,",
           (unsigned long long)load->idle_closed,
           (unsigned long long)load->told_close,
           (unsigned long long)load->local, (unsigned long long)load->opened,
           (double)load->start_us / 1e3, (double)now_us() / 1e3);
    printf("\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
           "\"max_at_ms\":%.3f,",
           (double)percentile(load, 0.50) / 1e3,
           (double)percentile(load, 0.99) / 1e3, (double)load->max_us / 1e3,
           (double)load->max_end_us / 1e3);
    print_workers(load);
    printf("}\n");
    fflush(stdout);
}

static void
read_input(struct load *load)
{
    char line[256];
    ssize_t n = read(STDIN_FILENO, line, sizeof line);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        epoll_ctl(load->epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        load->end_us = 0;
    } else if (n > 0 && memchr(line, '\n', (size_t)n)) {
        print_result(load);
    }
}

static void
run(struct load *load)
{
    struct epoll_event events[64];
    while (load->n_active > 0) {
        int64_t wait_us = run_queues(load);
        int n = epoll_wait(load->epoll_fd, events, 64,
                           (int)((wait_us + 999) / 1000));
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                run_client(load, events[i].data.ptr);
            } else {
                read_input(load);
            }
        }
        if (!load->is_stopping && now_us() >= load->end_us) {
            stop(load);
        }
    }
}

static void
start_clients(struct load *load)
{
    load->clients = calloc(load->n_clients, sizeof *load->clients);
    if (!load->clients) {
        abort();
    }
    load->n_active = load->n_clients;
    for (size_t i = 0; i < load->n_clients; i++) {
        struct client *c = &load->clients[i];
        c->fd = -1;
        /* Spread over the think time, so that they do not go in step. */
        enqueue(c, &load->thinking,
                load->start_us
                    - load->thinking.delay_us * (int64_t)(load->n_clients - i)
                          / (int64_t)load->n_clients);
    }
    if (load->is_until_eof) {
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    }
}

static _Noreturn void
usage(int status)
{
    fputs("usage: load --port PORT [--host ADDRESS] [--connections N]\n"
          "            [--keep-alive] [--think-ms N] [--timeout-ms N]\n"
          "            [--path PATH] [--expect TEXT]\n"
          "            [--duration SECONDS | --until-eof]\n",
          status ? stderr : stdout);
    exit(status);
}

static void
parse_options(struct load *load, int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"host", required_argument, NULL, 'h'},
        {"connections", required_argument, NULL, 'n'},
        {"keep-alive", no_argument, NULL, 'k'},
        {"think-ms", required_argument, NULL, 't'},
        {"timeout-ms", required_argument, NULL, 'T'},
        {"path", required_argument, NULL, 'P'},
        {"expect", required_argument, NULL, 'e'},
        {"duration", required_argument, NULL, 'd'},
        {"until-eof", no_argument, NULL, 'u'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'H'},
        {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1", *path = "/";
    double duration = 5;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            load->address.sin_port = htons((uint16_t)strtol(optarg, NULL, 10));
            break;
        case 'h':
            host = optarg;
            break;
        case 'n':
            load->n_clients = strtoul(optarg, NULL, 10);
            break;
        case 'k':
            load->is_keep_alive = true;
            break;
        case 't':
            load->thinking.delay_us = (int64_t)(atof(optarg) * 1e3);
            break;
        case 'T':
            load->timing.delay_us = atoll(optarg) * 1000;
            break;
        case 'P':
            path = optarg;
            break;
        case 'e':
            load->expect = optarg;
            break;
        case 'd':
            duration = atof(optarg);
            break;
        case 'u':
            load->is_until_eof = true;
            break;
        case 'j': /* The only format that there is. */
            break;
        case 'H':
            usage(0);
        default:
            usage(64);
        }
    }
    if (!load->address.sin_port || optind != argc || !load->n_clients
        || inet_pton(AF_INET, host, &load->address.sin_addr) != 1) {
        usage(64);
    }
    int length = snprintf(load->request, sizeof load->request,
                          "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, host,
                          load->is_keep_alive ? "" : "Connection: close\r\n");
    if (length >= (int)sizeof load->request) {
        usage(64);
    }
    load->request_length = (size_t)length;
    load->end_us = load->is_until_eof
                       ? INT64_MAX
                       : load->start_us + (int64_t)(duration * 1e6);
}

int
main(int argc, char **argv)
{
    static struct load load = {
        .address = {.sin_family = AF_INET},
        .n_clients = 16,
        .retrying = {.delay_us = RETRY_MS * 1000},
        .timing = {.delay_us = 5000 * 1000},
        .closing = {.delay_us = CLOSE_WAIT_MS * 1000},
    };
    signal(SIGPIPE, SIG_IGN);
    load.start_us = now_us();
    parse_options(&load, argc, argv);
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    start_clients(&load);
    run(&load);
    print_result(&load);
    free(load.clients);
    free(load.workers);
    close(load.epoll_fd);
    return 0;
}
