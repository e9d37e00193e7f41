/* Listening sockets.  The master opens them once, stores them at once, and
 * matches them by their address: the same address is the same socket, through
 * reloads, crashes and whatever service has it. */
#include "master/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"
#include "os/listen.h"

#define RV_LOG_THIS RV_LOG_MASTER

int
rv__conf_n_workers(const struct rv_conf_service *service)
{
    cpu_set_t cpus;
    if (service->workers >= 0) {
        return service->workers;
    }
    if (sched_getaffinity(0, sizeof cpus, &cpus)) {
        return 1;
    }
    return RV_MAX(1, CPU_COUNT(&cpus));
}

void
rv__socket_name(const struct rv__socket *s, int index,
                char name[RV_KEEPER_NAME])
{
    char number[16] = "";
    if (s->reuseport) {
        snprintf(number, sizeof number, "#%d", index);
    }
    snprintf(name, RV_KEEPER_NAME, "listen/%.*s%s", RV_KEEPER_NAME - 24,
             s->text, number);
}

struct rv__socket *
rv__sockets_find(const struct rv__master *master,
                 const struct rv_conf_listen *listen)
{
    char text[RV_ADDRESS_TEXT];
    struct rv_list *node;
    rv_address_format(&listen->address, text);
    RV_LIST_FOR_EACH (node, &master->sockets) {
        struct rv__socket *s = RV_CONTAINER_OF(node, struct rv__socket, node);
        if (!strcmp(s->text, text) && s->reuseport == listen->reuseport) {
            return s;
        }
    }
    return NULL;
}

int
rv__socket_fd(const struct rv__socket *s, int index)
{
    if (!s->reuseport) {
        return s->fds[0];
    }
    return index < s->n_fds ? s->fds[index] : -1;
}

/* Takes a socket out of the store, if the last master left it there. */
static int
take_stored(struct rv__master *master, const struct rv__socket *s, int index)
{
    char name[RV_KEEPER_NAME];
    rv__socket_name(s, index, name);
    return rv__master_take_entry(master, name);
}

/* Opens one, or takes it from the store. */
static int
open_one(struct rv__master *master, struct rv__socket *s, int index,
         struct rv_error *error)
{
    struct rv_listen_options options = {
        .reuseport = s->reuseport,
        .backlog = s->backlog,
        .mode = s->mode,
    };
    int fd = take_stored(master, s, index);
    /* How the last master steered its group is not known: settle it anew. */
    s->is_growing = s->is_growing || (s->reuseport && fd >= 0);
    if (fd < 0) {
        int rc = rv_listen_open(&s->address, &options, &fd, error);
        if (rc) {
            return rc;
        }
    }
    s->fds[index] = fd;
    s->n_fds = RV_MAX(s->n_fds, index + 1);
    return 0;
}

static int
open_more(struct rv__master *master, struct rv__socket *s, int n,
          struct rv_error *error)
{
    int old = s->n_fds;
    int rc = 0;
    while (!rc && s->n_fds < n) {
        rc = open_one(master, s, s->n_fds, error);
    }
    for (; rc && s->n_fds > old; s->n_fds--) {
        rv_fd_close(&s->fds[s->n_fds - 1]);
    }
    for (int i = old; i < s->n_fds; i++) {
        char name[RV_KEEPER_NAME];
        rv__socket_name(s, i, name);
        rv__master_put(master, name, s->fds[i]);
    }
    return rc;
}

/* Makes the group as large as 'n'; new sockets join it at its end.  They get
 * no connection before their workers are ready (rv__sockets_settle): nobody is
 * to wait for a boot, and a socket that has to be closed again would take its
 * queue with it. */
static int
grow(struct rv__master *master, struct rv__socket *s, int n,
     struct rv_error *error)
{
    if (n <= s->n_fds) {
        return 0;
    }
    int *fds = realloc(s->fds, (size_t)n * sizeof *fds);
    if (!fds) {
        return rv_error_errno(error, -ENOMEM, "sockets");
    }
    s->fds = fds;
    int old = s->n_fds;
    bool is_held = old && !s->n_steered;
    if (is_held) {
        rv_listen_steer(s->fds[0], old);
    }
    int rc = open_more(master, s, n, error);
    if (is_held && rc) {
        rv_listen_steer(s->fds[0], 0);
    } else if (is_held) {
        s->n_steered = old;
        s->is_growing = true;
    }
    return rc;
}

/* Closes the sockets of a group from 'first' on.  Until the keeper has closed
 * its copy too, the kernel would go on giving connections to them, and nobody
 * accepts those: so when a group shrinks they stop listening first.  When all
 * go, as at a stop, workers that drain may still accept what waits. */
