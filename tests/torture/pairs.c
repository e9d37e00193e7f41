/* Two processes and a death between them.
 *
 *     pairs [--seed N] [--seconds S] [--role TEXT] [--exchange] [--verbose]
 *
 * The victim, which runs a transaction, is led to an instruction; then a
 * partner runs until it sleeps or has ended; then the victim is led on by up
 * to 23 instructions, and killed.  The partner must come to its end, with no
 * help but the kernel's, and the victim's transaction have happened wholly or
 * not at all.  All pairs of instruction and number, unless --seconds; then as
 * many as there is time for, in no order.
 *
 * A partner that was woken late, by the timeout with which it sleeps, is
 * counted: a wake-up was lost, or the machine is busy.  If that befalls one of
 * 8 that slept, something is wrong.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/fd.h"
#include "pairs.h"
#include "reeve/slab.h"
#include "shm/handle.h"
#include "steps_copy.h"
#include "steps_trace.h"
#include "steps_watch.h"

enum {
    N_WORDS = PAIRS_WORDS,
    MORE_STEPS = 24,
    HANG_SECONDS = 20,
    LATE_MS = 45,
    HEALING_RELEASES = 16, /* See lock.c. */
    MAX_POINTS = 1 << 16,
    HEAP_PAGES = 32,
};

struct options {
    uint64_t seed, seconds;
    const char *role;
    bool is_exchange, is_verbose;
};

struct totals {
    uint64_t n_cases, n_asleep, n_late, n_dead_owners, n_new, max_steps;
    double max_ms;
};

struct pairs {
    struct options options;
    struct zone_image image;
    uint64_t random;
    struct totals totals;
    struct trace_point *points;
    uint32_t n_points;
    const struct play *play; /* Of image and points. */
};

/* One case. */
struct pair {
    const struct role *role;
    struct actor director;
    struct tracee victim;
    struct tracee second; /* The partner, if it is led. */
    pid_t partner;
    int partners_stat;
};

static double
ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void
pairs_must(int rc, const char *what)
{
    if (rc) {
        printf("FAILED: %s of process %d: %d\n", what, (int)getpid(), rc);
        fflush(stdout);
        _exit(3);
    }
}

/* -------------------------------------------------------------------- actors */

static void
attach(struct actor *actor)
{
    struct rv_error error;
    uint64_t type;
    uint64_t offset = 0;
    pairs_must(rv_zone_attach(actor->fd, NULL, &actor->zone, &error),
               "attach");
    pairs_must(rv_zone_root_get(actor->zone, "things", &type, &offset),
               "root_get");
    actor->things = rv_zone_at(actor->zone, offset, sizeof(struct things));
}

static void
enter(const struct role *role, struct actor *actor)
{
    attach(actor);
    if (role->play && role->play->enter) {
        role->play->enter(actor);
    }
}

static void
add(struct actor *actor)
{
    struct things *things = actor->things;
    for (size_t i = 0; i < N_WORDS; i++) {
        rv_tx_set64(actor->zone, &things->words[i], things->words[i] + 1);
    }
    pairs_must(rv_tx_commit(actor->zone), "commit");
}

static void
play_victim(void *argument)
{
    const struct pair *pair = argument;
    struct actor actor = {.fd = pair->director.fd};
    enter(pair->role, &actor);
    trace_ready();
    if (pair->role->play) {
        pair->role->play->act(&actor);
        return;
    }
    pairs_must(rv_tx_begin(actor.zone, &actor.things->lock, N_WORDS), "begin");
    add(&actor);
}

static void
set_word(struct actor *actor)
{
    const struct things *things = actor->things;
    if (things->words[0] != things->words[N_WORDS - 1]) {
        pairs_must(-EUCLEAN, "what the partner sees");
    }
    rv_tx_set64(actor->zone, &actor->things->partners_word, 1);
    pairs_must(rv_tx_commit(actor->zone), "partner's commit");
}

