#include "rpc/unixctl_builtin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "reeve/buf.h"
#include "reeve/jsonrpc.h"
#include "rpc/unixctl_log.h"

enum { TEXT_MAX = 1024 * 1024 };

static void
list_commands_json(struct rv_unixctl_call *call,
                   const struct rv_unixctl_server *server)
{
    json_t *list = json_object();
    for (size_t i = 0; i < server->n_commands; i++) {
        const struct rv_unixctl_command *command = &server->commands[i];
        if (command->usage
            && json_object_set_new(list, command->name,
                                   rv_jsonrpc_text(command->usage))) {
            json_decref(list);
            list = NULL;
            break;
        }
    }
    rv_unixctl_reply_json(call, list);
}

static void
list_commands(struct rv_unixctl_call *call, void *server_)
{
    const struct rv_unixctl_server *server = server_;
    if (rv_unixctl_call_wants_json(call)) {
        list_commands_json(call, server);
        return;
    }
    struct rv_buf text;
    rv_buf_init(&text, TEXT_MAX);
    rv_buf_puts(&text, "The available commands are:\n");
    for (size_t i = 0; i < server->n_commands; i++) {
        const struct rv_unixctl_command *command = &server->commands[i];
        if (command->usage) {
            rv_buf_printf(&text, "  %-23s %s\n", command->name,
                          command->usage);
        }
    }
    rv_unixctl_reply_buf(call, &text);
}

static void
version(struct rv_unixctl_call *call, void *server_)
{
    const struct rv_unixctl_server *server = server_;
    rv_unixctl_reply(call, server->version);
}

static void
reply_errorf(struct rv_unixctl_call *call, const char *format,
             const char *argument)
{
    struct rv_buf text;
    rv_buf_init(&text, TEXT_MAX);
    for (const char *p = format; *p; p++) {
        if (*p == '@') {
            rv_buf_puts(&text, argument);
        } else {
            rv_buf_put(&text, p, 1);
        }
    }
    rv_unixctl_reply_error(call, text.failed ? "out of memory"
                                             : rv_buf_string(&text));
    rv_buf_deinit(&text);
}

/* The value of the format option in argument '*ip', or in the one behind it
 * ('*ip' then moves); NULL when the value lacks.  'is_option' tells whether
 * it is that option at all. */
static const char *
format_option(const struct rv_unixctl_call *call, size_t *ip, bool *is_option)
{
    const char *arg = rv_unixctl_call_arg(call, *ip);
    const char *equals = "--format=";
    *is_option = true;
    if (!strncmp(arg, equals, strlen(equals))) {
        return arg + strlen(equals);
    }
    if (!strncmp(arg, "-f", 2) && arg[2]) {
        return arg + 2;
    }
    if (strcmp(arg, "--format") && strcmp(arg, "-f")) {
        *is_option = false;
        return NULL;
    }
    ++*ip;
    return *ip < rv_unixctl_call_n_args(call) ? rv_unixctl_call_arg(call, *ip)
                                              : NULL;
}

static void
set_options(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    bool wants_json = rv_unixctl_call_wants_json(call);
    for (size_t i = 0; i < rv_unixctl_call_n_args(call); i++) {
        const char *arg = rv_unixctl_call_arg(call, i);
        bool is_option;
        const char *value = format_option(call, &i, &is_option);
        if (!is_option) {
            reply_errorf(call, "unrecognized option '@'", arg);
            return;
        }
        if (!value) {
            reply_errorf(call, "option '@' requires an argument", arg);
            return;
        }
        if (!strcasecmp(value, "json") || !strcasecmp(value, "text")) {
            wants_json = !strcasecmp(value, "json");
        } else {
            reply_errorf(call, "option format has invalid value @", value);
            return;
        }
    }
    rv_unixctl_call_set_json(call, wants_json);
    rv_unixctl_reply(call, "");
}

int
rv_unixctl_builtin_register(struct rv_unixctl_server *server)
{
    const struct {
        const char *name, *usage;
        int min_args, max_args;
        rv_unixctl_handler *handler;
    } rows[] = {
        {"help", NULL, 0, 0, list_commands},
        {"list-commands", "", 0, 0, list_commands},
        {"set-options", "[--format text|json]", 1, 2, set_options},
        {"version", "", 0, 0, version},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        int rc = rv_unixctl_register(server, rows[i].name, rows[i].usage,
                                     rows[i].min_args, rows[i].max_args,
                                     rows[i].handler, server);
        if (rc) {
            return rc;
        }
    }
    return rv_unixctl_log_register(server);
}
