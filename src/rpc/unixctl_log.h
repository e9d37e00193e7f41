/* The commands of every control socket about logs and counters.
 *
 * Room: rpc.  Blocks: never.
 * Source: Open vSwitch's lib/vlog.c, lib/coverage.c and lib/memory.c.
 */
#ifndef RV_RPC_UNIXCTL_LOG_H
#define RV_RPC_UNIXCTL_LOG_H

#include "reeve/unixctl.h"

/* Registers vlog/..., coverage/... and memory/show.  Errors as
 * rv_unixctl_register. */
int rv_unixctl_log_register(struct rv_unixctl_server *server) RV_MUST_CHECK;

#endif