static void
write_word(struct actor *actor)
{
    pairs_must(rv_tx_begin(actor->zone, &actor->things->lock, 1),
               "partner's begin");
    set_word(actor);
}

static void
try_to_write(struct actor *actor)
{
    int rc = rv_tx_try_begin(actor->zone, &actor->things->lock, 1);
    if (rc != -EBUSY) {
        pairs_must(rc, "partner's try_begin");
        set_word(actor);
    }
}

static void
read_root(struct actor *actor)
{
    uint64_t type, offset;
    pairs_must(rv_zone_root_get(actor->zone, "things", &type, &offset),
               "root_get");
}

static void
heal(struct actor *actor)
{
    int n = rv_zone_heal(actor->zone);
    pairs_must(n < 0 ? n : 0, "heal");
}

/* Comes and goes, as all roles do. */
static void
do_nothing(struct actor *actor)
{
    (void)actor;
}

static const struct role roles[] = {
    {.name = "writer",
     .act = write_word,
     .is_waiting = true,
     .has_written = true},
    {.name = "trier", .act = try_to_write},
    {.name = "reader", .act = read_root},
    {.name = "healer", .act = heal},
    {.name = "newcomer", .act = do_nothing},
    {.name = "dying",
     .act = write_word,
     .is_waiting = true,
     .is_to_die = true},
    {.name = "stepped",
     .act = write_word,
     .is_to_die = true,
     .is_stepped = true},
};

/* --------------------------------------------------------------------- cases */

static void
start_partner(struct pair *pair)
{
    pair->partner = fork();
    if (pair->partner == 0) {
        struct actor actor = {.fd = pair->director.fd};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        enter(pair->role, &actor);
        pair->role->act(&actor);
        pairs_must(rv_zone_detach(&actor.zone), "detach");
        _exit(0);
    }
    if (pair->partner < 0) {
        trace_die("fork");
    }
    the_watch.pids[1] = pair->partner;
    pair->partners_stat = trace_open_stat(pair->partner);
}

static void
kill_second(void *argument)
{
    const struct pair *pair = argument;
    kill(pair->second.pid, SIGKILL);
}

/* The partner does as the victim does, comes to some instruction, or to where
 * it sleeps, and dies. */
static void
lose_partner(struct pairs *pairs, struct pair *pair)
{
    uint64_t n = watch_random(&pairs->random, pairs->n_points);
    trace_start(&pair->second, play_victim, pair);
    the_watch.pids[1] = pair->second.pid;
    trace_run_to(&pair->second, &pairs->points[n], kill_second, pair);
    trace_kill(&pair->second);
    the_watch.pids[1] = 0;
}

static void
play_counted(void *argument)
{
    const struct pair *pair = argument;
    struct actor actor = {.fd = pair->director.fd};
    enter(pair->role, &actor);
    trace_ready();
    pair->role->act(&actor);
}

/* The partner ends by itself, soon, while the victim stands still. */
static void
count_partner(struct pairs *pairs, struct pair *pair)
{
    uint64_t n = 0;
    trace_start(&pair->second, play_counted, pair);
    the_watch.pids[1] = pair->second.pid;
    while (trace_step(&pair->second, false) != TRACE_ENDED) {
        if (++n > PAIRS_STEPS) {
            watch_fail("the partner does not end");
        }
    }
    if (pair->second.status) {
        watch_fail("the partner ended with %#x",
                   (unsigned int)pair->second.status);
    }
    trace_kill(&pair->second);
    the_watch.pids[1] = 0;
    pairs->totals.max_steps = RV_MAX(pairs->totals.max_steps, n);
}

/* Whether the partner is gone; it must have ended well. */
static bool
reap_partner(struct pair *pair, int options)
{
    int status = 0;
    pid_t pid = 0;
    if (pair->partner) {
        do {
            pid = waitpid(pair->partner, &status, options);
        } while (pid < 0 && errno == EINTR);
    }
    if (pid > 0) {
        pair->partner = 0;
        the_watch.pids[1] = 0;
        close(pair->partners_stat);
        if (status && !pair->role->is_to_die) {
            watch_fail("the partner ended with %#x", (unsigned int)status);
        }
    }
    return pair->partner == 0;
}

