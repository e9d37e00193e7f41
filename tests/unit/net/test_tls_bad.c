/* Certificates, files and peers of TLS that are wrong, each in its way: one
 * sentence on each side, and the end of the connection. */
#include "harness.h"

#if RV_WITH_TLS
#  include <errno.h>
#  include <fcntl.h>

#  include "net/certificates.h"
#  include "net/connecting.h"
#  include "os/fd.h"

static const char *const more_files[] = {"bad", "half"};

static void
remove_all(void)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(more_files); i++) {
        unlink(in_folder(more_files[i], "-key"));
        unlink(in_folder(more_files[i], "-cert"));
    }
    remove_files();
}

/* Certificates. */

static struct identity
read_identity(const char *name)
{
    struct identity identity;
    FILE *file = fopen(in_folder(name, "-key"), "re");
    ck_assert_ptr_nonnull(file);
    identity.key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(in_folder(name, "-cert"), "re");
    ck_assert_ptr_nonnull(file);
    identity.certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert(identity.key && identity.certificate);
    return identity;
}

typedef void change_function(X509 *certificate);

/* Writes "bad": a certificate by "ca" that 'change' altered before it was
 * signed. */
static void
make_bad(change_function *change)
{
    struct identity ca = read_identity("ca");
    struct identity bad = make_identity("bad", &ca, DAY);
    change(bad.certificate);
    ck_assert_int_gt(X509_sign(bad.certificate, ca.key, EVP_sha256()), 0);
    write_identity(&bad, "bad");
    free_identity(&bad);
    free_identity(&ca);
}

struct expectation {
    int code;
    const char *own;  /* What is said by the side that refuses. */
    const char *peer; /* And by the other. */
};

static void
check_refused(struct rv_tls_config *server, struct rv_tls_config *client,
              bool by_server, const struct expectation *expectation)
{
    struct pair pair;
    char text[200];
    start(&pair, server, client);
    pair_connect(&pair);
    struct rv_stream *refusing = by_server ? pair.server : pair.client;
    struct rv_stream *refused = by_server ? pair.client : pair.server;
    snprintf(text, sizeof text, "the peer's certificate is refused: %s",
             expectation->own);
    check_end(refusing, expectation->code, text);
    snprintf(text, sizeof text, "the peer refused our certificate%s",
             expectation->peer);
    int rc = wait_failure(refused);
    ck_assert_msg(rc == -EKEYREJECTED, "%d: %s", rc,
                  rv_stream_reason(refused));
    ck_assert_msg(strstr(rv_stream_reason(refused), text), "%s",
                  rv_stream_reason(refused));
    pair_close(&pair);
}

/* The identity "bad" is refused as a server's and as a client's. */
static void
check_bad(const struct expectation *expectation)
{
    check_refused(config_of("bad", "ca"), config_of("client", "ca"), false,
                  expectation);
    check_refused(config_of("server", "ca"), config_of("bad", "ca"), true,
                  expectation);
}

static void
begin_tomorrow(X509 *certificate)
{
    X509_gmtime_adj(X509_getm_notBefore(certificate), DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (long)2 * DAY);
}

START_TEST(certificates_of_tomorrow_are_refused)
{
    make_files();
    make_bad(begin_tomorrow);
    check_bad(&(struct expectation){-EKEYREJECTED, "it is not valid yet", ""});
    remove_all();
}
END_TEST

START_TEST(self_signed_certificates_are_refused)
{
    make_files();
    make_signed("bad", NULL, DAY);
    check_bad(
        &(struct expectation){-EKEYREJECTED, "it is signed by itself", ""});
    remove_all();
}
END_TEST

static void
allow_signing_code(X509 *certificate)
{
    add_extension(certificate, NID_ext_key_usage, "codeSigning");
}

START_TEST(certificates_for_another_purpose_are_refused)
{
    make_files();
    make_bad(allow_signing_code);
    check_bad(
        &(struct expectation){-EKEYREJECTED, "it is for another purpose", ""});
    remove_all();
}
END_TEST

START_TEST(false_signatures_are_refused)
{
    struct identity ca, impostor;
    make_files();
    ca = read_identity("ca");
    /* An authority of the same name, but another key. */
    impostor = make_identity("ca", NULL, DAY);
    make_signed("bad", &impostor, DAY);
    free_identity(&impostor);
    write_identity(&ca, "ca");
    free_identity(&ca);
    check_bad(
        &(struct expectation){-EKEYREJECTED, "its signature is false", ""});
    remove_all();
}
END_TEST

