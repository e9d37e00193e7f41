/* Byte streams to a peer, by whatever transport, and listeners for them.
 *
 * Room: net.  Runs in: master, command line, users' programs.  Threads: that
 * of the owner.  Blocks: never; host names are resolved by a thread of their
 * own.  Source: Open vSwitch's stream.h for the shape, ovsdb(7) for names.
 *
 * A stream is opened by a name (net/name.h), then connects in the background:
 *
 *     struct rv_stream_options options = {.rundir = "/run/reeve"};
 *     struct rv_stream *stream;
 *     rc = rv_stream_open("tcp:db.example.org", &options, &stream, &error);
 *     ...
 *     static void
 *     on_event(struct rv_io *io, uint32_t events)     // of the owner
 *     {
 *         rc = rv_stream_connect(stream);
 *         if (rc && rc != -EAGAIN) {
 *             rv_log_warn("%s", rv_stream_reason(stream));
 *             rv_stream_close(stream);
 *             return;
 *         }
 *         n = rc ? rc : rv_stream_recv(stream, bytes, sizeof bytes);
 *         ...
 *         rc = rv_stream_watch(stream, loop, io, RV_STREAM_RECV);
 *     }
 *     rv_io_init(&io, on_event, self);
 *     rc = rv_stream_watch(stream, loop, &io, RV_STREAM_CONNECT);
 *
 * Wrong: rv_io_start(loop, &io, rv_stream_fd(stream), ...) while the stream
 * connects.  Its descriptor changes from the name lookup to the socket, and
 * from one address to the next; rv_stream_watch follows it.
 *
 *              open                accept
 *               |                    |  (tcp, unix, fd)
 *               v                    v
 *          CONNECTING ---------> CONNECTED
 *               |  name, socket,     |  a call failed
 *               |  handshake failed, |  (not: the peer sends no more)
 *               |  or took too long  |
 *               +----> DISCONNECTED <+
 */
#ifndef REEVE_STREAM_H
#define REEVE_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/loop.h"

RV_BEGIN_DECLARATIONS

struct rv_stream;
struct rv_pstream;
struct rv_tls_config;

enum {
    RV_STREAM_PORT = 6640,        /* Of a name that has none. */
    RV_STREAM_BACKLOG = 4096,     /* The queue of a listener. */
    RV_STREAM_CONNECT_MS = 10000, /* For connecting, a handshake included. */

    /* A host with several addresses: how long one is waited for before the
     * next is tried beside it (RFC 8305). */
    RV_STREAM_STAGGER_MS = 250,

    /* Host names that a process looks up at the same time.  Each takes a
     * thread that nothing can interrupt, also when its stream has been closed
     * meanwhile. */
    RV_STREAM_MAX_LOOKUPS = 64,
};

enum rv_stream_state {
    RV_STREAM_CONNECTING,   /* A lookup, connection or handshake is under way.
                             */
    RV_STREAM_CONNECTED,    /* Bytes may flow. */
    RV_STREAM_DISCONNECTED, /* Failed; only good for closing. */
};

/* What to wait for; may be combined. */
enum {
    RV_STREAM_CONNECT = 1, /* The connection is made, or has failed. */
    RV_STREAM_RECV = 2,    /* Bytes to receive, or the end. */
    RV_STREAM_SEND = 4,    /* Room to send. */
};

/* All zero is a good default.  Only read while a stream or listener opens. */
struct rv_stream_options {
    int dscp;              /* 0 to 63: differentiated services code point. */
    uint16_t default_port; /* 0: RV_STREAM_PORT. */
    int backlog;           /* Of listeners; 0: RV_STREAM_BACKLOG. */
    int mode;              /* Of a unix socket's file; 0: as the umask says. */
    int connect_ms;        /* How long a stream, opened or accepted, may be
                            * CONNECTING: it fails with -ETIMEDOUT then.
                            * 0: RV_STREAM_CONNECT_MS; -1: no limit. */
    const char *rundir;    /* Relative unix names start here; NULL: they start
                            * in the current folder. */
    bool leaves_signals;   /* A listener does not name its unix socket's file
                            * to reeve/fatal_signal.h, which catches signals:
                            * the file stays when one kills the process. */
    struct rv_tls_config *tls; /* For ssl: and pssl:, which keep their own
                                * reference. */
};

