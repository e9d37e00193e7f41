/* Makes the workers match what is wanted: the one function behind start,
 * reload, scaling, crash recovery, rollback and take-over.
 *
 * For every seat (an index of a service) at most one worker is to stay: the
 * committed one, or, once it is proven, the candidate.  All others leave, and
 * one that serves leaves only after its heir is ready, so that a seat is
 * never without a ready worker because of what the pool itself wants. */
#include "pool/internal.h"

static bool
is_live(const struct rv_pool_worker *worker)
{
    return worker->state == RV_POOL_STARTING || worker->state == RV_POOL_READY
           || worker->state == RV_POOL_BACKOFF;
}

static bool
belongs(const struct rv_pool *pool, int slot, int service)
{
    return pool->workers[slot].service == service
           && is_live(&pool->workers[slot]);
}

/* Whether the seat needs nobody else: its worker serves, or has done all that
 * it had to do. */
static bool
is_settled(const struct rv_pool *pool, int slot)
{
    return slot >= 0
           && (pool->workers[slot].state == RV_POOL_READY
               || pool->workers[slot].is_done);
}

static bool
is_proven(const struct rv_pool *pool, int slot, int64_t now_ms)
{
    if (!is_settled(pool, slot)) {
        return false;
    }
    const struct rv_pool_worker *worker = &pool->workers[slot];
    return worker->is_done
           || now_ms >= worker->ready_ms + worker->policy.soak_ms;
}

/* Of two workers for one seat, the one nearer to serving stays. */
static int
rank(const struct rv_pool_worker *worker)
{
    return worker->state == RV_POOL_READY      ? 2
           : worker->state == RV_POOL_STARTING ? 1
                                               : 0;
}

/* Of two that wait, the longer account of failures is kept. */
static bool
is_better(const struct rv_pool_worker *worker,
          const struct rv_pool_worker *holder)
{
    if (rank(worker) != rank(holder)) {
        return rank(worker) > rank(holder);
    }
    return worker->state == RV_POOL_BACKOFF && !holder->is_done
           && worker->n_failures > holder->n_failures;
}

static void
take_seat(struct rv_pool *pool, int *seat, int slot, int64_t now_ms)
{
    if (*seat < 0) {
        *seat = slot;
        return;
    }
    bool wins = is_better(&pool->workers[slot], &pool->workers[*seat]);
    rv__pool_drain(pool, wins ? *seat : slot, now_ms);
    *seat = wins ? slot : *seat;
}

static int *
seats_for(struct rv_pool *pool, const struct rv_pool_worker *worker)
{
    const struct rv_pool_service *service = &pool->services[worker->service];
    if (rv__pool_is_candidate(pool, worker)) {
        return pool->seat_of_candidate;
    }
    if (worker->generation == service->generation && !worker->is_replaced) {
        return pool->seat_of_committed;
    }
    return NULL;
}

/* One above the highest index that the service has or wants. */
static int
n_seats(const struct rv_pool *pool, int service)
{
    const struct rv_pool_service *s = &pool->services[service];
    int n = RV_MAX(s->policy.n_workers, s->candidate_policy.n_workers);
    for (int slot = 0; slot < pool->n_slots; slot++) {
        if (belongs(pool, slot, service)) {
            n = RV_MAX(n, pool->workers[slot].index + 1);
        }
    }
    return n;
}

/* Notes who sits where.  'seat_of_other' keeps one ready worker that is to
 * leave, if there is one, and rather one that waits for a spare. */
static void
seat_workers(struct rv_pool *pool, int service, int64_t now_ms)
{
    int n = n_seats(pool, service);
    for (int i = 0; i < n; i++) {
        pool->seat_of_committed[i] = pool->seat_of_candidate[i] =
            pool->seat_of_other[i] = -1;
    }
    for (int slot = 0; slot < pool->n_slots; slot++) {
        if (!belongs(pool, slot, service)) {
            continue;
        }
        const struct rv_pool_worker *worker = &pool->workers[slot];
        int *seats = seats_for(pool, worker);
        int *other = &pool->seat_of_other[worker->index];
        if (seats) {
            take_seat(pool, &seats[worker->index], slot, now_ms);
        } else if (worker->state == RV_POOL_READY
                   && (*other < 0 || !pool->workers[*other].is_replaced)) {
            *other = slot;
        }
    }
}

/* In a roll by batches, a proven candidate takes its seat before the rest is
 * committed. */
static bool
is_switched(const struct rv_pool *pool, const struct rv_pool_service *service,
            int index, int64_t now_ms)
{
    return service->candidate && service->candidate_policy.batch
           && index < service->candidate_policy.n_workers
           && is_proven(pool, pool->seat_of_candidate[index], now_ms);
}

