#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "os/listen.h"

static const struct rv_listen_options plain = {.backlog = 128, .mode = -1};

static struct rv_address
parse(const char *text)
{
    struct rv_address address;
    struct rv_error error;
    ck_assert_msg(!rv_address_parse(text, &address, &error), "%s", error.text);
    return address;
}

/* Opens 'text', which must work. */
static int
open_at(struct rv_address *address, const struct rv_listen_options *options)
{
    int fd = -1;
    struct rv_error error;
    ck_assert_msg(!rv_listen_open(address, options, &fd, &error), "%s",
                  error.text);
    return fd;
}

static int
connect_at(const struct rv_address *address)
{
    int fd = socket(address->u.any.sa_family, address->type | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert(!connect(fd, &address->u.any, address->length));
    return fd;
}

static void
make_folder(char path[64])
{
    snprintf(path, 64, "/tmp/reeve-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
}

START_TEST(opens_and_says_which_port)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0",
                                        "udp:127.0.0.1:0"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(texts); i++) {
        struct rv_address address = parse(texts[i]);
        struct rv_address other = parse("127.0.0.1:1");
        int fd = open_at(&address, &plain);
        ck_assert_uint_ne(address.u.in.sin_port, 0);
        ck_assert(rv_listen_matches(fd, &address));
        ck_assert(!rv_listen_matches(fd, &other));
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        rv_fd_close(&fd);
    }
    struct rv_address address = parse("127.0.0.1:1");
    ck_assert(!rv_listen_matches(-1, &address));
    ck_assert(!rv_listen_matches(STDIN_FILENO, &address));
}
END_TEST

START_TEST(in_use_and_absent_are_told)
{
    struct rv_address address = parse("127.0.0.1:0");
    int fd = open_at(&address, &plain), second = -1;
    struct rv_error error;
    ck_assert_int_eq(rv_listen_open(&address, &plain, &second, &error),
                     -EADDRINUSE);
    ck_assert_int_eq(second, -1);
    ck_assert_ptr_nonnull(strstr(error.text, "127.0.0.1:"));
    rv_fd_close(&fd);
    address = parse("192.0.2.1:80");
    ck_assert_int_eq(rv_listen_open(&address, &plain, &second, &error),
                     -EADDRNOTAVAIL);
    address = parse("unix:/no/such/folder/x.sock");
    ck_assert_int_eq(rv_listen_open(&address, &plain, &second, &error),
                     -ENOENT);
    ck_assert_ptr_nonnull(strstr(error.text, "/no/such/folder"));
}
END_TEST

START_TEST(queue_length_counts_who_waits)
{
    struct rv_address address = parse("127.0.0.1:0");
    int fd = open_at(&address, &plain);
    ck_assert_int_eq(rv_listen_queue_length(fd), 0);
    int clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = connect_at(&address);
        ck_assert_int_eq(rv_listen_queue_length(fd), i + 1);
    }
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_eq(rv_listen_queue_length(fd), 2);
    ck_assert_int_eq(rv_listen_set_backlog(fd, 1), 0);
    ck_assert_int_eq(rv_listen_queue_length(fd), 2);
    ck_assert_int_lt(rv_listen_queue_length(STDIN_FILENO), 0);
    rv_fd_close(&accepted);
    for (int i = 0; i < 3; i++) {
        rv_fd_close(&clients[i]);
    }
    rv_fd_close(&fd);
}
END_TEST

enum { GROUP = 3, CLIENTS = 64 };

struct group {
    struct rv_address address;
    int fds[GROUP];
    int clients[CLIENTS * 2];
    int n_clients;
};

static void
open_group(struct group *group, const char *text)
{
    const struct rv_listen_options options = {
        .reuseport = true, .backlog = 512, .mode = -1};
    group->address = parse(text);
    group->n_clients = 0;
    for (int i = 0; i < GROUP; i++) {
        group->fds[i] = open_at(&group->address, &options);
    }
}

static void
close_group(struct group *group)
{
    for (int i = 0; i < group->n_clients; i++) {
        rv_fd_close(&group->clients[i]);
    }
    for (int i = 0; i < GROUP; i++) {
        rv_fd_close(&group->fds[i]);
    }
}

static void
connect_many(struct group *group, int n)
{
    for (int i = 0; i < n; i++) {
        group->clients[group->n_clients++] = connect_at(&group->address);
    }
}

