/* The leaky bucket, without where it is kept.
 *
 * Room: shm.  Blocks: never.
 */
#ifndef RV_SHM_LIMITER_H
#define RV_SHM_LIMITER_H

#include "reeve/limiter.h"

/* One request at 'now_ns'.  '*free_ns' is when the bucket is empty, 0 at
 * first: it moves on by the time that a request takes.  0 and the delay, or
 * -EBUSY, and nothing changes. */
int rv__limiter_step(uint64_t *free_ns, const struct rv_rate_limit *limit,
                     uint64_t now_ns, uint64_t *delay_nsp) RV_MUST_CHECK;

#endif
