#include "base/backoff.h"
#include "harness.h"

START_TEST(first_failure_waits_for_nothing)
{
    ck_assert_int_eq(rv_backoff_ms(100, 30000, 0, 7), 0);
    ck_assert_int_eq(rv_backoff_ms(100, 30000, 1, 7), 0);
}
END_TEST

START_TEST(doubles_up_to_the_maximum)
{
    const int64_t most[] = {100, 200, 400, 800, 1000, 1000, 1000};
    for (unsigned int i = 0; i < RV_ARRAY_SIZE(most); i++) {
        ck_assert_int_eq(rv_backoff_ms(100, 1000, i + 2, 0), most[i]);
    }
}
END_TEST

/* Whatever the numbers: between three quarters of the delay and all of it,
 * and the delay itself never falls. */
START_TEST(stays_within_bounds)
{
    uint64_t random = 1;
    for (int round = 0; round < 2000; round++) {
        int64_t min_ms = (int64_t)(rv_random(&random) % 5000);
        int64_t max_ms = (int64_t)(rv_random(&random) % 100000);
        int64_t last_ms = 0;
        for (unsigned int n = 2; n < 40; n++) {
            int64_t full_ms = rv_backoff_ms(min_ms, max_ms, n, 0);
            int64_t ms = rv_backoff_ms(min_ms, max_ms, n, rv_random(&random));
            ck_assert_int_le(full_ms, max_ms);
            ck_assert_int_ge(full_ms, last_ms);
            ck_assert_int_le(ms, full_ms);
            ck_assert_int_ge(ms, full_ms - full_ms / 4);
            last_ms = full_ms;
        }
    }
}
END_TEST

START_TEST(uses_all_of_the_jitter)
{
    int64_t least = 1000;
    int64_t most = 0;
    for (uint64_t random = 0; random < 1000; random++) {
        int64_t ms = rv_backoff_ms(1000, 1000, 5, random);
        least = RV_MIN(least, ms);
        most = RV_MAX(most, ms);
    }
    ck_assert_int_eq(least, 750);
    ck_assert_int_eq(most, 1000);
}
END_TEST

START_TEST(survives_extremes)
{
    ck_assert_int_eq(rv_backoff_ms(0, 0, 100, 0), 0);
    ck_assert_int_eq(rv_backoff_ms(0, 10, 2, 0), 1);
    ck_assert_int_gt(rv_backoff_ms(1, INT64_MAX, 4294967295U, 0), 0);
    ck_assert_int_gt(rv_backoff_ms(INT64_MAX, INT64_MAX, 9, UINT64_MAX), 0);
    ck_assert_int_gt(rv_backoff_ms(3, INT64_MAX, 200, 0), 0);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(first_failure_waits_for_nothing),
        RV_TEST(doubles_up_to_the_maximum),
        RV_TEST(stays_within_bounds),
        RV_TEST(uses_all_of_the_jitter),
        RV_TEST(survives_extremes),
    };
    return rv_test_run("backoff", tests, RV_ARRAY_SIZE(tests));
}
