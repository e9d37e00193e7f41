/* Members that die at random, and audits of what they leave.
 *
 * Workers, each a process of some threads, do the operations of a workload
 * without pause.  The director kills one after the other, in several ways,
 * and starts new ones in their places.  Every so many kills all are made to
 * rest between two operations, and the zone must be as the workload says.
 */
#ifndef RV_TORTURE_KILLS_H
#define RV_TORTURE_KILLS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "reeve/tx.h"
#include "reeve/zone.h"

enum {
    MAX_PROCESSES = 8,
    MAX_PLACES = MAX_PROCESSES + 4, /* Some are dying. */
    MAX_THREADS = 4,
    MAX_WORKERS = MAX_PLACES * MAX_THREADS,
    N_GROUPS = 8,
    N_NOTES = 8,
};

/* What a worker notes outside of the zone: a number before it sets it, and
 * the same again when that is committed. */
struct diary {
    uint64_t started[N_GROUPS];
    uint64_t done[N_GROUPS];
    uint64_t notes[N_NOTES]; /* As the workload likes. */
    uint64_t n_operations;
    uint32_t rests_in;  /* The rest that it takes part in; 0: it works. */
    uint32_t tid;       /* 0: it does not work yet. */
    uint32_t is_living; /* In an audit: it will go on as it is. */
};

/* A thread's place.  Who works there after a death goes on with its diary. */
struct worker {
    struct rv_zone *zone;
    uint32_t index;
    uint64_t random;
    struct diary *diary;
    void *context; /* The workload's, and gone with the process. */
};

struct kill_workload {
    const char *name;
    uint64_t heap_bytes;
    bool has_readers; /* Those of is_reader() wait for nobody. */
    /* By the director, before there is any worker. */
    void (*setup)(struct rv_zone *zone);
    /* By each worker, before its first operation.  May be NULL. */
    void (*begin)(struct worker *worker);
    /* One operation, random. */
    void (*operate)(struct worker *worker);
    /* While all rest, and the dead are healed. */
    void (*audit)(struct rv_zone *zone, struct diary *diaries);
    /* One line at the end.  May be NULL. */
    void (*report)(struct rv_zone *zone);
};

extern const struct kill_workload bank_workload;
extern const struct kill_workload slab_workload;
extern const struct kill_workload dict_workload;
extern const struct kill_workload queue_workload;
extern const struct kill_workload metric_workload;

/* Whether the worker is to do only what waits for nobody, where the workload
 * has such. */
static inline bool
is_reader(uint32_t index)
{
    return index / MAX_THREADS % 4 == 3;
}

/* In order with the calls around it, as a death sees them. */
static inline void
note(uint64_t *place, uint64_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Whether 'n' bytes are all 'value'. */
static inline bool
is_filled(const void *bytes, int value, size_t n)
{
    const unsigned char *first = bytes;
    return n == 0
           || (*first == (unsigned char)value
               && memcmp(first, first + 1, n - 1) == 0);
}

/* Makes zeroed memory of 'n' bytes in the zone the root 'name'. */
void make_root(struct rv_zone *zone, const char *name, size_t n);

/* The address of the root 'name'. */
void *find_root(const struct rv_zone *zone, const char *name, size_t n);

/* What a worker or an audit found to be wrong; ends the program. */
void find_wrong(const char *format, ...) RV_PRINTF(1, 2) RV_NORETURN;

#endif
