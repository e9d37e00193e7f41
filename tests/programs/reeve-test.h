/* The commands of the program `reeve-test`, a file each.
 *
 * They have the command lines, the languages and the outputs of the test
 * programs of these names that come with Open vSwitch, so that scripts
 * written for those run against reeve's own modules.
 */
#ifndef RV_REEVE_TEST_H
#define RV_REEVE_TEST_H

#include "reeve/base.h"

/* Runs a command; 'argv[0]' is its name, NULL follows the last word.  Gives
 * the exit status of the program. */
typedef int reeve_test_command(int argc, char **argv);

reeve_test_command test_daemon;
reeve_test_command test_dict;
reeve_test_command test_json;
reeve_test_command test_jsonrpc;
reeve_test_command test_reconnect;
reeve_test_command test_serve;
reeve_test_command test_session;
reeve_test_command test_unix_socket;
reeve_test_command test_zone;

/* Ends the program with status 1 after "reeve-test: " and the text, behind
 * all that was printed before. */
RV_NORETURN void reeve_test_fatal(const char *format, ...) RV_PRINTF(1, 2);

/* The same in the name of 'command', as that says it when it is a program of
 * its own, and with the text of 'code' behind it: 0 for none, an errno, or
 * EOF. */
RV_NORETURN void reeve_test_fatal_of(const char *command, int code,
                                     const char *format, ...) RV_PRINTF(3, 4);

#endif
