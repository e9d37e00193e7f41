/* See kills.h.
 *
 *     kills [--seed N] [--kills N] [--seconds S] [--workload NAME]
 *           [--processes P] [--threads T] [--every K] [--exchange]
 *
 * Ways to die: SIGKILL at once; after a while under SIGSTOP; by execve(2) in
 * a signal handler, the process living on as another program; and, with
 * threads, one thread alone.  Some are stopped and only go on.
 */
#include "kills.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "reeve/slab.h"
#include "steps_watch.h"

enum { HANG_SECONDS = 20, REST_POLL_MS = 50, MAX_GONE = 4, WAYS = 32 };

/* Instead of a rest's number: the thread has ended. */
#define RESTS_FOR_EVER UINT32_MAX

/* Beside the zone. */
struct shared {
    struct diary diaries[MAX_WORKERS];
    uint32_t rest; /* 0: work; else the number of a rest. */
    uint32_t is_wrong;
    char wrong[256];
};

struct options {
    uint64_t seed, n_kills, seconds, every;
    const struct kill_workload *workload;
    uint32_t n_processes, n_threads;
    bool is_exchange;
};

struct totals {
    uint64_t n_kills, n_stops, n_execs, n_thread_deaths, n_audits, n_healed;
    double rest_ms, max_rest_ms;
};

struct director {
    struct options options;
    struct totals totals;
    struct shared *shared;
    struct rv_zone *zone;
    int fd;
    uint64_t random;
    uint32_t n_rests;
    pid_t pids[MAX_PLACES]; /* 0: the place is free. */
    bool is_dying[MAX_PLACES];
    pid_t gone[MAX_GONE]; /* Those that became another program. */
    uint32_t n_gone;
};

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
become_another(int signal_number)
{
    static const char *const args[] = {"kills", "--gone", NULL};
    (void)signal_number;
    execve("/proc/self/exe", (char *const *)(uintptr_t)args, NULL);
    _exit(9);
}

static void
end_thread(int signal_number)
{
    (void)signal_number;
    syscall(SYS_exit, 0);
}

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
    __atomic_store_n(&worker->diary->tid, (uint32_t)gettid(),
                     __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t number = __atomic_load_n(&shared->rest, __ATOMIC_SEQ_CST);
        if (number) {
            rest(worker, shared, number);
        }
        workload->operate(worker);
        worker->diary->n_operations++;
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
    my_shared = director->shared;
    setpriority(PRIO_PROCESS, 0, 5);
    signal(SIGUSR1, become_another);
    signal(SIGUSR2, end_thread);
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
        struct diary *diary =
            &director->shared->diaries[process * MAX_THREADS + i];
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

/* --------------------------------------------------------------------- death */

static void
end_process(struct director *director, uint32_t process)
{
    pid_t pid = director->pids[process];
    kill(pid, SIGKILL);
    setpriority(PRIO_PROCESS, (id_t)pid, -20);
    director->is_dying[process] = true;
}

/* Some time goes by, microseconds. */
static void
let_time_pass(struct director *director, uint64_t most_us)
{
    uint64_t us = watch_random(&director->random, most_us);
    struct timespec timeout = {.tv_nsec = (long)us * 1000};
    ppoll(NULL, 0, &timeout, NULL);
}

static bool
is_ready(const struct director *director, uint32_t process)
{
    for (uint32_t i = 0; i < director->options.n_threads; i++) {
        const struct diary *diary =
            &director->shared->diaries[process * MAX_THREADS + i];
        if (__atomic_load_n(&diary->tid, __ATOMIC_SEQ_CST) == 0) {
            return false;
        }
    }
    return true;
}

static bool
is_another(pid_t pid)
{
    char path[64];
    char text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n == sizeof "kills\0--gone" && strcmp(text + 6, "--gone") == 0;
}

/* Its process lives on as another program; sooner or later that ends, too. */
static void
make_another(struct director *director, uint32_t process)
{
    pid_t pid = director->pids[process];
    uint32_t at = director->n_gone++ % MAX_GONE;
    kill(pid, SIGUSR1);
    while (!is_another(pid)) {
        sched_yield();
    }
    if (director->gone[at]) {
        kill(director->gone[at], SIGKILL);
        waitpid(director->gone[at], NULL, 0);
    }
    director->gone[at] = pid;
    director->pids[process] = 0;
    director->totals.n_execs++;
}

static void
end_one_thread(struct director *director, uint32_t process)
{
    uint32_t i =
        1
        + (uint32_t)watch_random(&director->random,
                                 RV_MAX(director->options.n_threads, 2) - 1);
    struct diary *diary =
        &director->shared->diaries[process * MAX_THREADS + i];
    if (diary->rests_in == RESTS_FOR_EVER) {
        return;
    }
    while (tgkill(director->pids[process], (pid_t)diary->tid, SIGUSR2) == 0) {
        sched_yield();
    }
    diary->rests_in = RESTS_FOR_EVER;
    director->totals.n_thread_deaths++;
}

/* Does something bad to one; then it is to be replaced, or not. */
static bool
strike(struct director *director, uint32_t process)
{
    pid_t pid = director->pids[process];
    switch (watch_random(&director->random, WAYS)) {
    case 0:
    case 1: /* The others may need what it holds. */
        kill(pid, SIGSTOP);
        let_time_pass(director, 3000);
        director->totals.n_stops++;
        if (watch_random(&director->random, 2)) {
            kill(pid, SIGCONT);
            return false;
        }
        break;
    case 2:
        if (is_ready(director, process)) {
            make_another(director, process);
            return true;
        }
        break;
    case 3:
    case 4:
        if (director->options.n_threads > 1 && is_ready(director, process)) {
            end_one_thread(director, process);
            return false;
        }
        break;
    default:
        break;
    }
    end_process(director, process);
    return true;
}

/* --------------------------------------------------------------------- rests */

static void
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
        const struct diary *diary =
            &director->shared->diaries[process * MAX_THREADS + i];
        uint32_t in = __atomic_load_n(&diary->rests_in, __ATOMIC_SEQ_CST);
        if (director->is_dying[process]
            || (in != number && in != RESTS_FOR_EVER)) {
            return false;
        }
    }
    return true;
}

