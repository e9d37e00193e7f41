/* Files that go away with the process, whatever signal kills it.
 *
 * Room: os.  Runs in: any process.  Threads: any, but for the first call.
 * Blocks: never.  Source: signal-safety(7), sigaction(2); Open vSwitch's
 * lib/fatal-signal.c for the purpose.
 *
 *     rc = rv_fatal_signal_add_file("/run/example/example.ctl");
 *     ...
 *     rv_fatal_signal_remove_file("/run/example/example.ctl");
 *     unlink("/run/example/example.ctl");
 *
 * The first call catches every signal that ends a process (TERM, INT, HUP,
 * QUIT, ALRM, USR1, USR2, PIPE, SEGV, BUS, FPE, ILL, ABRT, XCPU, XFSZ and the
 * like), but only those whose disposition is still the default: a signal that
 * the program ignores or handles stays the program's.  On such a signal the
 * named files are unlinked, within the handler, so that a program that is
 * stuck does it too; and then the process dies by that very signal, with its
 * core dump if it makes one.  SIGKILL cannot be caught; the monitor of
 * reeve/daemon.h removes the files of a daemon that died of it.
 *
 * A file is unlinked only if it is still the one that was there when it was
 * named: someone's new file of the same name stays.  A child of fork() does
 * not remove its parent's files.
 *
 * Who owns what: rv_daemon_start_block() names the pidfile by itself.  Who
 * opens a listening unix socket names it after bind(2), and removes the name
 * again before closing it in the normal way.
 *
 * This is the one thing in a process, as the dispositions of signals are: its
 * table is mutable state with a life as long as the process.
 */
#ifndef REEVE_FATAL_SIGNAL_H
#define REEVE_FATAL_SIGNAL_H

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

enum {
    RV_FATAL_SIGNAL_FILES = 64, /* At most so many at a time. */
    RV_FATAL_SIGNAL_PATH = 512, /* Bytes of a path, its NUL included. */
};

/* Catches the signals.  Only needed when the process will have more threads
 * than one before the first file is named; a second call does nothing. */
void rv_fatal_signal_init(void);

/* Names a file that is there, by a path that stays right after a change of
 * folder (absolute, therefore).  A second time is the same as once, but for
 * the file that is meant: the one there now.  -ENOSPC with all places taken,
 * -ENAMETOOLONG, -EINVAL for a relative path, and as stat(2). */
int rv_fatal_signal_add_file(const char *path) RV_MUST_CHECK;

/* Forgets a file; leaves it where it is.  Of a path never named: nothing. */
void rv_fatal_signal_remove_file(const char *path);

/* Unlinks all that this process has named, and forgets them: for the normal
 * end of a program.  Async-signal-safe. */
void rv_fatal_signal_unlink_files(void);

RV_END_DECLARATIONS

#endif
