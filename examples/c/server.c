/* The smallest real service: HTTP/1.1 on an inherited socket, with epoll.
 *
 * Serves GET /, GET /health and GET /slow?ms=N on the sockets that the parent
 * passed (LISTEN_FDS, from descriptor 3), or on port $PORT when started by
 * hand.  Says READY=1 on NOTIFY_SOCKET.
 *
 * On SIGTERM it drains, and no client that behaves loses a request:
 * - It takes the listening socket out of epoll first and accepts once more
 *   after that: with EPOLLEXCLUSIVE it may be the only process that was woken
 *   for a connection that now waits in the queue.
 * - It answers what is in progress, and the next request of every kept-alive
 *   connection with "Connection: close".
 * - A connection that stays silent is closed after DRAIN_IDLE_MS, but only
 *   after one more look for bytes.
 * - A close sends FIN first and then reads until the client has closed:
 *   close() with unread bytes makes the kernel send RST, and that can destroy
 *   a reply that the client has not read yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LINGER_MS = 1000 };

enum state {
    READING,   /* Wants a request, or the rest of one. */
    DELAYED,   /* /slow: answers at 'deadline_ms'. */
    LINGERING, /* FIN is sent; reads until the client has closed. */
};

struct connection {
    struct connection *previous, *next;
    int fd;
    enum state state;
    bool last;           /* Close after the reply being made. */
    int64_t deadline_ms; /* Of DELAYED and LINGERING. */
    int64_t active_ms;   /* Last received bytes or sent a reply. */
    size_t length;
    char in[4096];
};

struct server {
    int epoll_fd, signal_fd;
    int first_listener, n_listeners;
    struct connection *connections;
    int n_timed; /* Connections that are not READING. */
    bool draining;
    int64_t drain_ms, drain_idle_ms; /* Start, and patience with silence. */
    int64_t watchdog_ms, kicked_ms;  /* 0: none wanted. */
    char body[256];
};

static int64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *
environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static void
notify(const char *message)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = environment("NOTIFY_SOCKET", "");
    size_t length = strlen(path);
    if (!length || length >= sizeof to.sun_path) {
        return;
    }
    memcpy(to.sun_path, path, length);
    to.sun_path[0] = *path == '@' ? '\0' : *path;
    length += offsetof(struct sockaddr_un, sun_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&to,
           (socklen_t)length);
    close(fd);
}

/* Listeners and the signal are known by their number, connections by their
 * address, which is never as small. */
static void
watch(struct server *server, int how, int fd, uint32_t events, uint64_t what)
{
    struct epoll_event event = {.events = events, .data.u64 = what};
    epoll_ctl(server->epoll_fd, how, fd, &event);
}

static void
set_state(struct server *server, struct connection *c, enum state state,
          int64_t deadline_ms)
{
    if (state != c->state) {
        server->n_timed += (state != READING) - (c->state != READING);
        watch(server, EPOLL_CTL_MOD, c->fd, state == DELAYED ? 0 : EPOLLIN,
              (uintptr_t)c);
    }
    c->state = state;
    c->deadline_ms = deadline_ms;
}

static void
destroy(struct server *server, struct connection *c)
{
    set_state(server, c, READING, 0);
    *(c->previous ? &c->previous->next : &server->connections) = c->next;
    if (c->next) {
        c->next->previous = c->previous;
    }
    close(c->fd);
    free(c);
}

static void
say_goodbye(struct server *server, struct connection *c)
{
    shutdown(c->fd, SHUT_WR);
    set_state(server, c, LINGERING, now_ms() + LINGER_MS);
}

static void
accept_all(struct server *server, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC))
               >= 0
           || errno == EINTR || errno == ECONNABORTED) {
        struct connection *c = fd < 0 ? NULL : calloc(1, sizeof *c);
        if (!c) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        c->fd = fd;
        c->active_ms = now_ms();
        c->next = server->connections;
        if (c->next) {
            c->next->previous = c;
        }
        server->connections = c;
        watch(server, EPOLL_CTL_ADD, fd, EPOLLIN, (uintptr_t)c);
    }
}

/* While draining, the last request is the one that none is queued behind.  A
 * client that does not read until the socket is full of replies is cut off. */
static bool
reply(struct server *server, struct connection *c, const char *status,
      const char *body)
{
    char out[512];
    c->last |= server->draining && !c->length;
    int length = snprintf(out, sizeof out,
                          "HTTP/1.1 %s\r\nContent-Type: text/plain\r\n"
                          "Content-Length: %zu\r\n%s\r\n%s",
                          status, strlen(body),
                          c->last ? "Connection: close\r\n" : "", body);
    if (send(c->fd, out, (size_t)length, MSG_NOSIGNAL) != length) {
        destroy(server, c);
        return false;
    }
    c->active_ms = now_ms();
    if (c->last) {
        say_goodbye(server, c);
    }
    return true;
}

/* Takes one complete request and answers it; false when the connection is
 * gone. */
static bool
answer(struct server *server, struct connection *c, size_t length)
{
    char head[sizeof c->in + 1];
    memcpy(head, c->in, length);
    head[length] = '\0';
    c->length -= length;
    memmove(c->in, c->in + length, c->length);
    c->last = strcasestr(head, "\r\nConnection: close\r\n")
              || !strstr(head, " HTTP/1.1\r\n");
    if (!strncmp(head, "GET / ", 6)) {
        return reply(server, c, "200 OK", server->body);
    } else if (!strncmp(head, "GET /health ", 12)) {
        return reply(server, c, "200 OK", "ok\n");
    } else if (!strncmp(head, "GET /slow?ms=", 13)) {
        set_state(server, c, DELAYED,
                  now_ms() + 1 + (int)strtol(head + 13, NULL, 10));
        return true;
    }
    c->last = true; /* It may have a body, which we do not read. */
    return reply(server, c, "404 Not Found", "no such page\n");
}

