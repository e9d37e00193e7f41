#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "reeve/child.h"

struct run {
    struct rv_loop loop;
    struct rv_child child;
    bool has_ended;
    size_t n_wrote[3];
};

static void
on_ended(struct rv_child *child, void *context)
{
    struct run *run = context;
    ck_assert_int_eq(child->pid, 0);
    ck_assert(!run->has_ended);
    run->has_ended = true;
}

static void
begin(struct run *run)
{
    memset(run, 0, sizeof *run);
    ck_assert_int_eq(rv_loop_init(&run->loop), 0);
    rv_child_init(&run->child);
}

static void
end(struct run *run)
{
    rv_child_deinit(&run->child);
    rv_child_deinit(&run->child);
    rv_loop_deinit(&run->loop);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static int
start(struct run *run, struct rv_child_options *options)
{
    run->has_ended = false;
    options->on_ended = on_ended;
    options->context = run;
    return rv_child_start(&run->child, &run->loop, options, NULL);
}

static void
wait_end(struct run *run)
{
    while (!run->has_ended) {
        ck_assert_int_eq(rv_loop_run_once(&run->loop, -1), 0);
    }
}

/* Runs a shell with its outputs captured. */
static void
run_shell(struct run *run, const char *script, size_t maximum)
{
    const char *const arguments[] = {"sh", "-c", script, NULL};
    struct rv_child_options options = {
        .arguments = arguments,
        .out = RV_CHILD_CAPTURE,
        .err = RV_CHILD_CAPTURE,
        .max_output_bytes = maximum,
    };
    ck_assert_int_eq(start(run, &options), 0);
    ck_assert_int_gt(run->child.pid, 0);
    wait_end(run);
}

static void
expect(const struct run *run, const char *end_text, const char *output)
{
    char text[RV_PROCESS_END_TEXT];
    ck_assert_str_eq(rv_process_end_text(&run->child.end, text), end_text);
    ck_assert_str_eq(rv_buf_string(&run->child.output), output);
}

START_TEST(ends_and_output)
{
    struct run run;
    begin(&run);
    run_shell(&run, "echo out; echo err >&2; exit 3", 100);
    expect(&run, "exit status 3", "out\nerr\n");
    ck_assert(!run.child.is_truncated && !run.child.is_timed_out);
    /* Again, with nothing left of the last one. */
    run_shell(&run, "kill -SEGV $$", 100);
    run.child.end.is_core_dumped = false;
    expect(&run, "killed (Segmentation fault)", "");
    run_shell(&run, "cat", 100);
    expect(&run, "exit status 0", "");
    end(&run);
}
END_TEST

START_TEST(output_has_a_maximum)
{
    struct run run;
    begin(&run);
    /* More than a pipe holds, so it would hang if nobody read on. */
    run_shell(&run, "head -c 1000000 /dev/zero | tr '\\0' x", 10);
    expect(&run, "exit status 0", "xxxxxxxxxx");
    ck_assert(run.child.is_truncated);
    run_shell(&run, "printf 0123456789", 10);
    expect(&run, "exit status 0", "0123456789");
    ck_assert(!run.child.is_truncated);
    end(&run);
}
END_TEST

static void
on_wrote(struct rv_child *child, int fd, const char *data, size_t n,
         void *context)
{
    struct run *run = context;
    ck_assert_ptr_eq(child, &run->child);
    ck_assert_int_eq(data[0], fd == 1 ? 'o' : 'e');
    run->n_wrote[fd] += n;
}

START_TEST(output_by_callback)
{
    struct run run;
    const char *const arguments[] = {
        "sh", "-c",
        "head -c 300000 /dev/zero | tr '\\0' o; "
        "head -c 200000 /dev/zero | tr '\\0' e >&2",
        NULL};
    struct rv_child_options options = {
        .arguments = arguments,
        .out = RV_CHILD_CAPTURE,
        .err = RV_CHILD_CAPTURE,
        .on_wrote = on_wrote,
    };
    begin(&run);
    ck_assert_int_eq(start(&run, &options), 0);
    wait_end(&run);
    ck_assert_uint_eq(run.n_wrote[1], 300000);
    ck_assert_uint_eq(run.n_wrote[2], 200000);
    end(&run);
}
END_TEST

START_TEST(environment_folder_and_input)
{
    struct run run;
    const char *const arguments[] = {
        "/bin/sh", "-c", "pwd; echo $A$HOME; cat; ls /proc/$$/fd", NULL};
    const char *const environment[] = {"A=b", NULL};
    int input = -1, noise = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(rv_memfd_create("input", "hello\n", 6, &input), 0);
    ck_assert_int_eq(lseek(input, 0, SEEK_SET), 0);
    struct rv_child_options options = {
        .arguments = arguments,
        .environment = environment,
        .directory = "/usr",
        .in = RV_CHILD_FD,
        .in_fd = input,
        .out = RV_CHILD_CAPTURE,
        .err = RV_CHILD_INHERIT,
        .max_output_bytes = 1000,
    };
    begin(&run);
    ck_assert_int_eq(start(&run, &options), 0);
    wait_end(&run);
    /* No descriptor but the three, though one of ours is inheritable. */
    expect(&run, "exit status 0", "/usr\nb\nhello\n0\n1\n2\n");
    rv_fd_close(&input);
    rv_fd_close(&noise);
    end(&run);
}
END_TEST

START_TEST(signals_are_at_their_defaults)
{
    struct run run;
    sigset_t all;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &all, NULL);
    begin(&run);
    run_shell(&run, "grep -E '^Sig(Blk|Ign)' /proc/self/status", 200);
    expect(&run, "exit status 0",
           "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    end(&run);
}
END_TEST

START_TEST(errors_of_exec)
{
    static const struct {
        const char *program, *directory;
        int rc;
        const char *text;
    } cases[] = {
        {"no-such-program", NULL, -ENOENT,
         "cannot start \"no-such-program\": No such file or directory"},
        {"/etc/passwd", NULL, -EACCES,
         "cannot start \"/etc/passwd\": Permission denied"},
        {"true", "/no/such/folder", -ENOENT,
         "folder \"/no/such/folder\": No such file or directory"},
        {"true", "/etc/passwd", -ENOTDIR,
         "folder \"/etc/passwd\": Not a directory"},
        {NULL, NULL, -EINVAL, "there is no program to start"},
    };
    struct run run;
    begin(&run);
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        const char *const arguments[] = {cases[i].program, NULL};
        struct rv_error error;
        struct rv_child_options options = {
            .arguments = arguments,
            .directory = cases[i].directory,
            .out = RV_CHILD_CAPTURE,
            .on_ended = on_ended,
            .context = &run,
        };
        ck_assert_int_eq(
            rv_child_start(&run.child, &run.loop, &options, &error),
            cases[i].rc);
        ck_assert_str_eq(error.text, cases[i].text);
        ck_assert_int_eq(run.child.pid, 0);
    }
    ck_assert(!run.has_ended);
    end(&run);
}
END_TEST

