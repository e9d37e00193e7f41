/* The world of the simulation: what is wanted, and processes with their fates.
 * Part of simulation.c, which alone includes it. */
#ifndef RV_TEST_SIM_WORLD_H
#define RV_TEST_SIM_WORLD_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "pool/pool.h"

enum {
    N_SERVICES = 3,
    MAX_WORKERS = 8,
    MAX_SLOTS = 64,
    FEW_SLOTS = N_SERVICES * MAX_WORKERS + 2,
    N_GENERATIONS = 256,
    N_STARTS = 16384, /* In one history; more is a storm. */
    MINUTE_MS = 60000,
    CALM_MS = 20 * MINUTE_MS,
    ESCALATION_MS = 50 + 100 + 200 + 400 + 800,
    STABLE_MS = 1000,
    SLOW_DEATH_MS = 2500,
    EXTENSION_MS = 3000,
};

/* What is wrong with the programs of a generation. */
enum fault { GOOD, FAILS, FATAL, HANGS, FLAKY, N_FAULTS };

struct process {
    bool is_alive;
    int service; /* Of the model, not of the pool. */
    int index;
    uint32_t generation;
    struct rv_pool_policy policy;
    int64_t started_ms, ready_ms; /* When it will be, or was, ready. */
    int64_t exit_ms, ping_ms, last_ping_ms;
    int64_t drained_ms, drain_until_ms, terminated_ms;
    bool is_ready; /* The pool was told, or found out. */
    bool is_hung, is_deaf;
    bool is_spare;    /* Was started as one. */
    bool is_stranger; /* Adopted, with the policy of another generation. */
    struct rv_pool_exit how;
};

/* A service as the model wants it. */
struct wish {
    bool is_there;
    struct rv_pool_policy policy;
};

struct service {
    char name[8];
    struct wish committed, pending;
    bool is_changed; /* 'pending' is a new generation. */
    uint32_t generation, candidate;
    bool is_failed;
    enum fault faults[N_GENERATIONS];
    int64_t broken_until_ms; /* Nothing that starts gets far. */
};

struct start {
    int64_t when_ms;
    int service, index;
    int64_t backoff_min_ms, backoff_max_ms;
};

/* How often each thing happened over all histories: a simulation in which
 * nothing happens proves nothing. */
struct tally {
    uint64_t n_steps, n_starts, n_commits, n_roll_backs, n_kills, n_failed,
        n_recovered, n_forgotten, n_deaths, n_masters;
};

struct sim {
    uint64_t seed, random;
    bool is_verbose, is_calm;
    int64_t now_ms;
    int64_t order_ms; /* When the next order comes. */
    int n_orders;
    int n_slots;
    int n_disturbances; /* After which there may be several spares. */
    struct rv_pool *pool;
    struct process processes[MAX_SLOTS];
    struct service services[N_SERVICES];
    bool is_rolling, is_paused, is_stopping;
    enum rv_pool_stop stop;
    int64_t stop_by_ms, stopped_ms; /* When all must be gone; when asked. */
    struct rv_pool_worker before[MAX_SLOTS];
    struct start starts[N_STARTS];
    int n_starts, n_excuses;
    int64_t excuses_ms[N_STARTS]; /* Orders and the like: reasons to start. */
    struct tally *tally;
};

static uint64_t current_seed;

static void
print_repeat(void)
{
    fprintf(stderr, "repeat with: simulation 1 %" PRIu64 " --verbose\n",
            current_seed);
}

static void
on_abort(int signal_number)
{
    (void)signal_number;
    print_repeat();
}

static void RV_PRINTF(2, 3) say(const struct sim *sim, const char *format, ...)
{
    if (sim->is_verbose) {
        va_list args;
        va_start(args, format);
        printf("%8" PRId64 "  ", sim->now_ms);
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
}

static void RV_NORETURN RV_PRINTF(2, 3)
    fail(const struct sim *sim, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "history %" PRIu64 " at %" PRId64 " ms: ", sim->seed,
            sim->now_ms);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    print_repeat();
    exit(1);
}

/* At least 'low', at most 'high'. */
static int64_t
between(struct sim *sim, int64_t low, int64_t high)
{
    return low
           + (int64_t)(rv_random(&sim->random) % (uint64_t)(high - low + 1));
}

static bool
chance(struct sim *sim, int percent)
{
    return between(sim, 1, 100) <= percent;
}

