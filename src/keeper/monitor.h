/* What a monitor does next: the policy of rv_daemon_start_block(), pure.
 *
 * Room: keeper.  Blocks: never; makes no system call and reads no clock.
 *
 *     action = rv__monitor_step(&monitor, &policy, &event, now_ms, random);
 *
 *              FORKED          READY
 *     WAITING ---------> STARTING ---> RUNNING
 *        ^  ^                |            |
 *        |  +--- died -------+            |
 *        +------ died --------------------+--- wanted ---> OVER
 *
 * WAITING is also the beginning.  Before the first READY a death is a FAILURE
 * of the start, and OVER.
 */
#ifndef RV_KEEPER_MONITOR_H
#define RV_KEEPER_MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/process.h"

enum rv__monitor_phase {
    RV__MONITOR_WAITING, /* No daemon; the next is due at 'start_at_ms'. */
    RV__MONITOR_STARTING,
    RV__MONITOR_RUNNING,
    RV__MONITOR_OVER,
};

/* As in struct rv_daemon_options. */
struct rv__monitor_policy {
    int64_t min_backoff_ms, max_backoff_ms, stable_ms;
};

struct rv__monitor {
    enum rv__monitor_phase phase;
    pid_t pid;        /* While STARTING and RUNNING. */
    bool was_ready;   /* The first start succeeded. */
    bool is_stopping; /* TERM, INT or QUIT was forwarded. */
    bool had_core;
    unsigned int n_crashes;  /* In all. */
    unsigned int n_failures; /* Since the last stable life. */
    int64_t started_ms;
    int64_t start_at_ms;
    pid_t last_pid; /* Who died last, and how. */
    struct rv_process_end last_end;
};

enum rv__monitor_event_type {
    RV__MONITOR_FORKED,     /* 'pid' was started. */
    RV__MONITOR_NOT_FORKED, /* It could not be. */
    RV__MONITOR_READY,      /* The daemon is complete. */
    RV__MONITOR_ENDED,      /* The daemon died: 'end'. */
    RV__MONITOR_SIGNALLED,  /* 'signal' came for it. */
    RV__MONITOR_DUE,        /* Time has passed, perhaps enough. */
};

struct rv__monitor_event {
    enum rv__monitor_event_type type;
    pid_t pid;
    int signal;
    struct rv_process_end end;
};

enum rv__monitor_action {
    RV__MONITOR_NOTHING,
    RV__MONITOR_START,    /* Fork a daemon; answer with (NOT_)FORKED. */
    RV__MONITOR_ANNOUNCE, /* Tell the launcher that the daemon is up. */
    RV__MONITOR_FORWARD,  /* Send the signal to the daemon. */
    RV__MONITOR_CRASHED,  /* It will be started again: say so. */
    RV__MONITOR_LEAVE,    /* It ended as it was asked to: so do we. */
    RV__MONITOR_FAIL,     /* The first start failed. */
};

/* The beginning: a daemon is due at once. */
void rv__monitor_init(struct rv__monitor *monitor, int64_t now_ms);

/* Takes an event in; 'random' is for the jitter of delays. */
enum rv__monitor_action rv__monitor_step(
    struct rv__monitor *monitor, const struct rv__monitor_policy *policy,
    const struct rv__monitor_event *event, int64_t now_ms, uint64_t random);

/* How long to wait for an event: milliseconds until DUE, -1 for ever. */
int rv__monitor_timeout(const struct rv__monitor *monitor, int64_t now_ms);

enum { RV__MONITOR_TEXT = 160 };

/* Writes "healthy", or "2 crashes: pid 7 died, killed (Aborted)". */
const char *rv__monitor_text(const struct rv__monitor *monitor,
                             char text[RV__MONITOR_TEXT]);

#endif
