/* A worker's process as the master holds it: pidfd, notify socket, output. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "os/fd.h"
#include "os/process.h"

#define RV_LOG_THIS RV_LOG_WORKER

enum {
    NOTIFY_PER_TURN = 16, /* Datagrams read from one worker at a time. */
    NOTIFY_PAUSE_MS = 20, /* After that many. */
    READS_PER_TURN = 4,   /* Of a worker's output. */
    READ_BYTES = 16384,
    REPORT_WAIT_MS = 500, /* For the keeper's report of an adopted one. */
    HOLD_MS = 10,         /* Between looks at a queue that drains. */
};

struct report {
    int error;
    char step[32];
};

const struct rv_pool_worker *
rv__worker_pool(const struct rv__worker *worker)
{
    return rv_pool_worker(worker->master->pool, worker->slot);
}

/* Output. */

static void
keep_tail(struct rv__worker *worker, const char *line, size_t length)
{
    struct rv_buf *tail = &worker->tail;
    length = RV_MIN(length, tail->maximum / 2);
    if (tail->length + length + 1 > tail->maximum) {
        size_t n = tail->length + length + 1 - tail->maximum;
        const char *newline = memchr(tail->data + n, '\n', tail->length - n);
        rv_buf_consume(tail, newline ? (size_t)(newline - tail->data) + 1
                                     : tail->length);
    }
    rv_buf_put(tail, line, length);
    rv_buf_put(tail, "\n", 1);
}

static void
write_line(struct rv__stream *stream, const char *line, size_t length)
{
    struct rv__worker *worker = stream->worker;
    keep_tail(worker, line, length);
    rv__output_line(stream->output, worker->name, line, length);
}

/* Writes whole lines and keeps what is left; a line that grows too long is
 * written in pieces. */
static void
split_lines(struct rv__stream *stream)
{
    struct rv_buf *buf = &stream->line;
    size_t start = 0;
    char *newline;
    while (
        start < buf->length
        && (newline = memchr(buf->data + start, '\n', buf->length - start))) {
        size_t end = (size_t)(newline - buf->data);
        write_line(stream, buf->data + start, end - start);
        start = end + 1;
    }
    rv_buf_consume(buf, start);
    if (buf->length >= RV__LINE_BYTES) {
        write_line(stream, buf->data, buf->length);
        rv_buf_clear(buf);
    }
    if (!buf->length) {
        rv_buf_deinit(buf);
    }
}

/* 1: there may be more; 0: none now; -1: the end. */
static int
read_stream(struct rv__stream *stream)
{
    char piece[READ_BYTES / 4];
    ssize_t n = read(stream->fd, piece, sizeof piece);
    if (n < 0) {
        return errno == EINTR ? 1 : errno == EAGAIN ? 0 : -1;
    }
    if (n == 0) {
        return -1;
    }
    rv_buf_put(&stream->line, piece, (size_t)n);
    split_lines(stream);
    return 1;
}

static void
entry_name(const struct rv__worker *worker, const char *kind, int i,
           char name[RV_KEEPER_NAME])
{
    snprintf(name, RV_KEEPER_NAME, "%s/%d/%d", kind, worker->slot, i);
}

static void
close_stream(struct rv__stream *stream, bool forget)
{
    if (stream->fd < 0) {
        return;
    }
    if (stream->line.length) {
        write_line(stream, stream->line.data, stream->line.length);
    }
    rv_buf_deinit(&stream->line);
    rv_io_stop(&stream->io);
    rv_fd_close(&stream->fd);
    rv__output_put(stream->output);
    stream->output = NULL;
    if (forget) {
        char name[RV_KEEPER_NAME];
        int i = (int)(stream - stream->worker->streams);
        entry_name(stream->worker, "log", i, name);
        rv__master_drop(stream->worker->master, name);
    }
}

static void
on_output(struct rv_io *io, uint32_t events)
{
    struct rv__stream *stream = io->context;
    (void)events;
    for (int i = 0; i < READS_PER_TURN; i++) {
        if (rv__output_is_full(stream->output)) {
            rv_io_set_events(&stream->io, 0);
            return;
        }
        int more = read_stream(stream);
        if (more < 0) {
            close_stream(stream, true);
            return;
        }
        if (!more) {
            return;
        }
    }
}

/* Reads what a worker that ended left behind, within reason. */
static void
drain_streams(struct rv__worker *worker)
{
    for (int i = 0; i < RV__N_STREAMS; i++) {
        struct rv__stream *stream = &worker->streams[i];
        for (int k = 0; stream->fd >= 0 && k < 64; k++) {
            if (read_stream(stream) <= 0) {
                break;
            }
        }
    }
}

