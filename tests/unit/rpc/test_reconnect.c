#include "reeve/reconnect.h"

#include <errno.h>
#include <string.h>

#include "base/backoff.h"
#include "harness.h"

static struct rv_reconnect
fresh(int64_t now_ms)
{
    struct rv_reconnect machine;
    rv_reconnect_init(&machine, now_ms);
    return machine;
}

static struct rv_reconnect
in_active(int64_t now_ms)
{
    struct rv_reconnect machine = fresh(now_ms);
    rv_reconnect_connected(&machine, now_ms);
    return machine;
}

START_TEST(begins_with_the_documented_values)
{
    struct rv_reconnect machine = fresh(77);
    struct rv_reconnect_stats stats;
    rv_reconnect_get_stats(&machine, 80, &stats);
    ck_assert_int_eq(machine.min_backoff_ms, 1000);
    ck_assert_int_eq(machine.max_backoff_ms, 8000);
    ck_assert_int_eq(machine.probe_interval_ms, 5000);
    ck_assert_uint_eq(machine.max_tries, RV_RECONNECT_UNLIMITED);
    ck_assert_int_eq(stats.created_ms, 77);
    ck_assert_int_eq(stats.state_elapsed_ms, 3);
    ck_assert_int_eq(stats.since_connect_ms, RV_RECONNECT_NEVER);
    ck_assert_int_eq(stats.since_disconnect_ms, RV_RECONNECT_NEVER);
    ck_assert_int_eq(stats.total_connected_ms, 0);
    ck_assert(!rv_reconnect_is_enabled(&machine));
    ck_assert(!rv_reconnect_is_connected(&machine));
}
END_TEST

START_TEST(names_the_states)
{
    static const char *const names[] = {
        "VOID", "BACKOFF",   "CONNECTING", "ACTIVE",
        "IDLE", "RECONNECT", "LISTENING",
    };
    for (int i = 0; i < RV_RECONNECT_N_STATES; i++) {
        enum rv_reconnect_state state = (enum rv_reconnect_state)i;
        ck_assert_str_eq(rv_reconnect_state_name(state), names[i]);
        ck_assert(!rv_reconnect_may_follow(state, state));
    }
}
END_TEST

/* No time is so far away, on either side, that a sum wraps. */
START_TEST(deadlines_saturate)
{
    struct rv_reconnect machine = fresh(INT64_MAX - 10);
    rv_reconnect_connecting(&machine, INT64_MAX - 10);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, INT64_MAX),
                     RV_RECONNECT_NEVER);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MAX),
                     RV_RECONNECT_NOTHING);

    machine = in_active(INT64_MAX - 10);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, INT64_MAX),
                     RV_RECONNECT_NEVER);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MAX),
                     RV_RECONNECT_NOTHING);

    machine = fresh(INT64_MIN);
    rv_reconnect_connecting(&machine, INT64_MIN);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 0), INT64_MIN + 1000);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MIN),
                     RV_RECONNECT_NOTHING);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MAX),
                     RV_RECONNECT_DISCONNECT);
}
END_TEST

START_TEST(the_wake_up_for_a_receive_saturates)
{
    struct rv_reconnect machine = in_active(0);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, INT64_MAX - 1),
                     INT64_MAX);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, INT64_MAX), INT64_MAX);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MAX),
                     RV_RECONNECT_NOTHING);
}
END_TEST

START_TEST(statistics_saturate)
{
    struct rv_reconnect machine = in_active(INT64_MIN);
    struct rv_reconnect_stats stats;
    rv_reconnect_get_stats(&machine, INT64_MAX, &stats);
    ck_assert_int_eq(stats.state_elapsed_ms, INT64_MAX);
    ck_assert_int_eq(stats.total_connected_ms, INT64_MAX);
    rv_reconnect_disconnected(&machine, 0, INT64_MAX);
    ck_assert_int_eq(machine.total_connected_ms, INT64_MAX);
    rv_reconnect_connected(&machine, 0);
    rv_reconnect_get_stats(&machine, 1000, &stats);
    ck_assert_int_eq(stats.total_connected_ms, INT64_MAX);

    machine = in_active(INT64_MAX - 1);
    rv_reconnect_get_stats(&machine, INT64_MIN, &stats);
    ck_assert_int_eq(stats.since_connect_ms, INT64_MIN);

    machine = in_active(INT64_MIN);
    rv_reconnect_get_stats(&machine, 0, &stats);
    ck_assert_int_eq(stats.since_connect_ms, INT64_MAX);
}
END_TEST

