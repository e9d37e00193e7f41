/* What every unit test program is made of.
 *
 * Check forks a process a test.  Around each test the harness counts the
 * open descriptors, the children and the shared mappings, and fails the test
 * that leaves one behind; an alarm ends a test that hangs.
 *
 *     START_TEST(grows) { ... ck_assert_int_eq(rc, 0); }
 *     END_TEST
 *
 *     int
 *     main(void)
 *     {
 *         struct rv_test tests[] = {RV_TEST(grows), RV_TEST(shrinks)};
 *         return rv_test_run("buf", tests, RV_ARRAY_SIZE(tests));
 *     }
 */
#ifndef RV_TEST_HARNESS_H
#define RV_TEST_HARNESS_H

#include <check.h>

#include "reeve/base.h"

struct rv_test {
    const char *name;
    const TTest *test;
};

/* clang-format off */
#define RV_TEST(NAME) {#NAME, NAME}
/* clang-format on */

/* Runs all tests; the exit status of main().  CK_RUN_CASE and CK_VERBOSITY
 * mean what they mean to Check. */
int rv_test_run(const char *suite, const struct rv_test *tests, size_t n);

#endif
