#include "rpc/unixctl_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "reeve/buf.h"
#include "reeve/coverage.h"
#include "reeve/log.h"
#include "reeve/log_outputs.h"
#include "reeve/memory.h"

#define RV_LOG_THIS RV_LOG_RPC

enum { TEXT_MAX = 1024 * 1024 };

static const char *
upper(const char *name, char text[16])
{
    size_t i;
    for (i = 0; i < 15 && name[i]; i++) {
        text[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A'
                                                          : name[i]);
    }
    text[i] = '\0';
    return text;
}

/* Unlike the original's, the column of a destination that is not open says
 * OFF, since nothing is logged there. */
static void
vlog_list(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    struct rv_buf text;
    const struct rv_log_module *module = NULL;
    rv_buf_init(&text, TEXT_MAX);
    rv_buf_puts(&text, "                 console    syslog    file\n"
                       "                 -------    ------    ------\n");
    while ((module = rv_log_module_next(module))) {
        char levels[RV_LOG_N_DESTINATIONS][16];
        for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
            enum rv_log_destination at = (enum rv_log_destination)i;
            enum rv_log_level level =
                rv_log_is_open(at) ? rv_log_get_level(module, at) : RV_LOG_OFF;
            upper(rv_log_level_name(level), levels[i]);
        }
        rv_buf_printf(
            &text, "%-16s  %4s       %4s       %4s%s\n", module->name,
            levels[RV_LOG_CONSOLE], levels[RV_LOG_SYSLOG], levels[RV_LOG_FILE],
            module->has_no_rate_limit ? "    (rate limiting disabled)" : "");
    }
    rv_unixctl_reply_buf(call, &text);
}

static void
vlog_list_pattern(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    static const enum rv_log_destination order[] = {
        RV_LOG_SYSLOG, RV_LOG_CONSOLE, RV_LOG_FILE};
    struct rv_buf text;
    rv_buf_init(&text, TEXT_MAX);
    rv_buf_puts(&text, "         prefix                            format\n"
                       "         ------                            ------\n");
    for (size_t i = 0; i < RV_ARRAY_SIZE(order); i++) {
        const struct rv_log_outlet *outlet = rv_log_get_outlet(order[i]);
        char name[16];
        rv_buf_printf(&text, "%-7s  %-32s  %s\n",
                      upper(rv_log_destination_name(order[i]), name),
                      outlet && outlet->prefix ? outlet->prefix : "none",
                      rv_log_get_pattern(order[i]));
    }
    rv_unixctl_reply_buf(call, &text);
}

/* All arguments are read before the first one counts, so that an error
 * changes nothing. */
static void
vlog_set(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    size_t n = rv_unixctl_call_n_args(call);
    struct rv_error error;
    for (size_t i = 0; i < n; i++) {
        if (rv_log_check_spec(rv_unixctl_call_arg(call, i), &error)) {
            rv_unixctl_reply_error(call, error.text);
            return;
        }
    }
    int rc = n ? 0 : rv_log_set_spec("", &error);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = rv_log_set_spec_and_open(rv_unixctl_call_arg(call, i), &error);
    }
    if (rc) {
        rv_unixctl_reply_error(call, error.text);
    } else {
        rv_unixctl_reply(call, "");
    }
}

static void
vlog_reopen(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    int rc = rv_log_reopen(RV_LOG_FILE);
    if (!rc) {
        rv_unixctl_reply(call, "");
    } else if (rv_log_get_outlet(RV_LOG_FILE)) {
        rv_unixctl_reply_error(call, strerror(-rc));
    } else {
        rv_unixctl_reply_error(call, "Logging to file not configured");
    }
}

static void
vlog_close(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    if (rv_log_get_outlet(RV_LOG_FILE)) {
        rv_log_close(RV_LOG_FILE);
    }
    rv_unixctl_reply(call, "");
}

