/* A line a service while a command waits: drawn over itself on a terminal,
 * printed when it changes elsewhere. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reeve/buf.h"

enum { BAR_CELLS = 20, STATUS_MS = 2000 };

void
rv_cli_progress_open(struct rv_cli_progress *progress,
                     const struct rv_cli_target *target)
{
    *progress = (struct rv_cli_progress){
        .is_terminal = isatty(STDERR_FILENO),
    };
    progress->is_open = rv_cli_connect(target, &progress->status) == 0;
}

void
rv_cli_progress_close(struct rv_cli_progress *progress)
{
    if (progress->is_open) {
        rv_unixctl_client_close(&progress->status);
        progress->is_open = false;
    }
}

static json_t *
fetch(struct rv_unixctl_client *client)
{
    static const char *const args[] = {"--json"};
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    if (rv_unixctl_client_call_block(client, "status", 1, args, STATUS_MS,
                                     &result, &error)) {
        return NULL;
    }
    json_t *status = NULL;
    if (!result.is_error && result.json) {
        status = json_incref(result.json);
    } else if (!result.is_error && result.text) {
        status = json_loads(result.text, 0, NULL);
    }
    rv_unixctl_result_deinit(&result);
    return status;
}

static int
number(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static void
format_service(const json_t *service, bool has_bar, struct rv_buf *text)
{
    bool is_rolling = number(service, "candidate") != 0;
    int ready = number(service, is_rolling ? "candidates_ready" : "ready");
    int wanted = number(service, "wanted");
    int leaving = number(service, "draining");
    rv_buf_printf(text,
                  "%s: ", json_string_value(json_object_get(service, "name")));
    if (has_bar && wanted) {
        int filled = RV_MIN(ready, wanted) * BAR_CELLS / wanted;
        rv_buf_printf(text, "[%.*s%.*s] ", filled, "####################",
                      BAR_CELLS - filled, "                    ");
    }
    rv_buf_printf(text, "ready %d/%d", ready, wanted);
    if (leaving) {
        rv_buf_printf(text, ", draining %d", leaving);
    }
    rv_buf_puts(text, "\n");
}

static void
print_over(struct rv_cli_progress *progress, const char *text)
{
    for (; progress->n_lines; progress->n_lines--) {
        fputs("\033[A\033[2K", stderr);
    }
    fputs(text, stderr);
    for (const char *p = text; (p = strchr(p, '\n')); p++) {
        progress->n_lines++;
    }
}

void
rv_cli_progress_draw(struct rv_cli_progress *progress)
{
    json_t *status = progress->is_open ? fetch(&progress->status) : NULL;
    struct rv_buf text;
    size_t i;
    json_t *service;
    if (!status) {
        return;
    }
    rv_buf_init(&text, sizeof progress->last - 1);
    json_array_foreach(json_object_get(status, "services"), i, service)
    {
        format_service(service, progress->is_terminal, &text);
    }
    if (progress->is_terminal) {
        print_over(progress, rv_buf_string(&text));
    } else if (strcmp(progress->last, rv_buf_string(&text))) {
        fputs(rv_buf_string(&text), stderr);
        snprintf(progress->last, sizeof progress->last, "%s",
                 rv_buf_string(&text));
    }
    rv_buf_deinit(&text);
    json_decref(status);
}

int64_t
rv_cli_allowed_ms(const struct rv_cli_target *target, const char *key)
{
    struct rv_unixctl_client client;
    if (rv_cli_connect(target, &client)) {
        return -1;
    }
    json_t *status = fetch(&client);
    int64_t ms = json_integer_value(json_object_get(status, key));
    json_decref(status);
    rv_unixctl_client_close(&client);
    return ms;
}
