#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/server.h"

/* A server on a unix socket, and what its callbacks were told. */
struct fixture {
    struct rv_loop loop;
    struct rv_server *server;
    struct sockaddr_un address;
    int n_connected, n_disconnected, n_ended, n_visited;
    bool destroys_at_end;
};

static void
on_connected(struct rv_session *session RV_UNUSED, void *f_)
{
    struct fixture *f = f_;
    f->n_connected++;
}

static void
on_disconnected(struct rv_session *session RV_UNUSED,
                const struct rv_error *error RV_UNUSED, void *f_)
{
    struct fixture *f = f_;
    f->n_disconnected++;
}

static void
on_ended(struct rv_session *session RV_UNUSED,
         const struct rv_error *error RV_UNUSED, void *f_)
{
    struct fixture *f = f_;
    f->n_ended++;
    if (f->destroys_at_end) {
        rv_server_destroy(f->server);
        f->server = NULL;
    }
}

static int
on_message(struct rv_session *session, struct rv_jsonrpc_message *message,
           void *f_)
{
    struct fixture *f = f_;
    const char *method = json_string_value(message->method);
    if (!strcmp(method, "destroy")) {
        rv_server_destroy(f->server);
        f->server = NULL;
        return 0;
    }
    return strcmp(method, "end")
               ? rv_session_answer(session, message->id, message->params)
               : -ECANCELED;
}

static const struct rv_session_callbacks callbacks = {
    .on_connected = on_connected,
    .on_disconnected = on_disconnected,
    .on_ended = on_ended,
    .on_message = on_message,
};

static void
start(struct fixture *f, size_t max_sessions)
{
    char name[160];
    struct rv_server_options options = {.max_sessions = max_sessions};
    memset(f, 0, sizeof *f);
    ck_assert_int_eq(rv_loop_init(&f->loop), 0);
    f->address.sun_family = AF_UNIX;
    snprintf(f->address.sun_path, sizeof f->address.sun_path,
             "/tmp/test_server.%d", (int)getpid());
    snprintf(name, sizeof name, "punix:%s", f->address.sun_path);
    struct rv_error error;
    int rc = rv_server_create(&f->loop, name, &options, &callbacks, f,
                              &f->server, &error);
    ck_assert_msg(!rc, "%s", error.text);
    ck_assert_str_eq(rv_server_name(f->server), name);
}

static void
finish(struct fixture *f)
{
    rv_server_destroy(f->server);
    rv_loop_deinit(&f->loop);
    ck_assert_int_ne(access(f->address.sun_path, F_OK), 0);
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
put(int fd, const char *method)
{
    char text[128];
    int n =
        snprintf(text, sizeof text,
                 "{\"id\":1,\"method\":\"%s\",\"params\":[\"x\"]}", method);
    ck_assert_int_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* What came: a text, "" for nothing, "CLOSED". */
static const char *
get(struct fixture *f, int fd)
{
    static char text[256];
    turns(f, 5);
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        return "CLOSED";
    }
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char reply[] = "{\"id\":1,\"result\":[\"x\"],\"error\":null}";

static void
count_visit(struct rv_session *session, void *f_)
{
    struct fixture *f = f_;
    ck_assert(rv_session_is_connected(session));
    f->n_visited++;
}

START_TEST(serves_many_peers)
{
    struct fixture f;
    int fds[20];
    start(&f, 0);
    for (size_t i = 0; i < RV_ARRAY_SIZE(fds); i++) {
        fds[i] = dial(&f);
        put(fds[i], i % 2 ? "reply" : "echo");
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(fds); i++) {
        ck_assert_str_eq(get(&f, fds[i]), reply);
    }
    ck_assert_uint_eq(rv_server_n_sessions(f.server), RV_ARRAY_SIZE(fds));
    ck_assert_int_eq(f.n_connected, RV_ARRAY_SIZE(fds));
    rv_server_for_each(f.server, count_visit, &f);
    ck_assert_int_eq(f.n_visited, RV_ARRAY_SIZE(fds));
    close(fds[3]);
    put(fds[5], "end");
    ck_assert_str_eq(get(&f, fds[5]), "CLOSED");
    close(fds[5]);
    ck_assert_uint_eq(rv_server_n_sessions(f.server), RV_ARRAY_SIZE(fds) - 2);
    ck_assert_int_eq(f.n_disconnected, 2);
    ck_assert_int_eq(f.n_ended, 2);
    finish(&f);
    for (size_t i = 0; i < RV_ARRAY_SIZE(fds); i++) {
        if (i != 3 && i != 5) {
            close(fds[i]);
        }
    }
    ck_assert_int_eq(f.n_ended, 2);
}
END_TEST

START_TEST(those_above_the_limit_wait)
{
    struct fixture f;
    start(&f, 2);
    int a = dial(&f), b = dial(&f), c = dial(&f);
    put(a, "echo");
    put(b, "echo");
    put(c, "echo");
    ck_assert_str_eq(get(&f, a), reply);
    ck_assert_str_eq(get(&f, b), reply);
    ck_assert_str_eq(get(&f, c), "");
    ck_assert_uint_eq(rv_server_n_sessions(f.server), 2);
    close(a);
    turns(&f, 5);
    ck_assert_str_eq(get(&f, c), reply);
    ck_assert_uint_eq(rv_server_n_sessions(f.server), 2);
    close(b);
    close(c);
    finish(&f);
}
END_TEST

START_TEST(may_be_destroyed_by_its_callbacks)
{
    struct fixture f;
    for (int i = 0; i < 2; i++) {
        start(&f, 0);
        f.destroys_at_end = i;
        int a = dial(&f), b = dial(&f);
        put(a, "echo");
        put(b, "echo");
        ck_assert_str_eq(get(&f, a), reply);
        ck_assert_str_eq(get(&f, b), reply);
        put(a, i ? "end" : "destroy");
        ck_assert_str_eq(get(&f, a), "CLOSED");
        ck_assert_str_eq(get(&f, b), "CLOSED");
        ck_assert_ptr_null(f.server);
        close(a);
        close(b);
        finish(&f);
    }
}
END_TEST

START_TEST(names_that_are_wrong)
{
    struct rv_loop loop;
    struct rv_server *server = NULL;
    struct rv_error error;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    ck_assert_int_eq(rv_server_create(&loop, "tcp:127.0.0.1:1", NULL,
                                      &callbacks, NULL, &server, &error),
                     -EAFNOSUPPORT);
    ck_assert_str_ne(error.text, "");
    ck_assert_int_eq(rv_server_create(&loop, "punix:/no/such/folder/x", NULL,
                                      &callbacks, NULL, &server, NULL),
                     -ENOENT);
    ck_assert_ptr_null(server);
    rv_loop_deinit(&loop);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(serves_many_peers),
        RV_TEST(those_above_the_limit_wait),
        RV_TEST(may_be_destroyed_by_its_callbacks),
        RV_TEST(names_that_are_wrong),
    };
    return rv_test_run("server", tests, RV_ARRAY_SIZE(tests));
}
