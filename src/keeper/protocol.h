/* What keeper and master say to each other.
 *
 * Room: keeper.  One SOCK_SEQPACKET pair; every message is one packet that is
 * one struct rv_keeper_frame, with at most one descriptor.  The frame's size
 * is the protocol's version: a keeper replaces itself by exec together with
 * its master's binary, so both ends are always of one build.
 */
#ifndef RV_KEEPER_PROTOCOL_H
#define RV_KEEPER_PROTOCOL_H

#include <stdint.h>

#include "reeve/base.h"

/* The master learns its end of the pair by this variable: "FD". */
#define RV_KEEPER_VARIABLE "REEVE_KEEPER"
/* A process that takes the keeper's place learns its store by this one: the
 * number of a memfd that holds struct rv_keeper_entry after entry. */
#define RV_KEEPER_HEIR_VARIABLE "REEVE_KEEPER_HEIR"

enum { RV_KEEPER_NAME = 128, RV_KEEPER_TEXT = 208 };

enum rv_keeper_verb {
    /* Master to keeper. */
    RV_KEEPER_PUT = 1, /* Store the descriptor under the name 'text'. */
    RV_KEEPER_DROP,    /* Close the one of that name. */
    RV_KEEPER_LIST,    /* Send all. */
    RV_KEEPER_CLAIM,   /* Claim the pidfile at the path 'text'. */
    RV_KEEPER_STARTED, /* The service is up: let the starter go. */
    RV_KEEPER_LEAVING, /* The master ends for good with 'value'. */
    RV_KEEPER_HANDLED, /* The signal 'value' was seen. */

    /* Keeper to master. */
    RV_KEEPER_ENTRY = 64, /* One stored descriptor. */
    RV_KEEPER_END,        /* No more entries. */
    RV_KEEPER_CLAIMED,    /* 'value': 0 or -errno; 'pid': the holder. */
    RV_KEEPER_EXITED,     /* An orphan: 'pid', 'start_time', 'value'. */
    RV_KEEPER_SIGNAL,     /* 'value': a signal meant for the service. */
};

struct rv_keeper_frame {
    uint32_t verb;
    int32_t value;
    int32_t pid;
    int32_t n_restarts; /* END: masters started before this one, and in 'value'
                           how the last of them ended, as wait(2) says it. */
    uint64_t start_time;
    char text[RV_KEEPER_TEXT];
};

struct rv_keeper_entry {
    int32_t fd;
    char name[RV_KEEPER_NAME];
};

#endif
