/* Resource limits.
 *
 * Room: os.  Source: getrlimit(2).
 */
#ifndef RV_OS_RLIMIT_H
#define RV_OS_RLIMIT_H

#include <sys/resource.h>

#include "reeve/base.h"

/* Raises the soft limit of open descriptors to the hard one, for a process
 * that holds them for others.  The soft limit that was there before is kept in
 * the environment (REEVE_NOFILE), because workers should get it back. */
void rv_rlimit_raise_nofile(void);

/* The soft limit of open descriptors as it was before it was raised. */
rlim_t rv_rlimit_original_nofile(void);

#endif
