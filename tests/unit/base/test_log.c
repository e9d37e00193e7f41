#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
    ck_assert_ptr_eq(seen.last.module, RV_LOG_MASTER);
    ck_assert_uint_eq(seen.last.number, 1);
    ck_assert_int_eq(seen.last.pid, getpid());
    ck_assert_int_eq(seen.last.facility, -1);
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
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_ANY, RV_LOG_DBG);
    rv_log_debug("now");
    ck_assert_int_eq(seen.n, 2);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_ANY, RV_LOG_ERR);
    rv_log_warn("not");
    rv_log_err("an error");
    rv_log_emer("worse");
    ck_assert_int_eq(seen.n, 4);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_ANY, RV_LOG_OFF);
    rv_log_emer("not even this");
    ck_assert_int_eq(seen.n, 4);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_MASTER, RV_LOG_CONSOLE),
                     RV_LOG_OFF);
    ck_assert_int_eq(rv_log_get_level(RV_LOG_POOL, RV_LOG_CONSOLE),
                     RV_LOG_INFO);
}
END_TEST

START_TEST(names_are_those_of_vlog)
{
    for (int i = 0; i < RV_LOG_N_LEVELS; i++) {
        const char *name = rv_log_level_name((enum rv_log_level)i);
        ck_assert_int_eq(rv_log_level_parse(name), i);
    }
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        const char *name = rv_log_destination_name((enum rv_log_destination)i);
        ck_assert_int_eq(rv_log_destination_parse(name), i);
    }
    ck_assert_int_eq(rv_log_level_parse("WARN"), RV_LOG_WARN);
    ck_assert_int_eq(rv_log_level_parse("warning"), -1);
    ck_assert_int_eq(rv_log_destination_parse(""), -1);
    ck_assert_ptr_null(rv_log_module_find(""));
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
    rate.refilled_ms -= 2100;
    int before = seen.n;
    write_many(&rate, 1);
    ck_assert_msg(seen.n == before + 2, "%d lines", seen.n - before);
    ck_assert_str_eq(seen.text, "line 0");
    ck_assert_uint_eq(rate.n_dropped, 0);

    rate.refilled_ms -= 60000;
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
        rate.refilled_ms -= 2000;
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
    rv_log_set_rate_limit(NULL, false);
    write_many(&rate, 1000);
    ck_assert_int_eq(seen.n, 1000);
    rv_log_set_rate_limit(NULL, true);
    write_many(&rate, 1000);
    ck_assert_int_le(seen.n, 1032);
}
END_TEST

