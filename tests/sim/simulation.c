/* Whole lives of a service, under a virtual clock, with seeded faults.
 *
 *     simulation [HISTORIES [SEED]] [--verbose]
 *
 * A history is one master's life (or several: masters die as well) over one
 * to three services.  A model of the world performs the pool's actions: its
 * processes take their time to start, fail, hang, die, ignore SIGTERM.  Random
 * orders come meanwhile: reloads that are good and bad, scaling, replacing,
 * pauses, jumps of the clock, a stop.  Then the faults end, and the pool has
 * to bring everything back to what is wanted.
 *
 * After each reconcile the model, which keeps its own account of what is
 * wanted, judges every change of a worker's state.  A history that fails
 * prints its seed and how to repeat it step by step.
 */
#include <inttypes.h>
#include <signal.h>
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
    int n_masters; /* That died. */
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

/* ---- Judging what the pool did ---- */

static const char *
name_of(const struct sim *sim, const struct rv_pool_worker *worker)
{
    static char text[128];
    const struct rv_pool_service *s =
        rv_pool_service(sim->pool, worker->service);
    snprintf(text, sizeof text, "%s.%d gen %" PRIu32, s ? s->name : "?",
             worker->index, worker->generation);
    return text;
}

/* Whether somebody else serves the seat of 'slot', or has done all there was
 * to do, who may be relied on: one of the committed generation, or of a
 * candidate that has soaked. */
static bool
has_heir(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *left = rv_pool_worker(sim->pool, slot);
    int s = service_of(sim, left->service);
    const struct service *service = &sim->services[s];
    for (int i = 0; i < rv_pool_n_slots(sim->pool); i++) {
        const struct rv_pool_worker *other = rv_pool_worker(sim->pool, i);
        if (i == slot || other->state == RV_POOL_EMPTY
            || other->service != left->service
            || other->index != left->index) {
            continue;
        }
        bool is_candidate =
            service->candidate && other->generation == service->candidate;
        if (!is_candidate && other->generation != service->generation) {
            continue;
        }
        if (is_candidate && !service->pending.policy.batch) {
            continue;
        }
        int64_t soaked_ms =
            is_candidate ? other->ready_ms + other->policy.soak_ms : 0;
        if (other->is_done
            || (other->state == RV_POOL_READY && sim->now_ms >= soaked_ms
                && sim->processes[i].is_ready)) {
            return true;
        }
    }
    return false;
}

/* A ready worker that was told to leave. */
static void
judge_leaving_ready(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    const struct service *service =
        &sim->services[service_of(sim, worker->service)];
    bool is_candidate =
        service->candidate && worker->generation == service->candidate;
    int n_seats = n_wanted(
        sim, service, is_candidate ? service->candidate : service->generation);
    if (worker->index < n_seats && (is_candidate || !has_heir(sim, slot))) {
        fail(sim, "ready %s was told to leave and nobody serves its seat",
             name_of(sim, worker));
    }
    bool is_fast = sim->is_stopping
                   && (sim->stop == RV_POOL_STOP_FAST
                       || (sim->stop == RV_POOL_STOP_DEADLINE
                           && sim->now_ms >= sim->stop_by_ms));
    bool is_hung = worker->reason == RV_POOL_REASON_WATCHDOG;
    if (worker->state == RV_POOL_STOPPING && !is_fast && !is_hung) {
        fail(sim, "ready %s got TERM without a drain", name_of(sim, worker));
    }
}

static void
judge_leaving_starting(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    const struct service *service =
        &sim->services[service_of(sim, worker->service)];
    bool is_late =
        sim->now_ms >= worker->started_ms + worker->policy.start_timeout_ms;
    if (worker->policy.ready_alive) {
        is_late = false;
    }
    bool is_wanted =
        worker->index < n_wanted(sim, service, worker->generation);
    if (is_wanted && !is_late && !has_heir(sim, slot)) {
        fail(sim, "starting %s was stopped for no reason",
             name_of(sim, worker));
    }
}

static void
judge_change(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *old = &sim->before[slot];
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    bool leaves =
        worker->state == RV_POOL_DRAINING || worker->state == RV_POOL_STOPPING;
    if (!leaves || old->state == worker->state) {
        return;
    }
    const struct process *process = &sim->processes[slot];
    if (old->state == RV_POOL_READY) {
        judge_leaving_ready(sim, slot);
    } else if (old->state == RV_POOL_STARTING) {
        judge_leaving_starting(sim, slot);
    } else if (old->state == RV_POOL_DRAINING) {
        bool may_hurry =
            sim->is_stopping && sim->stop != RV_POOL_STOP_GRACEFUL;
        if (!may_hurry && sim->now_ms < process->drain_until_ms) {
            fail(sim, "%s got TERM before its drain was over",
                 name_of(sim, worker));
        }
    }
}

