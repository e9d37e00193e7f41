/* The pool's storage, its events, and the life of a single worker.  What the
 * workers of a service have to do with each other is in reconcile.c; how a
 * configuration becomes the next one is in rollout.c. */
#include "pool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"

static const char *const state_names[RV_POOL_N_STATES] = {
    "empty", "starting", "ready", "draining", "stopping", "backoff",
};

#define BIT(STATE) (1U << (STATE))

/* Which states may follow which. */
static const unsigned int successors[RV_POOL_N_STATES] = {
    [RV_POOL_EMPTY] = BIT(RV_POOL_STARTING) | BIT(RV_POOL_BACKOFF),
    [RV_POOL_STARTING] = BIT(RV_POOL_READY) | BIT(RV_POOL_STOPPING)
                         | BIT(RV_POOL_BACKOFF) | BIT(RV_POOL_EMPTY),
    [RV_POOL_READY] = BIT(RV_POOL_DRAINING) | BIT(RV_POOL_STOPPING)
                      | BIT(RV_POOL_BACKOFF) | BIT(RV_POOL_EMPTY),
    [RV_POOL_DRAINING] = BIT(RV_POOL_STOPPING) | BIT(RV_POOL_EMPTY),
    [RV_POOL_STOPPING] = BIT(RV_POOL_EMPTY),
    [RV_POOL_BACKOFF] = BIT(RV_POOL_STARTING) | BIT(RV_POOL_EMPTY),
};

const char *
rv_pool_state_name(enum rv_pool_state state)
{
    return state_names[state];
}

int
rv_pool_create(int max_workers, uint64_t seed, struct rv_pool **poolp)
{
    RV_ASSERT(max_workers > 0);
    size_t n = (size_t)max_workers;
    struct rv_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return -ENOMEM;
    }
    pool->max_workers = max_workers;
    pool->random = seed;
    pool->stop_deadline_ms = pool->soak_deadline_ms = RV_POOL_NEVER;
    pool->workers = calloc(n, sizeof *pool->workers);
    if (!pool->workers || rv__pool_reserve_seats(pool, max_workers)) {
        rv_pool_destroy(pool);
        return -ENOMEM;
    }
    *poolp = pool;
    return 0;
}

void
rv_pool_destroy(struct rv_pool *pool)
{
    if (pool) {
        free(pool->workers);
        free(pool->seat_of_committed);
        free(pool->seat_of_candidate);
        free(pool->seat_of_other);
        free(pool->services);
        free(pool->actions);
        free(pool);
    }
}

/* A configuration may want more workers than there are slots; each wanted
 * index has a seat all the same. */
int
rv__pool_reserve_seats(struct rv_pool *pool, int n)
{
    int **seats[] = {&pool->seat_of_committed, &pool->seat_of_candidate,
                     &pool->seat_of_other};
    if (n <= pool->seats_capacity) {
        return 0;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(seats); i++) {
        int *larger = realloc(*seats[i], (size_t)n * sizeof *larger);
        if (!larger) {
            return -ENOMEM;
        }
        *seats[i] = larger;
    }
    pool->seats_capacity = n;
    return 0;
}

void
rv__pool_move(struct rv_pool_worker *worker, enum rv_pool_state state,
              int64_t now_ms)
{
    RV_ASSERT(successors[worker->state] & BIT(state));
    worker->state = state;
    worker->since_ms = now_ms;
    worker->deadline_ms = RV_POOL_NEVER;
}

void
rv__pool_free_slot(struct rv_pool *pool, int slot)
{
    pool->workers[slot] = (struct rv_pool_worker){.state = RV_POOL_EMPTY};
    while (pool->n_slots
           && pool->workers[pool->n_slots - 1].state == RV_POOL_EMPTY) {
        pool->n_slots--;
    }
}

int
rv__pool_find_free(const struct rv_pool *pool)
{
    for (int i = 0; i < pool->n_slots; i++) {
        if (pool->workers[i].state == RV_POOL_EMPTY) {
            return i;
        }
    }
    return pool->n_slots < pool->max_workers ? pool->n_slots : -1;
}

