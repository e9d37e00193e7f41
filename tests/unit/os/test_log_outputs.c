#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/fd.h"
#include "reeve/coverage.h"
#include "reeve/log_outputs.h"
#include "harness.h"

static struct rv_log_module web = RV_LOG_MODULE("web");
#define RV_LOG_THIS (&web)

/* A folder of the test's own, and names in it. */
struct place {
    char folder[64], file[100], other[100], socket[100];
};

static void
make_place(struct place *place)
{
    snprintf(place->folder, sizeof place->folder, "/tmp/reeve-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place->folder));
    snprintf(place->file, sizeof place->file, "%s/a.log", place->folder);
    snprintf(place->other, sizeof place->other, "%s/b.log", place->folder);
    snprintf(place->socket, sizeof place->socket, "%s/log", place->folder);
    rv_log_close(RV_LOG_CONSOLE);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_FILE, "%c|%p|%m", NULL), 0);
}

static void
remove_place(const struct place *place)
{
    rv_log_set_outlet(RV_LOG_FILE, NULL);
    rv_log_set_outlet(RV_LOG_SYSLOG, NULL);
    unlink(place->file);
    unlink(place->other);
    unlink(place->socket);
    ck_assert_int_eq(rmdir(place->folder), 0);
}

static void
check_file(const char *path, const char *expected)
{
    struct rv_buf text;
    rv_buf_init(&text, 100000);
    ck_assert_int_eq(rv_file_read(path, &text), 0);
    ck_assert_str_eq(rv_buf_string(&text), expected);
    rv_buf_deinit(&text);
}

static uint64_t
counter(const char *name)
{
    uint64_t total = 0;
    ck_assert_int_eq(rv_coverage_read(name, &total), 0);
    return total;
}

START_TEST(a_file_is_appended_to)
{
    struct place place;
    struct rv_error error;
    struct stat info;
    make_place(&place);
    ck_assert_ptr_null(rv_log_file_path());
    rv_log_info("to nobody");
    ck_assert_int_eq(rv_log_open_file(place.file, &error), 0);
    ck_assert_str_eq(rv_log_file_path(), place.file);
    rv_log_info("one");
    rv_log_debug("not");
    ck_assert_int_eq(rv_log_open_file(place.file, &error), 0);
    rv_log_warn("two\n");
    check_file(place.file, "web|INFO|one\nweb|WARN|two\n");
    ck_assert_int_eq(stat(place.file, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777 & ~0640U, 0);
    remove_place(&place);
}
END_TEST

START_TEST(a_renamed_file_is_opened_again)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(rv_log_reopen(RV_LOG_FILE), -ENOENT);
    ck_assert_int_eq(rv_log_open_file(place.file, NULL), 0);
    rv_log_info("one");
    ck_assert_int_eq(rename(place.file, place.other), 0);
    rv_log_info("two");
    ck_assert_int_eq(rv_log_reopen(RV_LOG_FILE), 0);
    rv_log_info("three");
    check_file(place.other, "web|INFO|one\nweb|INFO|two\n");
    check_file(place.file, "web|INFO|three\n");
    remove_place(&place);
}
END_TEST

START_TEST(a_closed_file_is_let_go)
{
    struct place place;
    make_place(&place);
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(before);
    ck_assert_int_eq(rv_log_open_file(place.file, NULL), 0);
    rv_log_close(RV_LOG_FILE);
    rv_log_close(RV_LOG_FILE);
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    ck_assert_int_eq(before, after);
    rv_log_info("lost");
    ck_assert_int_eq(rv_log_reopen(RV_LOG_FILE), 0);
    rv_log_info("kept");
    check_file(place.file, "web|INFO|kept\n");
    remove_place(&place);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened)
{
    struct place place;
    struct rv_error error;
    make_place(&place);
    ck_assert_int_eq(rv_log_open_file(place.file, &error), 0);
    ck_assert_int_eq(rv_log_open_file("/none/x.log", &error), -ENOENT);
    ck_assert_str_eq(error.text, "failed to open /none/x.log for logging: No "
                                 "such file or directory");
    rv_log_info("the old one stays");
    check_file(place.file, "web|INFO|the old one stays\n");
    ck_assert_int_eq(mkfifo(place.other, 0600), 0);
    ck_assert_int_eq(rv_log_open_file(place.other, &error), -ENXIO);
    unlink(place.file);
    ck_assert_int_eq(mkdir(place.file, 0700), 0);
    ck_assert_int_eq(rv_log_reopen(RV_LOG_FILE), -EISDIR);
    rv_log_info("still");
    rmdir(place.file);
    remove_place(&place);
}
END_TEST