/* Nobody starts whom the model does not want, or twice for one seat. */
static void
judge_start(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    const struct service *service =
        &sim->services[service_of(sim, worker->service)];
    /* A roll may fail in the same step that started more of it. */
    bool is_over = worker->state == RV_POOL_STOPPING && service->candidate
                   && worker->generation == service->candidate;
    if (worker->state != RV_POOL_STARTING && !is_over) {
        fail(sim, "START in slot %d, which is %s", slot,
             rv_pool_state_name(worker->state));
    }
    if (worker->index >= n_wanted(sim, service, worker->generation)) {
        fail(sim, "%s was started and is not wanted", name_of(sim, worker));
    }
    for (int i = 0; i < rv_pool_n_slots(sim->pool); i++) {
        const struct rv_pool_worker *other = rv_pool_worker(sim->pool, i);
        bool is_rival =
            i != slot && other->service == worker->service
            && other->index == worker->index
            && other->generation == worker->generation
            && (other->state == RV_POOL_STARTING
                || other->state == RV_POOL_BACKOFF
                || (other->state == RV_POOL_READY && !other->is_replaced));
        if (is_rival) {
            fail(sim, "%s was started twice", name_of(sim, worker));
        }
    }
}

static bool
is_settled(const struct sim *sim, int service, int index, uint32_t generation,
           bool must_soak)
{
    for (int i = 0; i < rv_pool_n_slots(sim->pool); i++) {
        const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, i);
        if (worker->state == RV_POOL_EMPTY
            || service_of(sim, worker->service) != service
            || worker->index != index || worker->generation != generation) {
            continue;
        }
        int64_t since_ms =
            worker->ready_ms + (must_soak ? worker->policy.soak_ms : 0);
        if (worker->is_done
            || (worker->state == RV_POOL_READY && sim->processes[i].is_alive
                && since_ms <= sim->now_ms)) {
            return true;
        }
    }
    return false;
}

static void
commit(struct sim *sim)
{
    for (int s = 0; s < N_SERVICES; s++) {
        struct service *service = &sim->services[s];
        int n = service->candidate ? service->pending.policy.n_workers : 0;
        for (int i = 0; i < n; i++) {
            if (!is_settled(sim, s, i, service->candidate, true)) {
                fail(sim, "COMMIT, but %s.%d gen %" PRIu32 " is not proven",
                     service->name, i, service->candidate);
            }
        }
        service->committed = service->pending;
        if (service->candidate) {
            service->generation = service->candidate;
            service->is_failed = false;
        }
        if (!service->committed.is_there) {
            service->generation = 0;
            service->is_failed = false;
        }
        service->candidate = 0;
    }
    sim->is_rolling = false;
}

static void
judge_roll_back(const struct sim *sim, const struct rv_pool_action *action)
{
    const struct process *process =
        action->slot >= 0 ? &sim->processes[action->slot] : NULL;
    uint32_t candidate =
        process ? sim->services[process->service].candidate : 0;
    if (process && process->generation != candidate) {
        fail(sim, "ROLL_BACK because of slot %d, which is no candidate",
             action->slot);
    }
    bool is_true = true;
    if (action->reason == RV_POOL_REASON_EXITED) {
        is_true = !process->is_alive;
    } else if (action->reason == RV_POOL_REASON_START_TIMEOUT) {
        is_true = !process->is_ready
                  && sim->now_ms - process->started_ms
                         >= process->policy.start_timeout_ms;
    } else if (action->reason == RV_POOL_REASON_WATCHDOG) {
        is_true =
            sim->now_ms - process->last_ping_ms >= process->policy.watchdog_ms;
    } else if (action->reason == RV_POOL_REASON_SLOTS) {
        is_true = rv_pool_n_slots(sim->pool) >= sim->n_slots - MAX_WORKERS;
    }
    if (!is_true) {
        fail(sim, "ROLL_BACK for a reason (%d) that is not so",
             (int)action->reason);
    }
}

