#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/buf.h"
#include "harness.h"

START_TEST(starts_empty)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 100);
    ck_assert_uint_eq(buf.length, 0);
    ck_assert_ptr_null(buf.data);
    ck_assert_str_eq(rv_buf_string(&buf), "");
    rv_buf_consume(&buf, 5);
    rv_buf_clear(&buf);
    ck_assert_uint_eq(buf.length, 0);
    rv_buf_deinit(&buf);
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(appends)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 1000);
    ck_assert_int_eq(rv_buf_put(&buf, "a\0b", 3), 0);
    ck_assert_int_eq(rv_buf_puts(&buf, "cd"), 0);
    ck_assert_int_eq(rv_buf_printf(&buf, "%d-%s", 7, "x"), 0);
    ck_assert_uint_eq(buf.length, 8);
    ck_assert_mem_eq(buf.data, "a\0bcd7-x", 9);
    ck_assert_int_eq(rv_buf_put(&buf, NULL, 0), 0);
    ck_assert_uint_eq(buf.length, 8);
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(always_ends_with_nul)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 5000);
    for (size_t i = 0; i < 5000; i++) {
        ck_assert_int_eq(rv_buf_put(&buf, "x", 1), 0);
        ck_assert_int_eq(buf.data[buf.length], '\0');
        ck_assert_uint_lt(buf.length, buf.capacity);
    }
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(stops_at_its_maximum)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 5);
    ck_assert_int_eq(rv_buf_puts(&buf, "hello"), 0);
    ck_assert_int_eq(rv_buf_puts(&buf, "!"), -EMSGSIZE);
    ck_assert_int_eq(rv_buf_printf(&buf, "%d", 1), -EMSGSIZE);
    ck_assert_int_eq(rv_buf_reserve(&buf, SIZE_MAX), -EMSGSIZE);
    ck_assert_str_eq(rv_buf_string(&buf), "hello");
    ck_assert(buf.failed);
    ck_assert_int_eq(rv_buf_puts(&buf, ""), 0);
    ck_assert_msg(buf.failed, "it stays true until it is cleared");
    rv_buf_clear(&buf);
    ck_assert(!buf.failed);
    ck_assert_int_eq(rv_buf_puts(&buf, "12345"), 0);
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(maximum_of_nothing)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 0);
    ck_assert_int_eq(rv_buf_puts(&buf, ""), 0);
    ck_assert_int_eq(rv_buf_puts(&buf, "x"), -EMSGSIZE);
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(maximum_of_everything)
{
    struct rv_buf buf;
    rv_buf_init(&buf, SIZE_MAX);
    ck_assert_int_eq(rv_buf_puts(&buf, "abc"), 0);
    ck_assert_str_eq(rv_buf_string(&buf), "abc");
    ck_assert_int_ne(rv_buf_reserve(&buf, SIZE_MAX), 0);
    ck_assert_int_ne(rv_buf_reserve(&buf, SIZE_MAX - 3), 0);
    ck_assert_str_eq(rv_buf_string(&buf), "abc");
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(consumes_from_the_front)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 100);
    rv_buf_puts(&buf, "one two");
    rv_buf_consume(&buf, 0);
    rv_buf_consume(&buf, 4);
    ck_assert_str_eq(rv_buf_string(&buf), "two");
    rv_buf_consume(&buf, 100);
    ck_assert_uint_eq(buf.length, 0);
    ck_assert_str_eq(rv_buf_string(&buf), "");
    rv_buf_deinit(&buf);
}
END_TEST

START_TEST(gives_its_bytes_away)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 100);
    rv_buf_puts(&buf, "mine");
    char *text = rv_buf_steal(&buf);
    ck_assert_str_eq(text, "mine");
    free(text);
    ck_assert_uint_eq(buf.length, 0);
    text = rv_buf_steal(&buf);
    ck_assert_str_eq(text, "");
    free(text);
    rv_buf_puts(&buf, "again");
    ck_assert_str_eq(rv_buf_string(&buf), "again");
    rv_buf_deinit(&buf);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(starts_empty),
        RV_TEST(appends),
        RV_TEST(always_ends_with_nul),
        RV_TEST(stops_at_its_maximum),
        RV_TEST(maximum_of_nothing),
        RV_TEST(maximum_of_everything),
        RV_TEST(consumes_from_the_front),
        RV_TEST(gives_its_bytes_away),
    };
    return rv_test_run("buf", tests, RV_ARRAY_SIZE(tests));
}
