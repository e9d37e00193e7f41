/* logs: the last lines of reeve and its workers. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "master/master.h"

enum { TURN_MS = 200, ANSWER_MS = 30000 };

struct logs {
    struct rv_cli_target target;
    bool follow;
    int64_t lines;    /* At most so many of those kept; -1: all. */
    const char *only; /* "web" or "web.0"; NULL: everything. */
    int64_t position;
};

static const struct option options[] = {
    {"target", required_argument, NULL, 't'},
    {"config", required_argument, NULL, 'c'},
    {"timeout", required_argument, NULL, 'T'},
    {"runtime-dir", required_argument, NULL, 'R'},
    {"follow", no_argument, NULL, 'f'},
    {"lines", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

static int
take_option(struct logs *logs, int option)
{
    switch (option) {
    case 't':
        logs->target.name = optarg;
        return 0;
    case 'c':
        logs->target.config = optarg;
        return 0;
    case 'R':
        return setenv("REEVE_RUNDIR", optarg, 1) ? RV_EXIT_FAILED : 0;
    case 'T':
        return rv_str_parse_duration(optarg, &logs->target.timeout_ms)
                   ? rv_cli_usage("logs", "-T takes seconds")
                   : 0;
    case 'f':
        logs->follow = true;
        return 0;
    case 'n':
        return rv_str_parse_integer(optarg, &logs->lines) || logs->lines < 0
                   ? rv_cli_usage("logs", "-n takes a number of lines")
                   : 0;
    default:
        return rv_cli_usage("logs", "wrong option");
    }
}

/* Whether a line "web.0 | text" is of the service or worker asked for. */
static bool
is_wanted(const char *line, size_t length, const char *only)
{
    size_t n = only ? strlen(only) : 0;
    return !only
           || (length > n && !memcmp(line, only, n)
               && (line[n] == '.' || line[n] == ' '));
}

/* Prints the wanted lines, after 'skip' of them. */
static int64_t
print_lines(const char *text, const char *only, int64_t skip, bool is_dry)
{
    int64_t n = 0;
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (is_wanted(text, length, only)) {
            n++;
            if (!is_dry && n > skip) {
                printf("%.*s\n", (int)length, text);
            }
        }
        text += length + (text[length] == '\n');
    }
    return n;
}

static int
answer_ms(const struct logs *logs)
{
    int64_t ms = logs->target.timeout_ms;
    return ms >= 0 ? (int)RV_MIN(ms, INT32_MAX) : ANSWER_MS;
}

static int
fetch(struct logs *logs, struct rv_unixctl_client *client)
{
    char position[32];
    const char *args[] = {position};
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    snprintf(position, sizeof position, "%lld", (long long)logs->position);
    if (rv_unixctl_client_call_block(client, "logs", 1, args, answer_ms(logs),
                                     &result, &error)) {
        return rv_cli_fail(RV_EXIT_FAILED, "%s", error.text);
    }
    const char *text = json_string_value(json_object_get(result.json, "text"));
    text = text ? text : "";
    int64_t skip = 0;
    if (logs->lines >= 0) {
        skip = print_lines(text, logs->only, 0, true) - logs->lines;
        logs->lines = -1;
    }
    print_lines(text, logs->only, RV_MAX(skip, 0), false);
    fflush(stdout);
    logs->position = json_integer_value(json_object_get(result.json, "next"));
    rv_unixctl_result_deinit(&result);
    return RV_EXIT_OK;
}

static int
set_json(const struct logs *logs, struct rv_unixctl_client *client)
{
    static const char *const args[] = {"--format", "json"};
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    if (rv_unixctl_client_call_block(client, "set-options", 2, args,
                                     answer_ms(logs), &result, &error)) {
        return rv_cli_fail(RV_EXIT_FAILED, "%s", error.text);
    }
    rv_unixctl_result_deinit(&result);
    return RV_EXIT_OK;
}

int
rv_cli_logs(int argc, char **argv)
{
    struct logs logs = {.lines = -1, .target.timeout_ms = -1};
    struct rv_unixctl_client client;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "t:c:R:T:fn:", options, NULL))
           != -1) {
        int status = take_option(&logs, option);
        if (status) {
            return status;
        }
    }
    logs.only = optind < argc ? argv[optind++] : NULL;
    if (optind < argc) {
        return rv_cli_usage(argv[0], "wrong number of arguments");
    }
    int status = rv_cli_connect(&logs.target, &client);
    if (status) {
        return status;
    }
    status = set_json(&logs, &client);
    while (!status) {
        status = fetch(&logs, &client);
        if (!logs.follow) {
            break;
        }
        struct timespec pause = {.tv_nsec = TURN_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    rv_unixctl_client_close(&client);
    return status;
}
