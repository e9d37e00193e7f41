#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reeve/coverage.h"
#include "reeve/memory.h"
#include "harness.h"

RV_COVERAGE_DEFINE(often);
RV_COVERAGE_DEFINE(seldom);
RV_COVERAGE_DEFINE(alike);
RV_COVERAGE_DEFINE(never);

/* The lines of the report but for the first, which ends in a hash. */
static const char *
show(struct rv_buf *text)
{
    const char *header = "Event coverage, avg rate over last: 5 seconds, last "
                         "minute, last hour,  hash=";
    rv_buf_init(text, 10000);
    rv_coverage_show(text);
    const char *all = rv_buf_string(text);
    ck_assert_int_eq(strncmp(all, header, strlen(header)), 0);
    const char *end = strchr(all, '\n');
    ck_assert_ptr_nonnull(end);
    ck_assert_int_eq(end - all, (long)strlen(header) + 9);
    return end + 1;
}

static void
check(const char *expected)
{
    struct rv_buf text;
    ck_assert_str_eq(show(&text), expected);
    rv_buf_deinit(&text);
}

#define LINE(NAME, FIVE, MINUTE, HOUR, TOTAL) \
  NAME " " FIVE "/sec " MINUTE "/sec " HOUR "/sec   total: " TOTAL "\n"

START_TEST(nothing_yet)
{
    check("0 events never hit\n");
    RV_COVERAGE_REGISTER(never);
    RV_COVERAGE_REGISTER(never);
    check("1 events never hit\n");
}
END_TEST

START_TEST(the_most_frequent_comes_first)
{
    RV_COVERAGE_REGISTER(never);
    RV_COVERAGE_INC(seldom);
    RV_COVERAGE_INC(alike);
    RV_COVERAGE_ADD(often, 1000000000000);
    check(LINE("often                   ", "  0.0", "    0.000",
               "       0.0000", "1000000000000")
              LINE("alike                   ", "  0.0", "    0.000",
                   "       0.0000", "1")
                  LINE("seldom                  ", "  0.0", "    0.000",
                       "       0.0000", "1") "1 events never hit\n");
    uint64_t total = 77;
    ck_assert_int_eq(rv_coverage_read("often", &total), 0);
    ck_assert_uint_eq(total, 1000000000000);
    ck_assert_int_eq(rv_coverage_read("never", &total), 0);
    ck_assert_uint_eq(total, 0);
    ck_assert_int_eq(rv_coverage_read("none", &total), -ENOENT);
}
END_TEST

static void
check_rates(const char *five, const char *minute, const char *hour)
{
    struct rv_buf text;
    char expected[100];
    const char *lines = show(&text);
    snprintf(expected, sizeof expected, "%5s/sec %9s/sec %13s/sec ", five,
             minute, hour);
    ck_assert_msg(strstr(lines, expected) != NULL, "%s%s", expected, lines);
    rv_buf_deinit(&text);
}

START_TEST(averages_go_by_the_time_given)
{
    rv_coverage_run(100000);
    RV_COVERAGE_ADD(often, 3600);
    rv_coverage_run(104999);
    check_rates("0.0", "0.000", "0.0000");
    rv_coverage_run(105000);
    check_rates("720.0", "60.000", "1.0000");
    rv_coverage_run(109999);
    check_rates("720.0", "60.000", "1.0000");
    rv_coverage_run(110000);
    check_rates("0.0", "60.000", "1.0000");
    rv_coverage_run(164999);
    check_rates("0.0", "60.000", "1.0000");
    rv_coverage_run(165000);
    check_rates("0.0", "0.000", "1.0000");
    RV_COVERAGE_ADD(often, 50);
    rv_coverage_run(170000);
    check_rates("10.0", "0.833", "1.0139");
}
END_TEST

START_TEST(an_hour_is_forgotten)
{
    rv_coverage_run(1);
    RV_COVERAGE_ADD(often, 3600);
    rv_coverage_run(5001);
    rv_coverage_run(5001 + 3500000);
    check_rates("0.0", "0.000", "1.0000");
    rv_coverage_run(5001 + 3600000);
    check_rates("0.0", "0.000", "0.0000");
}
END_TEST

START_TEST(who_slept_for_days_did_not_count)
{
    rv_coverage_run(1);
    RV_COVERAGE_ADD(often, 3600);
    rv_coverage_run(5001);
    RV_COVERAGE_ADD(often, 3600);
    rv_coverage_run((int64_t)100 * 24 * 3600 * 1000);
    check_rates("0.0", "0.000", "0.0000");
    rv_coverage_run(0);
    uint64_t total;
    ck_assert_int_eq(rv_coverage_read("often", &total), 0);
    ck_assert_uint_eq(total, 7200);
}
END_TEST

/* The second of 13 periods in a row is the first that the minute forgets. */
START_TEST(a_minute_is_twelve_periods)
{
    rv_coverage_run(1);
    for (int i = 1; i <= 13; i++) {
        RV_COVERAGE_ADD(often, 60);
        rv_coverage_run(1 + i * 5000);
    }
    check_rates("12.0", "12.000", "0.2167");
}
END_TEST

static uint64_t
count(void *context)
{
    return *(const unsigned int *)context;
}

START_TEST(memory_is_counted_by_its_owners)
{
    unsigned int numbers[] = {7, 4, 5};
    struct rv_memory_provider sessions = {
        .name = "sessions", .count = count, .context = &numbers[0]};
    struct rv_memory_provider cells = {
        .name = "cells", .count = count, .context = &numbers[1]};
    struct rv_memory_provider more = {
        .name = "cells", .count = count, .context = &numbers[2]};
    struct rv_buf text;
    rv_buf_init(&text, 1000);
    rv_memory_show(&text);
    ck_assert_str_eq(rv_buf_string(&text), "");
    rv_memory_unregister(&sessions);
    rv_memory_register(&sessions);
    rv_memory_register(&cells);
    rv_memory_register(&more);
    rv_memory_show(&text);
    ck_assert_str_eq(rv_buf_string(&text), "cells:9 sessions:7");
    rv_buf_clear(&text);
    rv_memory_unregister(&cells);
    rv_memory_unregister(&cells);
    rv_memory_unregister(&sessions);
    rv_memory_show(&text);
    ck_assert_str_eq(rv_buf_string(&text), "cells:5");
    rv_memory_unregister(&more);
    rv_buf_deinit(&text);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(nothing_yet),
        RV_TEST(the_most_frequent_comes_first),
        RV_TEST(averages_go_by_the_time_given),
        RV_TEST(an_hour_is_forgotten),
        RV_TEST(who_slept_for_days_did_not_count),
        RV_TEST(a_minute_is_twelve_periods),
        RV_TEST(memory_is_counted_by_its_owners),
    };
    return rv_test_run("coverage", tests, RV_ARRAY_SIZE(tests));
}
