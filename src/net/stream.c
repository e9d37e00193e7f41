/* Design
 *
 * This file checks arguments and the state of a stream; a provider moves the
 * bytes.  Every move between states is made here or by rv__stream_fail.
 */
#include "reeve/stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/dial.h"
#include "net/provider.h"
#include "reeve/coverage.h"
#include "os/clock.h"
#include "os/fd.h"

RV_COVERAGE_DEFINE(stream_open);

typedef int open_function(const char *text, const struct rv_stream_name *,
                          const struct rv_stream_options *,
                          struct rv_stream **, struct rv_error *);

int
rv__tls_explain_missing(const char *text, struct rv_error *error)
{
    return rv_error_set(error, -ENOPROTOOPT,
                        RV_WITH_TLS
                            ? "%s: TLS is not configured: no private key, "
                              "certificate and CA certificate are given"
                            : "%s: this build is without TLS",
                        text);
}

static int
open_tls(const char *text, const struct rv_stream_name *name,
         const struct rv_stream_options *options, struct rv_stream **streamp,
         struct rv_error *error)
{
    if (!options->tls) {
        return rv__tls_explain_missing(text, error);
    }
    return rv__tls_methods(options->tls)
        ->open(text, name, options, streamp, error);
}

static open_function *const openers[] = {
    [RV_STREAM_TCP] = rv__socket_open,
    [RV_STREAM_UNIX] = rv__socket_open,
    [RV_STREAM_FD] = rv__socket_open,
    [RV_STREAM_SSL] = open_tls,
};

/* The time that connecting may take. */

static void
fail_by_deadline(struct rv_stream *stream)
{
    rv__stream_fail(stream, -ETIMEDOUT,
                    stream->dial ? "not connected within %d ms"
                                 : "no TLS handshake within %d ms",
                    stream->connect_ms);
}

static void
on_deadline(struct rv_timer *timer)
{
    struct rv_stream *stream = timer->context;
    if (stream->state == RV_STREAM_CONNECTING) {
        fail_by_deadline(stream);
        rv_stream_abort(stream, -ETIMEDOUT, "");
    }
}

void
rv__stream_limit(struct rv_stream *stream, int connect_ms)
{
    stream->connect_ms = connect_ms ? connect_ms : RV_STREAM_CONNECT_MS;
    if (stream->connect_ms > 0) {
        stream->deadline_ms = rv_clock_ms() + stream->connect_ms;
    } else {
        stream->connect_ms = 0;
    }
}

int
rv_stream_timeout_ms(const struct rv_stream *stream)
{
    if (stream->state != RV_STREAM_CONNECTING || !stream->connect_ms) {
        return -1;
    }
    int64_t left = stream->deadline_ms - rv_clock_ms();
    return left > 0 ? (int)left : 0;
}

/* Keeps a timer in 'loop' as long as the stream may be late. */
static int
watch_deadline(struct rv_stream *stream, struct rv_loop *loop)
{
    int left = rv_stream_timeout_ms(stream);
    if (left < 0 || stream->timer.loop == loop) {
        return 0;
    }
    rv_timer_stop(&stream->timer);
    return rv_timer_start(loop, &stream->timer, rv_loop_now(loop) + left);
}

/* For providers. */

struct rv_stream *
rv__stream_create(size_t size, const struct rv_stream_provider *provider,
                  const char *name)
{
    RV_ASSERT(size >= sizeof(struct rv_stream));
    struct rv_stream *stream = calloc(1, size);
    char *copy = strdup(name);
    if (!stream || !copy) {
        free(stream);
        free(copy);
        return NULL;
    }
    stream->provider = provider;
    stream->fd = -1;
    stream->name = copy;
    rv_timer_init(&stream->timer, on_deadline, stream);
    return stream;
}

int
rv__stream_fail(struct rv_stream *stream, int code, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    free(stream->reason);
    if (asprintf(&stream->reason, "%s: %s", stream->name, text) < 0) {
        stream->reason = NULL;
    }
    stream->state = RV_STREAM_DISCONNECTED;
    stream->code = code;
    rv_timer_stop(&stream->timer);
    return code;
}

void
rv__stream_unwatch(struct rv_stream *stream)
{
    if (stream->io) {
        rv_io_stop(stream->io);
        stream->io = NULL;
    }
}

/* Life. */

int
rv_stream_open(const char *name, const struct rv_stream_options *options,
               struct rv_stream **streamp, struct rv_error *error)
{
    uint16_t port =
        options->default_port ? options->default_port : RV_STREAM_PORT;
    struct rv_stream_name parsed;
    int rc = rv_stream_name_parse(name, port, &parsed, error);
    if (rc) {
        return rc;
    }
    if (parsed.is_passive) {
        return rv_error_set(error, -EAFNOSUPPORT,
                            "%s: a name to listen on, where one to connect "
                            "to belongs",
                            name);
    }
    if (options->dscp < 0 || options->dscp > 63) {
        return rv_error_set(error, -EINVAL,
                            "%s: dscp %d is not between 0 and 63", name,
                            options->dscp);
    }
    struct rv_stream *stream = NULL;
    RV_COVERAGE_INC(stream_open);
    rc = openers[parsed.kind](name, &parsed, options, &stream, error);
    if (!rc) {
        rv__stream_limit(stream, options->connect_ms);
        *streamp = stream;
    }
    return rc;
}

void
rv_stream_close(struct rv_stream *stream)
{
    if (!stream) {
        return;
    }
    rv__stream_unwatch(stream);
    rv_timer_stop(&stream->timer);
    if (stream->provider->close) {
        stream->provider->close(stream);
    }
    rv__dial_stop(stream);
    free(stream->name);
    free(stream->peer_id);
    free(stream->reason);
    free(stream);
}

