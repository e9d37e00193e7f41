/* Commands that wait.  A roll (reload, restart) is one at a time: a later one
 * supersedes it.  Whoever scales or stops waits in a list. */
#include "master/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/log.h"

#define RV_LOG_THIS RV_LOG_MASTER

static bool
has_no_process(const struct rv__worker *worker)
{
    return worker && !worker->pid && worker->tail.length;
}

/* What the step of the start that failed was about, in 'text'. */
static const char *
launch_subject(const struct rv__worker *worker, char *text, size_t size)
{
    const struct rv_conf_service *service = worker->service;
    const char *subject = NULL;
    if (!strcmp(worker->launch_step, "exec")) {
        subject = service->command[0];
    } else if (!strcmp(worker->launch_step, "directory")) {
        subject = service->directory;
    } else if (!strcmp(worker->launch_step, "user")) {
        subject = service->user;
    }
    snprintf(text, size, "%s%s", subject ? " " : "", subject ? subject : "");
    return text;
}

static void
describe_end(const struct rv_pool_exit *how, const struct rv__worker *worker,
             struct rv_buf *text)
{
    switch (how->kind) {
    case RV_POOL_EXIT_CODE:
        rv_buf_printf(text, "exited with status %d", how->value);
        break;
    case RV_POOL_EXIT_SIGNAL:
        rv_buf_printf(text, "was killed by signal %d (%s)", how->value,
                      strsignal(how->value));
        break;
    case RV_POOL_EXIT_NO_START:
        rv_buf_printf(text, "could not be started");
        if (has_no_process(worker)) {
            /* It printed nothing: what stands there is our own reason. */
            rv_buf_printf(text, ": %s", rv_buf_string(&worker->tail));
            break;
        }
        if (worker && worker->launch_step[0]) {
            char subject[RV__PATH];
            rv_buf_printf(text, " (%s%s)", worker->launch_step,
                          launch_subject(worker, subject, sizeof subject));
        }
        if (how->value) {
            rv_buf_printf(text, ": %s", strerror(how->value));
        }
        break;
    case RV_POOL_EXIT_UNKNOWN:
        rv_buf_puts(text, "ended");
        break;
    }
}

static void
describe_reason(const struct rv__worker *worker, enum rv_pool_reason reason,
                const struct rv_pool_exit *how, struct rv_buf *text)
{
    if (reason == RV_POOL_REASON_START_TIMEOUT) {
        rv_buf_printf(text,
                      "was not ready within its start_timeout of "
                      "%lld ms",
                      (long long)worker->service->start_timeout_ms);
    } else {
        describe_end(how, worker, text);
    }
    if (worker->status[0]) {
        rv_buf_printf(text, "; its status was \"%s\"", worker->status);
    }
    if (worker->tail.length && !has_no_process(worker)) {
        const char *tail = rv_buf_string(&worker->tail);
        size_t n = worker->tail.length;
        rv_buf_puts(text, "; its last lines:\n");
        rv_buf_put(text, tail, tail[n - 1] == '\n' ? n - 1 : n);
    }
}

void
rv__describe_failure(struct rv__master *master, int slot,
                     enum rv_pool_reason reason,
                     const struct rv_pool_exit *how, struct rv_buf *text)
{
    const struct rv__worker *worker = slot >= 0 ? master->workers[slot] : NULL;
    if (reason == RV_POOL_REASON_SUPERSEDED) {
        rv_buf_puts(text, "superseded by a later reload");
    } else if (reason == RV_POOL_REASON_STOP) {
        rv_buf_puts(text, "reeve was told to stop");
    } else if (reason == RV_POOL_REASON_REQUEST) {
        rv_buf_puts(text, "the service was paused");
    } else if (reason == RV_POOL_REASON_SLOTS) {
        rv_buf_puts(text, "no slot is free for another worker; raise "
                          "limits.processes");
    } else if (worker) {
        rv_buf_printf(text, "%s (generation %u", worker->name,
                      worker->generation);
        if (worker->pid) {
            rv_buf_printf(text, ", pid %d", (int)worker->pid);
        }
        rv_buf_puts(text, ") ");
        describe_reason(worker, reason, how, text);
    } else {
        rv_buf_puts(text, "a worker failed");
    }
}

