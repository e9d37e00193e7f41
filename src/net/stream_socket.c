/* tcp:, unix: and fd:, whose bytes go through the socket as they are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/provider.h"
#include "net/socket.h"
#include "os/fd.h"

static int
socket_connect(struct rv_stream *stream)
{
    return stream->dial ? rv__dial_run(stream) : 0;
}

static ssize_t
judge(struct rv_stream *stream, ssize_t n)
{
    if (n < 0 && n != -EAGAIN) {
        return rv__stream_fail(stream, (int)n, "%s", strerror(-(int)n));
    }
    return n;
}

static ssize_t
socket_recv(struct rv_stream *stream, void *data, size_t n)
{
    return judge(stream, rv__socket_recv(stream->fd, data, n));
}

static ssize_t
socket_send(struct rv_stream *stream, const void *data, size_t n)
{
    ssize_t sent = rv__socket_send(stream->fd, data, n);
    return sent == -EPIPE ? sent : judge(stream, sent);
}

static const struct rv_stream_provider socket_provider = {
    .connect = socket_connect,
    .recv = socket_recv,
    .send = socket_send,
};

static int
open_unix(struct rv_stream *stream, const struct rv_stream_name *name,
          const struct rv_stream_options *options, struct rv_error *error)
{
    struct rv_address address;
    int dir_fd = -1;
    int rc = rv__socket_unix_address(name->path, options->rundir, &address,
                                     &dir_fd);
    if (!rc) {
        rc = rv__socket_connect(&address, 0, &stream->fd);
    }
    rv_fd_close(&dir_fd);
    if (rc) {
        return rv_error_errno(error, rc, "cannot connect to %s", stream->name);
    }
    return 0;
}

/* Makes a connected stream socket ours. */
static int
take_fd(struct rv_stream *stream, int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length)) {
        return -errno;
    }
    if (type != SOCK_STREAM) {
        return -EPROTOTYPE;
    }
    int rc = rv_fd_set_cloexec(fd, true);
    if (!rc) {
        rc = rv_fd_set_nonblocking(fd, true);
    }
    if (!rc) {
        stream->fd = fd;
    }
    return rc;
}

static int
start(struct rv_stream *stream, const struct rv_stream_name *name,
      const struct rv_stream_options *options, struct rv_error *error)
{
    int rc;
    switch (name->kind) {
    case RV_STREAM_UNIX:
        return open_unix(stream, name, options, error);
    case RV_STREAM_FD:
        rc = take_fd(stream, name->fd);
        return rc ? rv_error_errno(error, rc, "%s", stream->name) : 0;
    case RV_STREAM_TCP:
    case RV_STREAM_SSL:
    default:
        return rv__dial_start(stream, name, options->dscp, error);
    }
}

int
rv__socket_open(const char *text, const struct rv_stream_name *name,
                const struct rv_stream_options *options,
                struct rv_stream **streamp, struct rv_error *error)
{
    struct rv_stream *stream =
        rv__stream_create(sizeof *stream, &socket_provider, text);
    if (!stream) {
        return rv_error_errno(error, -ENOMEM, "%s", text);
    }
    int rc = start(stream, name, options, error);
    if (rc) {
        rv_stream_close(stream);
        return rc;
    }
    *streamp = stream;
    return 0;
}

int
rv__socket_accept(int fd, const char *name, struct rv_stream **streamp)
{
    struct rv_stream *stream =
        rv__stream_create(sizeof *stream, &socket_provider, name);
    if (!stream) {
        return -ENOMEM;
    }
    stream->fd = fd;
    stream->state = RV_STREAM_CONNECTED;
    *streamp = stream;
    return 0;
}

int
rv_stream_adopt(int fd, const char *name, struct rv_stream **streamp)
{
    struct rv_stream *stream =
        rv__stream_create(sizeof *stream, &socket_provider, name);
    if (!stream) {
        return -ENOMEM;
    }
    int rc = take_fd(stream, fd);
    if (rc) {
        rv_stream_close(stream);
        return rc;
    }
    stream->state = RV_STREAM_CONNECTED;
    *streamp = stream;
    return 0;
}
