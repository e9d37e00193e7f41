/* See kills.h.
 *
 *     kills [--seed N] [--kills N] [--seconds S] [--workload NAME]
 *           [--processes P] [--threads T] [--every K] [--exchange] [--big N]
 *           [--slow MS]
 *
 * 'big' is how many have a gigabyte of memory when they die; who waits longer
 * than 'slow' milliseconds for a rest is told who holds what.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kills_director.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "reeve/slab.h"
#include "steps_watch.h"

enum { HANG_SECONDS = 60, REST_POLL_MS = 50 };

/* What a thread of a worker begins with. */
struct start {
    const struct director *director;
    const struct rv_zone *zone; /* Of the first thread. */
    struct worker worker;
};

/* Of a worker: so that it can say what is wrong.  NULL: the director. */
static struct shared *my_shared;

void
find_wrong(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!my_shared) {
        watch_fail("%s", text);
    }
    if (!__atomic_exchange_n(&my_shared->is_wrong, 1, __ATOMIC_SEQ_CST)) {
        memcpy(my_shared->wrong, text, sizeof text);
        __atomic_store_n(&my_shared->is_wrong, 2, __ATOMIC_SEQ_CST);
    }
    for (;;) {
        pause();
    }
}

void
make_root(struct rv_zone *zone, const char *name, size_t n)
{
    uint64_t offset = 0;
    int rc = rv_slab_reserve(zone, n, 1, 0);
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    rc = rc ? rc : rv_slab_take(zone, n, &offset);
    if (!rc) {
        memset(rv_zone_at(zone, offset, n), 0, n);
        rc = rv_zone_root_set(zone, name, 1, offset);
    }
    rc = rc ? rc : rv_tx_commit(zone);
    if (rc) {
        find_wrong("make_root: %d", rc);
    }
}

void *
find_root(const struct rv_zone *zone, const char *name, size_t n)
{
    uint64_t type;
    uint64_t offset = 0;
    int rc = rv_zone_root_get(zone, name, &type, &offset);
    void *place = rc ? NULL : rv_zone_at(zone, offset, n);
    if (!place) {
        find_wrong("root %s is gone: %d", name, rc);
    }
    return place;
}

/* ------------------------------------------------------------------ workers */

static void
rest(struct worker *worker, struct shared *shared, uint32_t number)
{
    __atomic_store_n(&worker->diary->rests_in, number, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&shared->rest, __ATOMIC_SEQ_CST) == number) {
        rv_futex_wait_block(&shared->rest, number, REST_POLL_MS);
    }
    __atomic_store_n(&worker->diary->rests_in, 0, __ATOMIC_SEQ_CST);
}

static void
work(struct worker *worker, const struct director *director)
{
    struct shared *shared = director->shared;
    const struct kill_workload *workload = director->options.workload;
    if (workload->begin) {
        workload->begin(worker);
    }
    __atomic_store_n(&worker->diary->tid, (uint32_t)gettid(),
                     __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t number = __atomic_load_n(&shared->rest, __ATOMIC_SEQ_CST);
        if (number) {
            rest(worker, shared, number);
        }
        workload->operate(worker);
        note(&worker->diary->n_operations, worker->diary->n_operations + 1);
    }
}

static void *
run_thread(void *argument)
{
    struct start *start = argument;
    struct rv_error error;
    if (rv_zone_join(start->zone, &start->worker.zone, &error)) {
        find_wrong("join: %s", error.text);
    }
    work(&start->worker, start->director);
    return NULL;
}

static void
init_worker(struct worker *worker, const struct director *director,
            uint32_t index, uint64_t seed)
{
    worker->index = index;
    worker->random = watch_seed(seed + index + 1);
    worker->diary = &director->shared->diaries[index];
}

