#include "reeve/tls.h"

#include <errno.h>

#if RV_WITH_TLS
#  include <fcntl.h>
#  include <openssl/err.h>
#  include <openssl/pem.h>
#  include <stdlib.h>
#  include <string.h>
#  include <sys/stat.h>
#  include <unistd.h>

#  include "net/tls_internal.h"

/* Files. */

static void
take_fingerprints(const struct rv_tls_config *config,
                  struct rv__tls_fingerprint prints[RV__TLS_N_FILES])
{
    memset(prints, 0, RV__TLS_N_FILES * sizeof *prints);
    for (size_t i = 0; i < RV__TLS_N_FILES; i++) {
        struct stat info;
        if (config->files[i] && !stat(config->files[i], &info)) {
            prints[i].device = info.st_dev;
            prints[i].inode = info.st_ino;
            prints[i].size = info.st_size;
            prints[i].modified = info.st_mtim;
            prints[i].changed = info.st_ctim;
        }
    }
}

/* OpenSSL opens a folder as if it were a file, and then says little. */
static int
refuse_folders(const struct rv_tls_config *config, struct rv_error *error)
{
    for (size_t i = 0; i < RV__TLS_N_FILES; i++) {
        struct stat info;
        if (config->files[i] && !stat(config->files[i], &info)
            && S_ISDIR(info.st_mode)) {
            return rv_error_errno(error, -EISDIR, "cannot read %s",
                                  config->files[i]);
        }
    }
    return 0;
}

/* A key with a passphrase is refused: there is nobody to ask. */
static int
refuse_passphrase(char *bytes RV_UNUSED, int size RV_UNUSED,
                  int is_writing RV_UNUSED, void *context RV_UNUSED)
{
    return -1;
}

static int
load_identity(const struct rv_tls_config *config, SSL_CTX *context,
              struct rv_error *error)
{
    const char *key = config->files[RV__TLS_KEY];
    const char *certificate = config->files[RV__TLS_CERTIFICATE];
    if (!key) {
        return 0;
    }
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return rv__tls_explain_file("cannot read the certificate", certificate,
                                    error);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        return rv__tls_explain_file("cannot use the private key", key, error);
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        return rv__tls_explain_file(
            "the certificate does not belong to the private key", key, error);
    }
    return 0;
}

/* Trusts the authorities in 'file', and names them to clients. */
static int
load_authorities(const char *file, SSL_CTX *context, struct rv_error *error)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (!names || SSL_CTX_load_verify_file(context, file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return rv__tls_explain_file("cannot read the CA certificate", file,
                                    error);
    }
    SSL_CTX_set_client_CA_list(context, names);
    return 0;
}

/* Sends the certificates in 'file' after our own. */
static int
load_chain(const char *file, SSL_CTX *context, struct rv_error *error)
{
    BIO *bio = BIO_new_file(file, "re");
    if (!bio) {
        return rv__tls_explain_file("cannot read the peers' CA certificate",
                                    file, error);
    }
    int n = 0;
    for (;;) {
        X509 *certificate =
            PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
        if (!certificate) {
            break;
        }
        n += SSL_CTX_add1_chain_cert(context, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    if (!n) {
        return rv__tls_explain_file("cannot read the peers' CA certificate",
                                    file, error);
    }
    ERR_clear_error(); /* Of the end of the file. */
    return 0;
}

static int
set_algorithms(const struct rv_tls_config *config, SSL_CTX *context,
               struct rv_error *error)
{
    SSL_CTX_set_min_proto_version(context, config->protocols.min);
    SSL_CTX_set_max_proto_version(context, config->protocols.max);
    if (SSL_CTX_set_cipher_list(context, config->ciphers) != 1) {
        return rv__tls_explain_file("bad ciphers", config->ciphers, error);
    }
    if (config->ciphersuites
        && SSL_CTX_set_ciphersuites(context, config->ciphersuites) != 1) {
        return rv__tls_explain_file("bad cipher suites", config->ciphersuites,
                                    error);
    }
    return 0;
}

static void
set_modes(const struct rv_tls_config *config, SSL_CTX *context)
{
    SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE
                                  | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                  | SSL_MODE_RELEASE_BUFFERS);
    /* A resumed session would skip the look at the peer's certificate. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_verify(context,
                       config->verifies_peer
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_NONE,
                       NULL);
}

static int
load_all(const struct rv_tls_config *config, bool has_authorities,
         SSL_CTX *context, struct rv_error *error)
{
    set_modes(config, context);
    int rc = set_algorithms(config, context, error);
    if (!rc) {
        rc = load_identity(config, context, error);
    }
    if (!rc && config->verifies_peer && has_authorities) {
        rc = load_authorities(config->files[RV__TLS_CA], context, error);
    }
    if (!rc && config->files[RV__TLS_PEER_CA]) {
        rc = load_chain(config->files[RV__TLS_PEER_CA], context, error);
    }
    return rc;
}

static int
load(struct rv_tls_config *config, struct rv_error *error)
{
    int rc = refuse_folders(config, error);
    if (rc) {
        return rc;
    }
    ERR_clear_error();
    bool has_authorities = !config->verifies_peer || !config->may_bootstrap
                           || access(config->files[RV__TLS_CA], F_OK) == 0;
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (!context) {
        ERR_clear_error();
        return rv_error_errno(error, -ENOMEM, "cannot set up TLS");
    }
    rc = load_all(config, has_authorities, context, error);
    if (rc) {
        SSL_CTX_free(context);
        return rc;
    }
    SSL_CTX_free(config->context);
    config->context = context;
    config->needs_bootstrap = !has_authorities;
    config->n_loads++;
    return 0;
}

int
rv_tls_config_refresh(struct rv_tls_config *config, struct rv_error *error)
{
    struct rv__tls_fingerprint prints[RV__TLS_N_FILES];
    take_fingerprints(config, prints);
    if (config->context
        && !memcmp(prints, config->fingerprints, sizeof prints)) {
        return 0;
    }
    int rc = load(config, error);
    if (!rc) {
        /* Taken before the files were read: a change meanwhile shows. */
        memcpy(config->fingerprints, prints, sizeof prints);
    }
    return rc;
}

