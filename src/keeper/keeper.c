#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/backoff.h"
#include "reeve/log.h"
#include "keeper/protocol.h"
#include "keeper/store.h"
#include "os/fd.h"
#include "os/pidfile.h"
#include "os/process.h"
#include "os/rlimit.h"
#include "os/clock.h"

#define RV_LOG_THIS RV_LOG_KEEPER

enum {
    REMEMBERED_EXITS = 4096,
    YOUNG_MS = 1000,  /* A master that dies before this died young. */
    FREE_STARTS = 20, /* After so many young deaths on end it is backed off:
                       * each costs a few milliseconds, and meanwhile the
                       * service goes on without control. */
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 30000,
    FRAMES_PER_TURN = 256,
};

struct orphan {
    pid_t pid;
    int status;
    uint64_t start_time;
};

struct keeper {
    struct rv_keeper_options options;
    sigset_t signals;
    int signal_fd;

    pid_t master_pid;
    int channel_fd; /* To the master; -1 between masters. */
    int64_t master_started_ms;
    int64_t start_at_ms; /* When to start the next; 0: one runs. */
    unsigned int n_young_deaths;
    int n_starts;
    bool is_leaving; /* The master said that it ends for good. */
    bool is_started; /* A master once said that the service is up. */
    bool had_core;
    int exit_status;
    int last_status; /* How the last master ended. */

    uint64_t waiting_signals; /* Came while there was no master. */
    uint64_t sent_signals;    /* The master has not said that it saw them. */

    char pidfile[RV_KEEPER_TEXT];
    int pidfile_fd;

    /* The last orphans that ended: a new master may not have heard. */
    struct orphan orphans[REMEMBERED_EXITS];
    unsigned int n_orphans;

    struct rv_store store;
};

/* Signals that are the service's business. */
static const int forwarded[] = {
    SIGHUP,  SIGUSR1, SIGUSR2, SIGWINCH, SIGQUIT,
    SIGTERM, SIGINT,  SIGTTIN, SIGTTOU,
};

/* Sends a frame; a master that does not read is a master that hangs, and then
 * only its death helps. */
static void
send_frame(struct keeper *keeper, const struct rv_keeper_frame *frame, int fd)
{
    if (keeper->channel_fd < 0) {
        return;
    }
    int rc = rv_packet_send(keeper->channel_fd, frame, sizeof *frame, fd);
    if (rc == -EAGAIN) {
        struct pollfd writable = {keeper->channel_fd, POLLOUT, 0};
        if (poll(&writable, 1, 1000) == 1) {
            rc = rv_packet_send(keeper->channel_fd, frame, sizeof *frame, fd);
        }
    }
    if (rc && rc != -EPIPE && rc != -ECONNRESET) {
        rv_log_warn("cannot write to the master: %s", strerror(-rc));
    }
}

static void
send_orphan(struct keeper *keeper, const struct orphan *orphan)
{
    struct rv_keeper_frame frame = {
        .verb = RV_KEEPER_EXITED,
        .pid = orphan->pid,
        .value = orphan->status,
        .start_time = orphan->start_time,
    };
    send_frame(keeper, &frame, -1);
}

static void
send_store(struct keeper *keeper)
{
    uint32_t position = 0;
    const struct rv_store_entry *entry;
    while ((entry = rv_store_next(&keeper->store, &position))) {
        struct rv_keeper_frame frame = {.verb = RV_KEEPER_ENTRY};
        memcpy(frame.text, entry->name, sizeof entry->name);
        send_frame(keeper, &frame, entry->fd_plus_1 - 1);
    }
    unsigned int n = RV_MIN(keeper->n_orphans, REMEMBERED_EXITS);
    for (unsigned int i = 0; i < n; i++) {
        send_orphan(keeper, &keeper->orphans[i]);
    }
    struct rv_keeper_frame end = {
        .verb = RV_KEEPER_END,
        .n_restarts = keeper->n_starts - 1,
        .value = keeper->last_status,
    };
    send_frame(keeper, &end, -1);
    for (int signal = 1; signal < 64; signal++) {
        if (keeper->waiting_signals & (UINT64_C(1) << signal)) {
            struct rv_keeper_frame frame = {.verb = RV_KEEPER_SIGNAL,
                                            .value = signal};
            send_frame(keeper, &frame, -1);
        }
    }
    keeper->waiting_signals = 0;
}

