/* The pool: decides which workers live, and touches nothing.
 *
 * Room: pool.  Runs in: master, tests.  Blocks: never; makes no system call,
 * reads no clock, holds no descriptor.  Source: DESIGN of nginx's process
 * cycle (respawn, escalation), Open vSwitch's reconnect (time as an argument).
 *
 * Facts go in as events, time is an argument, and what is to be done comes out
 * as actions.  Start, reload, scaling, crash recovery, rollback and taking
 * over from a master that died are one function, rv_pool_reconcile(), which
 * makes the workers match what is wanted:
 *
 *     struct rv_pool *pool;
 *     rv_pool_create(4096, seed, &pool);
 *     rv_pool_configure(pool, specs, n_specs, RV_POOL_AT_ONCE);
 *     for (;;) {
 *         rv_pool_reconcile(pool, now_ms);
 *         struct rv_pool_action action;
 *         while (rv_pool_next_action(pool, &action)) {
 *             perform(&action);          // RV_POOL_START: fork and exec ...
 *         }
 *         wait until something happens or rv_pool_deadline(pool) passes;
 *         rv_pool_exited(pool, slot, &how, now_ms);     // or _ready, ...
 *     }
 *
 * A worker lives in a slot:
 *
 *              +----------------- failed, comes back ------------+
 *              v                                                 |
 *   EMPTY -> BACKOFF -> STARTING ------------> READY ----------> +
 *     |        |  \        |  \                  |  \
 *     |        |   +--<----+   \                 |   \
 *     +--------)---> STARTING   +-> STOPPING <---)----+   (hung, fast stop)
 *              |                       |   ^     v
 *     ^        |                       |   +-- DRAINING
 *     |        v                       v          |
 *     +--------+-----------------------+----------+   (process is gone)
 *
 * A seat is an index of a service.  It may have several workers at a time:
 * the one that is to stay, those of other generations, and one that a spare
 * is to replace.
 */
#ifndef RV_POOL_POOL_H
#define RV_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"

enum { RV_POOL_NAME = 65 }; /* Bytes of a service's name, with its NUL. */

#define RV_POOL_NEVER INT64_MAX

enum rv_pool_state {
    RV_POOL_EMPTY,    /* The slot is free. */
    RV_POOL_STARTING, /* Has a process that is not ready yet. */
    RV_POOL_READY,    /* Serves. */
    RV_POOL_DRAINING, /* Was told to finish what it has and leave. */
    RV_POOL_STOPPING, /* TERM was sent, again and again, then KILL. */
    RV_POOL_BACKOFF,  /* No process; waits for its time to start. */
    RV_POOL_N_STATES,
};

const char *rv_pool_state_name(enum rv_pool_state state);

enum rv_pool_restart {
    RV_POOL_RESTART_ALWAYS,
    RV_POOL_RESTART_ON_FAILURE,
    RV_POOL_RESTART_NEVER,
};

/* What the pool must know of a generation of a service. */
struct rv_pool_policy {
    int n_workers;
    bool ready_alive; /* Ready after 'ready_after_ms' of life. */
    int64_t ready_after_ms;
    int64_t soak_ms;
    int64_t start_timeout_ms;
    int64_t drain_timeout_ms;
    enum rv_pool_restart restart;
    int64_t backoff_min_ms, backoff_max_ms;
    int max_restarts; /* Of one worker within 'window_ms'; 0: no limit. */
    int64_t window_ms;
    bool exit_on_failed;
    int batch;           /* New workers at a time; 0: all at once. */
    int64_t watchdog_ms; /* 0: off. */
    int64_t max_age_ms;  /* 0: off. */
};

struct rv_pool_spec {
    const char *name; /* Copied. */
    struct rv_pool_policy policy;
    bool is_changed;     /* Wants a new generation. */
    uint32_t generation; /* RV_POOL_AT_ONCE: number of the generation. */
};

