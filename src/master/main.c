/* The master's start, its loop, and its end. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"
#include "os/process.h"
#include "os/rlimit.h"

#define RV_LOG_THIS RV_LOG_MASTER

enum { MEMORY_CHECK_MS = 2000 };

/* A store entry, or an exit that was reported, before it finds its place. */
struct entry {
    struct rv_list node;
    struct rv_keeper_frame frame;
    int fd;
};

int
rv__master_take_entry(struct rv__master *master, const char *name)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->entries) {
        struct entry *entry = RV_CONTAINER_OF(node, struct entry, node);
        if (!strcmp(entry->frame.text, name)) {
            int fd = entry->fd;
            rv_list_remove(node);
            free(entry);
            return fd;
        }
    }
    return -1;
}

void
rv__master_put(struct rv__master *master, const char *name, int fd)
{
    int rc = rv_keeper_put(&master->keeper, name, fd);
    if (rc) {
        rv_log_err("cannot store \"%s\": %s; it would be lost with this "
                   "master",
                   name, strerror(-rc));
    }
}

void
rv__master_drop(struct rv__master *master, const char *name)
{
    rv_keeper_drop(&master->keeper, name);
}

static void
keep_entry(struct rv_list *list, const struct rv_keeper_frame *frame, int *fd)
{
    struct entry *entry = malloc(sizeof *entry);
    if (entry) {
        entry->frame = *frame;
        entry->fd = *fd;
        *fd = -1;
        rv_list_push_back(list, &entry->node);
    }
}

static void
on_frame(const struct rv_keeper_frame *frame, int *fd, void *context)
{
    struct rv__master *master = context;
    switch ((enum rv_keeper_verb)frame->verb) {
    case RV_KEEPER_ENTRY:
        keep_entry(&master->entries, frame, fd);
        break;
    case RV_KEEPER_END:
        master->n_restarts = frame->n_restarts;
        master->last_status = frame->value;
        break;
    case RV_KEEPER_EXITED:
        if (master->keeper_io.loop) {
            rv__worker_orphan_ended(master, frame->pid, frame->start_time,
                                    frame->value);
        } else {
            keep_entry(&master->exits, frame, fd);
        }
        break;
    case RV_KEEPER_SIGNAL:
        if (master->keeper_io.loop) {
            rv__signals_handle(master, frame->value);
        } else {
            raise(frame->value); /* Blocked: the signalfd will have it. */
        }
        rv_keeper_tell(&master->keeper, RV_KEEPER_HANDLED, frame->value);
        break;
    case RV_KEEPER_CLAIMED:
    case RV_KEEPER_PUT:
    case RV_KEEPER_DROP:
    case RV_KEEPER_LIST:
    case RV_KEEPER_CLAIM:
    case RV_KEEPER_STARTED:
    case RV_KEEPER_LEAVING:
    case RV_KEEPER_HANDLED:
        break;
    }
}

static void
free_entries(struct rv__master *master, struct rv_list *list, bool drop)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, list) {
        struct entry *entry = RV_CONTAINER_OF(node, struct entry, node);
        if (drop) {
            rv__zones_bury(master, entry->frame.text, entry->fd);
            rv__master_drop(master, entry->frame.text);
        }
        rv_list_remove(node);
        rv_fd_close(&entry->fd);
        free(entry);
    }
}

/* Hands over each listening socket with the name it has in the store. */
static void
for_each_socket(struct rv__master *master, rv__stored_callback *callback,
                void *context)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->sockets) {
        const struct rv__socket *s =
            RV_CONTAINER_OF(node, struct rv__socket, node);
        for (int i = 0; i < s->n_fds; i++) {
            char name[RV_KEEPER_NAME];
            rv__socket_name(s, i, name);
            callback(name, s->fds[i], context);
        }
    }
}

static void
for_each_zone(struct rv__master *master, rv__stored_callback *callback,
              void *context)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        const struct rv__zone *zone =
            RV_CONTAINER_OF(node, struct rv__zone, node);
        char name[RV_KEEPER_NAME];
        rv__zone_entry_name(zone, name);
        callback(name, zone->fd, context);
        if (zone->is_noted) {
            /* One of its own: who inherits them closes each for itself. */
            rv__zone_made_name(zone, name);
            callback(name, fcntl(zone->fd, F_DUPFD_CLOEXEC, 0), context);
        }
    }
}

