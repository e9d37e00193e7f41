/* Threads over one mapping, each with a handle of its own, do some of
 * everything, a bounded number of times.
 *
 *     threads [ROUNDS]
 *
 * At the end every number is what all have added.  What it is for is
 * ThreadSanitizer, which sees the threads of one process only: built with
 * -fsanitize=thread (`./dev test --threads`) it finds accesses that should be
 * atomic, or under a lock, and are not.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/fd.h"
#include "reeve/dict.h"
#include "reeve/limiter.h"
#include "reeve/metric.h"
#include "reeve/queue.h"
#include "reeve/slab.h"
#include "reeve/tx.h"
#include "reeve/zone.h"

enum {
    N_THREADS = 4,
    ROUNDS_DEFAULT = 2000,
    N_KEYS = 64,
    N_PLACES = 32,
    MIB = 1 << 20,
};

/* The root "shared". */
struct shared {
    struct rv_lock lock;
    uint64_t a, b; /* Equal, outside of transactions. */
    uint64_t places[N_THREADS][N_PLACES];
    uint64_t pool[N_PLACES]; /* Under the lock. */
};

struct thread {
    pthread_t id;
    const struct rv_zone *parent;
    struct rv_zone *zone;
    struct shared *shared;
    struct rv_dict *dict, *limits;
    struct rv_queue *queue;
    struct rv_metrics *metrics;
    struct rv_counter counter;
    struct rv_gauge gauge;
    struct rv_histogram histogram;
    uint64_t seed;
    uint32_t number;
    int fd;
    int n_rounds;
    uint64_t n_pushed, n_taken;
};

static void
expect(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "threads: %s: %s\n", what, strerror(-rc));
        exit(EXIT_FAILURE);
    }
}

/* As expect, but some refusals are part of the game. */
static void
expect_or(int rc, int one, int other, const char *what)
{
    if (rc != one && rc != other) {
        expect(rc, what);
    }
}

/* Whatever it says will do. */
static void
ignore(int rc)
{
    (void)rc;
}

static uint64_t
random_below(struct thread *thread, uint64_t n)
{
    thread->seed ^= thread->seed << 13;
    thread->seed ^= thread->seed >> 7;
    thread->seed ^= thread->seed << 17;
    return thread->seed % n;
}

/* ---------------------------------------------------------------- the works */

static void
add(struct thread *thread)
{
    struct rv_zone *zone = thread->zone;
    struct shared *shared = thread->shared;
    expect(rv_tx_begin(zone, &shared->lock, 2), "begin");
    if (shared->a != shared->b) {
        expect(-EUCLEAN, "two numbers that differ");
    }
    rv_tx_set64(zone, &shared->a, shared->a + 1);
    rv_tx_set64(zone, &shared->b, shared->b + 1);
    expect(rv_tx_commit(zone), "commit");
}

/* A half-done transaction that is taken back. */
static void
abort_one(struct thread *thread)
{
    struct rv_zone *zone = thread->zone;
    struct shared *shared = thread->shared;
    int rc = rv_tx_try_begin(zone, &shared->lock, 2);
    if (rc == 0) {
        rv_tx_set64(zone, &shared->a, 7);
        rv_tx_abort(zone);
    }
    expect_or(rc, -EBUSY, 0, "try");
}

static void
allocate_alone(struct thread *thread)
{
    uint64_t *place =
        &thread->shared
             ->places[thread->number][random_below(thread, N_PLACES)];
    size_t bytes = 1 + random_below(thread, 6000);
    if (*place) {
        expect(rv_slab_free(thread->zone, place), "free");
        return;
    }
    int rc = rv_slab_alloc(thread->zone, bytes, place);
    if (rc == 0) {
        memset(rv_zone_at(thread->zone, *place, bytes), 1, bytes);
    }
    expect_or(rc, -ENOMEM, 0, "alloc");
}

/* What one thread allocated another frees. */
static void
allocate_together(struct thread *thread)
{
    struct rv_zone *zone = thread->zone;
    struct shared *shared = thread->shared;
    uint64_t *place = &shared->pool[random_below(thread, N_PLACES)];
    size_t bytes = 16 + random_below(thread, 300);
    int rc = rv_slab_reserve(zone, bytes, 1, 1);
    expect_or(rc, -ENOMEM, 0, "reserve");
    if (rc) {
        return;
    }
    expect(rv_tx_begin(zone, &shared->lock, 2 * RV_SLAB_WORDS), "begin");
    expect(rv_slab_free(zone, place), "free");
    expect(rv_slab_alloc(zone, bytes, place), "alloc");
    memset(rv_zone_at(zone, *place, bytes), 2, bytes);
    expect(rv_tx_commit(zone), "commit");
}

static size_t
make_key(struct thread *thread, char key[16])
{
    return (size_t)snprintf(key, 16, "k%d", (int)random_below(thread, N_KEYS));
}

static void
change_dict(struct thread *thread)
{
    char key[16], bytes[600];
    size_t n = make_key(thread, key);
    size_t length = random_below(thread, sizeof bytes);
    struct rv_dict_value value = rv_dict_bytes(bytes, length);
    memset(bytes, (int)(length & 127), sizeof bytes);
    switch (random_below(thread, 6)) {
    case 0:
        expect(rv_dict_delete(thread->dict, key, n), "delete");
        break;
    case 1:
        expect_or(rv_dict_expire(thread->dict, key, n, 1), -ENOENT, 0,
                  "expire");
        break;
    case 2:
        expect_or(rv_dict_add(thread->dict, key, n, &value, 5), -EEXIST,
                  -ENOMEM, "add");
        break;
    default:
        expect_or(rv_dict_set(thread->dict, key, n, &value, 0), -ENOMEM, 0,
                  "set");
        break;
    }
}

static void
read_dict(struct thread *thread)
{
    char key[16], bytes[600];
    struct rv_dict_value value;
    int64_t ttl_ms;
    size_t n = make_key(thread, key);
    int rc = rv_dict_get(thread->dict, key, n, bytes, sizeof bytes, &value);
    for (size_t i = 0; rc == 0 && i < value.length; i++) {
        if (bytes[i] != (char)(value.length & 127)) {
            expect(-EUCLEAN, "a value of two");
        }
    }
    expect_or(rc, -ENOENT, 0, "get");
    expect_or(rv_dict_ttl(thread->dict, key, n, &ttl_ms), -ENOENT, 0, "ttl");
}

static void
count_in_dict(struct thread *thread)
{
    struct rv_dict_value one = rv_dict_integer(1), none = rv_dict_integer(0);
    expect_or(rv_dict_incr(thread->dict, "n", 1, &one, &none, 0, NULL),
              -ENOMEM, 0, "incr");
}

static void
use_list(struct thread *thread)
{
    char bytes[64] = {0};
    struct rv_dict_value value = rv_dict_bytes(bytes, sizeof bytes);
    uint64_t n = 0;
    expect_or(rv_dict_lpush(thread->dict, "l", 1, &value, &n), -ENOMEM, 0,
              "push");
    expect(rv_dict_llen(thread->dict, "l", 1, &n), "llen");
    if (n > 20 || random_below(thread, 2)) {
        expect_or(
            rv_dict_rpop(thread->dict, "l", 1, bytes, sizeof bytes, &value),
            -ENOENT, 0, "pop");
    }
}

static int
count_key(void *context, const void *key, size_t length)
{
    *(uint64_t *)context += ((const char *)key)[length - 1] != 0;
    return 0;
}

static void
walk_dict(struct thread *thread)
{
    struct rv_dict_stats stats;
    uint64_t n = 0;
    expect(rv_dict_keys(thread->dict, 0, count_key, &n), "keys");
    rv_dict_get_stats(thread->dict, &stats);
    expect(rv_dict_flush_expired(thread->dict, 8), "flush");
}

static void
use_queue(struct thread *thread)
{
    char bytes[100] = {1};
    struct rv_queue_element element;
    struct rv_queue_stats stats;
    size_t length = random_below(thread, sizeof bytes);
    int rc = rv_queue_push(thread->queue, bytes, length);
    thread->n_pushed += rc == 0;
    expect_or(rc, -EAGAIN, -ENOMEM, "push");
    rc = random_below(thread, 8)
             ? rv_queue_take(thread->queue, &element)
             : rv_queue_take_block(thread->queue, 1, &element);
    expect_or(rc, -EAGAIN, -ETIMEDOUT, "take");
    if (rc == 0) {
        memcpy(bytes, element.bytes, element.length);
        bool is_done = random_below(thread, 4);
        thread->n_taken += is_done;
        expect(is_done ? rv_queue_ack(thread->queue, &element)
                       : rv_queue_nack(thread->queue, &element),
               "ack");
    }
    rv_queue_get_stats(thread->queue, &stats);
}

static void
count(struct thread *thread)
{
    rv_counter_add(&thread->counter, 1);
    rv_gauge_add(&thread->gauge, 1);
    rv_histogram_record(&thread->histogram, random_below(thread, 5000));
}