static void
roll_back(struct sim *sim, const struct rv_pool_action *action)
{
    if (!sim->is_rolling) {
        fail(sim, "ROLL_BACK without a roll");
    }
    judge_roll_back(sim, action);
    for (int s = 0; s < N_SERVICES; s++) {
        sim->services[s].candidate = 0;
        sim->services[s].pending = sim->services[s].committed;
    }
    sim->is_rolling = false;
}

static void
judge_health(struct sim *sim, const struct rv_pool_action *action)
{
    int s = service_of(sim, action->service);
    struct service *service = &sim->services[s];
    bool is_failed = action->type == RV_POOL_FAILED;
    if (service->is_failed == is_failed) {
        fail(sim, "%s: FAILED or RECOVERED twice", service->name);
    }
    service->is_failed = is_failed;
    for (int i = 0;
         !is_failed && i < n_wanted(sim, service, service->generation); i++) {
        if (!is_settled(sim, s, i, service->generation, false)) {
            fail(sim, "%s RECOVERED, but not %d", service->name, i);
        }
    }
}

static void
perform(struct sim *sim, const struct rv_pool_action *action)
{
    static const char *const names[] = {
        "START",     "DRAIN",  "TERMINATE", "KILL",   "COMMIT",
        "ROLL_BACK", "FAILED", "RECOVERED", "FORGET", "EXIT"};
    const struct rv_pool_worker *worker =
        action->slot >= 0 ? rv_pool_worker(sim->pool, action->slot) : NULL;
    bool is_named = worker && worker->state != RV_POOL_EMPTY;
    say(sim, "%s slot %d reason %d %s", names[action->type], action->slot,
        (int)action->reason, is_named ? name_of(sim, worker) : "");
    switch (action->type) {
    case RV_POOL_START:
        judge_start(sim, action->slot);
        start_process(sim, action->slot);
        break;
    case RV_POOL_DRAIN:
        drain_process(sim, action->slot);
        break;
    case RV_POOL_TERMINATE:
        terminate_process(sim, action->slot);
        break;
    case RV_POOL_KILL:
        sim->tally->n_kills++;
        kill_process(sim, action->slot);
        break;
    case RV_POOL_COMMIT:
        sim->tally->n_commits++;
        commit(sim);
        excuse(sim);
        break;
    case RV_POOL_ROLL_BACK:
        sim->tally->n_roll_backs++;
        roll_back(sim, action);
        excuse(sim);
        break;
    case RV_POOL_FAILED:
        sim->tally->n_failed++;
        judge_health(sim, action);
        break;
    case RV_POOL_RECOVERED:
        sim->tally->n_recovered++;
        judge_health(sim, action);
        break;
    case RV_POOL_FORGET:
        sim->tally->n_forgotten++;
        break;
    case RV_POOL_EXIT:
        fail(sim, "EXIT, which no service wants");
    }
}

static bool
perform_all(struct sim *sim)
{
    struct rv_pool_action action;
    bool any = false;
    while (rv_pool_next_action(sim->pool, &action)) {
        perform(sim, &action);
        any = true;
    }
    return any;
}

/* The pool's table and the world say the same. */
static void
judge_slot(struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    struct process *process = &sim->processes[slot];
    bool has_process =
        worker->state != RV_POOL_EMPTY && worker->state != RV_POOL_BACKOFF;
    if (has_process != process->is_alive) {
        fail(sim, "slot %d is %s, its process is %s", slot,
             rv_pool_state_name(worker->state),
             process->is_alive ? "alive" : "gone");
    }
    if (worker->state == RV_POOL_READY && !process->is_ready) {
        int64_t age_ms = sim->now_ms - process->started_ms;
        if (process->is_stranger) {
            process->is_ready = true;
        } else if (!worker->policy.ready_alive
                   || age_ms < worker->policy.ready_after_ms) {
            fail(sim, "%s is ready and is not", name_of(sim, worker));
        }
        process->is_ready = true;
    }
    if (worker->is_replaced && !sim->before[slot].is_replaced) {
        excuse(sim);
    }
}

