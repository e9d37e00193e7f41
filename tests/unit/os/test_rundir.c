#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "os/rundir.h"

START_TEST(path_comes_from_the_first_that_says_it)
{
    char path[RV_RUNDIR_PATH], own[64];
    struct rv_error error;
    setenv("REEVE_RUNDIR", "/a", 1);
    setenv("OVS_RUNDIR", "/b", 1);
    ck_assert_int_eq(rv_rundir_path("/c", path, &error), 0);
    ck_assert_str_eq(path, "/c");
    ck_assert_int_eq(rv_rundir_path(NULL, path, &error), 0);
    ck_assert_str_eq(path, "/a");
    setenv("REEVE_RUNDIR", "", 1);
    ck_assert_int_eq(rv_rundir_path(NULL, path, &error), 0);
    ck_assert_str_eq(path, "/b");
    unsetenv("OVS_RUNDIR");
    setenv("XDG_RUNTIME_DIR", "/d", 1);
    snprintf(own, sizeof own, "%s", geteuid() ? "/d/reeve" : "/run/reeve");
    ck_assert_int_eq(rv_rundir_path(NULL, path, &error), 0);
    ck_assert_str_eq(path, own);
    unsetenv("XDG_RUNTIME_DIR");
    snprintf(own, sizeof own, "/tmp/reeve-%u", (unsigned int)geteuid());
    ck_assert_int_eq(rv_rundir_path(NULL, path, &error), 0);
    ck_assert_str_eq(path, geteuid() ? own : "/run/reeve");
}
END_TEST

START_TEST(long_paths_are_refused)
{
    char longer[RV_RUNDIR_PATH + 1], path[RV_RUNDIR_PATH];
    struct rv_error error;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_int_eq(rv_rundir_path(longer, path, &error), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(error.text, "runtime_dir"));
    longer[RV_RUNDIR_PATH - 1] = '\0';
    ck_assert_int_eq(rv_rundir_path(longer, path, &error), 0);
}
END_TEST

START_TEST(folders_are_made_and_judged)
{
    char base[64] = "/tmp/reeve-test-XXXXXX", path[128];
    struct rv_error error;
    struct stat info;
    ck_assert_ptr_nonnull(mkdtemp(base));
    snprintf(path, sizeof path, "%s/a", base);
    ck_assert_int_eq(rv_rundir_create(path, &error), 0);
    ck_assert_int_eq(rv_rundir_create(path, &error), 0);
    ck_assert(!stat(path, &info));
    ck_assert_int_eq(info.st_mode & 0022, 0);
    /* Open to all, as /tmp is not: there the sticky bit protects us. */
    ck_assert(!chmod(path, 0777));
    ck_assert_int_eq(rv_rundir_create(path, &error), -EPERM);
    ck_assert_ptr_nonnull(strstr(error.text, path));
    ck_assert(!chmod(path, 01777));
    ck_assert_int_eq(rv_rundir_create(path, &error), 0);
    ck_assert(!rmdir(path));
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    ck_assert_int_eq(rv_rundir_create(path, &error), -ENOTDIR);
    ck_assert(!unlink(path));
    snprintf(path, sizeof path, "/proc/nowhere/x");
    ck_assert_int_lt(rv_rundir_create(path, &error), 0);
    ck_assert(!rmdir(base));
}
END_TEST

START_TEST(folders_of_others_are_not_ours)
{
    char path[64] = "/tmp/reeve-test-XXXXXX";
    struct rv_error error;
    ck_assert_ptr_nonnull(mkdtemp(path));
    if (geteuid() == 0) {
        ck_assert(!chown(path, 65534, 65534));
        ck_assert_int_eq(rv_rundir_create(path, &error), -EPERM);
    }
    ck_assert(!rmdir(path));
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(path_comes_from_the_first_that_says_it),
        RV_TEST(long_paths_are_refused),
        RV_TEST(folders_are_made_and_judged),
        RV_TEST(folders_of_others_are_not_ours),
    };
    return rv_test_run("rundir", tests, RV_ARRAY_SIZE(tests));
}
