/* Daemons: starting in the background, the pidfile, the monitor, the user.
 *
 * Room: keeper.  Runs in: the main thread of a program, at its start.
 * Threads: none may run yet.  Blocks: functions that end in _block.
 * Source: daemon(7), setsid(2), capabilities(7); the options are those of
 * ovsdb-server(1), "Daemon Options".
 *
 *     struct rv_daemon_options options = RV_DAEMON_OPTIONS("exampled");
 *     struct rv_daemon daemon;
 *     struct rv_error error;
 *
 *     rv_title_init(argc, argv);                   // reeve/process.h
 *     for (int i = 1; i < argc; i += rc) {
 *         rc = rv_daemon_option(&options, argv[i], argv[i + 1], &error);
 *         if (rc < 0) { ...print error.text, exit... }
 *         if (rc == 0) { ...an option of the program's own... }
 *     }
 *     rc = rv_daemon_start_block(&daemon, &options, &error);
 *     if (rc) { ...print error.text, exit with 1... }
 *     ...open sockets, make the loop and the control socket: on failure
 *     print why, rv_daemon_stop(&daemon), exit with a status other than 0...
 *     rc = rv_daemon_complete(&daemon, &error);
 *     if (rc) { ...print error.text, exit with 1... }
 *     ...run...
 *     rv_daemon_stop(&daemon);
 *
 * Processes.  With `detach` the process that called becomes the launcher: it
 * waits, and leaves with status 0 when the daemon says by
 * rv_daemon_complete() that it is up.  A daemon that ends before that hands
 * its exit status to the shell, and what it wrote to standard error is seen
 * there, for the standard descriptors stay until completion.  Nothing is left
 * behind then.
 *
 * With `monitor` the daemon has two guardians, both forked from the process
 * as it was in rv_daemon_start_block(): the monitor, its parent, and the
 * guard, the monitor's parent.  The monitor starts the daemon again from that
 * state after every death that nobody asked for, by whatever signal (SIGKILL
 * and so the lack of memory included) and with any exit status but 0: at once
 * the first time, then after 'min_backoff_ms', doubling up to
 * 'max_backoff_ms', and anew from the beginning once the daemon lived for
 * 'stable_ms'.  It never gives up, also when a restart fails to start; only
 * the first start must succeed.  An exit with status 0 and a death by SIGTERM,
 * SIGINT or SIGHUP, sent to whichever of the processes, end the whole.  After
 * the first core dump there are no more (RLIMIT_CORE is 0).
 *
 * The monitor and the guard forward TERM, INT, HUP, USR1, USR2, QUIT and WINCH
 * to the daemon; after TERM, INT or QUIT every death of the daemon is the end.
 * What a terminal sends reaches the whole group by itself and is not
 * forwarded.
 *
 * A monitor that is killed does not leave the daemon alone: the guard becomes
 * its parent and monitor.  A guard that is killed, or took over, is replaced
 * at the daemon's next restart, for a guard has to be an ancestor.  Only who
 * kills both in between has a daemon that nobody watches; it serves on, and
 * rv_daemon_monitor_fd() tells it.
 *
 * Files that a monitored daemon named to reeve/fatal_signal.h (its pidfile is
 * one by itself) go with it even if it was killed by SIGKILL.
 *
 * `ps` shows the monitor as "exampled: monitoring pid N (healthy)", or
 * "(2 crashes: pid N died, killed (Segmentation fault))", if the program has
 * called rv_title_init(); the name of the process is "monitor".  The monitor
 * logs each death (module keeper) to where the program had its log go before
 * rv_daemon_start_block().
 *
 * Wrong: opening the loop, sockets, threads or a control socket before
 * rv_daemon_start_block().  An epoll set is shared over fork(), threads are
 * lost, and a restarted daemon would begin with leftovers of the monitor.
 * Wrong: forgetting rv_daemon_complete(); the shell waits for it.
 */
#ifndef REEVE_DAEMON_H
#define REEVE_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

/* Capabilities that a daemon keeps when it changes its user, as bits of
 * capabilities(7): CAP_NET_BIND_SERVICE and CAP_IPC_LOCK, as Open vSwitch. */
#define RV_DAEMON_CAPABILITIES (UINT64_C(1) << 10 | UINT64_C(1) << 14)

/* All strings are borrowed, and have to live until rv_daemon_complete(). */
struct rv_daemon_options {
    const char *program; /* In the pidfile's default name, and in titles. */
    const char *rundir;  /* Folder of pidfiles.  NULL: $REEVE_RUNDIR, else
                          * $OVS_RUNDIR, else the system's. */
    bool detach;
    bool monitor;
    bool no_chdir; /* Stay in the folder of the start; else "/". */
    bool has_pidfile;
    const char *pidfile; /* NULL: PROGRAM.pid; relative to 'rundir'. */
    bool overwrite_pidfile;
    const char *user;           /* USER[:GROUP]; NULL: no change. */
    uint64_t keep_capabilities; /* Of those it has, after a change of user. */

