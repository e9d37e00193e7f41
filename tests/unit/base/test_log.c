#include <stdio.h>
#include <string.h>
#include <time.h>

#include "reeve/log.h"
#include "harness.h"

#define RV_LOG_THIS RV_LOG_MASTER

struct seen {
    int n;
    struct rv_log_line last;
    char text[2100];
};

static void
see(const struct rv_log_line *line, void *context)
{
    struct seen *seen = context;
    seen->n++;
    seen->last = *line;
    snprintf(seen->text, sizeof seen->text, "%s", line->text);
}

START_TEST(lines_go_to_the_sink)
{
    struct seen seen = {0};
    rv_log_set_sink(see, &seen);
    rv_log_warn("worker %s.%d died", "web", 3);
    ck_assert_int_eq(seen.n, 1);
    ck_assert_int_eq(seen.last.level, RV_LOG_WARN);
    ck_assert_int_eq(seen.last.module, RV_LOG_MASTER);
    ck_assert_str_eq(seen.text, "worker web.3 died");
}
END_TEST

START_TEST(levels_hold_back)
{
    struct seen seen = {0};
    rv_log_set_sink(see, &seen);
    rv_log_debug("not by default");
    ck_assert_int_eq(seen.n, 0);
    rv_log_info("by default");
    ck_assert_int_eq(seen.n, 1);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_DBG);
    rv_log_debug("now");
    ck_assert_int_eq(seen.n, 2);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_ERR);
    rv_log_warn("not");
    rv_log_err("an error");
    rv_log_emer("worse");
    ck_assert_int_eq(seen.n, 4);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_OFF);
    rv_log_emer("not even this");
    ck_assert_int_eq(seen.n, 4);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_MASTER), RV_LOG_OFF);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_POOL), RV_LOG_INFO);
}
END_TEST

START_TEST(names_are_those_of_vlog)
{
    for (int i = 0; i < RV_LOG_N_LEVELS; i++) {
        const char *name = rv_log_level_name((enum rv_log_level)i);
        ck_assert_int_eq(rv_log_level_parse(name), i);
    }
    for (int i = 0; i < RV_LOG_N_MODULES; i++) {
        const char *name = rv_log_module_name((enum rv_log_module)i);
        ck_assert_int_eq(rv_log_module_parse(name), i);
    }
    ck_assert_int_eq(rv_log_level_parse("WARN"), RV_LOG_WARN);
    ck_assert_int_eq(rv_log_level_parse("warning"), -1);
    ck_assert_int_eq(rv_log_module_parse(""), -1);
}
END_TEST

static void
write_many(struct rv_log_rate *rate, int n)
{
    for (int i = 0; i < n; i++) {
        rv_log_write(RV_LOG_INFO, RV_LOG_POOL, rate, "line %d", i);
    }
}

/* 30 lines at once, and one more if the clock happens to give it. */
START_TEST(rate_limit_holds_back)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    write_many(&rate, 1000);
    ck_assert_int_ge(seen.n, 30);
    ck_assert_int_le(seen.n, 32);
    ck_assert_uint_ge(rate.n_dropped, 968);

    struct rv_log_rate other = {0};
    int before = seen.n;
    write_many(&other, 10);
    ck_assert_msg(seen.n == before + 10, "each call site has its own");
}
END_TEST

/* After two seconds there is one more; after a minute there are 30. */
START_TEST(rate_limit_says_how_many)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    write_many(&rate, 40);
    unsigned int n_dropped = rate.n_dropped;
    ck_assert_uint_gt(n_dropped, 0);
    rate.last_ms -= 2100;
    int before = seen.n;
    write_many(&rate, 1);
    ck_assert_msg(seen.n == before + 2, "%d lines", seen.n - before);
    ck_assert_str_eq(seen.text, "line 0");
    ck_assert_uint_eq(rate.n_dropped, 0);

    rate.last_ms -= 60000;
    before = seen.n;
    write_many(&rate, 40);
    ck_assert_int_ge(seen.n - before, 29);
    ck_assert_int_le(seen.n - before, 31);
}
END_TEST

START_TEST(rate_limit_gives_a_line_every_two_seconds)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    write_many(&rate, 40);
    int before = seen.n;
    for (int i = 0; i < 60; i++) {
        rate.last_ms -= 2000;
        write_many(&rate, 1);
    }
    ck_assert_int_ge(seen.n - before, 60);
}
END_TEST

START_TEST(rate_limit_can_be_off)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    rv_log_set_rate_limit(false);
    write_many(&rate, 1000);
    ck_assert_int_eq(seen.n, 1000);
    rv_log_set_rate_limit(true);
    write_many(&rate, 1000);
    ck_assert_int_le(seen.n, 1032);
}
END_TEST

START_TEST(lines_that_are_off_cost_no_token)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    rv_log_set_level(RV_LOG_POOL, RV_LOG_OFF);
    write_many(&rate, 1000);
    rv_log_set_level(RV_LOG_POOL, RV_LOG_INFO);
    write_many(&rate, 30);
    ck_assert_int_eq(seen.n, 30);
}
END_TEST

START_TEST(long_lines_are_cut)
{
    struct seen seen = {0};
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rv_log_set_sink(see, &seen);
    rv_log_info("%s", text);
    ck_assert_uint_eq(strlen(seen.text), 2047);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(lines_go_to_the_sink),
        RV_TEST(levels_hold_back),
        RV_TEST(names_are_those_of_vlog),
        RV_TEST(rate_limit_holds_back),
        RV_TEST(rate_limit_says_how_many),
        RV_TEST(rate_limit_gives_a_line_every_two_seconds),
        RV_TEST(rate_limit_can_be_off),
        RV_TEST(lines_that_are_off_cost_no_token),
        RV_TEST(long_lines_are_cut),
    };
    return rv_test_run("log", tests, RV_ARRAY_SIZE(tests));
}
