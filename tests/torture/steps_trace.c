#include "steps_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

void
trace_die(const char *what)
{
    fprintf(stderr, "FAILED: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static long
request(int what, const struct tracee *tracee, uintptr_t address,
        uintptr_t data)
{
    errno = 0;
    long rc = ptrace((enum __ptrace_request)what, tracee->pid, (void *)address,
                     (void *)data);
    if (errno) {
        trace_die("ptrace");
    }
    return rc;
}

int
trace_open_stat(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        trace_die(path);
    }
    return fd;
}

bool
trace_is_asleep(int stat_fd)
{
    char text[256];
    ssize_t n = pread(stat_fd, text, sizeof text - 1, 0);
    if (n <= 0) {
        return true;
    }
    text[n] = '\0';
    const char *end = strrchr(text, ')');
    return end && end[1] && strchr("SDZX", end[2]) != NULL;
}

/* ------------------------------------------------------------------- moves */

static enum trace_state
note_status(struct tracee *tracee, int status)
{
    tracee->is_moving = false;
    if (!WIFSTOPPED(status)) {
        tracee->status = status;
        tracee->has_ended = true;
        return TRACE_ENDED;
    }
    return TRACE_STOPPED;
}

static enum trace_state
wait_block(struct tracee *tracee)
{
    int status = 0;
    pid_t pid;
    do {
        pid = waitpid(tracee->pid, &status, __WALL);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0) {
        trace_die("waitpid");
    }
    return note_status(tracee, status);
}

/* It sleeps only if it is seen asleep twice: a look may fall on the moment
 * in which it comes to its stop. */
static enum trace_state
wait_or_block(struct tracee *tracee)
{
    int n_asleep = 0;
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(tracee->pid, &status, __WALL | WNOHANG);
        if (pid < 0 && errno != EINTR) {
            trace_die("waitpid");
        }
        if (pid > 0) {
            return note_status(tracee, status);
        }
        if (n_asleep == 2) {
            return TRACE_BLOCKED;
        }
        n_asleep = trace_is_asleep(tracee->stat_fd) ? n_asleep + 1 : 0;
        sched_yield();
    }
}

static enum trace_state
move(struct tracee *tracee, int how, bool may_block)
{
    if (tracee->has_ended) {
        return TRACE_ENDED;
    }
    if (!tracee->is_moving) {
        request(how, tracee, 0, 0);
        tracee->is_moving = true;
    }
    return may_block ? wait_or_block(tracee) : wait_block(tracee);
}

void
trace_start(struct tracee *tracee, void (*work)(void *argument),
            void *argument)
{
    *tracee = (struct tracee){.is_moving = true};
    tracee->pid = fork();
    if (tracee->pid < 0) {
        trace_die("fork");
    }
    if (tracee->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        work(argument);
        _exit(0);
    }
    tracee->stat_fd = trace_open_stat(tracee->pid);
    wait_block(tracee);
}

void
trace_ready(void)
{
    raise(SIGSTOP);
}

/* Whether its next instruction is a system call, the only thing to sleep in. */
static bool
is_at_call(const struct tracee *tracee)
{
#if defined(__x86_64__)
    long word = request(PTRACE_PEEKTEXT, tracee, trace_place(tracee), 0);
    return (word & 0xffff) == 0x050f;
#else
    (void)tracee;
    return true;
#endif
}

enum trace_state
trace_step(struct tracee *tracee, bool may_block)
{
    if (may_block && !tracee->has_ended && !tracee->is_moving) {
        may_block = is_at_call(tracee);
    }
    return move(tracee, PTRACE_SINGLESTEP, may_block);
}

void
trace_finish(struct tracee *tracee)
{
    if (tracee->is_moving) {
        wait_block(tracee);
    }
    if (!tracee->has_ended) {
        request(PTRACE_DETACH, tracee, 0, 0);
        wait_block(tracee);
    }
}

void
trace_kill(struct tracee *tracee)
{
    if (!tracee->has_ended) {
        kill(tracee->pid, SIGKILL);
        while (wait_block(tracee) != TRACE_ENDED) {
        }
    }
    close(tracee->stat_fd);
}

/* ------------------------------------------------------------- breakpoints */

#if defined(__x86_64__)

enum { BREAKPOINT = 0xcc };

uint64_t
trace_place(const struct tracee *tracee)
{
    return (uint64_t)request(PTRACE_PEEKUSER, tracee,
                             offsetof(struct user_regs_struct, rip), 0);
}

static void
poke(const struct tracee *tracee, uint64_t place, long word)
{
    request(PTRACE_POKETEXT, tracee, place, (uintptr_t)word);
}

/* Runs until the breakpoint at 'place'; then it is before the instruction
 * that the breakpoint replaces, 'word' being put back. */
static enum trace_state
run_to_place(struct tracee *tracee, uint64_t place, long word,
             void (*unblock)(void *argument), void *argument)
{
    poke(tracee, place, (long)(((unsigned long)word & ~0xffUL) | BREAKPOINT));
    enum trace_state state = move(tracee, PTRACE_CONT, unblock != NULL);
    if (state == TRACE_BLOCKED) {
        unblock(argument);
        state = move(tracee, PTRACE_CONT, false);
    }
    if (state == TRACE_STOPPED) {
        request(PTRACE_POKEUSER, tracee,
                offsetof(struct user_regs_struct, rip), place);
        poke(tracee, place, word);
    }
    return state;
}

enum trace_state
trace_run_to(struct tracee *tracee, const struct trace_point *point,
             void (*unblock)(void *argument), void *argument)
{
    if (tracee->has_ended) {
        return TRACE_ENDED;
    }
    uint32_t hit = trace_place(tracee) == point->place;
    long word = request(PTRACE_PEEKTEXT, tracee, point->place, 0);
    while (hit < point->hit) {
        enum trace_state state = TRACE_STOPPED;
        if (hit && trace_place(tracee) == point->place) {
            state = move(tracee, PTRACE_SINGLESTEP, unblock != NULL);
            if (state == TRACE_BLOCKED) {
                unblock(argument);
                state = move(tracee, PTRACE_SINGLESTEP, false);
            }
        }
        if (state == TRACE_STOPPED && trace_place(tracee) != point->place) {
            state =
                run_to_place(tracee, point->place, word, unblock, argument);
        }
        if (state != TRACE_STOPPED) {
            return state;
        }
        hit++;
    }
    return TRACE_STOPPED;
}

#else

/* Each run is told apart by its number of instructions alone. */
uint64_t
trace_place(const struct tracee *tracee)
{
    (void)tracee;
    return 0;
}

enum trace_state
trace_run_to(struct tracee *tracee, const struct trace_point *point,
             void (*unblock)(void *argument), void *argument)
{
    for (uint32_t i = 0; i < point->number; i++) {
        enum trace_state state = trace_step(tracee, unblock != NULL);
        if (state == TRACE_BLOCKED) {
            unblock(argument);
            state = trace_step(tracee, false);
        }
        if (state != TRACE_STOPPED) {
            return state;
        }
    }
    return TRACE_STOPPED;
}

#endif
