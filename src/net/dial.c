/* Design
 *
 * One address: the stream's descriptor is the socket.  Several: they race,
 * each started RV_STREAM_STAGGER_MS after the one before, or at once when all
 * before have failed, and the first to connect wins.  The stream's descriptor
 * is then an epoll that holds their sockets and a timer.
 */
#include "net/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "net/resolve.h"
#include "net/socket.h"
#include "os/fd.h"

struct rv__dial {
    struct rv__resolve *resolve; /* Under way, or NULL; owns the fd then. */
    struct rv_address *addresses;
    size_t n_addresses;
    size_t next; /* Index of the address to try next. */
    int dscp;

    /* Of a race alone. */
    int timer_fd;
    int *sockets; /* One an address; -1: not tried, or failed. */
    size_t n_racing;
    int code; /* The last failure. */
};

static bool
is_race(const struct rv__dial *dial)
{
    return dial->sockets != NULL;
}

/* Frees the dial, but for the stream's descriptor. */
static void
destroy(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    if (!dial) {
        return;
    }
    for (size_t i = 0; is_race(dial) && i < dial->n_addresses; i++) {
        rv_fd_close(&dial->sockets[i]);
    }
    rv_fd_close(&dial->timer_fd);
    rv__resolve_stop(dial->resolve);
    free(dial->sockets);
    free(dial->addresses);
    free(dial);
    stream->dial = NULL;
}

void
rv__dial_stop(struct rv_stream *stream)
{
    rv__stream_unwatch(stream);
    if (stream->dial && stream->dial->resolve) {
        stream->fd = -1; /* The lookup closes it. */
    }
    rv_fd_close(&stream->fd);
    destroy(stream);
}

/* The race. */

/* Lets IPv4 and IPv6 take turns, beginning with the first address and in the
 * order given otherwise. */
static void
interleave(struct rv_address *addresses, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        size_t j = i;
        while (j < n
               && addresses[j].u.any.sa_family
                      == addresses[i - 1].u.any.sa_family) {
            j++;
        }
        if (j < n) {
            struct rv_address other = addresses[j];
            memmove(&addresses[i + 1], &addresses[i],
                    (j - i) * sizeof *addresses);
            addresses[i] = other;
        }
    }
}

static void
set_timer(const struct rv__dial *dial, int ms)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = ms / 1000,
                     .tv_nsec = ms ? (ms % 1000) * 1000000L : 1}};
    timerfd_settime(dial->timer_fd, 0, &when, NULL);
}

static int
watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Takes the socket '*fdp' out of the epoll first: a duplicate that a child of
 * fork holds would keep it in. */
static void
drop(const struct rv_stream *stream, int *fdp)
{
    if (*fdp >= 0) {
        epoll_ctl(stream->fd, EPOLL_CTL_DEL, *fdp, NULL);
        rv_fd_close(fdp);
    }
}

/* Starts addresses until one does not fail at once. */
static void
start_next(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    while (dial->next < dial->n_addresses) {
        size_t i = dial->next++;
        int *fdp = &dial->sockets[i];
        int rc = rv__socket_connect(&dial->addresses[i], dial->dscp, fdp);
        if (!rc) {
            rc = watch(stream->fd, *fdp, EPOLLOUT);
        }
        if (!rc) {
            dial->n_racing++;
            if (dial->next < dial->n_addresses) {
                set_timer(dial, RV_STREAM_STAGGER_MS);
            }
            return;
        }
        drop(stream, fdp);
        dial->code = rc;
    }
}

static int
start_race(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    dial->sockets = calloc(dial->n_addresses, sizeof *dial->sockets);
    if (!dial->sockets) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < dial->n_addresses; i++) {
        dial->sockets[i] = -1;
    }
    interleave(dial->addresses, dial->n_addresses);
    stream->fd = epoll_create1(EPOLL_CLOEXEC);
    if (stream->fd < 0) {
        return -errno;
    }
    dial->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (dial->timer_fd < 0) {
        return -errno;
    }
    return watch(stream->fd, dial->timer_fd, EPOLLIN);
}

/* Ends the race for the socket '*fdp', which becomes the stream's. */
static void
end_race(struct rv_stream *stream, int *fdp)
{
    int fd = *fdp;
    *fdp = -1;
    rv__stream_unwatch(stream);
    epoll_ctl(stream->fd, EPOLL_CTL_DEL, fd, NULL);
    rv_fd_close(&stream->fd);
    destroy(stream);
    stream->fd = fd;
}

