/* A worker's process as the master holds it: its start, its end, and what it
 * is told in between. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"
#include "os/process.h"

#define RV_LOG_THIS RV_LOG_WORKER

enum {
    REPORT_WAIT_MS = 500, /* For the keeper's report of an adopted one. */
    HOLD_MS = 10,         /* Between looks at a queue that drains. */
};

const struct rv_pool_worker *
rv__worker_pool(const struct rv__worker *worker)
{
    return rv_pool_worker(worker->master->pool, worker->slot);
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
    if (!rv__operation_start_failed(master, rv_buf_string(&why))) {
        rv_log_warn("%s", rv_buf_string(&why));
    }
    rv_buf_deinit(&why);
}

static void
ended(struct rv__worker *worker, const struct rv_pool_exit *how)
{
    struct rv__master *master = worker->master;
    int slot = worker->slot;
    rv__streams_drain(worker);
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
    struct rv__launch_report report;
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
    struct rv_process_info info;
    if (!rv_process_info(worker->pid, &info) && info.state == 'T') {
        rv_pidfd_signal(worker->pidfd, SIGCONT);
    }
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
    rv_io_init(&worker->notify_io, rv__on_notify, worker);
    rv_timer_init(&worker->notify_timer, rv__on_notify_pause_over, worker);
    rv_io_init(&worker->launch_io, on_launch, worker);
    rv_timer_init(&worker->holding, on_holding, worker);
    rv_buf_init(&worker->tail, RV__TAIL_BYTES);
    for (int i = 0; i < RV__N_STREAMS; i++) {
        rv__stream_init(&worker->streams[i], worker);
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
        rv__stream_close(&worker->streams[i], is_over);
    }
    if (worker->notify_fd >= 0 && is_over) {
        char name[RV_KEEPER_NAME];
        rv__worker_entry_name(worker, "notify", 0, name);
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
    rv__zones_release(worker);
    rv__conf_ref_put(worker->conf);
    master->workers[worker->slot] = NULL;
    free(worker);
}

/* What of the worker's channels could not be opened. */
static const char *
missing_channel(const struct rv__worker *worker,
                const struct rv__launch *launch)
{
    const struct rv_conf_output_to *to = &worker->service->out;
    if (worker->notify_fd < 0) {
        return "its notify socket";
    }
    if (launch->out_fd >= 0 || to->kind == RV_CONF_OUTPUT_NULL) {
        to = &worker->service->err;
    }
    return to->path ? to->path : "a pipe for its output";
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
        rv__worker_entry_name(worker, "notify", 0, name);
        rv__master_put(worker->master, name, worker->notify_fd);
        rc = rv__stream_open(worker, 0, &service->out, &launch->out_fd);
    }
    if (!rc && rv__streams_are_one(service)) {
        launch->err_fd = launch->out_fd;
    } else if (!rc) {
        rc = rv__stream_open(worker, 1, &service->err, &launch->err_fd);
    }
    if (rc) {
        return rv_error_errno(error, rc, "cannot open %s",
                              missing_channel(worker, launch));
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
        waitpid(worker->pid, NULL, 0); /* It waits for us: no delay. */
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
    rv__streams_adopt(worker);
    if (worker->service && rv__zones_hold(worker)) {
        rv_log_debug("%s has zones that nobody else has", worker->name);
    }
    int rc = watch_process(worker);
    if (rc) {
        rv__worker_destroy(worker);
        return rc;
    }
    /* Without its probe it would never be ready, and so be replaced. */
    if (pool->state == RV_POOL_STARTING
        && !rv__probe_adopt(worker, &worker->probe) && worker->probe) {
        rv__probe_start(worker->probe);
    }
    return 0;
}
