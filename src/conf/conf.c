#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "conf/report.h"

/* The largest file that is read. */
enum { FILE_MAX = 4 << 20 };

static void
deinit_service(struct rv_conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++) {
        free(service->listens[i].name);
    }
    free(service->listens);
    for (size_t i = 0; i < service->n_zones; i++) {
        free(service->zones[i].name);
    }
    free(service->zones);
    rv_str_vector_free(service->command);
    rv_str_vector_free(service->environment);
    rv_str_vector_free(service->probe_command);
    free(service->name);
    free(service->directory);
    free(service->user);
    free(service->group);
    free(service->probe_path);
    free(service->out.path);
    free(service->err.path);
}

void
rv_conf_destroy(struct rv_conf *conf)
{
    if (!conf) {
        return;
    }
    for (size_t i = 0; i < conf->n_services; i++) {
        deinit_service(&conf->services[i]);
    }
    free(conf->services);
    for (size_t i = 0; i < conf->n_zones; i++) {
        free(conf->zones[i].name);
        free(conf->zones[i].tag);
        free(conf->zones[i].file);
    }
    free(conf->zones);
    free(conf->name);
    free(conf->runtime_dir);
    free(conf->log_file);
    free(conf);
}

struct rv_conf_service *
rv_conf_find_service(const struct rv_conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_services; i++) {
        if (!strcmp(conf->services[i].name, name)) {
            return &conf->services[i];
        }
    }
    return NULL;
}

struct rv_conf_zone *
rv_conf_find_zone(const struct rv_conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_zones; i++) {
        if (!strcmp(conf->zones[i].name, name)) {
            return &conf->zones[i];
        }
    }
    return NULL;
}

/* Files. */

/* Appends all of 'fd' to 'text', whose maximum is the largest file. */
static int
read_all(int fd, struct rv_buf *text)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        int rc = rv_buf_put(text, chunk, (size_t)n);
        if (rc) {
            return rc == -EMSGSIZE ? -EFBIG : rc;
        }
    }
}

/* A descriptor of a regular file: nothing else may make the master wait. */
static int
open_file(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    int rc = fstat(fd, &status) < 0    ? -errno
             : S_ISDIR(status.st_mode) ? -EISDIR
             : S_ISREG(status.st_mode) ? 0
                                       : -ENOTSUP;
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

static int
read_file(const char *path, struct rv_buf *text)
{
    int fd = open_file(path);
    if (fd < 0) {
        return fd;
    }
    int rc = read_all(fd, text);
    close(fd);
    return rc;
}

/* The absolute folder of 'path', for the caller to free; NULL without memory
 * or if it is gone. */
static char *
folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
    char *absolute = folder ? realpath(folder, NULL) : NULL;
    free(folder);
    return absolute;
}

static int
complain(const char *path, int code, struct rv_conf_errors *errors)
{
    struct rv_error error;
    if (code == -EFBIG) {
        rv_error_set(&error, code,
                     "the file is larger than %d MiB; that cannot be a "
                     "configuration",
                     FILE_MAX >> 20);
    } else if (code == -ENOTSUP) {
        rv_error_set(&error, code,
                     "this is not a regular file; name one that is");
    } else {
        rv_error_set(&error, code,
                     "the file cannot be read: %s; check the path and its "
                     "permissions",
                     strerror(-code));
    }
    rv__conf_errors_add(errors, path, (struct rv_conf_place){0, 0},
                        error.text);
    return code;
}

int
rv_conf_read_file(const char *path, struct rv_conf **confp,
                  struct rv_conf_errors *errors)
{
    struct rv_buf text;
    rv_buf_init(&text, FILE_MAX);
    int rc = read_file(path, &text);
    char *folder = rc ? NULL : folder_of(path);
    if (!rc && !folder) {
        rc = -errno;
    }
    if (rc) {
        complain(path, rc, errors);
    } else {
        rc = rv_conf_parse(rv_buf_string(&text), text.length, path, folder,
                           confp, errors);
    }
    free(folder);
    rv_buf_deinit(&text);
    return rc;
}
