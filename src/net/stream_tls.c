/* ssl:, a TCP connection with TLS on it.
 *
 * Design
 *
 * OpenSSL reads and writes the socket through a BIO of our own: that of
 * OpenSSL would raise SIGPIPE.  It notes how the socket failed, since errno
 * does not survive the way back through OpenSSL.
 *
 * A write that OpenSSL has begun must be finished with the same bytes; it has
 * encrypted them already.  'begun' is how many those are.
 */
#if RV_WITH_TLS
#  include <errno.h>
#  include <openssl/err.h>
#  include <openssl/x509v3.h>
#  include <stdlib.h>
#  include <string.h>

#  include "net/dial.h"
#  include "net/socket.h"
#  include "net/tls_internal.h"

enum { RECORD_BYTES = 16384 }; /* The longest record (RFC 8446, 5.1). */

struct tls_stream {
    struct rv_stream base;
    struct rv_tls_config *config;
    SSL *ssl;
    size_t begun;           /* Bytes of the write that OpenSSL has begun. */
    int system_code;        /* How the socket failed, or 0. */
    bool has_ended;         /* The socket came to its end. */
    bool has_handshaken;    /* The handshake is done. */
    bool bootstraps;        /* The peer's authority is to be learnt. */
    bool recv_wants_output; /* Waits for room to send, in order to receive. */
    bool send_wants_input;
};

static struct tls_stream *
cast(struct rv_stream *stream)
{
    return RV_CONTAINER_OF(stream, struct tls_stream, base);
}

static const struct tls_stream *
cast_const(const struct rv_stream *stream)
{
    return (const struct tls_stream *)(const void *)stream;
}

/* The BIO. */

static int
bio_read(BIO *bio, char *data, size_t n, size_t *gotp)
{
    struct tls_stream *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got = rv__socket_recv(tls->base.fd, data, n);
    if (got == -EAGAIN) {
        BIO_set_retry_read(bio);
    } else if (got < 0) {
        tls->system_code = (int)got;
    } else if (got == 0) {
        tls->has_ended = true;
    }
    *gotp = got > 0 ? (size_t)got : 0;
    return got > 0;
}

static int
bio_write(BIO *bio, const char *data, size_t n, size_t *sentp)
{
    struct tls_stream *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = rv__socket_send(tls->base.fd, data, n);
    if (sent == -EAGAIN) {
        BIO_set_retry_write(bio);
    } else if (sent < 0) {
        tls->system_code = (int)sent;
    }
    *sentp = sent > 0 ? (size_t)sent : 0;
    return sent > 0;
}

static long
bio_control(BIO *bio, int command, long number RV_UNUSED,
            void *pointer RV_UNUSED)
{
    const struct tls_stream *tls = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return tls && tls->has_ended;
    default:
        return 0;
    }
}

BIO_METHOD *
rv__tls_create_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");
    if (method
        && (!BIO_meth_set_read_ex(method, bio_read)
            || !BIO_meth_set_write_ex(method, bio_write)
            || !BIO_meth_set_ctrl(method, bio_control))) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

/* Failures. */

/* Turns the result of a call of OpenSSL that did not succeed into -EAGAIN or
 * a noted failure.  '*wantp' is set to what the call waits for. */
static int
judge(struct tls_stream *tls, int result, int *wantp)
{
    int ssl_error = SSL_get_error(tls->ssl, result);
    *wantp = ssl_error;
    if (ssl_error == SSL_ERROR_WANT_READ
        || ssl_error == SSL_ERROR_WANT_WRITE) {
        return -EAGAIN;
    }
    struct rv__tls_failure failure = {.ssl = tls->ssl,
                                      .ssl_error = ssl_error,
                                      .system_code = tls->system_code,
                                      .has_ended = tls->has_ended,
                                      .is_handshake = !tls->has_handshaken};
    struct rv_error error;
    int rc = rv__tls_explain(&failure, &error);
    return rv__stream_fail(&tls->base, rc, "%s", error.text);
}

/* The handshake. */