static void
run_process(const struct director *director, uint32_t process, uint64_t seed)
{
    static struct start starts[MAX_THREADS];
    uint32_t n_threads = director->options.n_threads;
    struct rv_error error;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != director->pid) {
        _exit(1); /* It died before it could be asked for. */
    }
    my_shared = director->shared;
    setpriority(PRIO_PROCESS, 0, 5);
    prepare_to_end(director->shared);
    for (uint32_t i = 0; i < n_threads; i++) {
        starts[i].director = director;
        init_worker(&starts[i].worker, director, process * MAX_THREADS + i,
                    seed);
    }
    struct worker *first = &starts[0].worker;
    if (rv_zone_attach(director->fd, NULL, &first->zone, &error)) {
        find_wrong("attach: %s", error.text);
    }
    /* What a dead worker of this place left undone is undone first, as this
     * one goes on with what was its alone. */
    if (rv_zone_heal(first->zone) < 0) {
        find_wrong("heal");
    }
    for (uint32_t i = 1; i < n_threads; i++) {
        pthread_t thread;
        starts[i].zone = first->zone;
        if (pthread_create(&thread, NULL, run_thread, &starts[i])) {
            find_wrong("pthread_create");
        }
    }
    work(first, director);
}

/* Whether the dying process of a place is dead by now; then it is free. */
static bool
bury(struct director *director, uint32_t place, int options)
{
    pid_t pid = director->pids[place];
    if (pid && director->is_dying[place]
        && waitpid(pid, NULL, options) == pid) {
        director->pids[place] = 0;
        director->is_dying[place] = false;
        the_watch.pids[place] = 0;
    }
    return director->pids[place] == 0;
}

/* Who is to die must run to do so, which may take its time; so others live
 * and die meanwhile. */
static uint32_t
find_free_place(struct director *director)
{
    for (int options = WNOHANG;; options = 0) {
        for (uint32_t i = 0; i < MAX_PLACES; i++) {
            if (bury(director, i, options)) {
                return i;
            }
        }
    }
}

static void
start_process(struct director *director)
{
    uint32_t process = find_free_place(director);
    uint64_t seed = watch_random(&director->random, UINT64_C(1) << 40);
    for (uint32_t i = 0; i < MAX_THREADS; i++) {
        struct diary *diary = diary_of(director, process, i);
        diary->tid = 0;
        diary->rests_in = 0;
    }
    pid_t pid = fork();
    if (pid == 0) {
        run_process(director, process, seed);
        _exit(0);
    }
    if (pid < 0) {
        find_wrong("fork: %s", strerror(errno));
    }
    director->pids[process] = pid;
    the_watch.pids[process] = pid;
}

/* --------------------------------------------------------------------- rests */

void
check_wrong(const struct director *director)
{
    struct shared *shared = director->shared;
    if (__atomic_load_n(&shared->is_wrong, __ATOMIC_SEQ_CST) == 2) {
        watch_fail("a worker: %s", shared->wrong);
    }
}

static bool
does_rest(const struct director *director, uint32_t process, uint32_t number)
{
    for (uint32_t i = 0; i < director->options.n_threads; i++) {
        const struct diary *diary = diary_of(director, process, i);
        uint32_t in = __atomic_load_n(&diary->rests_in, __ATOMIC_SEQ_CST);
        if (director->is_dying[process]
            || (in != number && in != RESTS_FOR_EVER)) {
            return false;
        }
    }
    return true;
}

/* Nobody ends but by the director's hand. */
static void
check_alive(const struct director *director, uint32_t process)
{
    int status;
    pid_t pid = director->pids[process];
    if (pid && !director->is_dying[process]
        && waitpid(pid, &status, WNOHANG) == pid) {
        watch_fail("process %d ended by itself, status %#x", (int)pid,
                   (unsigned int)status);
    }
}

static bool
do_all_rest(struct director *director, uint32_t number)
{
    for (uint32_t i = 0; i < MAX_PLACES; i++) {
        check_alive(director, i);
        if (!bury(director, i, WNOHANG) && !does_rest(director, i, number)) {
            return false;
        }
    }
    return true;
}

/* Says whose diary ends with what the zone has to say. */
static void
mark_living(const struct director *director)
{
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        struct diary *diary = &director->shared->diaries[i];
        diary->is_living = director->pids[i / MAX_THREADS]
                           && i % MAX_THREADS < director->options.n_threads
                           && diary->rests_in != RESTS_FOR_EVER;
    }
}

