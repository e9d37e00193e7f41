/* Names of streams, as Open vSwitch writes them, taken apart.
 *
 * Room: net.  Blocks: never (host names are not resolved here).
 * Source: ovsdb(7), "Connection Methods"; RFC 4007 for scope ids.
 *
 *     tcp:HOST[:PORT]    ssl:HOST[:PORT]    unix:FILE     fd:N
 *     ptcp:[PORT][:IP]   pssl:[PORT][:IP]   punix:FILE    pfd:N
 *
 * An IPv6 address stands in brackets, which may be left out where no port
 * follows it: "tcp:[::1]:6640", "tcp:[fe80::1%eth0]", "tcp:::1",
 * "ptcp:6640:[::1]", "ptcp:[::1]".  A missing or empty port is the default.
 * A passive name without an address means all of IPv4, with [::] all of both.
 *
 *     struct rv_stream_name name;
 *     rc = rv_stream_name_parse("tcp:[::1]", 6640, &name, &error);
 *     // name.address is [::1]:6640
 */
#ifndef RV_NET_NAME_H
#define RV_NET_NAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "reeve/base.h"
#include "reeve/error.h"

enum rv_stream_kind {
    RV_STREAM_TCP,
    RV_STREAM_SSL,
    RV_STREAM_UNIX,
    RV_STREAM_FD,
};

/* Room for a host name or an address with its scope, the NUL included. */
enum { RV_STREAM_HOST = 256 };

struct rv_stream_name {
    enum rv_stream_kind kind;
    bool is_passive;

    /* tcp and ssl. */
    char host[RV_STREAM_HOST]; /* Without brackets; "" for all addresses. */
    uint16_t port;
    bool is_numeric;           /* 'host' is an address, and 'address' set. */
    struct rv_address address; /* With the port. */

    const char *path; /* unix: within the text parsed; else NULL. */
    int fd;           /* fd: the number; else -1. */
};

/* Takes 'text' apart.  Returns 0; -EAFNOSUPPORT for a scheme that does not
 * exist; -EINVAL for what is wrong behind it, each with a sentence.  '*name'
 * is untouched on failure; 'name->path' points into 'text'. */
int rv_stream_name_parse(const char *text, uint16_t default_port,
                         struct rv_stream_name *name, struct rv_error *error);

#endif
