/* See steps.h.
 *
 *     steps [--seed N] [--seconds S] [--hits H] [--every K] [--scene TEXT]
 *           [--mode really|copies|both] [--exchange] [--verbose]
 *
 * Of a place that a run comes to often, the first H times (default 16) and
 * the last are points to die at; --every takes one of K of these.  With
 * --seconds scenes and points come in no order, until the time is over.
 */
#include "steps.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/fd.h"
#include "reeve/slab.h"
#include "shm/handle.h"
#include "steps_copy.h"
#include "steps_trace.h"
#include "steps_watch.h"

enum { HANG_SECONDS = 20 };

struct options {
    uint64_t seed;
    uint64_t seconds; /* 0: no limit. */
    uint64_t hits;
    uint64_t every;
    const char *scene; /* Part of the names; NULL: all. */
    bool is_real, is_copying, is_exchange, is_verbose;
};

/* Seconds that a scene has at least, if it is begun at all. */
#define MIN_SLICE 0.4

/* One playing of a scene. */
struct performance {
    const struct scene *scene;
    struct stage stage;
    struct tracee victim;
    int verdict; /* Of steps_judge. */
};

struct totals {
    uint64_t n_scenes, n_instructions, n_kills, n_copies, n_missed;
    uint64_t n_dead_owners; /* Kills that left a lock to be recovered. */
    double kill_seconds, copy_seconds;
};

struct theatre {
    struct options options;
    struct zone_image image; /* What each scene begins with. */
    struct view before, after;
    uint64_t random;
    struct totals totals;
};

static double
seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct rv_zone *
attach(int fd)
{
    struct rv_zone *zone = NULL;
    struct rv_error error;
    if (rv_zone_attach(fd, NULL, &zone, &error)) {
        watch_fail("attach: %s", error.text);
    }
    return zone;
}

/* ------------------------------------------------------------------ company */

static void
work_as_member(const struct stage *stage, void (*work)(struct actor *actor))
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct actor actor = {.fd = stage->fd, .zone = attach(stage->fd)};
    actor.things = find_things(actor.zone);
    work(&actor);
    must_be(rv_zone_detach(&actor.zone), 0, "detach");
}

void
run_member(struct stage *stage, void (*work)(struct actor *actor),
           bool is_to_die)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct actor actor = {.fd = stage->fd, .zone = attach(stage->fd)};
        actor.things = find_things(actor.zone);
        work(&actor);
        if (is_to_die) {
            kill(getpid(), SIGKILL);
        }
        _exit(rv_zone_detach(&actor.zone) ? 3 : 0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid
        || WIFSIGNALED(status) != is_to_die
        || (WIFEXITED(status) && WEXITSTATUS(status))) {
        watch_fail("a member ended with %#x", (unsigned int)status);
    }
}

static bool
is_member(const struct stage *stage, pid_t pid)
{
    for (uint32_t i = 0; i < N_MEMBERS; i++) {
        const uint32_t *tid = &rv__member_of(stage->zone, i)->tid;
        if (__atomic_load_n(tid, __ATOMIC_RELAXED) == (uint32_t)pid) {
            return true;
        }
    }
    return false;
}

void
start_helper(struct stage *stage, void (*work)(struct actor *actor))
{
    stage->helper = fork();
    if (stage->helper == 0) {
        work_as_member(stage, work);
        _exit(0);
    }
    if (stage->helper < 0) {
        trace_die("fork");
    }
    the_watch.pids[1] = stage->helper;
    int stat_fd = trace_open_stat(stage->helper);
    for (int n_asleep = 0; n_asleep < 3;) {
        bool is_asleep =
            trace_is_asleep(stat_fd) && is_member(stage, stage->helper);
        n_asleep = is_asleep ? n_asleep + 1 : 0;
        sched_yield();
    }
    close(stat_fd);
}

static int
end_helper(struct stage *stage)
{
    int status = 0;
    if (stage->helper) {
        waitpid(stage->helper, &status, 0);
    }
    stage->helper = 0;
    the_watch.pids[1] = 0;
    return status;
}