void
rv__master_for_each_stored(struct rv__master *master,
                           rv__stored_callback *callback, void *context)
{
    callback("state", master->state_fd, context);
    callback("registry", master->registry_fd, context);
    callback("control", master->control_fd, context);
    for_each_socket(master, callback, context);
    for_each_zone(master, callback, context);
    for (int slot = 0; slot < master->max_workers; slot++) {
        const struct rv__worker *worker = master->workers[slot];
        char name[RV_KEEPER_NAME];
        if (!worker) {
            continue;
        }
        snprintf(name, sizeof name, "notify/%d/0", slot);
        callback(name, worker->notify_fd, context);
        if (worker->probe) {
            snprintf(name, sizeof name, "probe/%d/0", slot);
            callback(name, rv__probe_fd(worker->probe), context);
        }
        for (int i = 0; i < RV__N_STREAMS; i++) {
            snprintf(name, sizeof name, "log/%d/%d", slot, i);
            callback(name, worker->streams[i].fd, context);
        }
    }
}

static void
write_entry(const char *name, int fd, void *context)
{
    int *list_fd = context;
    struct rv_keeper_entry entry = {.fd = fd};
    if (fd >= 0) {
        snprintf(entry.name, sizeof entry.name, "%s", name);
        rv_fd_set_cloexec(fd, false);
        rv_fd_write_all(*list_fd, &entry, sizeof entry);
    }
}

/* Only an ancestor can be the subreaper of our workers, and only we are one:
 * so we take the keeper's place ourselves, and a new master starts under us
 * from the store, as after any death of a master. */
void
rv__master_become_keeper(struct rv__master *master)
{
    char number[16];
    int list_fd = memfd_create("reeve-heir", 0);
    rv_log_err("the keeper (pid %d) died; taking its place",
               (int)master->keeper_pid);
    rv__master_for_each_stored(master, write_entry, &list_fd);
    lseek(list_fd, 0, SEEK_SET);
    snprintf(number, sizeof number, "%d", list_fd);
    setenv(RV_KEEPER_HEIR_VARIABLE, number, 1);
    unsetenv(RV_KEEPER_VARIABLE);
    execv("/proc/self/exe", master->options.argv);
    /* Better unkept than dead: the service goes on without one. */
    rv_log_emer("cannot become the keeper: %s", strerror(errno));
}

static void
on_keeper(struct rv_io *io, uint32_t events)
{
    struct rv__master *master = io->context;
    (void)events;
    int rc = rv_keeper_receive(&master->keeper, on_frame, master);
    if (!rc) {
        uint32_t wanted =
            rv_keeper_flush(&master->keeper) ? EPOLLIN : EPOLLIN | EPOLLOUT;
        rv_io_set_events(io, wanted);
        return;
    }
    rv_io_stop(io);
    rv_keeper_client_deinit(&master->keeper);
    if (!master->is_ending) {
        rv__master_become_keeper(master);
    }
}

static int
connect_keeper(struct rv__master *master, struct rv_error *error)
{
    rv_fd_set_cloexec(master->options.keeper_fd, true);
    rv_keeper_client_init(&master->keeper, master->options.keeper_fd);
    master->keeper_pid = getppid();
    int rc = rv_keeper_fetch_block(&master->keeper, on_frame, master);
    return rc ? rv_error_errno(error, rc, "cannot reach the keeper") : 0;
}

