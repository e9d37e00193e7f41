/* The registry: a memfd with one slot a process, the published copy of the
 * pool's table.  The master alone writes it, and never reads it but at its
 * start, to take up what the last master left.
 *
 * The number of a worker is in its slot before the worker may exec (see
 * launch.c), so no living worker is unknown.  A second copy of what tells a
 * worker, pid and start time, goes into a file in the runtime folder, for the
 * case that keeper and master die at once and memory with them. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"
#include "os/process.h"

#define RV_LOG_THIS RV_LOG_MASTER

enum { REGISTRY_MAGIC = 0x72656775, REGISTRY_VERSION = 1 };

struct slot {
    /* Odd while the master writes: readers try again.  A master that dies in
     * between leaves it odd, and the next one still finds 'pid' whole. */
    _Atomic uint32_t sequence;
    int32_t pid; /* 0: no process. */
    uint64_t start_time;
    char service[RV_POOL_NAME + 7];
    int32_t index;
    uint32_t generation;
    uint32_t state; /* enum rv_pool_state. */
    uint32_t restarts;
    uint32_t n_failures;
    int32_t n_in_window;
    uint32_t is_told; /* To leave. */
    uint32_t unused;
    /* Milliseconds of CLOCK_MONOTONIC, as the master's loop knows it. */
    int64_t since_ms, started_ms, ready_ms, deadline_ms, window_start_ms;
};

_Static_assert(sizeof(struct slot) % 8 == 0, "slots must stay aligned");

struct rv__registry {
    /* Set once before it is published. */
    uint32_t magic, version, slot_bytes, n_slots;
    struct slot slots[];
};

static size_t
registry_bytes(int n_slots)
{
    return sizeof(struct rv__registry) + (size_t)n_slots * sizeof(struct slot);
}

static int
create_memory(struct rv__master *master, int *fdp)
{
    int fd = memfd_create("reeve-registry", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)registry_bytes(master->max_workers))
        || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
        int rc = -errno;
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