/* Until the partner sleeps or has ended. */
static void
run_partner(struct pairs *pairs, struct pair *pair)
{
    start_partner(pair);
    for (int n_asleep = 0; n_asleep < 3;) {
        if (reap_partner(pair, WNOHANG)) {
            return;
        }
        n_asleep = trace_is_asleep(pair->partners_stat) ? n_asleep + 1 : 0;
        sched_yield();
    }
    if (!pair->role->is_waiting) {
        /* Asleep for a moment perhaps, in the kernel; but it ends. */
        reap_partner(pair, 0);
        return;
    }
    pairs->totals.n_asleep++;
}

static void
end_both(struct pairs *pairs, struct pair *pair)
{
    double start = ms_now();
    if (pair->role->is_to_die) {
        if (pair->partner) {
            kill(pair->partner, SIGKILL);
            reap_partner(pair, 0);
        }
        trace_finish(&pair->victim);
        if (pair->victim.status) {
            watch_fail("the victim ended with %#x",
                       (unsigned int)pair->victim.status);
        }
    }
    trace_kill(&pair->victim);
    the_watch.pids[0] = 0;
    pairs->totals.n_dead_owners +=
        (pair->director.things->lock.word & FUTEX_OWNER_DIED) != 0;
    reap_partner(pair, 0);
    double ms = ms_now() - start;
    pairs->totals.max_ms = RV_MAX(pairs->totals.max_ms, ms);
    pairs->totals.n_late += ms >= LATE_MS;
    if (ms >= LATE_MS && pairs->options.is_verbose) {
        printf("late: number %" PRIu64 ", %.0f ms\n", the_watch.number, ms);
    }
}

static void
check_zone(const struct actor *director)
{
    struct rv_error error;
    if (rv_zone_heal(director->zone) < 0
        || rv_zone_check(director->zone, &error)
        || rv_slab_check(director->zone, &error)) {
        watch_fail("check: %s", error.text);
    }
}

static void
judge_play(struct pairs *pairs, struct pair *pair)
{
    const struct role *role = pair->role;
    bool is_new = role->play->judge(&pair->director, role->has_written);
    if (role->is_to_die && !is_new) {
        watch_fail("what was committed is lost");
    }
    pairs->totals.n_new += is_new;
    check_zone(&pair->director);
}

/* Takes the lock until its count of waiters is healed: a dead waiter stays
 * counted, and so does one whom the kernel woke for a dead holder. */
static void
heal_count(const struct actor *director)
{
    struct rv_lock *lock = &director->things->lock;
    int n = 0;
    do {
        pairs_must(rv_tx_begin(director->zone, lock, 0), "begin");
        pairs_must(rv_tx_commit(director->zone), "commit");
    } while (lock->waiters && n++ < HEALING_RELEASES);
}

static void
judge(struct pairs *pairs, struct pair *pair)
{
    struct actor *director = &pair->director;
    const struct things *things = director->things;
    uint64_t n_writers = pair->role->is_stepped ? 2 : 1;
    check_zone(director);
    if (pair->role->play) {
        judge_play(pairs, pair);
        return;
    }
    heal_count(director);
    for (size_t i = 0; i < N_WORDS; i++) {
        if (things->words[i] != things->words[0]
            || things->words[i] > n_writers) {
            watch_fail("word %zu is %" PRIu64, i, things->words[i]);
        }
    }
    if (pair->role->is_to_die && things->words[0] == 0) {
        watch_fail("what was committed is lost");
    }
    if (things->partners_word != 1 && pair->role->has_written) {
        watch_fail("the partner's word is lost");
    }
    if (things->lock.word) {
        watch_fail("the lock is held");
    }
    if (things->lock.waiters) {
        watch_fail("waiters are counted, and there are none");
    }
    pairs->totals.n_new += things->words[0];
}