START_TEST(lines_that_are_off_cost_no_token)
{
    struct seen seen = {0};
    struct rv_log_rate rate = {0};
    rv_log_set_sink(see, &seen);
    rv_log_set_level(RV_LOG_POOL, RV_LOG_ANY, RV_LOG_OFF);
    write_many(&rate, 1000);
    rv_log_set_level(RV_LOG_POOL, RV_LOG_ANY, RV_LOG_INFO);
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

/* The bucket by itself, at given times. */
START_TEST(buckets_go_by_the_time_given)
{
    struct rv_log_rate rate = RV_LOG_RATE(60, 2);
    ck_assert(rv_log_rate_take(&rate, 5000));
    ck_assert(rv_log_rate_take(&rate, 5000));
    ck_assert(!rv_log_rate_take(&rate, 5000));
    ck_assert(!rv_log_rate_take(&rate, 5999));
    ck_assert_uint_eq(rate.n_dropped, 2);
    ck_assert_int_eq(rate.first_dropped_ms, 5000);
    ck_assert_int_eq(rate.last_dropped_ms, 5999);
    ck_assert(rv_log_rate_take(&rate, 6000));
    ck_assert(!rv_log_rate_take(&rate, 6999));
    ck_assert_msg(rv_log_rate_take(&rate, 7000), "parts of tokens add up");
    ck_assert(!rv_log_rate_take(&rate, 7001));
    ck_assert(rv_log_rate_take(&rate, 100000));
    ck_assert(rv_log_rate_take(&rate, 100000));
    ck_assert_msg(!rv_log_rate_take(&rate, 100000), "no more than the burst");
}
END_TEST

struct lines {
    int n;
    char text[4][200];
};

static void
keep(const struct rv_log_line *line, void *context)
{
    struct lines *lines = context;
    ck_assert_int_lt(lines->n, 4);
    snprintf(lines->text[lines->n++], 200, "%s", line->text);
}

START_TEST(dropped_lines_are_reported_as_by_vlog)
{
    struct lines lines = {0};
    struct rv_log_rate rate = RV_LOG_RATE(60, 1);
    rv_log_set_sink(keep, &lines);
    for (int i = 0; i < 4; i++) {
        rv_log_write(RV_LOG_INFO, RV_LOG_POOL, &rate, "line %d", i);
    }
    ck_assert_int_eq(lines.n, 1);
    ck_assert_uint_eq(rate.n_dropped, 3);
    rate.refilled_ms -= 3500;
    rate.first_dropped_ms -= 3500;
    rate.last_dropped_ms -= 2500;
    rv_log_write(RV_LOG_INFO, RV_LOG_POOL, &rate, "line %d", 4);
    ck_assert_int_eq(lines.n, 3);
    ck_assert_str_eq(lines.text[1],
                     "Dropped 3 log messages in last 3 seconds (most "
                     "recently, 2 seconds ago) due to excessive rate");
    ck_assert_str_eq(lines.text[2], "line 4");
}
END_TEST

START_TEST(modules_have_rate_limits_of_their_own)
{
    struct seen seen = {0};
    struct rv_log_rate rate = RV_LOG_RATE(1, 1);
    rv_log_set_sink(see, &seen);
    rv_log_set_rate_limit(RV_LOG_POOL, false);
    write_many(&rate, 50);
    ck_assert_int_eq(seen.n, 50);
    struct rv_log_rate other = RV_LOG_RATE(1, 1);
    for (int i = 0; i < 50; i++) {
        rv_log_write(RV_LOG_INFO, RV_LOG_RPC, &other, "x");
    }
    ck_assert_int_eq(seen.n, 51);
}
END_TEST

static void
to_file(struct seen *seen)
{
    struct rv_log_outlet outlet = {.write = see, .context = seen};
    rv_log_set_outlet(RV_LOG_FILE, &outlet);
}

START_TEST(each_destination_has_its_levels)
{
    struct seen console = {0}, file = {0};
    rv_log_set_sink(see, &console);
    to_file(&file);
    rv_log_set_level(NULL, RV_LOG_FILE, RV_LOG_DBG);
    rv_log_set_level(RV_LOG_MASTER, RV_LOG_CONSOLE, RV_LOG_ERR);
    rv_log_debug("to the file");
    rv_log_err("to both");
    ck_assert_int_eq(console.n, 1);
    ck_assert_int_eq(file.n, 2);
    ck_assert_uint_eq(file.last.number, 2);
    rv_log_close(RV_LOG_FILE);
    ck_assert(!rv_log_is_open(RV_LOG_FILE));
    ck_assert(!rv_log_is_enabled(RV_LOG_MASTER, RV_LOG_WARN));
    rv_log_err("to one");
    ck_assert_int_eq(console.n, 2);
    ck_assert_int_eq(file.n, 2);
    ck_assert_int_eq(rv_log_reopen(RV_LOG_FILE), -ENOENT);
    rv_log_close(RV_LOG_CONSOLE);
    rv_log_emer("to nobody");
    ck_assert_int_eq(console.n, 2);
}
END_TEST

static int n_evaluated;

static int
evaluate(void)
{
    return ++n_evaluated;
}

START_TEST(arguments_of_lines_that_are_off_are_not_evaluated)
{
    struct seen seen = {0};
    rv_log_set_sink(see, &seen);
    rv_log_info("%d", evaluate());
    rv_log_debug("%d", evaluate());
    rv_log_debug("%d", evaluate());
    ck_assert_msg(n_evaluated <= 2, "known after the first line");
    ck_assert_int_eq(seen.n, 1);
}
END_TEST

static struct rv_log_module web = RV_LOG_MODULE("web");
static struct rv_log_module web_too = RV_LOG_MODULE("WEB");
static struct rv_log_module jobs = RV_LOG_MODULE("jobs");

START_TEST(modules_are_the_programs_own)
{
    struct seen seen = {0};
    rv_log_set_sink(see, &seen);
    ck_assert_ptr_null(rv_log_module_find("web"));
    ck_assert_ptr_null(rv_log_module_next(NULL));
    rv_log_write(RV_LOG_INFO, &web, NULL, "known from now on");
    ck_assert_str_eq(seen.last.module->name, "web");
    ck_assert_ptr_eq(rv_log_module_find("Web"), &web);
    rv_log_set_level(NULL, RV_LOG_CONSOLE, RV_LOG_WARN);
    rv_log_set_level(&web, RV_LOG_CONSOLE, RV_LOG_DBG);
    rv_log_register(&jobs);
    rv_log_register(&jobs);
    rv_log_register(&web_too);
    ck_assert_msg(rv_log_get_level(&jobs, RV_LOG_CONSOLE) == RV_LOG_WARN,
                  "who comes later gets what was set for all");
    ck_assert_msg(rv_log_get_level(&web_too, RV_LOG_CONSOLE) == RV_LOG_DBG,
                  "one name, one level");
    rv_log_set_level(&web_too, RV_LOG_CONSOLE, RV_LOG_OFF);
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_CONSOLE), RV_LOG_OFF);
    const struct rv_log_module *module = rv_log_module_next(NULL);
    ck_assert_str_eq(module->name, "jobs");
    module = rv_log_module_next(module);
    ck_assert_str_eq(module->name, "web");
    ck_assert_ptr_null(rv_log_module_next(module));
}
END_TEST

/* An outlet that logs, as one does that cannot write. */
static void
complain(const struct rv_log_line *line, void *context)
{
    int *n = context;
    ++*n;
    rv_log_write(RV_LOG_ERR, RV_LOG_RPC, NULL, "again: %s", line->text);
}

START_TEST(an_outlet_may_log)
{
    int n = 0;
    rv_log_set_sink(complain, &n);
    rv_log_info("hello");
    ck_assert_int_ge(n, 2);
    ck_assert_int_le(n, 4);
}
END_TEST

START_TEST(errno_is_kept)
{
    rv_log_set_level(NULL, RV_LOG_ANY, RV_LOG_OFF);
    errno = EXDEV;
    rv_log_write(RV_LOG_ERR, RV_LOG_MASTER, NULL, "x");
    ck_assert_int_eq(errno, EXDEV);
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
        RV_TEST(buckets_go_by_the_time_given),
        RV_TEST(dropped_lines_are_reported_as_by_vlog),
        RV_TEST(modules_have_rate_limits_of_their_own),
        RV_TEST(each_destination_has_its_levels),
        RV_TEST(arguments_of_lines_that_are_off_are_not_evaluated),
        RV_TEST(modules_are_the_programs_own),
        RV_TEST(an_outlet_may_log),
        RV_TEST(errno_is_kept),
    };
    return rv_test_run("log", tests, RV_ARRAY_SIZE(tests));
}