int
rv_stream_connect(struct rv_stream *stream)
{
    switch (stream->state) {
    case RV_STREAM_CONNECTED:
        return 0;
    case RV_STREAM_DISCONNECTED:
        return stream->code;
    case RV_STREAM_CONNECTING:
    default:
        break;
    }
    int rc = stream->provider->connect(stream);
    if (!rc) {
        stream->state = RV_STREAM_CONNECTED;
        rv_timer_stop(&stream->timer);
    } else if (rc == -EAGAIN && !rv_stream_timeout_ms(stream)) {
        fail_by_deadline(stream);
        rc = stream->code;
    }
    RV_ASSERT(RV_IMPLIES(rc && rc != -EAGAIN,
                         stream->state == RV_STREAM_DISCONNECTED));
    return rc;
}

void
rv_stream_run(struct rv_stream *stream)
{
    rv_stream_connect(stream);
}

/* Bytes. */

ssize_t
rv_stream_recv(struct rv_stream *stream, void *data, size_t n)
{
    int rc = rv_stream_connect(stream);
    if (rc) {
        return rc;
    }
    return n ? stream->provider->recv(stream, data, n) : -EINVAL;
}

ssize_t
rv_stream_send(struct rv_stream *stream, const void *data, size_t n)
{
    int rc = rv_stream_connect(stream);
    if (rc) {
        return rc;
    }
    return n ? stream->provider->send(stream, data, n) : 0;
}

int
rv_stream_shutdown(struct rv_stream *stream)
{
    int rc = rv_stream_connect(stream);
    if (!rc && stream->provider->shutdown) {
        rc = stream->provider->shutdown(stream);
    }
    if (!rc && shutdown(stream->fd, SHUT_WR)) {
        rc = -errno;
        rv__stream_fail(stream, rc, "%s", strerror(-rc));
    }
    return rc;
}

void
rv_stream_abort(struct rv_stream *stream, int code, const char *text)
{
    if (stream->dial) {
        rv__dial_wake(stream->dial);
    }
    shutdown(stream->fd, SHUT_RDWR); /* Fails where it is no socket. */
    if (stream->state != RV_STREAM_DISCONNECTED) {
        rv__stream_fail(stream, code, "%s", text);
    }
}

/* Waiting. */

bool
rv_stream_is_ready(const struct rv_stream *stream, unsigned int what)
{
    switch (stream->state) {
    case RV_STREAM_DISCONNECTED:
        return what != 0;
    case RV_STREAM_CONNECTED:
        return (what & RV_STREAM_CONNECT)
               || (stream->provider->is_ready
                   && stream->provider->is_ready(stream, what));
    case RV_STREAM_CONNECTING:
    default:
        return false;
    }
}

uint32_t
rv_stream_events(const struct rv_stream *stream, unsigned int what)
{
    uint32_t events = 0;
    if (!what) {
        return 0;
    }
    if (stream->state == RV_STREAM_CONNECTING) {
        events =
            stream->dial ? rv__dial_events(stream->dial) : (uint32_t)EPOLLOUT;
    } else {
        events |= what & RV_STREAM_RECV ? (uint32_t)EPOLLIN : 0;
        events |= what & RV_STREAM_SEND ? (uint32_t)EPOLLOUT : 0;
    }
    if (stream->provider->events && !stream->dial) {
        events = stream->provider->events(stream, what, events);
    }
    if (rv_stream_is_ready(stream, what)) {
        events |= EPOLLIN | EPOLLOUT;
    }
    return events;
}

int
rv_stream_watch(struct rv_stream *stream, struct rv_loop *loop,
                struct rv_io *io, unsigned int what)
{
    uint32_t events = rv_stream_events(stream, what);
    RV_ASSERT(!stream->io || stream->io == io);
    if (io->loop) {
        RV_ASSERT(stream->io == io && io->loop == loop);
        rv_io_set_events(io, events);
        return watch_deadline(stream, loop);
    }
    if (stream->fd < 0) {
        return -EBADF;
    }
    int rc = watch_deadline(stream, loop);
    if (!rc) {
        rc = rv_io_start(loop, io, stream->fd, events);
        stream->io = rc ? NULL : io;
    }
    return rc;
}

/* Facts. */

int
rv_stream_fd(const struct rv_stream *stream)
{
    return stream->fd;
}

enum rv_stream_state
rv_stream_state(const struct rv_stream *stream)
{
    return stream->state;
}

const char *
rv_stream_name(const struct rv_stream *stream)
{
    return stream->name;
}

const char *
rv_stream_peer_id(const struct rv_stream *stream)
{
    return stream->peer_id;
}

const char *
rv_stream_reason(const struct rv_stream *stream)
{
    if (stream->state != RV_STREAM_DISCONNECTED) {
        return "";
    }
    return stream->reason ? stream->reason : strerror(-stream->code);
}

int
rv_stream_peer_user(const struct rv_stream *stream, uid_t *uidp, pid_t *pidp)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof own;
    struct ucred peer;
    socklen_t peer_length = sizeof peer;
    const void *any = &own;
    const struct sockaddr *address = any;
    if (getsockname(stream->fd, (void *)&own, &length)) {
        return -errno;
    }
    if (address->sa_family != AF_UNIX) {
        return -EOPNOTSUPP;
    }
    if (getsockopt(stream->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length)) {
        return -errno;
    }
    *uidp = peer.uid;
    *pidp = peer.pid;
    return 0;
}

bool
rv_stream_needs_probes(const char *name)
{
    struct rv_stream_name parsed;
    return !rv_stream_name_parse(name, RV_STREAM_PORT, &parsed, NULL)
           && (parsed.kind == RV_STREAM_TCP || parsed.kind == RV_STREAM_SSL);
}