/* The configuration as it is written, for a cold start. */
static int
read_configuration(struct rv__master *master, struct rv_conf **confp,
                   struct rv_error *error)
{
    const struct rv_master_options *options = &master->options;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc;
    if (options->config_path) {
        rc = rv_conf_read_file(options->config_path, confp, &errors);
        free(master->source);
        master->source = strdup(options->config_path);
    } else {
        rc = rv_conf_parse(options->config_text, strlen(options->config_text),
                           "command line", options->directory, confp, &errors);
    }
    if (rc) {
        rv_error_set(error, -EINVAL, "%s", rv_buf_string(&errors.text));
        size_t n = strlen(error->text);
        error->text[n && error->text[n - 1] == '\n' ? n - 1 : n] = '\0';
        master->exit_status = RV_EXIT_CONFIGURATION;
    }
    rv_conf_errors_deinit(&errors);
    return rc;
}

static int
set_configuration(struct rv__master *master, struct rv_conf *conf,
                  struct rv_error *error)
{
    master->conf = rv__conf_ref_create(conf);
    master->max_workers = conf->max_processes;
    rv__apply_settings(master, NULL, conf);
    master->workers =
        calloc((size_t)conf->max_processes, sizeof *master->workers);
    int rc = rv_rundir_path(conf->runtime_dir, master->rundir, error);
    if (!rc) {
        rc = rv_rundir_create(master->rundir, error);
    }
    if (!rc) {
        uint64_t seed = (uint64_t)getpid() ^ (uint64_t)time(NULL);
        rc = rv_pool_create(conf->max_processes, seed, &master->pool);
        rc = rc ? rv_error_errno(error, rc, "pool") : 0;
    }
    return rc;
}

static int
claim_pidfile(struct rv__master *master, struct rv_error *error)
{
    char path[RV__PATH * 2];
    pid_t holder = 0;
    const char *name = master->conf->conf->name;
    snprintf(path, sizeof path, "%s/%s.pid", master->rundir, name);
    int rc = rv_keeper_claim_block(&master->keeper, path, &holder, on_frame,
                                   master);
    if (rc == -EEXIST) {
        return rv_error_set(error, rc,
                            "\"%s\" runs already as pid %d (%s); stop it, or "
                            "give this one another name",
                            name, (int)holder, path);
    }
    return rc ? rv_error_errno(error, rc, "pidfile %s", path) : 0;
}

/* The parts of a start that a cold one ('state' is NULL) and a restart have in
 * common. */
static int
open_all(struct rv__master *master, const struct rv__state *state,
         struct rv_error *error)
{
    bool is_cold = !state;
    const struct rv_conf *conf = master->conf->conf;
    int rc = claim_pidfile(master, error);
    if (!rc && is_cold) {
        rc = rv__registry_check_orphans(master, error);
    }
    /* A service that is stopping takes no more connections. */
    if (!rc && !(state && state->is_stopping)) {
        rc = rv__sockets_open(master, conf, error);
    }
    if (!rc) {
        struct rv__zones_source source = {.may_grow = is_cold, .state = state};
        rc = rv__zones_open(master, conf, &source, error);
    }
    if (!rc) {
        rv__zones_commit(master);
        int fd = rv__master_take_entry(master, "registry");
        rc = rv__registry_open(master, fd, error);
    }
    if (!rc && (!is_cold || !master->options.is_daemon)) {
        rc = rv__output_set_log(master, rv__log_path(master), error);
    }
    return rc ? rc : rv__control_open(master, error);
}

static int
start_cold(struct rv__master *master, struct rv_error *error)
{
    struct rv_conf *conf = NULL;
    int n_changed;
    master->is_starting = true;
    int rc = read_configuration(master, &conf, error);
    if (!rc) {
        rc = set_configuration(master, conf, error);
    }
    if (!rc) {
        rc = open_all(master, NULL, error);
    }
    if (!rc) {
        rc = rv__apply_conf(master, conf, NULL, RV_POOL_AT_ONCE, NULL, false,
                            &n_changed);
        rc = rc ? rv_error_errno(error, rc, "configuration") : 0;
    }
    if (!rc) {
        master->read_hash = rv__conf_hash(conf);
        rv_log_info("reeve %s starts \"%s\", control socket %s", RV_VERSION,
                    conf->name, master->control_path);
    }
    return rc;
}

static void
replay_exits(struct rv__master *master)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->exits) {
        struct entry *entry = RV_CONTAINER_OF(node, struct entry, node);
        rv__worker_orphan_ended(master, entry->frame.pid,
                                entry->frame.start_time, entry->frame.value);
    }
}

