#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* What a prefix says about the rest of an address. */
struct scheme {
    const char *prefix;
    int type;
    int (*parse)(const char *rest, struct rv_address *, struct rv_error *);
};

static const char forms[] =
    "write a port such as 8080, 127.0.0.1:8080, [::1]:8080, unix:/run/x.sock "
    "or udp:8080";

static int
parse_port(const char *text, uint16_t *portp, struct rv_error *error)
{
    int64_t port;
    if (rv_str_parse_integer(text, &port) || port < 0 || port > 65535) {
        return rv_error_set(error, -EINVAL,
                            "\"%s\" is not a port; write a number from 0 to "
                            "65535",
                            text);
    }
    *portp = (uint16_t)port;
    return 0;
}

static void
set_ipv4(struct rv_address *address, struct in_addr host, uint16_t port)
{
    address->length = sizeof address->u.in;
    address->u.in = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = host, .sin_port = htons(port)};
}

static int
parse_ipv4(const char *host, uint16_t port, struct rv_address *address,
           struct rv_error *error)
{
    struct in_addr in = {.s_addr = htonl(INADDR_ANY)};
    if (strcmp(host, "*") != 0 && inet_pton(AF_INET, host, &in) != 1) {
        return rv_error_set(error, -EINVAL,
                            "\"%s\" is not an IPv4 address, and names are "
                            "not resolved; write one such as 127.0.0.1, or * "
                            "for all",
                            host);
    }
    set_ipv4(address, in, port);
    return 0;
}

/* The number of the interface that a link-local address names after its
 * percent sign; 0 if there is none. */
static uint32_t
parse_scope(const char *text)
{
    int64_t number;
    if (!rv_str_parse_integer(text, &number)) {
        return number > 0 && number <= UINT32_MAX ? (uint32_t)number : 0;
    }
    return if_nametoindex(text);
}

static int
parse_ipv6(char *host, uint16_t port, struct rv_address *address,
           struct rv_error *error)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(port)};
    char *scope = strchr(host, '%');
    if (scope) {
        *scope++ = '\0';
        in6.sin6_scope_id = parse_scope(scope);
        if (!in6.sin6_scope_id) {
            return rv_error_set(error, -EINVAL,
                                "there is no network interface \"%s\"; write "
                                "its name or number after the %%",
                                scope);
        }
    }
    if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1) {
        return rv_error_set(error, -EINVAL,
                            "\"%s\" is not an IPv6 address; write one such "
                            "as [::1]:8080",
                            host);
    }
    address->length = sizeof in6;
    address->u.in6 = in6;
    return 0;
}

/* Reads 'host' (brackets around IPv6) with 'port' already read. */
static int
parse_host(const char *host, size_t length, uint16_t port,
           struct rv_address *address, struct rv_error *error)
{
    char copy[RV_ADDRESS_TEXT];
    if (length >= sizeof copy) {
        return rv_error_set(error, -EINVAL, "the address is too long; %s",
                            forms);
    }
    memcpy(copy, host, length);
    copy[length] = '\0';
    if (copy[0] == '[' && copy[length - 1] == ']') {
        copy[length - 1] = '\0';
        return parse_ipv6(copy + 1, port, address, error);
    }
    if (strchr(copy, ':')) {
        return rv_error_set(error, -EINVAL,
                            "\"%s\" needs brackets; write an IPv6 address as "
                            "[::1]:8080",
                            copy);
    }
    return parse_ipv4(copy, port, address, error);
}

/* "PORT", "HOST:PORT". */
static int
parse_inet(const char *rest, struct rv_address *address,
           struct rv_error *error)
{
    const char *colon = strrchr(rest, ':');
    uint16_t port = 0;
    if (!rest[0]) {
        return rv_error_set(error, -EINVAL, "the address is empty; %s", forms);
    }
    if (rest[strlen(rest) - 1] == ']' || (!colon && strchr(rest, '.'))) {
        return rv_error_set(error, -EINVAL,
                            "\"%s\" has no port; write %s:8080", rest, rest);
    }
    if (!colon && rest[strspn(rest, "-0123456789")]) {
        return rv_error_set(error, -EINVAL, "\"%s\" is not an address; %s",
                            rest, forms);
    }
    int rc = parse_port(colon ? colon + 1 : rest, &port, error);
    if (rc) {
        return rc;
    }
    return colon
               ? parse_host(rest, (size_t)(colon - rest), port, address, error)
               : parse_host("*", 1, port, address, error);
}

