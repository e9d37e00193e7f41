/* Limiters: the bucket by itself, then over a dict, with members that die. */
#include "reeve/dict.h"
#include "shm/limiter.h"
#include "slab_test.h"

enum { LIMITER_ZONE_BYTES = 2 << 20 };

#define SECOND_NS UINT64_C(1000000000)

static int64_t the_time_ms = 1000000;

static int64_t
now_ms(void *context)
{
    (void)context;
    return the_time_ms;
}

static struct rv_dict *
open_dict(struct rv_zone *zone)
{
    struct rv_dict_settings settings = {.now_ms = now_ms};
    struct rv_dict *dict = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_dict_open(zone, "limits", &settings, &dict, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return dict;
}

static void
close_all(struct rv_dict *dict, struct rv_zone *zone, int fd)
{
    struct rv_error error = {.code = 0};
    ck_assert_int_eq(rv_dict_check(dict, &error), 0);
    expect_sound(zone);
    rv_dict_close(&dict);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

/* ------------------------------------------------------------------- rates */

START_TEST(the_bucket_leaks)
{
    struct rv_rate_limit limit = {.per_second = 10, .burst = 2};
    uint64_t free_ns = 0;
    uint64_t now = 5 * SECOND_NS;
    uint64_t delay = 99;
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), 0);
    ck_assert_uint_eq(delay, 0);
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), 0);
    ck_assert_uint_eq(delay, SECOND_NS / 10);
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), 0);
    ck_assert_uint_eq(delay, SECOND_NS / 5);
    uint64_t full = free_ns;
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), -EBUSY);
    ck_assert_uint_eq(free_ns, full);
    ck_assert_uint_eq(delay, SECOND_NS / 5);
    now += SECOND_NS / 10 - 1;
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), -EBUSY);
    now += 1;
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), 0);
    ck_assert_uint_eq(delay, SECOND_NS / 5);
    now += SECOND_NS;
    ck_assert_int_eq(rv__limiter_step(&free_ns, &limit, now, &delay), 0);
    ck_assert_uint_eq(delay, 0);
}
END_TEST

/* In any stretch of time no more than burst + 1 + rate * time. */
START_TEST(the_rate_is_kept)
{
    uint64_t seed = 21;
    for (int round = 0; round < 50; round++) {
        struct rv_rate_limit limit = {
            .per_second = (double)(1 + random_below(&seed, 1000)),
            .burst = (double)random_below(&seed, 20)};
        uint64_t free_ns = 0;
        uint64_t start = random_below(&seed, 1000 * SECOND_NS);
        uint64_t now = start;
        uint64_t delay;
        double n_passed = 0;
        for (int i = 0; i < 5000; i++) {
            n_passed += rv__limiter_step(&free_ns, &limit, now, &delay) == 0;
            now += random_below(&seed, SECOND_NS / 2000);
        }
        double seconds = (double)(now - start) / 1e9;
        double most = limit.burst + 1 + limit.per_second * seconds;
        ck_assert_msg(n_passed <= most + 1e-3, "%f passed, not %f", n_passed,
                      most);
        /* Requests come each 0.25 ms, and so up to that late. */
        ck_assert(n_passed >= 0.6 * (most - limit.burst - 2));
    }
}
END_TEST

START_TEST(extremes_are_borne)
{
    const double rates[] = {1e-12, 1, 1e6};
    const uint64_t times[] = {0, 1, SECOND_NS, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < RV_ARRAY_SIZE(rates); i++) {
        for (size_t j = 0; j < RV_ARRAY_SIZE(times); j++) {
            struct rv_rate_limit limit = {.per_second = rates[i],
                                          .burst = 1e300};
            uint64_t free_ns = 0;
            uint64_t delay = 0;
            for (int k = 0; k < 100; k++) {
                uint64_t before = free_ns;
                int rc = rv__limiter_step(&free_ns, &limit, times[j], &delay);
                ck_assert(rc == 0 || (rc == -EBUSY && free_ns == before));
                ck_assert_uint_ge(free_ns, before);
            }
        }
    }
}
END_TEST