static void
judge_batch(const struct sim *sim, int service)
{
    const struct service *s = &sim->services[service];
    int n_unproven = 0;
    int n_spares = 0;
    for (int slot = 0; slot < sim->n_slots; slot++) {
        const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
        if (worker->state == RV_POOL_EMPTY
            || service_of(sim, worker->service) != service) {
            continue;
        }
        bool is_unproven =
            worker->state == RV_POOL_STARTING
            || (worker->state == RV_POOL_READY
                && sim->now_ms < worker->ready_ms + worker->policy.soak_ms);
        n_unproven +=
            s->candidate && worker->generation == s->candidate && is_unproven;
        n_spares += sim->processes[slot].is_spare && is_spare(sim, slot);
    }
    int batch = s->pending.policy.batch;
    if (s->candidate && batch && n_unproven > batch) {
        fail(sim, "%s: %d candidates at a time", s->name, n_unproven);
    }
    /* A new master may find several, of workers that it takes for sound. */
    if (n_spares > 1 && !sim->n_masters) {
        fail(sim, "%s: %d spares at a time", s->name, n_spares);
    }
}

/* Reconciles until nothing is left to do at this moment. */
static void
settle(struct sim *sim)
{
    bool again = true;
    for (int round = 0; again; round++) {
        if (round > 8) {
            fail(sim, "the pool never comes to rest");
        }
        for (int slot = 0; slot < sim->n_slots; slot++) {
            sim->before[slot] = *rv_pool_worker(sim->pool, slot);
        }
        rv_pool_reconcile(sim->pool, sim->now_ms);
        rv_pool_check(sim->pool);
        again = perform_all(sim);
        for (int slot = 0; slot < sim->n_slots; slot++) {
            judge_slot(sim, slot);
        }
        for (int slot = 0; slot < sim->n_slots; slot++) {
            judge_change(sim, slot);
        }
        for (int s = 0; s < N_SERVICES; s++) {
            judge_batch(sim, s);
        }
        again = again || rv_pool_deadline(sim->pool) <= sim->now_ms;
        sim->tally->n_steps++;
    }
    if (sim->is_rolling != rv_pool_is_rolling(sim->pool)) {
        fail(sim, "a roll is under way, or not");
    }
}

/* ---- Orders ---- */

static void
add_spec(struct sim *sim, int s, struct rv_pool_spec *spec)
{
    struct service *service = &sim->services[s];
    struct wish *wish = &service->pending;
    wish->is_there = true;
    service->is_changed = !service->committed.is_there || chance(sim, 50);
    wish->policy = service->committed.policy;
    if (service->is_changed) {
        wish->policy = random_policy(sim);
    } else if (chance(sim, 50)) {
        wish->policy.n_workers = (int)between(sim, 0, MAX_WORKERS);
    }
    *spec = (struct rv_pool_spec){
        .name = service->name,
        .policy = wish->policy,
        .is_changed = service->is_changed,
    };
}

static void
note_candidates(struct sim *sim, bool may_be_bad)
{
    for (int s = 0; s < N_SERVICES; s++) {
        struct service *service = &sim->services[s];
        int i = rv_pool_find_service(sim->pool, service->name);
        uint32_t candidate =
            i < 0 ? 0 : rv_pool_service(sim->pool, i)->candidate;
        bool is_right = service->pending.is_there && service->is_changed
                            ? candidate > service->generation
                            : !candidate;
        if (!is_right) {
            fail(sim, "%s: candidate %" PRIu32, service->name, candidate);
        }
        service->candidate = candidate;
        service->faults[candidate % N_GENERATIONS] =
            may_be_bad && chance(sim, 50)
                ? (enum fault)between(sim, FAILS, N_FAULTS - 1)
                : GOOD;
    }
}

static void
reload(struct sim *sim, bool may_be_bad)
{
    struct rv_pool_spec specs[N_SERVICES];
    size_t n = 0;
    for (int s = 0; s < N_SERVICES; s++) {
        sim->services[s].pending.is_there = false;
        if (chance(sim, 80)) {
            add_spec(sim, s, &specs[n++]);
        }
    }
    say(sim, "order: reload, %zu services%s", n, may_be_bad ? ", bad" : "");
    if (rv_pool_configure(sim->pool, specs, n, RV_POOL_ROLL, sim->now_ms)) {
        fail(sim, "no memory");
    }
    /* What was rolled out until now ends first, in the model as well. */
    struct wish pending[N_SERVICES];
    for (int s = 0; s < N_SERVICES; s++) {
        pending[s] = sim->services[s].pending;
    }
    perform_all(sim);
    for (int s = 0; s < N_SERVICES; s++) {
        sim->services[s].pending = pending[s];
    }
    note_candidates(sim, may_be_bad);
    sim->is_rolling = true;
    sim->is_paused = false;
}

