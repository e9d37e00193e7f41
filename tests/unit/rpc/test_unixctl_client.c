#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/unixctl_client.h"
#include "reeve/unixctl.h"

/* Waited for in vain only by a test that fails. */
enum { WAIT_MS = 20000 };

/* A server in a child process. */
struct fixture {
    char folder[64];
    char path[128];
    pid_t child;
};

static void
on_echo(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    rv_unixctl_reply(call, rv_unixctl_call_arg(call, 0));
}

static void
on_long(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    enum { LENGTH = 3000000 };
    char *text = malloc(LENGTH + 1);
    memset(text, 'x', LENGTH);
    text[LENGTH] = '\0';
    rv_unixctl_reply(call, text);
    free(text);
}

static void
on_vanish(struct rv_unixctl_call *call RV_UNUSED, void *context RV_UNUSED)
{
    _exit(0);
}

static int
listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const void *any = &address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(fd, any, sizeof address), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static void
run_server(int listen_fd)
{
    struct rv_loop loop;
    struct rv_unixctl_server server;
    struct rv_unixctl_limits limits = RV_UNIXCTL_LIMITS;
    if (rv_loop_init(&loop) || rv_unixctl_server_init(&server)
        || rv_unixctl_register(&server, "echo1", "TEXT", 1, 1, on_echo, NULL)
        || rv_unixctl_register(&server, "long", "", 0, 0, on_long, NULL)
        || rv_unixctl_register(&server, "vanish", "", 0, 0, on_vanish, NULL)
        || rv_unixctl_server_start(&server, &loop, listen_fd, &limits)) {
        _exit(4);
    }
    while (!rv_loop_run_once(&loop, -1)) {
    }
    _exit(6);
}

static void
make_folder(struct fixture *f)
{
    *f = (struct fixture){.child = -1};
    snprintf(f->folder, sizeof f->folder, "/tmp/test_unixctl_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/x.ctl", f->folder);
}

static void
start(struct fixture *f)
{
    make_folder(f);
    int fd = listen_at(f->path);
    f->child = fork();
    if (!f->child) {
        run_server(fd);
    }
    close(fd);
}

static void
finish(struct fixture *f)
{
    if (f->child > 0) {
        kill(f->child, SIGKILL);
        waitpid(f->child, NULL, 0);
    }
    unlink(f->path);
    rmdir(f->folder);
}