static int
watch_stream(struct rv__worker *worker, int i, int fd,
             const struct rv_conf_output_to *to)
{
    struct rv__stream *stream = &worker->streams[i];
    stream->output = rv__output_get(worker->master, to->path);
    if (!stream->output) {
        return -EACCES;
    }
    stream->fd = fd;
    rv_buf_init(&stream->line, RV__LINE_BYTES * 2);
    int rc = rv_io_start(&worker->master->loop, &stream->io, fd, EPOLLIN);
    if (rc) {
        rv__output_put(stream->output);
        stream->output = NULL;
        stream->fd = -1;
    }
    return rc;
}

static bool
same_output(const struct rv_conf_service *service)
{
    const struct rv_conf_output_to *out = &service->out, *err = &service->err;
    return out->kind == err->kind
           && (out->kind != RV_CONF_OUTPUT_FILE
               || !strcmp(out->path, err->path));
}

/* Opens the pipe for stream 'i'; the caller owns the child's end. */
static int
open_stream(struct rv__worker *worker, int i,
            const struct rv_conf_output_to *to, int *child_fdp)
{
    int fds[2];
    if (to->kind == RV_CONF_OUTPUT_NULL) {
        return 0;
    }
    if (pipe2(fds, O_CLOEXEC)) {
        return -errno;
    }
    int rc = rv_fd_set_nonblocking(fds[0], true);
    if (!rc) {
        rc = watch_stream(worker, i, fds[0], to);
    }
    if (rc) {
        rv_fd_close(&fds[0]);
        rv_fd_close(&fds[1]);
        return rc;
    }
    char name[RV_KEEPER_NAME];
    entry_name(worker, "log", i, name);
    rv__master_put(worker->master, name, fds[0]);
    *child_fdp = fds[1];
    return 0;
}

/* The end of a process. */

/* An end that nobody asked for: says so, and gives up a start that waits. */
static void
report_failure(struct rv__worker *worker, const struct rv_pool_exit *how)
{
    struct rv__master *master = worker->master;
    enum rv_pool_state state = rv__worker_pool(worker)->state;
    if (state != RV_POOL_STARTING && state != RV_POOL_READY) {
        return;
    }
    struct rv_buf why;
    rv_buf_init(&why, 8192);
    rv__describe_failure(master, worker->slot, RV_POOL_REASON_EXITED, how,
                         &why);
    rv_log_warn("%s", rv_buf_string(&why));
    rv__operation_start_failed(master, rv_buf_string(&why));
    rv_buf_deinit(&why);
}

static void
ended(struct rv__worker *worker, const struct rv_pool_exit *how)
{
    struct rv__master *master = worker->master;
    int slot = worker->slot;
    drain_streams(worker);
    report_failure(worker, how);
    rv_pool_exited(master->pool, slot, how, rv_loop_now(&master->loop));
    /* Freed by rv__apply(), which first tells people why. */
    rv_io_stop(&worker->exit_io);
    rv_fd_close(&worker->pidfd);
    rv_timer_stop(&worker->exit_timer);
    rv_timer_stop(&worker->holding);
    rv__probe_destroy(worker->probe);
    worker->probe = NULL;
}

static void
describe_end(const struct rv_process_end *end, struct rv_pool_exit *how)
{
    how->kind = end->is_signal ? RV_POOL_EXIT_SIGNAL : RV_POOL_EXIT_CODE;
    how->value = end->value;
}

/* Reads the report of a child that could not exec; true if there is one. */
static bool
read_report(struct rv__worker *worker)
{
    struct report report;
    int fd = -1;
    if (worker->launch_fd < 0) {
        return false;
    }
    ssize_t n =
        rv_packet_receive(worker->launch_fd, &report, sizeof report, &fd);
    rv_fd_close(&fd);
    if (n == sizeof report) {
        report.step[sizeof report.step - 1] = '\0';
        worker->launch_errno = report.error;
        memcpy(worker->launch_step, report.step, sizeof report.step);
    }
    return n == sizeof report;
}

static void
on_launch(struct rv_io *io, uint32_t events)
{
    struct rv__worker *worker = io->context;
    (void)events;
    read_report(worker);
    rv_io_stop(&worker->launch_io);
    rv_fd_close(&worker->launch_fd);
}

static void
on_exit_late(struct rv_timer *timer)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    ended(timer->context, &unknown);
}

