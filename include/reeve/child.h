/* Other programs: start one, watch it, take its output, learn how it ended.
 *
 * Room: loop.  Threads: that of its loop.  Blocks: rv_child_start(), until
 * the program is executed, a fraction of a millisecond but for a slow file
 * system; nothing else.  Source: posix_spawn(3), pidfd_open(2), pipe(7).
 *
 *     static void
 *     on_ended(struct rv_child *child, void *self)
 *     {
 *         char text[RV_PROCESS_END_TEXT];
 *         printf("%s\n%s", rv_process_end_text(&child->end, text),
 *                rv_buf_string(&child->output));
 *         rv_child_deinit(child);
 *     }
 *     ...
 *     const char *const arguments[] = {"openssl", "version", NULL};
 *     struct rv_child_options options = {
 *         .arguments = arguments,
 *         .out = RV_CHILD_CAPTURE,
 *         .err = RV_CHILD_CAPTURE,
 *         .max_output_bytes = 65536,
 *         .timeout_ms = 5000,
 *         .on_ended = on_ended,
 *         .context = self,
 *     };
 *     rv_child_init(&child);
 *     rc = rv_child_start(&child, &loop, &options, &error);
 *
 * The program gets its three standard descriptors and no others, whatever the
 * caller has open, with all signals at their defaults.  No memory is copied
 * to start it, however large the caller is, and threads may run.
 *
 * Output that goes on after the program ended, because a program of its own
 * has the pipe still, is not waited for.
 *
 * Wrong: SIGCHLD ignored (SIG_IGN), or a waitpid(-1, ...) elsewhere in the
 * program.  The end is then collected by somebody else, and reported here as
 * exit status 255.
 */
#ifndef REEVE_CHILD_H
#define REEVE_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/error.h"
#include "reeve/loop.h"
#include "reeve/process.h"

RV_BEGIN_DECLARATIONS

struct rv_child;

/* The program has ended; 'child->end' says how, 'child->output' what it
 * wrote.  May start the child again or free it. */
typedef void rv_child_ended(struct rv_child *child, void *context);

/* The program wrote 'n' bytes to 'fd', 1 or 2.  May signal it; must not free
 * it or end it by rv_child_deinit(). */
typedef void rv_child_wrote(struct rv_child *child, int fd, const char *data,
                            size_t n, void *context);

/* What a standard descriptor of the program is. */
enum rv_child_stream {
    RV_CHILD_NULL,    /* /dev/null. */
    RV_CHILD_INHERIT, /* The caller's own. */
    RV_CHILD_FD,      /* The one given, borrowed until it has started. */
    RV_CHILD_CAPTURE, /* Comes to us; for output only. */
};

/* Everything here is borrowed, and only for the call. */
struct rv_child_options {
    const char *const *arguments;   /* The first is searched in PATH; NULL. */
    const char *const *environment; /* NULL: ours. */
    const char *directory;          /* NULL: ours. */
    enum rv_child_stream in, out, err;
    int in_fd, out_fd, err_fd; /* For RV_CHILD_FD. */
    /* A process group of its own: signals go to the programs that it starts
     * as well. */
    bool own_group;
    /* Captured bytes kept in 'output', of both streams together in the order
     * in which they came; what is beyond is read and dropped. */
    size_t max_output_bytes;
    int64_t timeout_ms;       /* Then SIGTERM; 0: as long as it takes. */
    int64_t kill_after_ms;    /* After that SIGTERM, SIGKILL; 0: 5 s. */
    rv_child_wrote *on_wrote; /* NULL, or instead of keeping the output. */
    rv_child_ended *on_ended;
    void *context;
};

/* A captured stream. */
struct rv_child_pipe {
    struct rv_io io;
    int fd; /* -1 when closed. */
    int number;
};

struct rv_child {
    pid_t pid;                 /* 0 while none runs. */
    struct rv_process_end end; /* Once it has ended. */
    struct rv_buf output;
    bool is_truncated; /* There was more than 'max_output_bytes'. */
    bool is_timed_out; /* 'timeout_ms' ran out; it was sent SIGTERM. */

    /* The rest is for the functions below. */
    struct rv_loop *loop;
    int pidfd;
    struct rv_io exit_io;
    struct rv_timer timer;
    struct rv_child_pipe pipes[2];
    int64_t kill_after_ms;
    bool own_group;
    rv_child_wrote *on_wrote;
    rv_child_ended *on_ended;
    void *context;
};

/* Makes a child that does not run. */
void rv_child_init(struct rv_child *child);

/* Starts a program; 'child' must not run one, and its output starts empty.
 * With a sentence: -ENOENT no such program or folder, -EACCES, -ENOEXEC,
 * -E2BIG of exec; -EMFILE, -EAGAIN, -ENOMEM; -EBUSY when one runs; -EINVAL
 * for input captured or no arguments.  No process is left after a failure,
 * and 'on_ended' is not called. */
int rv_child_start(struct rv_child *child, struct rv_loop *loop,
                   const struct rv_child_options *options,
                   struct rv_error *error) RV_MUST_CHECK;

/* Signals the program, or its group.  -ESRCH when none runs any more. */
int rv_child_signal(struct rv_child *child, int signal);

/* Frees the output.  A program that still runs is killed and collected
 * (SIGKILL; that takes until the kernel has ended it, normally well below a
 * millisecond), and 'on_ended' is not called.  Idempotent. */
void rv_child_deinit(struct rv_child *child);

RV_END_DECLARATIONS

#endif
