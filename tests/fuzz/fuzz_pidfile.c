/* Any bytes as a pidfile, for both who read one.
 *
 * Nobody holds its lock, so that no pid may come out of it, whatever it
 * says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/pidfile.h"
#include "reeve/unixctl_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_resolve(const char *folder)
{
    struct rv_buf path;
    struct rv_error error = {.text = ""};
    rv_buf_init(&path, 1000);
    int rc = rv_unixctl_resolve("fuzz", folder, &path, &error);
    RV_ASSERT(rc == -EINVAL || rc == -ESRCH);
    RV_ASSERT(error.code == rc && strstr(error.text, "fuzz.pid"));
    RV_ASSERT(!strchr(error.text, '\n') && !path.length);
    rv_buf_deinit(&path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[] = "/tmp/rv-fuzz-XXXXXX";
    char path[sizeof folder + 16];
    RV_ASSERT(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fuzz.pid", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    RV_ASSERT(fd >= 0);
    RV_ASSERT(!rv_fd_write_all(fd, data, size));
    close(fd);
    pid_t pid = -77;
    int rc = rv_pidfile_read(path, &pid);
    RV_ASSERT(rc == -EINVAL || rc == -ESRCH);
    RV_ASSERT(pid == -77);
    check_resolve(folder);
    unlink(path);
    rmdir(folder);
    return 0;
}
