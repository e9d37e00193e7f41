#include "harness.h"

#if RV_WITH_TLS
#  include <errno.h>

#  include "net/certificates.h"

static void
check_settings(const struct rv_tls_settings *settings, int code,
               const char *text)
{
    struct rv_tls_config *config = NULL;
    struct rv_error error;
    ck_assert_int_eq(rv_tls_config_create(settings, &config, &error), code);
    ck_assert_msg(strstr(error.text, text), "%s", error.text);
    ck_assert_ptr_null(strchr(error.text, '\n'));
    ck_assert_ptr_null(config);
}

START_TEST(bad_settings_say_so)
{
    struct rv_tls_settings settings = {.ca_cert = NULL};
    make_files();
    check_settings(&settings, -EINVAL, "TLS needs a CA certificate");
    settings = settings_of("server", "missing");
    check_settings(&settings, -ENOENT, "missing-cert: No such file");
    settings = settings_of("server", "ca");
    settings.certificate = NULL;
    check_settings(&settings, -EINVAL, "both a private key and a cert");
    settings.certificate = in_folder("client", "-cert");
    check_settings(&settings, -EINVAL, "key values mismatch");
    settings.certificate = settings.private_key;
    check_settings(&settings, -EINVAL, "cannot read the certificate");
    settings = settings_of("server", "ca");
    settings.protocols = "TLSv1";
    check_settings(&settings, -EINVAL,
                   "\"TLSv1\" names no TLS protocol that is safe to use");
    settings.protocols = "TLSv1-TLSv1.1";
    check_settings(&settings, -EINVAL, "names no TLS protocol that is safe");
    settings.protocols = "SSLv3,TLSv1.2";
    check_settings(&settings, -EINVAL, "\"SSLv3\" is not a TLS protocol");
    settings.protocols = "TLSv1.2-";
    check_settings(&settings, -EINVAL, "one range");
    settings.protocols = " ,";
    check_settings(&settings, -EINVAL, "the TLS protocols are a list");
    settings.protocols = "TLSv1.2, TLSv1.3";
    settings.ciphers = "NOTHING";
    check_settings(&settings, -EINVAL, "bad ciphers NOTHING");
    settings.ciphers = NULL;
    settings.ciphersuites = "NOTHING";
    check_settings(&settings, -EINVAL, "bad cipher suites NOTHING");
    remove_files();
}
END_TEST

START_TEST(protocols_are_lists_or_ranges)
{
    static const char *const good[] = {"TLSv1.2+",        "TLSv1.3+",
                                       "TLSv1.2-TLSv1.3", "TLSv1.3",
                                       "TLSv1.3 TLSv1.2", "TLSv1.2,TLSv1.3"};
    make_files();
    for (size_t i = 0; i < RV_ARRAY_SIZE(good); i++) {
        struct rv_tls_settings settings = settings_of("server", "ca");
        settings.protocols = good[i];
        struct rv_tls_config *config = configure(&settings);
        ck_assert_str_eq(rv_tls_config_warning(config), "");
        rv_tls_config_unref(config);
    }
    remove_files();
}
END_TEST

/* As Open vSwitch's daemons are told in scripts of all their generations. */
START_TEST(old_protocols_are_left_out)
{
    static const char *const texts[] = {"TLSv1,TLSv1.1,TLSv1.2", "TLSv1+",
                                        "TLSv1 TLSv1.2", "TLSv1.1-TLSv1.3"};
    make_files();
    for (size_t i = 0; i < RV_ARRAY_SIZE(texts); i++) {
        struct rv_tls_settings settings = settings_of("server", "ca");
        settings.protocols = texts[i];
        struct rv_tls_config *server = configure(&settings);
        ck_assert_str_eq(rv_tls_config_warning(server),
                         "TLSv1 and TLSv1.1 are not safe to use, and are "
                         "left out of the TLS protocols");
        settings = settings_of("client", "ca");
        settings.protocols = "TLSv1.2";
        struct pair pair;
        start(&pair, server, configure(&settings));
        pair_connect(&pair);
        pair_check_works(&pair);
        pair_close(&pair);
    }
    remove_files();
}
END_TEST

START_TEST(servers_need_a_certificate)
{
    struct rv_tls_config *config;
    struct rv_pstream *pstream = NULL;
    struct rv_error error;
    make_files();
    config = config_of(NULL, "ca");
    struct rv_stream_options options = {.tls = config};
    ck_assert_int_eq(rv_pstream_open("pssl:0", &options, &pstream, &error),
                     -EINVAL);
    ck_assert_str_eq(error.text, "pssl:0: a TLS server needs a private key "
                                 "and a certificate");
    rv_tls_config_unref(config);
    remove_files();
}
END_TEST

static void
move_identity(const char *from, const char *to)
{
    ck_assert_int_eq(rename(in_folder(from, "-key"), in_folder(to, "-key")),
                     0);
    ck_assert_int_eq(rename(in_folder(from, "-cert"), in_folder(to, "-cert")),
                     0);
}

