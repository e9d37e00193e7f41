#include "os/notify.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/fd.h"

int
rv_notify_name(int fd, char name[RV_NOTIFY_NAME])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length)) {
        return -errno;
    }
    size_t n = length - offsetof(struct sockaddr_un, sun_path);
    if (n < 2 || n > RV_NOTIFY_NAME - 1 || address.sun_path[0]) {
        return -EINVAL;
    }
    name[0] = '@';
    memcpy(name + 1, address.sun_path + 1, n - 1);
    name[n] = '\0';
    return 0;
}

int
rv_notify_open(int *fdp, char name[RV_NOTIFY_NAME])
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    sa_family_t family = AF_UNIX;
    struct sockaddr_un address = {.sun_family = family};
    int rc = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on)
        || bind(fd, (struct sockaddr *)&address, sizeof family)) {
        rc = -errno;
    }
    if (!rc) {
        rc = rv_notify_name(fd, name);
    }
    if (rc) {
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

static void
copy_status(const char *text, size_t length, struct rv_notify *notify)
{
    length = RV_MIN(length, sizeof notify->status - 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        notify->status[i] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
    }
    notify->status[length] = '\0';
    notify->has_status = true;
}

static bool
is_text(const char *line, size_t length, const char *text)
{
    return length == strlen(text) && !memcmp(line, text, length);
}

static bool
has_key(const char *line, size_t length, const char *key)
{
    return length >= strlen(key) && !memcmp(line, key, strlen(key));
}

/* A decimal number, 0 if it is none; too large ones are held at a day. */
static uint64_t
parse_usec(const char *digits, size_t length)
{
    const uint64_t maximum = UINT64_C(86400000000);
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)digits[i])) {
            return 0;
        }
        value = RV_MIN(value * 10 + (uint64_t)(digits[i] - '0'), maximum);
    }
    return value;
}

static void
parse_line(const char *line, size_t length, struct rv_notify *notify)
{
    static const char extend[] = "EXTEND_TIMEOUT_USEC=";
    static const char status[] = "STATUS=";
    if (is_text(line, length, "READY=1")) {
        notify->is_ready = true;
    } else if (is_text(line, length, "RELOADING=1")) {
        notify->is_reloading = true;
    } else if (is_text(line, length, "STOPPING=1")) {
        notify->is_stopping = true;
    } else if (is_text(line, length, "WATCHDOG=1")) {
        notify->is_watchdog = true;
    } else if (is_text(line, length, "WATCHDOG=trigger")) {
        notify->is_trigger = true;
    } else if (has_key(line, length, "MAINPID=")) {
        /* Who names itself asks for nothing. */
        notify->has_mainpid =
            parse_usec(line + 8, length - 8) != (uint64_t)notify->sender;
    } else if (has_key(line, length, status)) {
        copy_status(line + sizeof status - 1, length - (sizeof status - 1),
                    notify);
    } else if (has_key(line, length, extend)) {
        notify->extend_usec =
            parse_usec(line + sizeof extend - 1, length - (sizeof extend - 1));
    } else if (length && !is_text(line, length, "BARRIER=1")) {
        notify->n_unknown++;
    }
}

void
rv_notify_parse(const char *text, size_t length, struct rv_notify *notify)
{
    pid_t sender = notify->sender;
    *notify = (struct rv_notify){.sender = sender};
    const char *end = text + length;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        parse_line(text, (size_t)(stop - text), notify);
        text = stop + 1;
    }
}

static void
close_passed(const struct cmsghdr *header)
{
    size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        close(fd);
    }
}

/* The sender's pid, or 0.  Descriptors sent along are closed. */
static pid_t
read_control(struct msghdr *message)
{
    pid_t sender = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET) {
            continue;
        }
        if (header->cmsg_type == SCM_RIGHTS) {
            close_passed(header);
        } else if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
            sender = credentials.pid;
        }
    }
    return sender;
}

int
rv_notify_receive(int fd, struct rv_notify *notify)
{
    char text[RV_NOTIFY_BYTES];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))
                   + CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) {
        return errno == EINTR ? -EAGAIN : -errno;
    }
    pid_t sender = read_control(&message);
    if (!sender || (message.msg_flags & MSG_TRUNC)) {
        return -EBADMSG;
    }
    notify->sender = sender;
    rv_notify_parse(text, (size_t)n, notify);
    return 0;
}

int
rv_notify_connect(int *fdp)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = name ? strlen(name) : 0;
    if (!n) {
        return -ENOENT;
    }
    if ((name[0] != '/' && name[0] != '@') || n >= sizeof address.sun_path) {
        return -EINVAL;
    }
    memcpy(address.sun_path, name, n);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (connect(fd, (struct sockaddr *)&address, length)) {
        int rc = -errno;
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

void
rv_notify_send(const char *text)
{
    int fd = -1;
    if (!rv_notify_connect(&fd)) {
        send(fd, text, strlen(text), MSG_NOSIGNAL);
        rv_fd_close(&fd);
    }
}