START_TEST(a_full_disk_costs_lines_only)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(rv_log_open_file("/dev/full", NULL), 0);
    ck_assert_uint_eq(counter("log_file_dropped"), 0);
    for (int i = 0; i < 3; i++) {
        rv_log_info("line %d", i);
    }
    ck_assert_uint_eq(counter("log_file_dropped"), 3);
    remove_place(&place);
}
END_TEST

START_TEST(a_torn_line_ends_before_the_next)
{
    struct place place;
    int fds[2];
    char text[100] = "";
    make_place(&place);
    ck_assert_int_eq(mkfifo(place.file, 0600), 0);
    fds[0] = open(place.file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fds[0], 0);
    /* Writes above PIPE_BUF may be cut; one page is all it holds. */
    fds[1] = fcntl(fds[0], F_SETPIPE_SZ, 4096);
    ck_assert_int_eq(fds[1], 4096);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_FILE,
                                        "%1000c%1000c%1000c"
                                        "%1000c%1000c|%m",
                                        NULL),
                     0);
    ck_assert_int_eq(rv_log_open_file(place.file, NULL), 0);
    rv_log_info("cut");
    ck_assert_uint_eq(counter("log_file_dropped"), 1);
    char drained[4096];
    ck_assert_int_eq(read(fds[0], drained, sizeof drained), 4096);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_FILE, "%m", NULL), 0);
    rv_log_info("whole");
    rv_log_info("next");
    ck_assert_int_ge(read(fds[0], text, sizeof text - 1), 1);
    ck_assert_str_eq(text, "\nwhole\nnext\n");
    close(fds[0]);
    remove_place(&place);
}
END_TEST

/* A system log: a datagram socket at 'path'. */
static int
open_syslogd(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    ck_assert_int_eq(
        bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
check_datagram(int fd, const char *expected)
{
    char text[5000];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    ck_assert_msg(n >= 0, "no datagram");
    text[n] = '\0';
    ck_assert_str_eq(text, expected);
}

static void
check_no_datagram(int fd)
{
    char text[10];
    ck_assert_int_eq(recv(fd, text, sizeof text, 0), -1);
}

START_TEST(the_system_log_gets_what_syslog_sends)
{
    struct place place;
    char text[5000] = "";
    unsigned int priority, hour, minute, second, number;
    char month[4], rest[100];
    int day;
    make_place(&place);
    int fd = open_syslogd(place.socket);
    rv_log_set_program("tester");
    ck_assert_int_eq(rv_log_open_syslog(place.socket, NULL, NULL), 0);
    rv_log_warn("hello");
    ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
    ck_assert_msg(sscanf(text, "<%u>%3s %d %u:%u:%u tester: %5u|%99s",
                         &priority, month, &day, &hour, &minute, &second,
                         &number, rest)
                      == 8,
                  "%s", text);
    ck_assert_uint_eq(priority, 28);
    ck_assert_str_eq(rest, "web|WARN|hello");
    close(fd);
    remove_place(&place);
}
END_TEST

START_TEST(each_line_is_a_datagram)
{
    struct place place;
    make_place(&place);
    int fd = open_syslogd(place.socket);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_SYSLOG, "%m", NULL), 0);
    ck_assert_int_eq(rv_log_set_facility("local0"), 0);
    ck_assert_int_eq(rv_log_open_syslog(place.socket, "<%B>%A %A: ", NULL), 0);
    rv_log_set_program("abcdefgh");
    rv_log_err("a\nbb\n\nthe third");
    check_datagram(fd, "<131>abcdefgh abcdefgh: a");
    check_datagram(fd, "<131>abcdefgh abcdefgh: bb");
    check_datagram(fd, "<131>abcdefgh abcdefgh: the third");
    check_no_datagram(fd);
    close(fd);
    remove_place(&place);
}
END_TEST

