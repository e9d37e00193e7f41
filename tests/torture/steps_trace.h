/* Processes that are led instruction by instruction.
 *
 * Source: ptrace(2), proc(5).
 *
 * A child runs as usual until it calls trace_ready(); from there on it moves
 * only when it is told to.
 *
 *     static void
 *     work(void *argument)
 *     {
 *         ... what is not to be looked at ...
 *         trace_ready();
 *         ... what is ...
 *     }
 *
 *     trace_start(&tracee, work, argument);
 *     while (trace_step(&tracee, false) == TRACE_STOPPED) { ... }
 *
 * Where the processor allows it a second run of the same work gets to the
 * same instruction by a breakpoint, at nearly full speed: trace_run_to().
 */
#ifndef RV_TORTURE_STEPS_TRACE_H
#define RV_TORTURE_STEPS_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"

/* An instruction of a run: the 'hit'th time (from 1) that it comes to 'place';
 * 'number' instructions (from 0) from the run's beginning. */
struct trace_point {
    uint64_t place;
    uint32_t hit;
    uint32_t number;
};

struct tracee {
    pid_t pid;
    int stat_fd;    /* /proc/PID/stat. */
    int status;     /* Of waitpid(2), when it has ended. */
    bool is_moving; /* It was told to move, and did not stop since. */
    bool has_ended;
};

enum trace_state {
    TRACE_STOPPED, /* Before its next instruction. */
    TRACE_BLOCKED, /* It sleeps in the kernel, its move unfinished. */
    TRACE_ENDED,
};

/* Starts a child that runs 'work' and then ends with status 0; returns when
 * it calls trace_ready(), or has ended. */
void trace_start(struct tracee *tracee, void (*work)(void *argument),
                 void *argument);

void trace_ready(void);

/* Moves it by an instruction, or lets it finish the move in which it was
 * blocked.  Unless 'may_block' it waits until that is done; the caller's
 * SIGALRM handler is its way out. */
enum trace_state trace_step(struct tracee *tracee, bool may_block);

/* Where it is. */
uint64_t trace_place(const struct tracee *tracee);

/* Leads it from trace_ready() to 'point'.  'unblock', if any, is called once
 * when it sleeps.  TRACE_ENDED: it ended before. */
enum trace_state trace_run_to(struct tracee *tracee,
                              const struct trace_point *point,
                              void (*unblock)(void *argument), void *argument);

/* Lets it run to its end, and waits for that. */
void trace_finish(struct tracee *tracee);

/* SIGKILL; and waits for its end. */
void trace_kill(struct tracee *tracee);

/* Whether process 'pid' sleeps (or has ended); 'stat_fd' as above. */
bool trace_is_asleep(int stat_fd);

/* Opens /proc/PID/stat; ends the program when it cannot. */
int trace_open_stat(pid_t pid);

/* Ends the program with errno's text. */
void trace_die(const char *what) RV_NORETURN;

#endif
