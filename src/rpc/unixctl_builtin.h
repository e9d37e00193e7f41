/* The commands that every control socket has.
 *
 * Room: rpc.  Runs in: master.  Blocks: never.
 * Source: Open vSwitch's lib/unixctl.c.
 */
#ifndef RV_RPC_UNIXCTL_BUILTIN_H
#define RV_RPC_UNIXCTL_BUILTIN_H

#include "reeve/unixctl.h"

/* Registers list-commands, help, version, set-options and the commands of
 * rpc/unixctl_log.h.  Errors as rv_unixctl_register. */
int rv_unixctl_builtin_register(struct rv_unixctl_server *server)
    RV_MUST_CHECK;

#endif
