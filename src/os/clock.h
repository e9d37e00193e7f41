/* The clock that deadlines are measured by.
 *
 * Room: os.  Blocks: never.  Source: clock_gettime(2).
 *
 * For what has no loop: the keeper and the command line.  Whatever runs in a
 * loop asks rv_loop_now(), which a test can stop and warp.
 */
#ifndef RV_OS_CLOCK_H
#define RV_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. */
static inline int64_t
rv_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
