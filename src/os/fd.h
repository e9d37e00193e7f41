/* Descriptors: close-on-exec and non-blocking from birth, -1 when absent.
 *
 * Room: os.  Source: fcntl(2), unix(7), memfd_create(2), cmsg(3).
 *
 *     int fd = -1;
 *     int rc = rv_memfd_create("state", text, length, &fd);
 *     ...
 *     rv_fd_close(&fd);        // fd is -1 again
 */
#ifndef RV_OS_FD_H
#define RV_OS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/buf.h"

/* Closes '*fd' if it is not -1, and sets it to -1.  Keeps errno. */
void rv_fd_close(int *fd);

/* Sets or clears the flag.  -EBADF. */
int rv_fd_set_cloexec(int fd, bool on);
int rv_fd_set_nonblocking(int fd, bool on);

/* Marks the packets of the socket 'fd', where its family knows it, with the
 * code point 'dscp', 0 to 63 (-EINVAL else); 0 does nothing (RFC 2474). */
int rv_fd_set_dscp(int fd, int dscp);

/* Writes all of 'data' to a descriptor that blocks or is a file.  Negative
 * errno, after part of it perhaps. */
int rv_fd_write_all(int fd, const void *data, size_t n);

/* Appends all that is left to read, up to 'buf's maximum (-EMSGSIZE).
 * For files and memfds. */
int rv_fd_read_all(int fd, struct rv_buf *buf);

/* Appends the file at 'path' as rv_fd_read_all does. */
int rv_file_read(const char *path, struct rv_buf *buf);

/* Opens a sealed, read-only in effect, memory file with these bytes in it;
 * the caller owns '*fdp'. */
int rv_memfd_create(const char *name, const void *data, size_t n, int *fdp)
    RV_MUST_CHECK;

/* Two connected SOCK_SEQPACKET sockets. */
int rv_packet_pair(int fds[2]) RV_MUST_CHECK;

/* Sends one packet, with 'passed_fd' (borrowed; -1: none).  -EAGAIN when the
 * receiver is full, -EPIPE when it is gone; never raises SIGPIPE. */
int rv_packet_send(int fd, const void *data, size_t n, int passed_fd);

/* Receives one packet into 'data' and gives the descriptor that came with it
 * (or -1) to the caller.  Returns the packet's length, 0 at the end, or a
 * negative errno: -EAGAIN, -EMSGSIZE when it was cut (nothing is leaked). */
ssize_t rv_packet_receive(int fd, void *data, size_t n, int *passed_fdp);

#endif
