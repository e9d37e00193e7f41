#include "reeve/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "os/fd.h"

/* The number of a signal that has come; 0 for none. */
static int
read_signal(int fd)
{
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static void
on_signal(struct rv_io *io, uint32_t events RV_UNUSED)
{
    int *signalp = io->context;
    *signalp = read_signal(io->fd);
}

static void
fill_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

void
rv_loop_hold_signals(void)
{
    sigset_t set;
    fill_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL); /* Cannot fail. */
}

int
rv_loop_run_until_signal_block(struct rv_loop *loop)
{
    int signal = 0;
    struct rv_io io;
    sigset_t set;
    fill_set(&set);
    rv_loop_hold_signals();
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    rv_io_init(&io, on_signal, &signal);
    int rc = rv_io_start(loop, &io, fd, EPOLLIN);
    while (!rc && !signal) {
        rc = rv_loop_run_once(loop, -1);
    }
    rv_io_stop(&io);
    rv_fd_close(&fd);
    return rc ? rc : signal;
}
