/* Options, and a daemon in the foreground; all that forks is tested end to
 * end, with a program. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "os/pidfile.h"
#include "reeve/daemon.h"

START_TEST(known_options)
{
    struct rv_daemon_options options = RV_DAEMON_OPTIONS("p");
    struct rv_error error;
    ck_assert_int_eq(rv_daemon_option(&options, "--detach", NULL, &error), 1);
    ck_assert_int_eq(rv_daemon_option(&options, "--monitor", "x", &error), 1);
    ck_assert_int_eq(rv_daemon_option(&options, "--no-chdir", "", &error), 1);
    ck_assert(options.detach && options.monitor && options.no_chdir);
    ck_assert(!options.has_pidfile && !options.overwrite_pidfile);
    ck_assert_int_eq(rv_daemon_option(&options, "--pidfile", "x", &error), 1);
    ck_assert(options.has_pidfile && !options.pidfile);
    ck_assert_int_eq(rv_daemon_option(&options, "--pidfile=a=b", "x", &error),
                     1);
    ck_assert_str_eq(options.pidfile, "a=b");
    ck_assert_int_eq(
        rv_daemon_option(&options, "--overwrite-pidfile", NULL, &error), 1);
    ck_assert(options.overwrite_pidfile);
    ck_assert_int_eq(rv_daemon_option(&options, "--user", "u:g", &error), 2);
    ck_assert_str_eq(options.user, "u:g");
    ck_assert_int_eq(rv_daemon_option(&options, "--user=v", "x", &error), 1);
    ck_assert_str_eq(options.user, "v");
}
END_TEST

START_TEST(strange_options)
{
    static const struct {
        const char *word;
        int rc;
    } cases[] = {
        {"", 0},
        {"-", 0},
        {"--", 0},
        {"detach", 0},
        {"--detac", 0},
        {"--detachx", 0},
        {"--pidfiles", 0},
        {"--users=x", 0},
        {"--detach=", -EINVAL},
        {"--detach=yes", -EINVAL},
        {"--overwrite-pidfile=x", -EINVAL},
        {"--user", -EINVAL},
        {"--user=", -EINVAL},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        struct rv_daemon_options options = RV_DAEMON_OPTIONS("p");
        struct rv_error error = {.text = ""};
        ck_assert_int_eq(
            rv_daemon_option(&options, cases[i].word, NULL, &error),
            cases[i].rc);
        ck_assert((cases[i].rc != 0) == (error.text[0] != '\0'));
        ck_assert(!options.detach && !options.has_pidfile && !options.user);
    }
}
END_TEST

START_TEST(in_the_foreground)
{
    char folder[] = "/tmp/reeve-test-XXXXXX";
    char path[64], expected[64];
    struct rv_daemon_options options = RV_DAEMON_OPTIONS("p");
    struct rv_daemon daemon;
    struct rv_error error;
    FILE *file;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/p.pid", folder);
    options.rundir = folder;
    options.has_pidfile = true;
    ck_assert_int_eq(rv_daemon_start_block(&daemon, &options, &error), 0);
    ck_assert_str_eq(daemon.pidfile, path);
    ck_assert_int_eq(rv_daemon_complete(&daemon, &error), 0);
    ck_assert_int_eq(rv_daemon_complete(&daemon, &error), 0);
    ck_assert_int_eq(rv_daemon_monitor_fd(&daemon), -1);
    file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(expected, sizeof expected, file));
    ck_assert_int_eq((int)strtol(expected, NULL, 10), getpid());
    fclose(file);
    rv_daemon_stop(&daemon);
    rv_daemon_stop(&daemon);
    ck_assert(!rmdir(folder));
}
END_TEST

START_TEST(failures_to_start)
{
    struct rv_daemon_options options = RV_DAEMON_OPTIONS("p");
    struct rv_daemon daemon;
    struct rv_error error;
    options.min_backoff_ms = 0;
    ck_assert_int_eq(rv_daemon_start_block(&daemon, &options, &error),
                     -EINVAL);
    rv_daemon_stop(&daemon);
    options.min_backoff_ms = 10;
    options.has_pidfile = true;
    options.pidfile = "/no/such/folder/p.pid";
    ck_assert_int_eq(rv_daemon_start_block(&daemon, &options, &error),
                     -ENOENT);
    ck_assert_ptr_null(daemon.pidfile);
    options.has_pidfile = false;
    options.user = "no-such-user";
    ck_assert_int_eq(rv_daemon_start_block(&daemon, &options, &error),
                     geteuid() ? -EPERM : -ENOENT);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(known_options),
        RV_TEST(strange_options),
        RV_TEST(in_the_foreground),
        RV_TEST(failures_to_start),
    };
    return rv_test_run("daemon", tests, RV_ARRAY_SIZE(tests));
}
