#include "reeve/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/daemon_internal.h"
#include "os/fd.h"
#include "os/pidfile.h"
#include "os/process.h"
#include "os/rundir.h"
#include "os/user.h"
#include "reeve/fatal_signal.h"

/* ---- Options ---- */

/* The words without a value, and what they set. */
static bool *
find_flag(struct rv_daemon_options *options, const char *word, size_t n)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"--detach", &options->detach},
        {"--monitor", &options->monitor},
        {"--no-chdir", &options->no_chdir},
        {"--overwrite-pidfile", &options->overwrite_pidfile},
        {"--pidfile", &options->has_pidfile},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(flags); i++) {
        if (strlen(flags[i].name) == n && !strncmp(word, flags[i].name, n)) {
            return flags[i].flag;
        }
    }
    return NULL;
}

static int
take_user(struct rv_daemon_options *options, const char *value,
          const char *next, struct rv_error *error)
{
    const char *user = value ? value : next;
    if (!user || !*user) {
        return rv_error_set(error, -EINVAL,
                            "option '--user' requires an argument");
    }
    options->user = user;
    return value ? 1 : 2;
}

int
rv_daemon_option(struct rv_daemon_options *options, const char *word,
                 const char *next, struct rv_error *error)
{
    size_t n = strcspn(word, "=");
    const char *value = word[n] ? word + n + 1 : NULL;
    if (n == strlen("--user") && !strncmp(word, "--user", n)) {
        return take_user(options, value, next, error);
    }
    bool *flag = find_flag(options, word, n);
    if (!flag) {
        return 0;
    }
    if (value && flag != &options->has_pidfile) {
        return rv_error_set(error, -EINVAL,
                            "option '%.*s' doesn't allow an argument", (int)n,
                            word);
    }
    *flag = true;
    if (value && *value) {
        options->pidfile = value;
    }
    return 1;
}

/* ---- The pidfile ---- */

/* Joins a path to the folder it is relative to; NULL without memory. */
static char *
join(const char *folder, const char *path)
{
    char *joined = NULL;
    if (*path == '/') {
        return strdup(path);
    }
    return asprintf(&joined, "%s/%s", folder, path) < 0 ? NULL : joined;
}

static char *
make_absolute(const char *path)
{
    char *here = getcwd(NULL, 0);
    char *absolute = here ? join(here, path) : NULL;
    free(here);
    return absolute;
}

/* Makes the default folder where it is missing, for the user that the daemon
 * will be.  One that is there is taken as it is. */
static int
make_folder(const char *path, const struct rv_user *user,
            struct rv_error *error)
{
    if (!access(path, F_OK)) {
        return 0;
    }
    int rc = rv_rundir_create(path, error);
    if (!rc && user && chown(path, user->uid, user->gid)) {
        rc = rv_error_errno(error, -errno, "cannot give folder %s to %s", path,
                            user->name ? user->name : "its group");
    }
    return rc;
}

/* Finds where the pidfile will be, while relative paths still mean what they
 * meant on the command line. */
static int
find_pidfile(struct rv_daemon *daemon, const struct rv_daemon_options *options,
             const struct rv_user *user, struct rv_error *error)
{
    char folder[RV_RUNDIR_PATH], name[RV_RUNDIR_PATH];
    int rc = rv_rundir_path(options->rundir, folder, error);
    if (rc) {
        return rc;
    }
    snprintf(name, sizeof name, "%s.pid", options->program);
    const char *file = options->pidfile ? options->pidfile : name;
    if (!options->rundir && *file != '/') {
        rc = make_folder(folder, user, error);
    }
    char *path = join(folder, file);
    if (path) {
        daemon->pidfile = make_absolute(path);
        free(path);
    }
    if (!rc && !daemon->pidfile) {
        rc = rv_error_errno(error, -ENOMEM, "pidfile");
    }
    return rc;
}