static int
map_memory(struct rv__master *master, int fd)
{
    struct stat info;
    if (fstat(fd, &info)
        || (size_t)info.st_size < registry_bytes(master->max_workers)) {
        return -EINVAL;
    }
    void *memory = mmap(NULL, registry_bytes(master->max_workers),
                        PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    master->registry = memory;
    return 0;
}

static void
open_file(struct rv__master *master)
{
    char path[RV__PATH];
    int n = snprintf(path, sizeof path, "%s/%s.registry", master->rundir,
                     master->conf->conf->name);
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    master->registry_file_fd =
        n < (int)sizeof path ? open(path, flags, 0600) : -1;
    if (master->registry_file_fd < 0) {
        rv_log_warn("cannot open %s: %s; if keeper and master die together, "
                    "their workers will not be found again",
                    path, strerror(errno));
    }
}

int
rv__registry_open(struct rv__master *master, int fd, struct rv_error *error)
{
    bool is_new = fd < 0;
    int rc = is_new ? create_memory(master, &fd) : 0;
    if (!rc) {
        rc = map_memory(master, fd);
    }
    if (rc) {
        rv_fd_close(&fd);
        return rv_error_errno(error, rc, "registry");
    }
    master->registry_fd = fd;
    struct rv__registry *registry = master->registry;
    if (is_new) {
        *registry = (struct rv__registry){
            .magic = REGISTRY_MAGIC,
            .version = REGISTRY_VERSION,
            .slot_bytes = sizeof(struct slot),
            .n_slots = (uint32_t)master->max_workers,
        };
        rv__master_put(master, "registry", fd);
    } else if (registry->magic != REGISTRY_MAGIC
               || registry->version != REGISTRY_VERSION
               || registry->slot_bytes != sizeof(struct slot)) {
        return rv_error_set(error, -EINVAL, "registry of another version");
    }
    open_file(master);
    return 0;
}

void
rv__registry_close(struct rv__master *master)
{
    if (master->registry) {
        munmap(master->registry, registry_bytes(master->max_workers));
        master->registry = NULL;
    }
    if (master->registry_file_fd >= 0 && master->is_ending) {
        char path[RV__PATH * 2];
        snprintf(path, sizeof path, "%s/%s.registry", master->rundir,
                 master->conf->conf->name);
        unlink(path);
    }
    rv_fd_close(&master->registry_fd);
    rv_fd_close(&master->registry_file_fd);
}

/* What stands in the file for each slot. */
struct file_slot {
    int32_t pid;
    int32_t index;
    uint64_t start_time;
    char service[RV_POOL_NAME + 7];
};

static void
publish_file(struct rv__master *master, int number, const struct slot *slot)
{
    struct file_slot copy = {
        .pid = slot->pid,
        .index = slot->index,
        .start_time = slot->start_time,
    };
    memcpy(copy.service, slot->service, sizeof copy.service);
    off_t offset = (off_t)((size_t)number * sizeof copy);
    if (master->registry_file_fd >= 0
        && pwrite(master->registry_file_fd, &copy, sizeof copy, offset)
               != (ssize_t)sizeof copy) {
        rv_log_warn("cannot write the registry's file: %s", strerror(errno));
    }
}

static void
fill_slot(struct rv__master *master, int number, struct slot *slot)
{
    const struct rv_pool_worker *worker = rv_pool_worker(master->pool, number);
    const struct rv__worker *process = master->workers[number];
    const struct rv_pool_service *service =
        worker->state == RV_POOL_EMPTY
            ? NULL
            : rv_pool_service(master->pool, worker->service);
    slot->pid = process ? process->pid : 0;
    slot->start_time = process ? process->start_time : 0;
    slot->index = worker->index;
    slot->generation = worker->generation;
    slot->state = worker->state;
    slot->restarts = worker->restarts;
    slot->n_failures = worker->n_failures;
    slot->is_told = process && process->is_told;
    slot->n_in_window = worker->n_in_window;
    slot->since_ms = worker->since_ms;
    slot->started_ms = worker->started_ms;
    slot->ready_ms = worker->ready_ms;
    slot->deadline_ms = worker->deadline_ms;
    slot->window_start_ms = worker->window_start_ms;
    memset(slot->service, 0, sizeof slot->service);
    if (service) {
        memcpy(slot->service, service->name, sizeof service->name);
    }
}

void
rv__registry_publish(struct rv__master *master, int number)
{
    struct slot *slot = &master->registry->slots[number];
    int32_t old_pid = slot->pid;
    atomic_fetch_add_explicit(&slot->sequence, 1, memory_order_acq_rel);
    fill_slot(master, number, slot);
    atomic_fetch_add_explicit(&slot->sequence, 1, memory_order_release);
    if (slot->pid != old_pid) {
        publish_file(master, number, slot);
    }
}

/* A slot that was being written when the last master died may hold half of the
 * old and half of the new: everything is checked before it is believed. */
static bool
is_plausible(const struct rv__master *master, const struct slot *slot)
{
    return slot->state > RV_POOL_EMPTY && slot->state < RV_POOL_N_STATES
           && slot->index >= 0 && slot->index < master->max_workers
           && slot->generation > 0
           && memchr(slot->service, '\0', RV_POOL_NAME);
}

static void
copy_times(const struct slot *slot, struct rv_pool_worker *worker)
{
    worker->restarts = slot->restarts;
    worker->n_failures = slot->n_failures;
    worker->n_in_window = slot->n_in_window;
    worker->since_ms = slot->since_ms;
    worker->started_ms = worker->ping_ms = slot->started_ms;
    worker->ready_ms = slot->ready_ms;
    worker->deadline_ms = slot->deadline_ms;
    worker->window_start_ms = slot->window_start_ms;
}

static void
adopt_slot(struct rv__master *master, int number, const struct slot *slot)
{
    int service = rv_pool_find_service(master->pool, slot->service);
    if (service < 0) {
        /* Removed by a commit that the registry had not caught up with. */
        if (slot->pid > 0
            && rv_process_start_time(slot->pid) == slot->start_time) {
            kill(slot->pid, SIGTERM);
        }
        return;
    }
    struct rv_pool_worker worker = {
        .state = slot->state,
        .service = service,
        .index = slot->index,
        .generation = slot->generation,
    };
    copy_times(slot, &worker);
    worker.ping_ms = rv_loop_now(&master->loop);
    if (worker.state == RV_POOL_BACKOFF) {
        rv_pool_adopt(master->pool, number, &worker);
        return;
    }
    if (slot->pid <= 0) {
        return;
    }
    worker.kill_delay_ms = 50;
    rv_pool_adopt(master->pool, number, &worker);
    int rc = rv__worker_adopt(master, number, slot->pid, slot->start_time);
    if (!rc) {
        master->workers[number]->is_told = slot->is_told;
        if (worker.state == RV_POOL_DRAINING) {
            rv__worker_drain(master->workers[number]);
        }
    } else {
        struct rv_pool_exit how = {RV_POOL_EXIT_UNKNOWN, 0};
        rv_pool_exited(master->pool, number, &how, rv_loop_now(&master->loop));
    }
}

void
rv__registry_adopt(struct rv__master *master)
{
    int n = 0;
    for (int i = 0; i < master->max_workers; i++) {
        struct slot slot = master->registry->slots[i];
        if (slot.state == RV_POOL_EMPTY && !slot.pid) {
            continue;
        }
        if (is_plausible(master, &slot)) {
            adopt_slot(master, i, &slot);
            n += master->workers[i] != NULL;
        }
    }
    struct rv_process_end end;
    if (!master->n_restarts) {
        rv_log_info("took over after the keeper died: %d workers", n);
        return;
    }
    rv_process_end_decode(master->last_status, &end);
    rv_log_info("took over from a master that died (%s %d): %d workers, "
                "restart number %d",
                end.is_signal ? "signal" : "status", end.value, n,
                master->n_restarts);
}

static int
list_orphans(int fd, struct rv_buf *text, pid_t *pids, size_t max_pids)
{
    struct file_slot slot;
    size_t n = 0;
    while (n < max_pids && read(fd, &slot, sizeof slot) == sizeof slot) {
        slot.service[sizeof slot.service - 1] = '\0';
        struct rv_process_info info;
        if (slot.pid > 1 && !rv_process_info(slot.pid, &info)
            && info.start_time == slot.start_time && info.state != 'Z') {
            rv_buf_printf(text, "%s%s.%d (pid %d)", n ? ", " : "",
                          slot.service, slot.index, slot.pid);
            pids[n++] = slot.pid;
        }
    }
    return (int)n;
}

enum { ORPHAN_WAIT_MS = 5000 };

static void
stop_orphans(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++) {
        int pidfd = -1;
        if (!rv_pidfd_open(pids[i], 0, &pidfd)) {
            rv_log_warn("stopping worker %d of a reeve that died",
                        (int)pids[i]);
            kill(-pids[i], SIGKILL);
            rv_pidfd_signal(pidfd, SIGKILL);
            /* Their sockets are free only when they are gone. */
            struct pollfd ended = {pidfd, POLLIN, 0};
            poll(&ended, 1, ORPHAN_WAIT_MS);
            rv_fd_close(&pidfd);
        }
    }
}

int
rv__registry_check_orphans(struct rv__master *master, struct rv_error *error)
{
    enum { MAX_ORPHANS = 1024 };
    char path[RV__PATH * 2];
    static const struct rv_buf empty = {.maximum = 900};
    struct rv_buf text = empty;
    pid_t pids[MAX_ORPHANS];
    snprintf(path, sizeof path, "%s/%s.registry", master->rundir,
             master->conf->conf->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return 0;
    }
    int n = list_orphans(fd, &text, pids, MAX_ORPHANS);
    rv_fd_close(&fd);
    int rc = 0;
    if (n && !master->options.take_over) {
        rc = rv_error_set(
            error, -EBUSY,
            "%d workers of a reeve \"%s\" that died still serve: %s; start "
            "with --take-over to stop them and start anew",
            n, master->conf->conf->name, rv_buf_string(&text));
    } else {
        stop_orphans(pids, n);
        unlink(path);
    }
    rv_buf_deinit(&text);
    return rc;
}
