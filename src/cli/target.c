/* Which running reeve a command is for. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "master/master.h"
#include "os/pidfile.h"
#include "os/rundir.h"
#include "os/clock.h"

/* Where Open vSwitch keeps its pidfiles unless $OVS_RUNDIR says other. */
#define OVS_RUNDIR "/var/run/openvswitch"

enum { CONNECT_MS = 5000, TRY_AGAIN_MS = 2000, PAUSE_MS = 10 };

static bool
is_live(const char *rundir, const char *file)
{
    char path[RV_RUNDIR_PATH + 300];
    pid_t pid;
    snprintf(path, sizeof path, "%s/%s", rundir, file);
    return !rv_pidfile_read(path, &pid);
}

/* Finds the only one running in the runtime folder. */
static int
find_only(const char *rundir, char name[256])
{
    DIR *folder = opendir(rundir);
    const struct dirent *entry;
    struct rv_buf names;
    int n = 0;
    rv_buf_init(&names, 1024);
    while (folder && (entry = readdir(folder))) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && length < 256
            && !strcmp(entry->d_name + length - 4, ".pid")
            && is_live(rundir, entry->d_name)) {
            snprintf(name, 256, "%.*s", (int)length - 4, entry->d_name);
            rv_buf_printf(&names, "%s%s", n ? ", " : "", name);
            n++;
        }
    }
    if (folder) {
        closedir(folder);
    }
    int status = RV_EXIT_OK;
    if (!n) {
        status = rv_cli_fail(RV_EXIT_NOT_RUNNING,
                             "none is running in %s; -R FOLDER looks in "
                             "another folder",
                             rundir);
    } else if (n > 1) {
        status = rv_cli_fail(RV_EXIT_USAGE,
                             "%d are running in %s: %s; choose one with -t "
                             "NAME",
                             n, rundir, rv_buf_string(&names));
    }
    rv_buf_deinit(&names);
    return status;
}

/* The name and the folder that a configuration file stands for. */
static int
from_config(const char *path, char name[256], char rundir[RV_RUNDIR_PATH])
{
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    struct rv_error error;
    int status = RV_EXIT_OK;
    rv_conf_errors_init(&errors);
    if (rv_conf_read_file(path, &conf, &errors)) {
        fputs(rv_buf_string(&errors.text), stderr);
        status = RV_EXIT_CONFIGURATION;
    } else if (rv_rundir_path(conf->runtime_dir, rundir, &error)) {
        status = rv_cli_fail(RV_EXIT_CONFIGURATION, "%s", error.text);
    } else {
        snprintf(name, 256, "%s", conf->name);
    }
    rv_conf_errors_deinit(&errors);
    rv_conf_destroy(conf);
    return status;
}

static int
connect_once(const char *name, const char *rundir,
             struct rv_unixctl_client *client, struct rv_error *error)
{
    struct rv_buf path;
    rv_buf_init(&path, 4096);
    int rc = rv_unixctl_resolve(name, rundir, &path, error);
    if (!rc) {
        rc =
            rv_unixctl_client_open_block(client, path.data, CONNECT_MS, error);
    }
    rv_buf_deinit(&path);
    return rc;
}

static void
pause_briefly(void)
{
    struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    nanosleep(&pause, NULL);
}

/* As connect_once; what is not running here may be a daemon of Open vSwitch,
 * whose runtime folder is another. */
static int
connect_any(const char *name, const char *rundir, bool may_be_foreign,
            struct rv_unixctl_client *client, struct rv_error *error)
{
    int rc = connect_once(name, rundir, client, error);
    if (rc == -ENOENT && may_be_foreign && name[0] != '/') {
        const char *other = getenv("OVS_RUNDIR");
        other = other && *other ? other : OVS_RUNDIR;
        if (!connect_once(name, other, client, NULL)) {
            return 0;
        }
    }
    return rc;
}

/* A keeper that was just replaced has another pid, and so another socket: a
 * moment later it is there. */
static int
connect_name(const char *name, const char *rundir, bool may_be_foreign,
             struct rv_unixctl_client *client)
{
    struct rv_error error = {.code = 0};
    int64_t end_ms = rv_clock_ms() + TRY_AGAIN_MS;
    bool was_there = false;
    for (;;) {
        int rc = connect_any(name, rundir, may_be_foreign, client, &error);
        if (!rc) {
            return RV_EXIT_OK;
        }
        was_there = was_there || rc == -ECONNREFUSED || rc == -ECONNRESET
                    || rc == -ESRCH;
        if (!was_there || rc == -EACCES || name[0] == '/'
            || rv_clock_ms() > end_ms) {
            bool is_absent =
                rc == -ENOENT || rc == -ESRCH || rc == -ECONNREFUSED;
            return rv_cli_fail(is_absent ? RV_EXIT_NOT_RUNNING
                                         : RV_EXIT_FAILED,
                               "%s", error.text);
        }
        pause_briefly();
    }
}

int
rv_cli_connect(const struct rv_cli_target *target,
               struct rv_unixctl_client *client)
{
    char name[256] = "", rundir[RV_RUNDIR_PATH];
    struct rv_error error;
    if (rv_rundir_path(NULL, rundir, &error)) {
        return rv_cli_fail(RV_EXIT_FAILED, "%s", error.text);
    }
    if (target->name) {
        return connect_name(target->name, rundir, target->may_be_foreign,
                            client);
    }
    int status = target->config ? from_config(target->config, name, rundir)
                                : find_only(rundir, name);
    return status ? status : connect_name(name, rundir, false, client);
}
