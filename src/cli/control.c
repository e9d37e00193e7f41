/* The commands that talk to a running reeve. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "master/master.h"
#include "os/process.h"
#include "os/clock.h"

enum {
    EXTRA_MS = 30000, /* Beyond what the operation is allowed. */
    TURN_MS = 100,    /* Of a progress line, or of following a log. */
};

/* Prints an answer; the exit status. */
static int
print_result(struct rv_unixctl_result *result)
{
    int status = result->is_error ? RV_EXIT_FAILED : RV_EXIT_OK;
    FILE *to = result->is_error ? stderr : stdout;
    if (result->json) {
        char *text = json_dumps(result->json, JSON_INDENT(2));
        fprintf(to, "%s\n", text ? text : "");
        free(text);
    } else {
        const char *text = result->text ? result->text : "";
        size_t n = strlen(text);
        /* Many methods of Open vSwitch answer with nothing at all. */
        bool is_ended = n ? text[n - 1] == '\n' : !result->is_error;
        fprintf(to, "%s%s%s", result->is_error ? "reeve: " : "", text,
                is_ended ? "" : "\n");
    }
    rv_unixctl_result_deinit(result);
    return status;
}

static int
transport_failed(int rc, const struct rv_error *error)
{
    if (rc == -ECONNRESET) {
        return rv_cli_fail(RV_EXIT_FAILED,
                           "the master ended before it answered; `reeve "
                           "status` shows how things are");
    }
    return rv_cli_fail(RV_EXIT_FAILED, "%s", error->text);
}

/* Asks and prints the answer. */
static int
ask(const struct rv_cli_call *call, const char *method, size_t n_args,
    const char *const args[])
{
    struct rv_unixctl_client client;
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    int64_t timeout_ms =
        call->target.timeout_ms >= 0 ? call->target.timeout_ms : EXTRA_MS;
    int status = rv_cli_connect(&call->target, &client);
    if (status) {
        return status;
    }
    int rc = rv_unixctl_client_call_block(&client, method, n_args, args,
                                          (int)timeout_ms, &result, &error);
    rv_unixctl_client_close(&client);
    return rc ? transport_failed(rc, &error) : print_result(&result);
}

/* Waits for the answer to what was sent, and shows progress meanwhile. */
static int
wait_with_progress(struct rv_cli_progress *progress,
                   struct rv_unixctl_client *client, int64_t timeout_ms,
                   struct rv_unixctl_result *result, struct rv_error *error)
{
    int64_t end_ms = rv_clock_ms() + timeout_ms;
    int rc;
    for (;;) {
        rc = rv_unixctl_client_receive(client, result, error);
        if (rc != -EAGAIN) {
            break;
        }
        if (rv_clock_ms() > end_ms) {
            rc = rv_error_set(error, -ETIMEDOUT,
                              "no answer within %lld s; it goes on, see "
                              "`reeve status`",
                              (long long)(timeout_ms / 1000));
            break;
        }
        struct pollfd readable = {client->fd, POLLIN, 0};
        if (poll(&readable, 1, TURN_MS) == 0) {
            rv_cli_progress_draw(progress);
        }
    }
    if (!rc && progress->n_lines) {
        rv_cli_progress_draw(progress);
    }
    return rc;
}

/* Sends a request that takes time, and waits for its end. */
static int
ask_and_wait(const struct rv_cli_call *call, const char *method, size_t n_args,
             const char *const args[], const char *allowed_key)
{
    struct rv_unixctl_client client;
    struct rv_unixctl_result result = {.is_error = false};
    struct rv_error error;
    int64_t timeout_ms = call->target.timeout_ms;
    if (timeout_ms < 0 && !call->no_wait) {
        timeout_ms = rv_cli_allowed_ms(&call->target, allowed_key);
        if (timeout_ms < 0) {
            return RV_EXIT_NOT_RUNNING;
        }
        timeout_ms += EXTRA_MS;
    }
    int status = rv_cli_connect(&call->target, &client);
    if (status) {
        return status;
    }
    /* First, for a reeve that was told to stop may be gone at once. */
    struct rv_cli_progress progress;
    rv_cli_progress_open(&progress, &call->target);
    int rc = rv_unixctl_client_send_block(&client, method, n_args, args,
                                          EXTRA_MS, &error);
    if (!rc) {
        rc = wait_with_progress(&progress, &client,
                                timeout_ms >= 0 ? timeout_ms : EXTRA_MS,
                                &result, &error);
    }
    rv_cli_progress_close(&progress);
    rv_unixctl_client_close(&client);
    return rc ? transport_failed(rc, &error) : print_result(&result);
}