static void
on_exit_event(struct rv_io *io, uint32_t events)
{
    struct rv__worker *worker = io->context;
    struct rv_process_end end;
    struct rv_pool_exit how;
    (void)events;
    /* While it is still a zombie its number is nobody else's: whatever is
     * left of its process group goes with it. */
    if (!worker->is_adopted) {
        kill(-worker->pid, SIGKILL);
    }
    int rc = rv_pidfd_collect(worker->pidfd, &end);
    if (rc == -EAGAIN) {
        return;
    }
    if (rc) {
        /* Not our child: the keeper reaps it, and reports. */
        rv_io_stop(&worker->exit_io);
        rv_timer_start(&worker->master->loop, &worker->exit_timer,
                       rv_loop_now(&worker->master->loop) + REPORT_WAIT_MS);
        return;
    }
    describe_end(&end, &how);
    if (read_report(worker) || worker->launch_errno) {
        how.kind = RV_POOL_EXIT_NO_START;
        how.value = worker->launch_errno;
    }
    ended(worker, &how);
}

void
rv__worker_orphan_ended(struct rv__master *master, pid_t pid,
                        uint64_t start_time, int status)
{
    for (int slot = 0; slot < master->max_workers; slot++) {
        struct rv__worker *worker = master->workers[slot];
        if (worker && worker->pid == pid && worker->start_time == start_time
            && worker->pidfd >= 0) {
            struct rv_process_end end;
            struct rv_pool_exit how;
            rv_process_end_decode(status, &end);
            describe_end(&end, &how);
            ended(worker, &how);
            return;
        }
    }
}

/* Notifications. */

static void
handle_notify(struct rv__worker *worker, const struct rv_notify *notify)
{
    struct rv__master *master = worker->master;
    int64_t now_ms = rv_loop_now(&master->loop);
    if (notify->has_mainpid) {
        rv_log_warn("%s (pid %d) sent MAINPID, which is refused: "
                    "reeve watches the process that it started",
                    worker->name, (int)worker->pid);
    }
    if (notify->has_status) {
        memcpy(worker->status, notify->status, sizeof worker->status);
    }
    if (notify->is_ready) {
        rv_pool_ready(master->pool, worker->slot, now_ms);
    }
    if (notify->is_watchdog) {
        rv_pool_ping(master->pool, worker->slot, now_ms);
    }
    if (notify->is_trigger) {
        rv_pool_replace(master->pool, worker->slot, RV_POOL_REASON_WATCHDOG,
                        now_ms);
    }
    if (notify->extend_usec) {
        rv_pool_extend(master->pool, worker->slot,
                       now_ms + (int64_t)(notify->extend_usec / 1000));
    }
}

static bool
is_from_worker(const struct rv__worker *worker, pid_t sender)
{
    return sender == worker->pid || rv_process_descends(sender, worker->pid);
}

static void
on_notify_pause_over(struct rv_timer *timer)
{
    struct rv__worker *worker = timer->context;
    rv_io_set_events(&worker->notify_io, EPOLLIN);
}

static void
on_notify(struct rv_io *io, uint32_t events)
{
    struct rv__worker *worker = io->context;
    struct rv__master *master = worker->master;
    (void)events;
    for (int i = 0; i < NOTIFY_PER_TURN; i++) {
        struct rv_notify notify;
        int rc = rv_notify_receive(worker->notify_fd, &notify);
        if (rc == -EAGAIN) {
            return;
        }
        if (!rc && is_from_worker(worker, notify.sender)) {
            handle_notify(worker, &notify);
        }
    }
    rv_log_warn("%s (pid %d) floods its notify socket; reading "
                "it slowly",
                worker->name, (int)worker->pid);
    rv_io_set_events(io, 0);
    rv_timer_start(&master->loop, &worker->notify_timer,
                   rv_loop_now(&master->loop) + NOTIFY_PAUSE_MS);
}

/* Telling it to leave. */

void
rv__worker_signal(struct rv__worker *worker, int signal)
{
    if (worker->pidfd < 0) {
        return;
    }
    if (signal == SIGKILL) {
        kill(-worker->pid, SIGKILL);
    }
    rv_pidfd_signal(worker->pidfd, signal);
    /* A stopped process would not see anything but SIGKILL. */
    rv_pidfd_signal(worker->pidfd, SIGCONT);
}

static void
tell(struct rv__worker *worker)
{
    if (!worker->is_told) {
        worker->is_told = true;
        rv__worker_signal(worker, worker->service->stop_signal);
    }
}

