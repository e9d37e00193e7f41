/* How a configuration becomes the next one.
 *
 * A roll is one transaction over all services.  Each new or changed service
 * gets a candidate generation beside the committed one; when every candidate
 * is proven (reconcile.c decides), all are committed in one step, and the
 * reconciler drains what is now old.  When any candidate fails, all are
 * withdrawn in one step, and the reconciler drains those instead. */
#include "pool/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int
add_service(struct rv_pool *pool, const char *name)
{
    int i = 0;
    while (i < pool->n_services && pool->services[i].is_used) {
        i++;
    }
    if (i == pool->services_capacity) {
        int capacity = RV_MAX(8, pool->services_capacity * 2);
        struct rv_pool_service *services =
            realloc(pool->services, (size_t)capacity * sizeof *services);
        if (!services) {
            return -ENOMEM;
        }
        pool->services = services;
        pool->services_capacity = capacity;
    }
    pool->n_services = RV_MAX(pool->n_services, i + 1);
    pool->services[i] = (struct rv_pool_service){.is_used = true};
    snprintf(pool->services[i].name, sizeof pool->services[i].name, "%s",
             name);
    return i;
}

static void
withdraw_candidates(struct rv_pool *pool)
{
    for (int i = 0; i < pool->n_services; i++) {
        struct rv_pool_service *service = &pool->services[i];
        service->candidate = 0;
        service->is_dropped_next = false;
        service->candidate_policy = service->policy;
        if (service->is_used && !service->generation) {
            service->is_removed = true;
            service->policy.n_workers = 0;
        }
    }
    pool->is_rolling = false;
}

static void
drop_service(struct rv_pool_service *service)
{
    service->is_dropped_next = false;
    service->is_removed = true;
    service->is_failed = false;
    service->generation = 0;
    service->policy.n_workers = service->candidate_policy.n_workers = 0;
}

static void
commit_service(struct rv_pool_service *service)
{
    if (service->is_dropped_next) {
        drop_service(service);
        return;
    }
    service->policy = service->candidate_policy;
    if (service->candidate) {
        service->generation = service->candidate;
        service->candidate = 0;
        service->is_failed = false;
    }
}

void
rv__pool_commit(struct rv_pool *pool)
{
    for (int i = 0; i < pool->n_services; i++) {
        if (pool->services[i].is_used) {
            commit_service(&pool->services[i]);
        }
    }
    pool->is_rolling = false;
    rv__pool_act(pool, RV_POOL_COMMIT, -1, -1);
}

void
rv__pool_roll_back(struct rv_pool *pool, int slot, enum rv_pool_reason reason,
                   const struct rv_pool_exit *how)
{
    if (!pool->is_rolling) {
        return;
    }
    struct rv_pool_action action = {
        .type = RV_POOL_ROLL_BACK,
        .slot = slot,
        .service = slot >= 0 ? pool->workers[slot].service : -1,
        .reason = reason,
        .exit = *how,
    };
    withdraw_candidates(pool);
    rv__pool_act_full(pool, &action);
}

static void
set_at_once(struct rv_pool_service *service, const struct rv_pool_spec *spec)
{
    service->policy = service->candidate_policy = spec->policy;
    service->generation = RV_MAX(spec->generation, 1);
    service->last_generation =
        RV_MAX(service->last_generation, service->generation);
}

static void
set_candidate(struct rv_pool_service *service, const struct rv_pool_spec *spec)
{
    service->candidate_policy = spec->policy;
    if (spec->is_changed || !service->generation) {
        service->candidate = ++service->last_generation;
    }
}

static int
configure_service(struct rv_pool *pool, const struct rv_pool_spec *spec,
                  enum rv_pool_how how)
{
    int i = rv_pool_find_service(pool, spec->name);
    if (i < 0) {
        i = add_service(pool, spec->name);
    }
    if (i < 0) {
        return i;
    }
    struct rv_pool_service *service = &pool->services[i];
    service->is_dropped_next = false;
    if (how == RV_POOL_AT_ONCE) {
        set_at_once(service, spec);
    } else {
        set_candidate(service, spec);
    }
    service->is_removed = false;
    return 0;
}

int
rv_pool_configure(struct rv_pool *pool, const struct rv_pool_spec *specs,
                  size_t n_specs, enum rv_pool_how how)
{
    static const struct rv_pool_exit unknown = {RV_POOL_EXIT_UNKNOWN, 0};
    for (size_t i = 0; i < n_specs; i++) {
        if (rv__pool_reserve_seats(pool, specs[i].policy.n_workers)) {
            return -ENOMEM;
        }
    }
    rv__pool_roll_back(pool, -1, RV_POOL_REASON_SUPERSEDED, &unknown);
    for (int i = 0; i < pool->n_services; i++) {
        pool->services[i].is_dropped_next = pool->services[i].is_used;
    }
    for (size_t i = 0; i < n_specs; i++) {
        int rc = configure_service(pool, &specs[i], how);
        if (rc) {
            withdraw_candidates(pool);
            return rc;
        }
    }
    for (int i = 0; i < pool->n_services && how == RV_POOL_AT_ONCE; i++) {
        if (pool->services[i].is_dropped_next) {
            drop_service(&pool->services[i]);
        }
    }
    pool->is_paused = false;
    pool->is_rolling = how == RV_POOL_ROLL;
    return 0;
}
