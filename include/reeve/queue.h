/* Queues: elements that go from processes to processes and survive both.
 *
 * Room: shm.  Threads: that of the zone's handle.  Blocks: all that change
 * the queue wait for its lock; what waits for elements or for room says
 * "_block".  Source: the visibility of messages in flight, as message brokers
 * have it (AMQP 0-9-1, basic.ack and basic.reject); futex(2).
 *
 *     struct rv_queue_settings settings = {.capacity = 1000};
 *     struct rv_queue *queue;
 *     rc = rv_queue_open(zone, "jobs", &settings, &queue, &error);
 *
 *     rc = rv_queue_push(queue, "resize 7", 8);         // -EAGAIN: it is full
 *
 *     struct rv_queue_element element;
 *     while (rv_queue_take_block(queue, 1000, &element) == 0) {
 *         if (element.n_deliveries > 5) {
 *             ... it keeps killing who works on it; put it aside ...
 *         }
 *         work(element.bytes, element.length);
 *         rc = rv_queue_ack(queue, &element);
 *     }
 *     rv_queue_close(&queue);
 *
 * An element is ready, then taken by one consumer, then gone when that one
 * acknowledges it.  If the consumer dies or detaches before that, the element
 * becomes ready again, and is given to another: at least once to a consumer
 * that lives, and exactly once when nobody dies and nobody gives back.  It is
 * never with two living consumers.  A push counts from its commit on: a
 * producer killed before it pushed nothing, and one killed after it may have
 * pushed without having learned of it.
 *
 * Order: first in, first out.  What is given back by rv_queue_nack, or comes
 * back from the dead, goes to the front, the oldest of a dead consumer's
 * first; rv_queue_requeue puts to the end.
 *
 * Deaths are noticed by those who take: at once when there is nothing else to
 * take, and otherwise every 100 ms; rv_queue_heal looks now.
 *
 * All calls that change the queue replace what rv_slab_reserve reserved.  In
 * an open transaction they fail with -EDEADLK; -EROFS, -ECHILD, -ENOMEM and
 * -EUCLEAN (the zone is damaged) are as in reeve/slab.h.
 *
 * Wrong: to work on element.bytes after the ack; they are the zone's.
 * Wrong: to keep a queue longer than the zone's handle, or to use it in
 * another thread: who takes is the handle's member.
 */
#ifndef REEVE_QUEUE_H
#define REEVE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_zone;
struct rv_queue;

enum {
    RV_QUEUE_CAPACITY_DEFAULT = 1024,
    RV_QUEUE_ELEMENT_BYTES_DEFAULT = 65536,
    RV_QUEUE_ELEMENT_BYTES_MAX = 1 << 30,
};

/* How to make a queue.  Zero: the default. */
struct rv_queue_settings {
    uint64_t capacity;          /* Elements, ready and taken. */
    uint64_t element_max_bytes; /* The longest that is pushed. */
};

/* An element that was taken.  The bytes lie in the zone, at a multiple of 8;
 * they are the taker's to read, and to change, until it gives the element
 * back or acknowledges it. */
struct rv_queue_element {
    void *bytes;
    size_t length;
    uint64_t number;       /* By the order of pushes, from 1. */
    uint32_t n_deliveries; /* This one included; stays at UINT32_MAX. */
    uint64_t offset;       /* Of the queue's own. */
};

/* Opens the queue 'name' (1 to 31 bytes) of 'zone', which stays attached as
 * long; makes it by 'settings' (NULL: all default) if there is none.  The
 * caller owns '*queuep'.  -EINVAL: name or settings; -ENOMEM; -ENOSPC: the
 * zone has no more names; -EPROTOTYPE: the name is that of something else;
 * -ENOENT: there is none and the handle is read-only; -EUCLEAN. */
int rv_queue_open(struct rv_zone *zone, const char *name,
                  const struct rv_queue_settings *settings,
                  struct rv_queue **queuep, struct rv_error *error)
    RV_MUST_CHECK;

/* Frees the handle and sets '*queuep' to NULL.  The queue stays, and what
 * this member took stays taken until the zone is detached. */
void rv_queue_close(struct rv_queue **queuep);

/* Adds an element of 'length' bytes, which are copied, at the end.  -EAGAIN:
 * the queue is full; -ENOMEM: the zone is; -EMSGSIZE: it is longer than
 * element_max_bytes. */
int rv_queue_push(struct rv_queue *queue, const void *bytes, size_t length)
    RV_MUST_CHECK;

/* As rv_queue_push, but waits up to 'timeout_ms' (below 0: for ever) while
 * the queue is full.  -ETIMEDOUT; -EINTR: a signal came while it waited. */
int rv_queue_push_block(struct rv_queue *queue, const void *bytes,
                        size_t length, int timeout_ms) RV_MUST_CHECK;

/* Takes the first element.  -EAGAIN: none is ready, and all that are taken
 * are with living members. */
int rv_queue_take(struct rv_queue *queue, struct rv_queue_element *element)
    RV_MUST_CHECK;

/* As rv_queue_take, but waits up to 'timeout_ms' (below 0: for ever).
 * -ETIMEDOUT, -EINTR. */
int rv_queue_take_block(struct rv_queue *queue, int timeout_ms,
                        struct rv_queue_element *element) RV_MUST_CHECK;

/* The element is done with, and gone.  -ENOENT: this member does not have it
 * (any more). */
int rv_queue_ack(struct rv_queue *queue,
                 const struct rv_queue_element *element);

/* Gives the element back, as the first to be taken.  -ENOENT. */
int rv_queue_nack(struct rv_queue *queue,
                  const struct rv_queue_element *element);

/* Gives the element back, as the last to be taken.  -ENOENT. */
int rv_queue_requeue(struct rv_queue *queue,
                     const struct rv_queue_element *element);

/* Makes what dead members had taken ready again; returns how many elements
 * that were, at most INT_MAX. */
int rv_queue_heal(struct rv_queue *queue);

struct rv_queue_stats {
    uint64_t capacity;
    uint64_t element_max_bytes;
    uint64_t n_ready;
    uint64_t n_taken;
    uint64_t n_pushed;       /* Since the queue was made, as all below. */
    uint64_t n_acknowledged; /* n_pushed - n_ready - n_taken. */
    uint64_t n_returned;     /* By rv_queue_nack and rv_queue_requeue, */
    uint64_t n_recovered;    /* and from members that were gone. */
    uint64_t n_refused;      /* Pushes that found the queue full; those that
                              * waited may count several times. */
};

/* Takes no lock, also for read-only handles: exact while nobody works. */
void rv_queue_get_stats(const struct rv_queue *queue,
                        struct rv_queue_stats *stats);

/* Walks every element: each is whole and in one list, and the counts are
 * right.  Takes no lock, also for read-only handles; reads only, never
 * crashes and ends on any bytes.  Exact while nobody changes the queue and no
 * dead member's transaction waits to be undone (rv_zone_heal).  -EUCLEAN and
 * a sentence. */
int rv_queue_check(const struct rv_queue *queue, struct rv_error *error)
    RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif
