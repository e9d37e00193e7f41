/* Signals: no handler runs any code; they come as data and become the same
 * calls as the control socket's commands. */
#include "master/internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"

#define RV_LOG_THIS RV_LOG_MASTER

/* timeout(1) and others signal a process and then its group: that is meant
 * once. */
enum { ECHO_MS = 200 };

static const int handled[] = {
    SIGHUP, SIGUSR1, SIGWINCH, SIGQUIT, SIGTERM,
    SIGINT, SIGTTIN, SIGTTOU,  SIGUSR2,
};

static void
reload(struct rv__master *master)
{
    struct rv_error error;
    if (rv__operation_reload(master, NULL, NULL, false, &error)) {
        rv_log_err("reload: %s", error.text);
    }
}

/* TERM and INT: graceful with a deadline, as containers expect; at once the
 * second time, or the first time with `signals: nginx`. */
static void
stop(struct rv__master *master)
{
    int64_t now_ms = rv_loop_now(&master->loop);
    bool is_echo =
        master->n_stop_signals && now_ms - master->stop_signal_ms < ECHO_MS;
    if (is_echo) {
        return;
    }
    master->stop_signal_ms = now_ms;
    bool is_fast =
        master->n_stop_signals++ || master->conf->conf->nginx_signals;
    rv_log_info("stopping%s", is_fast ? " now" : "");
    rv__operation_stop(
        master, is_fast ? RV_POOL_STOP_FAST : RV_POOL_STOP_DEADLINE, NULL);
}

static void
scale_first(struct rv__master *master, int step)
{
    const struct rv_conf_service *service = &master->conf->conf->services[0];
    struct rv_error error;
    int n = rv__conf_n_workers(service) + step;
    if (n < 1) {
        rv_log_info("\"%s\" keeps its last worker", service->name);
        return;
    }
    if (rv__operation_scale(master, service->name, n, NULL, &error)) {
        rv_log_err("scale: %s", error.text);
    }
}

void
rv__signals_handle(struct rv__master *master, int signal)
{
    switch (signal) {
    case SIGHUP:
        reload(master);
        break;
    case SIGUSR1:
        rv__output_reopen(master);
        break;
    case SIGUSR2:
        rv_log_warn("this reeve cannot upgrade itself while it runs; nothing "
                    "was done");
        break;
    case SIGWINCH:
        rv_log_info("draining all workers; HUP starts them again");
        rv_pool_pause(master->pool);
        master->is_state_stale = true;
        break;
    case SIGQUIT:
        rv_log_info("stopping when every connection is finished");
        rv__operation_stop(master, RV_POOL_STOP_GRACEFUL, NULL);
        break;
    case SIGTERM:
    case SIGINT:
        stop(master);
        break;
    case SIGTTIN:
        scale_first(master, 1);
        break;
    case SIGTTOU:
        scale_first(master, -1);
        break;
    default:
        break;
    }
}

static void
on_signal(struct rv_io *io, uint32_t events)
{
    struct rv__master *master = io->context;
    struct signalfd_siginfo info;
    (void)events;
    while (read(io->fd, &info, sizeof info) == sizeof info) {
        rv__signals_handle(master, (int)info.ssi_signo);
    }
}

int
rv__signals_open(struct rv__master *master)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < RV_ARRAY_SIZE(handled); i++) {
        sigaddset(&set, handled[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL)) {
        return -errno;
    }
    master->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (master->signal_fd < 0) {
        return -errno;
    }
    rv_io_init(&master->signal_io, on_signal, master);
    return rv_io_start(&master->loop, &master->signal_io, master->signal_fd,
                       EPOLLIN);
}