START_TEST(keys_have_buckets)
{
    struct rv_rate_limit limit = {.per_second = 2, .burst = 1};
    struct rv_dict_stats stats;
    uint64_t delay;
    int fd = make_slab_zone(LIMITER_ZONE_BYTES, LIMITER_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone);
    for (uint32_t key = 0; key < 100; key++) {
        ck_assert_int_eq(rv_limiter_request(dict, &key, 4, &limit, &delay), 0);
        ck_assert_uint_eq(delay, 0);
        ck_assert_int_eq(rv_limiter_request(dict, &key, 4, &limit, &delay), 0);
        ck_assert_uint_eq(delay, SECOND_NS / 2);
        ck_assert_int_eq(rv_limiter_request(dict, &key, 4, &limit, NULL),
                         -EBUSY);
    }
    the_time_ms += 500;
    uint32_t key = 7;
    uint64_t now_ns = (uint64_t)the_time_ms * 1000000;
    ck_assert_int_eq(
        rv_limiter_request_at(dict, &key, 4, &limit, now_ns - 1, &delay),
        -EBUSY);
    ck_assert_int_eq(
        rv_limiter_request_at(dict, &key, 4, &limit, now_ns, &delay), 0);
    ck_assert_uint_eq(delay, SECOND_NS / 2);
    the_time_ms += 10000;
    ck_assert_int_ge(rv_dict_flush_expired(dict, 0), 0);
    rv_dict_get_stats(dict, &stats);
    ck_assert_uint_eq(stats.n_entries, 0);
    close_all(dict, zone, fd);
}
END_TEST

START_TEST(misuse_is_refused)
{
    const struct rv_rate_limit wrong[] = {
        {0, 1}, {-1, 1}, {1, -1}, {2e6, 1}, {0.0 / 0.0, 1}, {1, 0.0 / 0.0}};
    struct rv_rate_limit limit = {.per_second = 1};
    uint64_t n;
    int fd = make_slab_zone(LIMITER_ZONE_BYTES, LIMITER_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone);
    struct rv_dict_value text = rv_dict_bytes("text", 4);
    struct rv_dict_value number = rv_dict_integer(1);
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        ck_assert_int_eq(rv_limiter_request(dict, "k", 1, &wrong[i], NULL),
                         -EINVAL);
    }
    ck_assert_int_eq(rv_limiter_acquire(dict, "k", 1, 0), -EINVAL);
    ck_assert_int_eq(rv_limiter_acquire(dict, "k", 70000, 1), -E2BIG);
    ck_assert_int_eq(rv_limiter_request(dict, "k", 70000, &limit, NULL),
                     -E2BIG);
    ck_assert_int_eq(rv_limiter_release(dict, "k", 1), -ENOENT);
    ck_assert_int_eq(rv_limiter_count(dict, "k", 1, &n), -ENOENT);
    ck_assert_int_eq(rv_dict_set(dict, "text", 4, &text, 0), 0);
    ck_assert_int_eq(rv_dict_set(dict, "number", 6, &number, 0), 0);
    ck_assert_int_eq(rv_limiter_request(dict, "text", 4, &limit, NULL),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_limiter_acquire(dict, "text", 4, 1), -EPROTOTYPE);
    ck_assert_int_eq(rv_limiter_acquire(dict, "number", 6, 1), -EPROTOTYPE);
    ck_assert_int_eq(rv_limiter_count(dict, "number", 6, &n), -EPROTOTYPE);
    begin(zone, NULL, 1);
    ck_assert_int_eq(rv_limiter_request(dict, "k", 1, &limit, NULL), -EDEADLK);
    ck_assert_int_eq(rv_limiter_acquire(dict, "k", 1, 1), -EDEADLK);
    rv_tx_abort(zone);
    close_all(dict, zone, fd);
}
END_TEST

/* ------------------------------------------------------------------- slots */

