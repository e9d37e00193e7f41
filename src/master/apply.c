/* Between the pool and the world: configurations go in, actions come out. */
#include "master/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/log.h"

#define RV_LOG_THIS RV_LOG_POOL

struct rv__conf_ref *
rv__conf_ref_create(struct rv_conf *conf)
{
    struct rv__conf_ref *ref = malloc(sizeof *ref);
    if (ref) {
        *ref = (struct rv__conf_ref){.n_refs = 1, .conf = conf};
    }
    return ref;
}

struct rv__conf_ref *
rv__conf_ref_get(struct rv__conf_ref *ref)
{
    ref->n_refs++;
    return ref;
}

void
rv__conf_ref_put(struct rv__conf_ref *ref)
{
    if (ref && !--ref->n_refs) {
        rv_conf_destroy(ref->conf);
        free(ref);
    }
}

static struct rv_pool_policy
policy_of(const struct rv_conf_service *service)
{
    static const enum rv_pool_restart restarts[] = {
        [RV_CONF_RESTART_ALWAYS] = RV_POOL_RESTART_ALWAYS,
        [RV_CONF_RESTART_ON_FAILURE] = RV_POOL_RESTART_ON_FAILURE,
        [RV_CONF_RESTART_NEVER] = RV_POOL_RESTART_NEVER,
    };
    return (struct rv_pool_policy){
        .n_workers = rv__conf_n_workers(service),
        .ready_alive = service->ready == RV_CONF_READY_ALIVE,
        .ready_after_ms = service->ready_after_ms,
        .soak_ms = service->soak_ms,
        .start_timeout_ms = service->start_timeout_ms,
        .drain_timeout_ms = service->drain_timeout_ms,
        .restart = restarts[service->restart],
        .backoff_min_ms = service->backoff_min_ms,
        .backoff_max_ms = service->backoff_max_ms,
        .max_restarts = service->max_restarts,
        .window_ms = service->window_ms,
        .exit_on_failed = service->on_failed == RV_CONF_ON_FAILED_EXIT,
        .batch = service->batch,
        .watchdog_ms = service->watchdog_ms,
        .max_age_ms = service->max_age_ms,
    };
}

/* Whether 'service' asks for other processes than the committed one. */
static bool
is_changed(const struct rv__master *master,
           const struct rv_conf_service *service)
{
    const struct rv_conf_service *old =
        rv_conf_find_service(master->conf->conf, service->name);
    struct rv_buf a, b;
    if (!old) {
        return true;
    }
    rv_buf_init(&a, 1 << 20);
    rv_buf_init(&b, 1 << 20);
    int rc = rv_conf_dump_service(old, false, &a);
    rc = rc ? rc : rv_conf_dump_service(service, false, &b);
    bool differs = rc || strcmp(rv_buf_string(&a), rv_buf_string(&b)) != 0;
    rv_buf_deinit(&a);
    rv_buf_deinit(&b);
    return differs;
}

static uint32_t
known_generation(const struct rv__state *known, const char *name)
{
    for (size_t i = 0; known && i < known->n_services; i++) {
        if (!strcmp(known->services[i].name, name)) {
            return known->services[i].generation;
        }
    }
    return 1;
}

int
rv__apply_conf(struct rv__master *master, struct rv_conf *conf,
               const struct rv__state *known, enum rv_pool_how how,
               const char *named, bool all_changed, int *n_changedp)
{
    struct rv_pool_spec *specs = calloc(conf->n_services, sizeof *specs);
    if (!specs) {
        return -ENOMEM;
    }
    int n_changed = 0;
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct rv_conf_service *service = &conf->services[i];
        bool is_named = named && !strcmp(named, service->name);
        specs[i] = (struct rv_pool_spec){
            .name = service->name,
            .policy = policy_of(service),
            .generation = known_generation(known, service->name),
            .is_changed =
                how == RV_POOL_ROLL
                && (all_changed || is_named || is_changed(master, service)
                    || rv__zones_are_fresh(master, service)),
        };
        n_changed += specs[i].is_changed;
    }
    int rc = rv_pool_configure(master->pool, specs, conf->n_services, how);
    free(specs);
    if (!rc) {
        *n_changedp = n_changed;
    }
    return rc;
}

void
rv__apply_settings(struct rv__master *master, const struct rv_conf *old,
                   const struct rv_conf *conf)
{
    master->ring.maximum = (size_t)conf->max_log_ring_bytes;
    /* What vlog/set changed stays. */
    if (!old || old->log_level != conf->log_level) {
        rv_log_set_level(NULL, RV_LOG_CONSOLE,
                         (enum rv_log_level)conf->log_level);
        rv_log_set_level(NULL, RV_LOG_FILE,
                         (enum rv_log_level)conf->log_level);
    }
    if (!old || old->log_json != conf->log_json) {
        rv__output_set_format(conf->log_json);
    }
}

static void
commit(struct rv__master *master)
{
    if (master->next_conf) {
        rv__apply_settings(master, master->conf->conf,
                           master->next_conf->conf);
        master->read_hash = master->next_read_hash;
        rv__zones_commit(master);
        rv__conf_ref_put(master->conf);
        master->conf = master->next_conf;
        master->next_conf = NULL;
    }
    master->is_state_stale = true;
    rv__operation_committed(master);
}

static void
roll_back(struct rv__master *master, const struct rv_pool_action *action)
{
    struct rv_buf why;
    rv_buf_init(&why, 8192);
    rv__describe_failure(master, action->slot, action->reason, &action->exit,
                         &why);
    rv_log_err("rolled back: %s", rv_buf_string(&why));
    rv__operation_rolled_back(master, rv_buf_string(&why));
    rv__conf_ref_put(master->next_conf);
    master->next_conf = NULL;
    rv__zones_roll_back(master);
    rv_buf_deinit(&why);
}

