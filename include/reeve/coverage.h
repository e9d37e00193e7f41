/* Coverage counters: how often each kind of event happened, and how often of
 * late.
 *
 * Room: base.  Blocks: never.  Threads: any; events that two threads count at
 * the same moment may count once.
 * Source: Open vSwitch's lib/coverage.c, whose `coverage/show` this is.
 *
 * A counter costs one addition an event.  There are no global constructors: a
 * counter is known from its first event on, or from RV_COVERAGE_REGISTER on,
 * which is what makes "N events never hit" true.
 *
 *     RV_COVERAGE_DEFINE(cache_miss);
 *     ...
 *     RV_COVERAGE_REGISTER(cache_miss);    // when the cache is made
 *     ...
 *     RV_COVERAGE_INC(cache_miss);
 *
 * rv_loop_run_once() folds the counters; a program with a loop of another
 * kind calls rv_coverage_run() once a turn.
 *
 * Wrong: the same name in two files; a counter on the stack.
 */
#ifndef REEVE_COVERAGE_H
#define REEVE_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/buf.h"

RV_BEGIN_DECLARATIONS

enum {
    RV_COVERAGE_PERIOD_MS = 5000,
    RV_COVERAGE_PERIODS = 12, /* In a minute. */
    RV_COVERAGE_MINUTES = 60,
};

/* Lives as long as the process, in the caller's storage. */
struct rv_coverage {
    const char *name;
    struct rv_coverage *next; /* Of the known ones. */
    bool is_known;
    uint64_t total, folded; /* 'folded': those that the averages know. */
    uint64_t periods[RV_COVERAGE_PERIODS]; /* Rings, by the common index. */
    uint64_t minutes[RV_COVERAGE_MINUTES];
};

/* Defines a counter for the file.  It is listed under NAME. */
#define RV_COVERAGE_DEFINE(NAME)                                         \
  static struct rv_coverage rv_coverage_##NAME = {#NAME, NULL, false, 0, \
                                                  0,     {0},  {0}}

#define RV_COVERAGE_REGISTER(NAME) rv_coverage_register(&rv_coverage_##NAME)
#define RV_COVERAGE_INC(NAME)      RV_COVERAGE_ADD(NAME, 1)
#define RV_COVERAGE_ADD(NAME, N)   rv_coverage_add(&rv_coverage_##NAME, N)

/* Makes a counter known.  Idempotent. */
void rv_coverage_register(struct rv_coverage *counter);

/* Adds 'n' events. */
static inline void
rv_coverage_add(struct rv_coverage *counter, uint64_t n)
{
    if (!__atomic_load_n(&counter->is_known, __ATOMIC_RELAXED)) {
        rv_coverage_register(counter);
    }
    uint64_t total = __atomic_load_n(&counter->total, __ATOMIC_RELAXED);
    __atomic_store_n(&counter->total, total + n, __ATOMIC_RELAXED);
}

/* Brings the averages up to 'now_ms', of any clock that does not go back; no
 * more than a comparison within a period of 5 s.  What came since the last
 * call counts for the first period since then: whoever slept for long did not
 * count while asleep. */
void rv_coverage_run(int64_t now_ms);

/* Appends what `coverage/show` prints: a line for each counter that was hit,
 * and how many never were.  Call rv_coverage_run() before. */
void rv_coverage_show(struct rv_buf *text);

/* The total of the counter of that name.  -ENOENT. */
int rv_coverage_read(const char *name, uint64_t *totalp);

RV_END_DECLARATIONS

#endif