static void
on_holding(struct rv_timer *timer)
{
    struct rv__worker *worker = timer->context;
    struct rv__master *master = worker->master;
    if (rv__sockets_hold(master, worker->service,
                         rv__worker_pool(worker)->index)) {
        rv_timer_start(&master->loop, timer,
                       rv_loop_now(&master->loop) + HOLD_MS);
    } else {
        tell(worker);
    }
}

void
rv__worker_drain(struct rv__worker *worker)
{
    on_holding(&worker->holding);
}

/* Birth and death of the record. */

static struct rv__worker *
create(struct rv__master *master, int slot, struct rv__conf_ref *conf)
{
    const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
    const struct rv_pool_service *service =
        rv_pool_service(master->pool, pool->service);
    struct rv__worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        return NULL;
    }
    worker->master = master;
    worker->slot = slot;
    worker->conf = rv__conf_ref_get(conf);
    worker->service = rv_conf_find_service(conf->conf, service->name);
    worker->generation = pool->generation;
    snprintf(worker->name, sizeof worker->name, "%s.%d", service->name,
             pool->index);
    worker->pidfd = worker->notify_fd = worker->launch_fd = -1;
    rv_io_init(&worker->exit_io, on_exit_event, worker);
    rv_timer_init(&worker->exit_timer, on_exit_late, worker);
    rv_io_init(&worker->notify_io, on_notify, worker);
    rv_timer_init(&worker->notify_timer, on_notify_pause_over, worker);
    rv_io_init(&worker->launch_io, on_launch, worker);
    rv_timer_init(&worker->holding, on_holding, worker);
    rv_buf_init(&worker->tail, RV__TAIL_BYTES);
    for (int i = 0; i < RV__N_STREAMS; i++) {
        struct rv__stream *stream = &worker->streams[i];
        stream->worker = worker;
        stream->fd = -1;
        rv_io_init(&stream->io, on_output, stream);
    }
    master->workers[slot] = worker;
    return worker;
}

static int
watch_process(struct rv__worker *worker)
{
    struct rv_loop *loop = &worker->master->loop;
    int rc = rv_pidfd_open(worker->pid, worker->start_time, &worker->pidfd);
    if (!rc) {
        rc = rv_io_start(loop, &worker->exit_io, worker->pidfd, EPOLLIN);
    }
    if (!rc && worker->notify_fd >= 0) {
        rc = rv_io_start(loop, &worker->notify_io, worker->notify_fd, EPOLLIN);
    }
    return rc;
}

void
rv__worker_destroy(struct rv__worker *worker)
{
    if (!worker) {
        return;
    }
    struct rv__master *master = worker->master;
    bool is_over = !master->is_ending;
    for (int i = 0; i < RV__N_STREAMS; i++) {
        close_stream(&worker->streams[i], is_over);
    }
    if (worker->notify_fd >= 0 && is_over) {
        char name[RV_KEEPER_NAME];
        entry_name(worker, "notify", 0, name);
        rv__master_drop(master, name);
    }
    rv_io_stop(&worker->exit_io);
    rv_io_stop(&worker->notify_io);
    rv_io_stop(&worker->launch_io);
    rv_timer_stop(&worker->exit_timer);
    rv_timer_stop(&worker->notify_timer);
    rv_timer_stop(&worker->holding);
    rv_fd_close(&worker->pidfd);
    rv_fd_close(&worker->notify_fd);
    rv_fd_close(&worker->launch_fd);
    rv__probe_destroy(worker->probe);
    rv_buf_deinit(&worker->tail);
    rv__conf_ref_put(worker->conf);
    master->workers[worker->slot] = NULL;
    free(worker);
}

/* Opens all that the worker needs besides the process itself. */
static int
open_channels(struct rv__worker *worker, struct rv__launch *launch,
              struct rv_error *error)
{
    const struct rv_conf_service *service = worker->service;
    char name[RV_KEEPER_NAME];
    int rc = rv_notify_open(&worker->notify_fd, worker->notify_name);
    if (!rc) {
        entry_name(worker, "notify", 0, name);
        rv__master_put(worker->master, name, worker->notify_fd);
        rc = open_stream(worker, 0, &service->out, &launch->out_fd);
    }
    if (!rc && same_output(service)) {
        launch->err_fd = launch->out_fd;
    } else if (!rc) {
        rc = open_stream(worker, 1, &service->err, &launch->err_fd);
    }
    if (rc) {
        return rv_error_errno(error, rc, "cannot open its channels");
    }
    return rv__probe_create(worker, &worker->probe, error);
}