static void
service_failed(struct rv__master *master, const struct rv_pool_action *action)
{
    const struct rv_pool_service *service =
        rv_pool_service(master->pool, action->service);
    const struct rv_pool_worker *worker =
        rv_pool_worker(master->pool, action->slot);
    bool is_fatal = worker->ready_ms == RV_POOL_NEVER
                    && action->exit.kind == RV_POOL_EXIT_CODE
                    && action->exit.value == 2;
    rv_log_err("service \"%s\" failed: a worker %s; it is retried at the "
               "longest delay",
               service ? service->name : "?",
               is_fatal ? "exited with status 2 before it was ready"
                        : "used up its restarts");
}

/* `on_failed: exit`: a container should end with its program's status. */
static void
give_up(struct rv__master *master, const struct rv_pool_exit *how)
{
    int status = how->kind == RV_POOL_EXIT_SIGNAL ? 128 + how->value
                 : how->kind == RV_POOL_EXIT_CODE ? how->value
                                                  : RV_EXIT_FAILED;
    master->exit_status = status ? status : RV_EXIT_FAILED;
    rv_log_err("ending with status %d, as on_failed says",
               master->exit_status);
    rv__operation_stop(master, RV_POOL_STOP_GRACEFUL, NULL);
}

static void
terminate(struct rv__master *master, struct rv__worker *worker)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    const struct rv_pool_worker *pool = rv__worker_pool(worker);
    bool is_first = pool->since_ms == rv_loop_now(&master->loop);
    if (pool->reason == RV_POOL_REASON_START_TIMEOUT && is_first) {
        struct rv_buf why;
        rv_buf_init(&why, 8192);
        rv__describe_failure(master, worker->slot, pool->reason, &unknown,
                             &why);
        if (!rv__operation_start_failed(master, rv_buf_string(&why))) {
            rv_log_warn("%s", rv_buf_string(&why));
        }
        rv_buf_deinit(&why);
    }
    rv__worker_signal(worker, SIGTERM);
}

static void
perform(struct rv__master *master, const struct rv_pool_action *action)
{
    struct rv__worker *worker =
        action->slot >= 0 ? master->workers[action->slot] : NULL;
    switch (action->type) {
    case RV_POOL_START:
        rv__worker_start(master, action->slot);
        break;
    case RV_POOL_DRAIN:
        if (worker) {
            rv__worker_drain(worker);
        }
        break;
    case RV_POOL_TERMINATE:
        if (worker) {
            terminate(master, worker);
        }
        break;
    case RV_POOL_KILL:
        if (worker) {
            rv_log_warn("%s (pid %d) does not leave; killing it", worker->name,
                        (int)worker->pid);
            rv__worker_signal(worker, SIGKILL);
        }
        break;
    case RV_POOL_COMMIT:
        commit(master);
        break;
    case RV_POOL_ROLL_BACK:
        roll_back(master, action);
        break;
    case RV_POOL_FAILED:
        service_failed(master, action);
        break;
    case RV_POOL_RECOVERED:
        rv_log_info("service \"%s\" is well again",
                    rv_pool_service(master->pool, action->service)->name);
        break;
    case RV_POOL_FORGET:
        master->is_state_stale = true;
        break;
    case RV_POOL_EXIT:
        give_up(master, &action->exit);
        break;
    }
}

/* Frees what belonged to processes that are gone, and publishes the rest.
 * Returns whether a process went. */
static bool
sweep(struct rv__master *master)
{
    bool went = false;
    for (int slot = 0; slot < master->n_swept; slot++) {
        struct rv__worker *worker = master->workers[slot];
        if (worker && worker->pidfd < 0) {
            rv__worker_destroy(worker);
            went = true;
        }
        rv__registry_publish(master, slot);
    }
    return went;
}

static void
arm_timer(struct rv__master *master)
{
    int64_t deadline_ms = rv_pool_deadline(master->pool);
    if (deadline_ms == RV_POOL_NEVER) {
        rv_timer_stop(&master->pool_timer);
    } else if (!master->pool_timer.loop
               || master->pool_timer.when_ms != deadline_ms) {
        rv_timer_start(&master->loop, &master->pool_timer, deadline_ms);
    }
}

static void
run_pool(struct rv__master *master)
{
    struct rv_pool_action action;
    bool acted;
    do {
        acted = false;
        rv_pool_reconcile(master->pool, rv_loop_now(&master->loop));
        master->n_swept =
            RV_MAX(master->n_swept, rv_pool_n_slots(master->pool));
        while (rv_pool_next_action(master->pool, &action)) {
            perform(master, &action);
            acted = true;
        }
    } while (acted);
}

void
rv__apply(struct rv__master *master)
{
    run_pool(master);
    bool went = sweep(master);
    master->n_swept = rv_pool_n_slots(master->pool);
    bool is_due = went || master->is_state_stale;
    if (is_due) {
        rv__sockets_collect(master);
    }
    if (master->is_state_stale) {
        rv__state_save(master);
    }
    if (is_due && !master->is_state_stale) {
        /* Not before the stored state can do without them. */
        rv__zones_collect(master);
    }
    rv__sockets_settle(master);
    arm_timer(master);
    rv__operation_check(master);
    if (rv_pool_is_stopping(master->pool) && rv_pool_is_empty(master->pool)) {
        rv__master_end(master, master->exit_status);
    }
}
