/* The judge of the simulation: every action of the pool, and every change of a
 * worker's state, against the model's own account.  Part of simulation.c,
 * which alone includes it. */
#ifndef RV_TEST_SIM_JUDGE_H
#define RV_TEST_SIM_JUDGE_H

#include "world.h"

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
        int64_t soak_ms = is_candidate ? other->policy.soak_ms : 0;
        if (other->is_done
            || (other->state == RV_POOL_READY && sim->processes[i].is_ready
                && sim->now_ms >= other->ready_ms + soak_ms)) {
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

/* Whether the heir of a worker that failed carries on its account, so that
 * backoff grows; or the seat is served anyway. */
static bool
remembers_failure(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    for (int i = 0; i < rv_pool_n_slots(sim->pool); i++) {
        const struct rv_pool_worker *other = rv_pool_worker(sim->pool, i);
        if (i != slot && other->state != RV_POOL_EMPTY
            && other->service == worker->service
            && other->index == worker->index
            && other->generation == worker->generation
            && ((other->state == RV_POOL_READY && !other->is_replaced)
                || other->is_done
                || other->n_failures >= worker->n_failures)) {
            return true;
        }
    }
    return false;
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
    if (is_wanted && worker->generation == service->candidate) {
        fail(sim, "candidate %s was stopped, and the roll goes on",
             name_of(sim, worker));
    }
    if (is_wanted && is_late && sim->n_slots == MAX_SLOTS
        && !remembers_failure(sim, slot) && !has_heir(sim, slot)) {
        fail(sim, "%s was late, and its heir does not know",
             name_of(sim, worker));
    }
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
        int64_t soak_ms = must_soak ? worker->policy.soak_ms : 0;
        if (worker->is_done
            || (worker->state == RV_POOL_READY && sim->processes[i].is_alive
                && sim->now_ms >= worker->ready_ms + soak_ms)) {
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
    if (s < 0) {
        return; /* Failed, and was forgotten in the same step. */
    }
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

/* Nobody stays, or waits to start, on a seat that is not wanted. */
static void
judge_lingering(const struct sim *sim, int slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(sim->pool, slot);
    if (worker->state != RV_POOL_STARTING && worker->state != RV_POOL_READY
        && worker->state != RV_POOL_BACKOFF) {
        return;
    }
    const struct service *service =
        &sim->services[service_of(sim, worker->service)];
    bool is_candidate =
        service->candidate && worker->generation == service->candidate;
    int n = n_wanted(sim, service,
                     is_candidate ? service->candidate : service->generation);
    if (worker->index >= n) {
        fail(sim, "%s stays and is not wanted", name_of(sim, worker));
    }
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
    judge_lingering(sim, slot);
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
    /* Hung workers have theirs at once, and a new master, or a clock that
     * jumped, may make spares of what was started for another reason. */
    if (n_spares > 1 && !sim->n_disturbances) {
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

#endif
