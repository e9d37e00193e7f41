#include "os/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

int
rv_pidfile_claim(const char *path, int *fdp, pid_t *holderp)
{
    char temporary[PATH_BYTES];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return -ENAMETOOLONG;
    }
    /* Who holds the lock of the temporary file may decide about the other. */
    int fd = open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return -errno;
    }
    int rc = lock_file(fd, holderp);
    bool is_ours = !rc;
    if (!rc) {
        rc = check_holder(path, holderp);
    }
    if (!rc) {
        rc = write_pid(fd);
    }
    if (!rc && rename(temporary, path)) {
        rc = -errno;
    }
    if (rc) {
        if (is_ours) {
            unlink(temporary);
        }
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

void
rv_pidfile_release(const char *path, int *fdp)
{
    struct stat ours, theirs;
    if (*fdp >= 0 && !fstat(*fdp, &ours) && !stat(path, &theirs)
        && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
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
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ssize_t n = read(fd, text, sizeof text - 1);
    int rc = fcntl(fd, F_GETLK, &lock) ? -errno : 0;
    rv_fd_close(&fd);
    if (rc) {
        return rc;
    }
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid <= 0 || pid > INT32_MAX) {
        return -EINVAL;
    }
    if (lock.l_type == F_UNLCK || lock.l_pid != pid) {
        return -ESRCH;
    }
    *pidp = (pid_t)pid;
    return 0;
}