/* Starts to connect to 'name'; the caller closes '*streamp'.  'fd:N' takes
 * the descriptor over.  Errors with a sentence: -EAFNOSUPPORT and -EINVAL for
 * the name or the options; -ENOPROTOOPT for ssl: without 'tls' or in a build
 * without it; -EBUSY while RV_STREAM_MAX_LOOKUPS are under way, which is worth
 * another try later; and what failed at once, as of connect(2) and unix(7).
 * Failures that show later come from rv_stream_connect. */
int rv_stream_open(const char *name, const struct rv_stream_options *options,
                   struct rv_stream **streamp, struct rv_error *error)
    RV_MUST_CHECK;

/* Makes a stream of 'fd', a connected stream socket, which it takes over,
 * makes non-blocking and close-on-exec, and calls 'name'.  On failure
 * (-ENOMEM, -EBADF, -ENOTSOCK) 'fd' stays the caller's. */
int rv_stream_adopt(int fd, const char *name, struct rv_stream **streamp)
    RV_MUST_CHECK;

/* Closes and frees; a source that watches is stopped.  Bytes that
 * rv_stream_send has taken are still sent by the kernel.  Accepts NULL. */
void rv_stream_close(struct rv_stream *stream);

/* Goes on connecting.  0 once connected; -EAGAIN while it needs time; else
 * the negative errno of the failure, again and again: -ECONNREFUSED and the
 * like; -ENOENT for a host name that does not exist, -EHOSTUNREACH when no
 * name server answered; of TLS -EKEYREJECTED and -EKEYEXPIRED for a
 * certificate that one side refused, -EPROTO for what is not TLS or has
 * nothing in common, -ECONNRESET when the handshake was cut; -ETIMEDOUT
 * past 'connect_ms' of the options.  rv_stream_reason tells a person. */
int rv_stream_connect(struct rv_stream *stream);

/* Goes on connecting, where it still does, without telling. */
void rv_stream_run(struct rv_stream *stream);

/* Receives at most 'n' (not 0) bytes.  Returns how many; 0 when the peer
 * sends no more; -EAGAIN when there is nothing now, or still no connection;
 * else the failure, as of rv_stream_connect. */
ssize_t rv_stream_recv(struct rv_stream *stream, void *data, size_t n);

/* Sends at most 'n' bytes.  Returns how many were taken; -EAGAIN when there
 * is no room now, or still no connection; -EPIPE when the peer takes no more
 * (what it sent may still be received, and the stream stays connected, but
 * for TLS); else the failure.  Never raises SIGPIPE.  After -EAGAIN the next
 * call must offer the same bytes again, and may offer more behind them
 * (-EINVAL else): with TLS they are encrypted already. */
ssize_t rv_stream_send(struct rv_stream *stream, const void *data, size_t n);

/* Ends the sending half of the connection (what was taken is still sent);
 * the peer sees the end.  -EAGAIN as rv_stream_send, or the failure. */
int rv_stream_shutdown(struct rv_stream *stream);

/* Makes 'io' watch the stream for 'what' (RV_STREAM_*, 0: errors alone), as
 * its descriptor is now; to be called again after each turn that used the
 * stream.  'io' is initialised, stays the caller's, is watching this stream
 * or nothing, and is stopped when the stream closes or changes descriptors.
 * While the stream is CONNECTING it keeps a timer in 'loop' too, which ends a
 * peer that stays silent.  Errors as rv_io_start. */