static void
read_metrics(struct thread *thread)
{
    struct rv_metric metric = {.offset = 0};
    while (rv_metrics_next(thread->metrics, &metric) == 0) {
        struct rv_histogram_reading *reading = NULL;
        (void)rv_metric_read_counter(&metric);
        (void)rv_metric_read_gauge(&metric);
        if (rv_metric_read_histogram(&metric, &reading) == 0) {
            (void)rv_histogram_quantile(reading, 0.5);
            free(reading);
        }
    }
}

static void
use_limiter(struct thread *thread)
{
    struct rv_rate_limit limit = {.per_second = 1000, .burst = 5};
    int rc = rv_limiter_request(thread->limits, "r", 1, &limit, NULL);
    expect_or(rc, -EBUSY, -ENOMEM, "request");
    rc = rv_limiter_acquire(thread->limits, "s", 1, 3);
    expect_or(rc, -EBUSY, -ENOMEM, "acquire");
    if (rc >= 0) {
        uint64_t n;
        expect_or(rv_limiter_count(thread->limits, "s", 1, &n), -ENOENT, 0,
                  "count");
        expect_or(rv_limiter_release(thread->limits, "s", 1), -ENOENT, -ENOMEM,
                  "release");
    }
}

/* What looks on without a lock; what it finds while others work says
 * nothing. */
static void
look_on(struct thread *thread)
{
    struct rv_slab_stats stats;
    struct rv_slab_run run;
    struct rv_error error;
    rv_slab_get_stats(thread->zone, &stats);
    for (uint64_t page = 0; rv_slab_get_run(thread->zone, page, &run) == 0;) {
        page += run.n_pages;
    }
    ignore(rv_zone_check(thread->zone, &error));
    ignore(rv_slab_check(thread->zone, &error));
    ignore(rv_dict_check(thread->dict, &error));
    ignore(rv_queue_check(thread->queue, &error));
    ignore(rv_metrics_check(thread->metrics, &error));
}

static void
come_and_go(struct thread *thread)
{
    struct rv_error error;
    struct rv_zone *zone = NULL;
    uint64_t used;
    expect(rv_zone_join(thread->parent, &zone, &error), "join");
    expect(rv_zone_detach(&zone), "detach");
    expect(rv_zone_heal(thread->zone), "heal");
    expect(rv_slab_flush(thread->zone), "flush");
    expect_or(rv_slab_trim_tail(thread->zone, 4 * MIB, &used), -EBUSY, 0,
              "trim");
    if (thread->number == 0) {
        expect_or(rv_zone_grow(thread->fd, 2 * MIB, &error), -ERANGE, 0,
                  "grow");
    }
}

/* ------------------------------------------------------------------ threads */

static void
open_all(struct thread *thread)
{
    struct rv_error error = {.code = 0};
    struct rv_queue_settings queue = {.capacity = 32};
    struct rv_dict_settings dict = {.n_shards = 2};
    uint64_t type, offset;
    struct rv_zone *zone = NULL;
    int rc = rv_zone_join(thread->parent, &zone, &error);
    expect(rc, "join");
    thread->zone = zone;
    expect(rv_zone_root_get(zone, "shared", &type, &offset), "shared");
    thread->shared = rv_zone_at(zone, offset, sizeof *thread->shared);
    rc = rv_dict_open(zone, "dict", &dict, &thread->dict, &error);
    expect(rc, "dict");
    rc = rv_dict_open(zone, "limits", NULL, &thread->limits, &error);
    expect(rc, "limits");
    rc = rv_queue_open(zone, "queue", &queue, &thread->queue, &error);
    expect(rc, "queue");
    rc = rv_metrics_open(zone, "metrics", &thread->metrics, &error);
    expect(rc, "metrics");
    struct rv_metrics *metrics = thread->metrics;
    expect(rv_counter_open(metrics, "c", &thread->counter), "counter");
    expect(rv_gauge_open(metrics, "g", &thread->gauge), "gauge");
    rc = rv_histogram_open(metrics, "h", NULL, &thread->histogram);
    expect(rc, "histogram");
}

static void
close_all(struct thread *thread)
{
    for (size_t i = 0; i < N_PLACES; i++) {
        uint64_t *place = &thread->shared->places[thread->number][i];
        expect(rv_slab_free(thread->zone, place), "free");
    }
    rv_metrics_close(&thread->metrics);
    rv_queue_close(&thread->queue);
    rv_dict_close(&thread->limits);
    rv_dict_close(&thread->dict);
    expect(rv_zone_detach(&thread->zone), "detach");
}