/* Answers the roll's caller, if there is one. */
static void
answer_roll(struct rv__master *master, const char *text, bool is_error)
{
    struct rv_unixctl_call *call = master->operation.call;
    master->operation = (struct rv__operation){.kind = RV__OPERATION_NONE};
    if (!call) {
        return;
    }
    if (is_error) {
        rv_unixctl_reply_error(call, text);
    } else {
        rv_unixctl_reply(call, text);
    }
}

void
rv__operation_committed(struct rv__master *master)
{
    if (master->operation.kind == RV__OPERATION_ROLL) {
        master->operation.is_committed = true;
        rv_log_info("the new generation serves");
    }
}

void
rv__operation_rolled_back(struct rv__master *master, const char *why)
{
    char text[6000];
    snprintf(text, sizeof text, "nothing changed: %s", why);
    if (master->operation.kind == RV__OPERATION_ROLL) {
        answer_roll(master, text, true);
    }
}

bool
rv__operation_start_failed(struct rv__master *master, const char *why)
{
    if (!master->is_starting || !master->options.must_start
        || rv_pool_is_stopping(master->pool)) {
        return false;
    }
    rv_log_err("giving up the start: %s", why);
    master->exit_status = RV_EXIT_FAILED;
    rv__operation_stop(master, RV_POOL_STOP_FAST, NULL);
    return true;
}

/* Opens what the workers of 'conf' are to get, or changes nothing. */
static int
open_for(struct rv__master *master, const struct rv_conf *conf, bool is_reload,
         struct rv_error *error)
{
    struct rv__zones_source source = {.is_reload = is_reload,
                                      .may_grow = is_reload};
    int rc = rv__sockets_open(master, conf, error);
    if (!rc) {
        rc = rv__zones_open(master, conf, &source, error);
        if (rc) {
            rv__sockets_collect(master);
        }
    }
    return rc;
}

/* Begins a roll to 'conf', which it consumes. */
static int
begin_roll(struct rv__master *master, struct rv_conf *conf, bool is_reload,
           const char *named, bool all, struct rv_unixctl_call *call,
           bool wait, struct rv_error *error)
{
    struct rv__conf_ref *ref = rv__conf_ref_create(conf);
    if (!ref) {
        rv_conf_destroy(conf);
        return rv_error_errno(error, -ENOMEM, "reload");
    }
    /* First what is due already, so that no action of it is mistaken for one
     * of the roll that this one supersedes. */
    rv__apply(master);
    int rc = open_for(master, conf, is_reload, error);
    if (rc) {
        rv__conf_ref_put(ref);
        return rc;
    }
    if (master->operation.kind == RV__OPERATION_ROLL) {
        answer_roll(master, "superseded by a later reload", true);
    }
    rv__conf_ref_put(master->next_conf);
    master->next_conf = ref;
    int n_changed = 0;
    rc = rv__apply_conf(master, conf, NULL, RV_POOL_ROLL, named, all,
                        &n_changed);
    /* Configuring withdraws a roll under way, and its ROLL_BACK must not take
     * the new configuration with it. */
    struct rv_pool_action superseded;
    while (rv_pool_next_action(master->pool, &superseded)) {
        rv_log_info("an earlier roll is superseded");
    }
    if (rc) {
        return rv_error_errno(error, rc, "reload");
    }
    master->operation = (struct rv__operation){
        .kind = RV__OPERATION_ROLL,
        .call = wait ? call : NULL,
        .n_changed = n_changed,
        .started_ms = rv_loop_now(&master->loop),
    };
    return 0;
}

/* Reads the configuration as it now is; for one from the command line, a copy
 * of what is committed. */
static int
read_again(struct rv__master *master, struct rv_conf **confp,
           struct rv_error *error)
{
    struct rv_conf_errors errors;
    struct rv_buf text;
    rv_conf_errors_init(&errors);
    rv_buf_init(&text, 1 << 24);
    int rc;
    if (master->source) {
        rc = rv_conf_read_file(master->source, confp, &errors);
    } else {
        rc = rv_conf_dump(master->conf->conf, &text);
        rc = rc ? rc
                : rv_conf_parse(text.data, text.length, "command line", "/",
                                confp, &errors);
    }
    if (rc) {
        rv_error_set(error, rc, "nothing changed:\n%s",
                     rv_buf_string(&errors.text));
    }
    rv_buf_deinit(&text);
    rv_conf_errors_deinit(&errors);
    return rc;
}

