/* Design
 *
 * A checked fixture runs inside the forked test: 'before' notes what the
 * process holds, 'after' compares.  The note is file-scope state because
 * Check's fixtures take no argument; a fork a test gives each its own.
 *
 * A test that fails by an assertion leaves at once, so that 'after' only
 * judges tests that were otherwise right.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TIMEOUT_SECONDS = 120, /* Only what hangs takes as long. */
    N_FDS = 1024,          /* Higher descriptors are counted, but not named. */
};

struct holdings {
    bool is_open[N_FDS];
    size_t n_fds;
    size_t n_shared_mappings;
};

static struct holdings held_before;

/* The next descriptor in 'dir' besides that of 'dir' itself; -1 at the end. */
static int
next_fd(DIR *dir)
{
    for (;;) {
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            return -1;
        }
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '\0' && fd != dirfd(dir)) {
            return (int)fd;
        }
    }
}

static DIR *
open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        ck_abort_msg("/proc/self/fd: %s", strerror(errno));
    }
    return dir;
}

static void
count_fds(struct holdings *held)
{
    DIR *dir = open_fds();
    int fd;
    while ((fd = next_fd(dir)) >= 0) {
        held->n_fds++;
        if (fd < N_FDS) {
            held->is_open[fd] = true;
        }
    }
    closedir(dir);
}

static void
print_new_fds(const struct holdings *before)
{
    DIR *dir = open_fds();
    int fd;
    while ((fd = next_fd(dir)) >= 0) {
        if (fd < N_FDS && before->is_open[fd]) {
            continue;
        }
        char link[64];
        char target[PATH_MAX];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = '\0';
        fprintf(stderr, "descriptor left open: %d (%s)\n", fd, target);
    }
    closedir(dir);
}

/* The number of shared mappings; prints them all if 'print'. */
static size_t
count_shared_mappings(bool print)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) {
        ck_abort_msg("/proc/self/maps: %s", strerror(errno));
    }
    char *line = NULL;
    size_t size = 0;
    size_t n = 0;
    while (getline(&line, &size, maps) >= 0) {
        const char *flags = strchr(line, ' ');
        if (flags && strlen(flags) > 4 && flags[4] == 's') {
            n++;
            if (print) {
                fprintf(stderr, "shared mapping: %s", line);
            }
        }
    }
    free(line);
    fclose(maps);
    return n;
}

/* A child that runs or waits to be reaped; it is left as it is. */
static bool
has_child(siginfo_t *info)
{
    info->si_pid = 0;
    return waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void
before(void)
{
    memset(&held_before, 0, sizeof(held_before));
    held_before.n_shared_mappings = count_shared_mappings(false);
    count_fds(&held_before);
}

static void
after(void)
{
    siginfo_t child;
    if (has_child(&child)) {
        if (child.si_pid) {
            ck_abort_msg("the test left a child unreaped: %d", child.si_pid);
        }
        ck_abort_msg("the test left a child running");
    }

    struct holdings held = {.n_fds = 0};
    held.n_shared_mappings = count_shared_mappings(false);
    count_fds(&held);
    if (memcmp(held.is_open, held_before.is_open, sizeof(held.is_open))
        || held.n_fds != held_before.n_fds) {
        print_new_fds(&held_before);
        ck_abort_msg("the test began with %zu open descriptors and ended "
                     "with %zu, or with others",
                     held_before.n_fds, held.n_fds);
    }
    if (held.n_shared_mappings != held_before.n_shared_mappings) {
        count_shared_mappings(true);
        ck_abort_msg("the test began with %zu shared mappings and ended "
                     "with %zu",
                     held_before.n_shared_mappings, held.n_shared_mappings);
    }
}

int
rv_test_run(const char *name, const struct rv_test *tests, size_t n)
{
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < n; i++) {
        /* A case a test, so that CK_RUN_CASE=NAME runs that test alone. */
        TCase *tcase = tcase_create(tests[i].name);
        tcase_set_timeout(tcase, TIMEOUT_SECONDS);
        tcase_add_checked_fixture(tcase, before, after);
        tcase_add_test(tcase, tests[i].test);
        suite_add_tcase(suite, tcase);
    }

    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
