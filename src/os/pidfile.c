#include "os/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "os/fd.h"

enum { PATH_BYTES = 512 };

/* Takes the write lock; -EEXIST and the holder if someone has it. */
static int
lock_file(int fd, pid_t *holderp)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!fcntl(fd, F_SETLK, &lock)) {
        return 0;
    }
    if (errno != EACCES && errno != EAGAIN) {
        return -errno;
    }
    lock.l_type = F_WRLCK;
    if (!fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK) {
        *holderp = lock.l_pid;
    }
    return -EEXIST;
}

/* -EEXIST if the file at 'path' is held; 0 if it is stale or absent. */
static int
check_holder(const char *path, pid_t *holderp)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    int rc = lock_file(fd, holderp);
    rv_fd_close(&fd);
    return rc;
}

static int
write_pid(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0)) {
        return -errno;
    }
    return rv_fd_write_all(fd, text, (size_t)n);
}

/* Whether the name 'path' still leads to the file behind 'fd'. */
static bool
is_same_file(const char *path, int fd)
{
    struct stat ours, theirs;
    return !fstat(fd, &ours) && !lstat(path, &theirs)
           && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* Opens and locks the file 'temporary', which stays there while it is held. */
static int
open_temporary(const char *temporary, int *fdp, pid_t *holderp)
{
    for (;;) {
        int fd =
            open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0) {
            return -errno;
        }
        int rc = lock_file(fd, holderp);
        if (!rc && is_same_file(temporary, fd)) {
            *fdp = fd;
            return 0;
        }
        rv_fd_close(&fd);
        if (rc) {
            return rc;
        }
        /* Whoever had it renamed or removed it between open and lock. */
    }
}

/* Writes the pid and gives the file its name.  Consumes 'fd' on failure. */
static int
publish(const char *temporary, const char *path, int fd, int *fdp)
{
    int rc = write_pid(fd);
    if (!rc && rename(temporary, path)) {
        rc = -errno;
    }
    if (rc) {
        unlink(temporary);
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

int
rv_pidfile_claim(const char *path, int *fdp, pid_t *holderp)
{
    char temporary[PATH_BYTES];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return -ENAMETOOLONG;
    }
    /* Who holds the lock of the temporary file may decide about the other. */
    int fd = -1;
    int rc = open_temporary(temporary, &fd, holderp);
    if (rc) {
        return rc;
    }
    rc = check_holder(path, holderp);
    if (rc) {
        unlink(temporary);
        rv_fd_close(&fd);
        return rc;
    }
    return publish(temporary, path, fd, fdp);
}

int
rv_pidfile_overwrite(const char *path, int *fdp)
{
    char temporary[PATH_BYTES];
    pid_t holder = 0;
    int n =
        snprintf(temporary, sizeof temporary, "%s.tmp%d", path, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return -ENAMETOOLONG;
    }
    int fd = -1;
    int rc = open_temporary(temporary, &fd, &holder);
    return rc ? rc : publish(temporary, path, fd, fdp);
}

void
rv_pidfile_release(const char *path, int *fdp)
{
    if (*fdp >= 0 && is_same_file(path, *fdp)) {
        unlink(path);
    }
    rv_fd_close(fdp);
}

int
rv_pidfile_read(const char *path, pid_t *pidp)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    char text[32] = "";
    int64_t pid = 0;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ssize_t n = read(fd, text, sizeof text - 1);
    int rc = fcntl(fd, F_GETLK, &lock) ? -errno : 0;
    rv_fd_close(&fd);
    if (rc) {
        return rc;
    }
    if (n > 0 && text[n - 1] == '\n') {
        text[n - 1] = '\0';
    }
    if (rv_str_parse_integer(text, &pid) || pid <= 0 || pid > INT32_MAX) {
        return -EINVAL;
    }
    if (lock.l_type == F_UNLCK || lock.l_pid != pid) {
        return -ESRCH;
    }
    *pidp = (pid_t)pid;
    return 0;
}
