#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "os/process.h"

static pid_t
start_child(int status)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (status >= 0) {
            _exit(status);
        }
        for (;;) {
            pause();
        }
    }
    return pid;
}

START_TEST(knows_itself_and_no_others)
{
    struct rv_process_info info;
    ck_assert_int_eq(rv_process_info(getpid(), &info), 0);
    ck_assert_int_eq(info.state, 'R');
    ck_assert_int_eq(info.parent, getppid());
    ck_assert_uint_gt(info.start_time, 0);
    ck_assert_uint_gt(info.rss_bytes, 100000);
    ck_assert_uint_eq(rv_process_start_time(getpid()), info.start_time);
    ck_assert_int_eq(rv_process_info(999999999, &info), -ESRCH);
    ck_assert_uint_eq(rv_process_start_time(999999999), 0);
}
END_TEST

START_TEST(a_name_may_look_like_anything)
{
    struct rv_process_info info;
    ck_assert(!prctl(PR_SET_NAME, ") Z 1 (x) 2", 0, 0, 0));
    ck_assert_int_eq(rv_process_info(getpid(), &info), 0);
    ck_assert_int_eq(info.state, 'R');
    ck_assert_int_eq(info.parent, getppid());
}
END_TEST

START_TEST(pidfd_belongs_to_one_process)
{
    struct rv_process_end end;
    int fd = -1;
    pid_t pid = start_child(-1);
    uint64_t start_time = rv_process_start_time(pid);
    ck_assert_int_eq(rv_pidfd_open(pid, start_time + 1, &fd), -ESRCH);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(rv_pidfd_open(pid, start_time, &fd), 0);
    ck_assert_int_eq(rv_pidfd_collect(fd, &end), -EAGAIN);
    ck_assert_int_eq(rv_pidfd_signal(fd, SIGKILL), 0);
    struct pollfd ended = {fd, POLLIN, 0};
    ck_assert_int_eq(poll(&ended, 1, 10000), 1);
    ck_assert_int_eq(rv_pidfd_collect(fd, &end), 0);
    ck_assert(end.is_signal && end.value == SIGKILL);
    ck_assert_int_eq(rv_pidfd_collect(fd, &end), -ECHILD);
    ck_assert_int_eq(rv_pidfd_signal(fd, SIGTERM), -ESRCH);
    rv_fd_close(&fd);
    ck_assert_int_eq(rv_pidfd_open(pid, 0, &fd), -ESRCH);
}
END_TEST

START_TEST(exit_status_is_collected)
{
    struct rv_process_end end, decoded;
    int fd = -1;
    pid_t pid = start_child(7);
    ck_assert_int_eq(rv_pidfd_open(pid, 0, &fd), 0);
    struct pollfd ended = {fd, POLLIN, 0};
    ck_assert_int_eq(poll(&ended, 1, 10000), 1);
    ck_assert_int_eq(rv_pidfd_collect(fd, &end), 0);
    ck_assert(!end.is_signal && end.value == 7);
    int status = rv_process_end_encode(&end);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    rv_process_end_decode(status, &decoded);
    ck_assert(!decoded.is_signal && decoded.value == 7);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(ends_are_encoded_as_wait_has_them)
{
    struct rv_process_end decoded;
    struct rv_process_end end = {
        .is_signal = true, .is_core_dumped = true, .value = SIGSEGV};
    int status = rv_process_end_encode(&end);
    ck_assert(WIFSIGNALED(status) && WCOREDUMP(status));
    ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
    rv_process_end_decode(status, &decoded);
    ck_assert(decoded.is_signal && decoded.is_core_dumped);
    ck_assert_int_eq(decoded.value, SIGSEGV);
}
END_TEST

START_TEST(ends_in_words)
{
    static const struct {
        struct rv_process_end end;
        const char *text;
    } cases[] = {
        {{false, false, 0}, "exit status 0"},
        {{false, false, 255}, "exit status 255"},
        {{true, false, SIGSEGV}, "killed (Segmentation fault)"},
        {{true, true, SIGABRT}, "killed (Aborted), core dumped"},
        {{true, false, 64}, "killed (signal 64)"},
        {{true, false, -1}, "killed (signal -1)"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        char text[RV_PROCESS_END_TEXT];
        ck_assert_str_eq(rv_process_end_text(&cases[i].end, text),
                         cases[i].text);
    }
}
END_TEST

START_TEST(descendants)
{
    ck_assert(rv_process_descends(getpid(), getpid()));
    ck_assert(rv_process_descends(getpid(), getppid()));
    ck_assert(!rv_process_descends(getppid(), getpid()));
    ck_assert(!rv_process_descends(999999999, getpid()));
    pid_t pid = start_child(-1);
    ck_assert(rv_process_descends(pid, getpid()));
    ck_assert(rv_process_descends(pid, getppid()));
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert(!rv_process_descends(pid, getpid()));
}
END_TEST

START_TEST(signals_are_as_new_in_a_child)
{
    sigset_t set;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct sigaction now;
        rv_process_reset_signals();
        sigprocmask(SIG_BLOCK, NULL, &set);
        sigaction(SIGPIPE, NULL, &now);
        _exit(sigismember(&set, SIGTERM) || now.sa_handler != SIG_DFL);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(orphans_come_to_a_subreaper)
{
    ck_assert_int_eq(rv_process_become_subreaper(), 0);
    int fds[2];
    char byte;
    ck_assert(!pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            close(fds[1]);
            ssize_t n = read(fds[0], &byte, 1);
            _exit(n ? 1 : 9);
        }
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_gt(waitpid(-1, &status, 0), 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(knows_itself_and_no_others),
        RV_TEST(a_name_may_look_like_anything),
        RV_TEST(pidfd_belongs_to_one_process),
        RV_TEST(exit_status_is_collected),
        RV_TEST(ends_are_encoded_as_wait_has_them),
        RV_TEST(ends_in_words),
        RV_TEST(descendants),
        RV_TEST(signals_are_as_new_in_a_child),
        RV_TEST(orphans_come_to_a_subreaper),
    };
    return rv_test_run("process", tests, RV_ARRAY_SIZE(tests));
}
