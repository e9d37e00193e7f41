/* logs: the last lines of reeve and its workers. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "master/master.h"

enum { TURN_MS = 200, ANSWER_MS = 30000 };

struct logs {
    const struct rv_cli_call *call;
    int64_t lines;    /* Still to be held to; -1: no limit (any more). */
    const char *only; /* "web" or "web.0"; NULL: everything. */
    int64_t position;
};

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
    int64_t ms = logs->call->target.timeout_ms;
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
    struct rv_cli_call call;
    struct rv_unixctl_client client;
    int status = rv_cli_parse(argc, argv, "f", 0, 1, &call);
    if (!status) {
        status = rv_cli_connect(&call.target, &client);
    }
    if (status) {
        return status;
    }
    struct logs logs = {
        .call = &call,
        .lines = call.lines,
        .only = call.n_words ? call.words[0] : NULL,
    };
    status = set_json(&logs, &client);
    while (!status) {
        status = fetch(&logs, &client);
        if (!call.follow) {
            break;
        }
        struct timespec pause = {.tv_nsec = TURN_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    rv_unixctl_client_close(&client);
    return status;
}