START_TEST(changed_files_are_read_anew)
{
    struct rv_tls_config *server, *client;
    struct pair old, new;
    make_files();
    server = config_of("server", "ca");
    client = config_of("client", "ca");
    start(&old, rv_tls_config_ref(server), rv_tls_config_ref(client));
    pair_connect(&old);
    pair_check_connected(&old);
    ck_assert_uint_eq(rv_tls_config_n_loads(server), 1);

    /* Half of a change: the old files stay in force. */
    ck_assert_int_eq(
        rename(in_folder("stranger", "-key"), in_folder("server", "-key")), 0);
    ck_assert_int_eq(rv_tls_config_refresh(server, NULL), -EINVAL);
    start(&new, rv_tls_config_ref(server), rv_tls_config_ref(client));
    pair_connect(&new);
    pair_check_connected(&new);
    pair_close(&new);
    ck_assert_uint_eq(rv_tls_config_n_loads(server), 1);

    /* The other half: a new client is refused by it, the old one stays. */
    ck_assert_int_eq(
        rename(in_folder("stranger", "-cert"), in_folder("server", "-cert")),
        0);
    start(&new, rv_tls_config_ref(server), rv_tls_config_ref(client));
    pair_connect(&new);
    ck_assert_uint_eq(rv_tls_config_n_loads(server), 2);
    check_end(new.client, -EKEYREJECTED, "unknown authority");
    pair_close(&new);
    pair_check_works(&old);
    pair_close(&old);

    /* And back to good ones. */
    move_identity("client", "server");
    ck_assert_int_eq(rv_tls_config_refresh(server, NULL), 0);
    ck_assert_uint_eq(rv_tls_config_n_loads(server), 3);
    rv_tls_config_unref(server);
    rv_tls_config_unref(client);
    remove_files();
}
END_TEST

/* A server that sends its authority too, and a client that has none.  What
 * the server trusts is sent too, if it has signed the server's certificate. */
static void
start_bootstrap(struct pair *pair, const char *server_name, bool sends_ca)
{
    struct rv_tls_settings server =
        settings_of(server_name, sends_ca ? "ca" : "other");
    server.peer_ca_cert = sends_ca ? in_folder("ca", "-cert") : NULL;
    struct rv_tls_config *server_config = configure(&server);
    struct rv_tls_settings client = settings_of("client", "bootstrap");
    client.bootstrap_ca_cert = true;
    start(pair, server_config, configure(&client));
    pair_connect(pair);
}

START_TEST(authorities_can_be_learnt)
{
    struct pair pair;
    struct stat info;
    make_files();
    start_bootstrap(&pair, "server", true);
    pair_check_connected(&pair);
    ck_assert_str_eq(rv_stream_peer_id(pair.client), "server");
    ck_assert_int_eq(stat(in_folder("bootstrap", "-cert"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0444);
    pair_check_works(&pair);
    pair_close(&pair);

    /* From now on it is an authority like any other. */
    start_bootstrap(&pair, "stranger", true);
    check_end(pair.client, -EKEYREJECTED, "unknown authority");
    pair_close(&pair);
    remove_files();
}
END_TEST

START_TEST(authorities_are_not_learnt_from_nothing)
{
    struct pair pair;
    make_files();
    start_bootstrap(&pair, "server", false);
    check_end(pair.client, -EKEYREJECTED,
              "the server does not send it with its own");
    pair_close(&pair);
    start_bootstrap(&pair, "stranger", true);
    check_end(pair.client, -EKEYREJECTED, "cannot learn the CA certificate");
    pair_close(&pair);
    ck_assert_int_eq(access(in_folder("bootstrap", "-cert"), F_OK), -1);
    remove_files();
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(bad_settings_say_so),
        RV_TEST(protocols_are_lists_or_ranges),
        RV_TEST(old_protocols_are_left_out),
        RV_TEST(servers_need_a_certificate),
        RV_TEST(changed_files_are_read_anew),
        RV_TEST(authorities_can_be_learnt),
        RV_TEST(authorities_are_not_learnt_from_nothing),
    };
    return rv_test_run("tls_config", tests, RV_ARRAY_SIZE(tests));
}

#else
#  include <errno.h>

#  include "reeve/tls.h"

START_TEST(builds_without_tls_say_so)
{
    struct rv_tls_settings settings = {.ca_cert = "none"};
    struct rv_tls_config *config = NULL;
    struct rv_error error;
    ck_assert_int_eq(rv_tls_config_create(&settings, &config, &error),
                     -ENOPROTOOPT);
    ck_assert_str_eq(error.text, "this build is without TLS");
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {RV_TEST(builds_without_tls_say_so)};
    return rv_test_run("tls_config", tests, RV_ARRAY_SIZE(tests));
}
#endif
