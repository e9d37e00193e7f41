/* `reeve run --single`: one worker in the foreground, in this very process,
 * with neither keeper nor master, for a debugger or a profiler. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/listen.h"

static int
read_configuration(const struct rv_master_options *options,
                   struct rv_conf **confp)
{
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = options->config_path
                 ? rv_conf_read_file(options->config_path, confp, &errors)
                 : rv_conf_parse(options->config_text,
                                 strlen(options->config_text), "command line",
                                 options->directory, confp, &errors);
    fputs(rv_buf_string(&errors.text), stderr);
    rv_conf_errors_deinit(&errors);
    return rc;
}

/* Opens the sockets of a master that nobody keeps: its store is closed. */
static int
open_sockets(struct rv__master *master, const struct rv_conf *conf,
             struct rv_error *error)
{
    struct rv__zones_source source = {.may_grow = true};
    rv_list_init(&master->sockets);
    rv_list_init(&master->zones);
    rv_list_init(&master->entries);
    rv_list_init(&master->outputs);
    rv_keeper_client_init(&master->keeper, -1);
    int rc = rv_pool_create(conf->max_processes, 0, &master->pool);
    rc = rc ? rc : rv__sockets_open(master, conf, error);
    rc = rc ? rc : rv__zones_open(master, conf, &source, error);
    rv__zones_commit(master);
    return rc;
}

/* Writes the program's output where ours goes, and gives it the go at once.
 * Nobody reads what it reports through the end of a pipe that is not for
 * writing, so it says on standard error why it cannot start. */
static void
exec_worker(struct rv__launch *launch)
{
    int fds[2];
    char go = 'g';
    launch->out_fd = STDOUT_FILENO;
    launch->err_fd = STDERR_FILENO;
    if (!pipe2(fds, O_CLOEXEC) && write(fds[1], &go, 1) == 1) {
        launch->go_fd = fds[0];
        rv__launch_child(launch);
    }
}

int
rv_master_run_single(const struct rv_master_options *options)
{
    struct rv_conf *conf = NULL;
    struct rv_error error = {.code = 0};
    struct rv__master *master = calloc(1, sizeof *master);
    struct rv__worker worker = {.master = master, .notify_name = ""};
    struct rv__launch launch = {.out_fd = -1, .err_fd = -1};
    if (!master || read_configuration(options, &conf)) {
        free(master);
        return RV_EXIT_CONFIGURATION;
    }
    int rc = open_sockets(master, conf, &error);
    worker.service = &conf->services[0];
    if (!rc) {
        rc = rv__launch_prepare(&worker, &launch, &error);
    }
    if (!rc) {
        exec_worker(&launch);
    }
    fprintf(stderr, "reeve: %s\n", error.text);
    rv__launch_free(&launch);
    rv__zones_release(&worker);
    rv__zones_close_all(master);
    rv__sockets_close_all(master);
    rv_pool_destroy(master->pool);
    rv_conf_destroy(conf);
    free(master);
    return RV_EXIT_FAILED;
}