int rv_stream_watch(struct rv_stream *stream, struct rv_loop *loop,
                    struct rv_io *io, unsigned int what) RV_MUST_CHECK;

/* For other loops: the descriptor to wait on now, which stays the stream's,
 * and the events of epoll(7) to wait for.  When rv_stream_is_ready, EPOLLOUT
 * is among them, which comes at once unless the socket is full.  After
 * rv_stream_timeout_ms milliseconds (-1: never) without an event
 * rv_stream_connect is to be called nevertheless: a peer that stays silent is
 * late then. */
int rv_stream_fd(const struct rv_stream *stream);
uint32_t rv_stream_events(const struct rv_stream *stream, unsigned int what);
int rv_stream_timeout_ms(const struct rv_stream *stream);

/* Whether one of 'what' can be had now without waiting, for reasons that the
 * descriptor does not show: TLS holds bytes already decrypted, or the stream
 * has failed. */
bool rv_stream_is_ready(const struct rv_stream *stream, unsigned int what);

enum rv_stream_state rv_stream_state(const struct rv_stream *stream);

/* The name it was opened by; of accepted ones the peer's: "tcp:IP:PORT",
 * "ssl:[IP]:PORT", "unix:FILE", or "unix#N" for a peer without a name. */
const char *rv_stream_name(const struct rv_stream *stream);

/* Whom the peer's certificate names (its common name), where it was verified;
 * else NULL. */
const char *rv_stream_peer_id(const struct rv_stream *stream);

/* Why it is DISCONNECTED, in one line that names the stream; "" before. */
const char *rv_stream_reason(const struct rv_stream *stream);

/* The user and process at the other end of a unix socket.  -EOPNOTSUPP for
 * other transports. */
int rv_stream_peer_user(const struct rv_stream *stream, uid_t *uidp,
                        pid_t *pidp);

/* Makes the stream, unless it has failed already, fail with 'code', a negative
 * errno, and 'text'; the socket is shut down, so that a source that watches it
 * runs. */
void rv_stream_abort(struct rv_stream *stream, int code, const char *text);

/* Whether keep-alive probes make sense: over a network, not over a unix
 * socket or a descriptor.  False for names that do not parse. */
bool rv_stream_needs_probes(const char *name);

/* Listens on a passive 'name'; the caller closes '*pstreamp'.  A unix
 * socket's file left behind by a dead process is replaced.  'pfd:N' takes a
 * listening socket over.  Errors with a sentence: as rv_stream_open for the
 * name, and as bind(2): -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -ENOENT,
 * -ENAMETOOLONG. */
int rv_pstream_open(const char *name, const struct rv_stream_options *options,
                    struct rv_pstream **pstreamp, struct rv_error *error)
    RV_MUST_CHECK;

/* Closes and frees; the file of a unix socket is removed if it is still the
 * one that was made.  (So it is when a signal kills the process, unless the
 * name was relative to the current folder.)  Accepts NULL. */
void rv_pstream_close(struct rv_pstream *pstream);

/* Takes one connection, which the caller closes.  To be called until -EAGAIN.
 * Connections that broke while they waited are skipped.  -EMFILE, -ENFILE,
 * -ENOBUFS, -ENOMEM: a connection still waits, or was closed for lack of
 * memory; as the listener stays readable, a loop should pause. */
int rv_pstream_accept(struct rv_pstream *pstream, struct rv_stream **streamp)
    RV_MUST_CHECK;

/* The descriptor that is readable (EPOLLIN) when a connection waits. */
int rv_pstream_fd(const struct rv_pstream *pstream);

/* The name, with the port and address in use: "ptcp:41234:0.0.0.0". */
const char *rv_pstream_name(const struct rv_pstream *pstream);

/* The port in use; 0 for unix sockets. */
uint16_t rv_pstream_port(const struct rv_pstream *pstream);

RV_END_DECLARATIONS

#endif
