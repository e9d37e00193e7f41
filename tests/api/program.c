/* A user's program: serves a control socket and calls it, in one process. */
#include <reeve/loop.h>
#include <reeve/unixctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
on_greet(struct rv_unixctl_call *call, void *context)
{
    (void)context;
    rv_unixctl_reply(call, rv_unixctl_call_arg(call, 0));
}

/* Asks over 'fd' and lets the loop turn until the answer is there. */
static int
ask(struct rv_loop *loop, int fd)
{
    static const char request[] =
        "{\"id\":1,\"method\":\"greet\",\"params\":[\"hello\"]}";
    static const char expected[] =
        "{\"id\":1,\"result\":\"hello\\n\",\"error\":null}";
    char answer[256];
    if (send(fd, request, strlen(request), 0) < 0) {
        return -1;
    }
    ssize_t n = -1;
    for (int i = 0; i < 100 && n < 0; i++) {
        if (rv_loop_run_once(loop, 100)) {
            return -1;
        }
        n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    }
    return n == (ssize_t)strlen(expected)
                   && !memcmp(answer, expected, (size_t)n)
               ? 0
               : -1;
}

int
main(void)
{
    struct rv_loop loop;
    struct rv_unixctl_server server;
    struct rv_unixctl_options options = {.rundir = "."};
    struct rv_error error;
    int fds[2];
    if (rv_loop_init(&loop) || rv_unixctl_server_init(&server)
        || rv_unixctl_register(&server, "greet", "NAME", 1, 1, on_greet, NULL)
        || socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) {
        return 1;
    }
    int rc = rv_unixctl_server_open(&server, &loop, NULL, &options, &error);
    if (rc) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    rc = rv_unixctl_server_adopt(&server, fds[0]);
    rc = rc ? rc : ask(&loop, fds[1]);
    puts(rc ? "does not serve" : "serves");
    close(fds[1]);
    rv_unixctl_server_deinit(&server);
    rv_loop_deinit(&loop);
    return rc ? 1 : 0;
}
