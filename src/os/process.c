#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fd.h"

enum { MAX_ANCESTORS = 16 };

static int
read_stat(pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, size - 1);
    rv_fd_close(&fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = '\0';
    return 0;
}

int
rv_process_info(pid_t pid, struct rv_process_info *info)
{
    char text[1024];
    int rc = read_stat(pid, text, sizeof text);
    if (rc) {
        return rc;
    }
    /* The name, in parentheses, may itself hold parentheses and spaces. */
    const char *rest = strrchr(text, ')');
    int parent;
    char state;
    uint64_t user, system, start;
    int64_t rss_pages;
    if (!rest
        || sscanf(rest + 1,
                  " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64
                  " %" SCNu64 " %*d %*d %*d %*d %*d %*d %" SCNu64
                  " %*u %" SCNd64,
                  &state, &parent, &user, &system, &start, &rss_pages)
               != 6) {
        return -ESRCH;
    }
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    *info = (struct rv_process_info){
        .state = state,
        .parent = parent,
        .start_time = start,
        .cpu_ms = (user + system) * 1000 / ticks,
        .rss_bytes = (uint64_t)rss_pages * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    return 0;
}

bool
rv_thread_exists(pid_t pid, pid_t tid)
{
    return pid > 0 && tid > 0
           && (!syscall(SYS_tgkill, pid, tid, 0) || errno != ESRCH);
}

uint64_t
rv_process_start_time(pid_t pid)
{
    struct rv_process_info info;
    return rv_process_info(pid, &info) ? 0 : info.start_time;
}

int
rv_pidfd_open(pid_t pid, uint64_t start_time, int *fdp)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        return -errno;
    }
    /* Asked after the open: if it holds now, the pidfd is the right one. */
    if (start_time && rv_process_start_time(pid) != start_time) {
        rv_fd_close(&fd);
        return -ESRCH;
    }
    *fdp = fd;
    return 0;
}

int
rv_pidfd_signal(int fd, int signal)
{
    return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) ? -errno : 0;
}

int
rv_pidfd_collect(int fd, struct rv_process_end *end)
{
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG)) {
        return -errno;
    }
    if (!info.si_pid) {
        return -EAGAIN;
    }
    *end = (struct rv_process_end){
        .is_signal = info.si_code != CLD_EXITED,
        .is_core_dumped = info.si_code == CLD_DUMPED,
        .value = info.si_status,
    };
    return 0;
}

int
rv_process_end_encode(const struct rv_process_end *end)
{
    return end->is_signal ? end->value | (end->is_core_dumped ? 0x80 : 0)
                          : end->value << 8;
}

void
rv_process_end_decode(int status, struct rv_process_end *end)
{
    *end = (struct rv_process_end){
        .is_signal = WIFSIGNALED(status),
        .is_core_dumped = WIFSIGNALED(status) && WCOREDUMP(status),
        .value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
    };
}

const char *
rv_process_end_text(const struct rv_process_end *end,
                    char text[RV_PROCESS_END_TEXT])
{
    const char *name = end->is_signal ? sigdescr_np(end->value) : NULL;
    const char *core = end->is_core_dumped ? ", core dumped" : "";
    if (!end->is_signal) {
        snprintf(text, RV_PROCESS_END_TEXT, "exit status %d", end->value);
    } else if (name) {
        snprintf(text, RV_PROCESS_END_TEXT, "killed (%s)%s", name, core);
    } else {
        snprintf(text, RV_PROCESS_END_TEXT, "killed (signal %d)%s", end->value,
                 core);
    }
    return text;
}

bool
rv_process_descends(pid_t pid, pid_t ancestor)
{
    for (int i = 0; i < MAX_ANCESTORS && pid > 1; i++) {
        struct rv_process_info info;
        if (pid == ancestor) {
            return true;
        }
        if (rv_process_info(pid, &info)) {
            return false;
        }
        pid = info.parent;
    }
    return false;
}

int
rv_process_become_subreaper(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) ? -errno : 0;
}

void
rv_process_reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int signal = 1; signal < NSIG; signal++) {
        sigaction(signal, &action, NULL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}