static void
close_child_ends(struct rv__launch *launch)
{
    if (launch->err_fd != launch->out_fd) {
        rv_fd_close(&launch->err_fd);
    }
    rv_fd_close(&launch->out_fd);
}

/* After the fork: writes the child down, and lets it go. */
static int
release(struct rv__worker *worker)
{
    char go = 'g';
    worker->start_time = rv_process_start_time(worker->pid);
    int rc = watch_process(worker);
    if (rc) {
        kill(worker->pid, SIGKILL);
        return rc;
    }
    rv__registry_publish(worker->master, worker->slot);
    rv_packet_send(worker->launch_fd, &go, 1, -1);
    return rv_io_start(&worker->master->loop, &worker->launch_io,
                       worker->launch_fd, EPOLLIN);
}

static int
launch_worker(struct rv__worker *worker, struct rv_error *error)
{
    struct rv__launch launch = {.out_fd = -1, .err_fd = -1};
    int rc = open_channels(worker, &launch, error);
    if (!rc) {
        rc = rv__launch_prepare(worker, &launch, error);
    }
    if (!rc) {
        rc = rv__launch_fork(worker, &launch);
        if (rc) {
            rv_error_errno(error, rc, "cannot fork");
        }
    }
    close_child_ends(&launch);
    rv__launch_free(&launch);
    if (!rc && (rc = release(worker))) {
        rv_error_errno(error, rc, "cannot watch it");
    }
    return rc;
}

/* The configuration of the generation that the slot belongs to. */
static struct rv__conf_ref *
conf_for(struct rv__master *master, const struct rv_pool_worker *pool,
         const struct rv_pool_service *service)
{
    bool is_candidate =
        service->candidate && pool->generation == service->candidate;
    return is_candidate && master->next_conf ? master->next_conf
                                             : master->conf;
}

static void
no_start(struct rv__master *master, int slot, int rc)
{
    struct rv_pool_exit how = {RV_POOL_EXIT_NO_START, -rc};
    if (master->workers[slot]) {
        report_failure(master->workers[slot], &how);
    }
    rv_pool_exited(master->pool, slot, &how, rv_loop_now(&master->loop));
}

void
rv__worker_start(struct rv__master *master, int slot)
{
    const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
    const struct rv_pool_service *service =
        rv_pool_service(master->pool, pool->service);
    rv__worker_destroy(master->workers[slot]);
    struct rv__worker *worker =
        create(master, slot, conf_for(master, pool, service));
    if (!worker) {
        no_start(master, slot, -ENOMEM);
        return;
    }
    struct rv_error error = {.code = 0};
    worker->service = rv_conf_find_service(worker->conf->conf, service->name);
    int rc = -ESRCH;
    if (worker->service && pool->state == RV_POOL_STARTING) {
        rc = launch_worker(worker, &error);
    }
    if (rc) {
        rv_buf_puts(&worker->tail, error.text);
        worker->launch_errno = -rc;
        no_start(master, slot, rc);
    } else if (worker->probe) {
        rv__probe_start(worker->probe);
    }
}

static void
adopt_streams(struct rv__worker *worker)
{
    const struct rv_conf_output_to *to[RV__N_STREAMS] = {
        &worker->service->out, &worker->service->err};
    char name[RV_KEEPER_NAME];
    for (int i = 0; i < RV__N_STREAMS; i++) {
        entry_name(worker, "log", i, name);
        int fd = rv__master_take_entry(worker->master, name);
        if (fd >= 0 && watch_stream(worker, i, fd, to[i])) {
            rv_fd_close(&fd);
        }
    }
    entry_name(worker, "notify", 0, name);
    worker->notify_fd = rv__master_take_entry(worker->master, name);
    if (worker->notify_fd >= 0) {
        rv_notify_name(worker->notify_fd, worker->notify_name);
    }
}

int
rv__worker_adopt(struct rv__master *master, int slot, pid_t pid,
                 uint64_t start_time)
{
    const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
    const struct rv_pool_service *service =
        rv_pool_service(master->pool, pool->service);
    struct rv__worker *worker = create(master, slot, master->conf);
    if (!worker) {
        return -ENOMEM;
    }
    worker->service = rv_conf_find_service(worker->conf->conf, service->name);
    worker->pid = pid;
    worker->start_time = start_time;
    worker->is_told = pool->state == RV_POOL_DRAINING;
    adopt_streams(worker);
    int rc = watch_process(worker);
    if (rc) {
        rv__worker_destroy(worker);
    }
    return rc;
}
