/* Queues: each call, each error, who waits, and what becomes of elements
 * whose consumer is gone. */
#include <time.h>

#include "reeve/queue.h"
#include "shm/member.h"
#include "shm/queue.h"
#include "slab_test.h"

enum { QUEUE_ZONE_BYTES = 1 << 20 };

static struct rv_queue *
open_queue(struct rv_zone *zone, uint64_t capacity)
{
    struct rv_queue_settings settings = {.capacity = capacity};
    struct rv_queue *queue = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_queue_open(zone, "jobs", &settings, &queue, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return queue;
}

/* Every byte in use is the queue's. */
static void
expect_whole(struct rv_queue *queue)
{
    struct rv_error error = {.code = 0};
    struct rv_slab_stats stats;
    uint64_t n_bytes = 0;
    int rc = rv__queue_audit(queue, &n_bytes, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    expect_sound(queue->zone);
    rv_slab_get_stats(queue->zone, &stats);
    uint64_t root =
        rv_slab_size(queue->zone, rv_zone_offset(queue->zone, queue->root));
    ck_assert_uint_eq(stats.used_bytes, root + n_bytes);
    rc = rv_zone_check(queue->zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
}

static void
push(struct rv_queue *queue, const char *text)
{
    ck_assert_int_eq(rv_queue_push(queue, text, strlen(text)), 0);
}

static void
expect_element(const struct rv_queue_element *element, const char *text)
{
    ck_assert_uint_eq(element->length, strlen(text));
    ck_assert(memcmp(element->bytes, text, element->length) == 0);
}

static struct rv_queue_element
take(struct rv_queue *queue, const char *text)
{
    struct rv_queue_element element = {.offset = 0};
    ck_assert_int_eq(rv_queue_take(queue, &element), 0);
    expect_element(&element, text);
    return element;
}

static void
expect_empty(struct rv_queue *queue)
{
    struct rv_queue_element element;
    ck_assert_int_eq(rv_queue_take(queue, &element), -EAGAIN);
}

static void
close_all(struct rv_queue *queue, struct rv_zone *zone, int fd)
{
    expect_whole(queue);
    rv_queue_close(&queue);
    ck_assert_ptr_null(queue);
    rv_queue_close(&queue);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

START_TEST(what_comes_first_goes_first)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 3);
    expect_empty(queue);
    push(queue, "one");
    push(queue, "");
    push(queue, "three, which is longer than a word");
    ck_assert_int_eq(rv_queue_push(queue, "four", 4), -EAGAIN);
    struct rv_queue_element one = take(queue, "one");
    ck_assert_int_eq(rv_queue_push(queue, "four", 4), -EAGAIN);
    ck_assert_uint_eq(one.number, 1);
    ck_assert_uint_eq(one.n_deliveries, 1);
    ck_assert_int_eq(rv_queue_ack(queue, &one), 0);
    push(queue, "four");
    struct rv_queue_element two = take(queue, "");
    struct rv_queue_element three =
        take(queue, "three, which is longer than a word");
    struct rv_queue_element four = take(queue, "four");
    expect_empty(queue);
    expect_whole(queue);
    ck_assert_int_eq(rv_queue_ack(queue, &three), 0);
    ck_assert_int_eq(rv_queue_ack(queue, &two), 0);
    ck_assert_int_eq(rv_queue_ack(queue, &four), 0);
    struct rv_queue_stats stats;
    rv_queue_get_stats(queue, &stats);
    ck_assert_uint_eq(stats.capacity, 3);
    ck_assert_uint_eq(stats.n_pushed, 4);
    ck_assert_uint_eq(stats.n_acknowledged, 4);
    ck_assert_uint_eq(stats.n_ready + stats.n_taken, 0);
    ck_assert_uint_eq(stats.n_refused, 2);
    close_all(queue, zone, fd);
}
END_TEST

START_TEST(what_is_given_back_comes_again)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    push(queue, "a");
    push(queue, "b");
    push(queue, "c");
    struct rv_queue_element a = take(queue, "a");
    struct rv_queue_element b = take(queue, "b");
    ck_assert_int_eq(rv_queue_nack(queue, &a), 0);
    ck_assert_int_eq(rv_queue_requeue(queue, &b), 0);
    ck_assert_int_eq(rv_queue_nack(queue, &a), -ENOENT);
    expect_whole(queue);
    a = take(queue, "a");
    ck_assert_uint_eq(a.n_deliveries, 2);
    struct rv_queue_element c = take(queue, "c");
    ck_assert_uint_eq(c.n_deliveries, 1);
    b = take(queue, "b");
    ck_assert_uint_eq(b.number, 2);
    ck_assert_int_eq(rv_queue_requeue(queue, &b), 0);
    ck_assert_int_eq(rv_queue_ack(queue, &b), -ENOENT);
    b = take(queue, "b");
    ck_assert_uint_eq(b.n_deliveries, 3);
    struct rv_queue_stats stats;
    rv_queue_get_stats(queue, &stats);
    ck_assert_uint_eq(stats.n_returned, 3);
    ck_assert_uint_eq(stats.n_taken, 3);
    ck_assert_int_eq(rv_queue_ack(queue, &b), 0);
    ck_assert_int_eq(rv_queue_ack(queue, &b), -ENOENT);
    close_all(queue, zone, fd);
}
END_TEST

START_TEST(misuse_is_refused)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue_settings settings = {.element_max_bytes = 100};
    struct rv_queue *queue = NULL;
    struct rv_error error = {.code = 0};
    struct rv_queue_element element = {.number = 1, .offset = 12345};
    struct places *places = make_places(zone);
    ck_assert_int_eq(rv_queue_open(zone, "", NULL, &queue, &error), -EINVAL);
    ck_assert_int_eq(rv_queue_open(zone, "places", NULL, &queue, &error),
                     -EPROTOTYPE);
    settings.element_max_bytes = UINT64_MAX;
    ck_assert_int_eq(rv_queue_open(zone, "q", &settings, &queue, &error),
                     -EINVAL);
    ck_assert_ptr_null(queue);
    settings.element_max_bytes = 100;
    ck_assert_int_eq(rv_queue_open(zone, "q", &settings, &queue, &error), 0);
    ck_assert_int_eq(rv_queue_push(queue, places, 101), -EMSGSIZE);
    ck_assert_int_eq(rv_queue_ack(queue, &element), -ENOENT);
    ck_assert_int_eq(rv_queue_nack(queue, &element), -ENOENT);
    begin(zone, &places->lock, 1);
    ck_assert_int_eq(rv_queue_push(queue, "x", 1), -EDEADLK);
    ck_assert_int_eq(rv_queue_take(queue, &element), -EDEADLK);
    ck_assert_int_eq(rv_queue_ack(queue, &element), -EDEADLK);
    ck_assert_int_eq(rv_queue_nack(queue, &element), -EDEADLK);
    ck_assert_int_eq(rv_queue_heal(queue), -EDEADLK);
    rv_tx_abort(zone);
    ck_assert_int_eq(rv_queue_push(queue, "x", 1), 0);
    ck_assert_int_eq(rv_queue_check(queue, &error), 0);
    rv_queue_close(&queue);

    struct rv_zone_options options = {.is_read_only = true};
    struct rv_zone *reader = NULL;
    ck_assert_int_eq(rv_zone_attach(fd, &options, &reader, &error), 0);
    ck_assert_int_eq(rv_queue_open(reader, "none", NULL, &queue, &error),
                     -ENOENT);
    ck_assert_int_eq(rv_queue_open(reader, "q", NULL, &queue, &error), 0);
    ck_assert_int_eq(rv_queue_push(queue, "x", 1), -EROFS);
    ck_assert_int_eq(rv_queue_take(queue, &element), -EROFS);
    ck_assert_int_eq(rv_queue_ack(queue, &element), -EROFS);
    struct rv_queue_stats stats;
    rv_queue_get_stats(queue, &stats);
    ck_assert_uint_eq(stats.n_ready, 1);
    ck_assert_uint_eq(stats.element_max_bytes, 100);
    ck_assert_int_eq(rv_queue_check(queue, &error), 0);
    rv_queue_close(&queue);
    ck_assert_int_eq(rv_zone_detach(&reader), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(full_zones_refuse)
{
    char bytes[4000] = {0};
    int fd = make_slab_zone(1 << 16, 1 << 16);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_element element;
    int rc;
    int n = 0;
    while ((rc = rv_queue_push(queue, bytes, sizeof bytes)) == 0) {
        n++;
    }
    ck_assert_int_eq(rc, -ENOMEM);
    ck_assert_int_ge(n, 8);
    expect_whole(queue);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_queue_take(queue, &element), 0);
        ck_assert_int_eq(rv_queue_ack(queue, &element), 0);
    }
    ck_assert_int_eq(rv_queue_push(queue, bytes, sizeof bytes), 0);
    close_all(queue, zone, fd);
}
END_TEST

