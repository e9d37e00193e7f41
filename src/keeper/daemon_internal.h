/* Between daemon.c, which starts a daemon, and guardian.c, which keeps it. */
#ifndef RV_KEEPER_DAEMON_INTERNAL_H
#define RV_KEEPER_DAEMON_INTERNAL_H

#include <sys/types.h>

#include "reeve/daemon.h"
#include "reeve/process.h"

/* Forks guard, monitor and daemon, and returns 0 in the daemon, with its
 * channel to the guardians in 'daemon'.  These use 'launcher_fd' (consumed;
 * -1: nobody waits) to report that the first start is complete.  They do not
 * return, but for an error before that. */
int rv__guardian_run(struct rv_daemon *daemon,
                     const struct rv_daemon_options *options, int launcher_fd,
                     struct rv_error *error);

/* Says over a channel that process 'pid' is complete.  -EPIPE when nobody is
 * at its other end. */
int rv__daemon_report(int channel_fd, pid_t pid);

/* The text of -ECHILD: the daemon ended like this before it was complete. */
int rv__daemon_died(const struct rv_process_end *end, struct rv_error *error);

/* Points standard input, output and error to /dev/null. */
int rv__daemon_leave_terminal(void);

#endif