static int
n_wanted(const struct rv_pool *pool, const struct rv_pool_service *service)
{
    bool is_idle = pool->is_paused || pool->is_stopping;
    return is_idle ? 0 : service->policy.n_workers;
}

/* Whether the worker in 'slot' is to leave now. */
static bool
must_leave(const struct rv_pool *pool, int slot, int64_t now_ms)
{
    const struct rv_pool_worker *worker = &pool->workers[slot];
    const struct rv_pool_service *service = &pool->services[worker->service];
    int index = worker->index;
    if (rv__pool_is_candidate(pool, worker)) {
        return index >= service->candidate_policy.n_workers;
    }
    if (index >= n_wanted(pool, service)) {
        return true;
    }
    bool is_switch = is_switched(pool, service, index, now_ms);
    if (pool->seat_of_committed[index] == slot) {
        return is_switch;
    }
    return worker->state != RV_POOL_READY || is_switch
           || is_settled(pool, pool->seat_of_committed[index]);
}

static void
dismiss(struct rv_pool *pool, int service, int64_t now_ms)
{
    for (int slot = pool->n_slots - 1; slot >= 0; slot--) {
        if (slot < pool->n_slots && belongs(pool, slot, service)
            && must_leave(pool, slot, now_ms)) {
            rv__pool_drain(pool, slot, now_ms);
        }
    }
}

/* Starts a worker for a seat, and seats it; false when no slot is free. */
static bool
hire(struct rv_pool *pool, int service, int index, uint32_t generation,
     int64_t now_ms)
{
    const struct rv_pool_service *s = &pool->services[service];
    bool is_candidate = generation == s->candidate;
    int *seats =
        is_candidate ? pool->seat_of_candidate : pool->seat_of_committed;
    int slot = rv__pool_find_free(pool);
    if (slot < 0) {
        return false;
    }
    pool->n_slots = RV_MAX(pool->n_slots, slot + 1);
    struct rv_pool_worker *worker = &pool->workers[slot];
    *worker = (struct rv_pool_worker){
        .service = service,
        .index = index,
        .generation = generation,
        .policy = is_candidate ? s->candidate_policy : s->policy,
    };
    int replaced = pool->seat_of_other[index];
    if (replaced >= 0 && pool->workers[replaced].is_replaced) {
        worker->restarts = pool->workers[replaced].restarts + 1;
    }
    rv__pool_launch(pool, slot, now_ms);
    seats[index] = slot;
    return true;
}

/* A spare is one more process for a while: only one at a time, but for a
 * hung worker, which serves nobody. */
static bool
may_hire_committed(const struct rv_pool *pool, int index, bool *spare_usedp)
{
    int other = pool->seat_of_other[index];
    if (other < 0) {
        return true;
    }
    if (!pool->workers[other].is_replaced) {
        return !pool->is_rolling;
    }
    if (pool->workers[other].reason == RV_POOL_REASON_WATCHDOG) {
        return true;
    }
    bool may = !*spare_usedp;
    *spare_usedp = true;
    return may;
}

static bool
has_spare_under_way(const struct rv_pool *pool, int n)
{
    for (int i = 0; i < n; i++) {
        int other = pool->seat_of_other[i];
        int heir = pool->seat_of_committed[i];
        if (other >= 0 && heir >= 0 && pool->workers[other].is_replaced
            && pool->workers[other].reason != RV_POOL_REASON_WATCHDOG) {
            return true;
        }
    }
    return false;
}

static void
hire_committed(struct rv_pool *pool, int service, int64_t now_ms)
{
    const struct rv_pool_service *s = &pool->services[service];
    int n = n_wanted(pool, s);
    bool spare_used = has_spare_under_way(pool, n);
    for (int i = 0; i < n; i++) {
        if (pool->seat_of_committed[i] < 0 && !is_switched(pool, s, i, now_ms)
            && may_hire_committed(pool, i, &spare_used)
            && !hire(pool, service, i, s->generation, now_ms)) {
            break;
        }
    }
}

static void
note_soak(struct rv_pool *pool, int slot)
{
    const struct rv_pool_worker *worker = &pool->workers[slot];
    if (worker->state == RV_POOL_READY) {
        pool->soak_deadline_ms = RV_MIN(
            pool->soak_deadline_ms, worker->ready_ms + worker->policy.soak_ms);
    }
}

/* Whether a slot comes free without anybody's doing: of a worker that leaves,
 * or that will have left its seat to a candidate after this step. */
static bool
is_slot_coming(const struct rv_pool *pool, const struct rv_pool_service *s,
               int64_t now_ms)
{
    for (int slot = 0; slot < pool->n_slots; slot++) {
        enum rv_pool_state state = pool->workers[slot].state;
        if (state == RV_POOL_DRAINING || state == RV_POOL_STOPPING) {
            return true;
        }
    }
    for (int i = 0; i < s->candidate_policy.n_workers; i++) {
        if (pool->seat_of_committed[i] >= 0
            && is_switched(pool, s, i, now_ms)) {
            return true;
        }
    }
    return false;
}