START_TEST(another_address_is_refused)
{
    struct identity other, ca;
    struct rv_tls_settings settings;
    make_files();
    ca = make_identity("ca", NULL, DAY);
    other = make_identity("server", &ca, DAY);
    /* The names it is for are the last extension. */
    X509_EXTENSION_free(X509_delete_ext(
        other.certificate, X509_get_ext_count(other.certificate) - 1));
    add_extension(other.certificate, NID_subject_alt_name, "IP:127.0.0.2");
    X509_sign(other.certificate, ca.key, EVP_sha256());
    write_identity(&other, "server");
    free_identity(&other);
    make_signed("client", &ca, DAY);
    free_identity(&ca);
    settings = settings_of("client", "ca");
    settings.check_name = true;
    check_refused(
        config_of("server", "ca"), configure(&settings), false,
        &(struct expectation){-EKEYREJECTED, "it is for another address", ""});
    remove_all();
}
END_TEST

/* Files. */

static void
write_file(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(rv_fd_write_all(fd, bytes, n), 0);
    close(fd);
}

/* Checks that settings with the file 'path' in each place are refused with
 * one line that names the file; 'text' is part of it. */
static void
check_file(const char *path_, int code, const char *text)
{
    char path[100];
    snprintf(path, sizeof path, "%s", path_);
    for (int i = 0; i < 4; i++) {
        struct rv_tls_settings settings = settings_of("server", "ca");
        const char **places[] = {&settings.private_key, &settings.certificate,
                                 &settings.ca_cert, &settings.peer_ca_cert};
        struct rv_tls_config *config = NULL;
        struct rv_error error = {.text = ""};
        *places[i] = path;
        int rc = rv_tls_config_create(&settings, &config, &error);
        ck_assert_msg(rc == code, "%d: %d: %s", i, rc, error.text);
        ck_assert_msg(strstr(error.text, path), "%d: %s", i, error.text);
        ck_assert_msg(strstr(error.text, text), "%d: %s", i, error.text);
        ck_assert_ptr_null(strchr(error.text, '\n'));
        ck_assert_ptr_null(config);
    }
}

/* Writes the first 'n' bytes of the certificate "server" to "half". */
static const char *
write_half(size_t n)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 100000);
    ck_assert_int_eq(rv_file_read(in_folder("server", "-cert"), &buf), 0);
    const char *path = in_folder("half", "-cert");
    write_file(path, buf.data, RV_MIN(n, buf.length));
    rv_buf_deinit(&buf);
    return path;
}

START_TEST(bad_files_are_named)
{
    static const char garbage[] = "-----BEGIN CERTIFICATE-----\n"
                                  "!!!! this is not base64 !!!!\n"
                                  "-----END CERTIFICATE-----\n";
    char path[100];
    make_files();
    snprintf(path, sizeof path, "%s", in_folder("bad", "-cert"));
    check_file(path, -ENOENT, "No such file or directory");
    write_file(path, "", 0);
    check_file(path, -EINVAL, ": ");
    write_file(path, garbage, sizeof garbage - 1);
    check_file(path, -EINVAL, ": ");
    write_file(path, "\0\1\2\3", 4);
    check_file(path, -EINVAL, ": ");
    check_file(write_half(100), -EINVAL, ": ");
    unlink(path);
    check_file(folder, -EISDIR, "Is a directory");
    if (geteuid() != 0) {
        write_file(path, "", 0);
        ck_assert_int_eq(chmod(path, 0), 0);
        check_file(path, -EACCES, "Permission denied");
    }
    check_file("/dev/null/x", -ENOTDIR, "Not a directory");
    remove_all();
}
END_TEST

START_TEST(keys_with_a_passphrase_are_refused)
{
    struct identity server;
    struct rv_tls_settings settings;
    struct rv_tls_config *config = NULL;
    struct rv_error error;
    make_files();
    server = read_identity("server");
    FILE *file = fopen(in_folder("server", "-key"), "we");
    PEM_write_PrivateKey(file, server.key, EVP_aes_128_cbc(),
                         (const unsigned char *)"secret", 6, NULL, NULL);
    fclose(file);
    free_identity(&server);
    settings = settings_of("server", "ca");
    ck_assert_int_eq(rv_tls_config_create(&settings, &config, &error),
                     -EINVAL);
    ck_assert_msg(strstr(error.text, "cannot use the private key"), "%s",
                  error.text);
    ck_assert_ptr_null(strchr(error.text, '\n'));
    remove_all();
}
END_TEST

