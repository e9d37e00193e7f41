/* Addresses to listen on, as people write them.
 *
 * Room: base.  Blocks: never (no names are resolved: addresses only).
 * Source: nginx's `listen`, Open vSwitch's passive connection methods
 * (ovsdb(7)).
 *
 *     8080  *:8080                  tcp, every IPv4 address
 *     127.0.0.1:8080                tcp
 *     [::1]:8080  [::]:443          tcp, IPv6 (dual stack when [::])
 *     unix:/run/x.sock  /run/x.sock unix stream
 *     tcp:ADDRESS:PORT              as the forms above
 *     udp:ADDRESS:PORT  udp:PORT    datagrams
 *     unixgram:/run/x.sock          unix datagrams
 *     ptcp:PORT[:ADDRESS]           Open vSwitch's form
 *     punix:/run/x.sock             Open vSwitch's form
 *
 * Port 0 lets the kernel choose.
 */
#ifndef RV_BASE_ADDRESS_H
#define RV_BASE_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "reeve/base.h"
#include "reeve/error.h"

/* Room for the canonical text of any address, its NUL included. */
enum { RV_ADDRESS_TEXT = 128 };

struct rv_address {
    int type;         /* SOCK_STREAM or SOCK_DGRAM. */
    socklen_t length; /* Of the member of 'u' in use. */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
};

/* Reads 'text'.  -EINVAL with a sentence that says what is wrong and shows a
 * right form; 'address' is untouched then. */
int rv_address_parse(const char *text, struct rv_address *address,
                     struct rv_error *error);

/* Writes the canonical form, which rv_address_parse reads back:
 * "tcp:0.0.0.0:8080", "tcp:[::]:443", "udp:...", "unix:/x", "unixgram:/x". */
void rv_address_format(const struct rv_address *address,
                       char text[RV_ADDRESS_TEXT]);

/* The port, or 0 for a unix socket. */
int rv_address_port(const struct rv_address *address);

#endif