/* ---- What the model wants ---- */

static struct rv_pool_policy
random_policy(struct sim *sim)
{
    int64_t backoff_min_ms = between(sim, 50, 1000);
    struct rv_pool_policy policy = {
        .n_workers = (int)between(sim, 1, chance(sim, 30) ? MAX_WORKERS : 3),
        .ready_alive = chance(sim, 30),
        .ready_after_ms = between(sim, 100, 2000),
        .soak_ms = chance(sim, 30) ? between(sim, 100, 3000) : 0,
        .start_timeout_ms = between(sim, 1000, 10000),
        .drain_timeout_ms = between(sim, 100, 8000),
        .restart = chance(sim, 85)   ? RV_POOL_RESTART_ALWAYS
                   : chance(sim, 70) ? RV_POOL_RESTART_ON_FAILURE
                                     : RV_POOL_RESTART_NEVER,
        .backoff_min_ms = backoff_min_ms,
        .backoff_max_ms = backoff_min_ms * between(sim, 4, 40),
        .max_restarts = chance(sim, 50) ? (int)between(sim, 1, 8) : 0,
        .window_ms = between(sim, 5000, MINUTE_MS),
        .batch = chance(sim, 50) ? (int)between(sim, 1, 3) : 0,
        .watchdog_ms = chance(sim, 40) ? between(sim, 3000, 10000) : 0,
        .max_age_ms = chance(sim, 20) ? between(sim, 20000, 90000) : 0,
    };
    return policy;
}

/* The model's number for a service of the pool; -1 if it has gone. */
static int
service_of(const struct sim *sim, int service)
{
    const struct rv_pool_service *s = rv_pool_service(sim->pool, service);
    for (int i = 0; s && i < N_SERVICES; i++) {
        if (!strcmp(s->name, sim->services[i].name)) {
            return i;
        }
    }
    return -1;
}

static int
n_wanted(const struct sim *sim, const struct service *service,
         uint32_t generation)
{
    if (sim->is_paused || sim->is_stopping) {
        return 0;
    }
    if (service->candidate && generation == service->candidate) {
        return service->pending.policy.n_workers;
    }
    bool is_wanted =
        service->committed.is_there && generation == service->generation;
    return is_wanted ? service->committed.policy.n_workers : 0;
}

static void
excuse(struct sim *sim)
{
    if (sim->n_excuses < N_STARTS) {
        sim->excuses_ms[sim->n_excuses++] = sim->now_ms;
    }
}

/* ---- The world: what processes do ---- */

static bool
fails_at_start(struct sim *sim, const struct service *service,
               uint32_t generation, enum fault *faultp)
{
    *faultp = service->faults[generation % N_GENERATIONS];
    if (*faultp == GOOD && sim->now_ms < service->broken_until_ms) {
        *faultp = FAILS;
    }
    return *faultp != GOOD && !sim->is_calm;
}

static void
doom(struct sim *sim, struct process *process, enum fault fault)
{
    process->how = (struct rv_pool_exit){RV_POOL_EXIT_CODE, 1};
    process->exit_ms = sim->now_ms + between(sim, 0, 20);
    process->ready_ms = RV_POOL_NEVER;
    if (fault == FATAL) {
        process->how.value = 2;
    } else if (fault == HANGS) {
        process->exit_ms = RV_POOL_NEVER;
    } else if (fault == FLAKY) {
        process->ready_ms = sim->now_ms + between(sim, 1, 300);
        process->exit_ms = process->ready_ms + between(sim, 0, 2500);
    }
}

static void
draw_fate(struct sim *sim, struct process *process)
{
    process->ready_ms = sim->now_ms + between(sim, 1, 300);
    process->exit_ms = RV_POOL_NEVER;
    process->how = (struct rv_pool_exit){RV_POOL_EXIT_SIGNAL, 9};
    enum fault fault;
    if (fails_at_start(sim, &sim->services[process->service],
                       process->generation, &fault)) {
        doom(sim, process, fault);
    } else if (!sim->is_calm) {
        process->is_deaf = chance(sim, 15);
        if (chance(sim, 20)) {
            process->exit_ms = sim->now_ms + between(sim, 0, 30000);
            process->how =
                chance(sim, 30) ? (struct rv_pool_exit){0} : process->how;
        }
    }
    if (process->policy.ready_alive) {
        process->ready_ms = RV_POOL_NEVER;
    }
    process->ping_ms = process->policy.watchdog_ms
                           ? sim->now_ms + process->policy.watchdog_ms / 2
                           : RV_POOL_NEVER;
}

