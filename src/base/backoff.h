/* How long to wait before the next try.
 *
 * Room: base.  Pure: the random number is an argument.
 *
 *     delay_ms = rv_backoff_ms(100, 30000, failures, rv_random(&state));
 */
#ifndef RV_BASE_BACKOFF_H
#define RV_BASE_BACKOFF_H

#include "reeve/base.h"

/* The delay before try number 'n_failures' + 1: none after the first failure
 * (n_failures 1), then 'min_ms', doubling up to 'max_ms', less up to a quarter
 * of it as 'random' says (jitter, so that many do not come back at once). */
int64_t rv_backoff_ms(int64_t min_ms, int64_t max_ms, unsigned int n_failures,
                      uint64_t random);

/* A small generator (splitmix64): fast, seeded, not for secrets. */
static inline uint64_t
rv_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