/* The original keeps 32 bits of milliseconds, which is 49 days. */
START_TEST(counts_years_of_connection)
{
    const int64_t year_ms = INT64_C(365) * 24 * 3600 * 1000;
    struct rv_reconnect machine = in_active(0);
    struct rv_reconnect_stats stats;
    rv_reconnect_disconnected(&machine, 0, year_ms);
    rv_reconnect_connected(&machine, 2 * year_ms);
    rv_reconnect_get_stats(&machine, 3 * year_ms, &stats);
    ck_assert_int_eq(stats.total_connected_ms, 2 * year_ms);
    ck_assert_int_eq(stats.since_disconnect_ms, 2 * year_ms);
}
END_TEST

START_TEST(backoff_is_kept_within_bounds)
{
    static const struct {
        int64_t min_ms, max_ms, min_after_ms, max_after_ms;
    } rows[] = {
        {0, 0, 1000, 8000},
        {1, 1, 1000, 1000},
        {-5, -5, 1000, 1000},
        {INT64_MIN, INT64_MIN, 1000, 1000},
        {1000, INT64_MAX, 1000, INT64_MAX},
        {INT64_MAX, 0, INT64_MAX, INT64_MAX},
        {9000, 0, 9000, 9000},
        {3000, 2000, 3000, 3000},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        struct rv_reconnect machine = fresh(0);
        rv_reconnect_set_backoff(&machine, rows[i].min_ms, rows[i].max_ms);
        ck_assert_int_eq(machine.min_backoff_ms, rows[i].min_after_ms);
        ck_assert_int_eq(machine.max_backoff_ms, rows[i].max_after_ms);
    }
}
END_TEST

START_TEST(doubling_never_overflows)
{
    struct rv_reconnect machine = fresh(0);
    int64_t last_ms = 0;
    rv_reconnect_set_backoff(&machine, 1000, INT64_MAX);
    for (int i = 0; i < 100; i++) {
        rv_reconnect_connect_failed(&machine, -ECONNREFUSED, 0);
        ck_assert_int_ge(machine.backoff_ms, last_ms);
        last_ms = machine.backoff_ms;
    }
    ck_assert_int_eq(last_ms, INT64_MAX);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 0), RV_RECONNECT_NEVER);
}
END_TEST

/* In the original an argument of 0, "the usual", ends the wait at once. */
START_TEST(the_usual_maximum_does_not_end_a_wait)
{
    struct rv_reconnect machine = fresh(0);
    rv_reconnect_connect_failed(&machine, 0, 0);
    rv_reconnect_set_backoff(&machine, 0, 0);
    ck_assert_int_eq(machine.backoff_ms, 1000);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 0), 1000);
}
END_TEST

START_TEST(probe_interval_is_kept_within_bounds)
{
    static const int64_t rows[][2] = {
        {0, 0},  {1, 1000},      {999, 1000},  {1000, 1000},
        {-1, 0}, {INT64_MIN, 0}, {5001, 5001}, {INT64_MAX, INT64_MAX},
    };
    struct rv_reconnect machine = in_active(5);
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        rv_reconnect_set_probe_interval(&machine, rows[i][0]);
        ck_assert_int_eq(machine.probe_interval_ms, rows[i][1]);
        rv_reconnect_deadline(&machine, INT64_MAX);
        rv_reconnect_deadline(&machine, INT64_MIN);
    }
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 5), RV_RECONNECT_NEVER);
}
END_TEST

START_TEST(counters_wrap_where_they_are_unsigned)
{
    struct rv_reconnect machine = fresh(0);
    machine.seqno = UINT_MAX;
    machine.n_attempted = UINT_MAX;
    machine.n_successful = UINT_MAX;
    rv_reconnect_connected(&machine, 0);
    ck_assert_uint_eq(machine.seqno, 0);
    ck_assert_uint_eq(machine.n_attempted, 0);
    ck_assert_uint_eq(machine.n_successful, 0);
}
END_TEST

START_TEST(tries_are_counted_down_to_none)
{
    struct rv_reconnect machine = fresh(0);
    rv_reconnect_set_max_tries(&machine, UINT_MAX - 1);
    rv_reconnect_enable(&machine, 0);
    ck_assert_uint_eq(machine.max_tries, UINT_MAX - 2);
    rv_reconnect_set_max_tries(&machine, 1);
    rv_reconnect_connect_failed(&machine, 0, 0);
    ck_assert_uint_eq(machine.max_tries, 0);
    rv_reconnect_connect_failed(&machine, 0, 0);
    ck_assert(!rv_reconnect_is_enabled(&machine));
    ck_assert_uint_eq(machine.max_tries, 0);
}
END_TEST

