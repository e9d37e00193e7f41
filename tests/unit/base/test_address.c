#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "harness.h"

/* Each form that the header lists, and its canonical text. */
static const struct {
    const char *text, *canonical;
    int type, family, port;
} good[] = {
    {"8080", "tcp:0.0.0.0:8080", SOCK_STREAM, AF_INET, 8080},
    {"0", "tcp:0.0.0.0:0", SOCK_STREAM, AF_INET, 0},
    {"*:8080", "tcp:0.0.0.0:8080", SOCK_STREAM, AF_INET, 8080},
    {"127.0.0.1:65535", "tcp:127.0.0.1:65535", SOCK_STREAM, AF_INET, 65535},
    {"[::1]:8080", "tcp:[::1]:8080", SOCK_STREAM, AF_INET6, 8080},
    {"[0:0::0]:443", "tcp:[::]:443", SOCK_STREAM, AF_INET6, 443},
    {"[fe80::1%1]:80", "tcp:[fe80::1%1]:80", SOCK_STREAM, AF_INET6, 80},
    {"tcp:80", "tcp:0.0.0.0:80", SOCK_STREAM, AF_INET, 80},
    {"tcp:10.0.0.1:80", "tcp:10.0.0.1:80", SOCK_STREAM, AF_INET, 80},
    {"tcp:[::1]:80", "tcp:[::1]:80", SOCK_STREAM, AF_INET6, 80},
    {"udp:53", "udp:0.0.0.0:53", SOCK_DGRAM, AF_INET, 53},
    {"udp:127.0.0.1:53", "udp:127.0.0.1:53", SOCK_DGRAM, AF_INET, 53},
    {"udp:[::]:53", "udp:[::]:53", SOCK_DGRAM, AF_INET6, 53},
    {"ptcp:6640", "tcp:0.0.0.0:6640", SOCK_STREAM, AF_INET, 6640},
    {"ptcp:6640:1.2.3.4", "tcp:1.2.3.4:6640", SOCK_STREAM, AF_INET, 6640},
    {"ptcp:6640:[::1]", "tcp:[::1]:6640", SOCK_STREAM, AF_INET6, 6640},
    {"/run/x.sock", "unix:/run/x.sock", SOCK_STREAM, AF_UNIX, 0},
    {"unix:/run/x.sock", "unix:/run/x.sock", SOCK_STREAM, AF_UNIX, 0},
    {"unix:x y.sock", "unix:x y.sock", SOCK_STREAM, AF_UNIX, 0},
    {"punix:/x", "unix:/x", SOCK_STREAM, AF_UNIX, 0},
    {"unixgram:/x", "unixgram:/x", SOCK_DGRAM, AF_UNIX, 0},
};

/* Every form parses to what it says, and its canonical text to the same. */
START_TEST(reads_forms)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(good); i++) {
        struct rv_address address, again;
        struct rv_error error;
        char text[RV_ADDRESS_TEXT];
        ck_assert_msg(!rv_address_parse(good[i].text, &address, &error),
                      "%s: %s", good[i].text, error.text);
        ck_assert_int_eq(address.type, good[i].type);
        ck_assert_int_eq(address.u.any.sa_family, good[i].family);
        ck_assert_int_eq(rv_address_port(&address), good[i].port);
        rv_address_format(&address, text);
        ck_assert_str_eq(text, good[i].canonical);
        ck_assert_int_eq(rv_address_parse(text, &again, NULL), 0);
        ck_assert_uint_eq(again.length, address.length);
        ck_assert_int_eq(memcmp(&again.u.any, &address.u.any, address.length),
                         0);
    }
}
END_TEST

START_TEST(knows_lengths)
{
    struct rv_address address;
    ck_assert_int_eq(rv_address_parse("8080", &address, NULL), 0);
    ck_assert_uint_eq(address.length, sizeof(struct sockaddr_in));
    ck_assert_int_eq(rv_address_parse("[::]:1", &address, NULL), 0);
    ck_assert_uint_eq(address.length, sizeof(struct sockaddr_in6));
    ck_assert_int_eq(rv_address_parse("/ab", &address, NULL), 0);
    ck_assert_uint_eq(address.length,
                      offsetof(struct sockaddr_un, sun_path) + 4);
}
END_TEST

/* What is wrong leaves the address alone and gets a sentence with a remedy
 * behind a semicolon. */
START_TEST(refuses_others)
{
    static const char *const wrong[] = {
        "",
        " 8080",
        "8080 ",
        "-1",
        "65536",
        "99999999999999999999",
        "localhost:80",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "1.2.3:80",
        "256.1.1.1:80",
        "::1:8080",
        "[::1]",
        "[::1:80",
        "[::zz]:80",
        "[]:80",
        ":80",
        "[fe80::1%nosuchinterface]:80",
        "unix:",
        "unix:@abstract",
        "udp:",
        "tcp:",
        "tcp:udp:53",
        "ptcp:",
        "ptcp:127.0.0.1:80",
        "ptcp:80:host",
        "ptcp:80:",
        "ssl:443",
        "pssl:443",
        "http://127.0.0.1:80",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        struct rv_address address = {.type = 77};
        struct rv_error error = {.code = 0};
        ck_assert_msg(rv_address_parse(wrong[i], &address, &error) == -EINVAL,
                      "%s", wrong[i]);
        ck_assert_int_eq(address.type, 77);
        ck_assert_int_eq(error.code, -EINVAL);
        ck_assert_msg(strchr(error.text, ';') != NULL, "%s", error.text);
    }
}
END_TEST

/* The longest path that fits, and one byte more. */
START_TEST(bounds_paths)
{
    char text[256] = "unixgram:/";
    struct rv_address address;
    char again[RV_ADDRESS_TEXT];
    memset(text + strlen(text), 'x', 106);
    ck_assert_int_eq(rv_address_parse(text, &address, NULL), 0);
    rv_address_format(&address, again);
    ck_assert_str_eq(again, text);
    text[strlen(text)] = 'x';
    ck_assert_int_eq(rv_address_parse(text, &address, NULL), -EINVAL);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(reads_forms),
        RV_TEST(knows_lengths),
        RV_TEST(refuses_others),
        RV_TEST(bounds_paths),
    };
    return rv_test_run("address", tests, RV_ARRAY_SIZE(tests));
}
