/* From a slot to a running program.
 *
 * All that can fail or allocate is prepared before fork(); the child makes
 * system calls only.  The child then waits for one byte.  The parent sends it
 * after the child's pid stands in the registry: if the parent dies before
 * that, the child reads the end of the channel and leaves, so that there is
 * never a living worker that the next master does not know. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/process.h"
#include "os/rlimit.h"
#include "os/user.h"

static int
find_user(struct rv__launch *launch, struct rv_error *error)
{
    const struct rv_conf_service *service = launch->service;
    struct rv_user user;
    int rc = rv_user_find_block(service->user, service->group, &user, error);
    if (rc) {
        return rc;
    }
    launch->uid = user.uid;
    launch->gid = user.gid;
    launch->has_user = service->user || service->group;
    rv_user_deinit(&user);
    return 0;
}

static int
collect_listens(struct rv__worker *worker, struct rv__launch *launch,
                struct rv_error *error)
{
    const struct rv_conf_service *service = launch->service;
    int index = rv__worker_pool(worker)->index;
    int maximum = (int)RV_ARRAY_SIZE(launch->listen_fds) - 1;
    for (size_t i = 0; i < service->n_listens; i++) {
        const struct rv__socket *s =
            rv__sockets_find(worker->master, &service->listens[i]);
        int fd = s ? rv__socket_fd(s, index) : -1;
        if (fd < 0 || launch->n_listens == maximum) {
            return rv_error_set(error, -EBADF, "listen \"%s\" is not open",
                                service->listens[i].name);
        }
        /* Blocking by default, as systemd does; servers that want it
         * otherwise set it themselves, for all who share the socket.  So it
         * must not change under one that runs: it would hang in accept(2)
         * when another was quicker. */
        if (!rv__sockets_is_shared(worker, s)) {
            rv_fd_set_nonblocking(fd, s->nonblocking);
        }
        launch->listen_fds[launch->n_listens++] = fd;
    }
    launch->listen_as_stdin = service->in == RV_CONF_STDIN_LISTEN;
    if (worker->probe && rv__probe_fd(worker->probe) >= 0) {
        launch->listen_fds[launch->n_listens++] = rv__probe_fd(worker->probe);
    }
    return 0;
}

static int
collect_zones(struct rv__worker *worker, struct rv__launch *launch,
              struct rv_error *error)
{
    int rc = rv__zones_hold(worker);
    if (rc) {
        return rv_error_errno(error, rc, "zones");
    }
    for (size_t i = 0; i < worker->n_zones; i++) {
        const struct rv_conf_zone_use *use = &worker->service->zones[i];
        int fd = rv__zone_worker_fd(worker->zones[i], use->is_read_only);
        if (fd < 0) {
            return rv_error_errno(error, fd, "zone \"%s\"", use->name);
        }
        launch->zone_fds[launch->n_zones++] = fd;
    }
    return 0;
}

int
rv__launch_prepare(struct rv__worker *worker, struct rv__launch *launch,
                   struct rv_error *error)
{
    const struct rv_pool_worker *pool = rv__worker_pool(worker);
    launch->service = worker->service;
    launch->directory = worker->service->directory;
    int rc = find_user(launch, error);
    if (!rc) {
        rc = collect_listens(worker, launch, error);
    }
    if (!rc) {
        rc = collect_zones(worker, launch, error);
    }
    if (!rc) {
        int n = launch->n_listens - launch->listen_as_stdin;
        int port = worker->probe ? rv__probe_port(worker->probe) : 0;
        rc = rv__program_build(worker, pool->index, pool->generation, n, port,
                               &launch->program, error);
    }
    return rc;
}

void
rv__launch_free(struct rv__launch *launch)
{
    rv__program_free(&launch->program);
}

RV_NORETURN static void
give_up(int fd, const char *step)
{
    struct rv__launch_report report = {.error = errno};
    strncpy(report.step, step, sizeof report.step - 1);
    if (write(fd, &report, sizeof report) < 0) {
        dprintf(STDERR_FILENO, "reeve: cannot start the program (%s): %s\n",
                step, strerror(report.error));
    }
    _exit(127);
}

/* Moves a descriptor above those that have fixed numbers. */
static int
move_up(int fd, int floor, int report_fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, floor);
    if (moved < 0) {
        give_up(report_fd, "descriptors");
    }
    return moved;
}

static void
place(int from, int to, int report_fd)
{
    if (dup2(from, to) < 0) {
        give_up(report_fd, "descriptors");
    }
}

static void
place_standard(const struct rv__launch *launch, int floor, int report_fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int out = launch->out_fd >= 0 ? launch->out_fd : null;
    int err = launch->err_fd >= 0 ? launch->err_fd : null;
    if (null < 0) {
        give_up(report_fd, "/dev/null");
    }
    out = move_up(out, floor, report_fd);
    err = move_up(err, floor, report_fd);
    place(launch->listen_as_stdin ? launch->listen_fds[0] : null, 0,
          report_fd);
    place(out, 1, report_fd);
    place(err, 2, report_fd);
}

