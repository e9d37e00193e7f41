/* sd_notify, both ends.
 *
 * Room: os.  Blocks: never.  Source: sd_notify(3), unix(7) (autobind,
 * SCM_CREDENTIALS).
 *
 * Each worker has a socket of its own, so that one that floods it fills
 * nobody else's queue.  Its name is abstract and chosen by the kernel: nothing
 * in the file system outlives it.
 */
#ifndef RV_OS_NOTIFY_H
#define RV_OS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"

enum { RV_NOTIFY_NAME = 32, RV_NOTIFY_STATUS = 128, RV_NOTIFY_BYTES = 4096 };

/* What a datagram said; several assignments may come in one. */
struct rv_notify {
    pid_t sender;
    bool is_ready, is_reloading, is_stopping, is_watchdog, is_trigger;
    bool has_mainpid;
    bool has_status;
    char status[RV_NOTIFY_STATUS]; /* Cut short; control characters are '?'. */
    uint64_t extend_usec;          /* 0: not asked. */
    int n_unknown;                 /* Assignments we do not know. */
};

/* Opens a datagram socket and writes its NOTIFY_SOCKET value ("@..."). */
int rv_notify_open(int *fdp, char name[RV_NOTIFY_NAME]) RV_MUST_CHECK;

/* The NOTIFY_SOCKET value of a socket opened before. */
int rv_notify_name(int fd, char name[RV_NOTIFY_NAME]);

/* Receives one datagram; descriptors that come with it are closed.  -EAGAIN:
 * none; -EBADMSG: without credentials or too long, and dropped. */
int rv_notify_receive(int fd, struct rv_notify *notify);

/* Reads the text of a datagram.  Pure. */
void rv_notify_parse(const char *text, size_t length,
                     struct rv_notify *notify);

/* Connects to the socket that NOTIFY_SOCKET names; the caller owns '*fdp'.
 * -ENOENT without the variable, -EINVAL for one that is no such name, and as
 * connect(2). */
int rv_notify_connect(int *fdp) RV_MUST_CHECK;

/* Tells our own service manager, if NOTIFY_SOCKET is set.  Errors are its
 * business, not ours. */
void rv_notify_send(const char *text);

#endif
