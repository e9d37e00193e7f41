/* Errors of OpenSSL as sentences. */
#if RV_WITH_TLS
#  include "net/tls_internal.h"

#  include <errno.h>
#  include <openssl/err.h>
#  include <openssl/x509_vfy.h>
#  include <string.h>

struct phrase {
    long number;
    int code;
    const char *text;
};

/* Our verdict on the peer's certificate. */
static const struct phrase verdicts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, -EKEYEXPIRED, "it has expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID, -EKEYREJECTED, "it is not valid yet"},
    {X509_V_ERR_HOSTNAME_MISMATCH, -EKEYREJECTED, "it is for another name"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, -EKEYREJECTED,
     "it is for another address"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, -EKEYREJECTED,
     "it is signed by an unknown authority"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, -EKEYREJECTED,
     "it is signed by an unknown authority"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, -EKEYREJECTED,
     "it is signed by an unknown authority"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, -EKEYREJECTED,
     "it is signed by itself"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, -EKEYREJECTED,
     "its signature is false"},
    {X509_V_ERR_INVALID_PURPOSE, -EKEYREJECTED, "it is for another purpose"},
    {X509_V_ERR_CERT_REVOKED, -EKEYREJECTED, "it has been revoked"},
};

/* What the peer told us by an alert (RFC 8446, section 6.2). */
static const struct phrase alerts[] = {
    {SSL_AD_HANDSHAKE_FAILURE, -EPROTO,
     "the peer refused the handshake: nothing in common, or no certificate"},
    {SSL_AD_BAD_CERTIFICATE, -EKEYREJECTED,
     "the peer refused our certificate"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, -EKEYREJECTED,
     "the peer refused our certificate: it is for another purpose"},
    {SSL_AD_CERTIFICATE_REVOKED, -EKEYREJECTED,
     "the peer refused our certificate: it has been revoked"},
    {SSL_AD_CERTIFICATE_EXPIRED, -EKEYEXPIRED,
     "the peer refused our certificate: it has expired"},
    {SSL_AD_CERTIFICATE_UNKNOWN, -EKEYREJECTED,
     "the peer refused our certificate"},
    {SSL_AD_UNKNOWN_CA, -EKEYREJECTED,
     "the peer refused our certificate: it is signed by an authority "
     "unknown to it"},
    {SSL_AD_DECRYPT_ERROR, -EKEYREJECTED,
     "the peer refused our certificate: a signature is false"},
    {SSL_AD_ACCESS_DENIED, -EKEYREJECTED,
     "the peer refused our certificate: access denied"},
    {SSL_AD_CERTIFICATE_REQUIRED, -EKEYREJECTED,
     "the peer wants a certificate, and we have none"},
    {SSL_AD_PROTOCOL_VERSION, -EPROTO,
     "the peer speaks no version of TLS that we do"},
    {SSL_AD_UNRECOGNIZED_NAME, -EPROTO,
     "the peer does not know the server name"},
};

/* What OpenSSL itself found. */
static const struct phrase reasons[] = {
    {SSL_R_WRONG_VERSION_NUMBER, -EPROTO, "the peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, -EPROTO, "the peer does not speak TLS, but HTTP"},
    {SSL_R_HTTPS_PROXY_REQUEST, -EPROTO,
     "the peer does not speak TLS, but HTTP"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, -EPROTO, "the peer does not speak TLS"},
    {SSL_R_RECORD_LENGTH_MISMATCH, -EPROTO, "the peer does not speak TLS"},
    {SSL_R_UNEXPECTED_MESSAGE, -EPROTO, "the peer does not speak TLS"},
    {SSL_R_UNKNOWN_PROTOCOL, -EPROTO, "the peer does not speak TLS"},
    {SSL_R_UNSUPPORTED_PROTOCOL, -EPROTO,
     "the peer speaks no version of TLS that we do"},
    {SSL_R_VERSION_TOO_LOW, -EPROTO,
     "the peer speaks no version of TLS that we do"},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, -EPROTO,
     "no version of TLS is left to speak"},
    {SSL_R_NO_SHARED_CIPHER, -EPROTO, "no cipher in common with the peer"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, -EKEYREJECTED,
     "the peer shows no certificate"},
};

static const struct phrase *
find(const struct phrase *phrases, size_t n, long number)
{
    for (size_t i = 0; i < n; i++) {
        if (phrases[i].number == number) {
            return &phrases[i];
        }
    }
    return NULL;
}

static int
explain_verdict(long verdict, struct rv_error *error)
{
    const struct phrase *phrase =
        find(verdicts, RV_ARRAY_SIZE(verdicts), verdict);
    return rv_error_set(error, phrase ? phrase->code : -EKEYREJECTED,
                        "the peer's certificate is refused: %s",
                        phrase ? phrase->text
                               : X509_verify_cert_error_string(verdict));
}

/* Explains one entry of OpenSSL's queue. */
static int
explain_entry(unsigned long entry, const SSL *ssl, struct rv_error *error)
{
    int reason = ERR_GET_REASON(entry);
    long verdict = SSL_get_verify_result(ssl);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK) {
        return explain_verdict(verdict, error);
    }
    const struct phrase *phrase = NULL;
    if (ERR_GET_LIB(entry) == ERR_LIB_SSL) {
        phrase = reason > SSL_AD_REASON_OFFSET
                     ? find(alerts, RV_ARRAY_SIZE(alerts),
                            reason - SSL_AD_REASON_OFFSET)
                     : find(reasons, RV_ARRAY_SIZE(reasons), reason);
    }
    if (phrase) {
        return rv_error_set(error, phrase->code, "%s", phrase->text);
    }
    const char *text = ERR_reason_error_string(entry);
    return rv_error_set(error, -EPROTO, "TLS failed: %s",
                        text ? text : "for an unknown reason");
}

int
rv__tls_explain(const struct rv__tls_failure *failure, struct rv_error *error)
{
    /* The first entry is the cause, what follows its echoes; but a refused
     * certificate is the last, whatever was found wrong in it. */
    unsigned long entry = ERR_peek_error();
    unsigned long last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) == ERR_LIB_SSL
        && ERR_GET_REASON(last) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        entry = last;
    }
    ERR_clear_error();
    const char *when =
        failure->is_handshake ? " in the middle of the TLS handshake" : "";
    if (failure->system_code) {
        return rv_error_set(error, failure->system_code, "%s%s",
                            strerror(-failure->system_code), when);
    }
    if (failure->has_ended
        && (!entry
            || ERR_GET_REASON(entry) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
        return rv_error_set(error, -ECONNRESET,
                            "the peer closed the connection%s",
                            *when ? when : " without ending TLS");
    }
    if (!entry) {
        return rv_error_set(error, -EPROTO, "TLS failed (%d)",
                            failure->ssl_error);
    }
    return explain_entry(entry, failure->ssl, error);
}

int
rv__tls_explain_file(const char *text, const char *file,
                     struct rv_error *error)
{
    /* The first entry is the cause, what follows its echoes. */
    unsigned long entry = ERR_peek_error();
    ERR_clear_error();
    const char *reason = entry ? ERR_reason_error_string(entry) : NULL;
    if (entry && ERR_SYSTEM_ERROR(entry)) {
        return rv_error_errno(error, -ERR_GET_REASON(entry), "%s %s", text,
                              file);
    }
    return rv_error_set(error, -EINVAL, "%s %s: %s", text, file,
                        reason ? reason : "it is not understood");
}
#else
/* A translation unit holds at least one declaration. */
struct rv__tls_explain_nothing;
#endif
