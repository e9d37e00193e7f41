#include <errno.h>
#include <string.h>

#include "reeve/error.h"
#include "harness.h"

START_TEST(keeps_code_and_text)
{
    struct rv_error error = {0};
    ck_assert_int_eq(rv_error_set(&error, -EINVAL, "bad %s", "port"), -EINVAL);
    ck_assert_int_eq(error.code, -EINVAL);
    ck_assert_str_eq(error.text, "bad port");
}
END_TEST

START_TEST(says_what_the_system_said)
{
    struct rv_error error = {0};
    ck_assert_int_eq(rv_error_errno(&error, -ENOENT, "open %s", "a"), -ENOENT);
    ck_assert_str_eq(error.text, "open a: No such file or directory");
}
END_TEST

START_TEST(wraps)
{
    struct rv_error error = {0};
    rv_error_set(&error, -EACCES, "no");
    ck_assert_int_eq(rv_error_wrap(&error, "line %d", 3), -EACCES);
    ck_assert_int_eq(rv_error_wrap(&error, "file %s", "f"), -EACCES);
    ck_assert_str_eq(error.text, "file f: line 3: no");
}
END_TEST

START_TEST(accepts_nothing)
{
    ck_assert_int_eq(rv_error_set(NULL, -EIO, "x"), -EIO);
    ck_assert_int_eq(rv_error_errno(NULL, -EIO, "x"), -EIO);
    ck_assert_int_lt(rv_error_wrap(NULL, "x"), 0);
}
END_TEST

START_TEST(cuts_long_texts_short)
{
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct rv_error error = {0};
    rv_error_set(&error, -EIO, "%s", text);
    ck_assert_uint_eq(strlen(error.text), sizeof error.text - 1);
    rv_error_errno(&error, -EIO, "%s", text);
    ck_assert_uint_eq(strlen(error.text), sizeof error.text - 1);
    ck_assert_int_eq(rv_error_wrap(&error, "%s", text), -EIO);
    ck_assert_uint_eq(strlen(error.text), sizeof error.text - 1);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(keeps_code_and_text),
        RV_TEST(says_what_the_system_said),
        RV_TEST(wraps),
        RV_TEST(accepts_nothing),
        RV_TEST(cuts_long_texts_short),
    };
    return rv_test_run("error", tests, RV_ARRAY_SIZE(tests));
}