START_TEST(options_are_kept_within_bounds)
{
    struct rv_reconnect machine = fresh(0);
    struct rv_reconnect_options options = {
        .first_backoff_ms = INT64_MIN,
        .connect_timeout_ms = -1,
    };
    rv_reconnect_set_options(&machine, &options);
    rv_reconnect_connecting(&machine, 0);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 0), 1000);
    rv_reconnect_disconnected(&machine, 0, 0);
    ck_assert_int_eq(machine.backoff_ms, 1000);

    options.first_backoff_ms = INT64_MAX;
    options.connect_timeout_ms = INT64_MAX;
    rv_reconnect_set_options(&machine, &options);
    rv_reconnect_connecting(&machine, 1);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 1), RV_RECONNECT_NEVER);
    rv_reconnect_disconnected(&machine, 0, 1);
    ck_assert_int_eq(machine.backoff_ms, 8000);
}
END_TEST

/* From 1 ms up it doubles to the maximum, and never stops on the way. */
START_TEST(a_first_backoff_of_a_millisecond_grows)
{
    struct rv_reconnect machine = fresh(0);
    struct rv_reconnect_options options = {.first_backoff_ms = 1};
    rv_reconnect_set_options(&machine, &options);
    for (int64_t expected_ms = 1; expected_ms < 4000; expected_ms *= 2) {
        rv_reconnect_connect_failed(&machine, 0, 0);
        ck_assert_int_eq(machine.backoff_ms, expected_ms);
    }
    rv_reconnect_connect_failed(&machine, 0, 0);
    rv_reconnect_connect_failed(&machine, 0, 0);
    ck_assert_int_eq(machine.backoff_ms, 8000);
}
END_TEST

START_TEST(jitter_stays_within_a_quarter)
{
    struct rv_reconnect_options options = {.has_jitter = true, .seed = 42};
    int64_t least_ms = INT64_MAX;
    int64_t most_ms = 0;
    struct rv_reconnect machine = fresh(0);
    rv_reconnect_set_backoff(&machine, 1000, 1000);
    rv_reconnect_set_options(&machine, &options);
    for (int i = 0; i < 10000; i++) {
        rv_reconnect_connect_failed(&machine, 0, 0);
        ck_assert_int_eq(machine.backoff_ms, 1000);
        least_ms = RV_MIN(least_ms, rv_reconnect_deadline(&machine, 0));
        most_ms = RV_MAX(most_ms, rv_reconnect_deadline(&machine, 0));
    }
    ck_assert_int_eq(least_ms, 750);
    ck_assert_int_eq(most_ms, 1000);
}
END_TEST

START_TEST(jitter_of_nothing_and_of_the_most)
{
    struct rv_reconnect_options options = {.has_jitter = true};
    struct rv_reconnect machine = fresh(0);
    rv_reconnect_set_options(&machine, &options);
    rv_reconnect_enable(&machine, 0);
    ck_assert_int_eq(rv_reconnect_deadline(&machine, 0), 0);
    rv_reconnect_set_backoff(&machine, INT64_MAX, INT64_MAX);
    rv_reconnect_connect_failed(&machine, 0, 0);
    ck_assert_int_eq(machine.backoff_ms, INT64_MAX);
    ck_assert_int_ge(machine.wait_ms, INT64_MAX - INT64_MAX / 4);
}
END_TEST

struct heard {
    enum rv_log_level level;
    char text[200];
    int n;
};

static void
hear(enum rv_log_level level, const char *text, void *context)
{
    struct heard *heard = context;
    if (level != RV_LOG_DBG) {
        heard->level = level;
        heard->n++;
        ck_assert_uint_lt(strlen(text), sizeof heard->text);
        memcpy(heard->text, text, strlen(text) + 1);
    }
}

