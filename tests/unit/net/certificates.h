/* Certificates in a folder of their own, and TLS pairs that use them. */
#ifndef RV_TEST_NET_CERTIFICATES_H
#define RV_TEST_NET_CERTIFICATES_H

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/pair.h"
#include "reeve/tls.h"

enum { DAY = 86400 };

/* A key and the certificate that goes with it, in the files FOLDER/NAME-key
 * and FOLDER/NAME-cert. */
struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

static char folder[64];

/* The path of a file in the folder; the newest 16 stay valid. */
static inline const char *
in_folder(const char *name, const char *suffix)
{
    static char paths[16][128];
    static unsigned int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s%s", folder, name, suffix);
    return path;
}

static inline void
write_identity(const struct identity *identity, const char *name)
{
    FILE *file = fopen(in_folder(name, "-key"), "we");
    ck_assert_ptr_nonnull(file);
    PEM_write_PrivateKey(file, identity->key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    file = fopen(in_folder(name, "-cert"), "we");
    ck_assert_ptr_nonnull(file);
    PEM_write_X509(file, identity->certificate);
    fclose(file);
}

static inline void
add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    ck_assert_ptr_nonnull(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* Makes a certificate for 'name' that 'issuer' (NULL: an authority of its own)
 * signs, and that ends in 'seconds'. */
static inline struct identity
make_identity(const char *name, const struct identity *issuer, long seconds)
{
    struct identity made = {.key = EVP_EC_gen("P-256"),
                            .certificate = X509_new()};
    X509 *certificate = made.certificate;
    X509_NAME *subject = X509_NAME_new();
    const unsigned char *bytes = (const unsigned char *)name;
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, bytes, -1, -1, 0);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), random() % 1000000);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -2 * DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), seconds);
    X509_set_subject_name(certificate, subject);
    X509_set_issuer_name(certificate,
                         issuer ? X509_get_subject_name(issuer->certificate)
                                : subject);
    X509_set_pubkey(certificate, made.key);
    add_extension(certificate, NID_basic_constraints,
                  issuer ? "CA:FALSE" : "critical,CA:TRUE");
    if (issuer) {
        char names[100];
        snprintf(names, sizeof names, "DNS:%s,IP:127.0.0.1", name);
        add_extension(certificate, NID_subject_alt_name, names);
    }
    X509_sign(certificate, issuer ? issuer->key : made.key, EVP_sha256());
    X509_NAME_free(subject);
    write_identity(&made, name);
    return made;
}

static inline void
free_identity(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

static inline void
make_signed(const char *name, const struct identity *issuer, long seconds)
{
    struct identity identity = make_identity(name, issuer, seconds);
    free_identity(&identity);
}

/* Files: two authorities "ca" and "other", "server" and "client" by the
 * first, "stranger" by the second, "expired" by the first. */
static inline void
make_files(void)
{
    snprintf(folder, sizeof folder, "/tmp/rv-tls-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    struct identity ca = make_identity("ca", NULL, DAY);
    struct identity other = make_identity("other", NULL, DAY);
    make_signed("server", &ca, DAY);
    make_signed("client", &ca, DAY);
    make_signed("expired", &ca, -DAY);
    make_signed("stranger", &other, DAY);
    free_identity(&ca);
    free_identity(&other);
}

static inline void
remove_files(void)
{
    static const char *const names[] = {
        "ca", "other", "server", "client", "expired", "stranger", "bootstrap"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(names); i++) {
        unlink(in_folder(names[i], "-key"));
        unlink(in_folder(names[i], "-cert"));
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

/* Settings and pairs. */

static inline struct rv_tls_config *
configure(const struct rv_tls_settings *settings)
{
    struct rv_tls_config *config = NULL;
    struct rv_error error;
    int rc = rv_tls_config_create(settings, &config, &error);
    ck_assert_msg(!rc, "%s", error.text);
    return config;
}

/* The settings of "server", "client" and so on; 'name' may be NULL. */
static inline struct rv_tls_settings
settings_of(const char *name, const char *ca)
{
    static char texts[8][128];
    static unsigned int next;
    struct rv_tls_settings settings = {.ca_cert = ca};
    if (strcmp(ca, "none") != 0) {
        char *text = texts[next++ % 8];
        snprintf(text, sizeof texts[0], "%s", in_folder(ca, "-cert"));
        settings.ca_cert = text;
    }
    if (name) {
        settings.private_key = in_folder(name, "-key");
        settings.certificate = in_folder(name, "-cert");
    }
    return settings;
}

static inline struct rv_tls_config *
config_of(const char *name, const char *ca)
{
    struct rv_tls_settings settings = settings_of(name, ca);
    return configure(&settings);
}

/* Opens a listener and a client; drops both references. */
static inline void
start_host(struct pair *pair, struct rv_tls_config *server,
           struct rv_tls_config *client, const char *host)
{
    struct rv_stream_options options = {.tls = server};
    char name[64];
    pair_listen(pair, "pssl:0:127.0.0.1", &options);
    options.tls = client;
    snprintf(name, sizeof name, "ssl:%s:%d", host,
             rv_pstream_port(pair->listener));
    pair_dial(pair, name, &options);
    rv_tls_config_unref(server);
    rv_tls_config_unref(client);
}

static inline void
start(struct pair *pair, struct rv_tls_config *server,
      struct rv_tls_config *client)
{
    start_host(pair, server, client, "127.0.0.1");
}

/* Drives 'stream' until it fails; the client of TLS 1.3 may believe itself
 * connected before the server has judged its certificate. */
static inline int
wait_failure(struct rv_stream *stream)
{
    char byte;
    ssize_t n;
    do {
        n = pair_receive(stream, &byte, 1);
    } while (n > 0);
    return (int)n;
}

static inline void
check_end(struct rv_stream *stream, int code, const char *text)
{
    int rc = wait_failure(stream);
    ck_assert_msg(rc == code, "%d: %s", rc, rv_stream_reason(stream));
    ck_assert_msg(strstr(rv_stream_reason(stream), text), "%s",
                  rv_stream_reason(stream));
    ck_assert_ptr_null(strchr(rv_stream_reason(stream), '\n'));
}

#endif
