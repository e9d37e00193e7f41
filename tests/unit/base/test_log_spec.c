#include <errno.h>
#include <string.h>

#include "reeve/log.h"
#include "harness.h"

static struct rv_log_module web = RV_LOG_MODULE("web");
static struct rv_log_module jobs = RV_LOG_MODULE("jobs");

/* Sets, and compares the six levels: web's and jobs' at the console, the
 * system log and the file; o, e, E, w, i, d for off to dbg. */
static void
check(const char *spec, const char *expected)
{
    struct rv_error error = {.text = ""};
    char levels[7] = "";
    rv_log_register(&web);
    rv_log_register(&jobs);
    rv_log_set_level(NULL, RV_LOG_ANY, RV_LOG_INFO);
    ck_assert_int_eq(rv_log_check_spec(spec, &error), 0);
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_CONSOLE), RV_LOG_INFO);
    ck_assert_msg(!rv_log_set_spec(spec, &error), "%s: %s", spec, error.text);
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        enum rv_log_destination at = (enum rv_log_destination)i;
        levels[i] = "oeEwid"[rv_log_get_level(&web, at)];
        levels[3 + i] = "oeEwid"[rv_log_get_level(&jobs, at)];
    }
    ck_assert_msg(!strcmp(levels, expected), "%s: %s, not %s", spec, levels,
                  expected);
}

START_TEST(levels)
{
    check("", "dddddd");
    check("dbg", "dddddd");
    check("ANY:ANY:off", "oooooo");
    check("any", "dddddd");
    check("web", "dddiii");
    check("web:warn", "wwwiii");
    check("file", "iidiid");
    check("console:err", "EiiEii");
    check("jobs:syslog:emer", "iiiiei");
    check("emer,SYSLOG jobs", "iiiiei");
    check(" \t:web,,file::dbg: ", "iidiii");
}
END_TEST

START_TEST(errors_in_the_originals_words)
{
    static const char *const rows[][2] = {
        {"bogus", "no destination, level, or module \"bogus\""},
        {"dbg:info", "cannot specify multiple levels"},
        {"console,file", "cannot specify multiple destinations"},
        {"web jobs", "cannot specify multiple modules"},
        {"PATTERN", "missing destination"},
        {"pattern:", "missing destination"},
        {"PATTERN:disk:%m", "unknown destination \"disk\""},
        {"PATTERN:file:%", "bad pattern \"%\": it ends within a conversion"},
        {"FACILITY", "invalid facility"},
        {"FACILITY:local8", "invalid facility"},
    };
    rv_log_register(&web);
    rv_log_register(&jobs);
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        struct rv_error error;
        ck_assert_int_eq(rv_log_check_spec(rows[i][0], &error), -EINVAL);
        ck_assert_str_eq(error.text, rows[i][1]);
        ck_assert_int_eq(rv_log_set_spec(rows[i][0], &error), -EINVAL);
        ck_assert_str_eq(error.text, rows[i][1]);
    }
    ck_assert_int_eq(rv_log_get_level(&web, RV_LOG_CONSOLE), RV_LOG_INFO);
}
END_TEST

START_TEST(patterns)
{
    ck_assert_int_eq(rv_log_set_spec("PATTERN:file:%D{%H:%M} %m", NULL), 0);
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_FILE), "%D{%H:%M} %m");
    ck_assert_int_eq(rv_log_set_spec("pattern,ANY,x: %m", NULL), 0);
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_CONSOLE), "x: %m");
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_FILE), "x: %m");
    ck_assert_int_eq(rv_log_set_spec("PATTERN:console", NULL), 0);
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_CONSOLE), "");
}
END_TEST

static void
see_facility(const struct rv_log_line *line, void *context)
{
    *(int *)context = line->facility;
}

START_TEST(facilities)
{
    int facility = 99;
    rv_log_set_sink(see_facility, &facility);
    rv_log_write(RV_LOG_INFO, &web, NULL, "x");
    ck_assert_int_eq(facility, -1);
    ck_assert_int_eq(rv_log_set_spec("FACILITY:local3", NULL), 0);
    rv_log_write(RV_LOG_INFO, &web, NULL, "x");
    ck_assert_int_eq(facility, 19);
    ck_assert_int_eq(rv_log_set_spec("facility:KERN", NULL), 0);
    rv_log_write(RV_LOG_INFO, &web, NULL, "x");
    ck_assert_int_eq(facility, 0);
    ck_assert_int_eq(rv_log_facility_parse("clock"), 9);
    ck_assert_int_eq(rv_log_facility_parse("ftp"), 11);
    ck_assert_int_eq(rv_log_set_facility("none"), -EINVAL);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(levels),
        RV_TEST(errors_in_the_originals_words),
        RV_TEST(patterns),
        RV_TEST(facilities),
    };
    return rv_test_run("log_spec", tests, RV_ARRAY_SIZE(tests));
}
