/* The control socket: named commands with text arguments, answered in text or
 * JSON, as Open vSwitch's unixctl.
 *
 * Room: rpc.  Runs in: anything with a loop.  Threads: that of its loop.
 * Blocks: never.
 * Source: ovs-appctl(8); Open vSwitch's lib/unixctl.c.
 *
 *     struct rv_unixctl_server server;
 *     rc = rv_unixctl_server_init(&server);
 *     rc = rv_unixctl_register(&server, "scale", "SERVICE N", 2, 2,
 *                              on_scale, self);
 *     rc = rv_unixctl_server_open(&server, &loop, NULL, NULL, &error);
 *     ...
 *     rv_unixctl_server_deinit(&server);
 *
 * `ovs-appctl -t PROGRAM` and `reeve ctl -t PROGRAM` then find it, if the
 * program also holds a pidfile (reeve/daemon.h) in the same folder.
 *
 * A handler answers its call exactly once, at once or later, and the answer
 * frees the call:
 *
 *     static void
 *     on_scale(struct rv_unixctl_call *call, void *self)
 *     {
 *         if (...) {
 *             rv_unixctl_reply_error(call, "no such service");
 *             return;
 *         }
 *         start_scaling(self, call);      // calls rv_unixctl_reply() later
 *     }
 *
 * A client that leaves first makes its call dead.  A dead call must still be
 * answered, at any time; the answer then goes nowhere.
 *
 * Wrong: touching a call after answering it.
 * Wrong: opening the socket before rv_daemon_start_block(): its default name
 * has the pid in it, and another process would serve it.
 *
 * One request a connection is in progress at a time; replies are in order.
 * Only the process's own effective uid and root may connect.  Whatever is not
 * a request ends the connection.  Past 'max_connections' the connection idle
 * for the longest is closed, else one that does not read its reply; if all
 * have a call in progress the new one is refused.
 *
 * Built in: list-commands (hidden alias: help), version, set-options,
 * coverage/read-counter, coverage/show, memory/show, vlog/close,
 * vlog/disable-rate-limit, vlog/enable-rate-limit, vlog/list,
 * vlog/list-pattern, vlog/reopen, vlog/set.
 */
#ifndef REEVE_UNIXCTL_H
#define REEVE_UNIXCTL_H

#include <limits.h>
#include <stdbool.h>

#include <jansson.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/error.h"
#include "reeve/list.h"
#include "reeve/loop.h"
#include "reeve/stream.h"

RV_BEGIN_DECLARATIONS

struct rv_unixctl_call;

/* Answers 'call', now or later. */
typedef void rv_unixctl_handler(struct rv_unixctl_call *call, void *context);

/* Told that the client of 'call' left.  May answer the call. */
typedef void rv_unixctl_cancelled(struct rv_unixctl_call *call, void *context);

struct rv_unixctl_limits {
    size_t max_request_bytes;
    size_t max_reply_bytes; /* A longer reply becomes an error reply. */
    unsigned int max_depth; /* Brackets within brackets of a request. */
    unsigned int max_connections;
};

/* Initialises a struct rv_unixctl_limits to the defaults. */
#define RV_UNIXCTL_LIMITS                                                  \
  {                                                                        \
    .max_request_bytes = 1024 * 1024, .max_reply_bytes = 16 * 1024 * 1024, \
    .max_depth = 64, .max_connections = 256,                               \
  }

/* Not limited above: as 'max_args' of a command. */
enum { RV_UNIXCTL_ANY_ARGS = INT_MAX };

struct rv_unixctl_command {
    const char *name;  /* Borrowed. */
    const char *usage; /* Borrowed; NULL: hidden. */
    size_t min_args, max_args;
    rv_unixctl_handler *handler;
    void *context;
};

/* How a control socket is opened; all zero is a good default.  Only read while
 * it opens, but for 'tls', of which the server has its own reference. */
struct rv_unixctl_options {
    const char *program; /* In the default name of the socket; NULL: that of
                          * the process, as program_invocation_short_name. */
    const char *rundir;  /* Folder of names without one.  NULL: $REEVE_RUNDIR,
                          * else $OVS_RUNDIR, else the system's. */
    int mode;            /* Of the socket's file; 0: 0600. */
    bool allows_network; /* ptcp: and pssl: may be opened.  Of their peers no
                          * user is known: with ptcp: everybody who reaches
                          * the port, with pssl: everybody whose certificate
                          * is trusted, may call every command. */
    bool leaves_signals; /* Do not name the socket's file to
                          * reeve/fatal_signal.h, which catches signals. */
    struct rv_tls_config *tls;              /* For pssl:. */
    const struct rv_unixctl_limits *limits; /* NULL: RV_UNIXCTL_LIMITS. */
};

struct rv_unixctl_server {
    struct rv_loop *loop; /* NULL while not started. */
    struct rv_io listener;
    struct rv_pstream *pstream; /* Opened by name; owned; NULL otherwise. */
    char *path;                 /* Of its file; owned; NULL without one. */
    bool allows_network;
    struct rv_timer retry; /* Of accepting, after it failed. */
    struct rv_unixctl_limits limits;
    struct rv_list clients; /* The one idle for the longest first. */
    unsigned int n_clients;
    uint64_t n_accepted;
    struct rv_unixctl_command *commands; /* Owned; sorted by name. */
    size_t n_commands, commands_capacity;
    char version[128];
};