int
rv__pool_succeed(struct rv_pool *pool, int slot, int64_t when_ms,
                 int64_t now_ms)
{
    int heir = rv__pool_find_free(pool);
    if (heir < 0) {
        return -1;
    }
    pool->n_slots = RV_MAX(pool->n_slots, heir + 1);
    struct rv_pool_worker *worker = &pool->workers[heir];
    *worker = pool->workers[slot];
    worker->state = RV_POOL_EMPTY;
    worker->is_replaced = false;
    worker->reason = RV_POOL_REASON_NONE;
    rv__pool_move(worker, RV_POOL_BACKOFF, now_ms);
    worker->deadline_ms = when_ms;
    return heir;
}

/* A lost action would be a lost worker, so there is no going on without
 * memory for it: the keeper starts the next master. */
void
rv__pool_act_full(struct rv_pool *pool, const struct rv_pool_action *action)
{
    if (pool->n_actions == pool->actions_capacity) {
        size_t capacity = RV_MAX(64, pool->actions_capacity * 2);
        struct rv_pool_action *actions =
            realloc(pool->actions, capacity * sizeof *actions);
        RV_ASSERT(actions);
        pool->actions = actions;
        pool->actions_capacity = capacity;
    }
    pool->actions[pool->n_actions++] = *action;
}

void
rv__pool_act(struct rv_pool *pool, enum rv_pool_action_type type, int slot,
             int service)
{
    struct rv_pool_action action = {
        .type = type,
        .slot = slot,
        .service = slot >= 0 ? pool->workers[slot].service : service,
    };
    rv__pool_act_full(pool, &action);
}

bool
rv_pool_next_action(struct rv_pool *pool, struct rv_pool_action *action)
{
    if (pool->first_action == pool->n_actions) {
        pool->first_action = pool->n_actions = 0;
        return false;
    }
    *action = pool->actions[pool->first_action++];
    return true;
}

bool
rv__pool_is_candidate(const struct rv_pool *pool,
                      const struct rv_pool_worker *worker)
{
    uint32_t candidate = pool->services[worker->service].candidate;
    return candidate && worker->generation == candidate;
}

static int64_t
ready_deadline(const struct rv_pool_worker *worker)
{
    int64_t deadline_ms = RV_POOL_NEVER;
    if (worker->policy.watchdog_ms) {
        deadline_ms = worker->ping_ms + worker->policy.watchdog_ms;
    }
    if (worker->age_limit_ms) {
        deadline_ms =
            RV_MIN(deadline_ms, worker->started_ms + worker->age_limit_ms);
    }
    return worker->is_replaced ? RV_POOL_NEVER : deadline_ms;
}

/* Workers that started together must not all be renewed together. */
static int64_t
shuffled_age(struct rv_pool *pool, int64_t max_age_ms)
{
    int64_t jitter_ms = max_age_ms * RV__POOL_SHUFFLE_PERCENT / 100;
    uint64_t random = rv_random(&pool->random);
    return max_age_ms - (int64_t)(random % (uint64_t)(jitter_ms + 1));
}

void
rv__pool_launch(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    rv__pool_move(worker, RV_POOL_STARTING, now_ms);
    worker->started_ms = worker->ping_ms = now_ms;
    worker->ready_ms = RV_POOL_NEVER;
    worker->deadline_ms = now_ms + worker->policy.start_timeout_ms;
    worker->age_limit_ms = worker->policy.max_age_ms
                               ? shuffled_age(pool, worker->policy.max_age_ms)
                               : 0;
    if (worker->policy.ready_alive) {
        worker->deadline_ms = now_ms + worker->policy.ready_after_ms;
    }
    rv__pool_act(pool, RV_POOL_START, slot, -1);
}

void
rv_pool_ready(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->state != RV_POOL_STARTING) {
        return;
    }
    rv__pool_move(worker, RV_POOL_READY, now_ms);
    worker->ready_ms = worker->ping_ms = now_ms;
    worker->deadline_ms = ready_deadline(worker);
}

void
rv_pool_ping(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    worker->ping_ms = now_ms;
    if (worker->state == RV_POOL_READY) {
        worker->deadline_ms = ready_deadline(worker);
    }
}

