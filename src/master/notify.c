/* What workers say by sd_notify. */
#include "master/internal.h"

#include <errno.h>
#include <string.h>

#include "reeve/log.h"
#include "os/process.h"

#define RV_LOG_THIS RV_LOG_WORKER

enum {
    NOTIFY_PER_TURN = 16, /* Datagrams read from one worker at a time. */
    NOTIFY_PAUSE_MS = 20, /* After that many. */
};

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

void
rv__on_notify_pause_over(struct rv_timer *timer)
{
    struct rv__worker *worker = timer->context;
    rv_io_set_events(&worker->notify_io, EPOLLIN);
}

void
rv__on_notify(struct rv_io *io, uint32_t events)
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
