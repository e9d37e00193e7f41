/* A session under a stopped clock, and raw sockets as its peers. */
#ifndef RV_TEST_RPC_SESSION_FIXTURE_H
#define RV_TEST_RPC_SESSION_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/session.h"

enum { WAIT_MS = 10000, TEXT_BYTES = 65536 };

#define PROBE "{\"id\":\"echo\",\"method\":\"echo\",\"params\":[]}"

/* The callback in which the session is destroyed. */
enum destroy_in {
    NOWHERE,
    IN_CONNECTED,
    IN_DISCONNECTED,
    IN_FAILED,
    IN_MESSAGE,
    IN_ENDED,
    IN_REPLY,
};

struct fixture {
    struct rv_loop loop;
    struct rv_session *session;
    struct rv_session_options options;
    enum destroy_in destroys;
    int n_connected, n_disconnected, n_failed, n_messages, n_ended;
    int n_replies, n_errors, n_lost, n_canceled;
    int refuse_with; /* What on_message returns. */
    struct rv_error last;
    char folder[32];
    char remotes[3][64]; /* unix:FOLDER/0 and so on. */
    int listeners[3];    /* Of the tests' peers; -1. */
};

static inline void
maybe_destroy(struct fixture *f, enum destroy_in here)
{
    if (f->destroys == here) {
        rv_session_destroy(f->session);
        f->session = NULL;
    }
}

static inline void
on_connected(struct rv_session *session, void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert(rv_session_is_connected(session));
    ck_assert_ptr_nonnull(rv_session_stream(session));
    f->n_connected++;
    maybe_destroy(f, IN_CONNECTED);
}

static inline void
on_disconnected(struct rv_session *session, const struct rv_error *error,
                void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert(!rv_session_is_connected(session));
    ck_assert_int_ne(error->text[0], '\0');
    f->n_disconnected++;
    f->last = *error;
    ck_assert_int_eq(f->n_disconnected, f->n_connected);
    maybe_destroy(f, IN_DISCONNECTED);
}

static inline void
on_failed(struct rv_session *session RV_UNUSED, const struct rv_error *error,
          void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert_int_lt(error->code, 0);
    ck_assert_int_ne(error->text[0], '\0');
    f->n_failed++;
    f->last = *error;
    maybe_destroy(f, IN_FAILED);
}

static inline int
on_message(struct rv_session *session RV_UNUSED,
           struct rv_jsonrpc_message *message RV_UNUSED, void *fixture_)
{
    struct fixture *f = fixture_;
    int rc = f->refuse_with;
    f->n_messages++;
    maybe_destroy(f, IN_MESSAGE);
    return rc;
}

static inline void
on_ended(struct rv_session *session, const struct rv_error *error,
         void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert(!rv_session_is_alive(session));
    ck_assert_int_ne(error->text[0], '\0');
    f->n_ended++;
    maybe_destroy(f, IN_ENDED);
}

static inline void
on_log(enum rv_log_level level RV_UNUSED, const char *text,
       void *fixture_ RV_UNUSED)
{
    /* Each line begins with the name of what is connected. */
    ck_assert_ptr_nonnull(strchr(text, ':'));
}

static inline void
on_reply(struct rv_session *session RV_UNUSED, int code,
         const struct rv_jsonrpc_message *reply, void *fixture_)
{
    struct fixture *f = fixture_;
    ck_assert_int_eq(!code, reply != NULL);
    if (reply) {
        *(reply->type == RV_JSONRPC_REPLY ? &f->n_replies : &f->n_errors) += 1;
    } else {
        ck_assert(code == -ECONNRESET || code == -ECANCELED);
        *(code == -ECONNRESET ? &f->n_lost : &f->n_canceled) += 1;
    }
    maybe_destroy(f, IN_REPLY);
}

static const struct rv_session_callbacks callbacks = {
    .on_connected = on_connected,
    .on_disconnected = on_disconnected,
    .on_failed = on_failed,
    .on_message = on_message,
    .on_ended = on_ended,
    .on_log = on_log,
};

/* ---- Life ---- */

