/* The control socket: named commands with text arguments, answered in text or
 * JSON, as Open vSwitch's unixctl.
 *
 * Room: rpc.  Runs in: master.  Threads: that of its loop.  Blocks: never.
 * Source: ovs-appctl(8); Open vSwitch's lib/unixctl.c.
 *
 *     struct rv_unixctl_server server;
 *     struct rv_unixctl_limits limits = RV_UNIXCTL_LIMITS;
 *     rc = rv_unixctl_server_init(&server);
 *     rc = rv_unixctl_register(&server, "scale", "SERVICE N", 2, 2,
 *                              on_scale, self);
 *     rc = rv_unixctl_server_start(&server, &loop, listen_fd, &limits);
 *     ...
 *     rv_unixctl_server_deinit(&server);
 *     close(listen_fd);
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
 *
 * One request a connection is in progress at a time; replies are in order.
 * Only the process's own effective uid and root may connect.  Whatever is not
 * a request ends the connection.  Past 'max_connections' the connection idle
 * for the longest is closed, else one that does not read its reply; if all
 * have a call in progress the new one is refused.
 *
 * Built in: list-commands (hidden alias: help), version, set-options,
 * vlog/list, vlog/set.
 */
#ifndef REEVE_UNIXCTL_H
#define REEVE_UNIXCTL_H

#include <limits.h>
#include <stdbool.h>

#include <jansson.h>

#include "reeve/base.h"
#include "reeve/list.h"
#include "reeve/loop.h"

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

struct rv_unixctl_server {
    struct rv_loop *loop; /* NULL while not started. */
    struct rv_io listener;
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

/* Sets what `version` answers, without a newline: "reeve (reeve) 0.1.0".  Cut
 * at 127 bytes. */
void rv_unixctl_server_set_version(struct rv_unixctl_server *server,
                                   const char *text);

/* Adds a command.  'name' and 'usage' must live as long as the server; a
 * command with usage NULL is not listed.  -EEXIST for a name taken, -EINVAL
 * for min_args above max_args or below 0, -ENOMEM. */
int rv_unixctl_register(struct rv_unixctl_server *server, const char *name,
                        const char *usage, int min_args, int max_args,
                        rv_unixctl_handler *handler, void *context)
    RV_MUST_CHECK;

/* Accepts from 'listen_fd', a listening non-blocking unix stream socket that
 * stays the caller's and may come from another process.  Errors as
 * rv_io_start. */
int rv_unixctl_server_start(struct rv_unixctl_server *server,
                            struct rv_loop *loop, int listen_fd,
                            const struct rv_unixctl_limits *limits)
    RV_MUST_CHECK;

/* Stops accepting and closes all connections; their calls become dead.  The
 * server may be started again.  May be called by a handler.  Idempotent. */
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

/* Answers with 'result', whose reference it consumes (NULL: out of memory).
 * A client that wants text gets it as indented text.  Frees the call. */
void rv_unixctl_reply_json(struct rv_unixctl_call *call, json_t *result);

/* Answers with an error, in text for every client.  Frees the call. */
void rv_unixctl_reply_error(struct rv_unixctl_call *call, const char *text);

RV_END_DECLARATIONS

#endif
