#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/process.h"

/* Duplicates of the descriptors, all above 2, so that placing one does not
 * overwrite the next. */
static int
move_up(const struct rv_spawn *spawn, int fds[4], struct rv_error *error)
{
    for (int i = 0; i < 3; i++) {
        if (spawn->fds[i] >= 0) {
            fds[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, 3);
        } else {
            int null = open("/dev/null", O_RDWR | O_CLOEXEC);
            fds[i] = fcntl(null, F_DUPFD_CLOEXEC, 3);
            rv_fd_close(&null);
        }
        if (fds[i] < 0) {
            return rv_error_errno(error, -errno, "cannot pass descriptor %d",
                                  i);
        }
    }
    if (spawn->directory) {
        fds[3] = open(spawn->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fds[3] < 0) {
            return rv_error_errno(error, -errno, "folder \"%s\"",
                                  spawn->directory);
        }
    }
    return 0;
}

static int
set_actions(posix_spawn_file_actions_t *actions, const int fds[4])
{
    int rc = fds[3] < 0
                 ? 0
                 : posix_spawn_file_actions_addfchdir_np(actions, fds[3]);
    for (int i = 0; !rc && i < 3; i++) {
        rc = posix_spawn_file_actions_adddup2(actions, fds[i], i);
    }
    return rc ? rc : posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

static int
set_attributes(posix_spawnattr_t *attributes, const struct rv_spawn *spawn)
{
    sigset_t none, all;
    sigemptyset(&none);
    /* All bits: sigfillset() leaves out two signals of the C library's own,
     * which the program would then find ignored. */
    memset(&all, 0xff, sizeof all);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
                | (spawn->own_group ? POSIX_SPAWN_SETPGROUP : 0);
    int rc = posix_spawnattr_setflags(attributes, (short)flags);
    rc = rc ? rc : posix_spawnattr_setsigmask(attributes, &none);
    rc = rc ? rc : posix_spawnattr_setsigdefault(attributes, &all);
    return rc ? rc : posix_spawnattr_setpgroup(attributes, 0);
}

/* The interface of exec wants strings that could be written, and leaves them
 * alone. */
static char *const *
as_writable(const char *const *strings)
{
    union {
        const char *const *constant;
        char *const *writable;
    } view = {.constant = strings};
    return view.writable;
}

static int
start(const struct rv_spawn *spawn, const int fds[4], pid_t *pidp)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc) {
        return -rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (!rc) {
        rc = set_actions(&actions, fds);
        rc = rc ? rc : set_attributes(&attributes, spawn);
        if (!rc) {
            rc = posix_spawnp(pidp, spawn->arguments[0], &actions, &attributes,
                              as_writable(spawn->arguments),
                              spawn->environment
                                  ? as_writable(spawn->environment)
                                  : environ);
        }
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

int
rv_spawn_start(const struct rv_spawn *spawn, pid_t *pidp, int *pidfdp,
               struct rv_error *error)
{
    int fds[4] = {-1, -1, -1, -1};
    pid_t pid = 0;
    int pidfd = -1;
    if (!spawn->arguments || !spawn->arguments[0]) {
        return rv_error_set(error, -EINVAL, "there is no program to start");
    }
    int rc = move_up(spawn, fds, error);
    if (!rc) {
        rc = start(spawn, fds, &pid);
        if (rc) {
            rv_error_errno(error, rc, "cannot start \"%s\"",
                           spawn->arguments[0]);
        }
    }
    for (int i = 0; i < 4; i++) {
        rv_fd_close(&fds[i]);
    }
    if (!rc && (rc = rv_pidfd_open(pid, 0, &pidfd))) {
        /* Too many descriptors, and so no way to watch it. */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        rv_error_errno(error, rc, "cannot watch \"%s\"", spawn->arguments[0]);
    }
    if (!rc) {
        *pidp = pid;
        *pidfdp = pidfd;
    }
    return rc;
}
