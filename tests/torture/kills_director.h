/* The director of the program `kills`, as its two files see it. */
#ifndef RV_TORTURE_KILLS_DIRECTOR_H
#define RV_TORTURE_KILLS_DIRECTOR_H

#include <sys/types.h>

#include "kills.h"

enum { MAX_GONE = 4 };

/* Instead of a rest's number: the thread has ended. */
#define RESTS_FOR_EVER UINT32_MAX

/* Beside the zone. */
struct shared {
    struct diary diaries[MAX_WORKERS];
    uint32_t rest;  /* 0: work; else the number of a rest. */
    uint32_t n_big; /* Processes that have their memory. */
    uint32_t is_wrong;
    char wrong[256];
};

struct options {
    uint64_t seed, n_kills, seconds, every, n_big, slow_ms;
    const struct kill_workload *workload;
    uint32_t n_processes, n_threads;
    bool is_exchange;
};

struct totals {
    uint64_t n_kills, n_stops, n_long_stops, n_watched, n_caught, n_execs,
        n_thread_deaths;
    uint64_t n_starved, n_big;
    uint64_t n_audits, n_healed;
    double rest_ms, max_rest_ms, audit_ms;
};

struct director {
    struct options options;
    struct totals totals;
    struct shared *shared;
    struct rv_zone *zone;
    int fd;
    pid_t pid; /* Its own. */
    uint64_t random;
    uint32_t n_rests;
    pid_t pids[MAX_PLACES]; /* 0: the place is free. */
    bool is_dying[MAX_PLACES];
    pid_t gone[MAX_GONE]; /* Those that became another program. */
    uint32_t n_gone;
    const char *cgroup; /* Whose members soon lack memory; NULL: none. */
};

/* ----------------------------------------------------------- kills_ways.c */

/* By each process of workers: makes it know the signals by which the director
 * tells it how to end. */
void prepare_to_end(struct shared *shared);

/* Makes the group of processes that lack memory, if the machine lets it. */
void make_cgroup(struct director *director);
void remove_cgroup(struct director *director);

/* Does something bad to one; then it is to be replaced, or not. */
bool strike(struct director *director, uint32_t process);

/* Kills the process, which is dying from then on. */
void end_process(struct director *director, uint32_t process);

/* Some time goes by, microseconds. */
void let_time_pass(struct director *director, uint64_t most_us);

/* While something is waited for that needs the processor, too. */
void wait_a_moment(void);

/* ---------------------------------------------------------------- kills.c */

/* Ends the program if a worker found something. */
void check_wrong(const struct director *director);

static inline struct diary *
diary_of(const struct director *director, uint32_t process, uint32_t thread)
{
    return &director->shared->diaries[process * MAX_THREADS + thread];
}

#endif
