/* What a transport implements.
 *
 * Room: net, for its own files only.
 *
 * Each call into a provider comes from stream.c, which has checked the
 * arguments and the state; no slot may block.
 */
#ifndef RV_NET_PROVIDER_H
#define RV_NET_PROVIDER_H

#include "reeve/base.h"
#include "net/name.h"
#include "reeve/stream.h"

struct rv__dial;

struct rv_stream_provider {
    /* Goes on connecting; called while CONNECTING alone.  0 when connected,
     * -EAGAIN, or a failure, which it has noted by rv__stream_fail. */
    int (*connect)(struct rv_stream *);

    /* Receives up to 'n' bytes, never 0; called while CONNECTED alone.  As
     * rv_stream_recv; a failure is noted by rv__stream_fail. */
    ssize_t (*recv)(struct rv_stream *, void *data, size_t n);

    /* Sends up to 'n' bytes, never 0; called while CONNECTED alone.  As
     * rv_stream_send; a failure is noted by rv__stream_fail. */
    ssize_t (*send)(struct rv_stream *, const void *data, size_t n);

    /* Tells the peer that no more comes, above the socket.  Null where the
     * socket's own shutdown is enough.  0, -EAGAIN, or a failure. */
    int (*shutdown)(struct rv_stream *);

    /* Corrects the events to wait for: 'events' is EPOLLIN for RECV and
     * EPOLLOUT for SEND and for a connection under way.  Null where these are
     * right. */
    uint32_t (*events)(const struct rv_stream *, unsigned int what,
                       uint32_t events);

    /* As rv_stream_is_ready while CONNECTED.  Null: never ready. */
    bool (*is_ready)(const struct rv_stream *, unsigned int what);

    /* Frees what the provider added, the socket still being open; not the
     * struct rv_stream.  Null where nothing was added. */
    void (*close)(struct rv_stream *);
};

/* The first member of each provider's own struct. */
struct rv_stream {
    const struct rv_stream_provider *provider;
    enum rv_stream_state state;
    int fd;              /* To wait on; owned, unless it is that of 'dial'. */
    int code;            /* Why DISCONNECTED. */
    struct rv_io *io;    /* The caller's, which watches 'fd'; or NULL. */
    int connect_ms;      /* As of the options, but 0 is no limit. */
    int64_t deadline_ms; /* Of rv_clock_ms(), where there is a limit. */
    struct rv_timer timer; /* Of the deadline, in the loop that watches. */
    struct rv__dial *dial; /* Under way, or NULL. */
    char *name;
    char *peer_id;
    char *reason; /* NULL: none, or no memory for it. */
};

/* Allocates 'size' bytes that begin with a struct rv_stream in CONNECTING
 * without a descriptor.  NULL without memory. */
struct rv_stream *rv__stream_create(size_t size,
                                    const struct rv_stream_provider *provider,
                                    const char *name);

/* Makes the stream DISCONNECTED for 'code' with "NAME: TEXT" as the reason;
 * returns 'code'. */
int rv__stream_fail(struct rv_stream *stream, int code, const char *format,
                    ...) RV_PRINTF(3, 4);

/* Stops what watches the descriptor, without closing it. */
void rv__stream_unwatch(struct rv_stream *stream);

/* Limits how long the stream may go on connecting, from now; 'connect_ms' as
 * of the options. */
void rv__stream_limit(struct rv_stream *stream, int connect_ms);

/* Transports.  Each gives the caller a stream as rv_stream_open, or takes
 * over 'fd', a connection just accepted; on failure 'fd' stays the
 * caller's. */
int rv__socket_open(const char *text, const struct rv_stream_name *name,
                    const struct rv_stream_options *options,
                    struct rv_stream **streamp, struct rv_error *error);
int rv__socket_accept(int fd, const char *name, struct rv_stream **streamp);

/* TLS is reached through the configuration alone, so that a program that makes
 * none is not linked with OpenSSL.  Each struct rv_tls_config begins with a
 * pointer to these. */
struct rv__tls_methods {
    /* As rv__socket_open and rv__socket_accept. */
    int (*open)(const char *text, const struct rv_stream_name *name,
                const struct rv_stream_options *options,
                struct rv_stream **streamp, struct rv_error *error);
    int (*accept)(int fd, const char *name, struct rv_tls_config *config,
                  struct rv_stream **streamp);

    /* Whether 'config' can serve: it has a certificate.  -EINVAL with a
     * sentence. */
    int (*check_server)(const struct rv_tls_config *config,
                        struct rv_error *error);

    struct rv_tls_config *(*ref)(struct rv_tls_config *config);
    void (*unref)(struct rv_tls_config *config);
};

/* The methods of 'config', which is not NULL. */
static inline const struct rv__tls_methods *
rv__tls_methods(const struct rv_tls_config *config)
{
    const void *head = config;
    return *(const struct rv__tls_methods *const *)head;
}

/* Stores that 'text' needs a configuration of TLS; -ENOPROTOOPT. */
int rv__tls_explain_missing(const char *text, struct rv_error *error);

#endif
