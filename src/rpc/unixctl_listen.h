/* The listener that a control socket opens by name.
 *
 * Room: rpc, for its own files only.  Runs in: anything with a loop.
 * Blocks: never.
 */
#ifndef RV_RPC_UNIXCTL_LISTEN_H
#define RV_RPC_UNIXCTL_LISTEN_H

#include "reeve/unixctl.h"

/* Closes what rv_unixctl_server_open opened, after the server has let go of
 * it.  Idempotent. */
void rv__unixctl_unlisten(struct rv_unixctl_server *server);

#endif