/* Starts candidates as far as the batch allows. */
static void
hire_candidates(struct rv_pool *pool, int service, int64_t now_ms)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    const struct rv_pool_service *s = &pool->services[service];
    const struct rv_pool_policy *policy = &s->candidate_policy;
    int budget = policy->batch ? policy->batch : policy->n_workers;
    for (int i = 0; i < policy->n_workers; i++) {
        int slot = pool->seat_of_candidate[i];
        if (is_proven(pool, slot, now_ms)) {
            continue;
        }
        if (budget-- <= 0) {
            break;
        }
        if (slot >= 0) {
            note_soak(pool, slot);
        } else if (!hire(pool, service, i, s->candidate, now_ms)) {
            if (!is_slot_coming(pool, s, now_ms)) {
                rv__pool_roll_back(pool, -1, RV_POOL_REASON_SLOTS, &unknown);
            }
            break;
        }
    }
}

static void
note_recovery(struct rv_pool *pool, int service)
{
    struct rv_pool_service *s = &pool->services[service];
    if (!s->is_failed) {
        return;
    }
    for (int i = 0; i < s->policy.n_workers; i++) {
        if (!is_settled(pool, pool->seat_of_committed[i])) {
            return;
        }
    }
    s->is_failed = false;
    rv__pool_act(pool, RV_POOL_RECOVERED, -1, service);
}

static void
reconcile_service(struct rv_pool *pool, int service, int64_t now_ms)
{
    seat_workers(pool, service, now_ms);
    hire_committed(pool, service, now_ms);
    if (pool->services[service].candidate) {
        hire_candidates(pool, service, now_ms);
    }
    dismiss(pool, service, now_ms);
    note_recovery(pool, service);
}

static void
forget_removed(struct rv_pool *pool)
{
    for (int i = 0; i < pool->n_services; i++) {
        struct rv_pool_service *service = &pool->services[i];
        bool is_gone = service->is_used && service->is_removed;
        for (int slot = 0; is_gone && slot < pool->n_slots; slot++) {
            is_gone = pool->workers[slot].state == RV_POOL_EMPTY
                      || pool->workers[slot].service != i;
        }
        if (is_gone) {
            service->is_used = false;
            rv__pool_act(pool, RV_POOL_FORGET, -1, i);
        }
    }
}

static void
reconcile_services(struct rv_pool *pool, int64_t now_ms)
{
    pool->soak_deadline_ms = RV_POOL_NEVER;
    for (int i = 0; i < pool->n_services; i++) {
        if (pool->services[i].is_used) {
            reconcile_service(pool, i, now_ms);
        }
    }
}

static bool
is_service_proven(struct rv_pool *pool, int service, int64_t now_ms)
{
    const struct rv_pool_service *s = &pool->services[service];
    if (!s->is_used || !s->candidate) {
        return true;
    }
    seat_workers(pool, service, now_ms);
    for (int i = 0; i < s->candidate_policy.n_workers; i++) {
        if (!is_proven(pool, pool->seat_of_candidate[i], now_ms)) {
            return false;
        }
    }
    return true;
}

/* Whether nothing stands in the way of a commit. */
static bool
is_roll_proven(struct rv_pool *pool, int64_t now_ms)
{
    for (int i = 0; i < pool->n_services; i++) {
        if (!is_service_proven(pool, i, now_ms)) {
            return false;
        }
    }
    return true;
}

static void
hasten_stop(struct rv_pool *pool, int64_t now_ms)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    rv__pool_roll_back(pool, -1, RV_POOL_REASON_STOP, &unknown);
    if (pool->stop == RV_POOL_STOP_DEADLINE
        && now_ms >= pool->stop_deadline_ms) {
        pool->stop = RV_POOL_STOP_FAST;
        pool->stop_deadline_ms = RV_POOL_NEVER;
    }
    for (int slot = pool->n_slots - 1;
         slot >= 0 && pool->stop == RV_POOL_STOP_FAST; slot--) {
        if (slot < pool->n_slots
            && pool->workers[slot].state != RV_POOL_EMPTY) {
            rv__pool_terminate(pool, slot, now_ms);
        }
    }
}

/* Starts those whose time has come.  All that are not wanted are gone by now,
 * so that nobody is started only to be told to leave. */
static void
wake(struct rv_pool *pool, int64_t now_ms)
{
    for (int slot = 0; slot < pool->n_slots; slot++) {
        struct rv_pool_worker *worker = &pool->workers[slot];
        if (worker->state == RV_POOL_BACKOFF
            && worker->deadline_ms <= now_ms) {
            worker->restarts++;
            rv__pool_launch(pool, slot, now_ms);
        }
    }
}

