#include "reeve/log_outputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"
#include "reeve/coverage.h"
#include "os/fd.h"

enum { PREFIX_BYTES = 256, FORMATTED_BYTES = 5120, ROOM = 64 };

RV_COVERAGE_DEFINE(log_syslog_dropped);

/* What syslog(3) puts before a message. */
static const char usual_prefix[] = "<%B>%d{%b %e %T} %A: ";

struct log_syslog {
    int fd; /* -1 while not connected. */
    struct sockaddr_un address;
    char prefix[PREFIX_BYTES];
};

static int
connect_again(struct log_syslog *syslog)
{
    rv_fd_close(&syslog->fd);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&syslog->address,
                sizeof syslog->address)) {
        int rc = -errno;
        rv_fd_close(&fd);
        return rc;
    }
    syslog->fd = fd;
    return 0;
}

/* Sends one datagram, by a new connection if the one there is was lost. */
static int
send_datagram(struct log_syslog *syslog, const char *data, size_t length)
{
    bool is_new = syslog->fd < 0;
    int rc = is_new ? connect_again(syslog) : 0;
    while (!rc) {
        if (send(syslog->fd, data, length, MSG_NOSIGNAL) >= 0) {
            return 0;
        }
        if (errno == EMSGSIZE && length > ROOM) {
            length -= length / 4;
            continue;
        }
        bool is_lost = errno != EAGAIN && errno != EMSGSIZE && errno != ENOBUFS
                       && errno != EINTR;
        if (is_new || !is_lost) {
            return -errno;
        }
        is_new = true;
        rc = connect_again(syslog);
    }
    return rc;
}

static void
write_line(const struct rv_log_line *line, void *syslog_)
{
    struct log_syslog *syslog = syslog_;
    char text[FORMATTED_BYTES];
    size_t n_prefix = rv_log_format(syslog->prefix, line, text, PREFIX_BYTES);
    size_t length = n_prefix
                    + rv_log_format(rv_log_get_pattern(RV_LOG_SYSLOG), line,
                                    text + n_prefix, sizeof text - n_prefix);
    char *end = text + length;
    /* Each part is sent with the prefix moved to just before it. */
    for (char *part = text + n_prefix; part < end;) {
        size_t n = strcspn(part, "\n");
        char *start = part - n_prefix;
        memmove(start, text, n_prefix);
        if (n && send_datagram(syslog, start, n_prefix + n)) {
            RV_COVERAGE_INC(log_syslog_dropped);
        }
        memmove(text, start, n_prefix);
        part += n + 1;
    }
}

static void
close_syslog(void *syslog_)
{
    struct log_syslog *syslog = syslog_;
    rv_fd_close(&syslog->fd);
}

static int
reopen_syslog(void *syslog)
{
    close_syslog(syslog);
    return 0; /* The next line connects. */
}

int
rv_log_open_syslog(const char *path, const char *prefix,
                   struct rv_error *error)
{
    path = path ? path : "/dev/log";
    struct log_syslog *syslog = calloc(1, sizeof *syslog);
    if (!syslog) {
        return rv_error_errno(error, -ENOMEM, "system log %s", path);
    }
    syslog->fd = -1;
    syslog->address.sun_family = AF_UNIX;
    if (!rv_str_copy(syslog->address.sun_path, sizeof syslog->address.sun_path,
                     path)
        || !rv_str_copy(syslog->prefix, sizeof syslog->prefix,
                        prefix ? prefix : usual_prefix)) {
        free(syslog);
        return rv_error_errno(error, -ENAMETOOLONG, "system log %s", path);
    }
    RV_COVERAGE_REGISTER(log_syslog_dropped);
    struct rv_log_outlet outlet = {
        .write = write_line,
        .reopen = reopen_syslog,
        .close = close_syslog,
        .destroy = free,
        .prefix = syslog->prefix,
        .context = syslog,
    };
    rv_log_set_outlet(RV_LOG_SYSLOG, &outlet);
    return 0;
}