/* Makes a server with the built-in commands.  -ENOMEM. */
int rv_unixctl_server_init(struct rv_unixctl_server *server) RV_MUST_CHECK;

/* Closes all connections (their calls become dead) and frees the commands.
 * Idempotent. */
void rv_unixctl_server_deinit(struct rv_unixctl_server *server);

/* Sets what `version` answers, without a newline.  Cut at 127 bytes.  Unless
 * set: the name of the process and the version of this library, as in
 * "exampled (reeve) 0.1.0". */
void rv_unixctl_server_set_version(struct rv_unixctl_server *server,
                                   const char *text);

/* Adds a command.  'name' and 'usage' must live as long as the server; a
 * command with usage NULL is not listed.  -EEXIST for a name taken, -EINVAL
 * for min_args above max_args or below 0, -ENOMEM. */
int rv_unixctl_register(struct rv_unixctl_server *server, const char *name,
                        const char *usage, int min_args, int max_args,
                        rv_unixctl_handler *handler, void *context)
    RV_MUST_CHECK;

/* Opens the control socket and accepts from it.  'name' is
 *     NULL            RUNDIR/PROGRAM.PID.ctl; the folder is made if missing
 *     "none"          nothing: success, and no socket
 *     "/a/path"       that path
 *     "a-path"        in RUNDIR
 *     "punix:", "pfd:", "ptcp:", "pssl:" and what stands behind them in
 *                     reeve/stream.h; the last two only if 'options' allow
 * The file left behind by a process that is gone is replaced.  A socket that
 * somebody listens on is not: -EADDRINUSE.  'options' may be NULL.  Errors
 * with a sentence: -EPERM for a network not allowed, or a folder that others
 * may write in; -ENAMETOOLONG, -ENOMEM, and as rv_pstream_open.
 *
 * The file goes when the server stops, and when a signal kills the process
 * (see reeve/fatal_signal.h), if it is still this one. */
int rv_unixctl_server_open(struct rv_unixctl_server *server,
                           struct rv_loop *loop, const char *name,
                           const struct rv_unixctl_options *options,
                           struct rv_error *error) RV_MUST_CHECK;

/* The absolute path of the socket that rv_unixctl_server_open made; NULL if
 * it made no file. */
const char *rv_unixctl_server_path(const struct rv_unixctl_server *server);

/* Accepts from 'listen_fd', a listening non-blocking unix stream socket that
 * stays the caller's and may come from another process.  Errors as
 * rv_io_start. */
int rv_unixctl_server_start(struct rv_unixctl_server *server,
                            struct rv_loop *loop, int listen_fd,
                            const struct rv_unixctl_limits *limits)
    RV_MUST_CHECK;

/* Stops accepting and closes all connections; their calls become dead.  What
 * rv_unixctl_server_open opened is closed, and its file removed.  The server
 * may be started again.  May be called by a handler.  Idempotent. */
void rv_unixctl_server_stop(struct rv_unixctl_server *server);

/* Serves one more connected, non-blocking unix socket, of a started server.
 * Consumes 'fd', also on failure: -EPERM for another user's, -EBUSY past the
 * limit with a call in progress on every connection, -ENOMEM. */
int rv_unixctl_server_adopt(struct rv_unixctl_server *server, int fd)
    RV_MUST_CHECK;

/* Whether no call is in progress and every reply was handed to the kernel. */
bool rv_unixctl_server_is_idle(const struct rv_unixctl_server *server);

/* The command's name as the client wrote it. */
const char *rv_unixctl_call_name(const struct rv_unixctl_call *call);

/* The arguments behind the name; 'i' below n_args.  They live as long as the
 * call. */
size_t rv_unixctl_call_n_args(const struct rv_unixctl_call *call);
const char *rv_unixctl_call_arg(const struct rv_unixctl_call *call, size_t i);

/* Whether the client asked for JSON; every answer is right in either case. */
bool rv_unixctl_call_wants_json(const struct rv_unixctl_call *call);

/* Sets the format of the call's connection, this call's answer included. */
void rv_unixctl_call_set_json(struct rv_unixctl_call *call, bool wants_json);

/* Whether the client left. */
bool rv_unixctl_call_is_dead(const struct rv_unixctl_call *call);

/* Asks to be told when the client leaves before the answer. */
void rv_unixctl_call_on_cancelled(struct rv_unixctl_call *call,
                                  rv_unixctl_cancelled *cancelled,
                                  void *context);

/* Answers with text ("" or NULL: nothing to say); a newline is added at its
 * end when it lacks one.  Towards a client that wants JSON it is wrapped:
 * {"reply-format":"plain","reply":text}.  Frees the call. */
void rv_unixctl_reply(struct rv_unixctl_call *call, const char *text);

/* Answers with the text gathered in 'text', which it frees; with an error when
 * an append to it had failed.  Frees the call. */
void rv_unixctl_reply_buf(struct rv_unixctl_call *call, struct rv_buf *text);

/* Answers with 'result', whose reference it consumes (NULL: out of memory).
 * A client that wants text gets it as indented text.  Frees the call. */
void rv_unixctl_reply_json(struct rv_unixctl_call *call, json_t *result);

/* Answers with an error, in text for every client.  Frees the call. */
void rv_unixctl_reply_error(struct rv_unixctl_call *call, const char *text);

RV_END_DECLARATIONS

#endif