/* The common name of the peer's certificate, where it is plain text. */
static char *
copy_common_name(const SSL *ssl)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (!certificate) {
        return NULL;
    }
    X509_NAME *subject = X509_get_subject_name(certificate);
    int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (i < 0) {
        return NULL;
    }
    unsigned char *text = NULL;
    int n = ASN1_STRING_to_UTF8(
        &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
    char *copy = NULL;
    bool is_plain = n > 0;
    for (int j = 0; j < n; j++) {
        is_plain = is_plain && text[j] >= ' ' && text[j] != 0x7f;
    }
    if (is_plain) {
        copy = strndup((const char *)text, (size_t)n);
    }
    if (n >= 0) {
        OPENSSL_free(text);
    }
    ERR_clear_error();
    return copy;
}

static int
end_handshake(struct tls_stream *tls)
{
    tls->has_handshaken = true;
    if (tls->bootstraps) {
        struct rv_error error;
        int rc = rv__tls_bootstrap(tls->config, tls->ssl, &error);
        if (rc) {
            return rv__stream_fail(&tls->base, rc, "%s", error.text);
        }
    }
    if (tls->config->verifies_peer) {
        tls->base.peer_id = copy_common_name(tls->ssl);
    }
    return 0;
}

static int
tls_connect(struct rv_stream *stream)
{
    struct tls_stream *tls = cast(stream);
    if (stream->dial) {
        int rc = rv__dial_run(stream);
        if (rc) {
            return rc;
        }
    }
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        return end_handshake(tls);
    }
    int want;
    int rc = judge(tls, result, &want);
    tls->send_wants_input = want == SSL_ERROR_WANT_READ;
    return rc;
}

/* Bytes. */

static ssize_t
tls_recv(struct rv_stream *stream, void *data, size_t n)
{
    struct tls_stream *tls = cast(stream);
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, data, n, &got);
    tls->recv_wants_output = false;
    if (result == 1) {
        return (ssize_t)got;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    int want;
    int rc = judge(tls, result, &want);
    tls->recv_wants_output = want == SSL_ERROR_WANT_WRITE;
    return rc;
}

static ssize_t
tls_send(struct rv_stream *stream, const void *data, size_t n)
{
    struct tls_stream *tls = cast(stream);
    size_t sent = 0;
    n = RV_MIN(n, (size_t)RECORD_BYTES);
    if (n < tls->begun) {
        return -EINVAL;
    }
    ERR_clear_error();
    int result = SSL_write_ex(tls->ssl, data, n, &sent);
    tls->send_wants_input = false;
    if (result == 1) {
        tls->begun = 0;
        return (ssize_t)sent;
    }
    int want;
    int rc = judge(tls, result, &want);
    tls->begun = n;
    tls->send_wants_input = want == SSL_ERROR_WANT_READ;
    return rc;
}

static int
tls_shutdown(struct rv_stream *stream)
{
    struct tls_stream *tls = cast(stream);
    ERR_clear_error();
    int result = SSL_shutdown(tls->ssl);
    if (result >= 0) {
        return 0;
    }
    int want;
    return judge(tls, result, &want);
}

/* Waiting. */

static uint32_t
tls_events(const struct rv_stream *stream, unsigned int what, uint32_t events)
{
    const struct tls_stream *tls = cast_const(stream);
    if (stream->state == RV_STREAM_CONNECTING) {
        return tls->send_wants_input ? EPOLLIN : EPOLLOUT;
    }
    if ((what & RV_STREAM_RECV) && tls->recv_wants_output) {
        events |= EPOLLOUT;
    }
    if ((what & RV_STREAM_SEND) && tls->send_wants_input) {
        events = (events & ~(uint32_t)EPOLLOUT) | EPOLLIN;
    }
    return events;
}

static bool
tls_is_ready(const struct rv_stream *stream, unsigned int what)
{
    return (what & RV_STREAM_RECV) && SSL_pending(cast_const(stream)->ssl) > 0;
}

static void
tls_close(struct rv_stream *stream)
{
    struct tls_stream *tls = cast(stream);
    if (tls->ssl) {
        /* Tells the peer that this is the end and not an accident; there is
         * nothing to be done if it cannot be told at once. */
        if (stream->state == RV_STREAM_CONNECTED && !tls->begun) {
            SSL_shutdown(tls->ssl);
        }
        SSL_free(tls->ssl);
        ERR_clear_error();
    }
    rv_tls_config_unref(tls->config);
}