/* What a running reeve cannot change. */
static int
check_fixed(const struct rv__master *master, const struct rv_conf *conf,
            struct rv_error *error)
{
    const struct rv_conf *old = master->conf->conf;
    if (strcmp(old->name, conf->name)) {
        return rv_error_set(error, -EINVAL,
                            "nothing changed: the name cannot become \"%s\" "
                            "while \"%s\" runs; stop and start it",
                            conf->name, old->name);
    }
    if (old->max_processes != conf->max_processes) {
        return rv_error_set(error, -EINVAL,
                            "nothing changed: limits.processes needs a stop "
                            "and a start");
    }
    return 0;
}

int
rv__operation_reload(struct rv__master *master, const char *service,
                     struct rv_unixctl_call *call, bool wait,
                     struct rv_error *error)
{
    struct rv_conf *conf = NULL;
    if (rv_pool_is_stopping(master->pool)) {
        return rv_error_set(error, -ESHUTDOWN, "reeve is stopping");
    }
    int rc = read_again(master, &conf, error);
    if (!rc) {
        rc = check_fixed(master, conf, error);
    }
    if (!rc && service && !rv_conf_find_service(conf, service)) {
        rc = rv_error_set(error, -ENOENT, "there is no service \"%s\"",
                          service);
    }
    if (!rc) {
        rc = rv__output_set_log(master, conf->log_file, error);
    }
    if (rc) {
        rv_conf_destroy(conf);
        return rc;
    }
    /* The same configuration once more means that the program changed.  It is
     * compared with what was read last, not with what `scale` made of it. */
    uint64_t hash = rv__conf_hash(conf);
    bool all = !service && hash == master->read_hash;
    rc = begin_roll(master, conf, true, service, all, call, wait, error);
    master->next_read_hash = hash;
    return rc;
}

int
rv__operation_restart(struct rv__master *master, const char *service,
                      struct rv_unixctl_call *call, bool wait,
                      struct rv_error *error)
{
    struct rv_buf text;
    struct rv_conf_errors errors;
    struct rv_conf *conf = NULL;
    if (rv_pool_is_stopping(master->pool)) {
        return rv_error_set(error, -ESHUTDOWN, "reeve is stopping");
    }
    if (service && !rv_conf_find_service(master->conf->conf, service)) {
        return rv_error_set(error, -ENOENT, "there is no service \"%s\"",
                            service);
    }
    rv_buf_init(&text, 1 << 24);
    rv_conf_errors_init(&errors);
    int rc = rv_conf_dump(master->conf->conf, &text);
    rc = rc ? rc
            : rv_conf_parse(text.data, text.length, "configuration", "/",
                            &conf, &errors);
    rv_buf_deinit(&text);
    rv_conf_errors_deinit(&errors);
    if (rc) {
        return rv_error_errno(error, rc, "restart");
    }
    rc = begin_roll(master, conf, false, service, !service, call, wait, error);
    master->next_read_hash = master->read_hash;
    return rc;
}

static int
add_waiter(struct rv__master *master, const char *service,
           struct rv_unixctl_call *call)
{
    struct rv__waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter) {
        return -ENOMEM;
    }
    waiter->call = call;
    snprintf(waiter->service, sizeof waiter->service, "%s", service);
    rv_list_push_back(&master->waiters, &waiter->node);
    return 0;
}