static void
claim_pidfile(struct keeper *keeper, const char *path)
{
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_CLAIMED};
    pid_t holder = 0;
    if (keeper->pidfile_fd >= 0) {
        frame.value = strcmp(path, keeper->pidfile) ? -EBUSY : 0;
    } else {
        frame.value = rv_pidfile_claim(path, &keeper->pidfile_fd, &holder);
        frame.pid = holder;
        if (!frame.value) {
            snprintf(keeper->pidfile, sizeof keeper->pidfile, "%s", path);
        }
    }
    send_frame(keeper, &frame, -1);
}

/* Tells the process that started us how it went. */
static void
release_starter(struct keeper *keeper, int status)
{
    if (keeper->options.starter_fd >= 0) {
        char byte = (char)status;
        ssize_t n = write(keeper->options.starter_fd, &byte, 1);
        (void)n; /* It may be gone; that is its right. */
        rv_fd_close(&keeper->options.starter_fd);
    }
}

static void
leave_terminal(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i <= 2; i++) {
        dup2(fd, i);
    }
    rv_fd_close(&fd);
}

static void
service_started(struct keeper *keeper)
{
    keeper->is_started = true;
    release_starter(keeper, 0);
    if (keeper->options.detach) {
        leave_terminal();
        keeper->options.detach = false;
    }
}

static void
handle_frame(struct keeper *keeper, const struct rv_keeper_frame *frame,
             int *fdp)
{
    switch ((enum rv_keeper_verb)frame->verb) {
    case RV_KEEPER_PUT:
        if (*fdp >= 0 && !rv_store_put(&keeper->store, frame->text, *fdp)) {
            *fdp = -1;
        } else {
            rv_log_err("cannot store \"%s\"", frame->text);
        }
        break;
    case RV_KEEPER_DROP:
        rv_store_drop(&keeper->store, frame->text);
        break;
    case RV_KEEPER_LIST:
        send_store(keeper);
        break;
    case RV_KEEPER_CLAIM:
        claim_pidfile(keeper, frame->text);
        break;
    case RV_KEEPER_STARTED:
        service_started(keeper);
        break;
    case RV_KEEPER_LEAVING:
        keeper->is_leaving = true;
        keeper->exit_status = frame->value;
        break;
    case RV_KEEPER_HANDLED:
        keeper->sent_signals &= ~(UINT64_C(1) << (frame->value & 63));
        break;
    case RV_KEEPER_ENTRY:
    case RV_KEEPER_END:
    case RV_KEEPER_CLAIMED:
    case RV_KEEPER_EXITED:
    case RV_KEEPER_SIGNAL:
        rv_log_err("the master sent a frame that is ours to send");
        break;
    }
}

/* Reads what the master sent.  A bound keeps signals from waiting long. */
static void
read_channel(struct keeper *keeper)
{
    for (int i = 0; i < FRAMES_PER_TURN && keeper->channel_fd >= 0; i++) {
        struct rv_keeper_frame frame;
        int fd = -1;
        ssize_t n =
            rv_packet_receive(keeper->channel_fd, &frame, sizeof frame, &fd);
        if (n == -EAGAIN) {
            return;
        }
        if (n == -EMSGSIZE) {
            /* The master has fewer free than we, and hears of it there. */
            rv_log_err("cannot store a descriptor: too many are open");
            continue;
        }
        if (n <= 0) {
            /* Its death is reported by SIGCHLD. */
            rv_fd_close(&keeper->channel_fd);
            return;
        }
        frame.text[sizeof frame.text - 1] = '\0';
        if (n == sizeof frame) {
            handle_frame(keeper, &frame, &fd);
        }
        rv_fd_close(&fd);
    }
}