static void
close_from(struct rv__master *master, struct rv__socket *s, int first)
{
    bool stop_listening = first > 0 && s->address.type == SOCK_STREAM
                          && s->address.u.any.sa_family != AF_UNIX;
    while (s->n_fds > first) {
        char name[RV_KEEPER_NAME];
        s->n_fds--;
        if (stop_listening) {
            shutdown(s->fds[s->n_fds], SHUT_RD);
        }
        rv__socket_name(s, s->n_fds, name);
        rv__master_drop(master, name);
        rv_fd_close(&s->fds[s->n_fds]);
    }
}

static void
destroy(struct rv__master *master, struct rv__socket *s)
{
    close_from(master, s, 0);
    if (s->address.u.any.sa_family == AF_UNIX) {
        unlink(s->address.u.un.sun_path);
    }
    rv_list_remove(&s->node);
    free(s->fds);
    free(s);
}

static struct rv__socket *
create(struct rv__master *master, const struct rv_conf_listen *listen)
{
    struct rv__socket *s = calloc(1, sizeof *s);
    if (s) {
        s->address = listen->address;
        s->reuseport = listen->reuseport;
        s->nonblocking = listen->nonblocking;
        s->backlog = listen->backlog;
        s->mode = listen->mode;
        rv_address_format(&listen->address, s->text);
        rv_list_push_back(&master->sockets, &s->node);
    }
    return s;
}

static void
update(struct rv__socket *s, const struct rv_conf_listen *listen)
{
    for (int i = 0; i < s->n_fds && s->backlog != listen->backlog; i++) {
        if (s->address.type == SOCK_STREAM) {
            rv_listen_set_backlog(s->fds[i], listen->backlog);
        }
    }
    s->backlog = listen->backlog;
}

/* A shared socket and a group cannot have the same address at once, and none
 * of them may go before the other serves.  The blocking mode is one for all
 * who share a socket, old workers and new. */
static int
check_change(struct rv__master *master, const struct rv_conf_listen *listen,
             struct rv_error *error)
{
    struct rv_conf_listen other = *listen;
    other.reuseport = !listen->reuseport;
    const struct rv__socket *s = rv__sockets_find(master, listen);
    bool is_mode = s && s->nonblocking != listen->nonblocking;
    if (!is_mode && !rv__sockets_find(master, &other)) {
        return 0;
    }
    char text[RV_ADDRESS_TEXT];
    rv_address_format(&listen->address, text);
    return rv_error_set(error, -EBUSY,
                        "`%s` of %s cannot change while reeve listens there; "
                        "stop and start it, or use another address",
                        is_mode ? "nonblocking" : "reuseport", text);
}

static int
open_listen(struct rv__master *master, const struct rv_conf_listen *listen,
            int n_workers, struct rv_error *error)
{
    struct rv__socket *s = rv__sockets_find(master, listen);
    int rc = check_change(master, listen, error);
    if (rc) {
        return rc;
    }
    if (s) {
        update(s, listen);
    } else {
        s = create(master, listen);
        if (!s) {
            return rv_error_errno(error, -ENOMEM, "sockets");
        }
    }
    rc = grow(master, s, s->reuseport ? RV_MAX(n_workers, 1) : 1, error);
    if (!rc && s->n_steered && n_workers > s->n_steered) {
        /* Also a group that was shrinking, and is to be larger again. */
        s->is_growing = true;
    }
    if (!s->n_fds) {
        rv_list_remove(&s->node);
        free(s->fds);
        free(s);
    }
    return rc;
}

int
rv__sockets_open(struct rv__master *master, const struct rv_conf *conf,
                 struct rv_error *error)
{
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct rv_conf_service *service = &conf->services[i];
        for (size_t k = 0; k < service->n_listens; k++) {
            int rc = open_listen(master, &service->listens[k],
                                 rv__conf_n_workers(service), error);
            if (rc) {
                rv_error_wrap(error, "service \"%s\"", service->name);
                rv__sockets_collect(master);
                return rc;
            }
        }
    }
    return 0;
}

/* How many sockets of 's' somebody needs: a configured service, or a worker
 * that is still there. */
static int
n_needed_by(struct rv__master *master, const struct rv__socket *s,
            const struct rv_conf_service *service, int n)
{
    for (size_t i = 0; i < service->n_listens; i++) {
        if (rv__sockets_find(master, &service->listens[i]) == s) {
            return s->reuseport ? n : 1;
        }
    }
    return 0;
}

