#include "net/name.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/str.h"

struct scheme {
    const char *prefix;
    enum rv_stream_kind kind;
    bool is_passive;
};

static const struct scheme schemes[] = {
    {"tcp:", RV_STREAM_TCP, false},   {"ssl:", RV_STREAM_SSL, false},
    {"unix:", RV_STREAM_UNIX, false}, {"fd:", RV_STREAM_FD, false},
    {"ptcp:", RV_STREAM_TCP, true},   {"pssl:", RV_STREAM_SSL, true},
    {"punix:", RV_STREAM_UNIX, true}, {"pfd:", RV_STREAM_FD, true},
};

/* A piece of a text. */
struct piece {
    const char *start;
    size_t length;
};

static struct piece
unbracket(struct piece piece)
{
    if (piece.length >= 2 && piece.start[0] == '['
        && piece.start[piece.length - 1] == ']') {
        return (struct piece){piece.start + 1, piece.length - 2};
    }
    return piece;
}

/* Cuts 'rest' at its only colon outside brackets.  With several of them it is
 * an IPv6 address without brackets, and all of it the first piece. */
static void
cut(const char *rest, struct piece *first, struct piece *second)
{
    const char *colon = NULL;
    bool is_in_brackets = false;
    size_t n_colons = 0;
    for (const char *p = rest; *p; p++) {
        if (*p == '[') {
            is_in_brackets = true;
        } else if (*p == ']') {
            is_in_brackets = false;
        } else if (*p == ':' && !is_in_brackets) {
            n_colons++;
            colon = p;
        }
    }
    *first = (struct piece){rest, strlen(rest)};
    *second = (struct piece){NULL, 0};
    if (n_colons == 1) {
        first->length = (size_t)(colon - rest);
        *second = (struct piece){colon + 1, strlen(colon + 1)};
    }
}

static int
parse_number(struct piece piece, int64_t max, int64_t *numberp)
{
    char text[16];
    if (!piece.length || piece.length >= sizeof text) {
        return -EINVAL;
    }
    memcpy(text, piece.start, piece.length);
    text[piece.length] = '\0';
    int64_t number;
    int rc = rv_str_parse_integer(text, &number);
    if (rc || number < 0 || number > max) {
        return -EINVAL;
    }
    *numberp = number;
    return 0;
}

static int
parse_port(const char *text, struct piece piece, uint16_t default_port,
           struct rv_stream_name *name, struct rv_error *error)
{
    int64_t port = default_port;
    if (piece.length && parse_number(piece, UINT16_MAX, &port)) {
        return rv_error_set(error, -EINVAL,
                            "%s: \"%.*s\" is not a port; write a number from "
                            "0 to 65535",
                            text, (int)piece.length, piece.start);
    }
    name->port = (uint16_t)port;
    return 0;
}

/* The number of the interface behind the percent sign, or 0. */
static uint32_t
find_scope(const char *text)
{
    int64_t number;
    if (!rv_str_parse_integer(text, &number)) {
        return number > 0 && number <= UINT32_MAX ? (uint32_t)number : 0;
    }
    return if_nametoindex(text);
}

static int
set_ipv6(const char *text, struct rv_stream_name *name, struct rv_error *error)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(name->port)};
    char host[RV_STREAM_HOST];
    rv_str_copy(host, sizeof host, name->host);
    char *scope = strchr(host, '%');
    if (scope) {
        *scope++ = '\0';
        in6.sin6_scope_id = find_scope(scope);
        if (!in6.sin6_scope_id) {
            return rv_error_set(error, -EINVAL,
                                "%s: there is no network interface \"%s\"",
                                text, scope);
        }
    }
    if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1) {
        return rv_error_set(error, -EINVAL,
                            "%s: \"%s\" is not an IPv6 address", text, host);
    }
    name->is_numeric = true;
    name->address = (struct rv_address){
        .type = SOCK_STREAM, .length = sizeof in6, .u.in6 = in6};
    return 0;
}

/* Tells an IPv4 address from a host name. */
static void
set_ipv4(struct rv_stream_name *name)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(name->port)};
    if (!name->host[0]) {
        in.sin_addr.s_addr = htonl(INADDR_ANY);
    } else if (inet_pton(AF_INET, name->host, &in.sin_addr) != 1) {
        return;
    }
    name->is_numeric = true;
    name->address = (struct rv_address){
        .type = SOCK_STREAM, .length = sizeof in, .u.in = in};
}

