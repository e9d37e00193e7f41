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
    bool is_known;    /* There is such a service, or was: it has lines. */
    int64_t position;
};

/* The length of what names a worker: ".", digits. */
static size_t
index_length(const char *text)
{
    size_t n = *text == '.' ? strspn(text + 1, "0123456789") : 0;
    return n ? n + 1 : 0;
}

/* Whether a line "web.0 | text" is of the service or worker asked for. */
static bool
is_wanted(const char *line, const char *only)
{
    size_t n = only ? strlen(only) : 0;
    if (!only) {
        return true;
    }
    return !strncmp(line, only, n)
           && !strncmp(line + n + index_length(line + n), " | ", 3);
}

/* Prints the wanted lines, after 'skip' of them. */
static int64_t
print_lines(const char *text, const char *only, int64_t skip, bool is_dry)
{
    int64_t n = 0;
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (is_wanted(text, only)) {
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

/* Whether 'only' is the service of that name, or a worker of it. */
static bool
is_of(const char *only, const char *name)
{
    size_t n = name ? strlen(name) : 0;
    return n && !strncmp(only, name, n) && !only[n + index_length(only + n)];
}

/* Whether the status has the service asked for; the names of those that it
 * has are put into 'names'. */
static bool
find_service(const json_t *status, const char *only, struct rv_buf *names)
{
    size_t i;
    json_t *service;
    bool is_there = false;
    json_array_foreach(json_object_get(status, "services"), i, service)
    {
        const char *name = json_string_value(json_object_get(service, "name"));
        is_there = is_there || is_of(only, name);
        rv_buf_printf(names, "%s%s", i ? ", " : "", name ? name : "");
    }
    return is_there;
}

/* A service that has no lines is looked up in the status. */
static int
check_service(struct logs *logs, struct rv_unixctl_client *client)
{
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    struct rv_buf names;
    int status = RV_EXIT_OK;
    if (rv_unixctl_client_call_block(client, "status", 0, NULL,
                                     answer_ms(logs), &result, &error)) {
        return rv_cli_fail(RV_EXIT_FAILED, "%s", error.text);
    }
    if (result.is_error) {
        rv_unixctl_result_deinit(&result);
        return rv_cli_fail(RV_EXIT_FAILED, "reeve does not tell its status");
    }
    rv_buf_init(&names, 1 << 16);
    if (!find_service(result.json, logs->only, &names)) {
        status = rv_cli_fail(RV_EXIT_FAILED,
                             "there is no service \"%s\"; there is %s",
                             logs->only, rv_buf_string(&names));
    }
    logs->is_known = true;
    rv_buf_deinit(&names);
    rv_unixctl_result_deinit(&result);
    return status;
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
    int64_t n = print_lines(text, logs->only, 0, true), skip = 0;
    if (logs->lines >= 0) {
        skip = n - logs->lines;
        logs->lines = -1;
    }
    print_lines(text, logs->only, RV_MAX(skip, 0), false);
    logs->is_known = logs->is_known || n > 0;
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
    logs.is_known = !logs.only;
    status = set_json(&logs, &client);
    while (!status) {
        status = fetch(&logs, &client);
        if (!status && !logs.is_known) {
            status = check_service(&logs, &client);
        }
        if (status || !call.follow) {
            break;
        }
        struct timespec pause = {.tv_nsec = TURN_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    rv_unixctl_client_close(&client);
    return status;
}
