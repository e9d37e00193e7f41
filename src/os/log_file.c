#include "reeve/log_outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reeve/coverage.h"
#include "os/fd.h"

enum { FORMATTED_BYTES = 7168 };

RV_COVERAGE_DEFINE(log_file_dropped);

struct log_file {
    int fd;
    bool is_cut; /* What was written last ends within a line. */
    char path[]; /* The allocation goes on. */
};

static int
open_path(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | O_NONBLOCK, 0640);
    if (fd < 0) {
        return -errno;
    }
    return fd;
}

static void
write_line(const struct rv_log_line *line, void *file_)
{
    struct log_file *file = file_;
    char text[FORMATTED_BYTES] = "\n";
    size_t skip = file->is_cut; /* A newline that ends the torn line. */
    size_t length = skip
                    + rv_log_format(rv_log_get_pattern(RV_LOG_FILE), line,
                                    text + skip, sizeof text - skip - 1);
    text[length++] = '\n';
    ssize_t n = write(file->fd, text, length);
    if (n > 0) {
        file->is_cut = text[n - 1] != '\n';
    }
    if (n < (ssize_t)length) {
        RV_COVERAGE_INC(log_file_dropped);
    }
}

static int
reopen_file(void *file_)
{
    struct log_file *file = file_;
    int fd = open_path(file->path);
    if (fd < 0) {
        return fd;
    }
    rv_fd_close(&file->fd);
    file->fd = fd;
    file->is_cut = false;
    return 0;
}

static void
close_file(void *file_)
{
    struct log_file *file = file_;
    rv_fd_close(&file->fd);
}

/* The default path, in 'path'. */
static void
default_path(char *path, size_t size)
{
    const char *folder = getenv("OVS_LOGDIR");
    snprintf(path, size, "%s/%s.log",
             folder && folder[0] ? folder : "/var/log", rv_log_get_program());
}

int
rv_log_open_file(const char *path, struct rv_error *error)
{
    char own_path[4096];
    if (!path) {
        default_path(own_path, sizeof own_path);
        path = own_path;
    }
    size_t size = strlen(path) + 1;
    struct log_file *file = malloc(sizeof *file + size);
    if (!file) {
        return rv_error_errno(error, -ENOMEM, "log file %s", path);
    }
    file->is_cut = false;
    memcpy(file->path, path, size);
    file->fd = open_path(path);
    if (file->fd < 0) {
        int rc = rv_error_errno(error, file->fd,
                                "failed to open %s for logging", path);
        free(file);
        return rc;
    }
    RV_COVERAGE_REGISTER(log_file_dropped);
    struct rv_log_outlet outlet = {
        .write = write_line,
        .reopen = reopen_file,
        .close = close_file,
        .destroy = free,
        .context = file,
    };
    rv_log_set_outlet(RV_LOG_FILE, &outlet);
    return 0;
}

const char *
rv_log_file_path(void)
{
    const struct rv_log_outlet *outlet = rv_log_get_outlet(RV_LOG_FILE);
    if (!outlet || outlet->write != write_line) {
        return NULL;
    }
    const struct log_file *file = outlet->context;
    return file->path;
}