/* In the child: becomes the master. */
RV_NORETURN static void
become_master(struct keeper *keeper, int channel_fd)
{
    char number[16];
    /* What a terminal or a supervisor sends to the whole group would come
     * twice: to us, who forward it, and to the master itself. */
    setpgid(0, 0);
    rv_process_reset_signals();
    rv_fd_set_cloexec(channel_fd, false);
    snprintf(number, sizeof number, "%d", channel_fd);
    setenv(RV_KEEPER_VARIABLE, number, 1);
    if (keeper->had_core) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
    }
    execv("/proc/self/exe", keeper->options.argv);
    fprintf(stderr, "reeve: cannot start the master: %s\n", strerror(errno));
    _exit(1);
}

static void
start_master(struct keeper *keeper)
{
    int fds[2];
    int rc = rv_packet_pair(fds);
    pid_t pid = -1;
    if (!rc) {
        pid = fork();
        rc = pid < 0 ? -errno : 0;
        if (pid == 0) {
            become_master(keeper, fds[1]);
        }
        rv_fd_close(&fds[1]);
    }
    keeper->master_started_ms = rv_clock_ms();
    if (rc) {
        if (pid < 0) {
            rv_log_err("cannot start a master, trying again in a second: %s",
                       strerror(-rc));
        }
        keeper->start_at_ms = rv_clock_ms() + 1000;
        return;
    }
    rv_fd_close(&keeper->channel_fd);
    keeper->channel_fd = fds[0];
    keeper->master_pid = pid;
    keeper->start_at_ms = 0;
    keeper->n_starts++;
}

static void
plan_next_master(struct keeper *keeper, const struct rv_process_end *end)
{
    bool is_young = rv_clock_ms() - keeper->master_started_ms < YOUNG_MS;
    keeper->n_young_deaths = is_young ? keeper->n_young_deaths + 1 : 1;
    uint64_t random = (uint64_t)rv_clock_ms();
    int64_t delay_ms =
        keeper->n_young_deaths <= FREE_STARTS
            ? 0
            : rv_backoff_ms(BACKOFF_MIN_MS, BACKOFF_MAX_MS,
                            keeper->n_young_deaths - FREE_STARTS + 1,
                            rv_random(&random));
    keeper->start_at_ms = rv_clock_ms() + delay_ms;
    rv_log_err("the master (pid %d) died (%s %d)%s; starting another%s",
               (int)keeper->master_pid, end->is_signal ? "signal" : "status",
               end->value, end->is_core_dumped ? ", core dumped" : "",
               delay_ms ? " after a while" : "");
    keeper->had_core = keeper->had_core || end->is_core_dumped;
}

static void
master_ended(struct keeper *keeper, const struct rv_process_end *end)
{
    if (keeper->channel_fd >= 0) {
        read_channel(keeper);
        rv_fd_close(&keeper->channel_fd);
    }
    if (keeper->is_leaving) {
        /* 'exit_status' is what the master said. */
        keeper->start_at_ms = 0;
    } else if (!keeper->is_started && !end->is_signal) {
        keeper->is_leaving = true;
        keeper->exit_status = end->value;
    } else {
        plan_next_master(keeper, end);
    }
    keeper->master_pid = 0;
    /* What it may not have seen the next one gets, but only once: it may be
     * what it died of. */
    keeper->waiting_signals |= keeper->sent_signals;
    keeper->sent_signals = 0;
}

static void
child_ended(struct keeper *keeper, pid_t pid)
{
    uint64_t start_time = rv_process_start_time(pid);
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) != pid) {
        return;
    }
    if (pid == keeper->master_pid) {
        struct rv_process_end end;
        rv_process_end_decode(status, &end);
        keeper->last_status = status;
        master_ended(keeper, &end);
        return;
    }
    struct orphan *orphan =
        &keeper->orphans[keeper->n_orphans++ % REMEMBERED_EXITS];
    *orphan = (struct orphan){pid, status, start_time};
    send_orphan(keeper, orphan);
}