START_TEST(a_system_log_may_come_and_go)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_SYSLOG, "%m", NULL), 0);
    ck_assert_int_eq(rv_log_open_syslog(place.socket, "", NULL), 0);
    rv_log_info("nobody there");
    ck_assert_uint_eq(counter("log_syslog_dropped"), 1);
    int fd = open_syslogd(place.socket);
    rv_log_info("one");
    check_datagram(fd, "one");
    close(fd);
    rv_log_info("gone");
    ck_assert_uint_eq(counter("log_syslog_dropped"), 2);
    fd = open_syslogd(place.socket);
    rv_log_info("two");
    check_datagram(fd, "two");
    int next = open_syslogd(place.socket);
    close(fd);
    rv_log_info("three");
    check_datagram(next, "three");
    ck_assert_uint_eq(counter("log_syslog_dropped"), 2);
    close(next);
    remove_place(&place);
}
END_TEST

START_TEST(a_deaf_system_log_blocks_nobody)
{
    struct place place;
    make_place(&place);
    int fd = open_syslogd(place.socket);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_SYSLOG, "%m", NULL), 0);
    ck_assert_int_eq(rv_log_open_syslog(place.socket, "", NULL), 0);
    rv_log_set_rate_limit(NULL, false);
    for (int i = 0; i < 5000; i++) {
        rv_log_info("line %d", i);
    }
    ck_assert_uint_gt(counter("log_syslog_dropped"), 0);
    check_datagram(fd, "line 0");
    rv_log_set_rate_limit(NULL, true);
    close(fd);
    remove_place(&place);
}
END_TEST

START_TEST(options)
{
    struct place place;
    struct rv_error error;
    char text[200];
    make_place(&place);
    rv_log_register(&web);
    ck_assert_int_eq(rv_log_option("verbose", "web:file:warn", &error), 0);
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_FILE), RV_LOG_WARN);
    ck_assert_int_eq(rv_log_option("verbose", NULL, &error), 0);
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_SYSLOG), RV_LOG_DBG);
    ck_assert_int_eq(rv_log_option("verbose", "x", &error), -EINVAL);
    ck_assert_str_eq(error.text, "processing \"x\": no destination, level, or "
                                 "module \"x\"");
    ck_assert(!rv_log_is_open(RV_LOG_SYSLOG));
    ck_assert_int_eq(rv_log_option("verbose", "web:SYSLOG:err", &error), 0);
    ck_assert(rv_log_is_open(RV_LOG_SYSLOG));
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_SYSLOG), RV_LOG_ERR);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_RPC, RV_LOG_SYSLOG), RV_LOG_OFF);
    ck_assert_int_eq(rv_log_option("syslog-method", "null", &error), 0);
    ck_assert(!rv_log_is_open(RV_LOG_SYSLOG));
    snprintf(text, sizeof text, "unix:%s", place.socket);
    int fd = open_syslogd(place.socket);
    ck_assert_int_eq(rv_log_option("syslog-method", text, &error), 0);
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_SYSLOG, "%m", NULL), 0);
    rv_log_err("hello");
    check_datagram(fd, "<27>hello");
    close(fd);
    ck_assert_int_eq(rv_log_option("syslog-method", "tcp:x", &error), -EINVAL);
    ck_assert_str_eq(error.text, "unsupported syslog method 'tcp:x'");
    ck_assert_int_eq(rv_log_option("log-file", place.other, &error), 0);
    ck_assert_int_eq(setenv("OVS_LOGDIR", place.folder, 1), 0);
    rv_log_set_program("a");
    ck_assert_int_eq(rv_log_option("log-file", NULL, &error), 0);
    ck_assert_str_eq(rv_log_file_path(), place.file);
    ck_assert_int_eq(rv_log_option("colour", NULL, &error), -ENOENT);
    remove_place(&place);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(a_file_is_appended_to),
        RV_TEST(a_renamed_file_is_opened_again),
        RV_TEST(a_closed_file_is_let_go),
        RV_TEST(a_file_that_cannot_be_opened),
        RV_TEST(a_full_disk_costs_lines_only),
        RV_TEST(a_torn_line_ends_before_the_next),
        RV_TEST(the_system_log_gets_what_syslog_sends),
        RV_TEST(each_line_is_a_datagram),
        RV_TEST(a_system_log_may_come_and_go),
        RV_TEST(a_deaf_system_log_blocks_nobody),
        RV_TEST(options),
    };
    return rv_test_run("log_outputs", tests, RV_ARRAY_SIZE(tests));
}