/* Until SIGCONT it answers nothing. */
static void
pause_server(const struct fixture *f)
{
    int status;
    ck_assert_int_eq(kill(f->child, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(f->child, &status, WUNTRACED), f->child);
    ck_assert(WIFSTOPPED(status));
}

static void
open_client(struct fixture *f, struct rv_unixctl_client *client)
{
    struct rv_error error;
    int rc = rv_unixctl_client_open_block(client, f->path, WAIT_MS, &error);
    ck_assert_msg(!rc, "%s", error.text);
}

/* Calls a command with at most one argument. */
static int
call(struct rv_unixctl_client *client, const char *command, const char *arg,
     int timeout_ms, struct rv_unixctl_result *result)
{
    struct rv_error error = {.code = 0};
    int rc = rv_unixctl_client_call_block(client, command, arg ? 1 : 0, &arg,
                                          timeout_ms, result, &error);
    ck_assert_int_eq(error.code, rc);
    return rc;
}

START_TEST(calls_and_results)
{
    struct fixture f;
    start(&f);
    struct rv_unixctl_client client;
    struct rv_unixctl_result result;
    open_client(&f, &client);
    ck_assert_int_eq(call(&client, "echo1", "h\xc3\xa9", WAIT_MS, &result), 0);
    ck_assert(!result.is_error);
    ck_assert_str_eq(result.text, "h\xc3\xa9\n");
    rv_unixctl_result_deinit(&result);
    ck_assert_int_eq(call(&client, "nope", NULL, WAIT_MS, &result), 0);
    ck_assert(result.is_error);
    ck_assert_ptr_nonnull(strstr(result.text, "is not a valid command"));
    rv_unixctl_result_deinit(&result);
    ck_assert_int_eq(
        call(&client, "set-options", "--format=json", WAIT_MS, &result), 0);
    ck_assert_ptr_nonnull(result.json);
    ck_assert_ptr_null(result.text);
    rv_unixctl_result_deinit(&result);
    rv_unixctl_result_deinit(&result);
    rv_unixctl_client_close(&client);
    rv_unixctl_client_close(&client);
    finish(&f);
}
END_TEST

START_TEST(long_answers)
{
    struct fixture f;
    start(&f);
    struct rv_unixctl_client client;
    struct rv_unixctl_result result;
    open_client(&f, &client);
    ck_assert_int_eq(call(&client, "long", NULL, 10000, &result), 0);
    ck_assert_uint_eq(strlen(result.text), 3000001);
    rv_unixctl_result_deinit(&result);
    rv_unixctl_client_close(&client);
    finish(&f);
}
END_TEST

START_TEST(timed_out_and_waited_on)
{
    struct fixture f;
    start(&f);
    struct rv_unixctl_client client;
    struct rv_unixctl_result result;
    open_client(&f, &client);
    pause_server(&f);
    ck_assert_int_eq(call(&client, "echo1", "late", 30, &result), -ETIMEDOUT);
    kill(f.child, SIGCONT);
    struct rv_error error;
    ck_assert_int_eq(
        rv_unixctl_client_wait_block(&client, WAIT_MS, &result, &error), 0);
    ck_assert_str_eq(result.text, "late\n");
    rv_unixctl_result_deinit(&result);
    /* The answer to a request given up is not taken for the next one's. */
    pause_server(&f);
    ck_assert_int_eq(call(&client, "echo1", "old", 10, &result), -ETIMEDOUT);
    kill(f.child, SIGCONT);
    ck_assert_int_eq(call(&client, "echo1", "next", WAIT_MS, &result), 0);
    ck_assert_str_eq(result.text, "next\n");
    rv_unixctl_result_deinit(&result);
    rv_unixctl_client_close(&client);
    finish(&f);
}
END_TEST

START_TEST(two_steps)
{
    struct fixture f;
    start(&f);
    struct rv_unixctl_client client;
    struct rv_unixctl_result result;
    struct rv_error error;
    open_client(&f, &client);
    const char *arg = "late";
    pause_server(&f);
    ck_assert_int_eq(rv_unixctl_client_send_block(&client, "echo1", 1, &arg,
                                                  WAIT_MS, &error),
                     0);
    ck_assert_int_eq(rv_unixctl_client_receive(&client, &result, &error),
                     -EAGAIN);
    kill(f.child, SIGCONT);
    int rc;
    do {
        struct pollfd pollfd = {.fd = client.fd, .events = POLLIN};
        ck_assert_int_eq(poll(&pollfd, 1, WAIT_MS), 1);
        rc = rv_unixctl_client_receive(&client, &result, &error);
    } while (rc == -EAGAIN);
    ck_assert_int_eq(rc, 0);
    ck_assert_str_eq(result.text, "late\n");
    rv_unixctl_result_deinit(&result);
    rv_unixctl_client_close(&client);
    finish(&f);
}
END_TEST

START_TEST(server_that_vanishes)
{
    struct fixture f;
    start(&f);
    struct rv_unixctl_client client;
    struct rv_unixctl_result result;
    open_client(&f, &client);
    ck_assert_int_eq(call(&client, "vanish", NULL, WAIT_MS, &result),
                     -ECONNRESET);
    ck_assert_int_eq(call(&client, "echo1", "a", WAIT_MS, &result),
                     -ECONNRESET);
    rv_unixctl_client_close(&client);
    finish(&f);
}
END_TEST

START_TEST(cannot_connect)
{
    struct fixture f;
    make_folder(&f);
    struct rv_unixctl_client client;
    struct rv_error error;
    ck_assert_int_eq(
        rv_unixctl_client_open_block(&client, f.path, WAIT_MS, &error),
        -ENOENT);
    ck_assert_ptr_nonnull(strstr(error.text, f.path));
    close(listen_at(f.path));
    ck_assert_int_eq(
        rv_unixctl_client_open_block(&client, f.path, WAIT_MS, &error),
        -ECONNREFUSED);
    finish(&f);
}
END_TEST

START_TEST(full_queue_times_out)
{
    struct fixture f;
    make_folder(&f);
    int listen_fd = listen_at(f.path);
    struct rv_unixctl_client clients[10];
    int n = 0;
    int rc = 0;
    while (!rc && n < 10) {
        rc = rv_unixctl_client_open_block(&clients[n], f.path, 50, NULL);
        n += !rc;
    }
    ck_assert_int_eq(rc, -ETIMEDOUT);
    for (int i = 0; i < n; i++) {
        rv_unixctl_client_close(&clients[i]);
    }
    close(listen_fd);
    finish(&f);
}
END_TEST

/* Connects a client to a server that sends 'bytes' whatever it is asked. */
static int
ask_strange_server(const char *bytes, struct rv_unixctl_result *result)
{
    struct fixture f;
    make_folder(&f);
    int listen_fd = listen_at(f.path);
    struct rv_unixctl_client client;
    open_client(&f, &client);
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_eq(send(fd, bytes, strlen(bytes), 0),
                     (ssize_t)strlen(bytes));
    int rc = call(&client, "version", NULL, 50, result);
    close(fd);
    close(listen_fd);
    rv_unixctl_client_close(&client);
    finish(&f);
    return rc;
}

START_TEST(strange_servers)
{
    struct rv_unixctl_result result;
    ck_assert_int_eq(ask_strange_server("HTTP/1.1 400 no\r\n", &result),
                     -EPROTO);
    ck_assert_int_eq(ask_strange_server("}", &result), -EPROTO);
    ck_assert_int_eq(ask_strange_server("{\"jsonrpc\":\"2.0\"}", &result),
                     -EPROTO);
    ck_assert_int_eq(ask_strange_server("{\"id\":0,", &result), -ETIMEDOUT);
    /* Open vSwitch's own form of an error, after what is to be skipped. */
    ck_assert_int_eq(
        ask_strange_server("{\"id\":5,\"result\":\"x\",\"error\":null} "
                           "{\"method\":\"update\",\"params\":[],\"id\":null}"
                           "{\"id\":\"echo\",\"method\":\"echo\","
                           "\"params\":[]}{\"id\":0,\"error\":\"no\\n\"}",
                           &result),
        0);
    ck_assert(result.is_error);
    ck_assert_str_eq(result.text, "no\n");
    rv_unixctl_result_deinit(&result);
    ck_assert_int_eq(
        ask_strange_server("{\"id\":0,\"error\":{\"code\":1}}", &result), 0);
    ck_assert_str_eq(result.text, "{\"code\": 1}");
    rv_unixctl_result_deinit(&result);
}
END_TEST

START_TEST(paths_of_any_length)
{
    struct fixture f;
    make_folder(&f);
    char folder[256];
    snprintf(folder, sizeof folder, "%s/%0120d", f.folder, 1);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    char path[300];
    snprintf(path, sizeof path, "%s/x.ctl", folder);
    int listen_fd = listen_at(f.path);
    ck_assert_int_eq(rename(f.path, path), 0);
    struct rv_unixctl_client client;
    struct rv_error error;
    int rc = rv_unixctl_client_open_block(&client, path, WAIT_MS, &error);
    ck_assert_msg(!rc, "%s", error.text);
    rv_unixctl_client_close(&client);
    close(listen_fd);
    unlink(path);
    rmdir(folder);
    finish(&f);
}
END_TEST

/* Writes 'text' as the pidfile of "prog" and locks it, in a child that waits
 * to be killed; 'text' NULL: its own pid. */
static pid_t
hold_pidfile(const char *name, const char *text)
{
    int ready[2];
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    if (!child) {
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct flock lock = {.l_type = F_WRLCK};
        if (fd < 0 || fcntl(fd, F_SETLK, &lock)) {
            _exit(1);
        }
        if (text) {
            dprintf(fd, "%s", text);
        } else {
            dprintf(fd, "%d\n", (int)getpid());
        }
        close(ready[1]);
        pause();
        _exit(0);
    }
    close(ready[1]);
    char byte;
    ck_assert_int_eq(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    return child;
}

static void
check_resolve(const char *target, const char *rundir, int code,
              const char *expected)
{
    struct rv_buf path;
    struct rv_error error = {.code = 0};
    rv_buf_init(&path, 4096);
    ck_assert_int_eq(rv_unixctl_resolve(target, rundir, &path, &error), code);
    ck_assert_int_eq(error.code, code);
    if (code) {
        ck_assert_uint_eq(path.length, 0);
        ck_assert_msg(strstr(error.text, expected), "%s", error.text);
    } else {
        ck_assert_str_eq(rv_buf_string(&path), expected);
    }
    rv_buf_deinit(&path);
}

START_TEST(resolves_targets)
{
    struct fixture f;
    make_folder(&f);
    check_resolve("/x/y.ctl", f.folder, 0, "/x/y.ctl");
    check_resolve("prog", f.folder, -ENOENT, "not running");
    char pidfile[128];
    snprintf(pidfile, sizeof pidfile, "%s/prog.pid", f.folder);
    pid_t child = hold_pidfile(pidfile, NULL);
    char expected[200];
    snprintf(expected, sizeof expected, "%s/prog.%d.ctl", f.folder,
             (int)child);
    check_resolve("prog", f.folder, 0, expected);
    check_resolve("prog.pid", f.folder, 0, expected);
    check_resolve(pidfile, "/nonexistent", 0, expected);
    ck_assert_int_eq(chdir(f.folder), 0);
    snprintf(expected, sizeof expected, "./prog.%d.ctl", (int)child);
    check_resolve("./prog.pid", "/nonexistent", 0, expected);
    check_resolve("./none.pid", f.folder, -ENOENT, "there is no ./none.pid");
    check_resolve("/x/.pid", f.folder, 0, "/x/.pid");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    check_resolve("prog", f.folder, -ESRCH, "left behind");
    child = hold_pidfile(pidfile, "1\n");
    check_resolve("prog", f.folder, -ESRCH, "names process 1");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = hold_pidfile(pidfile, "12x\n");
    check_resolve("prog", f.folder, -EINVAL, "does not hold a pid");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = hold_pidfile(pidfile, "");
    check_resolve("prog", f.folder, -EINVAL, "does not hold a pid");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    unlink(pidfile);
    finish(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(calls_and_results),       RV_TEST(long_answers),
        RV_TEST(timed_out_and_waited_on), RV_TEST(two_steps),
        RV_TEST(server_that_vanishes),    RV_TEST(cannot_connect),
        RV_TEST(full_queue_times_out),    RV_TEST(strange_servers),
        RV_TEST(paths_of_any_length),     RV_TEST(resolves_targets),
    };
    return rv_test_run("unixctl_client", tests, RV_ARRAY_SIZE(tests));
}