int
rv__operation_scale(struct rv__master *master, const char *service,
                    int n_workers, struct rv_unixctl_call *call,
                    struct rv_error *error)
{
    struct rv_conf_service *s =
        rv_conf_find_service(master->conf->conf, service);
    int pool_service = rv_pool_find_service(master->pool, service);
    if (!s || pool_service < 0) {
        return rv_error_set(error, -ENOENT, "there is no service \"%s\"",
                            service);
    }
    if (n_workers < 0 || n_workers > master->max_workers) {
        return rv_error_set(error, -ERANGE,
                            "workers must be from 0 to %d (limits.processes)",
                            master->max_workers);
    }
    int old = s->workers;
    s->workers = n_workers;
    int rc = rv__sockets_open(master, master->conf->conf, error);
    if (rc) {
        s->workers = old;
        return rc;
    }
    rv_log_info("scaling \"%s\" to %d workers", service, n_workers);
    rv_pool_scale(master->pool, pool_service, n_workers);
    master->is_state_stale = true;
    return call ? add_waiter(master, service, call) : 0;
}

void
rv__operation_stop(struct rv__master *master, enum rv_pool_stop how,
                   struct rv_unixctl_call *call)
{
    int64_t deadline_ms =
        rv_loop_now(&master->loop) + master->conf->conf->stop_timeout_ms;
    rv_pool_stop(master->pool, how, deadline_ms);
    /* From the moment the last worker closes its copy, clients are refused and
     * can go elsewhere, instead of waiting in a queue that nobody empties. */
    rv__sockets_close_all(master);
    master->is_state_stale = true;
    rv_notify_send("STOPPING=1\n");
    if (call && add_waiter(master, "", call)) {
        rv_unixctl_reply(call, "stopping");
    }
}

static bool
is_settled(struct rv__master *master)
{
    if (rv_pool_is_rolling(master->pool)) {
        return false;
    }
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        struct rv_pool_counts counts;
        if (!rv_pool_service(master->pool, i)) {
            continue;
        }
        rv_pool_count(master->pool, i, &counts);
        if (counts.old || counts.starting) {
            return false;
        }
    }
    return true;
}

/* Whether every seat of a service is filled, by a ready worker or by one that
 * has done its work. */
static bool
is_complete(struct rv__master *master, int service)
{
    struct rv_pool_counts counts;
    int n_done = 0;
    rv_pool_count(master->pool, service, &counts);
    for (int i = 0; i < rv_pool_n_slots(master->pool); i++) {
        const struct rv_pool_worker *worker = rv_pool_worker(master->pool, i);
        n_done += worker->state == RV_POOL_BACKOFF && worker->is_done
                  && worker->service == service;
    }
    return counts.ready + n_done >= counts.wanted && !counts.leaving;
}

static void
check_roll(struct rv__master *master)
{
    struct rv__operation *operation = &master->operation;
    if (operation->kind != RV__OPERATION_ROLL || !operation->is_committed
        || !is_settled(master)) {
        return;
    }
    char text[128];
    int64_t ms = rv_loop_now(&master->loop) - operation->started_ms;
    snprintf(text, sizeof text, "%d %s rolled to a new generation in %lld ms",
             operation->n_changed,
             operation->n_changed == 1 ? "service" : "services",
             (long long)ms);
    rv_log_info("%s", text);
    answer_roll(master, text, false);
}

static void
check_waiters(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->waiters) {
        struct rv__waiter *waiter =
            RV_CONTAINER_OF(node, struct rv__waiter, node);
        if (!waiter->service[0]) {
            continue; /* Answered at the very end. */
        }
        int service = rv_pool_find_service(master->pool, waiter->service);
        if (service >= 0 && !is_complete(master, service)) {
            continue;
        }
        rv_list_remove(node);
        rv_unixctl_reply(waiter->call,
                         service < 0 ? "the service is gone" : "scaled");
        free(waiter);
    }
}

static void
check_start(struct rv__master *master)
{
    if (!master->is_starting || rv_pool_is_stopping(master->pool)) {
        return;
    }
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        if (rv_pool_service(master->pool, i) && !is_complete(master, i)) {
            return;
        }
    }
    rv_log_info("all services are ready");
    master->is_starting = false;
    rv_notify_send("READY=1\n");
    rv_keeper_tell(&master->keeper, RV_KEEPER_STARTED, 0);
    if (master->options.is_daemon) {
        struct rv_error error;
        if (rv__output_set_log(master, rv__log_path(master), &error)) {
            rv_log_err("%s", error.text);
        }
        rv__output_detach(master);
    }
}

void
rv__operation_check(struct rv__master *master)
{
    check_roll(master);
    check_waiters(master);
    check_start(master);
}
