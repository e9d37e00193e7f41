#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RV_LOG_THIS RV_LOG_RPC

#include "reeve/log.h"
#include "harness.h"
#include "reeve/unixctl.h"

/* A server on a real socket, and commands that answer at once, later, or
 * stop the server. */
struct fixture {
    struct rv_loop loop;
    struct rv_unixctl_server server;
    int listen_fd;
    struct sockaddr_un address;
    struct rv_unixctl_call *later[4];
    int n_later;
    int n_cancelled;
};

static void
on_echo(struct rv_unixctl_call *call, void *f RV_UNUSED)
{
    rv_unixctl_reply(call, rv_unixctl_call_arg(call, 0));
}

static void
on_later(struct rv_unixctl_call *call, void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert_int_lt(f->n_later, 4);
    f->later[f->n_later++] = call;
}

static void
count_cancelled(struct rv_unixctl_call *call, void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert(rv_unixctl_call_is_dead(call));
    f->n_cancelled++;
    rv_unixctl_reply(call, "to nobody");
}

static void
on_watched(struct rv_unixctl_call *call, void *fixture_)
{
    rv_unixctl_call_on_cancelled(call, count_cancelled, fixture_);
}

static void
on_json(struct rv_unixctl_call *call, void *f RV_UNUSED)
{
    rv_unixctl_reply_json(call, json_pack("{s:[i,i]}", "n", 1, 2));
}

static void
on_stop(struct rv_unixctl_call *call, void *fixture_)
{
    struct fixture *f = fixture_;
    rv_unixctl_server_stop(&f->server);
    ck_assert(rv_unixctl_call_is_dead(call));
    rv_unixctl_reply(call, "stopped");
}

static void
on_long(struct rv_unixctl_call *call, void *f RV_UNUSED)
{
    long n = strtol(rv_unixctl_call_arg(call, 0), NULL, 10);
    char *text = malloc((size_t)n + 1);
    memset(text, 'x', (size_t)n);
    text[n] = '\0';
    rv_unixctl_reply(call, text);
    free(text);
}

static void
ignore_line(const struct rv_log_line *line RV_UNUSED, void *context RV_UNUSED)
{
}

static void
add(struct fixture *f, const char *name, int n_args,
    rv_unixctl_handler *handler)
{
    ck_assert_int_eq(rv_unixctl_register(&f->server, name, "ARGS", n_args,
                                         n_args, handler, f),
                     0);
}

static void
start(struct fixture *f, unsigned int max_connections)
{
    memset(f, 0, sizeof *f);
    rv_log_set_sink(ignore_line, NULL);
    f->address.sun_family = AF_UNIX;
    snprintf(f->address.sun_path, sizeof f->address.sun_path,
             "/tmp/test_unixctl.%d.ctl", (int)getpid());
    f->listen_fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const void *any = &f->address;
    ck_assert_int_eq(bind(f->listen_fd, any, sizeof f->address), 0);
    ck_assert_int_eq(listen(f->listen_fd, 1000), 0);
    ck_assert_int_eq(rv_loop_init(&f->loop), 0);
    ck_assert_int_eq(rv_unixctl_server_init(&f->server), 0);
    rv_unixctl_server_set_version(&f->server, "reeve (reeve) 1.2.3");
    add(f, "echo1", 1, on_echo);
    add(f, "later", 0, on_later);
    add(f, "watched", 0, on_watched);
    add(f, "json", 0, on_json);
    add(f, "stop", 0, on_stop);
    add(f, "long", 1, on_long);
    struct rv_unixctl_limits limits = {.max_request_bytes = 65536,
                                       .max_reply_bytes = 1000000,
                                       .max_depth = 8,
                                       .max_connections = max_connections};
    ck_assert_int_eq(
        rv_unixctl_server_start(&f->server, &f->loop, f->listen_fd, &limits),
        0);
}

static void
finish(struct fixture *f)
{
    rv_unixctl_server_deinit(&f->server);
    rv_unixctl_server_deinit(&f->server);
    rv_loop_deinit(&f->loop);
    close(f->listen_fd);
    unlink(f->address.sun_path);
}

static void
turns(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_loop_run_once(&f->loop, 0), 0);
    }
}

static int
dial(struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const void *any = &f->address;
    ck_assert_int_eq(connect(fd, any, sizeof f->address), 0);
    return fd;
}