static int
random_slot(struct sim *sim, enum rv_pool_state state)
{
    int first = (int)between(sim, 0, sim->n_slots - 1);
    for (int i = 0; i < sim->n_slots; i++) {
        int slot = (first + i) % sim->n_slots;
        if (rv_pool_worker(sim->pool, slot)->state == state) {
            return slot;
        }
    }
    return -1;
}

static void
scale(struct sim *sim)
{
    struct service *service = &sim->services[between(sim, 0, N_SERVICES - 1)];
    int i = rv_pool_find_service(sim->pool, service->name);
    int n = (int)between(sim, 0, MAX_WORKERS);
    if (i >= 0) {
        say(sim, "order: scale %s to %d", service->name, n);
        rv_pool_scale(sim->pool, i, n);
        service->committed.policy.n_workers = n;
        service->pending.policy.n_workers = n;
    }
}

static void
replace(struct sim *sim)
{
    int first = random_slot(sim, RV_POOL_READY);
    bool is_all = chance(sim, 40);
    for (int slot = RV_MAX(first, 0); first >= 0 && slot < sim->n_slots;
         slot++) {
        bool is_ready =
            rv_pool_worker(sim->pool, slot)->state == RV_POOL_READY;
        if (is_ready && (slot == first || is_all)) {
            say(sim, "order: replace slot %d", slot);
            rv_pool_replace(sim->pool, slot, RV_POOL_REASON_MEMORY,
                            sim->now_ms);
        }
    }
}

static void
pause_all(struct sim *sim)
{
    say(sim, "order: pause");
    rv_pool_pause(sim->pool);
    perform_all(sim);
    sim->is_paused = true;
}

static void
stop(struct sim *sim)
{
    enum rv_pool_stop how = (enum rv_pool_stop)between(sim, 0, 2);
    if (sim->is_stopping) {
        how = RV_POOL_STOP_FAST;
    }
    int64_t by_ms = sim->now_ms + between(sim, 0, 5000);
    say(sim, "order: stop, %d, by %" PRId64, (int)how, by_ms);
    rv_pool_stop(sim->pool, how, by_ms);
    perform_all(sim);
    sim->is_stopping = true;
    sim->stop = how;
    sim->stop_by_ms = by_ms;
    sim->stopped_ms = sim->now_ms;
}

/* Something happens to one process, out of the blue. */
static void
strike(struct sim *sim)
{
    int slot = (int)between(sim, 0, sim->n_slots - 1);
    struct process *process = &sim->processes[slot];
    if (chance(sim, 50)) {
        slot = random_slot(sim, RV_POOL_READY);
        process = slot < 0 ? process : &sim->processes[slot];
    }
    if (process->is_alive && chance(sim, 50)) {
        say(sim, "order: slot %d hangs", slot);
        process->is_hung = true;
        process->exit_ms = RV_POOL_NEVER;
    } else if (process->is_alive) {
        process->exit_ms = sim->now_ms;
        process->how = (struct rv_pool_exit){RV_POOL_EXIT_SIGNAL, 9};
    }
    int starting = random_slot(sim, RV_POOL_STARTING);
    if (starting >= 0 && chance(sim, 20)) {
        rv_pool_extend(sim->pool, starting, sim->now_ms + EXTENSION_MS);
    }
}

/* What the new master finds of a worker in the registry. */
static void
adopt(struct sim *sim, int slot, const struct rv_pool_worker *old,
      bool is_complete)
{
    struct process *process = &sim->processes[slot];
    struct rv_pool_worker worker = *old;
    worker.service =
        rv_pool_find_service(sim->pool, sim->services[process->service].name);
    if (worker.service < 0) {
        process->is_alive = false; /* Stopped: nobody wants it any more. */
        return;
    }
    worker.ping_ms = process->last_ping_ms = sim->now_ms;
    if (!is_complete) {
        worker.deadline_ms = worker.kill_delay_ms = 0;
        worker.is_replaced = false;
        worker.reason = RV_POOL_REASON_NONE;
    }
    rv_pool_adopt(sim->pool, slot, &worker);
    const struct rv_pool_worker *copy = rv_pool_worker(sim->pool, slot);
    process->policy = copy->policy;
    process->is_stranger =
        copy->generation != sim->services[process->service].generation;
    process->drain_until_ms = copy->deadline_ms;
    process->ping_ms = copy->policy.watchdog_ms
                           ? sim->now_ms + copy->policy.watchdog_ms / 2
                           : RV_POOL_NEVER;
}