START_TEST(signalled)
{
    struct run run;
    const char *const arguments[] = {"cat", NULL};
    int ends[2];
    ck_assert(!pipe2(ends, O_CLOEXEC));
    struct rv_child_options options = {
        .arguments = arguments, .in = RV_CHILD_FD, .in_fd = ends[0]};
    begin(&run);
    ck_assert_int_eq(rv_child_signal(&run.child, SIGTERM), -ESRCH);
    ck_assert_int_eq(start(&run, &options), 0);
    ck_assert_int_eq(start(&run, &options), -EBUSY);
    ck_assert_int_eq(rv_child_signal(&run.child, SIGTERM), 0);
    wait_end(&run);
    expect(&run, "killed (Terminated)", "");
    ck_assert_int_eq(rv_child_signal(&run.child, SIGTERM), -ESRCH);
    /* One that runs is killed and collected. */
    ck_assert_int_eq(start(&run, &options), 0);
    end(&run);
    ck_assert(!run.has_ended);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* Waits for the word that the shell says when its trap is set. */
static void
wait_output(struct run *run)
{
    while (!run->child.output.length) {
        ck_assert_int_eq(rv_loop_run_once(&run->loop, -1), 0);
    }
}

START_TEST(takes_too_long)
{
    struct run run;
    const char *const arguments[] = {
        "sh", "-c", "trap '' TERM; echo x; while :; do read a; done", NULL};
    int ends[2];
    ck_assert(!pipe2(ends, O_CLOEXEC));
    struct rv_child_options options = {
        .arguments = arguments,
        .in = RV_CHILD_FD,
        .in_fd = ends[0],
        .out = RV_CHILD_CAPTURE,
        .max_output_bytes = 10,
        .timeout_ms = 60000,
        .kill_after_ms = 30000,
        .own_group = true,
    };
    begin(&run);
    ck_assert_int_eq(start(&run, &options), 0);
    wait_output(&run);
    rv_loop_clock_stop(&run.loop);
    rv_loop_clock_warp(&run.loop, 60000);
    ck_assert_int_eq(rv_loop_run_once(&run.loop, 0), 0);
    ck_assert(run.child.is_timed_out && run.child.pid);
    rv_loop_clock_warp(&run.loop, 30000);
    wait_end(&run);
    expect(&run, "killed (Killed)", "x\n");
    close(ends[0]);
    close(ends[1]);
    end(&run);
}
END_TEST

/* A program of the program's has the pipe, and lives on. */
START_TEST(does_not_wait_for_orphans)
{
    struct run run;
    char folder[] = "/tmp/reeve-test-XXXXXX";
    char script[256], path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    snprintf(script, sizeof script, "mkfifo %s; cat %s & echo ready", path,
             path);
    begin(&run);
    run_shell(&run, script, 100);
    expect(&run, "exit status 0", "ready\n");
    /* Opening the other end and closing it ends the orphan. */
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    rv_fd_close(&fd);
    unlink(path);
    ck_assert(!rmdir(folder));
    end(&run);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(ends_and_output),
        RV_TEST(output_has_a_maximum),
        RV_TEST(output_by_callback),
        RV_TEST(environment_folder_and_input),
        RV_TEST(signals_are_at_their_defaults),
        RV_TEST(errors_of_exec),
        RV_TEST(signalled),
        RV_TEST(takes_too_long),
        RV_TEST(does_not_wait_for_orphans),
    };
    return rv_test_run("child", tests, RV_ARRAY_SIZE(tests));
}