/* Looks at each socket.  0 and the end of the race when one has connected. */
static int
find_winner(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    for (size_t i = 0; i < dial->next; i++) {
        int *fdp = &dial->sockets[i];
        int rc = *fdp < 0 ? -EAGAIN : rv__socket_check(*fdp);
        if (!rc) {
            end_race(stream, fdp);
            return 0;
        }
        if (rc != -EAGAIN) {
            drop(stream, fdp);
            dial->n_racing--;
            dial->code = rc;
        }
    }
    return -EAGAIN;
}

static int
run_race(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    size_t n_before = dial->n_racing;
    uint64_t n_expired = 0;
    if (!find_winner(stream)) {
        return 0;
    }
    bool is_due =
        read(dial->timer_fd, &n_expired, sizeof n_expired) == sizeof n_expired;
    if (is_due || !n_before || dial->n_racing < n_before) {
        start_next(stream);
    }
    if (dial->n_racing) {
        return -EAGAIN;
    }
    /* The epoll stays, ready, until the stream is closed. */
    set_timer(dial, 0);
    return rv__stream_fail(stream, dial->code, "%s (as all its addresses)",
                           strerror(-dial->code));
}

/* Beginning. */

/* Starts to connect to the addresses there are; the stream has no descriptor
 * when this is called, and keeps what it got on failure. */
static int
start_connecting(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    if (dial->n_addresses == 1) {
        return rv__socket_connect(&dial->addresses[0], dial->dscp,
                                  &stream->fd);
    }
    return start_race(stream);
}

static int
start(struct rv_stream *stream, const struct rv_stream_name *name,
      struct rv_error *error)
{
    struct rv__dial *dial = stream->dial;
    int rc;
    if (!name->is_numeric) {
        rc = rv__resolve_start(name->host, name->port, &dial->resolve);
        if (rc == -EBUSY) {
            return rv_error_set(error, rc,
                                "%s: cannot resolve \"%s\" now: too many "
                                "lookups are under way",
                                stream->name, name->host);
        }
        if (rc) {
            return rv_error_errno(error, rc, "%s: cannot resolve \"%s\"",
                                  stream->name, name->host);
        }
        stream->fd = rv__resolve_fd(dial->resolve);
        return 0;
    }
    dial->addresses = malloc(sizeof *dial->addresses);
    if (!dial->addresses) {
        return rv_error_errno(error, -ENOMEM, "%s", stream->name);
    }
    dial->addresses[0] = name->address;
    dial->n_addresses = 1;
    rc = start_connecting(stream);
    return rc ? rv_error_errno(error, rc, "cannot connect to %s", stream->name)
              : 0;
}

int
rv__dial_start(struct rv_stream *stream, const struct rv_stream_name *name,
               int dscp, struct rv_error *error)
{
    stream->dial = calloc(1, sizeof *stream->dial);
    if (!stream->dial) {
        return rv_error_errno(error, -ENOMEM, "%s", stream->name);
    }
    stream->dial->dscp = dscp;
    stream->dial->timer_fd = -1;
    int rc = start(stream, name, error);
    if (rc) {
        rv__dial_stop(stream);
    }
    return rc;
}

/* Going on. */

/* Takes the answer of the lookup and starts to connect.  0 when a connection
 * is under way; -EAGAIN while the lookup is. */
static int
end_lookup(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    struct rv_error error;
    int rc = rv__resolve_take(dial->resolve, &dial->addresses,
                              &dial->n_addresses, &error);
    if (rc == -EAGAIN) {
        return rc;
    }
    if (rc) {
        /* The descriptor stays, readable, until the stream is closed. */
        return rv__stream_fail(stream, rc, "%s", error.text);
    }
    rv__stream_unwatch(stream);
    stream->fd = -1;
    rv__resolve_stop(dial->resolve);
    dial->resolve = NULL;
    rc = start_connecting(stream);
    return rc ? rv__stream_fail(stream, rc, "%s", strerror(-rc)) : 0;
}

/* One address alone. */
static int
run_single(struct rv_stream *stream)
{
    int rc = rv__socket_check(stream->fd);
    if (!rc) {
        destroy(stream);
    } else if (rc != -EAGAIN) {
        /* The socket stays, so that there is something to watch. */
        rv__stream_fail(stream, rc, "%s", strerror(-rc));
    }
    return rc;
}

int
rv__dial_run(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    if (dial->resolve) {
        int rc = end_lookup(stream);
        if (rc) {
            return rc;
        }
    }
    return is_race(dial) ? run_race(stream) : run_single(stream);
}

uint32_t
rv__dial_events(const struct rv__dial *dial)
{
    return dial->resolve || is_race(dial) ? EPOLLIN : EPOLLOUT;
}

void
rv__dial_wake(const struct rv__dial *dial)
{
    if (dial->resolve) {
        rv__resolve_wake(dial->resolve);
    } else if (is_race(dial)) {
        set_timer(dial, 0);
    }
}