static void
open_pool(struct sim *sim)
{
    if (rv_pool_create(sim->n_slots, rv_random(&sim->random), &sim->pool)) {
        fail(sim, "no memory");
    }
    struct rv_pool_spec specs[N_SERVICES];
    size_t n = 0;
    for (int s = 0; s < N_SERVICES; s++) {
        struct service *service = &sim->services[s];
        service->candidate = 0;
        service->is_failed = false;
        service->pending = service->committed;
        if (service->committed.is_there) {
            specs[n++] = (struct rv_pool_spec){
                .name = service->name,
                .policy = service->committed.policy,
                .generation = service->generation,
            };
        }
    }
    if (rv_pool_configure(sim->pool, specs, n, RV_POOL_AT_ONCE, sim->now_ms)) {
        fail(sim, "no memory");
    }
    sim->is_rolling = false;
}

/* The master dies and the next one starts from what outlived it. */
static void
change_master(struct sim *sim)
{
    bool is_complete = chance(sim, 50);
    for (int slot = 0; slot < sim->n_slots; slot++) {
        sim->before[slot] = *rv_pool_worker(sim->pool, slot);
    }
    say(sim, "order: the master dies");
    rv_pool_destroy(sim->pool);
    sim->now_ms += between(sim, 0, 2000);
    open_pool(sim);
    for (int slot = 0; slot < sim->n_slots; slot++) {
        if (sim->processes[slot].is_alive) {
            adopt(sim, slot, &sim->before[slot], is_complete);
        }
    }
    if (sim->is_paused) {
        rv_pool_pause(sim->pool);
    }
    if (sim->is_stopping) {
        rv_pool_stop(sim->pool, sim->stop, sim->stop_by_ms);
        sim->stopped_ms = sim->now_ms;
    }
    sim->n_masters++;
    sim->tally->n_masters++;
}

static void
give_order(struct sim *sim)
{
    excuse(sim);
    int order = (int)between(sim, 1, 100);
    if (order <= 20) {
        reload(sim, false);
    } else if (order <= 35) {
        reload(sim, true);
    } else if (order <= 45) {
        scale(sim);
    } else if (order <= 55) {
        replace(sim);
    } else if (order <= 58) {
        pause_all(sim);
    } else if (order <= 62) {
        sim->now_ms += between(sim, 1, 2 * MINUTE_MS);
        say(sim, "order: the clock jumped");
    } else if (order <= 68) {
        change_master(sim);
    } else if (order <= 75) {
        sim->services[between(sim, 0, N_SERVICES - 1)].broken_until_ms =
            sim->now_ms + between(sim, 1000, 20000);
    } else if (order <= 77 || sim->is_stopping) {
        stop(sim);
    } else {
        strike(sim);
    }
}

/* ---- Time ---- */

static int64_t
next_of_process(const struct process *process)
{
    if (!process->is_alive) {
        return RV_POOL_NEVER;
    }
    int64_t next_ms = process->exit_ms;
    if (!process->is_ready) {
        next_ms = RV_MIN(next_ms, process->ready_ms);
    }
    return process->is_hung ? next_ms : RV_MIN(next_ms, process->ping_ms);
}

static void
deliver(struct sim *sim, int slot)
{
    struct process *process = &sim->processes[slot];
    if (next_of_process(process) > sim->now_ms) {
        return;
    }
    if (!process->is_ready && process->ready_ms <= sim->now_ms) {
        process->is_ready = true;
        rv_pool_ready(sim->pool, slot, sim->now_ms);
    }
    if (process->ping_ms <= sim->now_ms && !process->is_hung) {
        process->last_ping_ms = sim->now_ms;
        process->ping_ms = sim->now_ms + process->policy.watchdog_ms / 2;
        rv_pool_ping(sim->pool, slot, sim->now_ms);
    }
    if (process->exit_ms <= sim->now_ms) {
        const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
        say(sim, "exit of slot %d, %s %s", slot, name_of(sim, worker),
            rv_pool_state_name(worker->state));
        if (worker->state == RV_POOL_READY
            && sim->now_ms - worker->ready_ms >= STABLE_MS) {
            excuse(sim);
        }
        process->is_alive = false;
        sim->tally->n_deaths++;
        rv_pool_exited(sim->pool, slot, &process->how, sim->now_ms);
    }
}

