/* Death at every store: the frame that workloads hang in.
 *
 * The sources of the room run once more, compiled so that each store calls
 * hook_store (hooks.h), in one thread that plays all members:
 *
 *     0  the victim, which runs the workload's operations
 *     1  recovers a copy of the zone as it is just before a store of 0, in
 *        which 0 died there
 *     2  recovers a copy of that copy before each store of 1, 1 having died
 *        too; and so on to MAX_DEPTH
 *     B  the bystander, which lives and has a transaction open
 *
 * Copies are kept up by the stores themselves: each level knows which words
 * its zone and its copy may differ in.  At the end of each operation the
 * zones are compared whole, so that a store that nobody told of is noticed.
 *
 * The kernel's part is played too: the lock word that the dead one's pending
 * slot names is marked, as is its life word (life_sim.c).  A recovery that
 * would sleep is a hang.
 *
 *     struct workload w = {.setup = ..., .operate = ..., .recover = ...,
 *                          .judge = ...};
 *     return stores_main(argc, argv, &w);
 */
#ifndef RV_TORTURE_STORES_H
#define RV_TORTURE_STORES_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/handle.h"

struct stores;

/* A small generator (xorshift64*), seeded by the run. */
uint64_t stores_random(struct stores *stores, uint64_t below);

/* Says what is wrong and where, and ends the program with status 1. */
void stores_fail(struct stores *stores, const char *format, ...)
    RV_PRINTF(2, 3) RV_NORETURN;

struct workload {
    /* Makes what operations work on; 'zone' is the victim's. */
    void (*setup)(struct stores *stores, struct rv_zone *zone,
                  struct rv_zone *bystander);
    /* One operation of the victim, random; expects it to succeed. */
    void (*operate)(struct stores *stores, struct rv_zone *zone,
                    struct rv_zone *bystander);
    /* Does what a living member would after a death. */
    void (*recover)(struct stores *stores, struct rv_zone *zone);
    /* Whether the recovered zone is as before the operation (0), as after
     * (1), or neither: stores_fail. */
    int (*judge)(struct stores *stores, const struct rv_zone *zone);
    uint64_t heap_bytes; /* 0: 16 KiB. */
    uint64_t nest_every; /* Of so many recoveries, one is itself died in at
                          * every store; 0: in all. */
};

/* Between these two the victim's stores are crash states. */
void stores_begin(struct stores *stores);
void stores_end(struct stores *stores);

/* --seed N, --states N, --seconds N, --depth N.  The exit status of main. */
int stores_main(int argc, char **argv, const struct workload *workload);

#endif