static void
put(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL),
                     (ssize_t)strlen(text));
}

/* What the server sent; "CLOSED" when it closed, "" when nothing came. */
static const char *
get(struct fixture *f, int fd)
{
    static char text[4096];
    turns(f, 4);
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        return "CLOSED";
    }
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
check_answer(struct fixture *f, int fd, const char *request,
             const char *answer)
{
    put(fd, request);
    ck_assert_str_eq(get(f, fd), answer);
}

#define CALL(METHOD, PARAMS) \
  "{\"id\":1,\"method\":\"" METHOD "\",\"params\":[" PARAMS "]}"
#define OK(RESULT)  "{\"id\":1,\"result\":" RESULT ",\"error\":null}"
#define ERR(RESULT) "{\"id\":1,\"result\":null,\"error\":" RESULT "}"

START_TEST(answers_built_in_commands)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    check_answer(&f, fd, CALL("version", ""),
                 OK("\"reeve (reeve) 1.2.3\\n\""));
    put(fd, CALL("list-commands", ""));
    char list[4096];
    snprintf(list, sizeof list, "%s", get(&f, fd));
    static const char head[] =
        "{\"id\":1,\"result\":\"The available commands are:\\n  ";
    ck_assert_int_eq(strncmp(list, head, strlen(head)), 0);
    /* In order, each in a line of its own; the rest are tested elsewhere. */
    static const char *const lines[] = {
        "\\n  echo1                   ARGS\\n",
        "\\n  json                    ARGS\\n",
        "\\n  later                   ARGS\\n",
        "\\n  list-commands           \\n",
        "\\n  long                    ARGS\\n",
        "\\n  set-options             [--format text|json]\\n",
        "\\n  stop                    ARGS\\n",
        "\\n  version                 \\n",
        "\\n  watched                 ARGS\\n\"",
    };
    const char *p = list;
    for (size_t i = 0; i < RV_ARRAY_SIZE(lines); i++) {
        p = strstr(p, lines[i]);
        ck_assert_msg(p != NULL, "%s lacks %s", list, lines[i]);
    }
    ck_assert_ptr_null(strstr(list, "\\n  help "));
    check_answer(&f, fd, CALL("help", ""), list);
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(refuses_in_the_words_of_open_vswitch)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    check_answer(&f, fd, CALL("nope", ""),
                 ERR("\"\\\"nope\\\" is not a valid command (use "
                     "\\\"list-commands\\\" to see a list of valid "
                     "commands)\\n\""));
    check_answer(&f, fd, CALL("echo", ""),
                 ERR("\"\\\"echo\\\" is not a valid command (use "
                     "\\\"list-commands\\\" to see a list of valid "
                     "commands)\\n\""));
    check_answer(&f, fd, CALL("echo1", ""),
                 ERR("\"\\\"echo1\\\" command requires at least 1 "
                     "arguments\\n\""));
    check_answer(&f, fd, CALL("version", "\"a\""),
                 ERR("\"\\\"version\\\" command takes at most 0 "
                     "arguments\\n\""));
    check_answer(&f, fd, CALL("echo1", "5"),
                 ERR("\"\\\"echo1\\\" command has non-string "
                     "argument\\n\""));
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(speaks_json_on_request)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    int other = dial(&f);
    const char *plain = OK("{\"reply-format\":\"plain\",\"reply\":\"\"}");
    check_answer(&f, fd, CALL("json", ""),
                 OK("\"{\\n  \\\"n\\\": [\\n    1,\\n    2\\n  ]\\n}\\n\""));
    check_answer(&f, fd, CALL("set-options", "\"--format\",\"json\""), plain);
    check_answer(&f, fd, CALL("json", ""), OK("{\"n\":[1,2]}"));
    check_answer(&f, fd, CALL("echo1", "\"a\""),
                 OK("{\"reply-format\":\"plain\",\"reply\":\"a\\n\"}"));
    check_answer(&f, fd, CALL("echo1", ""),
                 ERR("\"\\\"echo1\\\" command requires at least 1 "
                     "arguments\\n\""));
    check_answer(&f, other, CALL("echo1", "\"a\""), OK("\"a\\n\""));
    check_answer(&f, fd, CALL("set-options", "\"--format=yaml\""),
                 ERR("\"option format has invalid value yaml\\n\""));
    check_answer(&f, fd, CALL("set-options", "\"--format\""),
                 ERR("\"option '--format' requires an argument\\n\""));
    check_answer(&f, fd, CALL("set-options", "\"--x\""),
                 ERR("\"unrecognized option '--x'\\n\""));
    check_answer(&f, fd, CALL("set-options", ""),
                 ERR("\"\\\"set-options\\\" command requires at least 1 "
                     "arguments\\n\""));
    check_answer(&f, fd, CALL("set-options", "\"--format=text\""), OK("\"\""));
    check_answer(&f, fd, CALL("set-options", "\"-f\",\"json\""), plain);
    check_answer(&f, fd, CALL("set-options", "\"-ftext\""), OK("\"\""));
    close(fd);
    close(other);
    finish(&f);
}
END_TEST