static int
claim_pidfile(struct rv_daemon *daemon, bool overwrite, struct rv_error *error)
{
    pid_t holder = 0;
    int rc =
        overwrite
            ? rv_pidfile_overwrite(daemon->pidfile, &daemon->pidfile_fd)
            : rv_pidfile_claim(daemon->pidfile, &daemon->pidfile_fd, &holder);
    if (rc == -EEXIST) {
        return rv_error_set(error, rc,
                            "%s: already running as pid %d, aborting",
                            daemon->pidfile, (int)holder);
    }
    if (rc) {
        return rv_error_errno(error, rc, "cannot make pidfile %s",
                              daemon->pidfile);
    }
    rc = rv_fatal_signal_add_file(daemon->pidfile);
    return rc ? rv_error_errno(error, rc, "pidfile %s", daemon->pidfile) : 0;
}

/* ---- The launcher ---- */

int
rv__daemon_report(int channel_fd, pid_t pid)
{
    return rv_packet_send(channel_fd, &pid, sizeof pid, -1);
}

int
rv__daemon_died(const struct rv_process_end *end, struct rv_error *error)
{
    char text[RV_PROCESS_END_TEXT];
    return rv_error_set(error, -ECHILD,
                        "the daemon died before its start was complete (%s)",
                        rv_process_end_text(end, text));
}

int
rv__daemon_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) {
        return -errno;
    }
    fflush(NULL);
    int rc = 0;
    for (int i = 0; !rc && i <= 2; i++) {
        rc = dup2(null, i) < 0 ? -errno : 0;
    }
    rv_fd_close(&null);
    return rc;
}

/* Opens those of the standard descriptors that are closed.  Others of ours
 * would get their numbers, and be lost when the daemon leaves its terminal. */
static int
fill_standard(void)
{
    for (;;) {
        /* Not close-on-exec, as standard descriptors are not. */
        int fd = open("/dev/null", O_RDWR);
        if (fd < 0) {
            return -errno;
        }
        if (fd > 2) {
            rv_fd_close(&fd);
            return 0;
        }
    }
}

/* Waits for the child's report (0) or its end, which is then in '*end'
 * (-ECHILD). */
static int
wait_for_start_block(int channel_fd, int pidfd, struct rv_process_end *end)
{
    struct pollfd fds[] = {{channel_fd, POLLIN, 0}, {pidfd, POLLIN, 0}};
    for (;;) {
        pid_t pid;
        int none;
        if (poll(fds, RV_ARRAY_SIZE(fds), -1) < 0 && errno != EINTR) {
            return -errno;
        }
        /* The report first: who sent it may have died since. */
        ssize_t n = rv_packet_receive(channel_fd, &pid, sizeof pid, &none);
        if (n > 0) {
            return 0;
        }
        if (n != -EAGAIN) {
            fds[0].fd = -1; /* Closed early; its death tells the rest. */
        }
        if (fds[1].revents) {
            int rc = rv_pidfd_collect(pidfd, end);
            return rc ? rc : -ECHILD;
        }
    }
}

/* Stays behind as the launcher.  Returns only with an error to be printed. */
static int
launch_block(int channel_fd, pid_t child, struct rv_error *error)
{
    struct rv_process_end end = {false, false, 1};
    int pidfd = -1;
    int rc = rv_pidfd_open(child, 0, &pidfd);
    if (!rc) {
        rc = wait_for_start_block(channel_fd, pidfd, &end);
    }
    rv_fd_close(&pidfd);
    if (!rc) {
        _exit(0);
    }
    if (rc != -ECHILD) {
        return rv_error_errno(error, rc, "cannot wait for the daemon");
    }
    if (!end.is_signal && end.value) {
        /* It has said why. */
        _exit(end.value);
    }
    return rv__daemon_died(&end, error);
}

/* Returns 0 in the child, which owns '*channelp' to the launcher. */
static int
detach_block(int *channelp, struct rv_error *error)
{
    int fds[2];
    int rc = rv_packet_pair(fds);
    if (rc) {
        return rv_error_errno(error, rc, "cannot detach");
    }
    pid_t pid = fork();
    if (pid == 0) {
        rv_fd_close(&fds[0]);
        setsid();
        *channelp = fds[1];
        return 0;
    }
    rc = pid < 0 ? rv_error_errno(error, -errno, "cannot detach") : 0;
    rv_fd_close(&fds[1]);
    if (!rc) {
        rc = launch_block(fds[0], pid, error);
    }
    rv_fd_close(&fds[0]);
    return rc;
}

