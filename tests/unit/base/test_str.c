#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "harness.h"

/* A copy ends with NUL and says whether all of it fitted. */
START_TEST(copies)
{
    char to[4];
    ck_assert(rv_str_copy(to, sizeof to, "abc"));
    ck_assert_str_eq(to, "abc");
    ck_assert(!rv_str_copy(to, sizeof to, "abcd"));
    ck_assert_str_eq(to, "abc");
    ck_assert(!rv_str_copy(to, 1, "x"));
    ck_assert_str_eq(to, "");
}
END_TEST

START_TEST(measures_distance)
{
    char a[200], b[200];
    ck_assert_uint_eq(rv_str_distance("", ""), 0);
    ck_assert_uint_eq(rv_str_distance("", "abc"), 3);
    ck_assert_uint_eq(rv_str_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(rv_str_distance("lsiten", "listen"), 1);
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[sizeof a - 1] = b[sizeof b - 1] = '\0';
    ck_assert_uint_eq(rv_str_distance(a, b), 64);
}
END_TEST

START_TEST(finds_nearest)
{
    static const char *const words[] = {"listen", "limits", "workers", "on"};
    size_t n = RV_ARRAY_SIZE(words);
    ck_assert_str_eq(rv_str_nearest("worker", words, n), "workers");
    ck_assert_str_eq(rv_str_nearest("lisen", words, n), "listen");
    ck_assert_str_eq(rv_str_nearest("work", words, n), "workers");
    ck_assert_ptr_null(rv_str_nearest("environment", words, n));
    ck_assert_ptr_null(rv_str_nearest("x", words, n));
    ck_assert_ptr_null(rv_str_nearest("", words, n));
    ck_assert_ptr_null(rv_str_nearest("listen", words, 0));
}
END_TEST

START_TEST(checks_utf8)
{
    static const struct {
        const char *text;
        size_t prefix;
    } cases[] = {
        {"", 0},
        {"plain", 5},
        {"\xc3\xa9", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"a\xff", 1},
        {"a\x80", 1},
        {"a\xc3", 1},            /* Cut short. */
        {"\xc0\x80", 0},         /* Overlong. */
        {"\xe0\x9f\xbf", 0},     /* Overlong. */
        {"\xf0\x8f\xbf\xbf", 0}, /* Overlong. */
        {"\xed\xa0\x80", 0},     /* A surrogate. */
        {"\xf4\x90\x80\x80", 0}, /* Above U+10FFFF. */
        {"\xf5\x80\x80\x80", 0},
        {"ok\xe2\x28\xa1", 2},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        ck_assert_uint_eq(
            rv_str_utf8_prefix(cases[i].text, strlen(cases[i].text)),
            cases[i].prefix);
    }
}
END_TEST

START_TEST(parses_integers)
{
    int64_t value = 7;
    ck_assert_int_eq(rv_str_parse_integer("-42", &value), 0);
    ck_assert_int_eq(value, -42);
    ck_assert_int_eq(rv_str_parse_integer("9223372036854775807", &value), 0);
    ck_assert_int_eq(value, INT64_MAX);
    ck_assert_int_eq(rv_str_parse_integer("9223372036854775808", &value),
                     -ERANGE);
    static const char *const wrong[] = {"",   "-",   " 1", "1 ",
                                        "+1", "0x1", "1.", "--1"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        ck_assert_int_eq(rv_str_parse_integer(wrong[i], &value), -EINVAL);
    }
    ck_assert_int_eq(value, INT64_MAX);
}
END_TEST

START_TEST(parses_durations)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"5", 5000},
        {"500ms", 500},
        {"5s", 5000},
        {"2m", 120000},
        {"1h", 3600000},
        {"1d", 86400000},
        {"1m30s", 90000},
        {"1.5s", 1500},
        {"0.25", 250},
        {"1h0.5m", 3630000},
        {"2s1m", 62000},
        {"0.001s", 1},
        {"36525d", INT64_C(36525) * 86400000},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        int64_t ms = -1;
        ck_assert_msg(!rv_str_parse_duration(cases[i].text, &ms), "%s",
                      cases[i].text);
        ck_assert_int_eq(ms, cases[i].ms);
    }
}
END_TEST