static void
set_stage(struct pairs *pairs, struct pair *pair, const struct role *role)
{
    *pair = (struct pair){.role = role};
    watch_progress();
    pair->director.fd = image_open(&pairs->image);
    attach(&pair->director);
    the_watch.zone = pair->director.zone;
    trace_start(&pair->victim, play_victim, pair);
    the_watch.pids[0] = pair->victim.pid;
}

static void
clear_stage(struct pair *pair)
{
    the_watch.zone = NULL;
    rv_zone_detach(&pair->director.zone);
    rv_fd_close(&pair->director.fd);
}

static void
run_case(struct pairs *pairs, const struct role *role,
         const struct trace_point *point, uint32_t n_more)
{
    struct pair pair;
    the_watch.number = (uint64_t)point->number * MORE_STEPS + n_more;
    set_stage(pairs, &pair, role);
    trace_run_to(&pair.victim, point, NULL, NULL);
    if (role->is_stepped) {
        lose_partner(pairs, &pair);
    } else if (role->is_counted) {
        count_partner(pairs, &pair);
    } else {
        run_partner(pairs, &pair);
    }
    for (uint32_t i = 0; i < n_more; i++) {
        if (trace_step(&pair.victim, true) != TRACE_STOPPED) {
            break;
        }
    }
    end_both(pairs, &pair);
    judge(pairs, &pair);
    clear_stage(&pair);
    pairs->totals.n_cases++;
}

/* ---------------------------------------------------------------------- main */

static void
make_image(struct pairs *pairs, const struct play *play)
{
    struct rv_zone_settings settings = {
        .name = "torture",
        .size_bytes = HEAP_PAGES * RV_ZONE_PAGE_BYTES,
        .n_members = 4,
        .is_exchange = pairs->options.is_exchange};
    struct rv_error error;
    struct rv_zone *zone = NULL;
    uint64_t offset = 0;
    int fd = -1;
    pairs_must(rv_zone_create(&settings, &fd, &error), "create");
    pairs_must(rv_zone_attach(fd, NULL, &zone, &error), "attach");
    pairs_must(rv_slab_reserve(zone, sizeof(struct things), 1, 0), "reserve");
    pairs_must(rv_tx_begin(zone, rv_zone_root_lock(zone),
                           RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS),
               "begin");
    pairs_must(rv_slab_take(zone, sizeof(struct things), &offset), "take");
    memset(rv_zone_at(zone, offset, sizeof(struct things)), 0,
           sizeof(struct things));
    pairs_must(rv_zone_root_set(zone, "things", 1, offset), "root_set");
    pairs_must(rv_tx_commit(zone), "commit");
    if (play && play->fill) {
        play->fill(zone);
    }
    pairs_must(rv_zone_detach(&zone), "detach");
    image_read(&pairs->image, fd);
    rv_fd_close(&fd);
}

/* Finds all instructions of the victim. */
static void
rehearse(struct pairs *pairs, const struct role *role)
{
    struct pair pair;
    set_stage(pairs, &pair, role);
    pairs->n_points = 0;
    do {
        struct trace_point *point = &pairs->points[pairs->n_points];
        point->number = pairs->n_points++;
        point->place = trace_place(&pair.victim);
        point->hit = 1;
        for (uint32_t i = 0; i < point->number; i++) {
            point->hit += pairs->points[i].place == point->place;
        }
    } while (pairs->n_points < MAX_POINTS
             && trace_step(&pair.victim, false) == TRACE_STOPPED);
    trace_kill(&pair.victim);
    if (!role->play && pair.director.things->words[0] != 1) {
        watch_fail("the victim did nothing");
    }
    clear_stage(&pair);
}

