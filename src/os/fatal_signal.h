/* The part of reeve/fatal_signal.h that a monitor needs: files of a process
 * that was killed by SIGKILL, which nothing in it could catch.
 *
 * Room: os.  Blocks: never.
 */
#ifndef RV_OS_FATAL_SIGNAL_H
#define RV_OS_FATAL_SIGNAL_H

#include <sys/types.h>

#include "reeve/fatal_signal.h"

/* Makes the table common to this process and those that it forks from now on:
 * each sees what the others have named.  The files named so far stay named.
 * Stays so until the process ends.  -ENOMEM. */
int rv__fatal_signal_share(void) RV_MUST_CHECK;

/* Unlinks what 'pid' had named, and forgets it: after its death, and before
 * it is collected, so that the number is still its own. */
void rv__fatal_signal_unlink_files_of(pid_t self);

#endif
