/* Processes: who they are, whether they live, how they ended.
 *
 * Room: os.  Blocks: never.  Source: pidfd_open(2), waitid(2), proc(5).
 *
 * A pid alone names nobody for long.  A process is known by its pid together
 * with its start time, and is watched and signalled through a pidfd.
 */
#ifndef RV_OS_PROCESS_H
#define RV_OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/process.h"

struct rv_process_info {
    char state; /* As in proc(5): R, S, D, T, Z ... */
    pid_t parent;
    uint64_t start_time; /* Clock ticks since boot. */
    uint64_t cpu_ms;     /* User and system. */
    uint64_t rss_bytes;
};

/* Reads /proc/PID/stat.  -ESRCH when there is no such process. */
int rv_process_info(pid_t pid, struct rv_process_info *info);

/* Whether process 'pid' has a thread 'tid'.  Source: tgkill(2). */
bool rv_thread_exists(pid_t pid, pid_t tid);

/* The start time of 'pid', or 0 when there is no such process. */
uint64_t rv_process_start_time(pid_t pid);

/* Opens a pidfd, which becomes readable when the process ends.  With
 * 'start_time' other than 0, -ESRCH if the pid is by now someone else's. */
int rv_pidfd_open(pid_t pid, uint64_t start_time, int *fdp) RV_MUST_CHECK;

/* Signals the process behind a pidfd.  -ESRCH when it is gone. */
int rv_pidfd_signal(int fd, int signal);

/* Collects an own child that has ended.  -EAGAIN when it has not, -ECHILD when
 * it is not ours (its parent hears of it). */
int rv_pidfd_collect(int fd, struct rv_process_end *end);

/* Whether 'ancestor' is 'pid' or one of its parents (16 at most). */
bool rv_process_descends(pid_t pid, pid_t ancestor);

/* Becomes the new parent of orphaned descendants.  Source: prctl(2). */
int rv_process_become_subreaper(void);

/* Puts every signal in the child of a fork back to its default and unblocks
 * all.  Async-signal-safe. */
void rv_process_reset_signals(void);

#endif