static double
ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
audit(struct director *director)
{
    struct shared *shared = director->shared;
    struct rv_error error;
    uint32_t number = ++director->n_rests;
    double start = ms_now();
    the_watch.stage = "all are to rest";
    __atomic_store_n(&shared->rest, number, __ATOMIC_SEQ_CST);
    bool is_told = director->options.slow_ms == 0;
    while (!do_all_rest(director, number)) {
        check_wrong(director);
        wait_a_moment();
        if (!is_told && ms_now() - start > (double)director->options.slow_ms) {
            is_told = true;
            printf("kills: slow, number %" PRIu64 "\n", the_watch.number);
            watch_describe();
            fflush(stdout);
        }
    }
    double ms = ms_now() - start;
    director->totals.rest_ms += ms;
    director->totals.max_rest_ms = RV_MAX(director->totals.max_rest_ms, ms);
    the_watch.stage = "audit";
    int n = rv_zone_heal(director->zone);
    if (n < 0 || rv_zone_check(director->zone, &error)) {
        watch_fail("heal: %d, check: %s", n, n < 0 ? "" : error.text);
    }
    mark_living(director);
    director->options.workload->audit(director->zone, shared->diaries);
    director->totals.n_healed += (uint64_t)n;
    director->totals.n_audits++;
    director->totals.audit_ms += ms_now() - start - ms;
    __atomic_store_n(&shared->rest, 0, __ATOMIC_SEQ_CST);
    rv_futex_wake(&shared->rest, INT32_MAX);
    the_watch.stage = NULL;
    watch_progress();
}

/* ---------------------------------------------------------------------- main */

static uint32_t
choose_living(struct director *director)
{
    uint32_t place;
    do {
        place = (uint32_t)watch_random(&director->random, MAX_PLACES);
    } while (!director->pids[place] || director->is_dying[place]);
    return place;
}

static void
direct(struct director *director)
{
    const struct options *options = &director->options;
    double end = ms_now() + (double)options->seconds * 1e3;
    while (director->totals.n_kills < options->n_kills && ms_now() < end) {
        the_watch.number = director->totals.n_kills;
        uint32_t process = choose_living(director);
        if (watch_random(&director->random, 4) == 0) {
            let_time_pass(director, 2000);
        }
        if (strike(director, process)) {
            director->totals.n_kills++;
            start_process(director);
            if (director->totals.n_kills % options->every == 0) {
                audit(director);
            }
        }
        check_wrong(director);
    }
    audit(director);
}

/* For the watchdog. */
static const struct shared *watched_shared;

static void
describe_workers(void)
{
    for (uint32_t i = 0; watched_shared && i < MAX_WORKERS; i++) {
        const struct diary *diary = &watched_shared->diaries[i];
        if (diary->tid) {
            printf("  worker %" PRIu32 " (process %" PRIu32 "%s): thread "
                   "%" PRIu32 ", rests in %" PRIu32 " of %" PRIu32 ", %" PRIu64
                   " operations\n",
                   i, i / MAX_THREADS, is_reader(i) ? ", reader" : "",
                   diary->tid, diary->rests_in, watched_shared->rest,
                   diary->n_operations);
        }
    }
}