static void *
run(void *argument)
{
    static void (*const works[])(struct thread * thread) = {
        abort_one,     allocate_alone, allocate_together, change_dict,
        change_dict,   read_dict,      read_dict,         use_list,
        count_in_dict, use_queue,      use_limiter,
    };
    struct thread *thread = argument;
    open_all(thread);
    for (int i = 0; i < thread->n_rounds; i++) {
        add(thread);
        count(thread);
        works[random_below(thread, RV_ARRAY_SIZE(works))](thread);
        if (i % 64 == 0) {
            walk_dict(thread);
            read_metrics(thread);
            look_on(thread);
        }
        if (i % 256 == 255) {
            come_and_go(thread);
        }
    }
    close_all(thread);
    return NULL;
}

/* --------------------------------------------------------------------- main */

static struct rv_zone *
make_zone(int *fdp)
{
    struct rv_zone_settings settings = {.name = "threads",
                                        .size_bytes = MIB,
                                        .max_size_bytes = 4 * MIB,
                                        .n_members = 2 * N_THREADS + 1};
    struct rv_error error = {.code = 0};
    struct rv_zone *zone = NULL;
    uint64_t offset = 0;
    expect(rv_zone_create(&settings, fdp, &error), "create");
    expect(rv_zone_attach(*fdp, NULL, &zone, &error), "attach");
    expect(rv_slab_reserve(zone, sizeof(struct shared), 1, 0), "reserve");
    expect(rv_tx_begin(zone, rv_zone_root_lock(zone),
                       RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS),
           "begin");
    expect(rv_slab_take(zone, sizeof(struct shared), &offset), "take");
    memset(rv_zone_at(zone, offset, sizeof(struct shared)), 0,
           sizeof(struct shared));
    expect(rv_zone_root_set(zone, "shared", 1, offset), "root");
    expect(rv_tx_commit(zone), "commit");
    return zone;
}

static void
expect_number(uint64_t n, uint64_t expected, const char *what)
{
    if (n != expected) {
        fprintf(stderr, "threads: %s: %" PRIu64 ", not %" PRIu64 "\n", what, n,
                expected);
        exit(EXIT_FAILURE);
    }
}

/* All is whole, and all that was added is there. */
static void
audit(struct rv_zone *zone, const struct thread *threads, uint64_t n)
{
    struct rv_error error = {.code = 0};
    struct thread main_thread = {.parent = zone};
    struct rv_metric metric;
    struct rv_queue_stats stats;
    uint64_t n_pushed = 0, n_taken = 0;
    for (int i = 0; i < N_THREADS; i++) {
        n_pushed += threads[i].n_pushed;
        n_taken += threads[i].n_taken;
    }
    open_all(&main_thread);
    expect_number(main_thread.shared->a, n, "a");
    expect_number(main_thread.shared->b, n, "b");
    expect(rv_metrics_find(main_thread.metrics, "c", &metric), "find");
    expect_number(rv_metric_read_counter(&metric), n, "counter");
    expect(rv_metrics_find(main_thread.metrics, "g", &metric), "find");
    expect_number((uint64_t)rv_metric_read_gauge(&metric), n, "gauge");
    rv_queue_get_stats(main_thread.queue, &stats);
    expect_number(stats.n_pushed, n_pushed, "pushed");
    expect_number(stats.n_acknowledged, n_taken, "taken");
    if (rv_zone_check(zone, &error) || rv_slab_check(zone, &error)
        || rv_dict_check(main_thread.dict, &error)
        || rv_queue_check(main_thread.queue, &error)
        || rv_metrics_check(main_thread.metrics, &error)) {
        fprintf(stderr, "threads: %s\n", error.text);
        exit(EXIT_FAILURE);
    }
    close_all(&main_thread);
}

int
main(int argc, char **argv)
{
    struct thread threads[N_THREADS];
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS_DEFAULT;
    int fd = -1;
    struct rv_zone *zone = make_zone(&fd);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        threads[i] = (struct thread){.parent = zone,
                                     .number = i,
                                     .seed = 88172645463325252U + i,
                                     .fd = fd,
                                     .n_rounds = (int)n};
        expect(-pthread_create(&threads[i].id, NULL, run, &threads[i]),
               "pthread_create");
    }
    for (int i = 0; i < N_THREADS; i++) {
        expect(-pthread_join(threads[i].id, NULL), "pthread_join");
    }
    audit(zone, threads, (uint64_t)n * N_THREADS);
    expect(rv_zone_detach(&zone), "detach");
    rv_fd_close(&fd);
    printf("%d threads did %ld rounds each\n", N_THREADS, n);
    return EXIT_SUCCESS;
}
