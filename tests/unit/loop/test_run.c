#include <signal.h>

#include "harness.h"
#include "reeve/loop.h"

static void
on_due(struct rv_timer *timer)
{
    const int *number = timer->context;
    ck_assert_int_eq(raise(*number), 0);
}

START_TEST(signals_end_the_run)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    for (size_t i = 0; i < RV_ARRAY_SIZE(numbers); i++) {
        int number = numbers[i];
        struct rv_timer timer;
        rv_timer_init(&timer, on_due, &number);
        ck_assert_int_eq(rv_timer_start(&loop, &timer, rv_loop_now(&loop) + 1),
                         0);
        ck_assert_int_eq(rv_loop_run_until_signal_block(&loop), number);
    }
    rv_loop_deinit(&loop);
}
END_TEST

START_TEST(held_signal_is_not_lost)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    rv_loop_hold_signals();
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert_int_eq(rv_loop_run_until_signal_block(&loop), SIGTERM);
    /* The end is not cut short. */
    ck_assert_int_eq(raise(SIGTERM), 0);
    rv_loop_deinit(&loop);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(signals_end_the_run),
        RV_TEST(held_signal_is_not_lost),
    };
    return rv_test_run("run", tests, RV_ARRAY_SIZE(tests));
}