START_TEST(sets_log_levels)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    rv_log_register(RV_LOG_POOL);
    check_answer(&f, fd, CALL("vlog/set", "\"rpc:warn\""), OK("\"\""));
    ck_assert_int_eq(rv_log_get_level(RV_LOG_RPC, RV_LOG_CONSOLE),
                     RV_LOG_WARN);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_POOL, RV_LOG_CONSOLE),
                     RV_LOG_INFO);
    check_answer(&f, fd, CALL("vlog/set", "\"ANY:console:err\",\"dbg:pool\""),
                 OK("\"\""));
    ck_assert_int_eq(rv_log_get_level(RV_LOG_RPC, RV_LOG_CONSOLE), RV_LOG_ERR);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_POOL, RV_LOG_CONSOLE),
                     RV_LOG_DBG);
    check_answer(&f, fd, CALL("vlog/set", "\"off\",\"rpc:bogus\""),
                 ERR("\"no destination, level, or module \\\"bogus\\\"\\n\""));
    ck_assert_int_eq(rv_log_get_level(RV_LOG_RPC, RV_LOG_CONSOLE), RV_LOG_ERR);
    check_answer(&f, fd, CALL("vlog/set", "\"dbg,info\""),
                 ERR("\"cannot specify multiple levels\\n\""));
    check_answer(&f, fd, CALL("vlog/set", ""), OK("\"\""));
    ck_assert_int_eq(rv_log_get_level(RV_LOG_POOL, RV_LOG_FILE), RV_LOG_DBG);
    put(fd, CALL("vlog/list", ""));
    const char *list = get(&f, fd);
    ck_assert_ptr_nonnull(
        strstr(list, "\\nrpc                DBG        OFF        OFF\\n"));
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(late_replies_keep_their_order)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    put(fd, CALL("later", "") "{\"id\":\"two\",\"method\":\"version\","
                              "\"params\":[]}");
    ck_assert_str_eq(get(&f, fd), "");
    ck_assert_int_eq(f.n_later, 1);
    ck_assert(!rv_unixctl_server_is_idle(&f.server));
    rv_unixctl_reply(f.later[0], "at last");
    ck_assert_str_eq(get(&f, fd),
                     OK("\"at last\\n\"") "{\"id\":\"two\",\"result\":"
                                          "\"reeve (reeve) 1.2.3\\n\","
                                          "\"error\":null}");
    ck_assert(rv_unixctl_server_is_idle(&f.server));
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(client_that_leaves_makes_its_call_dead)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    put(fd, CALL("later", ""));
    turns(&f, 3);
    ck_assert(!rv_unixctl_call_is_dead(f.later[0]));
    close(fd);
    turns(&f, 2);
    ck_assert_uint_eq(f.server.n_clients, 0);
    ck_assert(rv_unixctl_call_is_dead(f.later[0]));
    ck_assert_str_eq(rv_unixctl_call_name(f.later[0]), "later");
    rv_unixctl_reply(f.later[0], "to nobody");
    fd = dial(&f);
    put(fd, CALL("watched", ""));
    turns(&f, 3);
    close(fd);
    turns(&f, 2);
    ck_assert_int_eq(f.n_cancelled, 1);
    finish(&f);
}
END_TEST

START_TEST(calls_outlive_the_server)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    put(fd, CALL("later", ""));
    turns(&f, 3);
    finish(&f);
    ck_assert(rv_unixctl_call_is_dead(f.later[0]));
    rv_unixctl_reply_json(f.later[0], json_true());
    close(fd);
}
END_TEST