START_TEST(long_elements_are_runs)
{
    static char bytes[50000];
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    for (size_t n = 4000; n <= sizeof bytes; n += 1999) {
        struct rv_queue_element element;
        memset(bytes, (int)n & 255, n);
        ck_assert_int_eq(rv_queue_push(queue, bytes, n), 0);
        ck_assert_int_eq(rv_queue_take(queue, &element), 0);
        ck_assert_uint_eq(element.length, n);
        ck_assert(memcmp(element.bytes, bytes, n) == 0);
        ck_assert_int_eq(rv_queue_ack(queue, &element), 0);
    }
    ck_assert_int_eq(rv_slab_flush(zone), 0);
    close_all(queue, zone, fd);
}
END_TEST

/* ------------------------------------------------------------------- deaths */

static void
take_and_die(struct rv_zone *zone, int n)
{
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_element element;
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(rv_queue_take(queue, &element), 0);
    }
    die();
}

START_TEST(the_dead_give_back)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    push(queue, "a");
    push(queue, "b");
    push(queue, "c");
    push(queue, "d");
    run_victim(fd, take_and_die, 3);
    ck_assert_int_eq(rv_queue_heal(queue), 3);
    ck_assert_int_eq(rv_queue_heal(queue), 0);
    expect_whole(queue);
    run_victim(fd, take_and_die, 4);
    struct rv_queue_element a = take(queue, "a"); /* Nothing else is. */
    ck_assert_uint_eq(a.n_deliveries, 3);
    run_victim(fd, take_and_die, 2);
    queue->look_ms = 0; /* There is "d", but it is time to look. */
    take(queue, "b");
    take(queue, "c");
    take(queue, "d");
    expect_empty(queue);
    struct rv_queue_stats stats;
    rv_queue_get_stats(queue, &stats);
    ck_assert_uint_eq(stats.n_recovered, 3 + 4 + 2);
    ck_assert_uint_eq(stats.n_taken, 4);
    close_all(queue, zone, fd);
}
END_TEST