void
rv_pool_extend(struct rv_pool *pool, int slot, int64_t until_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    bool waits =
        worker->state == RV_POOL_DRAINING
        || (worker->state == RV_POOL_STARTING && !worker->policy.ready_alive);
    if (waits) {
        worker->deadline_ms = RV_MAX(worker->deadline_ms, until_ms);
    }
}

void
rv_pool_replace(struct rv_pool *pool, int slot, enum rv_pool_reason reason,
                int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->state == RV_POOL_READY && !worker->is_replaced) {
        worker->is_replaced = true;
        worker->reason = reason;
        worker->since_ms = now_ms;
        worker->deadline_ms = RV_POOL_NEVER;
    }
}

void
rv__pool_drain(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->state == RV_POOL_BACKOFF) {
        rv__pool_free_slot(pool, slot);
    } else if (worker->state == RV_POOL_STARTING
               || worker->reason == RV_POOL_REASON_WATCHDOG) {
        rv__pool_terminate(pool, slot, now_ms);
    } else if (worker->state == RV_POOL_READY) {
        rv__pool_move(worker, RV_POOL_DRAINING, now_ms);
        worker->deadline_ms = now_ms + worker->policy.drain_timeout_ms;
        rv__pool_act(pool, RV_POOL_DRAIN, slot, -1);
    }
}

void
rv__pool_terminate(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->state == RV_POOL_STOPPING) {
        return;
    }
    if (worker->state == RV_POOL_BACKOFF) {
        rv__pool_free_slot(pool, slot);
        return;
    }
    rv__pool_move(worker, RV_POOL_STOPPING, now_ms);
    worker->kill_delay_ms = RV__POOL_KILL_FIRST_MS;
    worker->deadline_ms = now_ms + worker->kill_delay_ms;
    rv__pool_act(pool, RV_POOL_TERMINATE, slot, -1);
}

/* One step of the escalation: TERM again after 50, 100, 200, 400, 800 ms,
 * then KILL.  KILL is repeated each second: a process in an uninterruptible
 * wait takes it when it comes out. */
static void
escalate(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    worker->kill_delay_ms *= 2;
    if (worker->kill_delay_ms > RV__POOL_KILL_LAST_MS) {
        worker->kill_delay_ms = RV__POOL_KILL_LAST_MS;
        rv__pool_act(pool, RV_POOL_KILL, slot, -1);
    } else {
        rv__pool_act(pool, RV_POOL_TERMINATE, slot, -1);
    }
    worker->deadline_ms = now_ms + worker->kill_delay_ms;
}

static void
start_timed_out(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    if (rv__pool_is_candidate(pool, worker)) {
        rv__pool_roll_back(pool, slot, RV_POOL_REASON_START_TIMEOUT, &unknown);
    } else {
        int64_t again_ms =
            rv__pool_count_failure(pool, slot, &unknown, now_ms);
        rv__pool_succeed(pool, slot, again_ms, now_ms);
    }
    worker->reason = RV_POOL_REASON_START_TIMEOUT;
    rv__pool_terminate(pool, slot, now_ms);
}

static void
ready_timed_out(struct rv_pool *pool, int slot, int64_t now_ms)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    const struct rv_pool_worker *worker = &pool->workers[slot];
    bool is_hung = worker->policy.watchdog_ms
                   && worker->ping_ms + worker->policy.watchdog_ms <= now_ms;
    if (is_hung && rv__pool_is_candidate(pool, worker)) {
        rv__pool_roll_back(pool, slot, RV_POOL_REASON_WATCHDOG, &unknown);
    }
    rv_pool_replace(pool, slot,
                    is_hung ? RV_POOL_REASON_WATCHDOG : RV_POOL_REASON_AGE,
                    now_ms);
}

void
rv__pool_expire(struct rv_pool *pool, int slot, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->deadline_ms > now_ms) {
        return;
    }
    switch (worker->state) {
    case RV_POOL_STARTING:
        if (worker->policy.ready_alive) {
            rv_pool_ready(pool, slot, now_ms);
        } else {
            start_timed_out(pool, slot, now_ms);
        }
        break;
    case RV_POOL_READY:
        ready_timed_out(pool, slot, now_ms);
        break;
    case RV_POOL_DRAINING:
        rv__pool_terminate(pool, slot, now_ms);
        break;
    case RV_POOL_STOPPING:
        escalate(pool, slot, now_ms);
        break;
    case RV_POOL_BACKOFF: /* Only once it is sure that it is wanted. */
    case RV_POOL_EMPTY:
    case RV_POOL_N_STATES:
        break;
    }
}

