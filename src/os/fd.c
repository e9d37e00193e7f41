#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

void
rv_fd_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
        *fd = -1;
    }
}

static int
set_flag(int fd, int get, int set, int flag, bool on)
{
    int flags = fcntl(fd, get);
    if (flags < 0) {
        return -errno;
    }
    int wanted = on ? flags | flag : flags & ~flag;
    return wanted == flags || !fcntl(fd, set, wanted) ? 0 : -errno;
}

int
rv_fd_set_cloexec(int fd, bool on)
{
    return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int
rv_fd_set_nonblocking(int fd, bool on)
{
    return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int
rv_fd_set_dscp(int fd, int dscp)
{
    if (dscp < 0 || dscp > 63) {
        return -EINVAL;
    }
    int family = AF_UNSPEC;
    socklen_t length = sizeof family;
    if (!dscp || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length)) {
        return 0;
    }
    /* The code point is the upper six bits of the byte.  A socket of IPv6 may
     * carry IPv4 as well. */
    int value = dscp << 2;
    int rc = 0;
    if (family == AF_INET6) {
        rc = setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof value);
    }
    if (!rc && (family == AF_INET6 || family == AF_INET)) {
        rc = setsockopt(fd, IPPROTO_IP, IP_TOS, &value, sizeof value);
    }
    return rc ? -errno : 0;
}

int
rv_fd_write_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return -errno;
        }
        p += written;
        n -= (size_t)written;
    }
    return 0;
}

int
rv_fd_read_all(int fd, struct rv_buf *buf)
{
    char piece[4096];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        int rc = n > 0 ? rv_buf_put(buf, piece, (size_t)n) : 0;
        if (rc) {
            return rc;
        }
    }
}

int
rv_file_read(const char *path, struct rv_buf *buf)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    int rc = rv_fd_read_all(fd, buf);
    rv_fd_close(&fd);
    return rc;
}

int
rv_memfd_create(const char *name, const void *data, size_t n, int *fdp)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    int rc = rv_fd_write_all(fd, data, n);
    if (!rc
        && fcntl(fd, F_ADD_SEALS,
                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)) {
        rc = -errno;
    }
    if (rc) {
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

int
rv_packet_pair(int fds[2])
{
    int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
    return socketpair(AF_UNIX, type, 0, fds) ? -errno : 0;
}

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int
rv_packet_send(int fd, const void *data, size_t n, int passed_fd)
{
    union control control = {.header.cmsg_len = 0};
    /* sendmsg() does not write through iov_base. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = n};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (passed_fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed_fd, sizeof passed_fd);
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static int
take_fd(struct msghdr *message)
{
    int fd = -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS
            && header->cmsg_len >= CMSG_LEN(sizeof(int))) {
            memcpy(&fd, CMSG_DATA(header), sizeof fd);
        }
    }
    return fd;
}

ssize_t
rv_packet_receive(int fd, void *data, size_t n, int *passed_fdp)
{
    union control control;
    struct iovec iov = {.iov_base = data, .iov_len = n};
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t got;
    do {
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    int passed_fd = take_fd(&message);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        rv_fd_close(&passed_fd);
        return -EMSGSIZE;
    }
    *passed_fdp = passed_fd;
    return got;
}
