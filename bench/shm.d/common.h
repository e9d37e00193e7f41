/* What the programs of `bench/shm` share.
 *
 * Each program measures one side of one comparison in 1 or more processes and
 * prints one JSON object; bench/shm runs them in turns.  Times are those of
 * the median slice of a process: about a tenth of a millisecond of its work,
 * so that a slice in which something else had the processor does not count.
 */
#ifndef BENCH_SHM_COMMON_H
#define BENCH_SHM_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reeve/zone.h"

enum { BENCH_PROCESSES = 8, BENCH_RESULTS = 8 };

/* What processes share apart from what is measured. */
struct bench_shared {
    unsigned int n_arrived; /* At all barriers so far. */
    bool is_over;
    double results[BENCH_PROCESSES][BENCH_RESULTS];
};

/* Ends with a message. */
_Noreturn void bench_die(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* A decimal argument, or the end. */
unsigned long bench_number(const char *text);

uint64_t bench_now_ns(void);

/* Zeroed memory that children inherit. */
void *bench_share(size_t bytes);

/* Pins the caller to the processor 'which', of those there are. */
void bench_pin(unsigned int which);

/* Waits, spinning, until 'n' processes have called it as often. */
void bench_meet(struct bench_shared *shared, unsigned int n);

/* Does 'work' in 'n' children, number 'who' pinned to processor 'who'; ends
 * the program when one of them fails.  'until_ms' later (0: never) sets
 * is_over.  Each writes its results into results[who]. */
void bench_fork(struct bench_shared *shared, unsigned int n,
                unsigned int until_ms,
                void (*work)(void *context, unsigned int who), void *context);

/* Does 'slice' again and again for 'ms' milliseconds, after a fifth of that
 * which does not count.  Returns the ns of the median slice for each of its
 * 'n_each' operations. */
double bench_slices(void (*slice)(void *context), void *context,
                    unsigned int n_each, unsigned int ms);

/* The median of 'n' values, which it sorts. */
double bench_median(double *values, size_t n);

/* Prints results[who][which] of 'n' processes as "name": [...]. */
void bench_print(const struct bench_shared *shared, const char *name,
                 unsigned int n, unsigned int which);

static inline uint64_t
bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Attaches 'fd', or the end. */
struct rv_zone *bench_attach(int fd);

/* A zone of 'size_bytes', or the end. */
int bench_zone(uint64_t size_bytes);

#endif