/* Whether a worker that ended so is not to come back.  Of a candidate, only
 * success is good enough: its generation is still to be proven. */
static bool
has_finished(const struct rv_pool *pool, const struct rv_pool_worker *worker,
             const struct rv_pool_exit *how)
{
    if (how->kind == RV_POOL_EXIT_CODE && how->value == 0) {
        return worker->policy.restart != RV_POOL_RESTART_ALWAYS;
    }
    return worker->policy.restart == RV_POOL_RESTART_NEVER
           && !rv__pool_is_candidate(pool, worker);
}

static void
service_failed(struct rv_pool *pool, int slot, const struct rv_pool_exit *how)
{
    const struct rv_pool_worker *worker = &pool->workers[slot];
    struct rv_pool_service *service = &pool->services[worker->service];
    struct rv_pool_action action = {
        .type = RV_POOL_FAILED,
        .slot = slot,
        .service = worker->service,
        .exit = *how,
    };
    if (!service->is_failed) {
        service->is_failed = true;
        rv__pool_act_full(pool, &action);
    }
    if (worker->policy.exit_on_failed) {
        action.type = RV_POOL_EXIT;
        rv__pool_act_full(pool, &action);
    }
}

/* Counts the failure in the window; true when that was one too many. */
static bool
window_is_full(struct rv_pool_worker *worker, int64_t now_ms)
{
    if (now_ms - worker->window_start_ms > worker->policy.window_ms
        || !worker->n_in_window) {
        worker->window_start_ms = now_ms;
        worker->n_in_window = 0;
    }
    worker->n_in_window++;
    return worker->policy.max_restarts
           && worker->n_in_window > worker->policy.max_restarts;
}

int64_t
rv__pool_count_failure(struct rv_pool *pool, int slot,
                       const struct rv_pool_exit *how, int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    bool was_ready = worker->ready_ms != RV_POOL_NEVER;
    bool is_fatal =
        !was_ready && how->kind == RV_POOL_EXIT_CODE && how->value == 2;
    if (was_ready && now_ms - worker->ready_ms >= RV__POOL_STABLE_MS) {
        worker->n_failures = 0;
    }
    worker->n_failures++;
    if (window_is_full(worker, now_ms) || is_fatal) {
        service_failed(pool, slot, how);
        return now_ms + worker->policy.backoff_max_ms;
    }
    return now_ms
           + rv_backoff_ms(worker->policy.backoff_min_ms,
                           worker->policy.backoff_max_ms, worker->n_failures,
                           rv_random(&pool->random));
}

/* A worker that was to stay is gone: its slot waits for the next try. */
static void
exited_unasked(struct rv_pool *pool, int slot, const struct rv_pool_exit *how,
               int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    if (has_finished(pool, worker, how)) {
        rv__pool_move(worker, RV_POOL_BACKOFF, now_ms);
        worker->is_done = true;
        worker->is_replaced = false;
        worker->reason = RV_POOL_REASON_NONE;
        return;
    }
    if (rv__pool_is_candidate(pool, worker)) {
        rv__pool_roll_back(pool, slot, RV_POOL_REASON_EXITED, how);
        rv__pool_move(worker, RV_POOL_EMPTY, now_ms);
        rv__pool_free_slot(pool, slot);
        return;
    }
    int64_t again_ms = rv__pool_count_failure(pool, slot, how, now_ms);
    rv__pool_move(worker, RV_POOL_BACKOFF, now_ms);
    worker->deadline_ms = again_ms;
    worker->is_replaced = false;
    worker->reason = RV_POOL_REASON_NONE;
}

