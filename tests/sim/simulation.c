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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "world.h"

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
    if (rv_pool_configure(sim->pool, specs, n, RV_POOL_ROLL)) {
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
        sim->n_disturbances++;
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
    if (rv_pool_configure(sim->pool, specs, n, RV_POOL_AT_ONCE)) {
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
    sim->n_disturbances++;
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
        sim->n_disturbances++;
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
    for (int i = 0; i < rv_pool_n_services(sim->pool); i++) {
        if (rv_pool_service(sim->pool, i)
            && !sim->services[service_of(sim, i)].committed.is_there) {
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