START_TEST(any_error_has_a_text)
{
    static const struct {
        int error;
        enum rv_log_level level;
        const char *text;
    } rows[] = {
        {-EPIPE, RV_LOG_WARN, "connection lost: Broken pipe"},
        {-99999, RV_LOG_WARN, "connection lost: unknown error"},
        {INT_MIN, RV_LOG_WARN, "connection lost: unknown error"},
        {0, RV_LOG_INFO, "connection lost"},
        {RV_RECONNECT_CLOSED, RV_LOG_INFO, "connection closed by the peer"},
        {INT_MAX, RV_LOG_INFO, "connection lost"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        struct heard heard = {.n = 0};
        struct rv_reconnect machine = in_active(0);
        rv_reconnect_set_log(&machine, hear, &heard);
        rv_reconnect_disconnected(&machine, rows[i].error, 0);
        ck_assert_int_eq(heard.n, 1);
        ck_assert_uint_eq(heard.level, rows[i].level);
        ck_assert_str_eq(heard.text, rows[i].text);
    }
}
END_TEST

START_TEST(the_longest_times_have_a_text)
{
    struct heard heard = {.n = 0};
    struct rv_reconnect machine = in_active(INT64_MIN);
    rv_reconnect_receive_attempted(&machine, RV_RECONNECT_NEVER);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MIN + 5000),
                     RV_RECONNECT_PROBE);
    rv_reconnect_set_log(&machine, hear, &heard);
    ck_assert_int_eq(rv_reconnect_run(&machine, INT64_MAX),
                     RV_RECONNECT_DISCONNECT);
    ck_assert_int_eq(heard.n, 1);
    ck_assert_uint_eq(heard.level, RV_LOG_ERR);
}
END_TEST

static void
report(struct rv_reconnect *machine, uint64_t which, int error, int64_t now_ms)
{
    typedef void plain(struct rv_reconnect *, int64_t);
    typedef void with_error(struct rv_reconnect *, int, int64_t);
    static plain *const plains[] = {
        rv_reconnect_enable,     rv_reconnect_disable,
        rv_reconnect_force,      rv_reconnect_connecting,
        rv_reconnect_listening,  rv_reconnect_connected,
        rv_reconnect_activity,   rv_reconnect_receive_attempted,
        rv_reconnect_connecting, rv_reconnect_connected,
    };
    static with_error *const with_errors[] = {
        rv_reconnect_listen_error,
        rv_reconnect_connect_failed,
        rv_reconnect_disconnected,
    };
    size_t n = RV_ARRAY_SIZE(plains);
    which %= n + RV_ARRAY_SIZE(with_errors);
    if (which < n) {
        plains[which](machine, now_ms);
    } else {
        with_errors[which - n](machine, error, now_ms);
    }
}

/* Whatever the order and the times of the reports: no assertion of the table
 * of successors fails, and what is said stays consistent. */
START_TEST(survives_any_order_of_reports)
{
    uint64_t random = 1;
    struct rv_reconnect machine = fresh(0);
    for (int i = 0; i < 100000; i++) {
        uint64_t r = rv_random(&random);
        int64_t now_ms = (int64_t)rv_random(&random) >> (r % 64);
        report(&machine, r >> 8, (int)(r >> 32) % 3, now_ms);
        if (r % 7 == 0) {
            rv_reconnect_set_passive(&machine, r & 64, now_ms);
        }
        if (rv_reconnect_run(&machine, now_ms) != RV_RECONNECT_NOTHING) {
            ck_assert(rv_reconnect_is_enabled(&machine));
        }
        ck_assert_int_eq(machine.backoff_ms, machine.wait_ms);
        ck_assert_int_ge(machine.backoff_ms, 0);
        ck_assert_int_le(machine.backoff_ms, machine.max_backoff_ms);
        ck_assert_uint_ge(machine.n_attempted, machine.n_successful);
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(begins_with_the_documented_values),
        RV_TEST(names_the_states),
        RV_TEST(deadlines_saturate),
        RV_TEST(the_wake_up_for_a_receive_saturates),
        RV_TEST(statistics_saturate),
        RV_TEST(counts_years_of_connection),
        RV_TEST(backoff_is_kept_within_bounds),
        RV_TEST(doubling_never_overflows),
        RV_TEST(the_usual_maximum_does_not_end_a_wait),
        RV_TEST(probe_interval_is_kept_within_bounds),
        RV_TEST(counters_wrap_where_they_are_unsigned),
        RV_TEST(tries_are_counted_down_to_none),
        RV_TEST(options_are_kept_within_bounds),
        RV_TEST(a_first_backoff_of_a_millisecond_grows),
        RV_TEST(jitter_stays_within_a_quarter),
        RV_TEST(jitter_of_nothing_and_of_the_most),
        RV_TEST(any_error_has_a_text),
        RV_TEST(the_longest_times_have_a_text),
        RV_TEST(survives_any_order_of_reports),
    };
    return rv_test_run("reconnect", tests, RV_ARRAY_SIZE(tests));
}