/* A name that could be one: no control character, no space, no bracket. */
static bool
is_host_name(const char *host)
{
    for (; *host; host++) {
        unsigned char c = (unsigned char)*host;
        if (c <= ' ' || c == 0x7f || strchr("[]%/@", c)) {
            return false;
        }
    }
    return true;
}

static int
parse_host(const char *text, struct piece piece, struct rv_stream_name *name,
           struct rv_error *error)
{
    piece = unbracket(piece);
    if (piece.length >= sizeof name->host) {
        return rv_error_set(error, -EINVAL,
                            "the host name has %zu bytes; "
                            "at most %zu are possible",
                            piece.length, sizeof name->host - 1);
    }
    memcpy(name->host, piece.start, piece.length);
    name->host[piece.length] = '\0';
    if (strchr(name->host, ':')) {
        return set_ipv6(text, name, error);
    }
    if (!name->host[0] && !name->is_passive) {
        return rv_error_set(error, -EINVAL,
                            "%s: the host is missing; write one such as "
                            "tcp:127.0.0.1:6640",
                            text);
    }
    set_ipv4(name);
    if (!name->is_numeric && name->is_passive) {
        return rv_error_set(error, -EINVAL,
                            "%s: \"%s\" is not an address to listen on; "
                            "write one such as ptcp:6640:127.0.0.1",
                            text, name->host);
    }
    if (!name->is_numeric && !is_host_name(name->host)) {
        return rv_error_set(error, -EINVAL, "%s: \"%s\" is not a host name",
                            text, name->host);
    }
    return 0;
}

static int
parse_inet(const char *text, const char *rest, uint16_t default_port,
           struct rv_stream_name *name, struct rv_error *error)
{
    struct piece host, port;
    if (name->is_passive) {
        cut(rest, &port, &host);
        /* What holds colons but no cut is an address without a port. */
        if (!host.start && memchr(port.start, ':', port.length)) {
            host = port;
            port = (struct piece){NULL, 0};
        }
    } else {
        cut(rest, &host, &port);
    }
    int rc = parse_port(text, unbracket(port), default_port, name, error);
    if (rc) {
        return rc;
    }
    if (!host.start) {
        host.start = "";
    }
    return parse_host(text, host, name, error);
}

static int
parse_fd(const char *text, const char *rest, struct rv_stream_name *name,
         struct rv_error *error)
{
    struct piece piece = {rest, strlen(rest)};
    int64_t fd;
    if (parse_number(piece, INT32_MAX, &fd)) {
        return rv_error_set(error, -EINVAL,
                            "%s: \"%s\" is not the number of a descriptor",
                            text, rest);
    }
    name->fd = (int)fd;
    return 0;
}

static int
parse_rest(const char *text, const char *rest, uint16_t default_port,
           struct rv_stream_name *name, struct rv_error *error)
{
    switch (name->kind) {
    case RV_STREAM_TCP:
    case RV_STREAM_SSL:
        return parse_inet(text, rest, default_port, name, error);
    case RV_STREAM_FD:
        return parse_fd(text, rest, name, error);
    case RV_STREAM_UNIX:
    default:
        name->path = rest;
        return *rest ? 0
                     : rv_error_set(error, -EINVAL,
                                    "%s: the path of the socket is missing",
                                    text);
    }
}

int
rv_stream_name_parse(const char *text, uint16_t default_port,
                     struct rv_stream_name *name, struct rv_error *error)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(schemes); i++) {
        size_t length = strlen(schemes[i].prefix);
        if (strncmp(text, schemes[i].prefix, length) != 0) {
            continue;
        }
        struct rv_stream_name parsed = {.kind = schemes[i].kind,
                                        .is_passive = schemes[i].is_passive,
                                        .fd = -1};
        int rc = parse_rest(text, text + length, default_port, &parsed, error);
        if (!rc) {
            *name = parsed;
        }
        return rc;
    }
    return rv_error_set(error, -EAFNOSUPPORT,
                        "\"%s\" names no way to connect; write tcp:, ssl:, "
                        "unix: or fd:, or ptcp:, pssl:, punix: or pfd:",
                        text);
}
