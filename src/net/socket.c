#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "os/fd.h"

static void
set_path(struct rv_address *address, size_t length)
{
    address->type = SOCK_STREAM;
    address->u.un.sun_family = AF_UNIX;
    address->length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

/* Reaches 'path' through a descriptor of its folder. */
static int
set_long_path(const char *path, struct rv_address *address, int *dir_fdp)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return -ENAMETOOLONG;
    }
    char *folder = strndup(path, (size_t)(slash - path) + 1);
    if (!folder) {
        return -ENOMEM;
    }
    int dir_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int open_errno = errno;
    free(folder);
    if (dir_fd < 0) {
        return -open_errno;
    }
    int n = snprintf(address->u.un.sun_path, sizeof address->u.un.sun_path,
                     "/proc/self/fd/%d/%s", dir_fd, slash + 1);
    if (n < 0 || (size_t)n >= sizeof address->u.un.sun_path) {
        rv_fd_close(&dir_fd);
        return -ENAMETOOLONG;
    }
    set_path(address, (size_t)n);
    *dir_fdp = dir_fd;
    return 0;
}

int
rv__socket_unix_address(const char *path, const char *rundir,
                        struct rv_address *address, int *dir_fdp)
{
    char *full = NULL;
    if (path[0] != '/' && rundir
        && asprintf(&full, "%s/%s", rundir, path) < 0) {
        return -ENOMEM;
    }
    *address = (struct rv_address){.type = SOCK_STREAM};
    *dir_fdp = -1;
    int rc = 0;
    if (rv_str_copy(address->u.un.sun_path, sizeof address->u.un.sun_path,
                    full ? full : path)) {
        set_path(address, strlen(address->u.un.sun_path));
    } else {
        rc = set_long_path(full ? full : path, address, dir_fdp);
    }
    free(full);
    return rc;
}

void
rv__socket_set_nodelay(int fd)
{
    /* Fails on a unix socket, which needs none of this. */
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int
rv__socket_connect(const struct rv_address *address, int dscp, int *fdp)
{
    int family = address->u.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int rc = rv_fd_set_dscp(fd, dscp);
    if (!rc && family != AF_UNIX) {
        rv__socket_set_nodelay(fd);
    }
    if (!rc && connect(fd, &address->u.any, address->length)
        && errno != EINPROGRESS) {
        /* A unix socket whose queue is full says EAGAIN, but offers nothing
         * to wait for. */
        rc = errno == EAGAIN && family == AF_UNIX ? -ECONNREFUSED : -errno;
    }
    if (rc) {
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

/* Whether a socket met itself, as may happen when a port of the local range
 * is tried on which nobody listens. */
static bool
is_connected_to_itself(int fd)
{
    struct rv_address own = {.length = sizeof own.u};
    struct rv_address peer = {.length = sizeof peer.u};
    if (getsockname(fd, &own.u.any, &own.length)
        || own.u.any.sa_family == AF_UNIX
        || getpeername(fd, &peer.u.any, &peer.length)) {
        return false;
    }
    return own.length == peer.length && !memcmp(&own.u, &peer.u, own.length);
}

int
rv__socket_check(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
    int n = poll(&pollfd, 1, 0);
    if (n <= 0) {
        return n && errno != EINTR ? -errno : -EAGAIN;
    }
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length)) {
        return -errno;
    }
    if (code) {
        return -code;
    }
    return is_connected_to_itself(fd) ? -ECONNREFUSED : 0;
}

ssize_t
rv__socket_recv(int fd, void *data, size_t n)
{
    ssize_t got;
    do {
        got = recv(fd, data, n, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

ssize_t
rv__socket_send(int fd, const void *data, size_t n)
{
    ssize_t sent;
    do {
        sent = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}
