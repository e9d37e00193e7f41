/* Readiness probes, for programs that cannot say READY=1.
 *
 * A connect to the service's socket would say nothing: the kernel completes it
 * while any worker, or none, accepts.  So tcp and http probes go to a socket
 * that only this worker has: it is passed as one more inherited socket with
 * the name "probe", and the program listens on it as on the others.  A tcp
 * probe succeeds when the connection has left that socket's queue, that is,
 * when the worker has accepted it. */
#include "master/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"
#include "os/listen.h"
#include "os/process.h"

#define RV_LOG_THIS RV_LOG_WORKER

enum { FIRST_PAUSE_MS = 5, LAST_PAUSE_MS = 500, TRY_MS = 5000 };

struct rv__probe {
    struct rv__worker *worker;
    int fd; /* The private listening socket; -1 for exec. */
    struct rv_address address;
    int try_fd; /* A connection, or the pidfd of a command; -1. */
    pid_t pid;  /* Of the command. */
    struct rv_io io;
    struct rv_timer timer; /* The next try, or the end of this one. */
    int64_t pause_ms;
};

static void
end_try(struct rv__probe *probe)
{
    rv_timer_stop(&probe->timer);
    rv_io_stop(&probe->io);
    if (probe->pid) {
        struct rv_process_end end;
        kill(-probe->pid, SIGKILL);
        rv_pidfd_signal(probe->try_fd, SIGKILL);
        rv_pidfd_collect(probe->try_fd, &end);
        probe->pid = 0;
    }
    rv_fd_close(&probe->try_fd);
}

static void
try_again(struct rv__probe *probe)
{
    struct rv_loop *loop = &probe->worker->master->loop;
    end_try(probe);
    rv_timer_start(loop, &probe->timer, rv_loop_now(loop) + probe->pause_ms);
    probe->pause_ms = RV_MIN(probe->pause_ms * 2, LAST_PAUSE_MS);
}

static void
succeed(struct rv__probe *probe)
{
    struct rv__master *master = probe->worker->master;
    end_try(probe);
    rv_pool_ready(master->pool, probe->worker->slot,
                  rv_loop_now(&master->loop));
}

static void
finish(struct rv__probe *probe, bool is_good)
{
    if (is_good) {
        succeed(probe);
    } else {
        try_again(probe);
    }
}

static int
connect_probe(struct rv__probe *probe)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, &probe->address.u.any, probe->address.length)
        && errno != EINPROGRESS) {
        int rc = -errno;
        rv_fd_close(&fd);
        return rc;
    }
    probe->try_fd = fd;
    return 0;
}

static int
send_request(struct rv__probe *probe)
{
    char request[1024];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.0\r\nHost: localhost\r\n"
                     "User-Agent: reeve\r\nConnection: close\r\n\r\n",
                     probe->worker->service->probe_path);
    if (n < 0 || (size_t)n >= sizeof request) {
        return -EMSGSIZE;
    }
    return send(probe->try_fd, request, (size_t)n, MSG_NOSIGNAL) == n
               ? 0
               : -EAGAIN;
}

/* "HTTP/1.1 204 ..." : 2xx and 3xx are good. */
static bool
is_good_answer(const char *text)
{
    int status = 0;
    return sscanf(text, "HTTP/%*d.%*d %3d", &status) == 1 && status >= 200
           && status < 400;
}

static void
on_try(struct rv_io *io, uint32_t events)
{
    struct rv__probe *probe = io->context;
    (void)events;
    if (probe->pid) {
        struct rv_process_end end = {.is_signal = true};
        int rc = rv_pidfd_collect(probe->try_fd, &end);
        if (rc != -EAGAIN) {
            probe->pid = 0;
            finish(probe, !rc && !end.is_signal && end.value == 0);
        }
        return;
    }
    char text[64];
    ssize_t n = recv(probe->try_fd, text, sizeof text - 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    text[RV_MAX(n, 0)] = '\0';
    finish(probe, is_good_answer(text));
}

RV_NORETURN static void
run_command(const struct rv__probe *probe)
{
    char *const *command = probe->worker->service->probe_command;
    char number[16];
    setsid();
    rv_process_reset_signals();
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++) {
        dup2(null, fd);
    }
    snprintf(number, sizeof number, "%d", (int)probe->worker->pid);
    setenv("REEVE_PID", number, 1);
    setenv("REEVE_SERVICE", probe->worker->service->name, 1);
    if (probe->worker->service->directory
        && chdir(probe->worker->service->directory)) {
        _exit(126);
    }
    execvp(command[0], command);
    _exit(127);
}

static int
start_command(struct rv__probe *probe)
{
    pid_t pid = fork();
    if (pid == 0) {
        run_command(probe);
    }
    if (pid < 0) {
        return -errno;
    }
    probe->pid = pid;
    return rv_pidfd_open(pid, 0, &probe->try_fd);
}

/* A tcp probe has no event to wait for, so it looks at the queue again. */
static bool
is_accepted(const struct rv__probe *probe)
{
    return probe->worker->service->ready == RV_CONF_READY_TCP
           && probe->try_fd >= 0 && rv_listen_queue_length(probe->fd) == 0;
}