/* Settings. */

static int
check_settings(const struct rv_tls_settings *settings, struct rv_error *error)
{
    if (!settings->ca_cert || !settings->ca_cert[0]) {
        return rv_error_set(error, -EINVAL,
                            "TLS needs a CA certificate; name its file, or "
                            "\"none\" to trust every peer");
    }
    if (!settings->private_key != !settings->certificate) {
        return rv_error_set(error, -EINVAL,
                            "TLS needs both a private key and a certificate, "
                            "or neither");
    }
    if (settings->bootstrap_ca_cert && !strcmp(settings->ca_cert, "none")) {
        return rv_error_set(error, -EINVAL,
                            "a CA certificate to bootstrap needs a file");
    }
    return 0;
}

/* A copy of 'text' at '*copyp', NULL staying NULL.  False without memory. */
static bool
copy_text(char **copyp, const char *text)
{
    *copyp = text ? strdup(text) : NULL;
    return !text || *copyp;
}

static bool
copy_settings(struct rv_tls_config *config,
              const struct rv_tls_settings *settings)
{
    const char *ciphers =
        settings->ciphers ? settings->ciphers : "DEFAULT:@SECLEVEL=2";
    config->verifies_peer = strcmp(settings->ca_cert, "none") != 0;
    config->may_bootstrap = settings->bootstrap_ca_cert;
    config->check_name = settings->check_name;
    return copy_text(&config->files[RV__TLS_KEY], settings->private_key)
           && copy_text(&config->files[RV__TLS_CERTIFICATE],
                        settings->certificate)
           && copy_text(&config->files[RV__TLS_CA],
                        config->verifies_peer ? settings->ca_cert : NULL)
           && copy_text(&config->files[RV__TLS_PEER_CA],
                        settings->peer_ca_cert)
           && copy_text(&config->ciphers, ciphers)
           && copy_text(&config->ciphersuites, settings->ciphersuites)
           && copy_text(&config->server_name, settings->server_name);
}

int
rv_tls_config_create(const struct rv_tls_settings *settings,
                     struct rv_tls_config **configp, struct rv_error *error)
{
    int rc = check_settings(settings, error);
    if (rc) {
        return rc;
    }
    struct rv_tls_config *config = calloc(1, sizeof *config);
    if (!config) {
        return rv_error_errno(error, -ENOMEM, "cannot set up TLS");
    }
    config->methods = &rv__tls_all_methods;
    config->n_references = 1;
    config->method = rv__tls_create_method();
    if (!config->method || !copy_settings(config, settings)) {
        rc = rv_error_errno(error, -ENOMEM, "cannot set up TLS");
    }
    if (!rc) {
        rc = rv__tls_parse_protocols(settings->protocols ? settings->protocols
                                                         : "TLSv1.2+",
                                     &config->protocols, error);
    }
    if (!rc) {
        rc = rv_tls_config_refresh(config, error);
    }
    if (rc) {
        rv_tls_config_unref(config);
        return rc;
    }
    *configp = config;
    return 0;
}

struct rv_tls_config *
rv_tls_config_ref(struct rv_tls_config *config)
{
    config->n_references++;
    return config;
}

void
rv_tls_config_unref(struct rv_tls_config *config)
{
    if (!config || --config->n_references) {
        return;
    }
    for (size_t i = 0; i < RV__TLS_N_FILES; i++) {
        free(config->files[i]);
    }
    SSL_CTX_free(config->context);
    BIO_meth_free(config->method);
    free(config->ciphers);
    free(config->ciphersuites);
    free(config->server_name);
    free(config);
}

const char *
rv_tls_config_warning(const struct rv_tls_config *config)
{
    return config->protocols.has_dropped
               ? "TLSv1 and TLSv1.1 are not safe to use, and are left out of "
                 "the TLS protocols"
               : "";
}

unsigned int
rv_tls_config_n_loads(const struct rv_tls_config *config)
{
    return config->n_loads;
}

#else

int
rv_tls_config_create(const struct rv_tls_settings *settings RV_UNUSED,
                     struct rv_tls_config **configp RV_UNUSED,
                     struct rv_error *error)
{
    return rv_error_set(error, -ENOPROTOOPT, "this build is without TLS");
}

struct rv_tls_config *
rv_tls_config_ref(struct rv_tls_config *config)
{
    return config;
}

void
rv_tls_config_unref(struct rv_tls_config *config RV_UNUSED)
{
}

int
rv_tls_config_refresh(struct rv_tls_config *config RV_UNUSED,
                      struct rv_error *error)
{
    return rv_error_set(error, -ENOPROTOOPT, "this build is without TLS");
}

const char *
rv_tls_config_warning(const struct rv_tls_config *config RV_UNUSED)
{
    return "";
}

unsigned int
rv_tls_config_n_loads(const struct rv_tls_config *config RV_UNUSED)
{
    return 0;
}

#endif
