/* reeve: one executable for the daemon and its command line.
 *
 * The keeper starts a master by executing this program again with the same
 * arguments and REEVE_KEEPER in the environment; a master that takes the
 * keeper's place does so with REEVE_KEEPER_HEIR.  Both lead to the same `run`
 * or `start` command, so that arguments are read in one place. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "reeve/log.h"
#include "master/master.h"
#include "os/process.h"

#define TARGET_USAGE "[-t NAME|PATH] [-c FILE] [-R FOLDER] [-T SECONDS]"
#define RUN_USAGE(SINGLE)                                        \
  "-c FILE [-R FOLDER]" SINGLE " [--take-over]\n"                \
  "   or: [-l ADDRESS]... [-w N] [-e NAME=VALUE]... [-n NAME]\n" \
  "       [-R FOLDER] [--ready HOW] [--reuseport]" SINGLE "\n"   \
  "       [--take-over] -- PROGRAM ARGUMENTS..."
#define RUN_HELP                                                             \
  "  -c, --config FILE       the services, in YAML (reeve.yaml(5));\n"       \
  "                          default: reeve.yaml, if there is one\n"         \
  "  -n, --name NAME         names pidfile and control socket\n"             \
  "  -R, --runtime-dir DIR   where these are kept, unless the file says\n"   \
  "  -l, --listen ADDRESS    8080, 127.0.0.1:8080, [::1]:80, unix:/x.sock\n" \
  "  -w, --workers N|auto    how many processes (default: auto)\n"           \
  "  -e, --env NAME=VALUE    adds to the workers' environment\n"             \
  "      --ready HOW         alive, notify, tcp, \"http PATH\", "            \
  "\"exec CMD\"\n"                                                           \
  "      --reuseport         one socket per worker\n"                        \
  "      --take-over         stop workers of a reeve that was killed\n"
#define SINGLE_HELP \
  "      --single            one worker in this process, for debugging\n"
#define TARGET_HELP                                                         \
  "  -t, --target NAME|PATH  which reeve (default: the only one running)\n" \
  "  -c, --config FILE       the one that runs this configuration\n"        \
  "  -R, --runtime-dir DIR   where to look for it\n"                        \
  "  -T, --timeout SECONDS   give up waiting after so long\n"
#define WAIT_HELP "      --no-wait           return when it has begun\n"

const struct rv_cli_command rv_cli_commands[] = {
    {"run", rv_cli_run, RUN_USAGE(" [--single]"),
     "run services in the foreground", RUN_HELP SINGLE_HELP},
    {"start", rv_cli_start, RUN_USAGE(""),
     "run services as a daemon; returns when they are ready", RUN_HELP},
    {"status", rv_cli_status, "[--json] " TARGET_USAGE,
     "show services and workers",
     "      --json              for programs\n" TARGET_HELP},
    {"reload", rv_cli_reload, "[SERVICE] [--no-wait] " TARGET_USAGE,
     "read the configuration again and roll to it, or change nothing",
     "Services whose configuration changed get a new generation of workers,\n"
     "beside the old one; when all are ready the old ones drain.  If none\n"
     "changed, all roll: the program itself is new.  With SERVICE, that one\n"
     "rolls in any case, and of the others only those that changed.\n" WAIT_HELP
         TARGET_HELP},
    {"restart", rv_cli_restart, "[SERVICE] [--no-wait] " TARGET_USAGE,
     "roll to a new generation of the same configuration",
     WAIT_HELP TARGET_HELP},
    {"scale", rv_cli_scale, "SERVICE N [--no-wait] " TARGET_USAGE,
     "change a service's number of workers",
     "A later reload sets it back to what the configuration says.\n" WAIT_HELP
         TARGET_HELP},
    {"stop", rv_cli_stop, "[--now] [--no-wait] " TARGET_USAGE,
     "drain all workers and end",
     "      --now               do not wait for connections\n" WAIT_HELP
         TARGET_HELP},
    {"reopen", rv_cli_reopen, TARGET_USAGE, "reopen log files", TARGET_HELP},
    {"logs", rv_cli_logs, "[-f] [-n LINES] [SERVICE[.INDEX]] " TARGET_USAGE,
     "show the last lines of reeve and its workers",
     "  -f, --follow            go on as lines come\n"
     "  -n, --lines N           at most the last N\n" TARGET_HELP},
    {"zone", rv_cli_zone,
     "list | show NAME | check NAME | map NAME | resize NAME SIZE\n"
     "       [--json] " TARGET_USAGE,
     "show, check and resize the memory that workers share",
     "  list                    all zones\n"
     "  show NAME               what it is, and what is allocated in it\n"
     "  check NAME              whether it is whole\n"
     "  map NAME                what lies where\n"
     "  resize NAME SIZE        larger, up to its max_size, at any time; or\n"
     "                          smaller, if nothing lies in what goes.  A\n"
     "                          reload makes it at least what the file says\n"
     "      --json              for programs (list, show)\n" TARGET_HELP},
    {"dict", rv_cli_dict,
     "ZONE[/NAME] get KEY | set KEY VALUE [TTL] | incr KEY [N]\n"
     "       | delete KEY | ttl KEY | keys [MAX] | stats " TARGET_USAGE,
     "look into a dict that workers share, and change it",
     "NAME is the dict's name within the zone; without it, that of the zone.\n"
     "Whole numbers are stored as such; behind -- they may be negative.\n"
     "The dict must be there: workers make it.\n" TARGET_HELP},
    {"check", rv_cli_check, "[[-c] FILE]", "check a configuration",
     "  -c, --config FILE       default: reeve.yaml\n"},
    {"dump", rv_cli_dump, TARGET_USAGE,
     "print a configuration with all defaults",
     "With -c that of the file, else that of the running reeve.\n" TARGET_HELP},
    {"schema", rv_cli_schema, "[--man]",
     "print a JSON Schema of the configuration",
     "      --man               the table of keys for the man page instead\n"},
    {"ctl", rv_cli_ctl, TARGET_USAGE " METHOD [ARGUMENTS...]",
     "call any method of a control socket (list-commands lists them)",
     TARGET_HELP},
    {"notify", rv_cli_notify, "NAME=VALUE...",
     "from a worker: tell the reeve that runs it (READY=1, STATUS=text, ...)",
     "For shell scripts, as systemd-notify(1).  Workers find this program by\n"
     "the variable REEVE_EXECUTABLE.\n"},
    {"help", rv_cli_help, "[COMMAND]", "explain a command", ""},
    {"version", rv_cli_version, "", "print the version", ""},
};
const int rv_cli_n_commands = (int)RV_ARRAY_SIZE(rv_cli_commands);

static const struct rv_cli_command *
find_command(const char *name)
{
    for (int i = 0; i < rv_cli_n_commands; i++) {
        if (!strcmp(rv_cli_commands[i].name, name)) {
            return &rv_cli_commands[i];
        }
    }
    return NULL;
}

int
rv_cli_fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("reeve: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    return status;
}

int
rv_cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "reeve %s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    const struct rv_cli_command *known = find_command(command);
    fprintf(stderr, "\nusage: reeve %s %s\ntry: reeve help %s\n", command,
            known ? known->usage : "", command);
    return RV_EXIT_USAGE;
}

static void
print_overview(FILE *to)
{
    fputs("reeve keeps a service up: a pool of workers that share their "
          "sockets.\n\n"
          "  reeve run -l 8080 -w 4 -- python3 app.py\n"
          "  reeve start -c reeve.yaml\n\n",
          to);
    for (int i = 0; i < rv_cli_n_commands; i++) {
        fprintf(to, "  %-9s %s\n", rv_cli_commands[i].name,
                rv_cli_commands[i].summary);
    }
    fputs("\nreeve help COMMAND says more.  Exit status: 0 done, 1 failed,\n"
          "3 not running, 64 wrong usage, 78 wrong configuration.\n",
          to);
}

int
rv_cli_help(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return RV_EXIT_OK;
    }
    const struct rv_cli_command *command = find_command(argv[1]);
    if (!command) {
        return rv_cli_usage("help", "there is no command \"%s\"", argv[1]);
    }
    printf("reeve %s %s\n\n%s.\n%s%s", command->name, command->usage,
           command->summary, *command->help ? "\n" : "", command->help);
    return RV_EXIT_OK;
}

int
rv_cli_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("reeve %s\n", RV_VERSION);
    return RV_EXIT_OK;
}

int
main(int argc, char **argv)
{
    if (rv_title_init(argc, argv)) {
        return rv_cli_fail(RV_EXIT_FAILED, "out of memory");
    }
    rv_log_set_program("reeve");
    /* Until a master says otherwise, people read it on a terminal. */
    if (rv_log_set_pattern(RV_LOG_CONSOLE, "reeve: %l: %m", NULL)) {
        return rv_cli_fail(RV_EXIT_FAILED, "out of memory");
    }
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_overview(stdout);
        return RV_EXIT_OK;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        return rv_cli_version(argc, argv);
    }
    const struct rv_cli_command *command = find_command(name);
    if (!command) {
        if (*name) {
            rv_cli_fail(RV_EXIT_USAGE, "there is no command \"%s\"\n", name);
        }
        print_overview(stderr);
        return RV_EXIT_USAGE;
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help")) {
            char *words[] = {argv[0], argv[1], NULL};
            return rv_cli_help(2, words);
        }
    }
    return command->run(argc - 1, argv + 1);
}