static void
run_role(struct pairs *pairs, const struct role *role, double end_ms)
{
    the_watch.what = role->name;
    if (!pairs->n_points || role->play != pairs->play) {
        make_image(pairs, role->play);
        rehearse(pairs, role);
        pairs->play = role->play;
    }
    uint64_t n_all = (uint64_t)pairs->n_points * MORE_STEPS;
    struct totals was = pairs->totals;
    double start = ms_now();
    for (uint64_t i = 0; i < n_all; i++) {
        uint64_t which = i;
        if (end_ms > 0) {
            if (ms_now() > end_ms) {
                break;
            }
            which = watch_random(&pairs->random, n_all);
        }
        run_case(pairs, role, &pairs->points[which / MORE_STEPS],
                 (uint32_t)(which % MORE_STEPS));
    }
    const struct totals *now = &pairs->totals;
    if (pairs->options.is_verbose) {
        printf("%-14s %7" PRIu64 " cases, %7" PRIu64 " asleep, %6" PRIu64
               " dead owners, %6" PRIu64 " committed, %" PRIu64
               " late, %.1f s\n",
               role->name, now->n_cases - was.n_cases,
               now->n_asleep - was.n_asleep,
               now->n_dead_owners - was.n_dead_owners, now->n_new - was.n_new,
               now->n_late - was.n_late, (ms_now() - start) / 1e3);
        fflush(stdout);
    }
}

static void
read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"role", required_argument, NULL, 'r'},
        {"exchange", no_argument, NULL, 'x'},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 's':
            options->seed = strtoull(optarg, NULL, 10);
            break;
        case 't':
            options->seconds = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            options->role = optarg;
            break;
        case 'x':
            options->is_exchange = true;
            break;
        case 'v':
            options->is_verbose = true;
            break;
        default:
            exit(64);
        }
    }
}

static void
report(const struct pairs *pairs, double ms)
{
    const struct totals *t = &pairs->totals;
    printf("pairs: seed %" PRIu64 ": %" PRIu64 " cases (%.0f a minute), in "
           "%" PRIu64 " the partner slept, %" PRIu64 " dead owners, %" PRIu64
           " woken late, longest wait %.0f ms, longest read %" PRIu64
           " instructions; 0 hangs, 0 wrong\n",
           pairs->options.seed, t->n_cases,
           (double)t->n_cases * 60e3 / RV_MAX(ms, 1.0), t->n_asleep,
           t->n_dead_owners, t->n_late, t->max_ms, t->max_steps);
}

/* All that are wanted, an equal part of the time each. */
static void
run_roles(struct pairs *pairs)
{
    const struct role *chosen[64];
    const char *wanted = pairs->options.role;
    size_t n = 0;
    for (size_t i = 0; i < RV_ARRAY_SIZE(roles); i++) {
        if (!wanted || strstr(roles[i].name, wanted)) {
            chosen[n++] = &roles[i];
        }
    }
    for (const struct role *role = pairs_more; role->name; role++) {
        if (!wanted || strstr(role->name, wanted)) {
            chosen[n++] = role;
        }
    }
    double start = ms_now();
    double ms = (double)pairs->options.seconds * 1e3;
    for (size_t i = 0; i < n; i++) {
        double end = start + ms * (double)(i + 1) / (double)n;
        run_role(pairs, chosen[i], ms > 0 ? end : 0);
    }
}

int
main(int argc, char **argv)
{
    static struct pairs pairs;
    cpu_set_t set;
    pairs.options.seed = (uint64_t)rv_clock_ms();
    read_options(argc, argv, &pairs.options);
    pairs.random = watch_seed(pairs.options.seed);
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
    watch_start(HANG_SECONDS);
    pairs.points = calloc(MAX_POINTS, sizeof *pairs.points);
    if (!pairs.points) {
        trace_die("calloc");
    }
    double start = ms_now();
    run_roles(&pairs);
    report(&pairs, ms_now() - start);
    const struct totals *t = &pairs.totals;
    if (t->n_late > 10 && t->n_late * 8 > t->n_asleep) {
        watch_fail("wake-ups are lost");
    }
    free(pairs.points);
    free(pairs.image.bytes);
    return 0;
}
