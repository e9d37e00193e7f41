/* Design
 *
 * Two guardians run this code: the monitor, the daemon's parent, and the
 * guard, the monitor's parent.  What the monitor knows (struct rv__monitor)
 * lies in a page that both share, and changes as a whole: the next state is
 * written beside the current one, then one store makes it current.  A monitor
 * can so be killed at any instruction, and the guard, a subreaper and by then
 * the daemon's parent, goes on from the last state.
 *
 * Facts are recorded before they are consumed: the report of a daemon is read
 * from the channel, and a dead daemon is reaped, after the state has them.  A
 * new daemon waits for a byte that the monitor sends once its pid stands in
 * the state; if the monitor dies before that, the daemon reads the end of the
 * pair and leaves.  So there is no daemon that the guard does not know.
 *
 * The files that the daemon has named to reeve/fatal_signal.h stand in memory
 * that all three share, so that they go even after a SIGKILL.
 *
 * Both hold both ends of the channel to the daemon, the daemon only its own;
 * it sees the end of the channel when it has no guardian any more. */
#include "keeper/daemon_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/backoff.h"
#include "keeper/monitor.h"
#include "os/clock.h"
#include "os/fatal_signal.h"
#include "os/fd.h"
#include "os/process.h"
#include "reeve/log.h"

#define RV_LOG_THIS RV_LOG_KEEPER

enum { LEFT_WITHOUT_GO = 127, NAME_BYTES = 16 };

struct shared {
    struct rv__monitor states[2];
    _Atomic(unsigned int) current; /* The one that counts. */
    atomic_bool is_over;           /* The monitor leaves, with this: */
    _Atomic(int) exit_status;
    /* Bits of signals that the guard passed on and the monitor has not taken
     * in: it may be killed before it does. */
    _Atomic(uint64_t) passed;
};

struct guardian {
    const struct rv_daemon_options *options;
    struct rv__monitor_policy policy;
    struct shared *shared;
    int launcher_fd;
    int channel[2]; /* Ours, the daemon's. */
    int signal_fd;
    sigset_t old_mask; /* As the program had them; for the daemon. */
    struct sigaction old_child_action;
    char name[NAME_BYTES]; /* Of the process, likewise. */
    pid_t guard_pid;       /* Our parent, if it is the guard; else 0. */
    uint64_t random;
    struct rv_error *error;

    bool is_daemon; /* This process is the daemon by now. */
    int failure;    /* Negative: the first start failed. */
};

/* What goes to the daemon. */
static const int forwarded[] = {
    SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGWINCH,
};

static void act(struct guardian *guardian,
                const struct rv__monitor_event *event);
static void reap(struct guardian *guardian);

static const struct rv__monitor *
state(const struct guardian *guardian)
{
    const struct shared *shared = guardian->shared;
    return &shared->states[atomic_load(&shared->current)];
}

/* Takes an event into the shared state. */
static enum rv__monitor_action
advance(struct guardian *guardian, const struct rv__monitor_event *event)
{
    struct shared *shared = guardian->shared;
    unsigned int next = !atomic_load(&shared->current);
    shared->states[next] = *state(guardian);
    enum rv__monitor_action action =
        rv__monitor_step(&shared->states[next], &guardian->policy, event,
                         rv_clock_ms(), rv_random(&guardian->random));
    atomic_store(&shared->current, next);
    return action;
}

/* In the list of processes, and in log lines. */
static void
be_called(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
    rv_log_set_subprogram(name);
}

static void
show(const struct guardian *guardian)
{
    char text[RV__MONITOR_TEXT];
    const struct rv__monitor *now = state(guardian);
    pid_t pid = now->pid ? now->pid : now->last_pid;
    rv_title_set("%s: monitoring pid %d (%s)", guardian->options->program,
                 (int)pid, rv__monitor_text(now, text));
}

/* ---- The daemon ---- */

/* In the new process: waits until the state has its pid. */
static void
wait_for_go_block(int fd)
{
    char byte;
    int none;
    ssize_t n;
    struct pollfd readable = {fd, POLLIN, 0};
    while ((n = rv_packet_receive(fd, &byte, 1, &none)) == -EAGAIN) {
        poll(&readable, 1, -1);
    }
    if (n != 1) {
        _exit(LEFT_WITHOUT_GO);
    }
}