static const struct rv_stream_provider tls_provider = {
    .connect = tls_connect,
    .recv = tls_recv,
    .send = tls_send,
    .shutdown = tls_shutdown,
    .events = tls_events,
    .is_ready = tls_is_ready,
    .close = tls_close,
};

/* Opening. */

/* Makes the SSL object, by the newest files. */
static int
set_up(struct tls_stream *tls, struct rv_tls_config *config)
{
    /* Should the files not fit each other now, the last good ones serve. */
    int rc = rv_tls_config_refresh(config, NULL);
    (void)rc;
    tls->config = rv_tls_config_ref(config);
    tls->ssl = SSL_new(config->context);
    BIO *bio = BIO_new(config->method);
    if (!tls->ssl || !bio) {
        BIO_free(bio);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    return 0;
}

/* Asks the server for 'name' (RFC 6066, section 3). */
static bool
ask_for(SSL *ssl, const char *name)
{
    /* OpenSSL only copies the name, but takes a pointer without const. */
    void *copied = (void *)(uintptr_t)name;
    return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME,
                    TLSEXT_NAMETYPE_host_name, copied)
           == 1;
}

/* Which name to ask for, and which one the certificate must have. */
static int
set_names(struct tls_stream *tls, const struct rv_stream_name *name)
{
    const struct rv_tls_config *config = tls->config;
    const char *wanted =
        config->server_name ? config->server_name : name->host;
    bool is_address = !config->server_name && name->is_numeric;
    if (!is_address && !ask_for(tls->ssl, wanted)) {
        return -EINVAL;
    }
    if (!config->check_name) {
        return 0;
    }
    if (is_address) {
        X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
        return X509_VERIFY_PARAM_set1_ip_asc(param, wanted) ? 0 : -EINVAL;
    }
    return SSL_set1_host(tls->ssl, wanted) ? 0 : -EINVAL;
}

static int
start(struct tls_stream *tls, const struct rv_stream_name *name,
      const struct rv_stream_options *options, struct rv_error *error)
{
    int rc = set_up(tls, options->tls);
    if (!rc) {
        SSL_set_connect_state(tls->ssl);
        rc = set_names(tls, name);
    }
    if (rc) {
        return rv_error_errno(error, rc, "%s: cannot set up TLS",
                              tls->base.name);
    }
    if (tls->config->needs_bootstrap) {
        tls->bootstraps = true;
        SSL_set_verify(tls->ssl, SSL_VERIFY_NONE, NULL);
    }
    return rv__dial_start(&tls->base, name, options->dscp, error);
}

static int
open_stream(const char *text, const struct rv_stream_name *name,
            const struct rv_stream_options *options,
            struct rv_stream **streamp, struct rv_error *error)
{
    struct rv_stream *stream =
        rv__stream_create(sizeof(struct tls_stream), &tls_provider, text);
    if (!stream) {
        return rv_error_errno(error, -ENOMEM, "%s", text);
    }
    int rc = start(cast(stream), name, options, error);
    if (rc) {
        rv_stream_close(stream);
        return rc;
    }
    *streamp = stream;
    return 0;
}

static int
accept_stream(int fd, const char *name, struct rv_tls_config *config,
              struct rv_stream **streamp)
{
    struct rv_stream *stream =
        rv__stream_create(sizeof(struct tls_stream), &tls_provider, name);
    int rc = stream ? set_up(cast(stream), config) : -ENOMEM;
    if (rc) {
        rv_stream_close(stream);
        return rc;
    }
    SSL_set_accept_state(cast(stream)->ssl);
    stream->fd = fd;
    *streamp = stream;
    return 0;
}

static int
check_server(const struct rv_tls_config *config, struct rv_error *error)
{
    if (!config->files[RV__TLS_KEY]) {
        return rv_error_set(error, -EINVAL,
                            "a TLS server needs a private key and a "
                            "certificate");
    }
    return 0;
}

const struct rv__tls_methods rv__tls_all_methods = {
    .open = open_stream,
    .accept = accept_stream,
    .check_server = check_server,
    .ref = rv_tls_config_ref,
    .unref = rv_tls_config_unref,
};
#else
/* A translation unit holds at least one declaration. */
struct rv__stream_tls_nothing;
#endif
