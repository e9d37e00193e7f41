#include "os/rundir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
from_environment(void)
{
    const char *path = getenv("REEVE_RUNDIR");
    if (!path || !*path) {
        path = getenv("OVS_RUNDIR");
    }
    return path && *path ? path : NULL;
}

int
rv_rundir_path(const char *configured, char path[RV_RUNDIR_PATH],
               struct rv_error *error)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    const char *base = configured ? configured : from_environment();
    int n;
    if (base) {
        n = snprintf(path, RV_RUNDIR_PATH, "%s", base);
    } else if (geteuid() == 0) {
        n = snprintf(path, RV_RUNDIR_PATH, "/run/reeve");
    } else if (xdg && *xdg) {
        n = snprintf(path, RV_RUNDIR_PATH, "%s/reeve", xdg);
    } else {
        n = snprintf(path, RV_RUNDIR_PATH, "/tmp/reeve-%u",
                     (unsigned int)geteuid());
    }
    if (n >= RV_RUNDIR_PATH) {
        return rv_error_set(error, -ENAMETOOLONG,
                            "the runtime folder's path is longer than %d "
                            "bytes; set runtime_dir to a shorter one",
                            RV_RUNDIR_PATH - 1);
    }
    return 0;
}

static int
make_folders(const char *path)
{
    char part[RV_RUNDIR_PATH];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            if (mkdir(part, 0755) && errno != EEXIST) {
                return -errno;
            }
            *p = '/';
        }
    }
    return mkdir(part, 0755) && errno != EEXIST ? -errno : 0;
}

int
rv_rundir_create(const char *path, struct rv_error *error)
{
    struct stat info;
    int rc = make_folders(path);
    if (!rc && stat(path, &info)) {
        rc = -errno;
    }
    if (rc) {
        return rv_error_errno(error, rc, "runtime folder %s", path);
    }
    if (!S_ISDIR(info.st_mode)) {
        return rv_error_set(error, -ENOTDIR,
                            "runtime folder %s is not a folder", path);
    }
    /* Others could plant sockets and pidfiles there. */
    bool is_foreign = info.st_uid != geteuid() && info.st_uid != 0;
    bool is_open = (info.st_mode & S_IWOTH) && !(info.st_mode & S_ISVTX);
    if (is_foreign || is_open) {
        return rv_error_set(error, -EPERM,
                            "runtime folder %s may be written by others; "
                            "chmod or choose another with runtime_dir",
                            path);
    }
    return 0;
}