/* In the new process: is as it was in rv_daemon_start_block(). */
static void
become_daemon(struct guardian *guardian, bool had_core)
{
    if (had_core) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
    }
    rv_fd_close(&guardian->channel[0]);
    rv_fd_close(&guardian->launcher_fd);
    rv_fd_close(&guardian->signal_fd);
    munmap(guardian->shared, sizeof *guardian->shared);
    rv_title_restore();
    prctl(PR_SET_NAME, guardian->name, 0, 0, 0);
    rv_log_set_subprogram("");
    sigaction(SIGCHLD, &guardian->old_child_action, NULL);
    sigprocmask(SIG_SETMASK, &guardian->old_mask, NULL);
    guardian->is_daemon = true;
}

static void
fork_daemon(struct guardian *guardian)
{
    int go[2] = {-1, -1};
    bool had_core = state(guardian)->had_core;
    int rc = rv_packet_pair(go);
    pid_t pid = rc ? -1 : fork();
    if (pid == 0) {
        rv_fd_close(&go[1]);
        wait_for_go_block(go[0]);
        rv_fd_close(&go[0]);
        become_daemon(guardian, had_core);
        return;
    }
    if (pid < 0) {
        rv_log_err("cannot start the daemon: %s", strerror(rc ? -rc : errno));
    }
    struct rv__monitor_event event = {
        .type = pid < 0 ? RV__MONITOR_NOT_FORKED : RV__MONITOR_FORKED,
        .pid = pid,
    };
    advance(guardian, &event);
    if (pid > 0) {
        rv_packet_send(go[1], "", 1, -1);
    }
    rv_fd_close(&go[0]);
    rv_fd_close(&go[1]);
    show(guardian);
}

/* ---- The guard ---- */

/* Tells the launcher that the daemon is up, and lets go of its terminal. */
static int
announce(struct guardian *guardian)
{
    int rc = 0;
    if (guardian->options->detach) {
        rv__daemon_leave_terminal();
    }
    if (guardian->launcher_fd >= 0) {
        rc = rv__daemon_report(guardian->launcher_fd, getpid());
        rv_fd_close(&guardian->launcher_fd);
    }
    return rc;
}

/* Takes in what the dead monitor did not. */
static void
act_on_passed(struct guardian *guardian)
{
    uint64_t passed = atomic_exchange(&guardian->shared->passed, 0);
    for (int i = 1; i < 64; i++) {
        struct rv__monitor_event event = {.type = RV__MONITOR_SIGNALLED,
                                          .signal = i};
        if (passed & UINT64_C(1) << i) {
            act(guardian, &event);
        }
    }
}

/* The monitor is gone and we are the daemon's parent. */
static void
take_over(struct guardian *guardian)
{
    const struct rv__monitor *now = state(guardian);
    siginfo_t info = {.si_pid = 0};
    guardian->guard_pid = 0;
    be_called("monitor");
    show(guardian);
    rv_log_warn("the monitor was killed; pid %d monitors now", (int)getpid());
    if (now->was_ready) {
        announce(guardian); /* Perhaps again. */
    }
    /* Its end may have been told together with the monitor's. */
    reap(guardian);
    now = state(guardian);
    if (now->pid
        && waitid(P_PID, (id_t)now->pid, &info, WEXITED | WNOHANG | WNOWAIT)) {
        /* It died, and somebody reaped it, unheard of. */
        struct rv__monitor_event event = {.type = RV__MONITOR_ENDED,
                                          .end = {true, false, SIGKILL}};
        act(guardian, &event);
    }
    act_on_passed(guardian);
}

/* Follows the monitor, or takes its place: then true. */
static bool
monitor_ended(struct guardian *guardian, int status)
{
    if (atomic_load(&guardian->shared->is_over)) {
        _exit(atomic_load(&guardian->shared->exit_status));
    }
    if (WIFEXITED(status) && !state(guardian)->was_ready) {
        _exit(WEXITSTATUS(status)); /* It has said why. */
    }
    take_over(guardian);
    return true;
}

/* One signal to the guard; true when it has become the monitor. */
static bool
guard_signalled(struct guardian *guardian, pid_t monitor_pid,
                const struct signalfd_siginfo *info)
{
    if (info->ssi_signo != SIGCHLD) {
        if (info->ssi_code != SI_KERNEL) {
            atomic_fetch_or(&guardian->shared->passed, UINT64_C(1)
                                                           << info->ssi_signo);
            kill(monitor_pid, (int)info->ssi_signo);
        }
        return false;
    }
    int status = 0;
    if (waitpid(monitor_pid, &status, WNOHANG) == monitor_pid) {
        return monitor_ended(guardian, status);
    }
    /* Orphans of the daemon's are ours. */
    siginfo_t child = {.si_pid = 0};
    while (!waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT)
           && child.si_pid && child.si_pid != monitor_pid) {
        waitpid(child.si_pid, NULL, WNOHANG);
        child.si_pid = 0;
    }
    return false;
}