static int
restart(struct rv__master *master, int state_fd, struct rv_error *error)
{
    struct rv_conf *conf = NULL;
    struct rv__state state = {.services = NULL};
    int n_changed;
    master->state_fd = state_fd;
    int rc = rv__state_load(master, state_fd, &conf, &state);
    if (rc) {
        return rv_error_errno(error, rc, "stored state");
    }
    rc = set_configuration(master, conf, error);
    if (!rc) {
        rc = open_all(master, &state, error);
    }
    if (!rc) {
        rc = rv__apply_conf(master, conf, &state, RV_POOL_AT_ONCE, NULL, false,
                            &n_changed);
        rc = rc ? rv_error_errno(error, rc, "configuration") : 0;
    }
    bool is_paused = state.is_paused, is_stopping = state.is_stopping;
    rv__state_deinit(&state);
    if (rc) {
        return rc;
    }
    if (is_paused) {
        rv_pool_pause(master->pool);
    }
    if (is_stopping) {
        rv_pool_stop(master->pool, RV_POOL_STOP_GRACEFUL, 0);
    }
    if (master->options.is_daemon) {
        rv__output_detach(master);
    }
    rv__registry_adopt(master);
    replay_exits(master);
    return 0;
}

static void
on_pool_timer(struct rv_timer *timer)
{
    (void)timer; /* It only has to end the wait: rv__apply() does the rest. */
}

static void
on_memory_timer(struct rv_timer *timer)
{
    struct rv__master *master = timer->context;
    bool is_limited = false;
    for (int slot = 0; slot < rv_pool_n_slots(master->pool); slot++) {
        const struct rv__worker *worker = master->workers[slot];
        struct rv_process_info info;
        if (!worker || !worker->service->max_memory_bytes) {
            continue;
        }
        is_limited = true;
        if (!rv_process_info(worker->pid, &info)
            && info.rss_bytes > worker->service->max_memory_bytes) {
            rv_log_warn("%s (pid %d) uses %llu bytes, more than max_memory",
                        worker->name, (int)worker->pid,
                        (unsigned long long)info.rss_bytes);
            rv_pool_replace(master->pool, slot, RV_POOL_REASON_MEMORY,
                            rv_loop_now(&master->loop));
        }
    }
    if (is_limited) {
        rv_timer_start(&master->loop, timer,
                       rv_loop_now(&master->loop) + MEMORY_CHECK_MS);
    }
}

/* Whoever does not limit memory is not woken up for it. */
static void
arm_memory_timer(struct rv__master *master)
{
    const struct rv_conf *conf = master->conf->conf;
    for (size_t i = 0; i < conf->n_services; i++) {
        if (conf->services[i].max_memory_bytes && !master->memory_timer.loop) {
            rv_timer_start(&master->loop, &master->memory_timer,
                           rv_loop_now(&master->loop) + MEMORY_CHECK_MS);
        }
    }
}

void
rv__master_end(struct rv__master *master, int status)
{
    master->is_ending = true;
    master->exit_status = status;
}

/* Answers those who waited for the end, and lets their replies go out. */
static void
answer_last(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->waiters) {
        struct rv__waiter *waiter =
            RV_CONTAINER_OF(node, struct rv__waiter, node);
        rv_list_remove(node);
        rv_unixctl_reply(waiter->call, "stopped");
        free(waiter);
    }
    if (master->operation.call) {
        rv_unixctl_reply_error(master->operation.call, "reeve stopped");
        master->operation.call = NULL;
    }
    for (int i = 0; i < 50 && !rv_unixctl_server_is_idle(&master->control);
         i++) {
        rv_loop_run_once(&master->loop, 10);
    }
}

