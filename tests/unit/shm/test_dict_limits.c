/* What the ends of all ranges give. */
#include <math.h>
#include <stdint.h>

#include "dict_test.h"
#include "reeve/limiter.h"

enum { LONGEST = RV_DICT_KEY_MAX_BYTES, TOO_LONG = LONGEST + 1 };

static char key[TOO_LONG];

static int
count_key(void *context, const void *found, size_t length)
{
    (void)found;
    *(size_t *)context += length + 1;
    return 0;
}

/* Every call with a key of 'n' bytes at 'at', which is not there yet. */
static void
use_key(struct fixture *f, const void *at, size_t n)
{
    struct rv_dict_value one = rv_dict_integer(1), value;
    struct rv_dict_value text = rv_dict_bytes("text", 4);
    char buffer[8];
    bool is_stale = true;
    int64_t ttl_ms = 7;
    uint64_t length = 0;
    ck_assert_int_eq(rv_dict_replace(f->dict, at, n, &one, 0), -ENOENT);
    ck_assert_int_eq(rv_dict_add(f->dict, at, n, &one, 0), 0);
    ck_assert_int_eq(rv_dict_safe_add(f->dict, at, n, &one, 0), -EEXIST);
    ck_assert_int_eq(rv_dict_incr(f->dict, at, n, &one, NULL, 0, &value), 0);
    ck_assert_int_eq(value.integer, 2);
    ck_assert_int_eq(rv_dict_safe_set(f->dict, at, n, &text, 50), 0);
    ck_assert_int_eq(rv_dict_get(f->dict, at, n, buffer, 8, &value), 0);
    ck_assert_uint_eq(value.length, 4);
    ck_assert_int_eq(
        rv_dict_get_stale(f->dict, at, n, buffer, 8, &value, &is_stale), 0);
    ck_assert(!is_stale);
    ck_assert_int_eq(rv_dict_ttl(f->dict, at, n, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, 50);
    ck_assert_int_eq(rv_dict_expire(f->dict, at, n, 0), 0);
    size_t n_seen = 0;
    ck_assert_int_eq(rv_dict_keys(f->dict, 0, count_key, &n_seen), 0);
    ck_assert_uint_eq(n_seen, n + 1);
    ck_assert_int_eq(rv_dict_delete(f->dict, at, n), 0);
    ck_assert_int_eq(rv_dict_lpush(f->dict, at, n, &text, &length), 0);
    ck_assert_int_eq(rv_dict_rpush(f->dict, at, n, &one, &length), 0);
    ck_assert_int_eq(rv_dict_llen(f->dict, at, n, &length), 0);
    ck_assert_uint_eq(length, 2);
    ck_assert_int_eq(rv_dict_lpop(f->dict, at, n, buffer, 8, &value), 0);
    ck_assert_int_eq(rv_dict_rpop(f->dict, at, n, buffer, 8, &value), 0);
    ck_assert_int_eq(rv_dict_rpop(f->dict, at, n, buffer, 8, &value), -ENOENT);
}

START_TEST(keys_of_no_and_of_most_bytes)
{
    struct fixture f;
    set_up(&f, 1 << 20, 2);
    use_key(&f, NULL, 0);
    use_key(&f, "", 0);
    memset(key, 'k', sizeof key);
    use_key(&f, key, LONGEST);
    tear_down(&f);
}
END_TEST

START_TEST(a_key_too_long)
{
    struct fixture f;
    struct rv_dict_value one = rv_dict_integer(1);
    struct rv_dict_value value = {.length = 77};
    char buffer[8];
    bool is_stale;
    int64_t ttl_ms = 7;
    uint64_t n = 7;
    set_up(&f, 1 << 20, 2);
    struct rv_dict *d = f.dict;
    size_t k = TOO_LONG;
    ck_assert_int_eq(rv_dict_set(d, key, k, &one, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_set(d, key, k, NULL, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_safe_set(d, key, k, &one, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_add(d, key, k, &one, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_safe_add(d, key, k, &one, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_replace(d, key, k, &one, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_incr(d, key, k, &one, &one, 0, &value), -E2BIG);
    ck_assert_int_eq(rv_dict_expire(d, key, k, 5), -E2BIG);
    ck_assert_int_eq(rv_dict_delete(d, key, k), -E2BIG);
    ck_assert_int_eq(rv_dict_get(d, key, k, buffer, 8, &value), -E2BIG);
    ck_assert_int_eq(
        rv_dict_get_stale(d, key, k, buffer, 8, &value, &is_stale), -E2BIG);
    ck_assert_int_eq(rv_dict_ttl(d, key, k, &ttl_ms), -E2BIG);
    ck_assert_int_eq(rv_dict_llen(d, key, k, &n), -E2BIG);
    ck_assert_int_eq(rv_dict_lpush(d, key, k, &one, &n), -E2BIG);
    ck_assert_int_eq(rv_dict_rpop(d, key, k, buffer, 8, &value), -E2BIG);
    ck_assert_int_eq(rv_dict_get(d, key, SIZE_MAX, buffer, 8, &value), -E2BIG);
    ck_assert_uint_eq(value.length, 77);
    ck_assert_int_eq(ttl_ms, 7);
    ck_assert_uint_eq(n, 7);
    tear_down(&f);
}
END_TEST

/* What can never fit is refused, and costs nobody his place. */
START_TEST(values_larger_than_the_zone)
{
    struct fixture f;
    struct rv_dict_stats stats;
    uint64_t n = 0;
    size_t size = 1 << 18;
    set_up(&f, size, 2);
    char *bytes = calloc(1, 2 * size);
    struct rv_dict_value value = rv_dict_bytes(bytes, 2 * size);
    struct rv_dict_value one = rv_dict_integer(1);
    ck_assert_int_eq(set_text(f.dict, "old", "text", 0), 0);
    ck_assert_int_eq(rv_dict_rpush(f.dict, "list", 4, &one, NULL), 0);
    ck_assert_int_eq(rv_dict_set(f.dict, "old", 3, &value, 0), -ENOMEM);
    ck_assert_int_eq(rv_dict_safe_set(f.dict, "old", 3, &value, 0), -ENOMEM);
    ck_assert_int_eq(rv_dict_add(f.dict, "new", 3, &value, 0), -ENOMEM);
    ck_assert_int_eq(rv_dict_replace(f.dict, "old", 3, &value, 0), -ENOMEM);
    ck_assert_int_eq(rv_dict_lpush(f.dict, "list", 4, &value, &n), -ENOMEM);
    expect_text(f.dict, "old", "text");
    ck_assert_int_eq(rv_dict_llen(f.dict, "list", 4, &n), 0);
    ck_assert_uint_eq(n, 1);
    expect_none(f.dict, "new");
    rv_dict_get_stats(f.dict, &stats);
    ck_assert_uint_eq(stats.n_evicted, 0);
    free(bytes);
    tear_down(&f);
}
END_TEST

/* What would end later than time can tell never ends. */
START_TEST(times_that_overflow)
{
    struct fixture f;
    struct rv_dict_value one = rv_dict_integer(1);
    int64_t ttl_ms = 7;
    set_up(&f, 1 << 18, 2);
    struct rv_dict *d = f.dict;
    const int64_t ends[] = {INT64_MAX, INT64_MAX - f.now_ms + 1};
    for (size_t i = 0; i < RV_ARRAY_SIZE(ends); i++) {
        ck_assert_int_eq(rv_dict_set(d, "k", 1, &one, ends[i]), 0);
        ck_assert_int_eq(rv_dict_ttl(d, "k", 1, &ttl_ms), 0);
        ck_assert_int_eq(ttl_ms, 0);
        ck_assert_int_eq(rv_dict_expire(d, "k", 1, 5), 0);
        ck_assert_int_eq(rv_dict_expire(d, "k", 1, ends[i]), 0);
        ck_assert_int_eq(rv_dict_ttl(d, "k", 1, &ttl_ms), 0);
        ck_assert_int_eq(ttl_ms, 0);
        ck_assert_int_eq(rv_dict_delete(d, "k", 1), 0);
        ck_assert_int_eq(rv_dict_incr(d, "k", 1, &one, &one, ends[i], NULL),
                         0);
        ck_assert_int_eq(rv_dict_ttl(d, "k", 1, &ttl_ms), 0);
        ck_assert_int_eq(ttl_ms, 0);
    }
    int64_t most = INT64_MAX - f.now_ms;
    ck_assert_int_eq(rv_dict_set(d, "k", 1, &one, most), 0);
    ck_assert_int_eq(rv_dict_ttl(d, "k", 1, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, most);
    ck_assert_int_eq(rv_dict_set(d, "k", 1, &one, -1), -EINVAL);
    ck_assert_int_eq(rv_dict_set(d, "k", 1, &one, INT64_MIN), -EINVAL);
    ck_assert_int_eq(rv_dict_expire(d, "k", 1, INT64_MIN), -EINVAL);
    ck_assert_int_eq(rv_dict_incr(d, "n", 1, &one, &one, INT64_MIN, NULL),
                     -EINVAL);
    expect_none(d, "n");
    tear_down(&f);
}
END_TEST

static int
add(struct rv_dict *dict, const char *name, int64_t n)
{
    struct rv_dict_value delta = rv_dict_integer(n);
    return rv_dict_incr(dict, name, strlen(name), &delta, NULL, 0, NULL);
}

START_TEST(integers_that_overflow)
{
    struct fixture f;
    struct rv_dict_value most = rv_dict_integer(INT64_MAX);
    struct rv_dict_value least = rv_dict_integer(INT64_MIN), sum;
    struct rv_dict_value half = rv_dict_real(0.5);
    set_up(&f, 1 << 18, 2);
    ck_assert_int_eq(set_integer(f.dict, "n", INT64_MAX), 0);
    ck_assert_int_eq(add(f.dict, "n", 1), -EOVERFLOW);
    ck_assert_int_eq(add(f.dict, "n", INT64_MAX), -EOVERFLOW);
    expect_integer(f.dict, "n", INT64_MAX);
    ck_assert_int_eq(add(f.dict, "n", INT64_MIN), 0);
    expect_integer(f.dict, "n", -1);
    ck_assert_int_eq(add(f.dict, "n", INT64_MIN), -EOVERFLOW);
    ck_assert_int_eq(add(f.dict, "n", -INT64_MAX), 0);
    expect_integer(f.dict, "n", INT64_MIN);
    ck_assert_int_eq(add(f.dict, "n", -1), -EOVERFLOW);
    expect_integer(f.dict, "n", INT64_MIN);
    /* Also of what it begins with: then nothing is stored. */
    ck_assert_int_eq(rv_dict_incr(f.dict, "new", 3, &most, &most, 0, &sum),
                     -EOVERFLOW);
    ck_assert_int_eq(rv_dict_incr(f.dict, "new", 3, &least, &least, 0, &sum),
                     -EOVERFLOW);
    expect_none(f.dict, "new");
    ck_assert_int_eq(rv_dict_incr(f.dict, "new", 3, &least, &most, 0, &sum),
                     0);
    ck_assert_int_eq(sum.integer, -1);
    /* With a double it is one, and rounds. */
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &half, NULL, 0, &sum), 0);
    ck_assert_int_eq(sum.type, RV_DICT_REAL);
    ck_assert_double_eq(sum.real, -9223372036854775808.0);
    tear_down(&f);
}
END_TEST

/* Doubles are kept bit for bit, those that are no numbers, too. */
START_TEST(doubles_that_are_no_numbers)
{
    struct fixture f;
    const uint64_t payload = UINT64_C(0x7ff800000000abcd);
    double nan_with_payload;
    memcpy(&nan_with_payload, &payload, sizeof payload);
    const double values[] = {HUGE_VAL, -HUGE_VAL, -0.0, 5e-324,
                             nan_with_payload};
    struct rv_dict_value up = rv_dict_real(HUGE_VAL), sum;
    struct rv_dict_value down = rv_dict_real(-HUGE_VAL);
    set_up(&f, 1 << 18, 2);
    for (size_t i = 0; i < RV_ARRAY_SIZE(values); i++) {
        struct rv_dict_value value = rv_dict_real(values[i]);
        ck_assert_int_eq(rv_dict_set(f.dict, "k", 1, &value, 0), 0);
        ck_assert_int_eq(get(f.dict, "k", &value), 0);
        ck_assert_int_eq(value.type, RV_DICT_REAL);
        ck_assert_mem_eq(&value.real, &values[i], sizeof values[i]);
    }
    ck_assert_int_eq(rv_dict_incr(f.dict, "k", 1, &up, NULL, 0, &sum), 0);
    ck_assert(isnan(sum.real));
    ck_assert_int_eq(set_integer(f.dict, "n", 1), 0);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &up, NULL, 0, &sum), 0);
    ck_assert_double_eq(sum.real, HUGE_VAL);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &up, NULL, 0, &sum), 0);
    ck_assert_double_eq(sum.real, HUGE_VAL);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &down, NULL, 0, &sum), 0);
    ck_assert(isnan(sum.real));
    tear_down(&f);
}
END_TEST

