#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "os/notify.h"

static struct rv_notify
parse(const char *text, size_t length)
{
    struct rv_notify notify = {.sender = 42, .n_unknown = 99};
    rv_notify_parse(text, length, &notify);
    ck_assert_int_eq(notify.sender, 42);
    return notify;
}

static struct rv_notify
parse_text(const char *text)
{
    return parse(text, strlen(text));
}

START_TEST(parses_what_it_knows)
{
    struct rv_notify notify = parse_text("READY=1\nSTATUS=all well\n");
    ck_assert(notify.is_ready && notify.has_status);
    ck_assert_str_eq(notify.status, "all well");
    ck_assert_int_eq(notify.n_unknown, 0);
    ck_assert(!notify.is_stopping && !notify.is_watchdog);
    notify = parse_text("RELOADING=1\nSTOPPING=1\nWATCHDOG=1\nMAINPID=7");
    ck_assert(notify.is_reloading && notify.is_stopping);
    ck_assert(notify.is_watchdog && notify.has_mainpid && !notify.is_ready);
    notify = parse_text("WATCHDOG=trigger");
    ck_assert(notify.is_trigger && !notify.is_watchdog);
    notify = parse_text("STATUS=");
    ck_assert(notify.has_status && !notify.status[0]);
}
END_TEST

START_TEST(ignores_what_it_does_not_know)
{
    struct rv_notify notify =
        parse_text("READY=2\nREADY\n=\nready=1\nREADY=1 \nFDSTORE=1\n\n\n");
    ck_assert(!notify.is_ready);
    ck_assert_int_eq(notify.n_unknown, 6);
    notify = parse("", 0);
    ck_assert_int_eq(notify.n_unknown, 0);
    notify = parse("READY=1\0\n", 9);
    ck_assert(!notify.is_ready);
    notify = parse("\0\0\nREADY=1", 10);
    ck_assert(notify.is_ready);
}
END_TEST

START_TEST(status_is_cut_and_cleaned)
{
    char text[1000] = "STATUS=a\033[31m\tb\177";
    struct rv_notify notify = parse_text(text);
    ck_assert_str_eq(notify.status, "a?[31m?b?");
    memset(text + 7, 'x', 900);
    notify = parse(text, 907);
    ck_assert_uint_eq(strlen(notify.status), RV_NOTIFY_STATUS - 1);
}
END_TEST

START_TEST(extensions_are_bounded)
{
    ck_assert_uint_eq(parse_text("EXTEND_TIMEOUT_USEC=1500").extend_usec,
                      1500);
    ck_assert_uint_eq(parse_text("EXTEND_TIMEOUT_USEC=").extend_usec, 0);
    ck_assert_uint_eq(parse_text("EXTEND_TIMEOUT_USEC=-1").extend_usec, 0);
    ck_assert_uint_eq(parse_text("EXTEND_TIMEOUT_USEC=9x").extend_usec, 0);
    /* A day at the most, also where the number would overflow. */
    ck_assert_uint_eq(
        parse_text("EXTEND_TIMEOUT_USEC=99999999999999999999999").extend_usec,
        UINT64_C(86400000000));
}
END_TEST

/* A worker's end: connected to the socket 'fd'. */
static int
connect_to(int fd)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int sender = socket(AF_UNIX, type, 0);
    ck_assert_int_ge(sender, 0);
    ck_assert(!getsockname(fd, (struct sockaddr *)&address, &length));
    ck_assert(!connect(sender, (struct sockaddr *)&address, length));
    return sender;
}

START_TEST(name_is_abstract_and_found_again)
{
    int fd = -1;
    char name[RV_NOTIFY_NAME], again[RV_NOTIFY_NAME];
    ck_assert_int_eq(rv_notify_open(&fd, name), 0);
    ck_assert_int_eq(name[0], '@');
    ck_assert_int_eq(rv_notify_name(fd, again), 0);
    ck_assert_str_eq(name, again);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    rv_fd_close(&fd);
    ck_assert_int_eq(rv_notify_name(STDIN_FILENO, again), -ENOTSOCK);
    ck_assert_str_eq(name, again);
}
END_TEST