void
rv_pool_reconcile(struct rv_pool *pool, int64_t now_ms)
{
    for (int slot = pool->n_slots - 1; slot >= 0; slot--) {
        if (slot < pool->n_slots) {
            rv__pool_expire(pool, slot, now_ms);
        }
    }
    if (pool->is_stopping) {
        hasten_stop(pool, now_ms);
    }
    /* First, so that nobody is started whom the commit would dismiss. */
    if (pool->is_rolling && is_roll_proven(pool, now_ms)) {
        rv__pool_commit(pool);
    }
    bool was_rolling = pool->is_rolling;
    reconcile_services(pool, now_ms);
    if (was_rolling && !pool->is_rolling) {
        reconcile_services(pool, now_ms);
    }
    wake(pool, now_ms);
    forget_removed(pool);
}

void
rv_pool_pause(struct rv_pool *pool)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    rv__pool_roll_back(pool, -1, RV_POOL_REASON_REQUEST, &unknown);
    pool->is_paused = true;
}

void
rv_pool_stop(struct rv_pool *pool, enum rv_pool_stop how, int64_t deadline_ms)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    rv__pool_roll_back(pool, -1, RV_POOL_REASON_STOP, &unknown);
    if (pool->is_stopping && pool->stop == RV_POOL_STOP_FAST) {
        return;
    }
    pool->is_stopping = true;
    pool->stop = how;
    pool->stop_deadline_ms =
        how == RV_POOL_STOP_DEADLINE ? deadline_ms : RV_POOL_NEVER;
}

int64_t
rv_pool_deadline(const struct rv_pool *pool)
{
    int64_t deadline_ms =
        RV_MIN(pool->soak_deadline_ms, pool->stop_deadline_ms);
    for (int slot = 0; slot < pool->n_slots; slot++) {
        const struct rv_pool_worker *worker = &pool->workers[slot];
        if (worker->state != RV_POOL_EMPTY) {
            deadline_ms = RV_MIN(deadline_ms, worker->deadline_ms);
        }
    }
    return deadline_ms;
}

static void
count_worker(const struct rv_pool *pool, const struct rv_pool_worker *worker,
             struct rv_pool_counts *counts)
{
    const struct rv_pool_service *service = &pool->services[worker->service];
    bool is_candidate = rv__pool_is_candidate(pool, worker);
    bool is_committed = worker->generation == service->generation;
    bool is_leaving =
        worker->state == RV_POOL_DRAINING || worker->state == RV_POOL_STOPPING;
    counts->leaving += is_leaving;
    counts->starting += worker->state == RV_POOL_STARTING;
    if (worker->state == RV_POOL_READY) {
        counts->ready += is_committed;
        counts->candidates_ready += is_candidate;
    }
    counts->old += is_leaving || (!is_committed && !is_candidate)
                   || (service->is_removed && is_live(worker));
}

void
rv_pool_count(const struct rv_pool *pool, int service,
              struct rv_pool_counts *counts)
{
    *counts = (struct rv_pool_counts){
        .wanted = n_wanted(pool, &pool->services[service]),
    };
    for (int slot = 0; slot < pool->n_slots; slot++) {
        const struct rv_pool_worker *worker = &pool->workers[slot];
        if (worker->state != RV_POOL_EMPTY && worker->service == service) {
            count_worker(pool, worker, counts);
        }
    }
}

void
rv_pool_check(const struct rv_pool *pool)
{
    for (int slot = 0; slot < pool->max_workers; slot++) {
        const struct rv_pool_worker *worker = &pool->workers[slot];
        RV_ASSERT(
            RV_IMPLIES(slot >= pool->n_slots, worker->state == RV_POOL_EMPTY));
        if (worker->state == RV_POOL_EMPTY) {
            continue;
        }
        RV_ASSERT(worker->service < pool->n_services);
        RV_ASSERT(pool->services[worker->service].is_used);
        RV_ASSERT(worker->generation
                  <= pool->services[worker->service].last_generation);
        RV_ASSERT(
            RV_IMPLIES(worker->is_done, worker->state == RV_POOL_BACKOFF));
        RV_ASSERT(RV_IMPLIES(worker->state == RV_POOL_STARTING
                                 || worker->state == RV_POOL_STOPPING
                                 || worker->state == RV_POOL_DRAINING,
                             worker->deadline_ms != RV_POOL_NEVER));
    }
    for (int i = 0; i < pool->n_services; i++) {
        const struct rv_pool_service *service = &pool->services[i];
        RV_ASSERT(RV_IMPLIES(service->is_used && service->candidate,
                             pool->is_rolling));
    }
}
