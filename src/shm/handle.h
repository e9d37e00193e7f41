/* A thread's handle of a zone, as the files of this room see it.
 *
 * Room: shm.  Threads: its own.
 *
 * A handle lies in a page that fork(2) wipes, so in a child its 'tid' is 0,
 * and every use that needs the slot is refused by a test it does anyway.
 */
#ifndef RV_SHM_HANDLE_H
#define RV_SHM_HANDLE_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/hands.h"
#include "shm/layout.h"
#include "shm/life.h"

/* A mapping of a zone, of all handles that the process has over it.  It lies
 * in a page of its own, for a child of fork must not free it. */
struct rv__mapping {
    char *base;
    size_t n_bytes;
    unsigned int n_handles; /* Atomic. */
    bool is_read_only;
    struct rv__geometry geometry;
    struct rv_zone_info info; /* But for 'size_bytes'. */
    uint64_t size_bytes;      /* Atomic: the last size that agreed. */
    uint64_t epoch_ms;        /* Set once; see epoch.h. */
    uint64_t boot;            /* Of the machine, certainly; 0: unknown. */
};

struct rv_zone {
    /* Set once.  Read-only handles have tid, member and robust zero. */
    char *base;
    struct rv__member *member;
    struct rv__member *idle; /* The same while no transaction is open, else
                              * NULL. */
    struct robust_list_head *robust;
    long node_bias; /* From a lock's word to what the kernel takes for its
                     * node. */
    uint32_t tid;
    uint32_t index; /* Of the slot. */
    uint32_t pid;
    uint64_t pid_namespace; /* 0: unknown, and not compared. */
    bool is_exchange;

    /* The open transaction. */
    bool is_open;
    uint32_t number; /* Of the transaction, so that two can be told apart. */
    int failure;     /* Of the first set that failed. */
    uint32_t n_words_left;
    struct rv_lock *lock;
    uint64_t head;          /* As in the log. */
    uint64_t mutable_begin; /* What transactions may change, from here on */
    uint64_t n_mutable;     /* this many bytes, as last known. */
    uint64_t heap, n_heap;  /* Where it begins, and its bytes, likewise. */

    struct rv__slab_view slab;

    /* Rarely. */
    unsigned int n_fruitless_wakes;
    struct rv__mapping *mapping;
};

static inline struct rv__header *
rv__header_of(const struct rv_zone *zone)
{
    return (struct rv__header *)(void *)zone->base;
}

static inline struct rv__life *
rv__life_of(const struct rv_zone *zone, uint32_t index)
{
    uint64_t at = zone->mapping->geometry.lives
                  + (uint64_t)index * sizeof(struct rv__life);
    return (struct rv__life *)(void *)(zone->base + at);
}

static inline struct rv__member *
rv__member_of(const struct rv_zone *zone, uint32_t index)
{
    uint64_t at = zone->mapping->geometry.members
                  + (uint64_t)index * sizeof(struct rv__member);
    return (struct rv__member *)(void *)(zone->base + at);
}

/* The compiler may not move a store over this.  The processor may, and it
 * does not matter: a killed process has made the stores that its program
 * order says, and they are visible before anyone can learn of its death. */
static inline void
rv__barrier(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* The heap's size, and what transactions may change, as the header says now.
 */
void rv__zone_refresh_size(struct rv_zone *zone);

#endif