START_TEST(sends_what_it_receives)
{
    int fd = -1;
    char name[RV_NOTIFY_NAME];
    struct rv_notify notify = {.sender = 0};
    ck_assert_int_eq(rv_notify_open(&fd, name), 0);
    ck_assert_int_eq(rv_notify_receive(fd, &notify), -EAGAIN);
    setenv("NOTIFY_SOCKET", name, 1);
    rv_notify_send("READY=1\nSTATUS=here");
    ck_assert_int_eq(rv_notify_receive(fd, &notify), 0);
    ck_assert(notify.is_ready);
    ck_assert_int_eq(notify.sender, getpid());
    ck_assert_str_eq(notify.status, "here");
    rv_fd_close(&fd);
    rv_notify_send("READY=1"); /* Nobody there: not our business. */
    setenv("NOTIFY_SOCKET", "no-path", 1);
    rv_notify_send("READY=1");
    unsetenv("NOTIFY_SOCKET");
    rv_notify_send("READY=1");
}
END_TEST

START_TEST(flood_is_bounded_and_read_in_order)
{
    int fd = -1, n = 0;
    char name[RV_NOTIFY_NAME];
    struct rv_notify notify = {.sender = 0};
    ck_assert_int_eq(rv_notify_open(&fd, name), 0);
    int sender = connect_to(fd);
    while (send(sender, "STATUS=x", 8, 0) == 8) {
        n++;
        ck_assert_int_lt(n, 100000);
    }
    ck_assert_int_eq(errno, EAGAIN);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_notify_receive(fd, &notify), 0);
    }
    ck_assert_int_eq(rv_notify_receive(fd, &notify), -EAGAIN);
    ck_assert_int_eq(send(sender, "READY=1", 7, 0), 7);
    ck_assert_int_eq(rv_notify_receive(fd, &notify), 0);
    ck_assert(notify.is_ready);
    rv_fd_close(&sender);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(too_long_is_dropped)
{
    int fd = -1;
    char name[RV_NOTIFY_NAME], text[RV_NOTIFY_BYTES + 1];
    struct rv_notify notify = {.sender = 5};
    memset(text, 'x', sizeof text);
    memcpy(text, "READY=1\n", 8);
    ck_assert_int_eq(rv_notify_open(&fd, name), 0);
    int sender = connect_to(fd);
    ck_assert_int_eq(send(sender, text, sizeof text, 0), sizeof text);
    ck_assert_int_eq(rv_notify_receive(fd, &notify), -EBADMSG);
    ck_assert_int_eq(notify.sender, 5);
    ck_assert_int_eq(send(sender, text, sizeof text - 1, 0), sizeof text - 1);
    ck_assert_int_eq(rv_notify_receive(fd, &notify), 0);
    ck_assert(notify.is_ready);
    rv_fd_close(&sender);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(descriptors_sent_along_are_closed)
{
    enum { N = 253 };
    int fd = -1;
    char name[RV_NOTIFY_NAME], text[] = "READY=1";
    struct rv_notify notify = {.sender = 0};
    ck_assert_int_eq(rv_notify_open(&fd, name), 0);
    int sender = connect_to(fd);
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(N * sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(N * sizeof(int))}};
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = STDIN_FILENO;
    }
    memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ck_assert_int_eq(sendmsg(sender, &message, 0), sizeof text - 1);
    ck_assert_int_eq(rv_notify_receive(fd, &notify), 0);
    ck_assert(notify.is_ready);
    rv_fd_close(&sender);
    rv_fd_close(&fd); /* The harness counts what is open. */
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(parses_what_it_knows),
        RV_TEST(ignores_what_it_does_not_know),
        RV_TEST(status_is_cut_and_cleaned),
        RV_TEST(extensions_are_bounded),
        RV_TEST(name_is_abstract_and_found_again),
        RV_TEST(sends_what_it_receives),
        RV_TEST(flood_is_bounded_and_read_in_order),
        RV_TEST(too_long_is_dropped),
        RV_TEST(descriptors_sent_along_are_closed),
    };
    return rv_test_run("notify", tests, RV_ARRAY_SIZE(tests));
}