/* Guards until the monitor is killed, and returns as the new one. */
static void
guard_block(struct guardian *guardian, pid_t monitor_pid)
{
    be_called("guard");
    rv_title_set("%s: guarding monitor pid %d", guardian->options->program,
                 (int)monitor_pid);
    if (guardian->options->detach) {
        /* Whatever there is to say the others say. */
        rv__daemon_leave_terminal();
    }
    struct pollfd readable = {guardian->signal_fd, POLLIN, 0};
    for (;;) {
        struct signalfd_siginfo info;
        poll(&readable, 1, -1);
        while (read(guardian->signal_fd, &info, sizeof info) == sizeof info) {
            if (guard_signalled(guardian, monitor_pid, &info)) {
                return;
            }
        }
    }
}

/* Forks, so that the parent guards and the child monitors.  Returns true in
 * the monitor; false in a guard that took over, at some later time. */
static bool
divide(struct guardian *guardian)
{
    pid_t self = getpid();
    rv_process_become_subreaper();
    pid_t pid = fork();
    if (pid > 0) {
        guard_block(guardian, pid);
        return false;
    }
    if (pid == 0) {
        guardian->guard_pid = self;
        be_called("monitor");
    }
    return true; /* Without a guard, if there can be none. */
}

/* ---- The monitor ---- */

static void
start_daemon(struct guardian *guardian)
{
    bool has_guard = guardian->guard_pid && getppid() == guardian->guard_pid;
    if (has_guard || divide(guardian)) {
        fork_daemon(guardian);
    }
}

RV_NORETURN static void
leave(struct guardian *guardian, int exit_status)
{
    atomic_store(&guardian->shared->exit_status, exit_status);
    atomic_store(&guardian->shared->is_over, true);
    _exit(exit_status);
}

static void
fail(struct guardian *guardian)
{
    const struct rv_process_end *end = &state(guardian)->last_end;
    if (!end->is_signal && end->value) {
        leave(guardian, end->value); /* It has said why. */
    }
    guardian->failure = rv__daemon_died(end, guardian->error);
}

static void
forward(struct guardian *guardian, int signal)
{
    if (state(guardian)->pid) {
        kill(state(guardian)->pid, signal);
    }
}

static void
say_crashed(struct guardian *guardian)
{
    char text[RV__MONITOR_TEXT];
    show(guardian);
    rv_log_err("%s, restarting", rv__monitor_text(state(guardian), text));
}

RV_NORETURN static void
say_ended(struct guardian *guardian)
{
    char text[RV_PROCESS_END_TEXT];
    const struct rv__monitor *now = state(guardian);
    if (now->last_pid) {
        rv_log_info("pid %d died, %s, exiting", (int)now->last_pid,
                    rv_process_end_text(&now->last_end, text));
    }
    leave(guardian, 0);
}

/* Takes an event and does what follows from it. */
static void
act(struct guardian *guardian, const struct rv__monitor_event *event)
{
    switch (advance(guardian, event)) {
    case RV__MONITOR_NOTHING:
        break;
    case RV__MONITOR_START:
        start_daemon(guardian);
        break;
    case RV__MONITOR_ANNOUNCE:
        if (announce(guardian)) {
            /* Whoever wanted this daemon was interrupted. */
            struct rv__monitor_event stop = {.type = RV__MONITOR_SIGNALLED,
                                             .signal = SIGTERM};
            act(guardian, &stop);
        }
        break;
    case RV__MONITOR_FORWARD:
        forward(guardian, event->signal);
        break;
    case RV__MONITOR_CRASHED:
        say_crashed(guardian);
        break;
    case RV__MONITOR_LEAVE:
        say_ended(guardian);
    case RV__MONITOR_FAIL:
        fail(guardian);
        break;
    }
}

/* Takes reports in; those of daemons that died meanwhile mean nothing. */
static void
read_channel(struct guardian *guardian)
{
    pid_t pid = 0;
    while (
        recv(guardian->channel[0], &pid, sizeof pid, MSG_PEEK | MSG_DONTWAIT)
        == sizeof pid) {
        struct rv__monitor_event event = {.type = RV__MONITOR_READY};
        if (pid == state(guardian)->pid) {
            act(guardian, &event);
        }
        recv(guardian->channel[0], &pid, sizeof pid, MSG_DONTWAIT);
    }
}

static void
reap(struct guardian *guardian)
{
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)
            || !info.si_pid) {
            return;
        }
        if (info.si_pid == state(guardian)->pid) {
            struct rv__monitor_event event = {
                .type = RV__MONITOR_ENDED,
                .end = {info.si_code != CLD_EXITED, info.si_code == CLD_DUMPED,
                        info.si_status},
            };
            read_channel(guardian);
            rv__fatal_signal_unlink_files_of(info.si_pid);
            act(guardian, &event);
        }
        waitpid(info.si_pid, NULL, WNOHANG);
    }
}