/* Whether the worker in 'slot' starts so that another one may leave, and not
 * because that one hangs. */
static bool
is_spare(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    const struct rv_pool_service *service =
        rv_pool_service(sim->pool, worker->service);
    bool is_one = false;
    for (int i = 0; i < rv_pool_n_slots(sim->pool); i++) {
        const struct rv_pool_worker *other = rv_pool_worker(sim->pool, i);
        if (other->state != RV_POOL_READY || !other->is_replaced
            || other->service != worker->service
            || other->index != worker->index) {
            continue;
        }
        if (other->reason == RV_POOL_REASON_WATCHDOG) {
            return false;
        }
        is_one = is_one || other->generation == worker->generation;
    }
    return is_one && worker->state == RV_POOL_STARTING
           && worker->generation == service->generation;
}

static void
start_process(struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    struct process *process = &sim->processes[slot];
    if (process->is_alive) {
        fail(sim, "START in slot %d, whose process lives", slot);
    }
    *process = (struct process){
        .is_alive = true,
        .service = service_of(sim, worker->service),
        .index = worker->index,
        .generation = worker->generation,
        .policy = worker->policy,
        .started_ms = sim->now_ms,
        .last_ping_ms = sim->now_ms,
        .drained_ms = RV_POOL_NEVER,
        .terminated_ms = RV_POOL_NEVER,
        .is_spare = is_spare(sim, slot),
    };
    draw_fate(sim, process);
    if (sim->n_starts == N_STARTS) {
        fail(sim, "a respawn storm");
    }
    sim->starts[sim->n_starts++] = (struct start){
        sim->now_ms, process->service, process->index,
        worker->policy.backoff_min_ms, worker->policy.backoff_max_ms};
    sim->tally->n_starts++;
    if (!sim->is_calm && chance(sim, 2)) {
        process->how = (struct rv_pool_exit){RV_POOL_EXIT_NO_START, 11};
        process->exit_ms = sim->now_ms;
        process->ready_ms = RV_POOL_NEVER;
    }
}

static void
drain_process(struct sim *sim, int slot)
{
    struct process *process = &sim->processes[slot];
    if (!process->is_alive || process->drained_ms != RV_POOL_NEVER) {
        fail(sim, "DRAIN for slot %d, dead or told before", slot);
    }
    process->drained_ms = sim->now_ms;
    process->drain_until_ms = sim->now_ms + process->policy.drain_timeout_ms;
    if (!process->is_hung && !process->is_deaf) {
        int64_t most_ms = process->policy.drain_timeout_ms * 5 / 4;
        process->exit_ms = sim->now_ms + between(sim, 0, most_ms);
        process->how = (struct rv_pool_exit){RV_POOL_EXIT_CODE, 0};
    }
    if (!sim->is_calm && !sim->is_stopping && chance(sim, 10)) {
        process->drain_until_ms =
            RV_MAX(process->drain_until_ms, sim->now_ms + EXTENSION_MS);
        rv_pool_extend(sim->pool, slot, sim->now_ms + EXTENSION_MS);
    }
}

static void
terminate_process(struct sim *sim, int slot)
{
    struct process *process = &sim->processes[slot];
    if (!process->is_alive
        || rv_pool_worker(sim->pool, slot)->state != RV_POOL_STOPPING) {
        fail(sim, "TERMINATE for slot %d, which does not stop", slot);
    }
    if (process->terminated_ms == RV_POOL_NEVER) {
        process->terminated_ms = sim->now_ms;
    }
    if (!process->is_deaf && !process->is_hung) {
        process->exit_ms =
            RV_MIN(process->exit_ms, sim->now_ms + between(sim, 0, 20));
    }
}

static void
kill_process(struct sim *sim, int slot)
{
    struct process *process = &sim->processes[slot];
    if (!process->is_alive || process->terminated_ms == RV_POOL_NEVER
        || sim->now_ms < process->terminated_ms + ESCALATION_MS) {
        fail(sim, "KILL for slot %d came too early", slot);
    }
    int64_t takes_ms =
        chance(sim, 10) ? between(sim, 0, SLOW_DEATH_MS) : between(sim, 0, 3);
    process->exit_ms = RV_MIN(process->exit_ms, sim->now_ms + takes_ms);
}

#endif