static void
close_all(struct rv__master *master)
{
    for (int slot = 0; master->workers && slot < master->max_workers; slot++) {
        rv__worker_destroy(master->workers[slot]);
    }
    rv_timer_stop(&master->pool_timer);
    rv_timer_stop(&master->memory_timer);
    rv__control_close(master);
    rv__sockets_close_all(master);
    rv__zones_close_all(master);
    if (master->conf) {
        rv__registry_close(master);
    }
    rv_io_stop(&master->keeper_io);
    rv_keeper_client_deinit(&master->keeper);
    rv_io_stop(&master->signal_io);
    rv_fd_close(&master->signal_fd);
    rv_fd_close(&master->state_fd);
    free_entries(master, &master->entries, false);
    free_entries(master, &master->exits, false);
    rv__output_deinit(master);
    rv_pool_destroy(master->pool);
    rv__conf_ref_put(master->next_conf);
    rv__conf_ref_put(master->conf);
    free(master->workers);
    free(master->source);
    rv_loop_deinit(&master->loop);
}

static int
prepare(struct rv__master *master, struct rv_error *error)
{
    master->control_fd = master->registry_fd = master->registry_file_fd =
        master->state_fd = master->signal_fd = -1;
    rv_list_init(&master->sockets);
    rv_list_init(&master->zones);
    rv_list_init(&master->waiters);
    rv_list_init(&master->entries);
    rv_list_init(&master->exits);
    rv_list_init(&master->outputs);
    rv_timer_init(&master->pool_timer, on_pool_timer, master);
    rv_timer_init(&master->memory_timer, on_memory_timer, master);
    rv_io_init(&master->keeper_io, on_keeper, master);
    rv_rlimit_raise_nofile();
    int rc = rv_loop_init(&master->loop);
    if (!rc) {
        rc = rv__output_init(master, error);
    }
    if (!rc) {
        rc = rv__signals_open(master);
    }
    master->started_ms = rv_loop_now(&master->loop);
    return rc ? rv_error_errno(error, rc, "cannot set up the master") : 0;
}

static int
start(struct rv__master *master, struct rv_error *error)
{
    int rc = prepare(master, error);
    if (!rc) {
        rc = connect_keeper(master, error);
    }
    if (rc) {
        return rc;
    }
    int state_fd = rv__master_take_entry(master, "state");
    rc = state_fd >= 0 ? restart(master, state_fd, error)
                       : start_cold(master, error);
    if (!rc) {
        /* Nobody wants what is left. */
        free_entries(master, &master->entries, true);
        free_entries(master, &master->exits, false);
        rc = rv_io_start(&master->loop, &master->keeper_io, master->keeper.fd,
                         EPOLLIN);
    }
    return rc;
}

static void
run(struct rv__master *master)
{
    master->is_state_stale = true;
    rv__apply(master);
    malloc_trim(0);
    while (!master->is_ending) {
        if (!rv_list_is_empty(&master->keeper.queue)
            && master->keeper_io.loop) {
            rv_io_set_events(&master->keeper_io, EPOLLIN | EPOLLOUT);
        }
        arm_memory_timer(master);
        int rc = rv_loop_run_once(&master->loop, -1);
        RV_ASSERT(!rc);
        rv__apply(master);
    }
    answer_last(master);
    rv_log_info("ended");
    rv_keeper_tell(&master->keeper, RV_KEEPER_LEAVING, master->exit_status);
    rv_keeper_flush_block(&master->keeper);
}

int
rv_master_run(const struct rv_master_options *options)
{
    struct rv__master *master = calloc(1, sizeof *master);
    struct rv_error error = {.code = 0};
    if (!master) {
        return RV_EXIT_FAILED;
    }
    master->options = *options;
    int rc = start(master, &error);
    if (rc) {
        int status =
            master->exit_status ? master->exit_status : RV_EXIT_FAILED;
        fprintf(stderr, "reeve: %s\n", error.text);
        /* A restarted master that cannot start must not end the service:
         * neither the store nor any file is touched. */
        bool is_cold = master->state_fd < 0;
        if (!is_cold) {
            return status;
        }
        rv_keeper_tell(&master->keeper, RV_KEEPER_LEAVING, status);
        master->exit_status = status;
    } else {
        rv_title_set("reeve: master %s", master->conf->conf->name);
        run(master);
    }
    int status = master->exit_status;
    close_all(master);
    free(master);
    return status;
}