/* ---- The daemon ---- */

static int
find_user_block(const struct rv_daemon_options *options, struct rv_user *user,
                struct rv_error *error)
{
    if (!options->user) {
        return 0;
    }
    if (getuid() || geteuid()) {
        return rv_error_set(error, -EPERM, "only root can use --user option");
    }
    int rc = rv_user_parse_block(options->user, user, error);
    return rc ? rv_error_wrap(error, "--user %s", options->user) : 0;
}

/* What happens once, before any fork. */
static int
prepare_block(struct rv_daemon *daemon,
              const struct rv_daemon_options *options, struct rv_error *error)
{
    struct rv_user user = {.name = NULL};
    bool has_user = options->user != NULL;
    int rc = find_user_block(options, &user, error);
    if (!rc && options->has_pidfile) {
        rc = find_pidfile(daemon, options, has_user ? &user : NULL, error);
    }
    if (!rc && has_user) {
        rc = rv_user_become(&user, options->keep_capabilities, error);
    }
    rv_user_deinit(&user);
    return rc;
}

static int
fork_block(struct rv_daemon *daemon, const struct rv_daemon_options *options,
           struct rv_error *error)
{
    /* Or what waits in a buffer would be printed by each process. */
    fflush(NULL);
    int launcher_fd = -1;
    int rc = options->detach ? detach_block(&launcher_fd, error) : 0;
    if (rc) {
        return rc;
    }
    if (options->monitor) {
        return rv__guardian_run(daemon, options, launcher_fd, error);
    }
    daemon->channel_fd = launcher_fd;
    return 0;
}

int
rv_daemon_start_block(struct rv_daemon *daemon,
                      const struct rv_daemon_options *options,
                      struct rv_error *error)
{
    *daemon = (struct rv_daemon){
        .detach = options->detach,
        .no_chdir = options->no_chdir,
        .is_monitored = options->monitor,
        .channel_fd = -1,
        .pidfile_fd = -1,
    };
    if (options->min_backoff_ms < 1 || options->stable_ms < 1
        || options->max_backoff_ms < options->min_backoff_ms) {
        return rv_error_set(error, -EINVAL,
                            "the pace of the monitor is out of range");
    }
    int rc = fill_standard();
    rc = rc ? rv_error_errno(error, rc, "standard descriptors")
            : prepare_block(daemon, options, error);
    if (!rc) {
        rc = fork_block(daemon, options, error);
    }
    if (!rc && daemon->pidfile) {
        rc = claim_pidfile(daemon, options->overwrite_pidfile, error);
    }
    if (rc) {
        rv_daemon_stop(daemon);
    }
    return rc;
}

int
rv_daemon_complete(struct rv_daemon *daemon, struct rv_error *error)
{
    int rc = 0;
    if (daemon->is_complete) {
        return 0;
    }
    if (daemon->detach && !daemon->no_chdir && chdir("/")) {
        return rv_error_errno(error, -errno, "cannot change to folder /");
    }
    if (daemon->detach && (rc = rv__daemon_leave_terminal())) {
        return rv_error_errno(error, rc, "cannot leave the terminal");
    }
    if (daemon->channel_fd >= 0) {
        rc = rv__daemon_report(daemon->channel_fd, getpid());
    }
    if (rc) {
        return rv_error_errno(error, rc, "who started this daemon has gone");
    }
    if (!daemon->is_monitored) {
        rv_fd_close(&daemon->channel_fd);
    }
    daemon->is_complete = true;
    return 0;
}

int
rv_daemon_monitor_fd(const struct rv_daemon *daemon)
{
    return daemon->is_monitored ? daemon->channel_fd : -1;
}

void
rv_daemon_stop(struct rv_daemon *daemon)
{
    if (daemon->pidfile) {
        rv_fatal_signal_remove_file(daemon->pidfile);
        rv_pidfile_release(daemon->pidfile, &daemon->pidfile_fd);
    }
    free(daemon->pidfile);
    daemon->pidfile = NULL;
    rv_fd_close(&daemon->channel_fd);
}