void
rv_pool_exited(struct rv_pool *pool, int slot, const struct rv_pool_exit *how,
               int64_t now_ms)
{
    struct rv_pool_worker *worker = &pool->workers[slot];
    switch (worker->state) {
    case RV_POOL_STARTING:
    case RV_POOL_READY:
        exited_unasked(pool, slot, how, now_ms);
        break;
    case RV_POOL_DRAINING:
    case RV_POOL_STOPPING:
        rv__pool_move(worker, RV_POOL_EMPTY, now_ms);
        rv__pool_free_slot(pool, slot);
        break;
    case RV_POOL_EMPTY:
    case RV_POOL_BACKOFF:
    case RV_POOL_N_STATES:
        break;
    }
}

/* The deadline of an adopted worker whose record does not say it. */
static int64_t
missing_deadline(const struct rv_pool_worker *worker)
{
    switch (worker->state) {
    case RV_POOL_STARTING:
        return worker->started_ms
               + (worker->policy.ready_alive
                      ? worker->policy.ready_after_ms
                      : worker->policy.start_timeout_ms);
    case RV_POOL_DRAINING:
        return worker->since_ms + worker->policy.drain_timeout_ms;
    case RV_POOL_STOPPING:
        return worker->since_ms + worker->kill_delay_ms;
    case RV_POOL_READY:
        return ready_deadline(worker);
    case RV_POOL_EMPTY:
    case RV_POOL_BACKOFF:
    case RV_POOL_N_STATES:
        break;
    }
    return worker->deadline_ms;
}

void
rv_pool_adopt(struct rv_pool *pool, int slot,
              const struct rv_pool_worker *worker)
{
    RV_ASSERT(slot >= 0 && slot < pool->max_workers);
    RV_ASSERT(pool->workers[slot].state == RV_POOL_EMPTY);
    RV_ASSERT(worker->service >= 0 && worker->service < pool->n_services);
    RV_ASSERT(worker->index >= 0 && worker->index < pool->max_workers);
    struct rv_pool_service *service = &pool->services[worker->service];
    struct rv_pool_worker *copy = &pool->workers[slot];
    *copy = *worker;
    copy->policy = service->policy;
    copy->age_limit_ms = service->policy.max_age_ms
                             ? shuffled_age(pool, service->policy.max_age_ms)
                             : 0;
    /* An escalation whose delay is nothing would never get further. */
    copy->kill_delay_ms = RV_MAX(copy->kill_delay_ms, RV__POOL_KILL_FIRST_MS);
    if (copy->state == RV_POOL_READY || copy->deadline_ms <= 0
        || copy->deadline_ms == RV_POOL_NEVER) {
        copy->deadline_ms = missing_deadline(copy);
    }
    service->last_generation =
        RV_MAX(service->last_generation, worker->generation);
    pool->n_slots = RV_MAX(pool->n_slots, slot + 1);
}

void
rv_pool_scale(struct rv_pool *pool, int service, int n_workers)
{
    struct rv_pool_service *s = &pool->services[service];
    RV_ASSERT(s->is_used && n_workers >= 0 && n_workers <= pool->max_workers);
    if (s->is_removed) {
        return;
    }
    if (s->generation) {
        s->policy.n_workers = n_workers;
    }
    s->candidate_policy.n_workers = n_workers;
}

int
rv_pool_n_slots(const struct rv_pool *pool)
{
    return pool->n_slots;
}

const struct rv_pool_worker *
rv_pool_worker(const struct rv_pool *pool, int slot)
{
    return &pool->workers[slot];
}

int
rv_pool_n_services(const struct rv_pool *pool)
{
    return pool->n_services;
}

const struct rv_pool_service *
rv_pool_service(const struct rv_pool *pool, int service)
{
    const struct rv_pool_service *s = &pool->services[service];
    return s->is_used ? s : NULL;
}

int
rv_pool_find_service(const struct rv_pool *pool, const char *name)
{
    for (int i = 0; i < pool->n_services; i++) {
        if (pool->services[i].is_used
            && !strcmp(pool->services[i].name, name)) {
            return i;
        }
    }
    return -1;
}

bool
rv_pool_is_rolling(const struct rv_pool *pool)
{
    return pool->is_rolling;
}

bool
rv_pool_is_paused(const struct rv_pool *pool)
{
    return pool->is_paused;
}

bool
rv_pool_is_stopping(const struct rv_pool *pool)
{
    return pool->is_stopping;
}

bool
rv_pool_is_empty(const struct rv_pool *pool)
{
    return !pool->n_slots;
}