static inline void
prepare(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/rv-session-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->folder));
    for (int i = 0; i < 3; i++) {
        snprintf(f->remotes[i], sizeof f->remotes[i], "unix:%s/%d", f->folder,
                 i);
        f->listeners[i] = -1;
    }
    ck_assert_int_eq(rv_loop_init(&f->loop), 0);
    rv_loop_clock_stop(&f->loop);
}

static inline void
unlisten(struct fixture *f, int i)
{
    if (f->listeners[i] >= 0) {
        close(f->listeners[i]);
        f->listeners[i] = -1;
        unlink(f->remotes[i] + strlen("unix:"));
    }
}

static inline void
finish(struct fixture *f)
{
    rv_session_destroy(f->session);
    rv_loop_deinit(&f->loop);
    for (int i = 0; i < 3; i++) {
        unlisten(f, i);
    }
    ck_assert_int_eq(rmdir(f->folder), 0);
}

/* Lets the peer with number 'i' listen. */
static inline void
listen_at(struct fixture *f, int i)
{
    struct rv_stream_options options = {.backlog = 16};
    struct rv_pstream *pstream;
    struct rv_error error;
    char name[80];
    snprintf(name, sizeof name, "p%s", f->remotes[i]);
    int rc = rv_pstream_open(name, &options, &pstream, &error);
    ck_assert_msg(!rc, "%s", error.text);
    /* The file has to stay when the stream's listener goes. */
    char path[64];
    char kept[80];
    snprintf(path, sizeof path, "%s", f->remotes[i] + strlen("unix:"));
    snprintf(kept, sizeof kept, "%s.kept", path);
    f->listeners[i] = dup(rv_pstream_fd(pstream));
    ck_assert_int_eq(link(path, kept), 0);
    rv_pstream_close(pstream);
    ck_assert_int_eq(rename(kept, path), 0);
}

static inline void
turns(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_loop_run_once(&f->loop, 0), 0);
    }
}

/* Lets 'ms' pass, and what is due then happen. */
static inline void
pass(struct fixture *f, int64_t ms)
{
    rv_loop_clock_warp(&f->loop, ms);
    turns(f, 4);
}

/* Starts a session with the first 'n' remotes. */
static inline void
start_session(struct fixture *f, size_t n)
{
    const char *remotes[3] = {f->remotes[0], f->remotes[1], f->remotes[2]};
    struct rv_error error;
    int rc = rv_session_create(&f->loop, remotes, n, &f->options, &callbacks,
                               f, &f->session, &error);
    ck_assert_msg(!rc, "%s", error.text);
}

/* ---- Peers ---- */

static inline void
wait_readable(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&pollfd, 1, WAIT_MS), 1);
}

/* The connection that was made to the listener 'i'; its owner closes it. */
static inline int
take_peer(struct fixture *f, int i)
{
    wait_readable(f->listeners[i]);
    int fd = accept4(f->listeners[i], NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* Starts a session with one remote, as 'f->options' say, and takes its
 * connection. */
static inline int
connect_as_set(struct fixture *f)
{
    listen_at(f, 0);
    start_session(f, 1);
    turns(f, 2);
    ck_assert_int_eq(f->n_connected, 1);
    return take_peer(f, 0);
}

static inline int
connect_one(struct fixture *f)
{
    prepare(f);
    return connect_as_set(f);
}

static inline void
put(int fd, const char *text)
{
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
    ck_assert_int_eq(n, (ssize_t)strlen(text));
}

/* What has come to the peer; "" if nothing has.  Valid until the next. */
static inline const char *
got(int fd)
{
    static char text[TEXT_BYTES];
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static inline bool
is_closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static inline int
call(struct fixture *f)
{
    return rv_session_call(f->session, "m", NULL, on_reply, f, NULL);
}

static inline const char *
state_of(const struct fixture *f)
{
    struct rv_session_status status;
    rv_session_get_status(f->session, &status);
    return status.state;
}

/* When the session wants to be woken, from now. */
static inline int64_t
next_wake(const struct fixture *f)
{
    ck_assert_uint_eq(f->loop.n_timers, 1);
    return f->loop.timers[0]->when_ms - rv_loop_now(&f->loop);
}

#endif