static void
reap(struct keeper *keeper)
{
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)
            || !info.si_pid) {
            return;
        }
        child_ended(keeper, info.si_pid);
    }
}

static void
forward(struct keeper *keeper, int signal)
{
    if (keeper->channel_fd < 0) {
        keeper->waiting_signals |= UINT64_C(1) << signal;
        return;
    }
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_SIGNAL, .value = signal};
    keeper->sent_signals |= UINT64_C(1) << signal;
    send_frame(keeper, &frame, -1);
}

static void
read_signals(struct keeper *keeper)
{
    struct signalfd_siginfo info;
    while (read(keeper->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(keeper);
        } else if (info.ssi_signo == SIGWINCH && info.ssi_code == SI_KERNEL) {
            continue; /* The terminal was resized: nobody means us. */
        } else {
            forward(keeper, (int)info.ssi_signo);
        }
    }
}

static int
open_signals(struct keeper *keeper)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < RV_ARRAY_SIZE(forwarded); i++) {
        sigaddset(&set, forwarded[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, &keeper->signals)) {
        return -errno;
    }
    keeper->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return keeper->signal_fd < 0 ? -errno : 0;
}

/* Takes over the store that the dead keeper's master wrote down. */
static void
inherit_store(struct keeper *keeper)
{
    struct rv_keeper_entry entry;
    int fd = keeper->options.heir_fd;
    while (read(fd, &entry, sizeof entry) == sizeof entry) {
        entry.name[sizeof entry.name - 1] = '\0';
        int stored_fd = entry.fd;
        rv_fd_set_cloexec(stored_fd, true);
        if (rv_store_put(&keeper->store, entry.name, stored_fd)) {
            rv_fd_close(&stored_fd);
        }
    }
    rv_fd_close(&keeper->options.heir_fd);
    keeper->is_started = true;
}

static int
poll_timeout(const struct keeper *keeper)
{
    if (!keeper->start_at_ms) {
        return -1;
    }
    int64_t left_ms = keeper->start_at_ms - rv_clock_ms();
    return (int)RV_MAX(left_ms, 0);
}

static void
loop(struct keeper *keeper)
{
    while (keeper->master_pid || !keeper->is_leaving) {
        struct pollfd fds[2] = {
            {keeper->signal_fd, POLLIN, 0},
            {keeper->channel_fd, POLLIN, 0},
        };
        poll(fds, RV_ARRAY_SIZE(fds), poll_timeout(keeper));
        read_channel(keeper);
        read_signals(keeper);
        bool is_due =
            keeper->start_at_ms && keeper->start_at_ms <= rv_clock_ms();
        if (is_due && !keeper->master_pid && !keeper->is_leaving) {
            start_master(keeper);
        }
    }
}

int
rv_keeper_run(const struct rv_keeper_options *options)
{
    /* Static, so that the large table is zero pages until it is used. */
    static struct keeper keeper;
    keeper.options = *options;
    keeper.channel_fd = keeper.pidfile_fd = keeper.signal_fd = -1;
    keeper.start_at_ms = 1;
    rv_rlimit_raise_nofile();
    int rc = rv_process_become_subreaper();
    if (!rc) {
        rc = open_signals(&keeper);
    }
    if (rc) {
        fprintf(stderr, "reeve: cannot set up the keeper: %s\n",
                strerror(-rc));
        return 1;
    }
    if (keeper.options.heir_fd >= 0) {
        inherit_store(&keeper);
    }
    reap(&keeper);
    loop(&keeper);
    if (keeper.pidfile_fd >= 0) {
        rv_pidfile_release(keeper.pidfile, &keeper.pidfile_fd);
    }
    release_starter(&keeper, keeper.exit_status);
    rv_store_clear(&keeper.store);
    rv_fd_close(&keeper.signal_fd);
    return keeper.exit_status;
}
