/* What a queue keeps in the zone, and what its files share.
 *
 * Room: shm.  Blocks: for the queue's lock, where it says so.
 *
 *     root: first, last --> ready elements, linked by 'next'
 *           taken[slot] --> elements of a member, linked both ways
 *
 * A member is its slot and its incarnation, which is how often the slot was
 * taken: so what a former holder of the slot had is told from what the
 * present one has.  A list holds the elements of one incarnation.
 */
#ifndef RV_SHM_QUEUE_H
#define RV_SHM_QUEUE_H

#include "reeve/queue.h"
#include "shm/log.h"

#define RV__QUEUE_TYPE UINT64_C(0x3165756575717672) /* "rvqueue1" */

enum {
    RV__QUEUE_WORDS = 24, /* Of any transaction here, the slab's included. */
    RV__QUEUE_LOOK_MS = 100,
    RV__QUEUE_IS_AWAITED = 1, /* In words that are slept on; they count by 2
                               * above it. */
};

struct rv__element {
    uint64_t number; /* 0: it is no more. */
    uint64_t next;
    uint64_t previous; /* Of taken ones. */
    uint32_t taker;    /* Slot, plus 1; 0: ready. */
    uint32_t n_deliveries;
    uint64_t length;
    /* Bytes follow. */
};

_Static_assert(sizeof(struct rv__element) == 40, "layout");

struct rv__taken {
    uint64_t first;
    uint64_t incarnation;
};

struct rv__queue_root {
    uint64_t magic;
    uint64_t capacity;
    uint64_t element_max_bytes;
    uint64_t reserved[5];

    struct rv_lock lock;

    /* Under the lock, by transactions. */
    uint64_t first, last;
    uint64_t n_ready, n_taken;
    uint64_t n_pushed; /* Also the number of the last one. */
    uint64_t n_returned, n_recovered;
    uint64_t n_refused; /* Not by transactions. */

    /* Slept on.  Not by transactions. */
    uint32_t arrivals;
    uint32_t departures;
    uint64_t reserved_words[7];

    struct rv__taken taken[]; /* By slot. */
};

_Static_assert(sizeof(struct rv__queue_root) == 256, "four cache lines");

struct rv_queue {
    struct rv_zone *zone;
    struct rv__queue_root *root;
    uint64_t element_max_bytes;
    uint64_t capacity;
    uint32_t n_members;
    int64_t look_ms; /* When to look for the dead again. */
};

/* Why the handle cannot change the queue, or 0. */
static inline int
rv__queue_refusal(const struct rv_queue *queue)
{
    const struct rv_zone *zone = queue->zone;
    return zone->tid && !zone->is_open ? 0 : rv__tx_refusal(zone, NULL, 0);
}

/* The element at 'offset', NULL if there can be none. */
static inline struct rv__element *
rv__element_at(const struct rv_queue *queue, uint64_t offset)
{
    return offset % 8
               ? NULL
               : rv_zone_at(queue->zone, offset, sizeof(struct rv__element));
}

/* Which incarnation of its slot the member is. */
static inline uint64_t
rv__incarnation_of(const struct rv_zone *zone, uint32_t index)
{
    return __atomic_load_n(&rv__member_of(zone, index)->n_attached,
                           __ATOMIC_RELAXED);
}

/* In a transaction on the queue's lock: takes the element out of the list of
 * the member with slot 'index', and puts it back as the first or the last of
 * the ready.  Failures fail the commit. */
void rv__queue_unlink(struct rv_queue *queue, uint32_t index, uint64_t offset);
void rv__queue_put_first(struct rv_queue *queue, uint64_t offset);
void rv__queue_put_last(struct rv_queue *queue, uint64_t offset);

/* In a transaction: adds to one of the counts. */
static inline void
rv__queue_count(struct rv_queue *queue, uint64_t *count, int64_t n)
{
    rv__tx_set64(queue->zone, count, *count + (uint64_t)n);
}

/* Makes ready what members that are gone had taken; returns how many. */
int rv__queue_collect(struct rv_queue *queue);

/* Says that what is slept on at 'word' has come, and wakes one who does. */
void rv__queue_signal(uint32_t *word);

/* As rv_queue_check, and sums up what the elements have of the slab. */
int rv__queue_audit(const struct rv_queue *queue, uint64_t *bytesp,
                    struct rv_error *error);

#endif