static bool
do_all_rest(struct director *director, uint32_t number)
{
    for (uint32_t i = 0; i < MAX_PLACES; i++) {
        if (!bury(director, i, WNOHANG) && !does_rest(director, i, number)) {
            return false;
        }
    }
    return true;
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
    __atomic_store_n(&shared->rest, number, __ATOMIC_SEQ_CST);
    while (!do_all_rest(director, number)) {
        check_wrong(director);
        sched_yield();
    }
    double ms = ms_now() - start;
    director->totals.rest_ms += ms;
    director->totals.max_rest_ms = RV_MAX(director->totals.max_rest_ms, ms);
    int n = rv_zone_heal(director->zone);
    if (n < 0 || rv_zone_check(director->zone, &error)) {
        watch_fail("heal: %d, check: %s", n, n < 0 ? "" : error.text);
    }
    director->options.workload->audit(director->zone, shared->diaries);
    director->totals.n_healed += (uint64_t)n;
    director->totals.n_audits++;
    __atomic_store_n(&shared->rest, 0, __ATOMIC_SEQ_CST);
    rv_futex_wake(&shared->rest, INT32_MAX);
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
    director->shared =
        mmap(NULL, sizeof *director->shared, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (director->shared == MAP_FAILED) {
        watch_fail("mmap: %s", strerror(errno));
    }
    if (rv_zone_create(&settings, &director->fd, &error)
        || rv_zone_attach(director->fd, NULL, &director->zone, &error)) {
        watch_fail("%s", error.text);
    }
    the_watch.zone = director->zone;
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
    printf("kills: %s, seed %" PRIu64 ": %" PRIu64 " kills (%.0f a second; "
           "%" PRIu64 " by exec), %" PRIu64 " threads ended, %" PRIu64
           " stops, %" PRIu64 " audits, %" PRIu64 " operations; longest wait "
           "for a rest %.0f ms, mean %.1f; 0 hangs, 0 wrong\n",
           director->options.workload->name, director->options.seed,
           t->n_kills, (double)t->n_kills * 1e3 / ms, t->n_execs,
           t->n_thread_deaths, t->n_stops, t->n_audits, n_operations,
           t->max_rest_ms, t->rest_ms / (double)RV_MAX(t->n_audits, 1));
}

static const struct kill_workload *
find_workload(const char *name)
{
    static const struct kill_workload *const workloads[] = {&bank_workload,
                                                            &slab_workload};
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
