/* What TLS streams trust and show: keys, certificates, protocols.
 *
 * Room: net.  Threads: that of the streams that use it.  Blocks: reads small
 * files.  Source: ssl(7) of OpenSSL 3, RFC 5246, RFC 8446; the options of
 * Open vSwitch's daemons (--private-key and its kin).
 *
 *     struct rv_tls_settings settings = {.private_key = "key.pem",
 *                                        .certificate = "cert.pem",
 *                                        .ca_cert = "ca.pem"};
 *     struct rv_tls_config *config;
 *     rc = rv_tls_config_create(&settings, &config, &error);
 *     struct rv_stream_options options = {.tls = config};
 *     rc = rv_stream_open("ssl:[::1]:6640", &options, &stream, &error);
 *     rv_tls_config_unref(config);      // the stream has its own reference
 *
 * Both sides must show a certificate signed by a trusted authority.  The name
 * in it is not compared with the host's, as with Open vSwitch, unless
 * 'check_name' says so; the name is told by rv_stream_peer_id.
 *
 * The files are looked at whenever a stream opens or is accepted, and read
 * anew when one has changed; streams that are connected stay.  While the
 * files do not fit each other the last good ones stay in force.
 */
#ifndef REEVE_TLS_H
#define REEVE_TLS_H

#include <stdbool.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_tls_config;

/* Files are PEM.  NULL: not given. */
struct rv_tls_settings {
    const char *private_key;  /* Both or neither; listeners need them, and
                               * most servers want them of a client. */
    const char *certificate;  /* May be followed by those that signed it. */
    const char *ca_cert;      /* Authorities to trust; "none": accept every
                               * peer, unverified.  Required. */
    bool bootstrap_ca_cert;   /* 'ca_cert' does not exist yet: trust the
                               * authority that the first server shows, and
                               * write it there. */
    const char *peer_ca_cert; /* Certificates to send after our own, so that
                               * peers can bootstrap. */
    const char *protocols;    /* "TLSv1.2+", "TLSv1.2-TLSv1.3", or a list as
                               * "TLSv1.2,TLSv1.3", whose gaps are filled;
                               * NULL: "TLSv1.2+".  TLSv1 and TLSv1.1 are
                               * left out, and told by the warning. */
    const char *ciphers;      /* Of TLS 1.2, in OpenSSL's form; NULL:
                               * "DEFAULT:@SECLEVEL=2". */
    const char *ciphersuites; /* Of TLS 1.3, likewise; NULL: OpenSSL's. */
    const char *server_name;  /* To ask for (SNI); NULL: the host of the
                               * stream's name, if it is not an address. */
    bool check_name;          /* The certificate of a server must be for
                               * 'server_name', else for the host. */
};

/* Checks the settings and reads the files; the caller drops the reference in
 * '*configp'.  -EINVAL for settings or contents, -ENOPROTOOPT in a build
 * without TLS, -ENOMEM, and as open(2), each with a sentence. */
int rv_tls_config_create(const struct rv_tls_settings *settings,
                         struct rv_tls_config **configp,
                         struct rv_error *error) RV_MUST_CHECK;

struct rv_tls_config *rv_tls_config_ref(struct rv_tls_config *config);

/* Frees with the last reference.  Accepts NULL. */
void rv_tls_config_unref(struct rv_tls_config *config);

/* Looks at the files now.  0 when those in force are the newest; else as
 * rv_tls_config_create, the last good ones being kept. */
int rv_tls_config_refresh(struct rv_tls_config *config,
                          struct rv_error *error);

/* What a person should know though it is no error, in one line: that some of
 * the protocols asked for are not used.  "" for nothing; stays valid as long
 * as the configuration. */
const char *rv_tls_config_warning(const struct rv_tls_config *config);

/* How often files were read with success; 1 after creation. */
unsigned int rv_tls_config_n_loads(const struct rv_tls_config *config);

RV_END_DECLARATIONS

#endif
