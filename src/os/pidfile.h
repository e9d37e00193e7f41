/* Pidfiles, locked as Open vSwitch locks them, so that ovs-appctl finds us.
 *
 * Room: os.  Blocks: never (regular files only).  Source: fcntl(2) locks;
 * Open vSwitch's daemons (lib/daemon-unix.c) for the protocol.
 *
 * The lock is held by the very process whose number stands in the file, for as
 * long as it lives, and goes with it, however it dies.  A file that nobody
 * has locked is stale.  The lock belongs to process and inode: closing any
 * other descriptor of the same file would drop it, so nothing else may open
 * the file in the process that holds it.
 */
#ifndef RV_OS_PIDFILE_H
#define RV_OS_PIDFILE_H

#include <sys/types.h>

#include "reeve/base.h"

/* Creates and locks the file at 'path' with the caller's pid in it, replacing
 * a stale one.  The caller owns '*fdp', which holds the lock.  -EEXIST when a
 * living process holds it, whose pid is then in '*holderp'. */
int rv_pidfile_claim(const char *path, int *fdp, pid_t *holderp);

/* As rv_pidfile_claim, but also takes the place of a file that someone holds,
 * who keeps an unlinked file and its lock. */
int rv_pidfile_overwrite(const char *path, int *fdp) RV_MUST_CHECK;

/* Unlinks the file if it is still the one behind '*fdp', and closes that. */
void rv_pidfile_release(const char *path, int *fdp);

/* The pid in the file, if the process it names holds its lock.  -ENOENT: no
 * file; -ESRCH: stale (nobody holds it); -EINVAL: not a pidfile. */
int rv_pidfile_read(const char *path, pid_t *pidp);

#endif