/* Between two deadlines, with no event, the pool has nothing to do. */
static void
reconcile_early(struct sim *sim, int64_t next_ms)
{
    struct rv_pool_action action;
    int64_t most_ms = RV_MIN(next_ms, sim->now_ms + MINUTE_MS);
    if (most_ms <= sim->now_ms + 1) {
        return;
    }
    sim->now_ms = between(sim, sim->now_ms, most_ms - 1);
    rv_pool_reconcile(sim->pool, sim->now_ms);
    if (rv_pool_next_action(sim->pool, &action)) {
        fail(sim, "the pool acted before its deadline");
    }
}

static void
step(struct sim *sim)
{
    int64_t next_ms = RV_MIN(rv_pool_deadline(sim->pool), sim->order_ms);
    for (int slot = 0; slot < sim->n_slots; slot++) {
        next_ms = RV_MIN(next_ms, next_of_process(&sim->processes[slot]));
    }
    if (next_ms == RV_POOL_NEVER) {
        fail(sim, "nothing will ever happen again");
    }
    if (chance(sim, 5)) {
        reconcile_early(sim, next_ms);
    }
    sim->now_ms = RV_MAX(sim->now_ms, next_ms);
    for (int slot = 0; slot < sim->n_slots; slot++) {
        deliver(sim, slot);
    }
    if (sim->order_ms <= sim->now_ms) {
        sim->order_ms = --sim->n_orders > 0
                            ? sim->now_ms + between(sim, 0, 4000)
                            : RV_POOL_NEVER;
        give_order(sim);
    }
    settle(sim);
}

/* ---- Ends ---- */

static bool
has_converged(const struct sim *sim)
{
    int n_workers = 0;
    for (int slot = 0; slot < sim->n_slots; slot++) {
        const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
        n_workers += worker->state != RV_POOL_EMPTY;
    }
    for (int s = 0; s < N_SERVICES; s++) {
        const struct service *service = &sim->services[s];
        int n = n_wanted(sim, service, service->generation);
        n_workers -= n;
        for (int i = 0; i < n; i++) {
            if (!is_settled(sim, s, i, service->generation, false)) {
                return false;
            }
        }
        if (n && service->is_failed) {
            return false;
        }
    }
    return !n_workers && !sim->is_rolling;
}

static void
live_calmly(struct sim *sim)
{
    sim->is_calm = true;
    sim->order_ms = RV_POOL_NEVER;
    excuse(sim);
    int64_t end_ms = sim->now_ms + CALM_MS;
    say(sim, "the faults end");
    settle(sim);
    while (!has_converged(sim)) {
        if (sim->now_ms > end_ms) {
            fail(sim, "not every seat came back");
        }
        step(sim);
    }
    say(sim, "all is well");
}

static void
live_to_the_end(struct sim *sim)
{
    static const int64_t most_ms[] = {
        [RV_POOL_STOP_GRACEFUL] = 8000 + EXTENSION_MS,
        [RV_POOL_STOP_DEADLINE] = 5000,
        [RV_POOL_STOP_FAST] = 0,
    };
    while (!rv_pool_is_empty(sim->pool)) {
        int64_t end_ms = sim->stopped_ms + most_ms[sim->stop] + ESCALATION_MS
                         + SLOW_DEATH_MS + STABLE_MS;
        int64_t old_ms = sim->now_ms;
        step(sim);
        /* A jump of the clock is no time in which anybody could act. */
        if (sim->now_ms - old_ms > STABLE_MS * 5) {
            sim->stopped_ms += sim->now_ms - old_ms;
        } else if (sim->now_ms > end_ms && !rv_pool_is_empty(sim->pool)) {
            fail(sim, "the stop takes too long");
        }
    }
    for (int slot = 0; slot < sim->n_slots; slot++) {
        if (sim->processes[slot].is_alive) {
            fail(sim, "slot %d outlived the stop", slot);
        }
    }
}

/* How many starts backoff allows a seat within a minute. */
static int
allowed_starts(int64_t min_ms, int64_t max_ms)
{
    int n = 2;
    int64_t delay_ms = min_ms;
    for (int64_t at_ms = 0; at_ms < MINUTE_MS; n++) {
        at_ms += RV_MAX(delay_ms * 3 / 4, 1);
        delay_ms = RV_MIN(delay_ms * 2, max_ms);
    }
    return n;
}