/* Open vSwitch puts the port first: "PORT", "PORT:HOST". */
static int
parse_ptcp(const char *rest, struct rv_address *address,
           struct rv_error *error)
{
    char port_text[8];
    const char *colon = strchr(rest, ':');
    size_t length = colon ? (size_t)(colon - rest) : strlen(rest);
    uint16_t port = 0;
    if (!length || length >= sizeof port_text) {
        return rv_error_set(error, -EINVAL,
                            "\"ptcp:%s\" is not an address; write ptcp:8080 "
                            "or ptcp:8080:127.0.0.1",
                            rest);
    }
    memcpy(port_text, rest, length);
    port_text[length] = '\0';
    int rc = parse_port(port_text, &port, error);
    if (rc) {
        return rc;
    }
    const char *host = colon ? colon + 1 : "*";
    return parse_host(host, strlen(host), port, address, error);
}

static int
parse_unix(const char *path, struct rv_address *address,
           struct rv_error *error)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!path[0] || path[0] == '@') {
        return rv_error_set(error, -EINVAL,
                            "a unix socket needs a path in the file system; "
                            "write one such as unix:/run/x.sock");
    }
    if (!rv_str_copy(un.sun_path, sizeof un.sun_path, path)) {
        return rv_error_set(error, -EINVAL,
                            "the path of the socket has %zu bytes; write one "
                            "of at most %zu",
                            strlen(path), sizeof un.sun_path - 1);
    }
    address->length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    address->u.un = un;
    return 0;
}

static int
refuse_tls(const char *rest, struct rv_address *address,
           struct rv_error *error)
{
    (void)address;
    return rv_error_set(error, -EINVAL,
                        "TLS is the business of the program that serves; "
                        "write tcp:%s",
                        rest);
}

static const struct scheme schemes[] = {
    {"tcp:", SOCK_STREAM, parse_inet},   {"udp:", SOCK_DGRAM, parse_inet},
    {"ptcp:", SOCK_STREAM, parse_ptcp},  {"unix:", SOCK_STREAM, parse_unix},
    {"punix:", SOCK_STREAM, parse_unix}, {"unixgram:", SOCK_DGRAM, parse_unix},
    {"ssl:", SOCK_STREAM, refuse_tls},   {"pssl:", SOCK_STREAM, refuse_tls},
};

int
rv_address_parse(const char *text, struct rv_address *address,
                 struct rv_error *error)
{
    struct rv_address parsed = {.type = SOCK_STREAM};
    int (*parse)(const char *, struct rv_address *, struct rv_error *) =
        text[0] == '/' ? parse_unix : parse_inet;
    for (size_t i = 0; i < RV_ARRAY_SIZE(schemes); i++) {
        size_t length = strlen(schemes[i].prefix);
        if (!strncmp(text, schemes[i].prefix, length)) {
            text += length;
            parse = schemes[i].parse;
            parsed.type = schemes[i].type;
            break;
        }
    }
    int rc = parse(text, &parsed, error);
    if (!rc) {
        *address = parsed;
    }
    return rc;
}

static void
format_ipv6(const struct sockaddr_in6 *in6, const char *scheme,
            char text[RV_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    char scope[16] = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    if (in6->sin6_scope_id) {
        snprintf(scope, sizeof scope, "%%%" PRIu32, in6->sin6_scope_id);
    }
    snprintf(text, RV_ADDRESS_TEXT, "%s:[%s%s]:%d", scheme, host, scope,
             ntohs(in6->sin6_port));
}

void
rv_address_format(const struct rv_address *address, char text[RV_ADDRESS_TEXT])
{
    bool is_stream = address->type == SOCK_STREAM;
    const char *scheme = is_stream ? "tcp" : "udp";
    char host[INET_ADDRSTRLEN];
    switch (address->u.any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->u.in.sin_addr, host, sizeof host);
        snprintf(text, RV_ADDRESS_TEXT, "%s:%s:%d", scheme, host,
                 rv_address_port(address));
        break;
    case AF_INET6:
        format_ipv6(&address->u.in6, scheme, text);
        break;
    default:
        snprintf(text, RV_ADDRESS_TEXT, "%s:%.*s",
                 is_stream ? "unix" : "unixgram",
                 (int)sizeof address->u.un.sun_path, address->u.un.sun_path);
        break;
    }
}

int
rv_address_port(const struct rv_address *address)
{
    switch (address->u.any.sa_family) {
    case AF_INET:
        return ntohs(address->u.in.sin_port);
    case AF_INET6:
        return ntohs(address->u.in6.sin6_port);
    default:
        return 0;
    }
}
