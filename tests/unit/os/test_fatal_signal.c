#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/fatal_signal.h"
#include "os/process.h"

struct place {
    char folder[64], path[128];
};

static void
make_file(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void
make_place(struct place *place)
{
    snprintf(place->folder, sizeof place->folder, "/tmp/reeve-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place->folder));
    snprintf(place->path, sizeof place->path, "%s/file", place->folder);
    make_file(place->path);
}

static void
remove_place(const struct place *place)
{
    unlink(place->path);
    ck_assert(!rmdir(place->folder));
}

static bool
is_there(const struct place *place)
{
    return !access(place->path, F_OK);
}

/* A sanitizer or Check may have taken some; and no core dumps. */
static void
behave_like_a_program(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    rv_process_reset_signals();
}

/* What a child that runs 'body' died of; the negative status of an exit. */
static int
death_of(void (*body)(const struct place *, int), const struct place *place,
         int number)
{
    int status;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        behave_like_a_program();
        body(place, number);
        _exit(99);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void
name_and_raise(const struct place *place, int number)
{
    if (!rv_fatal_signal_add_file(place->path)) {
        raise(number);
    }
}

START_TEST(every_deadly_signal)
{
    static const int deadly[] = {
        SIGHUP,  SIGINT,    SIGQUIT, SIGILL,  SIGTRAP, SIGABRT,
        SIGBUS,  SIGFPE,    SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE,
        SIGALRM, SIGTERM,   SIGXCPU, SIGXFSZ, SIGPROF, SIGVTALRM,
        SIGIO,   SIGSTKFLT, SIGSYS,  SIGPWR,
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(deadly); i++) {
        struct place place;
        make_place(&place);
        ck_assert_int_eq(death_of(name_and_raise, &place, deadly[i]),
                         deadly[i]);
        ck_assert_msg(!is_there(&place), "signal %d", deadly[i]);
        remove_place(&place);
    }
}
END_TEST

START_TEST(harmless_signals_stay_harmless)
{
    static const int harmless[] = {SIGCHLD, SIGWINCH, SIGURG, SIGCONT};
    struct place place;
    make_place(&place);
    for (size_t i = 0; i < RV_ARRAY_SIZE(harmless); i++) {
        ck_assert_int_eq(death_of(name_and_raise, &place, harmless[i]), -99);
        ck_assert(is_there(&place));
    }
    remove_place(&place);
}
END_TEST

static void
touch_forbidden(const struct place *place, int number)
{
    char *page =
        mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED && !rv_fatal_signal_add_file(place->path)) {
        *(volatile char *)page = (char)number;
    }
}

/* With a table that is shared, the names survive their owner. */
START_TEST(named_by_one_that_was_killed)
{
    struct place place;
    int status;
    make_place(&place);
    pid_t outer = fork();
    ck_assert_int_ge(outer, 0);
    if (outer == 0) {
        if (rv__fatal_signal_share()) {
            _exit(1);
        }
        pid_t pid = fork();
        if (pid == 0) {
            name_and_raise(&place, SIGKILL);
            _exit(2);
        }
        siginfo_t info;
        waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
        rv_fatal_signal_unlink_files();
        if (!is_there(&place)) {
            _exit(3);
        }
        rv__fatal_signal_unlink_files_of(pid);
        _exit(is_there(&place) ? 4 : 0);
    }
    ck_assert_int_eq(waitpid(outer, &status, 0), outer);
    ck_assert_int_eq(status, 0);
    remove_place(&place);
}
END_TEST

START_TEST(real_fault)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(death_of(touch_forbidden, &place, 0), SIGSEGV);
    ck_assert(!is_there(&place));
    remove_place(&place);
}
END_TEST

static void
ignore_and_raise(const struct place *place, int number)
{
    signal(number, SIG_IGN);
    name_and_raise(place, number);
    struct sigaction action;
    sigaction(number, NULL, &action);
    _exit(action.sa_handler == SIG_IGN ? 98 : 97);
}

START_TEST(signals_of_the_program_stay_its_own)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(death_of(ignore_and_raise, &place, SIGHUP), -98);
    ck_assert(is_there(&place));
    remove_place(&place);
}
END_TEST