static uint64_t
count_of(struct rv_dict *dict)
{
    uint64_t n = UINT64_MAX;
    ck_assert_int_eq(rv_limiter_count(dict, "key", 3, &n), 0);
    return n;
}

START_TEST(slots_are_counted)
{
    struct rv_dict_stats stats;
    int fd = make_slab_zone(LIMITER_ZONE_BYTES, LIMITER_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone);
    for (uint64_t i = 1; i <= 3; i++) {
        ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 3), 0);
        ck_assert_uint_eq(count_of(dict), i);
    }
    ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 3), -EBUSY);
    ck_assert_int_eq(rv_limiter_acquire(dict, "other", 5, 3), 0);
    ck_assert_int_eq(rv_limiter_release(dict, "key", 3), 0);
    ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 3), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(rv_limiter_release(dict, "key", 3), 0);
    }
    ck_assert_int_eq(rv_limiter_release(dict, "key", 3), -ENOENT);
    ck_assert_int_eq(rv_limiter_release(dict, "other", 5), 0);
    rv_dict_get_stats(dict, &stats);
    ck_assert_uint_eq(stats.n_entries, 0);
    close_all(dict, zone, fd);
}
END_TEST

static void
acquire(struct rv_zone *zone, int n)
{
    struct rv_dict *dict = open_dict(zone);
    for (int i = 0; i < n; i++) {
        if (rv_limiter_acquire(dict, "key", 3, 5)) {
            _exit(1);
        }
    }
    rv_dict_close(&dict);
}

static void
acquire_and_die(struct rv_zone *zone, int n)
{
    acquire(zone, n);
    die();
}

START_TEST(slots_of_the_dead_are_free)
{
    int fd = make_slab_zone(LIMITER_ZONE_BYTES, LIMITER_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone);
    ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 5), 0);
    for (int i = 0; i < 3; i++) {
        run_victim(fd, acquire_and_die, 4);
        for (int j = 0; j < 4; j++) {
            ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 5), 0);
        }
        ck_assert_int_eq(rv_limiter_acquire(dict, "key", 3, 5), -EBUSY);
        ck_assert_uint_eq(count_of(dict), 5);
        for (int j = 0; j < 4; j++) {
            ck_assert_int_eq(rv_limiter_release(dict, "key", 3), 0);
        }
        /* One that leaves. */
        ck_assert_int_eq(end_of(start_member(fd, acquire, 4)), 0);
        ck_assert_uint_eq(count_of(dict), 1);
    }
    close_all(dict, zone, fd);
}
END_TEST

enum { N_ROUNDS = 3000 };

/* Never more than two at a time. */
static void
compete(struct rv_zone *zone, int n)
{
    struct rv_dict *dict = open_dict(zone);
    for (int i = 0; i < n; i++) {
        int rc = rv_limiter_acquire(dict, "key", 3, 2);
        if (rc == 0) {
            uint64_t held = 0;
            if (rv_limiter_count(dict, "key", 3, &held) || held > 2
                || rv_limiter_release(dict, "key", 3)) {
                _exit(1);
            }
        } else if (rc != -EBUSY) {
            _exit(1);
        }
    }
    rv_dict_close(&dict);
}

START_TEST(members_compete)
{
    pid_t pids[3];
    int fd = make_slab_zone(LIMITER_ZONE_BYTES, LIMITER_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone);
    for (int i = 0; i < 3; i++) {
        pids[i] = start_member(fd, compete, N_ROUNDS);
    }
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    uint64_t n;
    ck_assert_int_eq(rv_limiter_count(dict, "key", 3, &n), -ENOENT);
    close_all(dict, zone, fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(the_bucket_leaks),           RV_TEST(the_rate_is_kept),
        RV_TEST(extremes_are_borne),         RV_TEST(keys_have_buckets),
        RV_TEST(misuse_is_refused),          RV_TEST(slots_are_counted),
        RV_TEST(slots_of_the_dead_are_free), RV_TEST(members_compete),
    };
    return rv_test_run("limiter", tests, RV_ARRAY_SIZE(tests));
}
