/* What the files of TLS share.
 *
 * Room: net, for its own files only.
 */
#ifndef RV_NET_TLS_INTERNAL_H
#define RV_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "net/provider.h"
#include "reeve/tls.h"

enum rv__tls_file {
    RV__TLS_KEY,
    RV__TLS_CERTIFICATE,
    RV__TLS_CA,
    RV__TLS_PEER_CA,
    RV__TLS_N_FILES,
};

/* By what a change of a file is noticed; all zero while it is missing. */
struct rv__tls_fingerprint {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

/* The versions of TLS to speak, in OpenSSL's numbers. */
struct rv__tls_protocols {
    int min, max;     /* 0: no limit. */
    bool has_dropped; /* Older ones were asked for too. */
};

struct rv_tls_config {
    const struct rv__tls_methods *methods; /* First; see net/provider.h. */
    unsigned int n_references;
    unsigned int n_loads;
    char *files[RV__TLS_N_FILES]; /* NULL: not given. */
    bool verifies_peer;
    bool may_bootstrap;
    bool needs_bootstrap; /* There is no CA file yet. */
    bool check_name;
    struct rv__tls_protocols protocols;
    char *ciphers, *ciphersuites, *server_name;
    SSL_CTX *context; /* Each stream holds a reference to its own. */
    struct rv__tls_fingerprint fingerprints[RV__TLS_N_FILES];
    BIO_METHOD *method; /* Of all streams' sockets. */
};

/* Reads "TLSv1.2+" and the like.  -EINVAL with a sentence. */
int rv__tls_parse_protocols(const char *text,
                            struct rv__tls_protocols *protocolsp,
                            struct rv_error *error);

/* Trusts the authority at the end of the chain that the server of 'ssl' has
 * shown: verifies the chain by it, and stores it in the CA file.  On failure,
 * with a sentence, nothing is stored. */
int rv__tls_bootstrap(struct rv_tls_config *config, SSL *ssl,
                      struct rv_error *error);

/* What is known of a failed call of OpenSSL. */
struct rv__tls_failure {
    const SSL *ssl;
    int ssl_error;   /* Of SSL_get_error(). */
    int system_code; /* Of the socket: a negative errno, or 0. */
    bool has_ended;  /* The socket has come to its end. */
    bool is_handshake;
};

/* Puts a failure into words; empties OpenSSL's queue of errors.  Returns the
 * negative errno that rv_stream_connect promises. */
int rv__tls_explain(const struct rv__tls_failure *failure,
                    struct rv_error *error);

/* Stores 'text', "FILE: " and the newest reason that OpenSSL gives; empties
 * its queue.  Returns -EINVAL. */
int rv__tls_explain_file(const char *text, const char *file,
                         struct rv_error *error);

/* The sockets of streams for OpenSSL, and the methods for the rest of the
 * room; both in stream_tls.c. */
BIO_METHOD *rv__tls_create_method(void);
extern const struct rv__tls_methods rv__tls_all_methods;

#endif
