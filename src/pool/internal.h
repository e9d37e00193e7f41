/* What the files of the pool share with each other and with nobody else. */
#ifndef RV_POOL_INTERNAL_H
#define RV_POOL_INTERNAL_H

#include "pool/pool.h"

enum {
    RV__POOL_STABLE_MS = 1000,   /* Ready for so long: failures forgiven. */
    RV__POOL_KILL_FIRST_MS = 50, /* nginx's escalation. */
    RV__POOL_KILL_LAST_MS = 1000,
    RV__POOL_SHUFFLE_PERCENT = 10, /* Jitter of 'max_age'. */
};

struct rv_pool {
    int max_workers;
    int n_slots; /* One above the highest in use. */
    struct rv_pool_worker *workers;

    int n_services, services_capacity;
    struct rv_pool_service *services;

    /* Actions not yet taken: from 'first' to 'n_actions'. */
    struct rv_pool_action *actions;
    size_t first_action, n_actions, actions_capacity;

    bool is_rolling;
    bool is_paused;
    bool is_stopping;
    enum rv_pool_stop stop;
    int64_t stop_deadline_ms;
    int64_t soak_deadline_ms; /* When a roll may be ready to commit. */

    uint64_t random;

    /* For one reconcile of one service: slots by index, -1 if none. */
    int *seat_of_committed, *seat_of_candidate, *seat_of_other;
    int seats_capacity; /* No index reaches this. */
};

void rv__pool_move(struct rv_pool_worker *worker, enum rv_pool_state state,
                   int64_t now_ms);
void rv__pool_free_slot(struct rv_pool *pool, int slot);
void rv__pool_act(struct rv_pool *pool, enum rv_pool_action_type type,
                  int slot, int service);
void rv__pool_act_full(struct rv_pool *pool,
                       const struct rv_pool_action *action);

/* Makes room to seat indexes below 'n'.  -ENOMEM. */
int rv__pool_reserve_seats(struct rv_pool *pool, int n);

/* Makes a worker leave: the way depends on its state. */
void rv__pool_drain(struct rv_pool *pool, int slot, int64_t now_ms);
void rv__pool_terminate(struct rv_pool *pool, int slot, int64_t now_ms);

/* Gives the seat of 'slot' another slot, in BACKOFF until 'when_ms', which
 * inherits the account of failures.  Returns it, or -1 if none is free. */
int rv__pool_succeed(struct rv_pool *pool, int slot, int64_t when_ms,
                     int64_t now_ms);
int rv__pool_find_free(const struct rv_pool *pool);

/* Starts a process in a slot that has none. */
void rv__pool_launch(struct rv_pool *pool, int slot, int64_t now_ms);

/* Counts a failure and says when the seat may start again. */
int64_t rv__pool_count_failure(struct rv_pool *pool, int slot,
                               const struct rv_pool_exit *how, int64_t now_ms);

bool rv__pool_is_candidate(const struct rv_pool *pool,
                           const struct rv_pool_worker *worker);

/* Commits or withdraws what is being rolled out. */
void rv__pool_commit(struct rv_pool *pool);
void rv__pool_roll_back(struct rv_pool *pool, int slot,
                        enum rv_pool_reason reason,
                        const struct rv_pool_exit *how);

/* Lets the deadlines of a slot pass. */
void rv__pool_expire(struct rv_pool *pool, int slot, int64_t now_ms);

#endif