static void
forget_and_raise(const struct place *place, int number)
{
    if (!rv_fatal_signal_add_file(place->path)) {
        rv_fatal_signal_remove_file(place->path);
        raise(number);
    }
}

static void
replace_and_raise(const struct place *place, int number)
{
    if (!rv_fatal_signal_add_file(place->path)) {
        char other[160];
        snprintf(other, sizeof other, "%s.new", place->path);
        int fd = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0 && !rename(other, place->path)) {
            raise(number);
        }
    }
}

START_TEST(leaves_what_is_not_ours)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(death_of(forget_and_raise, &place, SIGTERM), SIGTERM);
    ck_assert(is_there(&place));
    ck_assert_int_eq(death_of(replace_and_raise, &place, SIGTERM), SIGTERM);
    ck_assert(is_there(&place));
    remove_place(&place);
}
END_TEST

static void
raise_only(const struct place *place, int number)
{
    (void)place;
    raise(number);
}

/* A child of the process that named the file. */
static void
let_child_die(const struct place *place, int number)
{
    if (!rv_fatal_signal_add_file(place->path)) {
        pid_t pid = fork();
        if (pid == 0) {
            raise(number);
        }
        int status;
        waitpid(pid, &status, 0);
        rv_fatal_signal_init();
        _exit(WIFSIGNALED(status) && is_there(place) ? 98 : 97);
    }
}

START_TEST(child_leaves_the_files_of_its_parent)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(death_of(let_child_die, &place, SIGTERM), -98);
    ck_assert_int_eq(death_of(raise_only, &place, SIGTERM), SIGTERM);
    ck_assert(is_there(&place));
    remove_place(&place);
}
END_TEST

static void
fill(const struct place *place, int number)
{
    char path[RV_FATAL_SIGNAL_PATH + 1];
    (void)number;
    for (int i = 0; i <= RV_FATAL_SIGNAL_FILES; i++) {
        snprintf(path, sizeof path, "%s.%d", place->path, i);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        int expected = i < RV_FATAL_SIGNAL_FILES ? 0 : -ENOSPC;
        if (fd < 0 || rv_fatal_signal_add_file(path) != expected) {
            _exit(i);
        }
    }
    unlink(path);
    snprintf(path, sizeof path, "%s.0", place->path);
    /* A second time takes no second place. */
    if (rv_fatal_signal_add_file(path)) {
        _exit(96);
    }
    rv_fatal_signal_remove_file(path);
    if (rv_fatal_signal_add_file(place->path)
        || rv_fatal_signal_add_file("relative") != -EINVAL
        || rv_fatal_signal_add_file("/no/such/file") != -ENOENT) {
        _exit(97);
    }
    unlink(path);
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    if (rv_fatal_signal_add_file(path) != -ENAMETOOLONG) {
        _exit(98);
    }
    rv_fatal_signal_unlink_files();
}

START_TEST(limits_and_normal_end)
{
    struct place place;
    make_place(&place);
    ck_assert_int_eq(death_of(fill, &place, 0), -99);
    ck_assert(!is_there(&place));
    remove_place(&place);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(every_deadly_signal),
        RV_TEST(harmless_signals_stay_harmless),
        RV_TEST(named_by_one_that_was_killed),
        RV_TEST(real_fault),
        RV_TEST(signals_of_the_program_stay_its_own),
        RV_TEST(leaves_what_is_not_ours),
        RV_TEST(child_leaves_the_files_of_its_parent),
        RV_TEST(limits_and_normal_end),
    };
    return rv_test_run("fatal_signal", tests, RV_ARRAY_SIZE(tests));
}
