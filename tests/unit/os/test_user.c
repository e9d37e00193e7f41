#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/user.h"

START_TEST(finds)
{
    static const struct {
        const char *text;
        int rc;
        uid_t uid;
        gid_t gid;
        const char *name;
    } cases[] = {
        {"root", 0, 0, 0, "root"},
        {"root:", 0, 0, 0, "root"},
        {"daemon:root", 0, 1, 0, "daemon"},
        {"no-such-user", -ENOENT, 0, 0, NULL},
        {"root:no-such-group", -ENOENT, 0, 0, NULL},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        struct rv_user user = {.uid = 77};
        struct rv_error error;
        ck_assert_int_eq(rv_user_parse_block(cases[i].text, &user, &error),
                         cases[i].rc);
        if (cases[i].rc) {
            ck_assert_uint_eq(user.uid, 77);
            continue;
        }
        ck_assert_uint_eq(user.uid, cases[i].uid);
        ck_assert_uint_eq(user.gid, cases[i].gid);
        ck_assert_str_eq(user.name, cases[i].name);
        rv_user_deinit(&user);
        rv_user_deinit(&user);
    }
}
END_TEST

START_TEST(group_alone)
{
    struct rv_user user;
    ck_assert_int_eq(rv_user_parse_block(":daemon", &user, NULL), 0);
    ck_assert_uint_eq(user.uid, geteuid());
    ck_assert_uint_eq(user.gid, 1);
    ck_assert_ptr_null(user.name);
    rv_user_deinit(&user);
}
END_TEST

/* The hexadecimal number behind 'name' in /proc/self/status. */
static unsigned long long
status_number(const char *name)
{
    char line[256];
    unsigned long long number = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, name, strlen(name))) {
            (void)sscanf(line + strlen(name), ": %llx", &number);
        }
    }
    if (file) {
        fclose(file);
    }
    return number;
}

/* Becomes `daemon` in a child; 0 if all is as it should be. */
static int
become(uint64_t keep)
{
    struct rv_user user;
    unsigned long long before = status_number("CapPrm");
    if (rv_user_parse_block("daemon", &user, NULL)
        || rv_user_become(&user, keep, NULL)) {
        return 1;
    }
    rv_user_deinit(&user);
    if (getuid() != 1 || geteuid() != 1 || getgid() != 1 || getegid() != 1) {
        return 2;
    }
    if (status_number("CapPrm") != (before & keep)
        || status_number("CapEff") != (before & keep)) {
        return 3;
    }
    /* There is no way back. */
    return !setuid(0) || getgroups(0, NULL) > 1 ? 4 : 0;
}

START_TEST(becomes)
{
    static const uint64_t keep[] = {0, 1 << 10, 1 << 10 | 1 << 14};
    if (geteuid()) {
        struct rv_user user = {.uid = 0, .gid = 0};
        ck_assert_int_lt(rv_user_become(&user, 0, NULL), 0);
        return;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(keep); i++) {
        int status;
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            _exit(become(keep[i]));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(finds),
        RV_TEST(group_alone),
        RV_TEST(becomes),
    };
    return rv_test_run("user", tests, RV_ARRAY_SIZE(tests));
}