static int
start_try(struct rv__probe *probe)
{
    enum rv_conf_ready ready = probe->worker->service->ready;
    int rc = ready == RV_CONF_READY_EXEC ? start_command(probe)
                                         : connect_probe(probe);
    if (!rc && ready == RV_CONF_READY_HTTP) {
        rc = send_request(probe);
    }
    if (!rc && ready != RV_CONF_READY_TCP) {
        rc = rv_io_start(&probe->worker->master->loop, &probe->io,
                         probe->try_fd, EPOLLIN);
    }
    return rc;
}

static void
on_timer(struct rv_timer *timer)
{
    struct rv__probe *probe = timer->context;
    struct rv_loop *loop = &probe->worker->master->loop;
    if (is_accepted(probe)) {
        succeed(probe);
        return;
    }
    bool is_tcp = probe->worker->service->ready == RV_CONF_READY_TCP;
    bool waits = is_tcp && probe->try_fd >= 0;
    if (!waits) {
        end_try(probe);
        if (start_try(probe)) {
            try_again(probe);
            return;
        }
    }
    rv_timer_start(loop, timer,
                   rv_loop_now(loop) + (is_tcp ? probe->pause_ms : TRY_MS));
    if (is_tcp) {
        probe->pause_ms = RV_MIN(probe->pause_ms * 2, LAST_PAUSE_MS / 10);
    }
}

static int
open_private(struct rv__probe *probe, struct rv_error *error)
{
    struct rv_listen_options options = {.backlog = 64, .mode = -1};
    int rc = rv_address_parse("127.0.0.1:0", &probe->address, error);
    return rc ? rc
              : rv_listen_open(&probe->address, &options, &probe->fd, error);
}

static bool
is_probed(const struct rv__worker *worker)
{
    enum rv_conf_ready ready = worker->service->ready;
    return ready != RV_CONF_READY_ALIVE && ready != RV_CONF_READY_NOTIFY;
}

static struct rv__probe *
allocate(struct rv__worker *worker)
{
    struct rv__probe *probe = calloc(1, sizeof *probe);
    if (probe) {
        probe->worker = worker;
        probe->fd = probe->try_fd = -1;
        probe->pause_ms = FIRST_PAUSE_MS;
        rv_io_init(&probe->io, on_try, probe);
        rv_timer_init(&probe->timer, on_timer, probe);
    }
    return probe;
}

static void
entry_name(const struct rv__probe *probe, char name[RV_KEEPER_NAME])
{
    snprintf(name, RV_KEEPER_NAME, "probe/%d/0", probe->worker->slot);
}

int
rv__probe_create(struct rv__worker *worker, struct rv__probe **probep,
                 struct rv_error *error)
{
    enum rv_conf_ready ready = worker->service->ready;
    if (!is_probed(worker)) {
        return 0;
    }
    struct rv__probe *probe = allocate(worker);
    if (!probe) {
        return rv_error_errno(error, -ENOMEM, "probe");
    }
    int rc = ready == RV_CONF_READY_EXEC ? 0 : open_private(probe, error);
    if (rc) {
        free(probe);
        return rc;
    }
    if (probe->fd >= 0) {
        char name[RV_KEEPER_NAME];
        entry_name(probe, name);
        rv__master_put(worker->master, name, probe->fd);
    }
    *probep = probe;
    return 0;
}

int
rv__probe_adopt(struct rv__worker *worker, struct rv__probe **probep)
{
    if (!is_probed(worker)) {
        return 0;
    }
    struct rv__probe *probe = allocate(worker);
    if (!probe) {
        return -ENOMEM;
    }
    if (worker->service->ready != RV_CONF_READY_EXEC) {
        char name[RV_KEEPER_NAME];
        entry_name(probe, name);
        probe->fd = rv__master_take_entry(worker->master, name);
        probe->address.type = SOCK_STREAM;
        probe->address.length = sizeof probe->address.u;
        if (getsockname(probe->fd, &probe->address.u.any,
                        &probe->address.length)) {
            int rc = -errno;
            rv_fd_close(&probe->fd);
            free(probe);
            return rc;
        }
    }
    *probep = probe;
    return 0;
}

int
rv__probe_fd(const struct rv__probe *probe)
{
    return probe->fd;
}

int
rv__probe_port(const struct rv__probe *probe)
{
    return probe->fd >= 0 ? rv_address_port(&probe->address) : 0;
}

void
rv__probe_start(struct rv__probe *probe)
{
    struct rv_loop *loop = &probe->worker->master->loop;
    rv_timer_start(loop, &probe->timer, rv_loop_now(loop) + FIRST_PAUSE_MS);
}

void
rv__probe_destroy(struct rv__probe *probe)
{
    if (probe) {
        end_try(probe);
        if (probe->fd >= 0 && !probe->worker->master->is_ending) {
            char name[RV_KEEPER_NAME];
            entry_name(probe, name);
            rv__master_drop(probe->worker->master, name);
        }
        rv_fd_close(&probe->fd);
        free(probe);
    }
}
