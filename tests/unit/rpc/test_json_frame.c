#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "reeve/json_frame.h"

enum { MAX_BYTES = 1000 };

/* Feeds 'stream' in pieces of 'piece' bytes and writes the values found into
 * 'found', each followed by "|"; returns the last result. */
static int
split(const char *stream, size_t piece, char found[MAX_BYTES])
{
    struct rv_json_frame frame;
    rv_json_frame_init(&frame, MAX_BYTES, RV_JSON_FRAME_DEPTH);
    size_t position = 0;
    size_t length = strlen(stream);
    found[0] = '\0';
    int rc = 0;
    while (position < length) {
        size_t used;
        rc = rv_json_frame_scan(&frame, stream + position,
                                RV_MIN(piece, length - position), &used);
        if (rc < 0) {
            return rc;
        }
        position += used;
        if (rc == RV_JSON_FRAME_COMPLETE) {
            ck_assert_uint_eq(rv_json_frame_pending(&frame), 0);
            size_t end = strlen(found);
            snprintf(found + end, MAX_BYTES - end, "%.*s|", (int)frame.length,
                     stream + position - frame.length);
        }
    }
    return rc;
}

/* The values must be the same however the stream is cut. */
static void
check_split(const char *stream, const char *expected)
{
    for (size_t piece = 1; piece <= strlen(stream); piece++) {
        char found[MAX_BYTES];
        ck_assert_int_ge(split(stream, piece, found), 0);
        ck_assert_str_eq(found, expected);
    }
}

START_TEST(finds_ends)
{
    check_split("{}", "{}|");
    check_split("{\"a\":[1,{}]}{\"b\":2}", "{\"a\":[1,{}]}|{\"b\":2}|");
    check_split(" \r\n\t[] \n []\n", "[]|[]|");
    check_split("\"a\"\"b\"", "\"a\"|\"b\"|");
}
END_TEST

START_TEST(strings_hide_brackets_and_quotes)
{
    check_split("{\"}\":\"]\\\"}\"}[]", "{\"}\":\"]\\\"}\"}|[]|");
    check_split("[\"\\\\\"]{}", "[\"\\\\\"]|{}|");
    check_split("\"\\\"{\"1 ", "\"\\\"{\"|1|");
}
END_TEST

START_TEST(bare_tokens_wait_for_the_next_byte)
{
    check_split("5", "");
    check_split("5 ", "5|");
    check_split("xyz{}", "xyz|{}|");
    check_split("true\"s\"", "true|\"s\"|");
    check_split("{bad", "");
}
END_TEST

START_TEST(stray_closers_are_errors)
{
    const char *bad[] = {"}", "]", ",", ":", "{}}", " ]", "1,", "{},{}"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(bad); i++) {
        for (size_t piece = 1; piece <= strlen(bad[i]); piece++) {
            char found[MAX_BYTES];
            ck_assert_int_eq(split(bad[i], piece, found), -EPROTO);
        }
    }
}
END_TEST

START_TEST(depth_is_limited)
{
    struct rv_json_frame frame;
    size_t used;
    rv_json_frame_init(&frame, 100, 3);
    ck_assert_int_eq(rv_json_frame_scan(&frame, "[[[]]]", 6, &used), 1);
    ck_assert_int_eq(rv_json_frame_scan(&frame, "[[[[", 4, &used), -E2BIG);
    rv_json_frame_init(&frame, 100, 0);
    ck_assert_int_eq(rv_json_frame_scan(&frame, "[", 1, &used), -E2BIG);
}
END_TEST

START_TEST(bytes_are_limited_per_value)
{
    struct rv_json_frame frame;
    size_t used;
    rv_json_frame_init(&frame, 4, 64);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(rv_json_frame_scan(&frame, "   [12]", 7, &used), 1);
        ck_assert_uint_eq(used, 7);
    }
    ck_assert_int_eq(rv_json_frame_scan(&frame, "[123]", 5, &used), -EMSGSIZE);
}
END_TEST

START_TEST(white_space_is_not_kept)
{
    struct rv_json_frame frame;
    size_t used;
    rv_json_frame_init(&frame, 4, 64);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(rv_json_frame_scan(&frame, " \n\t ", 4, &used), 0);
        ck_assert_uint_eq(rv_json_frame_pending(&frame), 0);
    }
    ck_assert_int_eq(rv_json_frame_scan(&frame, " [", 2, &used), 0);
    ck_assert_uint_eq(rv_json_frame_pending(&frame), 1);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(finds_ends),
        RV_TEST(strings_hide_brackets_and_quotes),
        RV_TEST(bare_tokens_wait_for_the_next_byte),
        RV_TEST(stray_closers_are_errors),
        RV_TEST(depth_is_limited),
        RV_TEST(bytes_are_limited_per_value),
        RV_TEST(white_space_is_not_kept),
    };
    return rv_test_run("json_frame", tests, RV_ARRAY_SIZE(tests));
}
