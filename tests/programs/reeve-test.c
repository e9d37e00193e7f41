/* Modules of reeve behind the command lines of Open vSwitch's test programs.
 *
 *     reeve-test COMMAND [ARGUMENT...]
 *     reeve-test --help
 */
#include "reeve-test.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order of the alphabet, one row a command; 'most_args' -1: any. */
static const struct {
    const char *name;
    const char *arguments;
    int least_args, most_args;
    reeve_test_command *run;
} commands[] = {
    {"test-daemon", "[OPTION...]", 0, -1, test_daemon},
    {"test-dict", "ZONE KEYS [audit]", 2, 3, test_dict},
    {"test-json", "[--pretty] [--multiple] FILE", 0, -1, test_json},
    {"test-jsonrpc", "[OPTION...] COMMAND [ARGUMENT...]", 0, -1, test_jsonrpc},
    {"test-reconnect", "[FILE]", 0, 1, test_reconnect},
    {"test-serve", "[OPTION...] NAME...", 1, -1, test_serve},
    {"test-session", "[OPTION...] REMOTE...", 1, -1, test_session},
    {"test-unix-socket", "NAME [OTHER-NAME]", 0, -1, test_unix_socket},
    {"test-zone", "ZONE [read]", 1, 2, test_zone},
};

void
reeve_test_fatal(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("reeve-test: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

void
reeve_test_fatal_of(const char *command, int code, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "%s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (code) {
        fprintf(stderr, " (%s)", code == EOF ? "End of file" : strerror(code));
    }
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static int
help(void)
{
    puts("usage: reeve-test COMMAND [ARGUMENT...]");
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        printf("  %s %s\n", commands[i].name, commands[i].arguments);
    }
    return EXIT_SUCCESS;
}

static int
run(int argc, char **argv)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[0], commands[i].name)) {
            continue;
        }
        int n_args = argc - 1;
        if (n_args < commands[i].least_args) {
            reeve_test_fatal("'%s' command requires at least %d arguments",
                             argv[0], commands[i].least_args);
        }
        if (commands[i].most_args >= 0 && n_args > commands[i].most_args) {
            reeve_test_fatal("'%s' command takes at most %d arguments",
                             argv[0], commands[i].most_args);
        }
        return commands[i].run(argc, argv);
    }
    reeve_test_fatal("unknown command '%s'; use --help for help", argv[0]);
}

int
main(int argc, char **argv)
{
    if (argc < 2) {
        reeve_test_fatal("missing command name; use --help for help");
    }
    bool is_help = !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h");
    int status = is_help ? help() : run(argc - 1, argv + 1);
    if (fflush(stdout) || ferror(stdout)) {
        reeve_test_fatal("cannot write to standard output");
    }
    return status;
}