/* How a process ended. */
enum rv_pool_exit_kind {
    RV_POOL_EXIT_CODE,     /* 'value' is its exit status. */
    RV_POOL_EXIT_SIGNAL,   /* 'value' is the signal. */
    RV_POOL_EXIT_NO_START, /* Could not be started: 'value' is an errno. */
    RV_POOL_EXIT_UNKNOWN,  /* Nobody could tell. */
};

struct rv_pool_exit {
    enum rv_pool_exit_kind kind;
    int value;
};

/* Why a worker is replaced or a generation withdrawn. */
enum rv_pool_reason {
    RV_POOL_REASON_NONE,
    RV_POOL_REASON_EXITED,
    RV_POOL_REASON_START_TIMEOUT,
    RV_POOL_REASON_WATCHDOG,
    RV_POOL_REASON_AGE,
    RV_POOL_REASON_MEMORY,
    RV_POOL_REASON_REQUEST,    /* Somebody asked. */
    RV_POOL_REASON_SLOTS,      /* No free slot. */
    RV_POOL_REASON_SUPERSEDED, /* A later configuration took over. */
    RV_POOL_REASON_STOP,
};

/* What the pool knows of one worker; read-only outside. */
struct rv_pool_worker {
    enum rv_pool_state state;
    int service; /* Index for rv_pool_service(). */
    int index;
    uint32_t generation;
    uint32_t restarts;   /* Of this seat, spares and failures together. */
    uint32_t n_failures; /* In a row. */
    bool is_done;        /* BACKOFF: ended as it should, stays away. */
    bool is_replaced;    /* A spare is wanted, and then this one leaves. */
    enum rv_pool_reason reason; /* Why, if 'is_replaced'. */
    int64_t since_ms;           /* When it came into this state. */
    int64_t started_ms;         /* Of the process. */
    int64_t ready_ms;           /* RV_POOL_NEVER before. */
    int64_t deadline_ms;        /* When this state runs out. */
    int64_t ping_ms;            /* Last sign of life for the watchdog. */
    int64_t age_limit_ms;
    int64_t kill_delay_ms;   /* STOPPING: next step of the escalation. */
    int64_t window_start_ms; /* For 'max_restarts'. */
    int n_in_window;
    struct rv_pool_policy policy; /* Of its generation. */
};

struct rv_pool_service {
    bool is_used;
    char name[RV_POOL_NAME];
    uint32_t generation; /* The committed one; 0: none yet. */
    uint32_t candidate;  /* The one being rolled out; 0: none. */
    uint32_t last_generation;
    bool is_removed;      /* Committed away; goes with its last worker. */
    bool is_failed;       /* A worker used up its restarts. */
    bool is_dropped_next; /* Leaves at the next commit. */
    struct rv_pool_policy policy, candidate_policy;
};

enum rv_pool_action_type {
    RV_POOL_START,     /* Start a process for 'slot'. */
    RV_POOL_DRAIN,     /* Tell it to finish and leave. */
    RV_POOL_TERMINATE, /* Send SIGTERM. */
    RV_POOL_KILL,      /* Send SIGKILL. */
    RV_POOL_COMMIT,    /* What was rolled out is now the configuration. */
    RV_POOL_ROLL_BACK, /* It failed in 'slot' (-1: none) for 'reason'. */
    RV_POOL_FAILED,    /* A worker of 'service' used up its restarts. */
    RV_POOL_RECOVERED, /* 'service' is well again. */
    RV_POOL_FORGET,    /* 'service' and its last worker are gone. */
    RV_POOL_EXIT,      /* `on_failed: exit`: end with 'exit'. */
};

struct rv_pool_action {
    enum rv_pool_action_type type;
    int slot;    /* -1 if none. */
    int service; /* -1 if none. */
    enum rv_pool_reason reason;
    struct rv_pool_exit exit;
};

enum rv_pool_how {
    RV_POOL_AT_ONCE, /* Commit without proof: a cold start or a take-over. */
    RV_POOL_ROLL,    /* A transaction: prove it, then commit. */
};

enum rv_pool_stop {
    RV_POOL_STOP_GRACEFUL, /* Each worker may use its drain timeout. */
    RV_POOL_STOP_DEADLINE, /* But no longer than the deadline given. */
    RV_POOL_STOP_FAST,     /* TERM now. */
};

