#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"

START_TEST(close_is_idempotent_and_keeps_errno)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    errno = EXDEV;
    rv_fd_close(&fd);
    ck_assert_int_eq(fd, -1);
    rv_fd_close(&fd);
    ck_assert_int_eq(errno, EXDEV);
}
END_TEST

START_TEST(flags)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(rv_fd_set_cloexec(fd, false), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(rv_fd_set_cloexec(fd, true), 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(rv_fd_set_nonblocking(fd, true), 0);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(rv_fd_set_nonblocking(fd, false), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    rv_fd_close(&fd);
    ck_assert_int_eq(rv_fd_set_cloexec(-1, true), -EBADF);
    ck_assert_int_eq(rv_fd_set_nonblocking(-1, true), -EBADF);
}
END_TEST

START_TEST(memfd_holds_its_bytes_for_good)
{
    static const char text[] = "what a new master must know";
    int fd = -1;
    struct rv_buf buf;
    rv_buf_init(&buf, 1000);
    ck_assert_int_eq(rv_memfd_create("test", text, sizeof text, &fd), 0);
    ck_assert_int_lt(write(fd, "x", 1), 0);
    ck_assert_int_lt(ftruncate(fd, 0), 0);
    lseek(fd, 0, SEEK_SET);
    ck_assert_int_eq(rv_fd_read_all(fd, &buf), 0);
    ck_assert_uint_eq(buf.length, sizeof text);
    ck_assert_mem_eq(buf.data, text, sizeof text);
    rv_buf_deinit(&buf);
    /* Larger than the buffer may become. */
    rv_buf_init(&buf, 10);
    lseek(fd, 0, SEEK_SET);
    ck_assert_int_eq(rv_fd_read_all(fd, &buf), -EMSGSIZE);
    rv_buf_deinit(&buf);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(files_are_read_whole)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 1 << 20);
    ck_assert_int_eq(rv_file_read("/no/such/file", &buf), -ENOENT);
    ck_assert_int_eq(rv_file_read("/", &buf), -EISDIR);
    ck_assert_uint_eq(buf.length, 0);
    ck_assert_int_eq(rv_file_read("/proc/self/stat", &buf), 0);
    ck_assert_uint_gt(buf.length, 10);
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(write_all_says_when_it_cannot)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(rv_fd_write_all(fd, "x", 1), -ENOSPC);
    ck_assert_int_eq(rv_fd_write_all(fd, "", 0), 0);
    rv_fd_close(&fd);
    ck_assert_int_eq(rv_fd_write_all(-1, "x", 1), -EBADF);
}
END_TEST

START_TEST(packets_keep_their_borders)
{
    int fds[2], passed = -1;
    char data[16];
    ck_assert_int_eq(rv_packet_pair(fds), 0);
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed),
                     -EAGAIN);
    ck_assert_int_eq(rv_packet_send(fds[0], "one", 3, -1), 0);
    ck_assert_int_eq(rv_packet_send(fds[0], "three", 5, -1), 0);
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed), 3);
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed), 5);
    ck_assert_int_eq(passed, -1);
    ck_assert_mem_eq(data, "three", 5);
    /* One that is cut is an error, and the next is whole. */
    ck_assert_int_eq(rv_packet_send(fds[0], "a longer one", 12, fds[0]), 0);
    ck_assert_int_eq(rv_packet_send(fds[0], "next", 4, -1), 0);
    passed = -7;
    ck_assert_int_eq(rv_packet_receive(fds[1], data, 4, &passed), -EMSGSIZE);
    ck_assert_int_eq(passed, -7);
    passed = -1;
    ck_assert_int_eq(rv_packet_receive(fds[1], data, 4, &passed), 4);
    rv_fd_close(&fds[0]);
    ck_assert_int_eq(rv_packet_receive(fds[1], data, 4, &passed), 0);
    ck_assert_int_eq(rv_packet_send(fds[1], "x", 1, -1), -EPIPE);
    rv_fd_close(&fds[1]);
}
END_TEST

START_TEST(packets_carry_descriptors)
{
    int fds[2], passed = -1;
    char data[16];
    struct stat sent, received;
    ck_assert_int_eq(rv_packet_pair(fds), 0);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(rv_packet_send(fds[0], "fd", 2, fd), 0);
    ck_assert(!fstat(fd, &sent));
    rv_fd_close(&fd); /* In flight it lives on. */
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed), 2);
    ck_assert_int_ge(passed, 0);
    ck_assert(!fstat(passed, &received));
    ck_assert_uint_eq(sent.st_rdev, received.st_rdev);
    ck_assert(fcntl(passed, F_GETFD) & FD_CLOEXEC);
    rv_fd_close(&passed);
    ck_assert_int_eq(rv_packet_send(fds[0], "fd", 2, 999), -EBADF);
    rv_fd_close(&fds[0]);
    rv_fd_close(&fds[1]);
}
END_TEST

START_TEST(full_socket_says_so)
{
    int fds[2], n = 0, rc, passed = -1;
    char data[256] = "";
    ck_assert_int_eq(rv_packet_pair(fds), 0);
    while (!(rc = rv_packet_send(fds[0], data, sizeof data, -1))) {
        n++;
    }
    ck_assert_int_eq(rc, -EAGAIN);
    ck_assert_int_gt(n, 100);
    while (rv_packet_receive(fds[1], data, sizeof data, &passed) > 0) {
        n--;
    }
    ck_assert_int_eq(n, 0);
    rv_fd_close(&fds[0]);
    rv_fd_close(&fds[1]);
}
END_TEST

START_TEST(descriptors_that_find_no_room)
{
    int fds[2], passed = -1;
    char data[16];
    struct rlimit old, few;
    ck_assert_int_eq(rv_packet_pair(fds), 0);
    ck_assert_int_eq(rv_packet_send(fds[0], "fd", 2, fds[0]), 0);
    ck_assert_int_eq(rv_packet_send(fds[0], "text", 4, -1), 0);
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = (rlim_t)RV_MAX(fds[0], fds[1]) + 1;
    ck_assert(!setrlimit(RLIMIT_NOFILE, &few));
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed),
                     -EMSGSIZE);
    ck_assert_int_eq(rv_packet_receive(fds[1], data, sizeof data, &passed), 4);
    ck_assert(!setrlimit(RLIMIT_NOFILE, &old));
    ck_assert_int_eq(passed, -1);
    rv_fd_close(&fds[0]);
    rv_fd_close(&fds[1]);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(close_is_idempotent_and_keeps_errno),
        RV_TEST(flags),
        RV_TEST(memfd_holds_its_bytes_for_good),
        RV_TEST(files_are_read_whole),
        RV_TEST(write_all_says_when_it_cannot),
        RV_TEST(packets_keep_their_borders),
        RV_TEST(packets_carry_descriptors),
        RV_TEST(full_socket_says_so),
        RV_TEST(descriptors_that_find_no_room),
    };
    return rv_test_run("fd", tests, RV_ARRAY_SIZE(tests));
}