START_TEST(steering_spares_the_last_of_a_group)
{
    struct group group;
    open_group(&group, "127.0.0.1:0");
    connect_many(&group, CLIENTS);
    int waiting = rv_listen_queue_length(group.fds[2]);
    ck_assert_msg(waiting > 0, "64 connections, none for the third socket");
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 2), 0);
    int first = rv_listen_queue_length(group.fds[0]);
    int second = rv_listen_queue_length(group.fds[1]);
    connect_many(&group, CLIENTS / 2);
    /* What already waited stays; nothing new comes. */
    ck_assert_int_eq(rv_listen_queue_length(group.fds[2]), waiting);
    ck_assert_int_gt(rv_listen_queue_length(group.fds[0]), first);
    ck_assert_int_gt(rv_listen_queue_length(group.fds[1]), second);
    /* It goes without anybody noticing once its queue is empty. */
    for (int i = 0; i < waiting; i++) {
        int fd = accept4(group.fds[2], NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        rv_fd_close(&fd);
    }
    rv_fd_close(&group.fds[2]);
    connect_many(&group, CLIENTS / 4);
    int all = rv_listen_queue_length(group.fds[0])
              + rv_listen_queue_length(group.fds[1]);
    ck_assert_int_eq(all + waiting, group.n_clients);
    close_group(&group);
}
END_TEST

START_TEST(steering_ends)
{
    struct group group;
    open_group(&group, "127.0.0.1:0");
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 0), 0);
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 1), 0);
    connect_many(&group, CLIENTS);
    ck_assert_int_eq(rv_listen_queue_length(group.fds[0]), CLIENTS);
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 0), 0);
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 0), 0);
    connect_many(&group, CLIENTS);
    ck_assert_int_gt(rv_listen_queue_length(group.fds[1])
                         + rv_listen_queue_length(group.fds[2]),
                     0);
    close_group(&group);
    ck_assert_int_lt(rv_listen_steer(STDIN_FILENO, 1), 0);
}
END_TEST

static int
n_readable(const struct group *group)
{
    int n = 0;
    for (int i = 0; i < GROUP; i++) {
        struct pollfd readable = {group->fds[i], POLLIN, 0};
        n += poll(&readable, 1, 0) == 1;
    }
    return n;
}

START_TEST(datagrams_of_a_flow_stay_together)
{
    struct group group;
    open_group(&group, "udp:127.0.0.1:0");
    ck_assert_int_eq(rv_listen_steer(group.fds[0], 2), 0);
    connect_many(&group, 1);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(send(group.clients[0], "x", 1, 0), 1);
    }
    ck_assert_int_eq(n_readable(&group), 1);
    struct pollfd third = {group.fds[2], POLLIN, 0};
    connect_many(&group, CLIENTS);
    for (int i = 0; i < group.n_clients; i++) {
        ck_assert_int_eq(send(group.clients[i], "x", 1, 0), 1);
    }
    ck_assert_int_eq(poll(&third, 1, 0), 0);
    close_group(&group);
}
END_TEST

START_TEST(stale_unix_socket_is_replaced_a_living_one_is_not)
{
    char folder[64], text[128];
    struct stat info;
    struct rv_error error;
    const struct rv_listen_options options = {.backlog = 8, .mode = 0640};
    make_folder(folder);
    snprintf(text, sizeof text, "unix:%s/x.sock", folder);
    struct rv_address address = parse(text);
    int fd = open_at(&address, &options), second = -1;
    ck_assert(!stat(address.u.un.sun_path, &info));
    ck_assert_int_eq(info.st_mode & 0777, 0640);
    ck_assert(rv_listen_matches(fd, &address));
    ck_assert_int_eq(rv_listen_open(&address, &options, &second, &error),
                     -EADDRINUSE);
    rv_fd_close(&fd);
    fd = open_at(&address, &options);
    rv_fd_close(&fd);
    ck_assert(!unlink(address.u.un.sun_path));
    /* A file that is no socket is somebody's data. */
    FILE *file = fopen(address.u.un.sun_path, "we");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    ck_assert_int_eq(rv_listen_open(&address, &options, &fd, &error),
                     -EADDRINUSE);
    ck_assert(!unlink(address.u.un.sun_path));
    ck_assert(!rmdir(folder));
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(opens_and_says_which_port),
        RV_TEST(in_use_and_absent_are_told),
        RV_TEST(queue_length_counts_who_waits),
        RV_TEST(steering_spares_the_last_of_a_group),
        RV_TEST(steering_ends),
        RV_TEST(datagrams_of_a_flow_stay_together),
        RV_TEST(stale_unix_socket_is_replaced_a_living_one_is_not),
    };
    return rv_test_run("listen", tests, RV_ARRAY_SIZE(tests));
}