    /* The monitor's pace, each at least 1. */
    int64_t min_backoff_ms, max_backoff_ms, stable_ms;
};

/* Initialises a struct rv_daemon_options to the defaults: in the foreground,
 * no pidfile; a monitor that waits from 10 ms to 30 s. */
/* clang-format off */
#define RV_DAEMON_OPTIONS(PROGRAM)                 \
  {                                                \
    .program = (PROGRAM),                          \
    .keep_capabilities = RV_DAEMON_CAPABILITIES,   \
    .min_backoff_ms = 10, .max_backoff_ms = 30000, \
    .stable_ms = 10000,                            \
  }
/* clang-format on */

/* For a program's --help: what rv_daemon_option() accepts. */
#define RV_DAEMON_USAGE                                                       \
  "Daemon options:\n"                                                         \
  "  --detach                run in the background\n"                         \
  "  --monitor               restart the daemon whenever it dies\n"           \
  "  --user=USER[:GROUP]     run as that user\n"                              \
  "  --no-chdir              do not change to the folder /\n"                 \
  "  --pidfile[=FILE]        write a pidfile (default: RUNDIR/PROGRAM.pid)\n" \
  "  --overwrite-pidfile     with --pidfile, start even if already running\n"

/* The members are for the functions below. */
struct rv_daemon {
    bool detach, no_chdir;
    bool is_monitored, is_complete;
    int channel_fd; /* To who waits for the start, or the monitor; -1. */
    int pidfile_fd; /* Holds the lock; -1. */
    char *pidfile;  /* Absolute; owned; NULL. */
};

/* Takes one word of a command line: "--detach", "--monitor", "--no-chdir",
 * "--pidfile", "--pidfile=FILE", "--overwrite-pidfile", "--user=USER[:GROUP]",
 * or "--user" with its value in 'next' (the word behind; NULL at the end).
 * The strings are borrowed.  Returns how many words it took, 1 or 2; 0 when
 * 'word' is none of these; -EINVAL with a sentence for a value too much or one
 * that is missing. */
int rv_daemon_option(struct rv_daemon_options *options, const char *word,
                     const char *next, struct rv_error *error) RV_MUST_CHECK;

/* Changes the user, forks, and writes the pidfile, as 'options' say, and then
 * returns 0 in the daemon.  The launcher and the guardians do not return; they
 * leave by _exit(2) as described above.  In a daemon that is neither detached
 * nor monitored all happens in the calling process.
 *
 * Everything after the change of user happens as that user: the pidfile's
 * folder has to be writable for it.  (A folder that 'rundir' NULL leads to is
 * made, for that user, where it is missing.)
 *
 * Fails in the daemon, or in a process before it, with a sentence; the caller
 * prints it and exits with a status other than 0, which reaches the shell:
 *     -EEXIST  the pidfile is held: "FILE: already running as pid N, aborting"
 *     -EPERM   'user' by someone other than root
 *     -ENOENT  no such user or group; a folder that is not there
 *     -ECHILD  the daemon died by a signal, or left with status 0, before it
 *              was complete
 * and others of fork(2), open(2), setuid(2).
 *
 * Blocks: the launcher until the start is complete or has failed. */
int rv_daemon_start_block(struct rv_daemon *daemon,
                          const struct rv_daemon_options *options,
                          struct rv_error *error) RV_MUST_CHECK;

/* Says that the start succeeded.  Changes to the folder "/" (but for
 * no_chdir) and lets go of standard input, output and error if detached, and
 * then lets the launcher leave.  A second call does nothing.  -EPIPE when the
 * launcher is gone, who was interrupted: nobody wants this daemon any more.
 * Does not block. */
int rv_daemon_complete(struct rv_daemon *daemon, struct rv_error *error)
    RV_MUST_CHECK;

/* A descriptor that becomes readable (end of file) when neither monitor nor
 * guard is there any more; -1 in a daemon without.  Stays the daemon's; do not
 * read from it.  What to do then is the program's choice: to serve on, which
 * needs nothing, or to end, so that a supervisor above starts all anew. */
int rv_daemon_monitor_fd(const struct rv_daemon *daemon);

/* Removes the pidfile, if it is still this daemon's, and closes all.  To be
 * called before a normal exit; deadly signals are taken care of (see
 * reeve/fatal_signal.h).  Does not end the process.  Idempotent. */
void rv_daemon_stop(struct rv_daemon *daemon);

RV_END_DECLARATIONS

#endif
