/* The options that the commands for a running reeve have in common. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "master/master.h"

enum { OPTION_JSON = 256, OPTION_NO_WAIT, OPTION_NOW };

static const struct option long_options[] = {
    {"target", required_argument, NULL, 't'},
    {"config", required_argument, NULL, 'c'},
    {"timeout", required_argument, NULL, 'T'},
    {"runtime-dir", required_argument, NULL, 'R'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
    {"now", no_argument, NULL, OPTION_NOW},
    {"follow", no_argument, NULL, 'f'},
    {"lines", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

static int
take_option(struct rv_cli_call *call, int option)
{
    switch (option) {
    case 't':
        call->target.name = optarg;
        return 0;
    case 'c':
        call->target.config = optarg;
        return 0;
    case 'R':
        return setenv("REEVE_RUNDIR", optarg, 1) ? RV_EXIT_FAILED : 0;
    case 'T':
        return rv_str_parse_duration(optarg, &call->target.timeout_ms)
                   ? rv_cli_usage(call->command,
                                  "-T takes seconds, not \"%s\"", optarg)
                   : 0;
    case 'n':
        return rv_str_parse_integer(optarg, &call->lines) || call->lines < 0
                   ? rv_cli_usage(call->command,
                                  "-n takes a number of lines, not \"%s\"",
                                  optarg)
                   : 0;
    case 'f':
        call->follow = true;
        return 0;
    case OPTION_JSON:
        call->json = true;
        return 0;
    case OPTION_NO_WAIT:
        call->no_wait = true;
        return 0;
    case OPTION_NOW:
        call->now = true;
        return 0;
    default:
        return rv_cli_usage(call->command, "wrong option");
    }
}

/* Whether an option that was given means something to the command. */
static int
check_options(const struct rv_cli_call *call, const char *allowed)
{
    bool is_wrong =
        (call->json && !strchr(allowed, 'j'))
        || (call->no_wait && !strchr(allowed, 'w'))
        || (call->now && !strchr(allowed, 'N'))
        || ((call->follow || call->lines >= 0) && !strchr(allowed, 'f'));
    return is_wrong ? rv_cli_usage(call->command,
                                   "an option does not belong to this command")
                    : 0;
}

int
rv_cli_parse(int argc, char **argv, const char *allowed, size_t min,
             size_t max, struct rv_cli_call *call)
{
    int option;
    bool is_raw = max == RV_CLI_WORDS;
    *call = (struct rv_cli_call){.command = argv[0], .lines = -1};
    call->target.timeout_ms = -1;
    optind = 1;
    while ((option = getopt_long(
                argc, argv, is_raw ? "+t:c:R:T:" : "t:c:R:T:fn:", long_options,
                NULL))
           != -1) {
        int status = take_option(call, option);
        if (status) {
            return status;
        }
    }
    while (optind < argc && call->n_words < RV_CLI_WORDS) {
        call->words[call->n_words++] = argv[optind++];
    }
    if (call->n_words < min || call->n_words > max || optind < argc) {
        return rv_cli_usage(argv[0], "wrong number of arguments");
    }
    return check_options(call, allowed);
}
