/* Listening sockets, and reuseport groups that can shrink without loss.
 *
 * Room: os.  Blocks: never.  Source: socket(7), tcp(7), unix(7), udp(7),
 * SO_ATTACH_REUSEPORT_CBPF in socket(7).
 */
#ifndef RV_OS_LISTEN_H
#define RV_OS_LISTEN_H

#include <stdbool.h>

#include "base/address.h"
#include "reeve/error.h"

struct rv_listen_options {
    bool reuseport;
    int backlog;
    int mode; /* Of a unix socket's file; -1: as the umask says. */
    int dscp; /* Of the packets, 0 to 63; see os/fd.h. */
};

/* Opens, binds and (for streams) listens; the caller owns '*fdp'.  A unix
 * socket's file that nobody listens on any more is replaced.  '*address' gets
 * the port the kernel chose, where it was 0.  Negative errno with a sentence:
 * -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -ENOENT ... */
int rv_listen_open(struct rv_address *address,
                   const struct rv_listen_options *options, int *fdp,
                   struct rv_error *error);

/* Whether 'fd' is a socket bound to 'address' (of a store handed to us). */
bool rv_listen_matches(int fd, const struct rv_address *address);

/* Applies a new backlog to a stream socket. */
int rv_listen_set_backlog(int fd, int backlog);

/* Connections that wait to be accepted; negative errno if not TCP. */
int rv_listen_queue_length(int fd);

/* Steers new connections of the reuseport group that 'fd' is in to its first
 * 'n' sockets only (in the order in which they were opened); 0 ends that.
 * What already waits in the others' queues stays there. */
int rv_listen_steer(int fd, int n);

#endif