START_TEST(handler_may_stop_the_server)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    put(fd, CALL("stop", "") CALL("version", ""));
    ck_assert_str_eq(get(&f, fd), "CLOSED");
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(what_is_no_request_closes)
{
    const char *bad[] = {
        "{\"id\":null,\"method\":\"version\",\"params\":[]}",
        "{\"id\":1,\"result\":1,\"error\":null}",
        "{\"id\":1,\"error\":\"x\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\",\"params\":[]}",
        "GET / HTTP/1.1\r\n",
        "[[[[[[[[[",
        "}",
    };
    struct fixture f;
    start(&f, 10);
    int good = dial(&f);
    for (size_t i = 0; i < RV_ARRAY_SIZE(bad); i++) {
        int fd = dial(&f);
        put(fd, bad[i]);
        ck_assert_msg(!strcmp(get(&f, fd), "CLOSED"), "%s", bad[i]);
        close(fd);
    }
    check_answer(&f, good, CALL("echo1", "\"a\""), OK("\"a\\n\""));
    ck_assert_uint_eq(f.server.n_clients, 1);
    close(good);
    finish(&f);
}
END_TEST

START_TEST(too_long_a_request_closes_its_own_connection)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    static char bytes[16384];
    memset(bytes, 'x', sizeof bytes);
    put(fd, "{\"id\":\"");
    ssize_t n = 0;
    for (int i = 0; i < 100 && n >= 0; i++) {
        n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        turns(&f, 1);
    }
    ck_assert_int_eq(errno, EPIPE);
    ck_assert_uint_eq(f.server.n_clients, 0);
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(too_long_a_reply_becomes_an_error)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    check_answer(&f, fd, CALL("long", "\"1100000\""),
                 ERR("\"the reply is above the size limit\\n\""));
    check_answer(&f, fd, CALL("echo1", "\"a\""), OK("\"a\\n\""));
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(deaf_client_hurts_nobody_else)
{
    struct fixture f;
    start(&f, 10);
    int deaf = dial(&f);
    int other = dial(&f);
    for (int i = 0; i < 20; i++) {
        put(deaf, CALL("long", "\"900000\""));
        turns(&f, 1);
    }
    ck_assert(!rv_unixctl_server_is_idle(&f.server));
    check_answer(&f, other, CALL("echo1", "\"a\""), OK("\"a\\n\""));
    close(deaf);
    turns(&f, 2);
    ck_assert_uint_eq(f.server.n_clients, 1);
    close(other);
    finish(&f);
}
END_TEST

START_TEST(idle_connections_make_room)
{
    struct fixture f;
    start(&f, 3);
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&f);
        turns(&f, 2);
    }
    check_answer(&f, fds[0], CALL("echo1", "\"a\""), OK("\"a\\n\""));
    fds[3] = dial(&f);
    turns(&f, 2);
    ck_assert_str_eq(get(&f, fds[1]), "CLOSED");
    check_answer(&f, fds[0], CALL("echo1", "\"a\""), OK("\"a\\n\""));
    check_answer(&f, fds[2], CALL("echo1", "\"a\""), OK("\"a\\n\""));
    check_answer(&f, fds[3], CALL("echo1", "\"a\""), OK("\"a\\n\""));
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    finish(&f);
}
END_TEST

START_TEST(calls_in_progress_are_not_given_up)
{
    struct fixture f;
    start(&f, 2);
    int fds[3];
    for (int i = 0; i < 2; i++) {
        fds[i] = dial(&f);
        put(fds[i], CALL("later", ""));
        turns(&f, 3);
    }
    fds[2] = dial(&f);
    ck_assert_str_eq(get(&f, fds[2]), "CLOSED");
    close(fds[2]);
    /* A client that does not read its reply gives way, though. */
    rv_unixctl_reply(f.later[0], "now");
    put(fds[0], CALL("long", "\"900000\""));
    turns(&f, 3);
    fds[2] = dial(&f);
    check_answer(&f, fds[2], CALL("echo1", "\"a\""), OK("\"a\\n\""));
    rv_unixctl_reply(f.later[1], "now");
    ck_assert_str_eq(get(&f, fds[1]), OK("\"now\\n\""));
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    finish(&f);
}
END_TEST

