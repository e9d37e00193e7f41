#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/log.h"
#include "harness.h"

static const struct rv_log_module web = RV_LOG_MODULE("web");

/* 2026-02-03 04:05:06.007 UTC, an hour later in the place where it is. */
static const struct rv_log_line line = {
    .level = RV_LOG_WARN,
    .module = &web,
    .text = "say \"hi\"\n\n",
    .number = 42,
    .wall_ms = 1770091506007,
    .uptime_ms = 12345,
    .utc_offset_s = 3600,
    .zone = "CET",
    .program = "jsonrpcd",
    .subprogram = "monitor",
    .host = "box",
    .pid = 77,
    .facility = -1,
};

static void
check_line(const char *pattern, const struct rv_log_line *of,
           const char *expected)
{
    char text[2000];
    size_t n = rv_log_format(pattern, of, text, sizeof text);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(n, strlen(expected));
}

static void
check(const char *pattern, const char *expected)
{
    struct rv_error error;
    ck_assert_int_eq(rv_log_pattern_check(pattern, &error), 0);
    check_line(pattern, &line, expected);
}

START_TEST(every_conversion)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"%A", "jsonrpcd"},
        {"%B", "28"}, /* daemon, warning */
        {"%c", "web"},
        {"%c{ignored}|", "web|"},
        {"%d", "2026-02-03 05:05:06.007"},
        {"%D", "2026-02-03 04:05:06.007"},
        {"%d{%H:%M %Z %z}", "05:05 CET +0100"},
        {"%D{%Y-%m-%dT%H:%M:%S.###Z}", "2026-02-03T04:05:06.007Z"},
        {"%D{%S.#}|%D{##|#####}", "06.0|00|00700"},
        {"%D{}", ""},
        {"%E", "box"},
        {"%j", "say \\\"hi\\\""},
        {"%l", "warn"},
        {"%m|", "say \"hi\"|"},
        {"%n", "\n"},
        {"%N", "42"},
        {"%p", "WARN"},
        {"%P", "77"},
        {"%r", "12345"},
        {"%t", "monitor"},
        {"%T", "(monitor)"},
        {"%%", "%"},
        {"a%%b%cc", "a%bwebc"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        check(rows[i][0], rows[i][1]);
    }
}
END_TEST

START_TEST(flags_and_widths)
{
    check("%5c|", "  web|");
    check("%-5c|", "web  |");
    check("%05N|", "00042|");
    check("%-05N|", "42000|");
    check("%2c|", "web|");
    check("%3%|", "  %|");
    check("%-4p|%6p", "WARN|  WARN");
    check("%0c", "web");
}
END_TEST

START_TEST(the_originals_defaults)
{
    check(rv_log_get_pattern(RV_LOG_CONSOLE),
          "2026-02-03T04:05:06Z|00042|web(monitor)|WARN|say \"hi\"");
    check(rv_log_get_pattern(RV_LOG_FILE),
          "2026-02-03T04:05:06.007Z|00042|web(monitor)|WARN|say \"hi\"");
    check(rv_log_get_pattern(RV_LOG_SYSLOG),
          "00042|web(monitor)|WARN|say \"hi\"");
}
END_TEST

START_TEST(without_a_subprogram)
{
    struct rv_log_line other = line;
    other.subprogram = "";
    check_line("%t %T.", &other, "main .");
}
END_TEST

START_TEST(priorities)
{
    struct rv_log_line other = line;
    static const char *const daemon[] = {"25", "25", "27", "28", "29", "31"};
    for (int i = 0; i < RV_LOG_N_LEVELS; i++) {
        other.level = (enum rv_log_level)i;
        check_line("%B", &other, daemon[i]);
    }
    other.facility = rv_log_facility_parse("LOCAL7");
    check_line("%B", &other, "191");
    other.facility = rv_log_facility_parse("kern");
    check_line("%B", &other, "7");
}
END_TEST

START_TEST(colours_are_for_trouble)
{
    struct rv_log_line other = line;
    other.is_coloured = true;
    check_line("%-6l|%m", &other, "\033[31mwarn  \033[0m|say \"hi\"");
    other.level = RV_LOG_INFO;
    check_line("%p", &other, "INFO");
}
END_TEST

START_TEST(times_before_1970)
{
    struct rv_log_line other = line;
    other.wall_ms = -1;
    other.utc_offset_s = -1800;
    check_line("%D", &other, "1969-12-31 23:59:59.999");
    check_line("%d", &other, "1969-12-31 23:29:59.999");
}
END_TEST

START_TEST(json_is_always_json)
{
    struct rv_log_line other = line;
    other.text = "a\\b\t\n\x01\xc3\xa4\xff\xc3";
    check_line("\"%j\"", &other,
               "\"a\\\\b\\t\\n\\u0001\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\"");
}
END_TEST

START_TEST(bad_patterns_say_why)
{
    static const char *const rows[][2] = {
        {"%", "bad pattern \"%\": it ends within a conversion"},
        {"a%-05", "bad pattern \"a%-05\": it ends within a conversion"},
        {"%q", "bad pattern \"%q\": unknown conversion"},
        {"%m%D{%H", "bad pattern \"%m%D{%H\": a brace does not close"},
        {"%1001m", "bad pattern \"%1001m\": a width is above 1000"},
        {"%99999999999999999999m",
         "bad pattern \"%99999999999999999999m\": a width is above 1000"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        struct rv_error error;
        char text[100];
        ck_assert_int_eq(rv_log_pattern_check(rows[i][0], &error), -EINVAL);
        ck_assert_str_eq(error.text, rows[i][1]);
        ck_assert_int_eq(rv_log_set_pattern(RV_LOG_ANY, rows[i][0], NULL),
                         -EINVAL);
        rv_log_format(rows[i][0], &line, text, sizeof text);
    }
    ck_assert_ptr_nonnull(strstr(rv_log_get_pattern(RV_LOG_FILE), "|%p|%m"));
}
END_TEST

START_TEST(short_buffers_cut)
{
    for (size_t size = 1; size < 60; size++) {
        char *text = malloc(size); /* For the sanitizers. */
        ck_assert_ptr_nonnull(text);
        size_t n = rv_log_format("%20c|%-20c|%D|%j", &line, text, size);
        ck_assert_uint_eq(n, size - 1);
        ck_assert_uint_eq(strlen(text), n);
        free(text);
    }
}
END_TEST

START_TEST(patterns_are_set_per_destination)
{
    struct rv_error error;
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_FILE, "%m", &error), 0);
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_FILE), "%m");
    ck_assert_str_ne(rv_log_get_pattern(RV_LOG_CONSOLE), "%m");
    ck_assert_int_eq(rv_log_set_pattern(RV_LOG_ANY, "%c %m", &error), 0);
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_FILE), "%c %m");
    ck_assert_str_eq(rv_log_get_pattern(RV_LOG_SYSLOG), "%c %m");
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(every_conversion),
        RV_TEST(flags_and_widths),
        RV_TEST(the_originals_defaults),
        RV_TEST(without_a_subprogram),
        RV_TEST(priorities),
        RV_TEST(colours_are_for_trouble),
        RV_TEST(times_before_1970),
        RV_TEST(json_is_always_json),
        RV_TEST(bad_patterns_say_why),
        RV_TEST(short_buffers_cut),
        RV_TEST(patterns_are_set_per_destination),
    };
    return rv_test_run("log_pattern", tests, RV_ARRAY_SIZE(tests));
}
