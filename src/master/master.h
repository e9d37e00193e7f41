/* The master: reads the configuration, owns sockets and workers, decides.
 *
 * Room: master.  Runs in: master.  Blocks: only while it starts.
 *
 * There is one way to start a master: from the keeper's store.  An empty store
 * is a cold start; a full one is a restart after a crash.
 */
#ifndef RV_MASTER_MASTER_H
#define RV_MASTER_MASTER_H

#include <stdbool.h>
#include <stddef.h>

#include "reeve/base.h"

/* Exit statuses of reeve, as documented in reeve(1). */
enum {
    RV_EXIT_OK = 0,
    RV_EXIT_FAILED = 1,
    RV_EXIT_NOT_RUNNING = 3,
    RV_EXIT_USAGE = 64,
    RV_EXIT_CONFIGURATION = 78,
};

struct rv_master_options {
    char **argv;             /* To exec ourselves with; borrowed. */
    const char *config_path; /* Absolute; NULL: 'config_text'. */
    const char *config_text; /* Made from the command line. */
    const char *directory;   /* For relative paths in 'config_text'. */
    int keeper_fd;           /* Consumed. */
    bool must_start;         /* `reeve start`: give up when a worker fails. */
    bool is_daemon;          /* Let go of the terminal once started. */
    bool take_over;          /* Stop the workers of a reeve that is gone. */
};

/* Runs until the service ends; the exit status for main(). */
int rv_master_run(const struct rv_master_options *options);

/* `reeve run --single`: replaces this process by worker 0 of the first
 * service, without keeper and master.  Returns only on failure. */
int rv_master_run_single(const struct rv_master_options *options);

#endif