static void
pass_one_on(struct rv_zone *zone, int n_before)
{
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_stats stats;
    struct rv_queue_element element = take(queue, "a");
    rv_queue_get_stats(queue, &stats);
    if (element.n_deliveries != (uint32_t)n_before + 1 || stats.n_taken != 1) {
        _exit(1);
    }
    rv_queue_close(&queue);
}

/* Each has the slot of the one before, which left with the element. */
START_TEST(who_leaves_gives_back)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    push(queue, "a");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(end_of(start_member(fd, pass_one_on, i)), 0);
    }
    struct rv_queue_element element = take(queue, "a");
    ck_assert_uint_eq(element.n_deliveries, 4);
    close_all(queue, zone, fd);
}
END_TEST

/* -------------------------------------------------------------- who waits */

static void
echo(struct rv_zone *zone, int n)
{
    struct rv_queue *queue = open_queue(zone, 0);
    for (int i = 0; i < n; i++) {
        struct rv_queue_element element;
        if (rv_queue_take_block(queue, 10000, &element)
            || rv_queue_ack(queue, &element)) {
            _exit(1);
        }
    }
    rv_queue_close(&queue);
}

START_TEST(sleepers_are_woken)
{
    enum { N = 2000 };
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 2);
    struct timespec start, end;
    pid_t first = start_member(fd, echo, N);
    pid_t second = start_member(fd, echo, N);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 2 * N; i++) {
        ck_assert_int_eq(rv_queue_push_block(queue, "x", 1, 10000), 0);
    }
    ck_assert_int_eq(end_of(first), 0);
    ck_assert_int_eq(end_of(second), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    /* Far fewer than one in a hundred may have overslept. */
    ck_assert_int_lt(end.tv_sec - start.tv_sec, 4);
    expect_empty(queue);
    close_all(queue, zone, fd);
}
END_TEST

