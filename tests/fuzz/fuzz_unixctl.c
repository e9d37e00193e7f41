/* The control socket's server against any client: the first byte of the input
 * says in which pieces the rest is sent, the second when calls that wait are
 * answered and whether the client leaves first.
 *
 * Whatever comes, a client beside it must be served. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "reeve/log.h"
#include "reeve/unixctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_LATER = 8 };

struct state {
    struct rv_loop loop;
    struct rv_unixctl_server server;
    int listen_fd;
    struct rv_unixctl_call *later[MAX_LATER];
    int n_later;
};

static void
ignore_line(const struct rv_log_line *line RV_UNUSED, void *context RV_UNUSED)
{
}

static void
on_echo(struct rv_unixctl_call *call, void *state RV_UNUSED)
{
    if (!rv_unixctl_call_n_args(call)) {
        rv_unixctl_reply_error(call, "nothing to say");
        return;
    }
    rv_unixctl_reply(call, rv_unixctl_call_arg(call, 0));
}

static void
on_later(struct rv_unixctl_call *call, void *state_)
{
    struct state *state = state_;
    if (state->n_later == MAX_LATER) {
        rv_unixctl_reply(call, "now");
        return;
    }
    state->later[state->n_later++] = call;
}

static void
answer_waiting(struct state *state)
{
    while (state->n_later) {
        struct rv_unixctl_call *call = state->later[--state->n_later];
        if (state->n_later % 2) {
            rv_unixctl_reply_json(call, json_pack("[s]", "later"));
        } else {
            rv_unixctl_reply(call, "later");
        }
    }
}

static void
turn(struct state *state)
{
    RV_ASSERT(!rv_loop_run_once(&state->loop, 0));
}

static void
start(struct state *state)
{
    *state = (struct state){.n_later = 0};
    rv_log_set_sink(ignore_line, NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const void *any = &address;
    state->listen_fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    RV_ASSERT(!bind(state->listen_fd, any, sizeof address.sun_family));
    RV_ASSERT(!listen(state->listen_fd, 1));
    struct rv_unixctl_limits limits = {.max_request_bytes = 2000,
                                       .max_reply_bytes = 4000,
                                       .max_depth = 8,
                                       .max_connections = 4};
    RV_ASSERT(!rv_loop_init(&state->loop));
    RV_ASSERT(!rv_unixctl_server_init(&state->server));
    RV_ASSERT(!rv_unixctl_register(&state->server, "e", "", 0,
                                   RV_UNIXCTL_ANY_ARGS, on_echo, state));
    RV_ASSERT(
        !rv_unixctl_register(&state->server, "l", "", 0, 2, on_later, state));
    RV_ASSERT(!rv_unixctl_server_start(&state->server, &state->loop,
                                       state->listen_fd, &limits));
}

static int
dial(struct state *state)
{
    int fds[2];
    RV_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0, fds));
    RV_ASSERT(!rv_unixctl_server_adopt(&state->server, fds[0]));
    return fds[1];
}

static void
send_pieces(struct state *state, int fd, const uint8_t *data, size_t size,
            size_t piece)
{
    while (size) {
        size_t n = RV_MIN(piece, size);
        if (send(fd, data, n, MSG_NOSIGNAL) < 0) {
            return;
        }
        data += n;
        size -= n;
        turn(state);
    }
}

static void
check_served(struct state *state)
{
    static const char request[] = "{\"id\":7,\"method\":\"e\","
                                  "\"params\":[\"ok\"]}";
    int fd = dial(state);
    RV_ASSERT(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    turn(state);
    turn(state);
    char reply[100] = "";
    RV_ASSERT(recv(fd, reply, sizeof reply - 1, 0) > 0);
    RV_ASSERT(!strcmp(reply, "{\"id\":7,\"result\":\"ok\\n\","
                             "\"error\":null}"));
    close(fd);
    turn(state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 20000) {
        return 0;
    }
    struct state state;
    start(&state);
    int fd = dial(&state);
    size_t half = (size - 2) / 2;
    size_t piece = data[0] ? data[0] : 4096;
    send_pieces(&state, fd, data + 2, half, piece);
    if (data[1] & 1) {
        answer_waiting(&state);
    }
    send_pieces(&state, fd, data + 2 + half, size - 2 - half, piece);
    if (data[1] & 2) {
        shutdown(fd, SHUT_WR);
        turn(&state);
    }
    if (data[1] & 4) {
        close(fd);
        fd = -1;
        turn(&state);
    }
    answer_waiting(&state);
    check_served(&state);
    if (data[1] & 8) {
        rv_unixctl_server_deinit(&state.server);
    }
    answer_waiting(&state);
    rv_unixctl_server_deinit(&state.server);
    rv_loop_deinit(&state.loop);
    close(state.listen_fd);
    if (fd >= 0) {
        close(fd);
    }
    return 0;
}
