/* Listeners: one implementation for all transports, as they differ only in
 * how they are opened and in what becomes of a connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/name.h"
#include "net/provider.h"
#include "net/socket.h"
#include "reeve/coverage.h"
#include "reeve/fatal_signal.h"
#include "reeve/stream.h"
#include "os/fd.h"
#include "os/listen.h"

RV_COVERAGE_DEFINE(pstream_accepted);
RV_COVERAGE_DEFINE(pstream_accept_failed);

struct rv_pstream {
    int fd;
    enum rv_stream_kind kind;
    char *name;
    char *path; /* Of the file that was made; NULL without one. */
    dev_t path_device;
    ino_t path_inode;
    uint16_t port;
    uint64_t n_unnamed; /* Peers that have no name. */
    int dscp;
    int connect_ms;
    struct rv_tls_config *tls;
};

/* Text of an address. */

enum { TEXT_BYTES = 192 };

static void
format_host(const struct rv_address *address, char text[TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    char scope[IF_NAMESIZE + 1] = "";
    if (address->u.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->u.in.sin_addr, host, sizeof host);
        snprintf(text, TEXT_BYTES, "%s", host);
        return;
    }
    const struct sockaddr_in6 *in6 = &address->u.in6;
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    if (in6->sin6_scope_id) {
        scope[0] = '%';
        if (!if_indextoname(in6->sin6_scope_id, scope + 1)) {
            snprintf(scope, sizeof scope, "%%%u",
                     (unsigned int)in6->sin6_scope_id);
        }
    }
    snprintf(text, TEXT_BYTES, "[%s%s]", host, scope);
}

/* The name of an accepted peer. */
static void
format_peer(struct rv_pstream *pstream, const struct rv_address *peer,
            char text[TEXT_BYTES])
{
    char host[TEXT_BYTES];
    size_t path_start = offsetof(struct sockaddr_un, sun_path);
    switch (peer->u.any.sa_family) {
    case AF_INET:
    case AF_INET6:
        format_host(peer, host);
        snprintf(text, TEXT_BYTES, "%s:%.100s:%d",
                 pstream->kind == RV_STREAM_SSL ? "ssl" : "tcp", host,
                 rv_address_port(peer));
        return;
    default:
        break;
    }
    if (peer->length > path_start && peer->u.un.sun_path[0]) {
        snprintf(text, TEXT_BYTES, "unix:%.*s",
                 (int)(peer->length - path_start), peer->u.un.sun_path);
    } else {
        snprintf(text, TEXT_BYTES, "unix#%llu",
                 (unsigned long long)pstream->n_unnamed++);
    }
}

/* Opening. */

static int
listen_on(struct rv_pstream *pstream, struct rv_address *address,
          const struct rv_stream_options *options)
{
    struct rv_listen_options listen_options = {
        .backlog = options->backlog ? options->backlog : RV_STREAM_BACKLOG,
        .mode = options->mode ? options->mode : -1,
        .dscp = options->dscp,
    };
    return rv_listen_open(address, &listen_options, &pstream->fd, NULL);
}

static int
open_inet(struct rv_pstream *pstream, const struct rv_stream_name *name,
          const struct rv_stream_options *options)
{
    struct rv_address address = name->address;
    char host[TEXT_BYTES];
    int rc = listen_on(pstream, &address, options);
    if (rc) {
        return rc;
    }
    pstream->port = (uint16_t)rv_address_port(&address);
    format_host(&address, host);
    free(pstream->name);
    if (asprintf(&pstream->name, "%s:%d:%s",
                 pstream->kind == RV_STREAM_SSL ? "pssl" : "ptcp",
                 pstream->port, host)
        < 0) {
        pstream->name = NULL;
        return -ENOMEM;
    }
    return 0;
}

/* Notes which file was made, to remove no other one later. */
static int
note_file(struct rv_pstream *pstream, const char *path,
          const struct rv_stream_options *options)
{
    const char *rundir = options->rundir;
    struct stat info;
    int n = path[0] != '/' && rundir
                ? asprintf(&pstream->path, "%s/%s", rundir, path)
                : asprintf(&pstream->path, "%s", path);
    if (n < 0) {
        pstream->path = NULL;
        return -ENOMEM;
    }
    if (lstat(pstream->path, &info)) {
        return -errno;
    }
    pstream->path_device = info.st_dev;
    pstream->path_inode = info.st_ino;
    if (!options->leaves_signals) {
        /* Without it the file would only stay longer. */
        int rc = rv_fatal_signal_add_file(pstream->path);
        (void)rc;
    }
    return 0;
}

static int
open_unix(struct rv_pstream *pstream, const struct rv_stream_name *name,
          const struct rv_stream_options *options)
{
    struct rv_address address;
    int dir_fd = -1;
    int rc = rv__socket_unix_address(name->path, options->rundir, &address,
                                     &dir_fd);
    if (!rc) {
        rc = listen_on(pstream, &address, options);
    }
    rv_fd_close(&dir_fd);
    return rc ? rc : note_file(pstream, name->path, options);
}

static int
open_fd(struct rv_pstream *pstream, int fd)
{
    int is_listening = 0;
    socklen_t length = sizeof is_listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length)) {
        return -errno;
    }
    if (!is_listening) {
        return -EINVAL;
    }
    struct rv_address address = {.length = sizeof address.u};
    if (getsockname(fd, &address.u.any, &address.length)) {
        return -errno;
    }
    int rc = rv_fd_set_cloexec(fd, true);
    if (!rc) {
        rc = rv_fd_set_nonblocking(fd, true);
    }
    if (!rc) {
        pstream->fd = fd;
        pstream->port = (uint16_t)rv_address_port(&address);
    }
    return rc;
}