int
rv_cli_status(int argc, char **argv)
{
    struct rv_cli_call call;
    static const char *const json[] = {"--json"};
    int status = rv_cli_parse(argc, argv, "j", 0, 0, &call);
    return status ? status : ask(&call, "status", call.json, json);
}

static int
roll(int argc, char **argv, const char *method)
{
    struct rv_cli_call call;
    const char *args[2];
    size_t n = 0;
    int status = rv_cli_parse(argc, argv, "w", 0, 1, &call);
    if (status) {
        return status;
    }
    if (call.n_words) {
        args[n++] = call.words[0];
    }
    if (call.no_wait) {
        args[n++] = "--no-wait";
    }
    return ask_and_wait(&call, method, n, args, "roll_allowed_ms");
}

int
rv_cli_reload(int argc, char **argv)
{
    return roll(argc, argv, "reload");
}

int
rv_cli_restart(int argc, char **argv)
{
    return roll(argc, argv, "restart");
}

int
rv_cli_scale(int argc, char **argv)
{
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "w", 2, 2, &call);
    if (status) {
        return status;
    }
    const char *args[] = {call.words[0], call.words[1], "--no-wait"};
    return ask_and_wait(&call, "scale", call.no_wait ? 3 : 2, args,
                        "roll_allowed_ms");
}

/* The pid of the keeper, to see it off; 0 if it cannot be learned. */
static pid_t
keeper_pid(const struct rv_cli_call *call)
{
    return (pid_t)rv_cli_allowed_ms(&call->target, "keeper_pid");
}

/* Waits until the process is gone, so that a start may follow at once. */
static void
wait_for_end(int pidfd)
{
    struct pollfd readable = {pidfd, POLLIN, 0};
    if (pidfd >= 0) {
        poll(&readable, 1, EXTRA_MS);
        close(pidfd);
    }
}

int
rv_cli_stop(int argc, char **argv)
{
    struct rv_cli_call call;
    const char *args[2];
    size_t n = 0;
    int pidfd = -1;
    int status = rv_cli_parse(argc, argv, "wN", 0, 0, &call);
    if (status) {
        return status;
    }
    if (call.now) {
        args[n++] = "--now";
    }
    if (call.no_wait) {
        args[n++] = "--no-wait";
    } else {
        pid_t pid = keeper_pid(&call);
        if (pid < 0) {
            return RV_EXIT_NOT_RUNNING;
        }
        if (rv_pidfd_open(pid, 0, &pidfd)) {
            pidfd = -1;
        }
    }
    status = ask_and_wait(&call, "stop", n, args, "stop_allowed_ms");
    wait_for_end(pidfd);
    return status;
}

int
rv_cli_reopen(int argc, char **argv)
{
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "", 0, 0, &call);
    return status ? status : ask(&call, "reopen", 0, NULL);
}

static int
dump_file(const char *path)
{
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    struct rv_buf text;
    int status = RV_EXIT_OK;
    rv_conf_errors_init(&errors);
    rv_buf_init(&text, 1 << 24);
    if (rv_conf_read_file(path, &conf, &errors)) {
        fputs(rv_buf_string(&errors.text), stderr);
        status = RV_EXIT_CONFIGURATION;
    } else if (rv_conf_dump(conf, &text)) {
        status = rv_cli_fail(RV_EXIT_FAILED, "out of memory");
    } else {
        fputs(rv_buf_string(&text), stdout);
    }
    rv_buf_deinit(&text);
    rv_conf_errors_deinit(&errors);
    rv_conf_destroy(conf);
    return status;
}

int
rv_cli_dump(int argc, char **argv)
{
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "", 0, 0, &call);
    if (status) {
        return status;
    }
    return call.target.config ? dump_file(call.target.config)
                              : ask(&call, "dump", 0, NULL);
}

int
rv_cli_ctl(int argc, char **argv)
{
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "", 1, RV_CLI_WORDS, &call);
    if (status) {
        return status;
    }
    call.target.may_be_foreign = true;
    return ask(&call, call.words[0], call.n_words - 1, call.words + 1);
}
