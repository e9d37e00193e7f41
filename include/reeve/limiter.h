/* Limiters: how often, and how many at a time, by key and for all processes.
 *
 * Room: shm.  Threads: that of the dict's zone.  Blocks: for the lock of a
 * shard of the dict.  Source: limit_req and limit_conn of nginx; the generic
 * cell rate algorithm (ITU-T I.371), which is the leaky bucket with one
 * number.
 *
 *     struct rv_rate_limit limit = {.per_second = 10, .burst = 20};
 *     uint64_t delay_ns;
 *     rc = rv_limiter_request(dict, address, 4, &limit, &delay_ns);
 *     if (rc == -EBUSY) {
 *         ... refuse: 20 wait already ...
 *     }
 *     ... go on after delay_ns, or at once, as you like ...
 *
 *     rc = rv_limiter_acquire(dict, address, 4, 5);   // up to 5 at a time
 *     if (rc == 0) {
 *         serve();
 *         rv_limiter_release(dict, address, 4);
 *     }
 *
 * A key is up to 65,535 bytes.  The two kinds of limits need dicts, or keys,
 * of their own.  The dict is best for limiters alone: when its zone is full,
 * the keys that were not asked for longest are evicted, and begin anew.
 *
 * Errors: -EBUSY, -EINVAL: a limit out of range; -EPROTOTYPE: something else
 * is stored under the key; and those of rv_dict_set.
 */
#ifndef REEVE_LIMITER_H
#define REEVE_LIMITER_H

#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

struct rv_dict;

#define RV_LIMITER_PER_SECOND_MAX 1e6

/* A leaky bucket: requests come, and leave at the rate; up to 'burst' wait.
 * A burst of 0 lets none come sooner than the rate says. */
struct rv_rate_limit {
    double per_second; /* Above 0, up to RV_LIMITER_PER_SECOND_MAX. */
    double burst;      /* 0 or more. */
};

/* Asks for one request of 'key'.  0: it may go on, and sets '*delay_nsp'
 * (NULL: not wanted) to how long it would wait if requests were spread at the
 * rate.  -EBUSY: more than the burst wait; this one does not count. */
int rv_limiter_request(struct rv_dict *dict, const void *key,
                       size_t key_length, const struct rv_rate_limit *limit,
                       uint64_t *delay_nsp) RV_MUST_CHECK;

/* As rv_limiter_request, at 'now_ns' of a clock of the caller's, which all
 * who use the key must have; the other takes the dict's milliseconds. */
int rv_limiter_request_at(struct rv_dict *dict, const void *key,
                          size_t key_length, const struct rv_rate_limit *limit,
                          uint64_t now_ns, uint64_t *delay_nsp) RV_MUST_CHECK;

/* Takes one of 'max_slots' slots of 'key' for the calling member.  -EBUSY:
 * all are taken by living members.  What a member that died or detached has
 * not released is free again. */
int rv_limiter_acquire(struct rv_dict *dict, const void *key,
                       size_t key_length, uint32_t max_slots) RV_MUST_CHECK;

/* Gives one slot of the calling member back.  -ENOENT: it has none. */
int rv_limiter_release(struct rv_dict *dict, const void *key,
                       size_t key_length);

/* How many slots of 'key' living members have, as far as is known: a death
 * that nobody noticed yet does not show.  -ENOENT: all were released. */
int rv_limiter_count(struct rv_dict *dict, const void *key, size_t key_length,
                     uint64_t *np);

RV_END_DECLARATIONS

#endif