void
join_helper(struct stage *stage)
{
    int status = end_helper(stage);
    if (status) {
        watch_fail("the helper ended with %#x", (unsigned int)status);
    }
}

void
kill_helper(struct stage *stage)
{
    if (stage->helper) {
        kill(stage->helper, SIGKILL);
        end_helper(stage);
    }
}

/* -------------------------------------------------------------- performances */

static void
enter(const struct scene *scene, struct rv_zone *zone)
{
    if (scene->kind && scene->kind->enter) {
        scene->kind->enter(zone);
    }
}

static void
play_victim(void *argument)
{
    const struct performance *p = argument;
    struct actor actor = {.fd = p->stage.fd};
    if (!p->scene->is_stranger) {
        actor.zone = attach(actor.fd);
        actor.things = find_things(actor.zone);
        enter(p->scene, actor.zone);
    }
    if (p->scene->prepare) {
        p->scene->prepare(&actor);
    }
    trace_ready();
    p->scene->act(&actor);
}

static void
raise_curtain(struct theatre *theatre, struct performance *p,
              const struct scene *scene)
{
    *p = (struct performance){.scene = scene};
    watch_progress();
    p->stage.fd = image_open(&theatre->image);
    p->stage.zone = attach(p->stage.fd);
    p->stage.things = find_things(p->stage.zone);
    the_watch.zone = p->stage.zone;
    enter(scene, p->stage.zone);
    if (scene->stage) {
        scene->stage(&p->stage);
    }
    trace_start(&p->victim, play_victim, p);
    the_watch.pids[0] = p->victim.pid;
    if (p->victim.has_ended) {
        watch_fail("the victim ended early");
    }
    if (scene->join) {
        scene->join(&p->stage);
    }
}

static void
unblock(void *argument)
{
    struct performance *p = argument;
    p->scene->unblock(&p->stage);
}

static bool
is_owner_dead(const struct stage *stage)
{
    return stage->things->locks[0].word & FUTEX_OWNER_DIED
           || stage->things->locks[1].word & FUTEX_OWNER_DIED
           || rv_zone_root_lock(stage->zone)->word & FUTEX_OWNER_DIED;
}

/* The victim dies where it is; the zone is recovered and looked at. */
static void
drop_curtain(struct theatre *theatre, struct performance *p, uint64_t turn,
             struct view *view)
{
    trace_kill(&p->victim);
    the_watch.pids[0] = 0;
    theatre->totals.n_dead_owners += is_owner_dead(&p->stage);
    if (p->scene->finish) {
        p->scene->finish(&p->stage);
    }
    if (p->victim.status != SIGKILL && p->victim.status != 0) {
        watch_fail("the victim ended with %#x",
                   (unsigned int)p->victim.status);
    }
    struct rv_zone *other = turn % 4 < 2 ? attach(p->stage.fd) : NULL;
    steps_recover(other ? other : p->stage.zone, p->scene->kind, turn, view);
    rv_zone_detach(&other);
    the_watch.zone = NULL;
    rv_zone_detach(&p->stage.zone);
    rv_fd_close(&p->stage.fd);
}

/* ----------------------------------------------------------------- rehearsal */

/* The points at which a scene can be left, in its order. */
struct script {
    struct trace_point *points;
    uint32_t n, n_allocated;
    int8_t *verdicts; /* -1: not looked at. */
};

static void *
take_memory(size_t n)
{
    void *memory = calloc(1, n);
    if (!memory) {
        trace_die("calloc");
    }
    return memory;
}

static void
note_point(struct script *script, uint64_t place)
{
    if (script->n == script->n_allocated) {
        script->n_allocated = script->n_allocated * 2 + 1024;
        script->points = realloc(script->points,
                                 script->n_allocated * sizeof *script->points);
        if (!script->points) {
            trace_die("realloc");
        }
    }
    script->points[script->n] =
        (struct trace_point){.place = place, .number = script->n};
    script->n++;
}

