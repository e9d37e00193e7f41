#include "os/listen.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fd.h"

/* Whether a unix socket's file has nobody behind it, and may be replaced. */
static bool
is_stale_socket(const struct rv_address *address)
{
    struct stat info;
    if (lstat(address->u.un.sun_path, &info) || !S_ISSOCK(info.st_mode)) {
        return false;
    }
    int type = address->type | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(AF_UNIX, type, 0);
    if (fd < 0) {
        return false;
    }
    bool refused =
        connect(fd, &address->u.any, address->length) && errno == ECONNREFUSED;
    rv_fd_close(&fd);
    return refused;
}

static int
bind_address(int fd, const struct rv_address *address)
{
    if (!bind(fd, &address->u.any, address->length)) {
        return 0;
    }
    int rc = -errno;
    if (rc == -EADDRINUSE && address->u.any.sa_family == AF_UNIX
        && is_stale_socket(address)) {
        unlink(address->u.un.sun_path);
        rc = bind(fd, &address->u.any, address->length) ? -errno : 0;
    }
    return rc;
}

static int
set_options(int fd, const struct rv_address *address, bool reuseport)
{
    int on = 1, off = 0;
    int family = address->u.any.sa_family;
    if (family == AF_UNIX) {
        return 0;
    }
    if (address->type == SOCK_STREAM
        && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) {
        return -errno;
    }
    if (reuseport
        && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) {
        return -errno;
    }
    if (family == AF_INET6
        && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)) {
        return -errno;
    }
    return 0;
}

static int
prepare(int fd, const struct rv_address *address,
        const struct rv_listen_options *options)
{
    int rc = set_options(fd, address, options->reuseport);
    if (!rc) {
        rc = rv_fd_set_dscp(fd, options->dscp);
    }
    if (!rc) {
        rc = bind_address(fd, address);
    }
    if (!rc && address->u.any.sa_family == AF_UNIX && options->mode >= 0
        && chmod(address->u.un.sun_path, (mode_t)options->mode)) {
        rc = -errno;
    }
    if (!rc && address->type == SOCK_STREAM && listen(fd, options->backlog)) {
        rc = -errno;
    }
    return rc;
}

int
rv_listen_open(struct rv_address *address,
               const struct rv_listen_options *options, int *fdp,
               struct rv_error *error)
{
    char text[RV_ADDRESS_TEXT];
    rv_address_format(address, text);
    int type = address->type | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->u.any.sa_family, type, 0);
    if (fd < 0) {
        return rv_error_errno(error, -errno, "cannot open a socket for %s",
                              text);
    }
    int rc = prepare(fd, address, options);
    if (rc) {
        rv_fd_close(&fd);
        return rv_error_errno(error, rc, "cannot listen on %s", text);
    }
    if (address->u.any.sa_family != AF_UNIX) {
        socklen_t length = sizeof address->u;
        getsockname(fd, &address->u.any, &length);
    }
    *fdp = fd;
    return 0;
}

bool
rv_listen_matches(int fd, const struct rv_address *address)
{
    struct rv_address bound = {.length = sizeof bound.u};
    socklen_t size = sizeof bound.type;
    if (getsockname(fd, &bound.u.any, &bound.length)
        || getsockopt(fd, SOL_SOCKET, SO_TYPE, &bound.type, &size)) {
        return false;
    }
    char wanted[RV_ADDRESS_TEXT], found[RV_ADDRESS_TEXT];
    rv_address_format(address, wanted);
    rv_address_format(&bound, found);
    return !strcmp(wanted, found);
}

int
rv_listen_set_backlog(int fd, int backlog)
{
    return listen(fd, backlog) ? -errno : 0;
}

int
rv_listen_queue_length(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size)) {
        return -errno;
    }
    /* For a listening socket the kernel reports its accept queue here. */
    return (int)info.tcpi_unacked;
}

int
rv_listen_steer(int fd, int n)
{
    int type = 0, on = 1;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) {
        return -errno;
    }
    if (!n) {
        int rc = setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &on,
                            sizeof on);
        return rc && errno != ENOENT ? -errno : 0;
    }
    /* A connection may go anywhere; datagrams of one peer should not be
     * scattered, so they go by their flow's hash. */
    uint32_t source = type == SOCK_STREAM ? SKF_AD_RANDOM : SKF_AD_RXHASH;
    struct sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)SKF_AD_OFF + source},
        {BPF_ALU | BPF_MOD | BPF_K, 0, 0, (uint32_t)n},
        {BPF_RET | BPF_A, 0, 0, 0},
    };
    struct sock_fprog program = {RV_ARRAY_SIZE(code), code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
                      sizeof program)
               ? -errno
               : 0;
}
