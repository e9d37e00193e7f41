/* `status`: what is, as JSON and as a table for people. */
#include "master/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "os/process.h"

enum { ESCALATION_MS = 5000 };

static const char *
service_state(const struct rv__master *master,
              const struct rv_pool_service *service,
              const struct rv_pool_counts *counts)
{
    if (rv_pool_is_stopping(master->pool) || service->is_removed) {
        return "stopping";
    }
    if (rv_pool_is_paused(master->pool)) {
        return "paused";
    }
    if (service->is_failed) {
        return "failed";
    }
    if (service->candidate) {
        return "rolling";
    }
    return counts->ready >= counts->wanted
               ? "ready"
               : (counts->ready ? "degraded" : "starting");
}

static json_t *
worker_json(const struct rv__master *master, int slot)
{
    const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
    const struct rv__worker *worker = master->workers[slot];
    struct rv_process_info info = {.rss_bytes = 0};
    int64_t now_ms = rv_loop_now(&master->loop);
    int pid = worker ? (int)worker->pid : 0;
    if (pid) {
        rv_process_info(pid, &info);
    }
    json_t *object = json_pack(
        "{s:i, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "index", pool->index,
        "pid", pid, "state",
        pool->is_done ? "done" : rv_pool_state_name(pool->state), "generation",
        (json_int_t)pool->generation, "restarts", (json_int_t)pool->restarts,
        "age_ms", (json_int_t)(pid ? now_ms - pool->started_ms : 0),
        "memory_bytes", (json_int_t)info.rss_bytes, "cpu_ms",
        (json_int_t)info.cpu_ms, "adopted", worker && worker->is_adopted);
    if (object && worker && worker->status[0]) {
        json_object_set_new(
            object, "status",
            json_stringn_nocheck(
                worker->status,
                rv_str_utf8_prefix(worker->status, strlen(worker->status))));
    }
    if (object && pool->state == RV_POOL_BACKOFF && !pool->is_done) {
        json_object_set_new(
            object, "retry_in_ms",
            json_integer(RV_MAX(pool->deadline_ms - now_ms, 0)));
    }
    return object;
}

static json_t *
listens_json(const struct rv__master *master, const char *name)
{
    json_t *array = json_array();
    const struct rv_conf_service *service =
        rv_conf_find_service(master->conf->conf, name);
    for (size_t i = 0; service && i < service->n_listens; i++) {
        const struct rv__socket *s =
            rv__sockets_find(master, &service->listens[i]);
        char text[RV_ADDRESS_TEXT];
        if (s) {
            rv_address_format(&s->address, text);
            json_array_append_new(array, json_string(text));
        }
    }
    return array;
}

static json_t *
service_json(const struct rv__master *master, int number)
{
    const struct rv_pool_service *service =
        rv_pool_service(master->pool, number);
    struct rv_pool_counts counts;
    json_t *workers = json_array();
    rv_pool_count(master->pool, number, &counts);
    for (int slot = 0; slot < rv_pool_n_slots(master->pool); slot++) {
        const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
        if (pool->state != RV_POOL_EMPTY && pool->service == number) {
            json_array_append_new(workers, worker_json(master, slot));
        }
    }
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "name",
        service->name, "state", service_state(master, service, &counts),
        "generation", (json_int_t)service->generation, "candidate",
        (json_int_t)service->candidate, "wanted", counts.wanted, "ready",
        counts.ready, "candidates_ready", counts.candidates_ready, "draining",
        counts.leaving, "old", counts.old, "listen",
        listens_json(master, service->name), "workers", workers);
}

/* What a stop may take at most: the longest drain and the escalation. */
static int64_t
stop_allowed_ms(const struct rv__master *master)
{
    int64_t ms = 0;
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        const struct rv_pool_service *service =
            rv_pool_service(master->pool, i);
        if (service) {
            ms = RV_MAX(ms, service->policy.drain_timeout_ms);
        }
    }
    return ms + ESCALATION_MS;
}

/* What a roll may take at most: for each batch the start and the soak, then
 * the drain of the last old worker. */
static int64_t
roll_allowed_ms(const struct rv__master *master)
{
    int64_t ms = 0;
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        const struct rv_pool_service *service =
            rv_pool_service(master->pool, i);
        if (service) {
            const struct rv_pool_policy *policy = &service->policy;
            int64_t n_batches =
                policy->batch ? policy->n_workers / policy->batch + 1 : 1;
            int64_t start_ms = policy->ready_alive ? policy->ready_after_ms
                                                   : policy->start_timeout_ms;
            ms = RV_MAX(ms, n_batches * (start_ms + policy->soak_ms));
        }
    }
    return ms + stop_allowed_ms(master);
}

json_t *
rv__status_json(struct rv__master *master)
{
    json_t *services = json_array();
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        if (rv_pool_service(master->pool, i)) {
            json_array_append_new(services, service_json(master, i));
        }
    }
    const struct rv_pool *pool = master->pool;
    const char *state = rv_pool_is_stopping(pool)  ? "stopping"
                        : rv_pool_is_paused(pool)  ? "paused"
                        : rv_pool_is_rolling(pool) ? "rolling"
                        : master->is_starting      ? "starting"
                                                   : "running";
    int64_t age_ms = rv_loop_now(&master->loop) - master->started_ms;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:{s:i}, s:{s:i, s:i, s:I}, s:o, "
        "s:o}",
        "name", master->conf->conf->name, "version", RV_VERSION, "state",
        state, "configuration",
        master->source ? master->source : "command line", "roll_allowed_ms",
        (json_int_t)roll_allowed_ms(master), "stop_allowed_ms",
        (json_int_t)stop_allowed_ms(master), "keeper_pid",
        (int)master->keeper_pid, "keeper", "pid", (int)master->keeper_pid,
        "master", "pid", (int)getpid(), "restarts", master->n_restarts,
        "age_ms", (json_int_t)age_ms, "services", services, "zones",
        rv__zones_json(master));
}