static int
compare_points(const void *a, const void *b)
{
    const struct trace_point *x = a;
    const struct trace_point *y = b;
    if (x->place != y->place) {
        return x->place < y->place ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

static int
compare_numbers(const void *a, const void *b)
{
    const struct trace_point *x = a;
    const struct trace_point *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Whether an instruction is one of the kernel's functions in user space.  They
 * begin anew when the time moves on while they read it, so another run may
 * come there less often; and of the zone they know nothing. */
static bool
is_of_kernel(uint64_t place)
{
    enum { VDSO_BYTES = 2 * 4096 };
    uint64_t begin = getauxval(AT_SYSINFO_EHDR);
    return begin && place - begin < VDSO_BYTES;
}

/* Numbers the hits of each place, and keeps the first ones and the last. */
static void
choose_points(struct script *script, const struct options *options)
{
    struct trace_point *points = script->points;
    uint32_t n_kept = 0;
    qsort(points, script->n, sizeof *points, compare_points);
    uint32_t hit = 0;
    for (uint32_t i = 0; i < script->n; i++) {
        bool is_last =
            i + 1 == script->n || points[i + 1].place != points[i].place;
        points[i].hit = ++hit;
        if ((hit <= options->hits || is_last)
            && !is_of_kernel(points[i].place)) {
            points[n_kept++] = points[i];
        }
        hit = is_last ? 0 : hit;
    }
    qsort(points, n_kept, sizeof *points, compare_numbers);
    script->n = 0;
    for (uint32_t i = (uint32_t)(options->seed % options->every); i < n_kept;
         i += (uint32_t)options->every) {
        points[script->n++] = points[i];
    }
    script->verdicts = take_memory(script->n + 1);
    memset(script->verdicts, -1, script->n + 1);
}

/* Recovers a copy of the zone as it is, the victim being dead in it. */
static int
judge_copy(const struct theatre *theatre, const struct scene *scene,
           struct copier *copier)
{
    struct view view;
    int fd = image_open(&copier->image);
    struct rv_zone *zone = attach(fd);
    steps_recover(zone, scene->kind, copier->n_copies, &view);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
    return steps_judge(scene, &theatre->before, &theatre->after, &view);
}

static void
look_at_copy(const struct theatre *theatre, struct performance *p,
             struct copier *copier)
{
    if (copier_look(copier, p->stage.fd, p->stage.zone, p->victim.pid)) {
        int verdict = judge_copy(theatre, p->scene, copier);
        if (verdict < p->verdict) {
            watch_fail("it was there, and is not any more");
        }
        p->verdict = verdict;
    }
}

/* Leads the victim through the whole scene. */
static void
rehearse(struct theatre *theatre, struct performance *p, struct script *script,
         struct copier *copier, double end)
{
    enum trace_state state = TRACE_STOPPED;
    bool may_block = p->scene->unblock != NULL;
    while (state != TRACE_ENDED) {
        the_watch.number = script->n;
        watch_progress();
        if (copier) {
            look_at_copy(theatre, p, copier);
            if (end > 0 && seconds_now() > end) {
                return;
            }
        }
        note_point(script, trace_place(&p->victim));
        state = trace_step(&p->victim, may_block);
        if (state == TRACE_BLOCKED) {
            unblock(p);
            may_block = false;
            state = trace_step(&p->victim, false);
        }
    }
    script->n--; /* Behind the last one it is gone by itself. */
}

static void
copy_scene(struct theatre *theatre, const struct scene *scene, double end)
{
    struct performance p;
    struct copier copier = {.n_copies = 0};
    struct script script = {.n = 0};
    struct view view;
    double start = seconds_now();
    raise_curtain(theatre, &p, scene);
    rehearse(theatre, &p, &script, &copier, end);
    drop_curtain(theatre, &p, 0, &view);
    theatre->totals.copy_seconds += seconds_now() - start;
    theatre->totals.n_copies += copier.n_copies;
    copier_free(&copier);
    free(script.points);
}

static void
rehearse_scene(struct theatre *theatre, const struct scene *scene,
               struct script *script, double end)
{
    struct performance p;
    raise_curtain(theatre, &p, scene);
    drop_curtain(theatre, &p, 0, &theatre->before);
    raise_curtain(theatre, &p, scene);
    rehearse(theatre, &p, script, NULL, 0);
    drop_curtain(theatre, &p, 0, &theatre->after);
    bool is_same =
        memcmp(&theatre->before, &theatre->after, sizeof(struct view)) == 0;
    if (is_same == scene->has_effect) {
        steps_print("before", &theatre->before);
        steps_print("after", &theatre->after);
        watch_fail("the scene has another effect than it says");
    }
    theatre->totals.n_instructions += script->n;
    if (theatre->options.is_copying && scene->is_alone) {
        copy_scene(theatre, scene, end);
    }
}

/* ----------------------------------------------------------------- real kills */

static void
kill_at(struct theatre *theatre, const struct scene *scene,
        const struct trace_point *point, int8_t *verdictp)
{
    struct performance p;
    struct view view;
    the_watch.number = point->number;
    raise_curtain(theatre, &p, scene);
    enum trace_state state =
        trace_run_to(&p.victim, point, scene->unblock ? unblock : NULL, &p);
    drop_curtain(theatre, &p, theatre->totals.n_kills, &view);
    theatre->totals.n_kills++;
    int verdict = steps_judge(scene, &theatre->before, &theatre->after, &view);
    if (state == TRACE_ENDED) {
        theatre->totals.n_missed++;
    } else {
        *verdictp = (int8_t)verdict;
    }
}

static void
shuffle(struct theatre *theatre, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)watch_random(&theatre->random, i);
        uint32_t other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}

/* What was committed stays so. */
static void
check_order(const struct script *script)
{
    int8_t last = 0;
    for (uint32_t i = 0; i < script->n; i++) {
        the_watch.number = script->points[i].number;
        if (script->verdicts[i] >= 0 && script->verdicts[i] < last) {
            watch_fail("it was there, and is not any more");
        }
        last = RV_MAX(last, script->verdicts[i]);
    }
}

static void
kill_in_scene(struct theatre *theatre, const struct scene *scene,
              struct script *script, double end)
{
    uint32_t *order = take_memory((script->n + 1) * sizeof *order);
    double start = seconds_now();
    shuffle(theatre, order, script->n);
    for (uint32_t i = 0; i < script->n; i++) {
        if (end > 0 && seconds_now() > end) {
            break;
        }
        kill_at(theatre, scene, &script->points[order[i]],
                &script->verdicts[order[i]]);
    }
    theatre->totals.kill_seconds += seconds_now() - start;
    free(order);
    /* What sleeps does not go the same way twice, nor does what allocates
     * memory from the C library, as strangers do. */
    if (!scene->unblock && !scene->is_stranger) {
        check_order(script);
    }
}

/* What each playing of the scene begins with. */
static void
make_image(struct theatre *theatre, const struct scene *scene)
{
    int fd = steps_make_zone(scene->kind, theatre->options.is_exchange);
    image_read(&theatre->image, fd);
    rv_fd_close(&fd);
}

static void
run_scene(struct theatre *theatre, const struct scene *scene, double end)
{
    struct script script = {.n = 0};
    struct totals was = theatre->totals;
    double start = seconds_now();
    the_watch.what = scene->name;
    make_image(theatre, scene);
    rehearse_scene(theatre, scene, &script, end);
    choose_points(&script, &theatre->options);
    if (theatre->options.is_real) {
        kill_in_scene(theatre, scene, &script, end);
    }
    const struct totals *now = &theatre->totals;
    theatre->totals.n_scenes++;
    if (theatre->options.is_verbose) {
        printf("%-18s %6" PRIu64 " instructions, %6" PRIu64 " kills (%" PRIu64
               " owners), %5" PRIu64 " copies, %.1f s\n",
               scene->name, now->n_instructions - was.n_instructions,
               now->n_kills - was.n_kills,
               now->n_dead_owners - was.n_dead_owners,
               now->n_copies - was.n_copies, seconds_now() - start);
        fflush(stdout);
    }
    free(script.points);
    free(script.verdicts);
}

/* ---------------------------------------------------------------------- main */

static void
pin(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void
set_mode(struct options *options, const char *mode)
{
    options->is_real = strcmp(mode, "copies") != 0;
    options->is_copying = strcmp(mode, "really") != 0;
}

static void
read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"hits", required_argument, NULL, 'h'},
        {"every", required_argument, NULL, 'e'},
        {"scene", required_argument, NULL, 'n'},
        {"mode", required_argument, NULL, 'm'},
        {"exchange", no_argument, NULL, 'x'},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 's':
            options->seed = value;
            break;
        case 't':
            options->seconds = value;
            break;
        case 'h':
            options->hits = value;
            break;
        case 'e':
            options->every = RV_MAX(value, 1);
            break;
        case 'n':
            options->scene = optarg;
            break;
        case 'm':
            set_mode(options, optarg);
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

static size_t
choose_scenes(const struct options *options, const struct scene **chosen,
              size_t n_max)
{
    static const struct scene *const tables[] = {
        tx_scenes,   slab_scenes,    queue_scenes,
        dict_scenes, limiter_scenes, metric_scenes};
    size_t n = 0;
    for (size_t i = 0; i < RV_ARRAY_SIZE(tables); i++) {
        for (const struct scene *s = tables[i]; s->name && n < n_max; s++) {
            if (!options->scene || strstr(s->name, options->scene)) {
                chosen[n++] = s;
            }
        }
    }
    return n;
}

static void
report(const struct theatre *theatre)
{
    const struct totals *t = &theatre->totals;
    printf("steps: seed %" PRIu64 ": %" PRIu64 " scenes of %" PRIu64
           " instructions: %" PRIu64 " kills (%.0f a minute; %" PRIu64
           " left a lock, %" PRIu64 " came late), %" PRIu64
           " copies (%.0f a minute), 0 hangs, 0 wrong\n",
           theatre->options.seed, t->n_scenes, t->n_instructions, t->n_kills,
           (double)t->n_kills * 60 / RV_MAX(t->kill_seconds, 1e-9),
           t->n_dead_owners, t->n_missed, t->n_copies,
           (double)t->n_copies * 60 / RV_MAX(t->copy_seconds, 1e-9));
}

static void
play(struct theatre *theatre, const struct scene **scenes, uint32_t n)
{
    double seconds = (double)theatre->options.seconds;
    double start = seconds_now();
    if (seconds <= 0) {
        for (uint32_t i = 0; i < n; i++) {
            run_scene(theatre, scenes[i], 0);
        }
        return;
    }
    uint32_t *order = take_memory((n + 1) * sizeof *order);
    double slice = RV_MAX(seconds / (n + 1), MIN_SLICE);
    shuffle(theatre, order, n);
    for (uint32_t i = 0; i < n; i++) {
        double now = seconds_now();
        if (now - start > seconds) {
            break;
        }
        run_scene(theatre, scenes[order[i]], now + slice);
    }
    free(order);
}

int
main(int argc, char **argv)
{
    static struct theatre theatre;
    const struct scene *scenes[256];
    theatre.options = (struct options){.seed = (uint64_t)rv_clock_ms(),
                                       .hits = 16,
                                       .every = 1,
                                       .is_real = true,
                                       .is_copying = true};
    read_options(argc, argv, &theatre.options);
    theatre.random = watch_seed(theatre.options.seed);
    pin();
    watch_start(HANG_SECONDS);
    size_t n = choose_scenes(&theatre.options, scenes, RV_ARRAY_SIZE(scenes));
    play(&theatre, scenes, (uint32_t)n);
    report(&theatre);
    return n == 0;
}