START_TEST(limits_that_are_no_numbers)
{
    struct fixture f;
    const struct rv_rate_limit wrong[] = {
        {(double)NAN, 1}, {HUGE_VAL, 1}, {-HUGE_VAL, 1},
        {0, 1},           {-1, 1},       {2e6, 1},
        {1, (double)NAN}, {1, -1},       {1, -HUGE_VAL}};
    const struct rv_rate_limit endless = {1, HUGE_VAL};
    uint64_t delay_ns = 7;
    set_up(&f, 1 << 18, 2);
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        ck_assert_int_eq(
            rv_limiter_request(f.dict, "k", 1, &wrong[i], &delay_ns), -EINVAL);
    }
    ck_assert_uint_eq(delay_ns, 7);
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(
            rv_limiter_request(f.dict, "k", 1, &endless, &delay_ns), 0);
        ck_assert_uint_eq(delay_ns, i * 1000000000);
    }
    tear_down(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(keys_of_no_and_of_most_bytes),
        RV_TEST(a_key_too_long),
        RV_TEST(values_larger_than_the_zone),
        RV_TEST(times_that_overflow),
        RV_TEST(integers_that_overflow),
        RV_TEST(doubles_that_are_no_numbers),
        RV_TEST(limits_that_are_no_numbers),
    };
    return rv_test_run("dict_limits", tests, RV_ARRAY_SIZE(tests));
}