static void
set_up(struct director *director)
{
    const struct options *options = &director->options;
    struct rv_zone_settings settings = {
        .name = "torture",
        .size_bytes = options->workload->heap_bytes,
        .n_members = 2 * MAX_PLACES * options->n_threads + 1,
        .is_exchange = options->is_exchange};
    struct rv_error error;
    director->pid = getpid();
    director->shared =
        mmap(NULL, sizeof *director->shared, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (director->shared == MAP_FAILED) {
        watch_fail("mmap: %s", strerror(errno));
    }
    watched_shared = director->shared;
    if (rv_zone_create(&settings, &director->fd, &error)
        || rv_zone_attach(director->fd, NULL, &director->zone, &error)) {
        watch_fail("%s", error.text);
    }
    the_watch.zone = director->zone;
    the_watch.describe = describe_workers;
    make_cgroup(director);
    options->workload->setup(director->zone);
    director->random = watch_seed(options->seed);
    for (uint32_t i = 0; i < options->n_processes; i++) {
        start_process(director);
    }
}

static void
tear_down(struct director *director)
{
    for (uint32_t i = 0; i < MAX_PLACES; i++) {
        if (director->pids[i]) {
            end_process(director, i);
            bury(director, i, 0);
        }
    }
    for (uint32_t i = 0; i < MAX_GONE; i++) {
        if (director->gone[i]) {
            kill(director->gone[i], SIGKILL);
            waitpid(director->gone[i], NULL, 0);
        }
    }
    remove_cgroup(director);
    rv_zone_detach(&director->zone);
    rv_fd_close(&director->fd);
}

static void
report(const struct director *director, double ms)
{
    const struct totals *t = &director->totals;
    uint64_t n_operations = 0;
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        n_operations += director->shared->diaries[i].n_operations;
    }
    double n_audits = (double)RV_MAX(t->n_audits, 1);
    printf("kills: %s, seed %" PRIu64 ": %" PRIu64 " kills, %.0f a second "
           "(%" PRIu64 " by exec, %" PRIu64 " for want of memory, %" PRIu64
           " of 1 GiB)\n",
           director->options.workload->name, director->options.seed,
           t->n_kills, (double)t->n_kills * 1e3 / ms, t->n_execs, t->n_starved,
           t->n_big);
    printf("kills: %" PRIu64 " threads ended, %" PRIu64 " stops (%" PRIu64
           " long; %" PRIu64 " looked at, %" PRIu64
           " of them within a transaction), %" PRIu64 " operations\n",
           t->n_thread_deaths, t->n_stops, t->n_long_stops, t->n_watched,
           t->n_caught, n_operations);
    printf("kills: %" PRIu64 " audits of %.1f ms, after a wait of %.1f ms, "
           "at most %.0f; 0 hangs, 0 wrong\n",
           t->n_audits, t->audit_ms / n_audits, t->rest_ms / n_audits,
           t->max_rest_ms);
    if (director->options.workload->report) {
        director->options.workload->report(director->zone);
    }
}

static const struct kill_workload *
find_workload(const char *name)
{
    static const struct kill_workload *const workloads[] = {
        &bank_workload, &slab_workload, &dict_workload, &queue_workload,
        &metric_workload};
    for (size_t i = 0; i < RV_ARRAY_SIZE(workloads); i++) {
        if (strcmp(workloads[i]->name, name) == 0) {
            return workloads[i];
        }
    }
    exit(64);
}

static void
set_option(struct options *options, int name, const char *text)
{
    uint64_t value = text ? strtoull(text, NULL, 10) : 0;
    switch (name) {
    case 's':
        options->seed = value;
        break;
    case 'k':
        options->n_kills = value;
        break;
    case 't':
        options->seconds = value;
        break;
    case 'e':
        options->every = RV_MAX(value, 1);
        break;
    case 'p':
        options->n_processes =
            (uint32_t)RV_MIN(RV_MAX(value, 1), MAX_PROCESSES);
        break;
    case 'r':
        options->n_threads = (uint32_t)RV_MIN(RV_MAX(value, 1), MAX_THREADS);
        break;
    case 'w':
        options->workload = find_workload(text);
        break;
    case 'b':
        options->n_big = value;
        break;
    case 'l':
        options->slow_ms = value;
        break;
    case 'x':
        options->is_exchange = true;
        break;
    default:
        exit(64);
    }
}

static void
read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},
        {"kills", required_argument, NULL, 'k'},
        {"seconds", required_argument, NULL, 't'},
        {"every", required_argument, NULL, 'e'},
        {"processes", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 'r'},
        {"workload", required_argument, NULL, 'w'},
        {"big", required_argument, NULL, 'b'},
        {"slow", required_argument, NULL, 'l'},
        {"exchange", no_argument, NULL, 'x'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        set_option(options, c, optarg);
    }
}

int
main(int argc, char **argv)
{
    static struct director director;
    if (argc == 2 && strcmp(argv[1], "--gone") == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    director.fd = -1;
    director.options = (struct options){.seed = (uint64_t)rv_clock_ms(),
                                        .n_kills = 1000000,
                                        .seconds = 3600,
                                        .every = 20,
                                        .workload = &bank_workload,
                                        .n_processes = 4,
                                        .n_threads = 1};
    read_options(argc, argv, &director.options);
    the_watch.what = director.options.workload->name;
    watch_start(HANG_SECONDS);
    printf("kills: %s, seed %" PRIu64 "\n", director.options.workload->name,
           director.options.seed);
    fflush(stdout);
    setpriority(PRIO_PROCESS, 0, -20);
    set_up(&director);
    double start = ms_now();
    direct(&director);
    report(&director, ms_now() - start);
    tear_down(&director);
    return 0;
}
