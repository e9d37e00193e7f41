/* A watchdog that says who holds what, and small things that all programs of
 * this folder with real processes share.
 *
 * Source: proc(5), futex(2).
 */
#ifndef RV_TORTURE_STEPS_WATCH_H
#define RV_TORTURE_STEPS_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/zone.h"

enum { WATCH_PROCESSES = 32 };

/* What is watched.  The parent's; one a program. */
struct watch {
    const char *what;            /* What is being done. */
    const char *stage;           /* What of it, or NULL. */
    uint64_t number;             /* Which one of these. */
    const struct rv_zone *zone;  /* May be NULL. */
    pid_t pids[WATCH_PROCESSES]; /* 0: none. */
    void (*describe)(void);      /* Says more in watch_describe, or NULL. */
};

extern struct watch the_watch;

/* From now on each 'seconds' without watch_progress() are a hang: it is
 * described on standard output, the processes are killed, and the program
 * ends with status 1. */
void watch_start(unsigned int seconds);
void watch_progress(void);

/* Says what is wrong, and everything about zone and processes; kills these,
 * and ends the program with status 1. */
void watch_fail(const char *format, ...) RV_PRINTF(1, 2) RV_NORETURN;

/* Prints members, their logs, and of all threads of the processes where they
 * are, and which lock they wait for. */
void watch_describe(void);

/* A small generator (xorshift64*) over '*state'. */
uint64_t watch_random(uint64_t *state, uint64_t below);

/* A state for watch_random from a seed of any value. */
uint64_t watch_seed(uint64_t seed);

#endif