static void
set_rate_limits(struct rv_unixctl_call *call, bool enabled)
{
    size_t n = rv_unixctl_call_n_args(call);
    for (size_t i = 0; i < n; i++) {
        const char *name = rv_unixctl_call_arg(call, i);
        if (strcasecmp(name, "ANY") && !rv_log_module_find(name)) {
            rv_unixctl_reply_error(call, "unknown module");
            return;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = rv_unixctl_call_arg(call, i);
        rv_log_set_rate_limit(
            strcasecmp(name, "ANY") ? rv_log_module_find(name) : NULL,
            enabled);
    }
    if (!n) {
        rv_log_set_rate_limit(NULL, enabled);
    }
    rv_unixctl_reply(call, "");
}

static void
vlog_enable_rate_limit(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    set_rate_limits(call, true);
}

static void
vlog_disable_rate_limit(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    set_rate_limits(call, false);
}

/* For tests, as in the original: a line of the caller's own. */
static void
vlog_message(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    rv_log_info("user-message: %s", rv_unixctl_call_arg(call, 0));
    rv_unixctl_reply(call, "");
}

static void
coverage_show(struct rv_unixctl_call *call, void *server_)
{
    const struct rv_unixctl_server *server = server_;
    struct rv_buf text;
    rv_buf_init(&text, TEXT_MAX);
    if (server->loop) {
        rv_coverage_run(rv_loop_now(server->loop));
    }
    rv_coverage_show(&text);
    rv_unixctl_reply_buf(call, &text);
}

static void
coverage_read_counter(struct rv_unixctl_call *call, void *context RV_UNUSED)
{
    uint64_t total;
    char text[32];
    if (rv_coverage_read(rv_unixctl_call_arg(call, 0), &total)) {
        rv_unixctl_reply_error(call, "No such counter");
        return;
    }
    snprintf(text, sizeof text, "%" PRIu64, total);
    rv_unixctl_reply(call, text);
}

/* The resident set, from the second number of /proc/self/statm, in pages. */
static uint64_t
count_rss_kb(void *context RV_UNUSED)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) {
        return 0;
    }
    if (fscanf(file, "%*s %ld", &pages) != 1) {
        pages = 0;
    }
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static uint64_t
count_connections(void *server_)
{
    const struct rv_unixctl_server *server = server_;
    return server->n_clients;
}

static void
memory_show(struct rv_unixctl_call *call, void *server)
{
    struct rv_memory_provider own[] = {
        {.name = "rss-kB", .count = count_rss_kb},
        {.name = "unixctl-connections",
         .count = count_connections,
         .context = server},
    };
    struct rv_buf text;
    rv_buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < RV_ARRAY_SIZE(own); i++) {
        rv_memory_register(&own[i]);
    }
    rv_memory_show(&text);
    for (size_t i = 0; i < RV_ARRAY_SIZE(own); i++) {
        rv_memory_unregister(&own[i]);
    }
    rv_unixctl_reply_buf(call, &text);
}

int
rv_unixctl_log_register(struct rv_unixctl_server *server)
{
    const int any = RV_UNIXCTL_ANY_ARGS;
    const struct {
        const char *name, *usage;
        int min_args, max_args;
        rv_unixctl_handler *handler;
    } rows[] = {
        {"coverage/read-counter", "COUNTER", 1, 1, coverage_read_counter},
        {"coverage/show", "", 0, 0, coverage_show},
        {"memory/show", "", 0, 0, memory_show},
        {"vlog/close", "", 0, 0, vlog_close},
        {"vlog/disable-rate-limit", "[module]...", 0, any,
         vlog_disable_rate_limit},
        {"vlog/enable-rate-limit", "[module]...", 0, any,
         vlog_enable_rate_limit},
        {"vlog/list", "", 0, 0, vlog_list},
        {"vlog/list-pattern", "", 0, 0, vlog_list_pattern},
        {"vlog/message", NULL, 1, 1, vlog_message},
        {"vlog/reopen", "", 0, 0, vlog_reopen},
        {"vlog/set", "{spec | PATTERN:destination:pattern}", 0, any, vlog_set},
    };
    rv_log_register(RV_LOG_RPC);
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        int rc = rv_unixctl_register(server, rows[i].name, rows[i].usage,
                                     rows[i].min_args, rows[i].max_args,
                                     rows[i].handler, server);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
