/* Trust on first use: the authority of the first server seen becomes ours. */
#if RV_WITH_TLS
#  include <errno.h>
#  include <fcntl.h>
#  include <openssl/err.h>
#  include <openssl/pem.h>
#  include <openssl/x509_vfy.h>
#  include <openssl/x509v3.h>
#  include <stdio.h>
#  include <stdlib.h>
#  include <sys/stat.h>
#  include <unistd.h>

#  include "net/tls_internal.h"
#  include "os/fd.h"

static bool
is_self_signed(X509 *certificate)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    bool is_signed = X509_check_issued(certificate, certificate) == X509_V_OK
                     && key && X509_verify(certificate, key) == 1;
    ERR_clear_error();
    return is_signed;
}

/* Verifies what the server of 'ssl' has shown by 'authority' alone. */
static bool
verifies(SSL *ssl, STACK_OF(X509) * chain, X509 *authority, int *verdictp)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool is_valid =
        store && context && X509_STORE_add_cert(store, authority) == 1
        && X509_STORE_CTX_init(context, store, sk_X509_value(chain, 0), chain)
               == 1
        && X509_STORE_CTX_set_default(context, "ssl_server") == 1
        && X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(context),
                                  SSL_get0_param(ssl))
               == 1
        && X509_verify_cert(context) == 1;
    *verdictp =
        context ? X509_STORE_CTX_get_error(context) : X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return is_valid;
}

static int
write_certificate(int fd, X509 *authority)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509(bio, authority) != 1) {
        BIO_free(bio);
        ERR_clear_error();
        return -ENOMEM;
    }
    char *bytes;
    long n = BIO_get_mem_data(bio, &bytes);
    int rc = rv_fd_write_all(fd, bytes, (size_t)n);
    BIO_free(bio);
    return rc;
}

/* Writes the file in one step and only if there is none: another process may
 * have learnt of an authority at the same time. */
static int
store(X509 *authority, const char *path, struct rv_error *error)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        return rv_error_errno(error, -ENOMEM, "cannot write %s", path);
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    int rc = fd < 0 ? -errno : write_certificate(fd, authority);
    if (!rc && (fchmod(fd, 0444) || fsync(fd))) {
        rc = -errno;
    }
    if (!rc && link(temporary, path)) {
        rc = -errno;
    }
    if (fd >= 0) {
        unlink(temporary);
        rv_fd_close(&fd);
    }
    free(temporary);
    return rc ? rv_error_errno(error, rc,
                               "cannot store the CA certificate in %s", path)
              : 0;
}

int
rv__tls_bootstrap(struct rv_tls_config *config, SSL *ssl,
                  struct rv_error *error)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int n = chain ? sk_X509_num(chain) : 0;
    X509 *authority = n ? sk_X509_value(chain, n - 1) : NULL;
    if (!authority || !is_self_signed(authority)) {
        return rv_error_set(error, -EKEYREJECTED,
                            "cannot learn the CA certificate: the server "
                            "does not send it with its own");
    }
    int verdict;
    if (!verifies(ssl, chain, authority, &verdict)) {
        return rv_error_set(error, -EKEYREJECTED,
                            "cannot learn the CA certificate: the server's "
                            "certificate is refused: %s",
                            X509_verify_cert_error_string(verdict));
    }
    int rc = store(authority, config->files[RV__TLS_CA], error);
    return rc ? rc : rv_tls_config_refresh(config, error);
}
#else
/* A translation unit holds at least one declaration. */
struct rv__tls_bootstrap_nothing;
#endif
