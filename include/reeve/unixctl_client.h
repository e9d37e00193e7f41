/* The command line's side of a control socket: reeve's or Open vSwitch's.
 *
 * Room: rpc.  Runs in: command line, users' programs.  Threads: one a client.
 * Blocks: functions that end in _block, never past their timeout.
 * Source: ovs-appctl(8).
 *
 *     rc = rv_unixctl_resolve("reeve", "/run/reeve", &path, &error);
 *     rc = rv_unixctl_client_open_block(&client, path.data, 1000, &error);
 *     rc = rv_unixctl_client_call_block(&client, "scale", 2, args, 30000,
 *                                       &result, &error);
 *     if (!rc && result.is_error) { fputs(result.text, stderr); }
 *     rv_unixctl_result_deinit(&result);
 *     rv_unixctl_client_close(&client);
 *
 * In two steps, to do other things meanwhile:
 *
 *     rc = rv_unixctl_client_send_block(&client, "reload", 0, NULL, 1000,
 *                                       &error);
 *     do {
 *         poll(...client.fd for POLLIN, and other descriptors...);
 *         rc = rv_unixctl_client_receive(&client, &result, &error);
 *     } while (rc == -EAGAIN);
 *
 * Errors, but for those of connecting, which are connect(2)'s own:
 *     -ETIMEDOUT   no answer in time
 *     -ECONNRESET  the server closed the connection before the answer
 *     -EPROTO      what it sent is not an answer
 *     -EMSGSIZE    the answer is above the size limit
 * After any of these the connection is of no use any more, but for
 * -ETIMEDOUT, after which one may wait on.  An error that the server answered
 * is a success with 'is_error' set.
 */
#ifndef REEVE_UNIXCTL_CLIENT_H
#define REEVE_UNIXCTL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/error.h"
#include "reeve/json_frame.h"

RV_BEGIN_DECLARATIONS

struct rv_unixctl_client {
    int fd; /* Owned; -1 when closed. */
    int64_t next_id;
    size_t scanned; /* Bytes of 'input' that 'frame' has seen. */
    struct rv_json_frame frame;
    struct rv_buf input;
};

/* An answer: either 'text' or 'json' is set, an error always has 'text'. */
struct rv_unixctl_result {
    bool is_error;
    char *text;   /* Owned. */
    json_t *json; /* Owned; a result that is not a string. */
};

/* Connects to the socket at 'path', of any length.  -ETIMEDOUT when it takes
 * no connection in 'timeout_ms'; else the error of connect(2), such as
 * -ENOENT, -ECONNREFUSED, -EACCES. */
int rv_unixctl_client_open_block(struct rv_unixctl_client *client,
                                 const char *path, int timeout_ms,
                                 struct rv_error *error) RV_MUST_CHECK;

/* Closes and frees.  Idempotent. */
void rv_unixctl_client_close(struct rv_unixctl_client *client);

/* Sends one request. */
int rv_unixctl_client_send_block(struct rv_unixctl_client *client,
                                 const char *command, size_t n_args,
                                 const char *const args[], int timeout_ms,
                                 struct rv_error *error) RV_MUST_CHECK;

/* Takes the answer to the last request sent, without waiting: -EAGAIN, without
 * a text, when it is not there yet.  Answers to requests before it, and
 * notifications, are skipped.  The caller frees '*result'. */
int rv_unixctl_client_receive(struct rv_unixctl_client *client,
                              struct rv_unixctl_result *result,
                              struct rv_error *error) RV_MUST_CHECK;

/* As rv_unixctl_client_receive, waiting at most 'timeout_ms' (-1: for ever).
 */
int rv_unixctl_client_wait_block(struct rv_unixctl_client *client,
                                 int timeout_ms,
                                 struct rv_unixctl_result *result,
                                 struct rv_error *error) RV_MUST_CHECK;

/* Sends and waits; 'timeout_ms' (-1: none) is for both together. */
int rv_unixctl_client_call_block(struct rv_unixctl_client *client,
                                 const char *command, size_t n_args,
                                 const char *const args[], int timeout_ms,
                                 struct rv_unixctl_result *result,
                                 struct rv_error *error) RV_MUST_CHECK;

/* Frees what an answer holds.  Idempotent. */
void rv_unixctl_result_deinit(struct rv_unixctl_result *result);

/* Appends to 'path' the socket of 'target', which is one of
 *     "/a/path"              that socket
 *     "NAME"                 the daemon with the pidfile RUNDIR/NAME.pid
 *     "NAME.pid"             the same
 *     "FOLDER/NAME.pid"      the daemon with that pidfile
 * Of the last three the pid is read from the pidfile, which that very process
 * must hold locked, and the path is that of NAME.PID.ctl in the same folder.
 * -ENOENT: no pidfile; -ESRCH: one left behind by a process that is gone;
 * -EINVAL: not a pidfile; -EMSGSIZE, -ENOMEM of the buffer; else the error of
 * open(2). */
int rv_unixctl_resolve(const char *target, const char *rundir,
                       struct rv_buf *path, struct rv_error *error)
    RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif
