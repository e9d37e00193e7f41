#include "rpc/unixctl_listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/rundir.h"
#include "reeve/buf.h"

enum { PATH_MAX_BYTES = 4096, DEFAULT_MODE = 0600 };

static bool
has_prefix(const char *name, const char *prefix)
{
    return !strncmp(name, prefix, strlen(prefix));
}

static bool
is_network(const char *name)
{
    return has_prefix(name, "ptcp:") || has_prefix(name, "pssl:");
}

/* Appends the runtime folder, by a path that stays right after a change of
 * folder. */
static int
put_rundir(struct rv_buf *path, const struct rv_unixctl_options *options,
           bool is_default, struct rv_error *error)
{
    char rundir[RV_RUNDIR_PATH];
    int rc = rv_rundir_path(options->rundir, rundir, error);
    if (!rc && is_default) {
        rc = rv_rundir_create(rundir, error);
    }
    if (!rc && rundir[0] != '/') {
        char *folder = realpath(rundir, NULL);
        rc = folder ? rv_buf_puts(path, folder) : -errno;
        free(folder);
        if (rc) {
            rv_error_errno(error, rc, "runtime folder %s", rundir);
        }
        return rc;
    }
    return rc ? rc : rv_buf_puts(path, rundir);
}

/* Writes the absolute path of the socket that 'name' stands for. */
static int
put_path(struct rv_buf *path, const char *name,
         const struct rv_unixctl_options *options, struct rv_error *error)
{
    int rc = 0;
    if (!name || name[0] != '/') {
        rc = put_rundir(path, options, !name, error);
        if (rc) {
            return rc;
        }
        rv_buf_puts(path, "/");
    }
    if (name) {
        rv_buf_puts(path, name);
    } else {
        const char *program = options->program;
        rv_buf_printf(path, "%s.%d.ctl",
                      program ? program : program_invocation_short_name,
                      (int)getpid());
    }
    return path->failed ? rv_error_errno(error, -ENAMETOOLONG,
                                         "name of the control socket")
                        : 0;
}

/* Opens the unix socket that 'name' stands for. */
static int
open_unix(struct rv_unixctl_server *server, const char *name,
          const struct rv_unixctl_options *options, struct rv_error *error)
{
    static const char prefix[] = "punix:";
    struct rv_stream_options stream_options = {
        .mode = options->mode ? options->mode : DEFAULT_MODE,
        .leaves_signals = options->leaves_signals,
    };
    struct rv_buf text;
    rv_buf_init(&text, PATH_MAX_BYTES);
    int rc = rv_buf_puts(&text, prefix);
    if (!rc) {
        rc = put_path(&text, name, options, error);
    }
    char *path = rc ? NULL : strdup(text.data + strlen(prefix));
    if (!rc && !path) {
        rc = rv_error_errno(error, -ENOMEM, "control socket");
    }
    if (!rc) {
        rc = rv_pstream_open(text.data, &stream_options, &server->pstream,
                             error);
    }
    rv_buf_deinit(&text);
    if (!rc) {
        server->path = path;
        return 0;
    }
    if (rc == -EADDRINUSE) {
        rv_error_set(error, rc,
                     "cannot open control socket %s: another process listens "
                     "on it, or it is not a socket",
                     path);
    }
    free(path);
    return rc;
}

static int
open_stream(struct rv_unixctl_server *server, const char *name,
            const struct rv_unixctl_options *options, struct rv_error *error)
{
    struct rv_stream_options stream_options = {.tls = options->tls};
    if (is_network(name) && !options->allows_network) {
        return rv_error_set(error, -EPERM,
                            "cannot open control socket %s: this program "
                            "takes commands from no network",
                            name);
    }
    return rv_pstream_open(name, &stream_options, &server->pstream, error);
}

int
rv_unixctl_server_open(struct rv_unixctl_server *server, struct rv_loop *loop,
                       const char *name,
                       const struct rv_unixctl_options *options,
                       struct rv_error *error)
{
    const struct rv_unixctl_options no_options = {.mode = 0};
    const struct rv_unixctl_limits default_limits = RV_UNIXCTL_LIMITS;
    RV_ASSERT(!server->loop);
    options = options ? options : &no_options;
    if (name && !strcmp(name, "none")) {
        return 0;
    }
    int rc;
    if (name && has_prefix(name, "punix:")) {
        rc = open_unix(server, name + strlen("punix:"), options, error);
    } else if (name && (has_prefix(name, "pfd:") || is_network(name))) {
        rc = open_stream(server, name, options, error);
    } else {
        rc = open_unix(server, name, options, error);
    }
    if (rc) {
        return rc;
    }
    const struct rv_unixctl_limits *limits =
        options->limits ? options->limits : &default_limits;
    rc = rv_unixctl_server_start(server, loop, rv_pstream_fd(server->pstream),
                                 limits);
    if (rc) {
        rv__unixctl_unlisten(server);
        return rv_error_errno(error, rc, "control socket");
    }
    server->allows_network = options->allows_network;
    return 0;
}

const char *
rv_unixctl_server_path(const struct rv_unixctl_server *server)
{
    return server->path;
}

void
rv__unixctl_unlisten(struct rv_unixctl_server *server)
{
    rv_pstream_close(server->pstream);
    free(server->path);
    server->pstream = NULL;
    server->path = NULL;
    server->allows_network = false;
}
