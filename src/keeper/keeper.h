/* The keeper: holds the descriptors, keeps a master running, forwards signals.
 *
 * Room: keeper.  Runs in: the process in the pidfile; PID 1 in a container.
 * Links libc alone.  Allocates nothing after rv_keeper_run() has started.
 *
 * The keeper knows no configuration.  It starts a master, which asks for the
 * store and decides everything; when the master dies, it starts another, at
 * once the first time, then with doubling delays while masters die young, and
 * never gives up.  Meanwhile workers serve on; those that lose their parent
 * become the keeper's children (it is a subreaper), and it reports how they
 * end.
 *
 * When the keeper itself is killed, the master takes its place by exec: it
 * stays the parent of its workers, and so becomes the new master's ancestor
 * and subreaper, which a process started later could never be.  It hands the
 * store to itself over that exec (RV_KEEPER_HEIR_VARIABLE).
 */
#ifndef RV_KEEPER_KEEPER_H
#define RV_KEEPER_KEEPER_H

#include <stdbool.h>

#include "reeve/base.h"

struct rv_keeper_options {
    char **argv; /* The master is started with these. */
    /* Where to write one byte, the exit status, when the service is up or
     * will never be (0 is up); -1: nobody waits.  Consumed. */
    int starter_fd;
    bool detach; /* Let go of the terminal once the service is up. */
    int heir_fd; /* The store of a keeper that died; -1.  Consumed. */
};

/* Runs until the service has ended; the exit status for main(). */
int rv_keeper_run(const struct rv_keeper_options *options);

#endif
