/* Members that die at random, and audits of what they leave.
 *
 * Workers, each a process of some threads, do the operations of a workload
 * without pause.  The director kills one after the other, in several ways,
 * and starts new ones in their places.  Every so many kills all are made to
 * rest between two operations, and the zone must be as the workload says.
 */
#ifndef RV_TORTURE_KILLS_H
#define RV_TORTURE_KILLS_H

#include <stdint.h>

#include "reeve/tx.h"
#include "reeve/zone.h"

enum {
    MAX_PROCESSES = 8,
    MAX_PLACES = MAX_PROCESSES + 4, /* Some are dying. */
    MAX_THREADS = 4,
    MAX_WORKERS = MAX_PLACES * MAX_THREADS,
    N_GROUPS = 8,
};

/* What a worker notes outside of the zone: a number before it sets it, and
 * the same again when that is committed. */
struct diary {
    uint64_t started[N_GROUPS];
    uint64_t done[N_GROUPS];
    uint64_t n_operations;
    uint32_t rests_in; /* The rest that it takes part in; 0: it works. */
    uint32_t tid;      /* 0: it does not work yet. */
};

/* A thread's place.  Who works there after a death goes on with its diary. */
struct worker {
    struct rv_zone *zone;
    uint32_t index;
    uint64_t random;
    struct diary *diary;
};

struct kill_workload {
    const char *name;
    uint64_t heap_bytes;
    void (*setup)(struct rv_zone *zone);
    /* One operation, random. */
    void (*operate)(struct worker *worker);
    /* While all rest, and the dead are healed. */
    void (*audit)(struct rv_zone *zone, const struct diary *diaries);
};

extern const struct kill_workload bank_workload;
extern const struct kill_workload slab_workload;

/* Makes zeroed memory of 'n' bytes in the zone the root 'name'. */
void make_root(struct rv_zone *zone, const char *name, size_t n);

/* The address of the root 'name'. */
void *find_root(const struct rv_zone *zone, const char *name, size_t n);

/* What a worker or an audit found to be wrong; ends the program. */
void find_wrong(const char *format, ...) RV_PRINTF(1, 2) RV_NORETURN;

#endif
