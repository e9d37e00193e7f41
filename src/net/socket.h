/* Sockets as streams need them.
 *
 * Room: net, for its own files only.  Blocks: never.
 * Source: socket(7), ip(7), ipv6(7), tcp(7), unix(7).
 */
#ifndef RV_NET_SOCKET_H
#define RV_NET_SOCKET_H

#include "base/address.h"
#include "reeve/base.h"

/* Fills 'address' for the file 'path' (relative: in 'rundir', if not NULL).
 * A path too long for an address is reached through a descriptor of its
 * folder, '*dir_fdp', which the caller closes after use (-1: none).
 * -ENAMETOOLONG, -ENOMEM, and as open(2). */
int rv__socket_unix_address(const char *path, const char *rundir,
                            struct rv_address *address, int *dir_fdp);

/* Sends small pieces at once, where 'fd' is TCP. */
void rv__socket_set_nodelay(int fd);

/* Opens a socket and starts to connect it to 'address'; the caller owns
 * '*fdp'.  -EINPROGRESS is success too.  As connect(2). */
int rv__socket_connect(const struct rv_address *address, int dscp, int *fdp);

/* How the connection of 'fd' stands: 0 when made, -EAGAIN, or its failure. */
int rv__socket_check(int fd);

/* recv(2) and send(2), without SIGPIPE and -EINTR. */
ssize_t rv__socket_recv(int fd, void *data, size_t n);
ssize_t rv__socket_send(int fd, const void *data, size_t n);

#endif