static void
format_age(int64_t ms, char text[RV_STR_DURATION])
{
    int64_t s = ms / 1000;
    if (s < 60) {
        snprintf(text, RV_STR_DURATION, "%" PRId64 "s", s);
    } else if (s < 3600) {
        snprintf(text, RV_STR_DURATION, "%" PRId64 "m%02" PRId64 "s", s / 60,
                 s % 60);
    } else if (s < 86400) {
        snprintf(text, RV_STR_DURATION, "%" PRId64 "h%02" PRId64 "m", s / 3600,
                 s / 60 % 60);
    } else {
        snprintf(text, RV_STR_DURATION, "%" PRId64 "d%02" PRId64 "h",
                 s / 86400, s / 3600 % 24);
    }
}

static int64_t
number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *
string(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void
worker_text(const json_t *service, const json_t *worker, struct rv_buf *text)
{
    char name[RV_POOL_NAME + 16], age[RV_STR_DURATION];
    char pid[16] = "-", retry[32] = "";
    const json_t *retry_in = json_object_get(worker, "retry_in_ms");
    if (retry_in) {
        snprintf(retry, sizeof retry, "starts in %.1fs ",
                 (double)json_integer_value(retry_in) / 1000.0);
    }
    snprintf(name, sizeof name, "%s.%d", string(service, "name"),
             (int)number(worker, "index"));
    if (number(worker, "pid")) {
        snprintf(pid, sizeof pid, "%d", (int)number(worker, "pid"));
    }
    format_age(number(worker, "age_ms"), age);
    rv_buf_printf(text,
                  "%-16s %7s  %-9s %4" PRId64 " %8s %8" PRId64 " %8.1fM %8.2fs"
                  "  %s%s\n",
                  name, pid, string(worker, "state"),
                  number(worker, "generation"), age,
                  number(worker, "restarts"),
                  (double)number(worker, "memory_bytes") / 1048576.0,
                  (double)number(worker, "cpu_ms") / 1000.0, retry,
                  string(worker, "status"));
}

static void
service_text(const json_t *service, struct rv_buf *text)
{
    size_t i;
    json_t *listen, *worker;
    rv_buf_printf(text,
                  "\n%s: %s, generation %" PRId64 ", %" PRId64 " of %" PRId64
                  " ready",
                  string(service, "name"), string(service, "state"),
                  number(service, "generation"), number(service, "ready"),
                  number(service, "wanted"));
    json_array_foreach(json_object_get(service, "listen"), i, listen)
    {
        rv_buf_printf(text, "%s%s", i ? ", " : ", on ",
                      json_string_value(listen));
    }
    rv_buf_printf(text, "\n%-16s %7s  %-9s %4s %8s %8s %9s %9s  %s\n",
                  "WORKER", "PID", "STATE", "GEN", "AGE", "RESTARTS", "MEMORY",
                  "CPU", "STATUS");
    json_array_foreach(json_object_get(service, "workers"), i, worker)
    {
        worker_text(service, worker, text);
    }
}

static void
zone_text(const json_t *zone, struct rv_buf *text)
{
    char size[RV_STR_SIZE], max_size[RV_STR_SIZE];
    size_t i;
    json_t *service;
    rv_str_format_size(number(zone, "size"), size);
    rv_str_format_size(number(zone, "max_size"), max_size);
    rv_buf_printf(text, "\nzone %s: %s of %s, %.1fM in use",
                  string(zone, "name"), size, max_size,
                  (double)number(zone, "memory_bytes") / 1048576.0);
    if (*string(zone, "tag")) {
        rv_buf_printf(text, ", tag %s", string(zone, "tag"));
    }
    json_array_foreach(json_object_get(zone, "services"), i, service)
    {
        rv_buf_printf(text, "%s%s", i ? ", " : ", for ",
                      json_string_value(service));
    }
}

void
rv__status_text(struct rv__master *master, struct rv_buf *text)
{
    json_t *status = rv__status_json(master);
    json_t *service, *zone;
    size_t i;
    char age[RV_STR_DURATION];
    format_age(number(json_object_get(status, "master"), "age_ms"), age);
    rv_buf_printf(text, "%s: %s, keeper %d, master %d up %s",
                  string(status, "name"), string(status, "state"),
                  (int)master->keeper_pid, (int)getpid(), age);
    if (master->n_restarts) {
        rv_buf_printf(text, " (restarts: %d)", master->n_restarts);
    }
    rv_buf_printf(text, ", configuration: %s\n",
                  string(status, "configuration"));
    json_array_foreach(json_object_get(status, "services"), i, service)
    {
        service_text(service, text);
    }
    json_array_foreach(json_object_get(status, "zones"), i, zone)
    {
        zone_text(zone, text);
    }
    rv_buf_puts(text,
                json_array_size(json_object_get(status, "zones")) ? "\n" : "");
    json_decref(status);
}