START_TEST(waiting_ends)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 1);
    struct rv_queue_element element;
    ck_assert_int_eq(rv_queue_take_block(queue, 0, &element), -ETIMEDOUT);
    ck_assert_int_eq(rv_queue_take_block(queue, 20, &element), -ETIMEDOUT);
    push(queue, "a");
    ck_assert_int_eq(rv_queue_push_block(queue, "b", 1, 20), -ETIMEDOUT);
    ck_assert_int_eq(rv_queue_take_block(queue, 0, &element), 0);
    ck_assert_int_eq(rv_queue_take_block(queue, 20, &element), -ETIMEDOUT);
    close_all(queue, zone, fd);
}
END_TEST

static void
take_tell_and_stay(struct rv_zone *zone, int pipe_fd)
{
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_element element;
    if (rv_queue_take(queue, &element) || write(pipe_fd, "x", 1) != 1) {
        _exit(1);
    }
    pause();
}

/* A consumer that sleeps learns of the death of another. */
START_TEST(sleepers_notice_deaths)
{
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    int ends[2];
    char byte;
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_element element;
    ck_assert_int_eq(pipe(ends), 0);
    push(queue, "a");
    pid_t pid = start_member(fd, take_tell_and_stay, ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(rv_queue_take_block(queue, 150, &element), -ETIMEDOUT);
    kill(pid, SIGKILL);
    ck_assert_int_eq(rv_queue_take_block(queue, 10000, &element), 0);
    expect_element(&element, "a");
    end_of(pid);
    rv_fd_close(&ends[0]);
    rv_fd_close(&ends[1]);
    close_all(queue, zone, fd);
}
END_TEST

/* ------------------------------------------------------------------ damage */

START_TEST(damage_is_found_and_survived)
{
    uint64_t seed = 11;
    int fd = make_slab_zone(QUEUE_ZONE_BYTES, QUEUE_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_queue(zone, 0);
    struct rv_queue_element element;
    struct rv_error error;
    for (int i = 0; i < 20; i++) {
        push(queue, "some bytes");
    }
    ck_assert_int_eq(rv_queue_take(queue, &element), 0);
    ck_assert_int_eq(rv_queue_take(queue, &element), 0);
    struct rv__queue_root *root = queue->root;
    uint64_t *const words[] = {&root->first,          &root->last,
                               &root->n_ready,        &root->n_taken,
                               &root->taken[0].first, &root->n_pushed};
    for (size_t i = 0; i < RV_ARRAY_SIZE(words); i++) {
        uint64_t right = *words[i];
        for (int j = 0; j < 200; j++) {
            *words[i] =
                random_below(&seed, UINT64_MAX) >> random_below(&seed, 64);
            bool is_wrong = *words[i] != right && words[i] != &root->n_pushed;
            int rc = rv_queue_check(queue, &error);
            ck_assert(rc == -EUCLEAN || (rc == 0 && !is_wrong));
        }
        *words[i] = right;
    }
    uint64_t *next =
        rv_zone_at(zone, root->first + offsetof(struct rv__element, next), 8);
    ck_assert_ptr_nonnull(next);
    *next = root->first; /* A circle. */
    ck_assert_int_eq(rv_queue_check(queue, &error), -EUCLEAN);
    root->first = rv_zone_heap_end(zone) - 8;
    ck_assert_int_eq(rv_queue_take(queue, &element), -EUCLEAN);
    rv_queue_close(&queue);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(what_comes_first_goes_first),
        RV_TEST(what_is_given_back_comes_again),
        RV_TEST(misuse_is_refused),
        RV_TEST(full_zones_refuse),
        RV_TEST(long_elements_are_runs),
        RV_TEST(the_dead_give_back),
        RV_TEST(who_leaves_gives_back),
        RV_TEST(sleepers_are_woken),
        RV_TEST(waiting_ends),
        RV_TEST(sleepers_notice_deaths),
        RV_TEST(damage_is_found_and_survived),
    };
    return rv_test_run("queue", tests, RV_ARRAY_SIZE(tests));
}