static void
serve(struct server *server, struct connection *c)
{
    char *end;
    bool is_alive = true;
    while (is_alive && c->state == READING
           && (end = memmem(c->in, c->length, "\r\n\r\n", 4))) {
        is_alive = answer(server, c, (size_t)(end - c->in) + 4);
    }
    if (is_alive && c->state == READING && c->length == sizeof c->in) {
        c->last = true;
        reply(server, c, "431 Request Header Fields Too Large", "");
    }
}

/* An event of a connection, which may be freed by it. */
static void
receive(struct server *server, struct connection *c)
{
    bool lingers = c->state == LINGERING;
    size_t at = lingers ? 0 : c->length;
    ssize_t n = recv(c->fd, c->in + at, sizeof c->in - at, 0);
    if (n == 0 || c->state == DELAYED || (n < 0 && errno != EAGAIN)) {
        destroy(server, c); /* DELAYED watches for nothing but errors. */
    } else if (n > 0 && !lingers) {
        c->length += (size_t)n;
        c->active_ms = now_ms();
        serve(server, c);
    }
}

static int64_t
due_ms(const struct server *server, const struct connection *c)
{
    if (c->state != READING || !server->draining) {
        return c->state == READING ? INT64_MAX : c->deadline_ms;
    }
    return server->drain_idle_ms
           + (c->active_ms > server->drain_ms ? c->active_ms
                                              : server->drain_ms);
}

static void
expire(struct server *server, struct connection *c)
{
    if (c->state == DELAYED) {
        set_state(server, c, READING, 0);
        if (reply(server, c, "200 OK", server->body)) {
            serve(server, c);
        }
    } else if (c->state == LINGERING) {
        destroy(server, c);
    } else if (recv(c->fd, &(char){0}, 1, MSG_PEEK) > 0) {
        receive(server, c); /* It came at the last moment. */
    } else {
        say_goodbye(server, c);
    }
}

/* Runs what is due; the milliseconds until the next is, or -1. */
static int
run_timers(struct server *server)
{
    int64_t now = now_ms(), next_ms = INT64_MAX;
    struct connection *c = server->connections;
    while (c && (server->n_timed || server->draining)) {
        struct connection *next = c->next;
        int64_t due = due_ms(server, c);
        if (due <= now) {
            expire(server, c);
            due = now; /* Whatever is next for it: look again. */
        }
        next_ms = due < next_ms ? due : next_ms;
        c = next;
    }
    if (server->watchdog_ms) {
        if (now - server->kicked_ms >= server->watchdog_ms) {
            notify("WATCHDOG=1");
            server->kicked_ms = now;
        }
        int64_t kick_ms = server->kicked_ms + server->watchdog_ms;
        next_ms = kick_ms < next_ms ? kick_ms : next_ms;
    }
    return next_ms == INT64_MAX ? -1 : (int)(next_ms - now);
}

static void
drain(struct server *server)
{
    server->draining = true;
    server->drain_ms = now_ms();
    for (int i = 0; i < server->n_listeners; i++) {
        int fd = server->first_listener + i;
        watch(server, EPOLL_CTL_DEL, fd, 0, 0);
        accept_all(server, fd);
        close(fd);
    }
    close(server->signal_fd);
    notify("STOPPING=1");
}

static void
run(struct server *server)
{
    struct epoll_event events[64];
    while (!server->draining || server->connections) {
        int n = epoll_wait(server->epoll_fd, events, 64, run_timers(server));
        bool stop = false;
        for (int i = 0; i < n; i++) {
            uint64_t what = events[i].data.u64;
            if (what == (uint64_t)server->signal_fd) {
                stop = true;
            } else if (what < 4096) {
                accept_all(server, (int)what);
            } else {
                receive(server, events[i].data.ptr);
            }
        }
        if (stop) {
            drain(server);
        }
    }
}

static void
open_listeners(struct server *server)
{
    int n = (int)strtol(environment("LISTEN_FDS", "0"), NULL, 10);
    if (n > 0
        && (int)strtol(environment("LISTEN_PID", "0"), NULL, 10) == getpid()) {
        server->first_listener = 3;
        server->n_listeners = n;
    } else {
        struct sockaddr_in address = {
            .sin_family = AF_INET,
            .sin_port = htons(
                (uint16_t)(int)strtol(environment("PORT", "8080"), NULL, 10)),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (bind(fd, (struct sockaddr *)&address, sizeof address)
            || listen(fd, 511)) {
            perror("bind");
            exit(1);
        }
        server->first_listener = fd;
        server->n_listeners = 1;
    }
    for (int i = 0; i < server->n_listeners; i++) {
        int fd = server->first_listener + i;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        watch(server, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE,
              (uint64_t)fd);
    }
}

int
main(void)
{
    static struct server server;
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    server.signal_fd = signalfd(-1, &stop, SFD_CLOEXEC);
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(&server, EPOLL_CTL_ADD, server.signal_fd, EPOLLIN,
          (uint64_t)server.signal_fd);
    server.drain_idle_ms =
        (int)strtol(environment("DRAIN_IDLE_MS", "2000"), NULL, 10);
    server.watchdog_ms = atoll(environment("WATCHDOG_USEC", "0")) / 2000;
    snprintf(server.body, sizeof server.body,
             "pid=%d worker=%s generation=%s version=%s\n", (int)getpid(),
             environment("REEVE_WORKER", "-"),
             environment("REEVE_GENERATION", "-"),
             environment("VERSION", "1"));
    open_listeners(&server);
    notify("READY=1");
    run(&server);
    return 0;
}