bool
rv__sockets_is_shared(const struct rv__worker *worker,
                      const struct rv__socket *s)
{
    struct rv__master *master = worker->master;
    int index = rv__worker_pool(worker)->index;
    for (int slot = 0; slot < master->max_workers; slot++) {
        const struct rv__worker *other = master->workers[slot];
        if (!other || other == worker || other->pidfd < 0
            || !n_needed_by(master, s, other->service, 1)) {
            continue;
        }
        if (!s->reuseport || rv__worker_pool(other)->index == index) {
            return true;
        }
    }
    return false;
}

static int
n_needed(struct rv__master *master, const struct rv__socket *s,
         struct rv__conf_ref *ref)
{
    int n = 0;
    for (size_t i = 0; ref && i < ref->conf->n_services; i++) {
        const struct rv_conf_service *service = &ref->conf->services[i];
        int workers = RV_MAX(rv__conf_n_workers(service), 1);
        n = RV_MAX(n, n_needed_by(master, s, service, workers));
    }
    return n;
}

static void
collect(struct rv__master *master, struct rv__socket *s)
{
    int n = RV_MAX(n_needed(master, s, master->conf),
                   n_needed(master, s, master->next_conf));
    for (int slot = 0; slot < master->max_workers; slot++) {
        const struct rv__worker *worker = master->workers[slot];
        if (worker) {
            int index = rv__worker_pool(worker)->index;
            n = RV_MAX(n, n_needed_by(master, s, worker->service, index + 1));
        }
    }
    if (!n) {
        rv_log_info("closing %s", s->text);
        destroy(master, s);
        return;
    }
    if (n < s->n_fds) {
        close_from(master, s, n);
    }
    if (s->n_steered >= s->n_fds) {
        rv_listen_steer(s->fds[0], 0);
        s->n_steered = 0;
        s->is_growing = false;
    }
}

/* How many indices from 0 on have a ready worker on 's'. */
static int
n_ready(struct rv__master *master, const struct rv__socket *s)
{
    bool *is_ready = calloc((size_t)s->n_fds, sizeof *is_ready);
    int n = 0;
    for (int slot = 0; is_ready && slot < rv_pool_n_slots(master->pool);
         slot++) {
        const struct rv__worker *worker = master->workers[slot];
        const struct rv_pool_worker *pool = rv_pool_worker(master->pool, slot);
        if (worker && pool->state == RV_POOL_READY && pool->index < s->n_fds
            && n_needed_by(master, s, worker->service, 1)) {
            is_ready[pool->index] = true;
        }
    }
    while (is_ready && n < s->n_fds && is_ready[n]) {
        n++;
    }
    free(is_ready);
    return n;
}

void
rv__sockets_settle(struct rv__master *master)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->sockets) {
        struct rv__socket *s = RV_CONTAINER_OF(node, struct rv__socket, node);
        int n = s->is_growing ? n_ready(master, s) : 0;
        if (n == s->n_fds) {
            rv_listen_steer(s->fds[0], 0);
            s->n_steered = 0;
            s->is_growing = false;
        } else if (n > s->n_steered && !rv_listen_steer(s->fds[0], n)) {
            s->n_steered = n;
        }
    }
}

void
rv__sockets_collect(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->sockets) {
        collect(master, RV_CONTAINER_OF(node, struct rv__socket, node));
    }
}

/* How many workers of the service the committed configuration has; -1 if it
 * does not have the service any more. */
static int
n_staying(const struct rv__master *master,
          const struct rv_conf_service *service)
{
    const struct rv_conf_service *now =
        rv_conf_find_service(master->conf->conf, service->name);
    bool is_idle =
        rv_pool_is_stopping(master->pool) || rv_pool_is_paused(master->pool);
    return now && !is_idle ? rv__conf_n_workers(now) : -1;
}

bool
rv__sockets_hold(struct rv__master *master,
                 const struct rv_conf_service *service, int index)
{
    int n = n_staying(master, service);
    if (n <= 0 || index < n) {
        return false;
    }
    bool waits = false;
    for (size_t i = 0; i < service->n_listens; i++) {
        struct rv__socket *s = rv__sockets_find(master, &service->listens[i]);
        if (!s || !s->reuseport || index >= s->n_fds) {
            continue;
        }
        if (s->n_steered != n && !rv_listen_steer(s->fds[0], n)) {
            s->n_steered = n;
            s->is_growing = false;
            waits = true; /* Those under way still arrive. */
        }
        waits = waits || rv_listen_queue_length(s->fds[index]) > 0;
    }
    return waits;
}

void
rv__sockets_close_all(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->sockets) {
        destroy(master, RV_CONTAINER_OF(node, struct rv__socket, node));
    }
}
