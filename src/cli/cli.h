/* `reeve`, the executable: commands, progress, tables.
 *
 * Room: cli.  Each command is a function that gets its own argument vector
 * (the command's name first) and returns the exit status.
 */
#ifndef RV_CLI_CLI_H
#define RV_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/unixctl_client.h"

struct rv_cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;   /* Behind the name. */
    const char *summary; /* One line for `reeve --help`. */
    const char *help;    /* The rest for `reeve help COMMAND`. */
};

extern const struct rv_cli_command rv_cli_commands[];
extern const int rv_cli_n_commands;

/* run.c */
int rv_cli_run(int argc, char **argv);
int rv_cli_start(int argc, char **argv);
int rv_cli_check(int argc, char **argv);
int rv_cli_schema(int argc, char **argv);

/* control.c */
int rv_cli_status(int argc, char **argv);
int rv_cli_reload(int argc, char **argv);
int rv_cli_restart(int argc, char **argv);
int rv_cli_scale(int argc, char **argv);
int rv_cli_stop(int argc, char **argv);
int rv_cli_reopen(int argc, char **argv);
int rv_cli_dump(int argc, char **argv);
int rv_cli_logs(int argc, char **argv);
int rv_cli_ctl(int argc, char **argv);

/* zone.c */
struct rv_zone;
int rv_cli_zone(int argc, char **argv);

/* dict.c */
int rv_cli_dict(int argc, char **argv);

/* notify.c */
int rv_cli_notify(int argc, char **argv);

/* main.c */
int rv_cli_help(int argc, char **argv);
int rv_cli_version(int argc, char **argv);
/* Says what is wrong with the call; RV_EXIT_USAGE. */
int rv_cli_usage(const char *command, const char *format, ...) RV_PRINTF(2, 3);
/* Prints "reeve: text"; returns 'status'. */
int rv_cli_fail(int status, const char *format, ...) RV_PRINTF(2, 3);

/* Where a command goes, and how long it may take. */
struct rv_cli_target {
    const char *name;    /* -t: NAME or PATH; NULL: find it. */
    const char *config;  /* -c: the name stands there. */
    int64_t timeout_ms;  /* -T; -1: the default. */
    bool may_be_foreign; /* A daemon of Open vSwitch will do too. */
};

enum { RV_CLI_WORDS = 64 };

/* A command line for a running reeve, read. */
struct rv_cli_call {
    const char *command;
    struct rv_cli_target target;
    bool json, no_wait, now, follow;
    int64_t lines;                   /* -1: not given. */
    const char *words[RV_CLI_WORDS]; /* Operands; borrowed from argv. */
    size_t n_words;
};

/* options.c */
/* Reads the arguments; between 'min' and 'max' operands (with RV_CLI_WORDS,
 * options end at the first).  'allowed' names the options besides those of the
 * target: j(son), w(ait), N(ow), f(ollow and lines).  0, or the exit status
 * for wrong usage, which it has explained. */
int rv_cli_parse(int argc, char **argv, const char *allowed, size_t min,
                 size_t max, struct rv_cli_call *call);

/* target.c */
/* Connects to the reeve that is meant.  Returns 0 or an exit status, with the
 * reason printed. */
int rv_cli_connect(const struct rv_cli_target *target,
                   struct rv_unixctl_client *client);

/* zone_target.c */
/* The zones of the status; the caller owns '*zonesp'.  0 or an exit status,
 * with the reason printed, as of all here. */
int rv_cli_zones_get(const struct rv_cli_target *target, json_t **zonesp);
/* Attaches the zone 'name' of the running reeve; the caller detaches. */
int rv_cli_zone_attach(const struct rv_cli_target *target, const char *name,
                       bool is_read_only, struct rv_zone **zonep);
/* Has the master resize it; 'is_trimmed' as for zone/resize.  The caller owns
 * '*sizep', as the master says it, unless NULL. */
int rv_cli_zone_resize(const struct rv_cli_target *target, const char *name,
                       const char *size, bool is_trimmed, char **sizep);

/* zone_map.c */
/* Draws the pages of the zone. */
void rv_cli_zone_draw(const struct rv_zone *zone);

/* progress.c: a line a service, while a command waits. */
struct rv_cli_progress {
    struct rv_unixctl_client status; /* A second connection. */
    bool is_open;
    bool is_terminal;
    int n_lines;     /* Drawn on the terminal. */
    char last[1024]; /* Printed last, where it is none. */
};
void rv_cli_progress_open(struct rv_cli_progress *progress,
                          const struct rv_cli_target *target);
void rv_cli_progress_draw(struct rv_cli_progress *progress);
void rv_cli_progress_close(struct rv_cli_progress *progress);
/* What the running reeve allows such an operation, from its status. */
int64_t rv_cli_allowed_ms(const struct rv_cli_target *target, const char *key);

#endif