static int
start(struct rv_pstream *pstream, const struct rv_stream_name *name,
      const struct rv_stream_options *options)
{
    switch (name->kind) {
    case RV_STREAM_UNIX:
        return open_unix(pstream, name, options);
    case RV_STREAM_FD:
        return open_fd(pstream, name->fd);
    case RV_STREAM_TCP:
    case RV_STREAM_SSL:
    default:
        return open_inet(pstream, name, options);
    }
}

static int
check(const char *text, const struct rv_stream_name *name,
      const struct rv_stream_options *options, struct rv_error *error)
{
    if (!name->is_passive) {
        return rv_error_set(error, -EAFNOSUPPORT,
                            "%s: a name to connect to, where one to listen "
                            "on belongs; write p%s",
                            text, text);
    }
    if (options->dscp < 0 || options->dscp > 63) {
        return rv_error_set(error, -EINVAL,
                            "%s: dscp %d is not between 0 and 63", text,
                            options->dscp);
    }
    if (name->kind == RV_STREAM_SSL) {
        if (!options->tls) {
            return rv__tls_explain_missing(text, error);
        }
        int rc =
            rv__tls_methods(options->tls)->check_server(options->tls, error);
        if (rc) {
            rv_error_wrap(error, "%s", text);
        }
        return rc;
    }
    return 0;
}

static int
create(const char *text, const struct rv_stream_name *name,
       const struct rv_stream_options *options, struct rv_pstream **pstreamp)
{
    struct rv_pstream *pstream = calloc(1, sizeof *pstream);
    if (!pstream) {
        return -ENOMEM;
    }
    pstream->fd = -1;
    pstream->kind = name->kind;
    pstream->dscp = options->dscp;
    pstream->connect_ms = options->connect_ms;
    pstream->name = strdup(text);
    if (name->kind == RV_STREAM_SSL) {
        pstream->tls = rv__tls_methods(options->tls)->ref(options->tls);
    }
    int rc = pstream->name ? start(pstream, name, options) : -ENOMEM;
    if (rc) {
        rv_pstream_close(pstream);
        return rc;
    }
    *pstreamp = pstream;
    return 0;
}

int
rv_pstream_open(const char *name, const struct rv_stream_options *options,
                struct rv_pstream **pstreamp, struct rv_error *error)
{
    uint16_t port =
        options->default_port ? options->default_port : RV_STREAM_PORT;
    struct rv_stream_name parsed;
    int rc = rv_stream_name_parse(name, port, &parsed, error);
    if (!rc) {
        rc = check(name, &parsed, options, error);
    }
    if (rc) {
        return rc;
    }
    RV_COVERAGE_REGISTER(pstream_accepted);
    RV_COVERAGE_REGISTER(pstream_accept_failed);
    rc = create(name, &parsed, options, pstreamp);
    if (rc) {
        rv_error_errno(error, rc, "cannot listen on %s", name);
    }
    return rc;
}

static void
remove_file(const struct rv_pstream *pstream)
{
    struct stat info;
    if (!lstat(pstream->path, &info) && S_ISSOCK(info.st_mode)
        && info.st_dev == pstream->path_device
        && info.st_ino == pstream->path_inode) {
        unlink(pstream->path);
    }
}

void
rv_pstream_close(struct rv_pstream *pstream)
{
    if (!pstream) {
        return;
    }
    if (pstream->path) {
        rv_fatal_signal_remove_file(pstream->path);
        remove_file(pstream);
    }
    rv_fd_close(&pstream->fd);
    if (pstream->tls) {
        rv__tls_methods(pstream->tls)->unref(pstream->tls);
    }
    free(pstream->path);
    free(pstream->name);
    free(pstream);
}

/* Accepting. */

/* Errors of a connection that broke before it was taken (accept(2) of Linux
 * passes the errors of the network on). */
static bool
is_broken(int code)
{
    switch (code) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static int
accept_fd(const struct rv_pstream *pstream, struct rv_address *peer, int *fdp)
{
    for (;;) {
        *peer = (struct rv_address){.length = sizeof peer->u};
        int fd = accept4(pstream->fd, &peer->u.any, &peer->length,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            RV_COVERAGE_INC(pstream_accepted);
            *fdp = fd;
            return 0;
        }
        if (!is_broken(errno)) {
            if (errno != EAGAIN) {
                RV_COVERAGE_INC(pstream_accept_failed);
            }
            return -errno;
        }
    }
}

int
rv_pstream_accept(struct rv_pstream *pstream, struct rv_stream **streamp)
{
    struct rv_address peer;
    char name[TEXT_BYTES];
    int fd = -1;
    int rc = accept_fd(pstream, &peer, &fd);
    if (rc) {
        return rc;
    }
    format_peer(pstream, &peer, name);
    if (peer.u.any.sa_family != AF_UNIX) {
        rv__socket_set_nodelay(fd);
        /* Linux copies it from the listener, unless told to reflect the
         * peer's.  A mark that cannot be set is no reason to refuse. */
        (void)rv_fd_set_dscp(fd, pstream->dscp);
    }
    rc = pstream->kind == RV_STREAM_SSL
             ? rv__tls_methods(pstream->tls)
                   ->accept(fd, name, pstream->tls, streamp)
             : rv__socket_accept(fd, name, streamp);
    if (rc) {
        rv_fd_close(&fd);
        return rc;
    }
    rv__stream_limit(*streamp, pstream->connect_ms);
    return 0;
}

int
rv_pstream_fd(const struct rv_pstream *pstream)
{
    return pstream->fd;
}

const char *
rv_pstream_name(const struct rv_pstream *pstream)
{
    return pstream->name;
}

uint16_t
rv_pstream_port(const struct rv_pstream *pstream)
{
    return pstream->port;
}