struct rv_pool;

/* Gives the caller a pool of 'max_workers' slots; 'seed' feeds the jitter.
 * -ENOMEM. */
int rv_pool_create(int max_workers, uint64_t seed, struct rv_pool **poolp)
    RV_MUST_CHECK;

/* Accepts NULL. */
void rv_pool_destroy(struct rv_pool *pool);

/* Sets what is wanted: these services and no others.  With RV_POOL_ROLL those
 * that are new or changed are started beside the old ones, and when all are
 * ready, RV_POOL_COMMIT comes; if one fails, RV_POOL_ROLL_BACK, and all is as
 * it was.  A roll under way is superseded.  Ends a pause.  -ENOMEM. */
int rv_pool_configure(struct rv_pool *pool, const struct rv_pool_spec *specs,
                      size_t n_specs, enum rv_pool_how how);

/* Puts a worker that already lives into a free slot, before the first
 * reconcile, and after rv_pool_configure(RV_POOL_AT_ONCE) of its service. */
void rv_pool_adopt(struct rv_pool *pool, int slot,
                   const struct rv_pool_worker *worker);

/* Events. 'slot' must not be empty. */
void rv_pool_ready(struct rv_pool *pool, int slot, int64_t now_ms);
void rv_pool_exited(struct rv_pool *pool, int slot,
                    const struct rv_pool_exit *how, int64_t now_ms);
/* A sign of life: moves the watchdog. */
void rv_pool_ping(struct rv_pool *pool, int slot, int64_t now_ms);
/* A worker asks for time: its start or drain lasts until 'until_ms'. */
void rv_pool_extend(struct rv_pool *pool, int slot, int64_t until_ms);
/* Replaces a ready worker, a spare first. */
void rv_pool_replace(struct rv_pool *pool, int slot,
                     enum rv_pool_reason reason, int64_t now_ms);
void rv_pool_scale(struct rv_pool *pool, int service, int n_workers);
/* Drains all workers and starts none, until the next configure. */
void rv_pool_pause(struct rv_pool *pool);
/* Ends everything; 'deadline_ms' is for RV_POOL_STOP_DEADLINE. */
void rv_pool_stop(struct rv_pool *pool, enum rv_pool_stop how,
                  int64_t deadline_ms);

/* Lets time pass and makes the workers match what is wanted. */
void rv_pool_reconcile(struct rv_pool *pool, int64_t now_ms);

/* Takes the oldest action out of the queue; false when there is none. */
bool rv_pool_next_action(struct rv_pool *pool, struct rv_pool_action *action);

/* When rv_pool_reconcile() has something to do next; RV_POOL_NEVER. */
int64_t rv_pool_deadline(const struct rv_pool *pool);

/* One above the highest slot in use. */
int rv_pool_n_slots(const struct rv_pool *pool);
const struct rv_pool_worker *rv_pool_worker(const struct rv_pool *pool,
                                            int slot);
int rv_pool_n_services(const struct rv_pool *pool);
/* NULL if that index is not in use. */
const struct rv_pool_service *rv_pool_service(const struct rv_pool *pool,
                                              int service);
int rv_pool_find_service(const struct rv_pool *pool, const char *name);

/* Whether a roll is under way. */
bool rv_pool_is_rolling(const struct rv_pool *pool);
bool rv_pool_is_paused(const struct rv_pool *pool);
bool rv_pool_is_stopping(const struct rv_pool *pool);
/* Whether no slot is in use. */
bool rv_pool_is_empty(const struct rv_pool *pool);

struct rv_pool_counts {
    int wanted;
    int ready;    /* Of the committed generation. */
    int starting; /* Of any. */
    int candidates_ready;
    int leaving; /* Draining or stopping. */
    int old;     /* Neither committed nor candidate, or leaving. */
};
void rv_pool_count(const struct rv_pool *pool, int service,
                   struct rv_pool_counts *counts);

/* Asserts every invariant; for tests, cheap enough for each step. */
void rv_pool_check(const struct rv_pool *pool);

#endif