/* Puts every descriptor where the program expects it.  Returns the report's
 * new number. */
static int
place_descriptors(struct rv__launch *launch)
{
    int floor = 3 + launch->n_listens + launch->n_zones;
    int report_fd = move_up(launch->go_fd, floor, launch->go_fd);
    for (int i = 0; i < launch->n_listens; i++) {
        launch->listen_fds[i] =
            move_up(launch->listen_fds[i], floor, report_fd);
    }
    for (int i = 0; i < launch->n_zones; i++) {
        launch->zone_fds[i] = move_up(launch->zone_fds[i], floor, report_fd);
    }
    place_standard(launch, floor, report_fd);
    int to = 3;
    for (int i = launch->listen_as_stdin; i < launch->n_listens; i++) {
        place(launch->listen_fds[i], to++, report_fd);
    }
    for (int i = 0; i < launch->n_zones; i++) {
        place(launch->zone_fds[i], to++, report_fd);
    }
    syscall(SYS_close_range, to, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
    return report_fd;
}

static void
limit(int resource, const struct rv_conf_rlimit *wanted, int report_fd)
{
    struct rlimit both;
    if (!wanted->is_set) {
        return;
    }
    rlim_t value =
        wanted->value == UINT64_MAX ? RLIM_INFINITY : (rlim_t)wanted->value;
    both.rlim_cur = both.rlim_max = value;
    if (setrlimit((__rlimit_resource_t)resource, &both)) {
        give_up(report_fd, "limits");
    }
}

static void
set_limits(const struct rv_conf_service *service, int report_fd)
{
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = RV_MIN(rv_rlimit_original_nofile(), files.rlim_max);
        setrlimit(RLIMIT_NOFILE, &files);
    }
    limit(RLIMIT_NOFILE, &service->nofile, report_fd);
    limit(RLIMIT_CORE, &service->core, report_fd);
    limit(RLIMIT_AS, &service->memory, report_fd);
    limit(RLIMIT_NPROC, &service->processes, report_fd);
}

static void
set_identity(const struct rv__launch *launch, int report_fd)
{
    const struct rv_conf_service *service = launch->service;
    if (service->nice != INT_MAX
        && setpriority(PRIO_PROCESS, 0, service->nice)) {
        give_up(report_fd, "nice");
    }
    if (!launch->has_user) {
        return;
    }
    const char *name = service->user ? service->user : "";
    bool is_root = geteuid() == 0;
    if ((is_root && *name && initgroups(name, launch->gid))
        || (is_root && !*name && setgroups(0, NULL))) {
        give_up(report_fd, "groups");
    }
    if (setgid(launch->gid) || setuid(launch->uid)) {
        give_up(report_fd, "user");
    }
}

/* Writes the pid over the blanks that wait for it in the environment. */
static void
write_pid(char *blanks)
{
    char digits[16];
    int n = 0;
    for (int pid = (int)getpid(); pid; pid /= 10) {
        digits[n++] = (char)('0' + pid % 10);
    }
    for (int i = 0; blanks && i < n; i++) {
        blanks[i] = digits[n - 1 - i];
    }
    if (blanks) {
        blanks[n] = '\0';
    }
}

static void
wait_for_go(int fd)
{
    char go;
    ssize_t n;
    do {
        n = read(fd, &go, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        _exit(0);
    }
}

void
rv__launch_child(struct rv__launch *launch)
{
    const struct rv_conf_service *service = launch->service;
    /* A session of its own: Ctrl-C in a terminal is for reeve to handle. */
    setsid();
    rv_process_reset_signals();
    rv_fd_set_nonblocking(launch->go_fd, false);
    wait_for_go(launch->go_fd);
    int report_fd = place_descriptors(launch);
    if (service->umask >= 0) {
        umask((mode_t)service->umask);
    }
    set_limits(service, report_fd);
    set_identity(launch, report_fd);
    if (launch->directory && chdir(launch->directory)) {
        give_up(report_fd, "directory");
    }
    write_pid(launch->program.listen_pid);
    write_pid(launch->program.watchdog_pid);
    execvpe(launch->program.arguments[0], launch->program.arguments,
            launch->program.environment);
    give_up(report_fd, "exec");
}

int
rv__launch_fork(struct rv__worker *worker, struct rv__launch *launch)
{
    int fds[2];
    int rc = rv_packet_pair(fds);
    if (rc) {
        return rc;
    }
    launch->go_fd = fds[1];
    pid_t pid = fork();
    if (pid == 0) {
        rv__launch_child(launch);
    }
    rc = pid < 0 ? -errno : 0;
    rv_fd_close(&fds[1]);
    if (rc) {
        rv_fd_close(&fds[0]);
        return rc;
    }
    worker->pid = pid;
    worker->launch_fd = fds[0];
    return 0;
}
