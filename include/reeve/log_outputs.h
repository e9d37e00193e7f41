/* Where a log may go besides standard error: a file, the system log; and the
 * command line options that say so.
 *
 * Room: os.  Blocks: as a write to a file does; never on the system log.
 * Threads: as the log.
 * Source: Open vSwitch's lib/vlog.c and lib/vlog.man, syslog(3), RFC 3164.
 *
 *     while ((c = getopt_long(argc, argv, "v::", options, NULL)) >= 0) {
 *         switch (c) {
 *         case 'v':
 *             rc = rv_log_option("verbose", optarg, &error);
 *             break;
 *         case OPTION_LOG_FILE:
 *             rc = rv_log_option("log-file", optarg, &error);
 *             break;
 *
 * A full disk or a system log that is away costs lines, never the program;
 * the coverage counters log_file_dropped and log_syslog_dropped count them.
 */
#ifndef REEVE_LOG_OUTPUTS_H
#define REEVE_LOG_OUTPUTS_H

#include "reeve/error.h"
#include "reeve/log.h"

RV_BEGIN_DECLARATIONS

/* Appends the lines for RV_LOG_FILE to the file at 'path', which is made with
 * mode 0640 if there is none, each by one write(2).  NULL: NAME.log in
 * $OVS_LOGDIR or else in /var/log, where NAME is the program's.
 * rv_log_reopen() opens the path again.  The file before stays in use on
 * failure, which is open(2)'s (-ENXIO for a FIFO that nobody reads) or
 * -ENOMEM. */
int rv_log_open_file(const char *path, struct rv_error *error);

/* The path of the file that was opened; NULL if none was. */
const char *rv_log_file_path(void);

/* Sends the lines for RV_LOG_SYSLOG to the datagram socket at 'path' (NULL:
 * /dev/log), each line of a message by itself.  Before the pattern comes
 * 'prefix', as a pattern too (NULL: what syslog(3) sends, priority, time and
 * program).  Nobody needs to listen there yet: each line tries to connect
 * again after the connection was lost.  -ENAMETOOLONG, -ENOMEM. */
int rv_log_open_syslog(const char *path, const char *prefix,
                       struct rv_error *error);

/* Does what rv_log_set_spec() does.  Where the specification names the
 * destination syslog, and that is not open yet, it first opens it with the
 * level off for all modules. */
int rv_log_set_spec_and_open(const char *spec, struct rv_error *error);

/* Does what one command line option says; 'argument' NULL: it had none.
 *
 *     verbose [SPEC]      as rv_log_set_spec; without SPEC all levels dbg
 *     log-file [FILE]     as rv_log_open_file
 *     syslog-method METHOD    libc: as syslog(3); unix:FILE: to that socket,
 *                         without time and program; null: not at all
 *
 * -EINVAL with the reason for a bad argument, -ENOENT for another option,
 * else as the functions above. */
int rv_log_option(const char *name, const char *argument,
                  struct rv_error *error);

RV_END_DECLARATIONS

#endif