static void
check_new_client(struct rv_tls_config *server, struct rv_tls_config *client)
{
    struct pair pair;
    start(&pair, rv_tls_config_ref(server), rv_tls_config_ref(client));
    pair_connect(&pair);
    pair_check_works(&pair);
    pair_close(&pair);
}

/* What an editor or a copy in progress leaves for a moment. */
START_TEST(half_written_files_change_nothing)
{
    struct rv_tls_config *server, *client;
    struct rv_error error;
    struct rv_buf whole;
    struct pair old;
    char path[100];
    make_files();
    server = config_of("server", "ca");
    client = config_of("client", "ca");
    start(&old, rv_tls_config_ref(server), rv_tls_config_ref(client));
    pair_connect(&old);
    snprintf(path, sizeof path, "%s", in_folder("server", "-cert"));
    rv_buf_init(&whole, 100000);
    ck_assert_int_eq(rv_file_read(path, &whole), 0);
    for (size_t n = 0; n + 5 < whole.length; n += whole.length / 9) {
        write_file(path, whole.data, n);
        ck_assert_int_eq(rv_tls_config_refresh(server, &error), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error.text, path));
        check_new_client(server, client);
        ck_assert_uint_eq(rv_tls_config_n_loads(server), 1);
    }
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rv_tls_config_refresh(server, &error), -ENOENT);
    check_new_client(server, client);
    write_file(path, whole.data, whole.length);
    check_new_client(server, client);
    ck_assert_uint_eq(rv_tls_config_n_loads(server), 2);
    pair_check_works(&old);
    pair_close(&old);
    rv_buf_deinit(&whole);
    rv_tls_config_unref(server);
    rv_tls_config_unref(client);
    remove_all();
}
END_TEST

/* Silence. */

/* Watches 'stream', whose peer stays silent, for as long as it may connect. */
static void
check_silence(struct rv_stream *stream, int limit_ms, const char *text)
{
    struct connecting c;
    connecting_start(&c, stream);
    rv_loop_clock_warp(&c.loop, limit_ms - 5000);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(rv_loop_run_once(&c.loop, 10), 0);
    }
    ck_assert_int_eq(c.rc, -EAGAIN);
    rv_loop_clock_warp(&c.loop, 5001);
    connecting_run_to(&c, -ETIMEDOUT);
    ck_assert_msg(strstr(rv_stream_reason(stream), text), "%s",
                  rv_stream_reason(stream));
    rv_stream_close(stream);
}

START_TEST(silent_clients_are_given_up)
{
    struct pair pair;
    struct rv_stream_options options = {.connect_ms = 20000};
    char name[40];
    make_files();
    options.tls = config_of("server", "ca");
    pair_listen(&pair, "pssl:0:127.0.0.1", &options);
    snprintf(name, sizeof name, "tcp:127.0.0.1:%d",
             rv_pstream_port(pair.listener));
    pair_dial(&pair, name, &options);
    check_silence(pair_accept(pair.listener), 20000,
                  ": no TLS handshake within 20000 ms");
    char byte;
    ck_assert_int_eq(pair_receive(pair.client, &byte, 1), 0);
    rv_tls_config_unref(options.tls);
    pair_close(&pair);
    remove_all();
}
END_TEST

START_TEST(silent_servers_are_given_up)
{
    struct pair pair;
    struct rv_stream_options options = {.tls = NULL};
    char name[40];
    make_files();
    pair_listen(&pair, "ptcp:0:127.0.0.1", &options);
    options.tls = config_of("client", "ca");
    snprintf(name, sizeof name, "ssl:127.0.0.1:%d",
             rv_pstream_port(pair.listener));
    pair_dial(&pair, name, &options);
    pair.server = pair_accept(pair.listener);
    check_silence(pair.client, RV_STREAM_CONNECT_MS,
                  ": no TLS handshake within 10000 ms");
    pair.client = NULL;
    rv_tls_config_unref(options.tls);
    pair_close(&pair);
    remove_all();
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(certificates_of_tomorrow_are_refused),
        RV_TEST(self_signed_certificates_are_refused),
        RV_TEST(certificates_for_another_purpose_are_refused),
        RV_TEST(false_signatures_are_refused),
        RV_TEST(another_address_is_refused),
        RV_TEST(bad_files_are_named),
        RV_TEST(keys_with_a_passphrase_are_refused),
        RV_TEST(half_written_files_change_nothing),
        RV_TEST(silent_clients_are_given_up),
        RV_TEST(silent_servers_are_given_up),
    };
    return rv_test_run("tls_bad", tests, RV_ARRAY_SIZE(tests));
}

#else

int
main(void)
{
    return rv_test_run("tls_bad", NULL, 0);
}
#endif
