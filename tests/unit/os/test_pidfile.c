#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "os/pidfile.h"

struct place {
    char folder[64], path[128];
};

static void
make_place(struct place *place)
{
    snprintf(place->folder, sizeof place->folder, "/tmp/reeve-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place->folder));
    snprintf(place->path, sizeof place->path, "%s/x.pid", place->folder);
}

static void
remove_place(struct place *place)
{
    char temporary[160];
    snprintf(temporary, sizeof temporary, "%s.tmp", place->path);
    unlink(temporary);
    unlink(place->path);
    ck_assert(!rmdir(place->folder));
}

static void
write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

/* A child that claims the file and lives until it is killed. */
static pid_t
start_holder(const char *path)
{
    int ready[2];
    char byte = 0;
    ck_assert(!pipe2(ready, O_CLOEXEC));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fd = -1;
        pid_t holder = 0;
        byte = rv_pidfile_claim(path, &fd, &holder) ? 'n' : 'y';
        ssize_t n = write(ready[1], &byte, 1);
        (void)n;
        for (;;) {
            pause();
        }
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    close(ready[0]);
    return pid;
}

static void
end_holder(pid_t pid)
{
    ck_assert(!kill(pid, SIGKILL));
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(claims_and_releases)
{
    struct place place;
    int fd = -1;
    pid_t holder = 0;
    char text[32] = "", mine[32];
    make_place(&place);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    snprintf(mine, sizeof mine, "%d\n", (int)getpid());
    ck_assert_int_gt(pread(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, mine);
    rv_pidfile_release(place.path, &fd);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_lt(access(place.path, F_OK), 0);
    rv_pidfile_release(place.path, &fd);
    remove_place(&place);
}
END_TEST

START_TEST(held_by_the_living)
{
    struct place place;
    int fd = -1;
    pid_t holder = 0, found = 0;
    make_place(&place);
    ck_assert_int_eq(rv_pidfile_read(place.path, &found), -ENOENT);
    pid_t pid = start_holder(place.path);
    ck_assert_int_eq(rv_pidfile_read(place.path, &found), 0);
    ck_assert_int_eq(found, pid);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), -EEXIST);
    ck_assert_int_eq(holder, pid);
    ck_assert_int_eq(fd, -1);
    /* The attempt left the holder's file alone. */
    ck_assert_int_eq(rv_pidfile_read(place.path, &found), 0);
    end_holder(pid);
    ck_assert_int_eq(rv_pidfile_read(place.path, &found), -ESRCH);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), 0);
    rv_pidfile_release(place.path, &fd);
    remove_place(&place);
}
END_TEST

START_TEST(stale_and_strange_files)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {{"1\n", -ESRCH},    {"999999999\n", -ESRCH},
                 {"", -EINVAL},      {"x\n", -EINVAL},
                 {"12x\n", -EINVAL}, {"-5\n", -EINVAL},
                 {"0\n", -EINVAL},   {"99999999999999999999\n", -EINVAL}};
    struct place place;
    make_place(&place);
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        int fd = -1;
        pid_t found = 77, holder = 0;
        write_file(place.path, cases[i].text);
        ck_assert_int_eq(rv_pidfile_read(place.path, &found), cases[i].rc);
        ck_assert_int_eq(found, 77);
        ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), 0);
        rv_pidfile_release(place.path, &fd);
    }
    remove_place(&place);
}
END_TEST

START_TEST(release_leaves_a_file_of_another)
{
    struct place place;
    int fd = -1;
    pid_t holder = 0;
    make_place(&place);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), 0);
    ck_assert(!unlink(place.path));
    write_file(place.path, "1\n");
    rv_pidfile_release(place.path, &fd);
    ck_assert(!access(place.path, F_OK));
    remove_place(&place);
}
END_TEST

START_TEST(overwrites_what_another_holds)
{
    struct place place;
    int fd = -1;
    pid_t found = 0;
    make_place(&place);
    pid_t pid = start_holder(place.path);
    ck_assert_int_eq(rv_pidfile_overwrite(place.path, &fd), 0);
    FILE *file = fopen(place.path, "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%d", &found), 1);
    ck_assert_int_eq(found, getpid());
    /* Closing it here also lets go of our lock, so this comes last. */
    fclose(file);
    end_holder(pid);
    ck_assert(!access(place.path, F_OK));
    rv_pidfile_release(place.path, &fd);
    ck_assert_int_lt(access(place.path, F_OK), 0);
    ck_assert_int_eq(rv_pidfile_overwrite("/no/such/x.pid", &fd), -ENOENT);
    ck_assert_int_eq(fd, -1);
    remove_place(&place);
}
END_TEST

START_TEST(one_claims_at_a_time)
{
    struct place place;
    char temporary[160];
    int fd = -1;
    pid_t holder = 0;
    make_place(&place);
    snprintf(temporary, sizeof temporary, "%s.tmp", place.path);
    /* Someone who is in the middle of it. */
    pid_t pid = start_holder(temporary);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), -EEXIST);
    ck_assert_int_eq(holder, pid);
    end_holder(pid);
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), 0);
    rv_pidfile_release(place.path, &fd);
    remove_place(&place);
}
END_TEST

START_TEST(does_not_follow_links)
{
    struct place place;
    char precious[160], text[32] = "";
    int fd = -1;
    pid_t holder = 0;
    make_place(&place);
    snprintf(precious, sizeof precious, "%s/precious", place.folder);
    write_file(precious, "precious");
    ck_assert(!symlink(precious, place.path));
    ck_assert_int_eq(rv_pidfile_claim(place.path, &fd, &holder), -ELOOP);
    fd = open(precious, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, text, sizeof text - 1), 8);
    ck_assert_str_eq(text, "precious");
    rv_fd_close(&fd);
    unlink(precious);
    remove_place(&place);
}
END_TEST

START_TEST(folder_that_is_not_there)
{
    int fd = -1;
    pid_t holder = 0;
    char path[1000];
    ck_assert_int_eq(rv_pidfile_claim("/no/such/x.pid", &fd, &holder),
                     -ENOENT);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(rv_pidfile_claim(path, &fd, &holder), -ENAMETOOLONG);
    ck_assert_int_eq(fd, -1);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(claims_and_releases),
        RV_TEST(held_by_the_living),
        RV_TEST(stale_and_strange_files),
        RV_TEST(release_leaves_a_file_of_another),
        RV_TEST(overwrites_what_another_holds),
        RV_TEST(one_claims_at_a_time),
        RV_TEST(does_not_follow_links),
        RV_TEST(folder_that_is_not_there),
    };
    return rv_test_run("pidfile", tests, RV_ARRAY_SIZE(tests));
}