START_TEST(refuses_durations)
{
    static const char *const wrong[] = {
        "",
        "s",
        "-1s",
        "1 s",
        "1x",
        "1s30",
        "1sm",
        "1.s",
        ".5s",
        "1..5",
        "0.0001s",
        "0.5ms",
        "1s ",
        "1e3",
        "10S",
        "1.5.5",
        "1us",
        "36526d",
        "99999999999999999999s",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        int64_t ms = 7;
        ck_assert_msg(rv_str_parse_duration(wrong[i], &ms) < 0, "%s",
                      wrong[i]);
        ck_assert_int_eq(ms, 7);
    }
}
END_TEST

START_TEST(durations_come_back)
{
    static const int64_t values[] = {
        0,     1,       999,      1000,      1500,          60000,
        90000, 3600000, 86400000, 123456789, 3155760000000,
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(values); i++) {
        char text[RV_STR_DURATION];
        int64_t ms;
        rv_str_format_duration(values[i], text);
        ck_assert_int_eq(rv_str_parse_duration(text, &ms), 0);
        ck_assert_int_eq(ms, values[i]);
    }
    char text[RV_STR_DURATION];
    rv_str_format_duration(90250, text);
    ck_assert_str_eq(text, "1m30s250ms");
    rv_str_format_duration(0, text);
    ck_assert_str_eq(text, "0");
}
END_TEST

START_TEST(parses_sizes)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"64KiB", 65536},
        {"64k", 65536},
        {"1MiB", 1048576},
        {"10MB", 10000000},
        {"2G", 2147483648},
        {"1 kB", 1000},
        {"1TiB", 1099511627776},
        {"7B", 7},
        {"1T", 1099511627776},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        int64_t bytes = -1;
        ck_assert_msg(!rv_str_parse_size(cases[i].text, &bytes), "%s",
                      cases[i].text);
        ck_assert_int_eq(bytes, cases[i].bytes);
    }
    static const char *const wrong[] = {
        "", "K", "-1", "1.5M", "1 ", "1  K", "1KiBB", "1ki", "9999999T",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        int64_t bytes = 7;
        ck_assert_msg(rv_str_parse_size(wrong[i], &bytes) < 0, "%s", wrong[i]);
        ck_assert_int_eq(bytes, 7);
    }
}
END_TEST

START_TEST(sizes_come_back)
{
    static const int64_t values[] = {0,       1,       1023,      1024,
                                     1000000, 1048576, INT64_MAX, 3072};
    for (size_t i = 0; i < RV_ARRAY_SIZE(values); i++) {
        char text[RV_STR_SIZE];
        int64_t bytes;
        rv_str_format_size(values[i], text);
        ck_assert_int_eq(rv_str_parse_size(text, &bytes), 0);
        ck_assert_int_eq(bytes, values[i]);
    }
    char text[RV_STR_SIZE];
    rv_str_format_size(3072, text);
    ck_assert_str_eq(text, "3KiB");
}
END_TEST

START_TEST(vectors_grow)
{
    char **vector = NULL;
    ck_assert_uint_eq(rv_str_vector_length(NULL), 0);
    for (size_t i = 0; i < 100; i++) {
        ck_assert_int_eq(rv_str_vector_add(&vector, "abcdef", i % 7), 0);
        ck_assert_uint_eq(rv_str_vector_length(vector), i + 1);
        ck_assert_uint_eq(strlen(vector[i]), i % 7);
    }
    rv_str_vector_free(vector);
    rv_str_vector_free(NULL);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(copies),
        RV_TEST(measures_distance),
        RV_TEST(finds_nearest),
        RV_TEST(checks_utf8),
        RV_TEST(parses_integers),
        RV_TEST(parses_durations),
        RV_TEST(refuses_durations),
        RV_TEST(durations_come_back),
        RV_TEST(parses_sizes),
        RV_TEST(sizes_come_back),
        RV_TEST(vectors_grow),
    };
    return rv_test_run("str", tests, RV_ARRAY_SIZE(tests));
}
