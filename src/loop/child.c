#include "reeve/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/process.h"
#include "os/spawn.h"

enum { KILL_AFTER_MS = 5000, READ_BYTES = 4096, READS_PER_TURN = 16 };

/* ---- Output ---- */

static void
close_pipe(struct rv_child_pipe *pipe)
{
    rv_io_stop(&pipe->io);
    rv_fd_close(&pipe->fd);
}

static void
take_output(struct rv_child *child, int number, const char *data, size_t n)
{
    if (child->on_wrote) {
        child->on_wrote(child, number, data, n, child->context);
        return;
    }
    size_t room = child->output.maximum - child->output.length;
    size_t taken = RV_MIN(n, room);
    int rc = taken ? rv_buf_put(&child->output, data, taken) : 0;
    child->is_truncated = child->is_truncated || rc || taken < n;
}

/* Reads what is there, up to 'max_reads' pieces; closes at the end. */
static void
read_pipe(struct rv_child *child, struct rv_child_pipe *pipe, int max_reads)
{
    char data[READ_BYTES];
    for (int i = 0; i < max_reads && pipe->fd >= 0; i++) {
        ssize_t n = read(pipe->fd, data, sizeof data);
        if (n > 0) {
            take_output(child, pipe->number, data, (size_t)n);
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else if (n == 0 || errno != EINTR) {
            close_pipe(pipe);
        }
    }
}

static void
on_readable(struct rv_io *io, uint32_t events)
{
    struct rv_child *child = io->context;
    (void)events;
    read_pipe(child, RV_CONTAINER_OF(io, struct rv_child_pipe, io),
              READS_PER_TURN);
}

/* ---- Its end ---- */

static void
stop_watching(struct rv_child *child)
{
    rv_io_stop(&child->exit_io);
    rv_timer_stop(&child->timer);
    close_pipe(&child->pipes[0]);
    close_pipe(&child->pipes[1]);
    rv_fd_close(&child->pidfd);
    child->pid = 0;
}

/* A pipe holds a limited number of bytes, and so does the last look at it,
 * even if an orphan of the program's goes on writing. */
static void
read_rest(struct rv_child *child)
{
    for (int i = 0; i < 2; i++) {
        int capacity = child->pipes[i].fd < 0
                           ? 0
                           : fcntl(child->pipes[i].fd, F_GETPIPE_SZ);
        read_pipe(child, &child->pipes[i], capacity / READ_BYTES + 1);
    }
}

static void
on_exit_event(struct rv_io *io, uint32_t events)
{
    struct rv_child *child = io->context;
    struct rv_process_end end = {false, false, 255};
    (void)events;
    if (rv_pidfd_collect(child->pidfd, &end) == -EAGAIN) {
        return;
    }
    child->end = end;
    read_rest(child);
    stop_watching(child);
    child->on_ended(child, child->context);
}

static void
on_time(struct rv_timer *timer)
{
    struct rv_child *child = timer->context;
    if (child->is_timed_out) {
        rv_child_signal(child, SIGKILL);
        return;
    }
    child->is_timed_out = true;
    rv_child_signal(child, SIGTERM);
    if (rv_timer_start(child->loop, timer,
                       rv_loop_now(child->loop) + child->kill_after_ms)) {
        rv_child_signal(child, SIGKILL);
    }
}

/* ---- Its start ---- */

/* What the descriptor will be in the program; '*fdp' of the kinds that are
 * ours to close is also in '*openedp'. */
static int
choose_stream(enum rv_child_stream kind, int number, int given,
              struct rv_child_pipe *captured, int *fdp, int *openedp)
{
    int ends[2];
    switch (kind) {
    case RV_CHILD_NULL:
        *fdp = -1;
        return 0;
    case RV_CHILD_INHERIT:
        *fdp = number;
        return 0;
    case RV_CHILD_FD:
        *fdp = given;
        return given < 0 ? -EBADF : 0;
    case RV_CHILD_CAPTURE:
        if (!captured) {
            return -EINVAL;
        }
        if (pipe2(ends, O_CLOEXEC)) {
            return -errno;
        }
        rv_fd_set_nonblocking(ends[0], true);
        captured->fd = ends[0];
        captured->number = number;
        *fdp = *openedp = ends[1];
        return 0;
    }
    return -EINVAL;
}

static int
spawn(struct rv_child *child, const struct rv_child_options *options,
      struct rv_error *error)
{
    struct rv_spawn plan = {
        .arguments = options->arguments,
        .environment = options->environment,
        .directory = options->directory,
        .own_group = options->own_group,
    };
    int opened[2] = {-1, -1};
    int rc = choose_stream(options->in, 0, options->in_fd, NULL, &plan.fds[0],
                           &opened[0]);
    rc = rc ? rc
            : choose_stream(options->out, 1, options->out_fd, &child->pipes[0],
                            &plan.fds[1], &opened[0]);
    rc = rc ? rc
            : choose_stream(options->err, 2, options->err_fd, &child->pipes[1],
                            &plan.fds[2], &opened[1]);
    if (rc) {
        rv_error_errno(error, rc, "cannot open the program's descriptors");
    } else {
        rc = rv_spawn_start(&plan, &child->pid, &child->pidfd, error);
    }
    rv_fd_close(&opened[0]);
    rv_fd_close(&opened[1]);
    return rc;
}

static int
watch(struct rv_child *child, int64_t timeout_ms)
{
    int rc = rv_io_start(child->loop, &child->exit_io, child->pidfd, EPOLLIN);
    for (int i = 0; !rc && i < 2; i++) {
        struct rv_child_pipe *pipe = &child->pipes[i];
        if (pipe->fd >= 0) {
            rc = rv_io_start(child->loop, &pipe->io, pipe->fd, EPOLLIN);
        }
    }
    if (!rc && timeout_ms > 0) {
        rc = rv_timer_start(child->loop, &child->timer,
                            rv_loop_now(child->loop) + timeout_ms);
    }
    return rc;
}

void
rv_child_init(struct rv_child *child)
{
    *child = (struct rv_child){.pidfd = -1};
    rv_buf_init(&child->output, 0);
    rv_io_init(&child->exit_io, on_exit_event, child);
    rv_timer_init(&child->timer, on_time, child);
    for (int i = 0; i < 2; i++) {
        child->pipes[i].fd = -1;
        rv_io_init(&child->pipes[i].io, on_readable, child);
    }
}

/* Kills and collects what runs, and stops watching. */
static void
end_now(struct rv_child *child)
{
    if (child->pidfd >= 0) {
        struct pollfd end = {child->pidfd, POLLIN, 0};
        struct rv_process_end unused;
        rv_child_signal(child, SIGKILL);
        while (rv_pidfd_collect(child->pidfd, &unused) == -EAGAIN) {
            poll(&end, 1, -1);
        }
    }
    stop_watching(child);
}

int
rv_child_start(struct rv_child *child, struct rv_loop *loop,
               const struct rv_child_options *options, struct rv_error *error)
{
    if (child->pid) {
        return rv_error_set(error, -EBUSY, "the child runs already");
    }
    rv_child_deinit(child);
    rv_buf_init(&child->output, options->max_output_bytes);
    child->loop = loop;
    child->is_truncated = child->is_timed_out = false;
    child->own_group = options->own_group;
    child->kill_after_ms =
        options->kill_after_ms > 0 ? options->kill_after_ms : KILL_AFTER_MS;
    child->on_wrote = options->on_wrote;
    child->on_ended = options->on_ended;
    child->context = options->context;
    int rc = spawn(child, options, error);
    if (!rc && (rc = watch(child, options->timeout_ms))) {
        rv_error_errno(error, rc, "cannot watch \"%s\"",
                       options->arguments[0]);
    }
    if (rc) {
        end_now(child);
    }
    return rc;
}

int
rv_child_signal(struct rv_child *child, int signal)
{
    if (!child->pid) {
        return -ESRCH;
    }
    if (child->own_group) {
        /* The number is the child's until it is collected. */
        return kill(-child->pid, signal) ? -errno : 0;
    }
    return rv_pidfd_signal(child->pidfd, signal);
}

void
rv_child_deinit(struct rv_child *child)
{
    end_now(child);
    rv_buf_deinit(&child->output);
}
