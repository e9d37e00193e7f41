#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "net/name.h"

/* A name of tcp, and the address that comes out. */
static void
check_address(const char *text, const char *expected)
{
    struct rv_stream_name name;
    struct rv_error error;
    int rc = rv_stream_name_parse(text, 6640, &name, &error);
    ck_assert_msg(!rc, "%s: %s", text, error.text);
    ck_assert_msg(name.is_numeric, "%s is no address", text);
    char got[RV_ADDRESS_TEXT];
    rv_address_format(&name.address, got);
    ck_assert_str_eq(got, expected);
}

START_TEST(reads_active_addresses)
{
    check_address("tcp:127.0.0.1:80", "tcp:127.0.0.1:80");
    check_address("tcp:127.0.0.1", "tcp:127.0.0.1:6640");
    check_address("tcp:127.0.0.1:", "tcp:127.0.0.1:6640");
    check_address("tcp:[::1]:80", "tcp:[::1]:80");
    check_address("tcp:[::1]", "tcp:[::1]:6640");
    check_address("tcp:[::1]:", "tcp:[::1]:6640");
    check_address("tcp:::1", "tcp:[::1]:6640");
    check_address("tcp:[127.0.0.1]:80", "tcp:127.0.0.1:80");
    check_address("ssl:[fe80::1%1]:80", "tcp:[fe80::1%1]:80");
}
END_TEST

START_TEST(reads_scopes_by_name)
{
    struct rv_stream_name name;
    ck_assert_int_eq(
        rv_stream_name_parse("tcp:[fe80::1%lo]", 6640, &name, NULL), 0);
    ck_assert_uint_eq(name.address.u.in6.sin6_scope_id, if_nametoindex("lo"));
    ck_assert_str_eq(name.host, "fe80::1%lo");
}
END_TEST

START_TEST(reads_passive_addresses)
{
    check_address("ptcp:", "tcp:0.0.0.0:6640");
    check_address("ptcp:80", "tcp:0.0.0.0:80");
    check_address("ptcp:0", "tcp:0.0.0.0:0");
    check_address("ptcp:80:127.0.0.1", "tcp:127.0.0.1:80");
    check_address("ptcp::127.0.0.1", "tcp:127.0.0.1:6640");
    check_address("ptcp:80:[::1]", "tcp:[::1]:80");
    check_address("ptcp:[::1]", "tcp:[::1]:6640");
    check_address("ptcp::[::]", "tcp:[::]:6640");
    check_address("pssl:::1", "tcp:[::1]:6640");
}
END_TEST

START_TEST(reads_host_names)
{
    struct rv_stream_name name;
    ck_assert_int_eq(
        rv_stream_name_parse("ssl:db.example.org:1", 6640, &name, NULL), 0);
    ck_assert_int_eq(name.kind, RV_STREAM_SSL);
    ck_assert(!name.is_numeric && !name.is_passive);
    ck_assert_str_eq(name.host, "db.example.org");
    ck_assert_uint_eq(name.port, 1);
}
END_TEST

START_TEST(reads_paths_and_numbers)
{
    struct rv_stream_name name;
    ck_assert_int_eq(rv_stream_name_parse("unix:a:b", 1, &name, NULL), 0);
    ck_assert_str_eq(name.path, "a:b");
    ck_assert_int_eq(rv_stream_name_parse("punix:/x", 1, &name, NULL), 0);
    ck_assert(name.is_passive && name.kind == RV_STREAM_UNIX);
    ck_assert_int_eq(rv_stream_name_parse("fd:17", 1, &name, NULL), 0);
    ck_assert_int_eq(name.fd, 17);
    ck_assert_int_eq(rv_stream_name_parse("pfd:3", 1, &name, NULL), 0);
    ck_assert(name.is_passive && name.fd == 3);
}
END_TEST

static void
check_refused(const char *text, int code, const char *part)
{
    struct rv_stream_name name = {.fd = 99};
    struct rv_error error;
    ck_assert_int_eq(rv_stream_name_parse(text, 6640, &name, &error), code);
    ck_assert_msg(strstr(error.text, part), "%s: %s", text, error.text);
    ck_assert_msg(!strchr(error.text, '\n'), "%s", error.text);
    ck_assert_int_eq(name.fd, 99);
}

START_TEST(refuses_with_a_reason)
{
    check_refused("", -EAFNOSUPPORT, "no way to connect");
    check_refused("sctp:1", -EAFNOSUPPORT, "no way to connect");
    check_refused("127.0.0.1:80", -EAFNOSUPPORT, "no way to connect");
    check_refused("tcp:", -EINVAL, "host is missing");
    check_refused("tcp::80", -EINVAL, "host is missing");
    check_refused("tcp:a:b", -EINVAL, "not a port");
    check_refused("tcp:a:65536", -EINVAL, "not a port");
    check_refused("tcp:a:-1", -EINVAL, "not a port");
    check_refused("tcp:[::g]:1", -EINVAL, "not an IPv6 address");
    check_refused("tcp:[::1%nowhere]:1", -EINVAL, "no network interface");
    check_refused("tcp:a b:1", -EINVAL, "not a host name");
    check_refused("tcp:[::1:1", -EINVAL, "not an IPv6 address");
    check_refused("ptcp:localhost", -EINVAL, "not a port");
    check_refused("ptcp:1:localhost", -EINVAL, "not an address to listen on");
    check_refused("unix:", -EINVAL, "path of the socket is missing");
    check_refused("fd:", -EINVAL, "number of a descriptor");
    check_refused("fd:x", -EINVAL, "number of a descriptor");
    check_refused("pfd:-1", -EINVAL, "number of a descriptor");
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(reads_active_addresses),  RV_TEST(reads_scopes_by_name),
        RV_TEST(reads_passive_addresses), RV_TEST(reads_host_names),
        RV_TEST(reads_paths_and_numbers), RV_TEST(refuses_with_a_reason),
    };
    return rv_test_run("name", tests, RV_ARRAY_SIZE(tests));
}