static void
signalled(struct guardian *guardian, const struct signalfd_siginfo *info)
{
    bool is_terminal = info->ssi_code == SI_KERNEL;
    struct rv__monitor_event event = {
        .type = RV__MONITOR_SIGNALLED,
        .signal = (int)info->ssi_signo,
    };
    if (info->ssi_signo == SIGCHLD) {
        reap(guardian);
    } else if (!is_terminal) {
        act(guardian, &event);
    } else if (advance(guardian, &event) == RV__MONITOR_LEAVE) {
        /* The daemon, if there is one, has had it from the terminal. */
        say_ended(guardian);
    }
    atomic_fetch_and(&guardian->shared->passed,
                     ~(UINT64_C(1) << info->ssi_signo));
}

static bool
is_done(const struct guardian *guardian)
{
    return guardian->is_daemon || guardian->failure;
}

/* Monitors until this process is the daemon, or the first start failed. */
static void
monitor_block(struct guardian *guardian)
{
    const struct rv__monitor_event due = {.type = RV__MONITOR_DUE};
    for (;;) {
        act(guardian, &due);
        if (is_done(guardian)) {
            return;
        }
        struct pollfd fds[] = {
            {guardian->signal_fd, POLLIN, 0},
            {guardian->channel[0], POLLIN, 0},
        };
        poll(fds, RV_ARRAY_SIZE(fds),
             rv__monitor_timeout(state(guardian), rv_clock_ms()));
        read_channel(guardian);
        struct signalfd_siginfo info;
        while (!is_done(guardian)
               && read(guardian->signal_fd, &info, sizeof info)
                      == sizeof info) {
            signalled(guardian, &info);
        }
        if (is_done(guardian)) {
            return;
        }
    }
}

/* ---- Beginning ---- */

static int
open_signals(struct guardian *guardian)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < RV_ARRAY_SIZE(forwarded); i++) {
        sigaddset(&set, forwarded[i]);
    }
    guardian->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (guardian->signal_fd < 0) {
        return -errno;
    }
    /* Ignored, children would leave no status. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &action, &guardian->old_child_action);
    sigprocmask(SIG_BLOCK, &set, &guardian->old_mask);
    return 0;
}

static int
open_all(struct guardian *guardian)
{
    int rc = rv_packet_pair(guardian->channel);
    if (rc) {
        return rc;
    }
    void *page = mmap(NULL, sizeof *guardian->shared, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return -errno;
    }
    guardian->shared = page;
    rv__monitor_init(&guardian->shared->states[0], rv_clock_ms());
    rc = rv__fatal_signal_share();
    return rc ? rc : open_signals(guardian);
}

/* The first start failed, and the caller will say so. */
static void
close_all(struct guardian *guardian)
{
    if (guardian->signal_fd >= 0) {
        sigaction(SIGCHLD, &guardian->old_child_action, NULL);
        sigprocmask(SIG_SETMASK, &guardian->old_mask, NULL);
    }
    if (guardian->shared) {
        munmap(guardian->shared, sizeof *guardian->shared);
    }
    rv_fd_close(&guardian->launcher_fd);
    rv_fd_close(&guardian->signal_fd);
    rv_fd_close(&guardian->channel[0]);
    rv_fd_close(&guardian->channel[1]);
    rv_title_restore();
    prctl(PR_SET_NAME, guardian->name, 0, 0, 0);
    rv_log_set_subprogram("");
}

int
rv__guardian_run(struct rv_daemon *daemon,
                 const struct rv_daemon_options *options, int launcher_fd,
                 struct rv_error *error)
{
    struct guardian guardian = {
        .options = options,
        .policy = {.min_backoff_ms = options->min_backoff_ms,
                   .max_backoff_ms = options->max_backoff_ms,
                   .stable_ms = options->stable_ms},
        .launcher_fd = launcher_fd,
        .channel = {-1, -1},
        .signal_fd = -1,
        .random = (uint64_t)rv_clock_ms() ^ (uint64_t)getpid() << 32,
        .error = error,
    };
    prctl(PR_GET_NAME, guardian.name, 0, 0, 0);
    int rc = open_all(&guardian);
    if (rc) {
        rv_error_errno(error, rc, "cannot set up the monitor");
    } else {
        monitor_block(&guardian);
        rc = guardian.failure;
    }
    if (rc) {
        close_all(&guardian);
        return rc;
    }
    daemon->channel_fd = guardian.channel[1];
    return 0;
}
