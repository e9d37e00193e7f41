/* The runtime folder: pidfiles, control sockets, the registry's copy.
 *
 * Room: os.  Blocks: never.  Source: file-hierarchy(7).
 */
#ifndef RV_OS_RUNDIR_H
#define RV_OS_RUNDIR_H

#include "reeve/base.h"
#include "reeve/error.h"

enum { RV_RUNDIR_PATH = 200 };

/* Writes the folder's path: 'configured' if not NULL, else $REEVE_RUNDIR, else
 * $OVS_RUNDIR, else /run/reeve for root, else $XDG_RUNTIME_DIR/reeve, else
 * /tmp/reeve-UID.  -ENAMETOOLONG. */
int rv_rundir_path(const char *configured, char path[RV_RUNDIR_PATH],
                   struct rv_error *error);

/* Creates the folder (mode 0755) where it is missing, and checks that nobody
 * but its owner and root may write in it.  -EPERM, and as mkdir(2). */
int rv_rundir_create(const char *path, struct rv_error *error);

#endif