START_TEST(many_clients_at_once)
{
    struct fixture f;
    start(&f, 300);
    static int fds[300];
    for (int i = 0; i < 300; i++) {
        fds[i] = dial(&f);
        put(fds[i], CALL("echo1", "\"a\""));
    }
    turns(&f, 20);
    for (int i = 0; i < 300; i++) {
        ck_assert_str_eq(get(&f, fds[i]), OK("\"a\\n\""));
        close(fds[i]);
    }
    finish(&f);
}
END_TEST

START_TEST(running_out_of_descriptors_is_survived)
{
    struct fixture f;
    start(&f, 10);
    int held = dial(&f);
    put(held, CALL("later", ""));
    turns(&f, 3);
    int fd = dial(&f);
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = before;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(&f, 3);
    /* The loop does not spin on the connection that waits. */
    struct epoll_event event;
    ck_assert_int_eq(epoll_wait(f.loop.epoll_fd, &event, 1, 0), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    put(fd, CALL("echo1", "\"a\""));
    rv_loop_clock_warp(&f.loop, 1000);
    turns(&f, 2);
    ck_assert_str_eq(get(&f, fd), OK("\"a\\n\""));
    rv_unixctl_reply(f.later[0], "");
    close(fd);
    close(held);
    finish(&f);
}
END_TEST

/* Connects as user 'uid' and exits with 0 when the server closes at once. */
static void
run_stranger(struct fixture *f, uid_t uid)
{
    if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) {
        _exit(3);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const void *any = &f->address;
    if (connect(fd, any, sizeof f->address)) {
        _exit(2);
    }
    char byte;
    _exit(recv(fd, &byte, 1, 0) > 0);
}

START_TEST(strangers_are_refused)
{
    if (geteuid()) {
        return; /* Only root can take another user's place. */
    }
    struct fixture f;
    start(&f, 10);
    ck_assert_int_eq(chmod(f.address.sun_path, 0666), 0);
    pid_t child = fork();
    if (!child) {
        run_stranger(&f, 65534);
    }
    int status;
    pid_t reaped = 0;
    while (!reaped) {
        ck_assert_int_eq(rv_loop_run_once(&f.loop, 5), 0);
        reaped = waitpid(child, &status, WNOHANG);
    }
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(f.server.n_accepted, 0);
    finish(&f);
}
END_TEST

START_TEST(registering_is_checked)
{
    struct fixture f;
    start(&f, 10);
    ck_assert_int_eq(
        rv_unixctl_register(&f.server, "version", "", 0, 0, on_echo, NULL),
        -EEXIST);
    ck_assert_int_eq(
        rv_unixctl_register(&f.server, "a", "", 2, 1, on_echo, NULL), -EINVAL);
    ck_assert_int_eq(
        rv_unixctl_register(&f.server, "a", "", -1, 1, on_echo, NULL),
        -EINVAL);
    finish(&f);
}
END_TEST

START_TEST(texts_that_are_not_utf8_are_sent)
{
    struct fixture f;
    start(&f, 10);
    int fd = dial(&f);
    put(fd, CALL("later", ""));
    turns(&f, 3);
    rv_unixctl_reply_error(f.later[0], "died: \xff\xfe");
    ck_assert_str_eq(get(&f, fd),
                     ERR("\"died: \xef\xbf\xbd\xef\xbf\xbd\\n\""));
    close(fd);
    finish(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(answers_built_in_commands),
        RV_TEST(refuses_in_the_words_of_open_vswitch),
        RV_TEST(speaks_json_on_request),
        RV_TEST(sets_log_levels),
        RV_TEST(late_replies_keep_their_order),
        RV_TEST(client_that_leaves_makes_its_call_dead),
        RV_TEST(calls_outlive_the_server),
        RV_TEST(handler_may_stop_the_server),
        RV_TEST(what_is_no_request_closes),
        RV_TEST(too_long_a_request_closes_its_own_connection),
        RV_TEST(too_long_a_reply_becomes_an_error),
        RV_TEST(deaf_client_hurts_nobody_else),
        RV_TEST(idle_connections_make_room),
        RV_TEST(calls_in_progress_are_not_given_up),
        RV_TEST(many_clients_at_once),
        RV_TEST(running_out_of_descriptors_is_survived),
        RV_TEST(strangers_are_refused),
        RV_TEST(registering_is_checked),
        RV_TEST(texts_that_are_not_utf8_are_sent),
    };
    return rv_test_run("unixctl_server", tests, RV_ARRAY_SIZE(tests));
}