static void
judge_seat_starts(const struct sim *sim, int last)
{
    const struct start *end = &sim->starts[last];
    int64_t min_ms = end->backoff_min_ms;
    int64_t max_ms = end->backoff_max_ms;
    int n = 0;
    for (int i = last;
         i >= 0 && sim->starts[i].when_ms > end->when_ms - MINUTE_MS; i--) {
        const struct start *start = &sim->starts[i];
        if (start->service == end->service && start->index == end->index) {
            min_ms = RV_MIN(min_ms, start->backoff_min_ms);
            max_ms = RV_MIN(max_ms, start->backoff_max_ms);
            n++;
        }
    }
    int n_excuses = 0;
    for (int i = 0; i < sim->n_excuses; i++) {
        n_excuses += sim->excuses_ms[i] > end->when_ms - MINUTE_MS
                     && sim->excuses_ms[i] <= end->when_ms;
    }
    int most = allowed_starts(min_ms, max_ms) + 3 * n_excuses;
    if (n > most) {
        fail(sim, "%s.%d started %d times in a minute; at most %d",
             sim->services[end->service].name, end->index, n, most);
    }
}

static void
live(struct sim *sim)
{
    sim->n_slots = chance(sim, 70) ? MAX_SLOTS : FEW_SLOTS;
    sim->n_orders = (int)between(sim, 1, 20);
    sim->order_ms = between(sim, 0, 3000);
    for (int s = 0; s < N_SERVICES; s++) {
        struct service *service = &sim->services[s];
        snprintf(service->name, sizeof service->name, "s%d", s);
        service->committed.is_there = chance(sim, 60);
        service->committed.policy = random_policy(sim);
        service->generation = service->committed.is_there;
        service->pending = service->committed;
    }
    open_pool(sim);
    settle(sim);
    while (sim->n_orders > 0 && !sim->is_stopping) {
        step(sim);
    }
    if (!sim->is_stopping) {
        live_calmly(sim);
        stop(sim);
        settle(sim);
    }
    live_to_the_end(sim);
    for (int i = 0; i < sim->n_starts; i += 1 + sim->n_starts / 50) {
        judge_seat_starts(sim, i);
    }
}

static void
run_history(struct sim *sim, uint64_t seed, bool is_verbose,
            struct tally *tally)
{
    memset(sim, 0, offsetof(struct sim, starts));
    sim->n_starts = sim->n_excuses = 0;
    sim->seed = current_seed = seed;
    sim->random = seed;
    sim->is_verbose = is_verbose;
    sim->tally = tally;
    live(sim);
    rv_pool_destroy(sim->pool);
    sim->pool = NULL;
}

/* Prints the tally; false when something that should occur never did. */
static bool
report(const struct tally *tally, uint64_t n_histories)
{
    const struct {
        const char *name;
        uint64_t n;
    } rows[] = {
        {"steps", tally->n_steps},         {"starts", tally->n_starts},
        {"deaths", tally->n_deaths},       {"kills", tally->n_kills},
        {"commits", tally->n_commits},     {"roll backs", tally->n_roll_backs},
        {"failed", tally->n_failed},       {"recovered", tally->n_recovered},
        {"forgotten", tally->n_forgotten}, {"masters lost", tally->n_masters},
    };
    bool is_enough = true;
    printf("%" PRIu64 " histories:", n_histories);
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        printf(" %" PRIu64 " %s%s", rows[i].n, rows[i].name,
               i + 1 < RV_ARRAY_SIZE(rows) ? "," : "\n");
        is_enough = is_enough && (rows[i].n || n_histories < 1000);
    }
    return is_enough;
}

int
main(int argc, char **argv)
{
    uint64_t numbers[2] = {10000, 1};
    size_t n_numbers = 0;
    bool is_verbose = false;
    for (int i = 1; i < argc; i++) {
        char *end;
        uint64_t number = strtoull(argv[i], &end, 10);
        if (!strcmp(argv[i], "--verbose")) {
            is_verbose = true;
        } else if (*argv[i] && !*end && n_numbers < 2) {
            numbers[n_numbers++] = number;
        } else {
            fprintf(stderr,
                    "usage: simulation [HISTORIES [SEED]] [--verbose]\n");
            return 64;
        }
    }
    signal(SIGABRT, on_abort);
    struct sim *sim = calloc(1, sizeof *sim);
    struct tally tally = {0};
    if (!sim) {
        return 1;
    }
    for (uint64_t i = 0; i < numbers[0]; i++) {
        run_history(sim, numbers[1] + i, is_verbose, &tally);
    }
    free(sim);
    return report(&tally, numbers[0]) ? 0 : 1;
}
