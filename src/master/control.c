/* The control socket's commands. */
#include "master/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reeve/log.h"
#include "base/str.h"
#include "os/fd.h"
#include "os/listen.h"
#include "reeve/jsonrpc.h"

#define RV_LOG_THIS RV_LOG_MASTER

enum { MANY_WORKERS = 200 };

/* Whether one of the arguments is 'option'. */
static bool
has_option(const struct rv_unixctl_call *call, const char *option)
{
    for (size_t i = 0; i < rv_unixctl_call_n_args(call); i++) {
        if (!strcmp(rv_unixctl_call_arg(call, i), option)) {
            return true;
        }
    }
    return false;
}

/* The first argument that is no option, or NULL.  An unknown option is
 * answered as an error, and '*badp' set. */
static const char *
operand(struct rv_unixctl_call *call, const char *const *options, bool *badp)
{
    const char *found = NULL;
    *badp = false;
    for (size_t i = 0; i < rv_unixctl_call_n_args(call); i++) {
        const char *argument = rv_unixctl_call_arg(call, i);
        bool is_known = false;
        for (size_t k = 0; options[k]; k++) {
            is_known = is_known || !strcmp(argument, options[k]);
        }
        if (!is_known && argument[0] == '-') {
            char text[128];
            snprintf(text, sizeof text, "unknown option \"%.64s\"", argument);
            rv_unixctl_reply_error(call, text);
            *badp = true;
            return NULL;
        }
        if (!is_known && !found) {
            found = argument;
        }
    }
    return found;
}

static void
on_status(struct rv_unixctl_call *call, void *context)
{
    static const char *const options[] = {"--json", NULL};
    struct rv__master *master = context;
    bool is_bad;
    if (operand(call, options, &is_bad)) {
        rv_unixctl_reply_error(call, "status takes no service");
        return;
    }
    if (is_bad) {
        return;
    }
    if (rv_unixctl_call_wants_json(call) || has_option(call, "--json")) {
        rv_unixctl_reply_json(call, rv__status_json(master));
    } else {
        struct rv_buf text;
        rv_buf_init(&text, 1 << 24);
        rv__status_text(master, &text);
        rv_unixctl_reply(call, rv_buf_string(&text));
        rv_buf_deinit(&text);
    }
    if (rv_pool_n_slots(master->pool) > MANY_WORKERS) {
        malloc_trim(0); /* It was more than all that stays. */
    }
}

typedef int roll_function(struct rv__master *, const char *,
                          struct rv_unixctl_call *, bool, struct rv_error *);

static void
roll(struct rv_unixctl_call *call, struct rv__master *master,
     roll_function *function)
{
    static const char *const options[] = {"--no-wait", NULL};
    struct rv_error error;
    bool is_bad;
    const char *service = operand(call, options, &is_bad);
    if (is_bad) {
        return;
    }
    bool wait = !has_option(call, "--no-wait");
    int rc = function(master, service, call, wait, &error);
    if (rc) {
        rv_unixctl_reply_error(call, error.text);
    } else if (!wait) {
        rv_unixctl_reply(call, "begun");
    }
}

static void
on_reload(struct rv_unixctl_call *call, void *context)
{
    roll(call, context, rv__operation_reload);
}

static void
on_restart(struct rv_unixctl_call *call, void *context)
{
    roll(call, context, rv__operation_restart);
}

static void
on_scale(struct rv_unixctl_call *call, void *context)
{
    struct rv_error error;
    int64_t n;
    const char *service = rv_unixctl_call_arg(call, 0);
    bool wait = rv_unixctl_call_n_args(call) == 2;
    if (rv_str_parse_integer(rv_unixctl_call_arg(call, 1), &n) || n < 0
        || n > INT32_MAX) {
        rv_unixctl_reply_error(call, "the number of workers must be a whole "
                                     "number");
    } else if (!wait && strcmp(rv_unixctl_call_arg(call, 2), "--no-wait")) {
        rv_unixctl_reply_error(call, "the third argument may only be "
                                     "--no-wait");
    } else if (rv__operation_scale(context, service, (int)n,
                                   wait ? call : NULL, &error)) {
        rv_unixctl_reply_error(call, error.text);
    } else if (!wait) {
        rv_unixctl_reply(call, "begun");
    }
}

static void
on_stop(struct rv_unixctl_call *call, void *context)
{
    static const char *const options[] = {"--now", "--no-wait", NULL};
    bool is_bad;
    const char *other = operand(call, options, &is_bad);
    if (is_bad) {
        return;
    }
    if (other) {
        rv_unixctl_reply_error(call, "stop takes no service; use scale to "
                                     "stop the workers of one");
        return;
    }
    bool wait = !has_option(call, "--no-wait");
    enum rv_pool_stop how =
        has_option(call, "--now") ? RV_POOL_STOP_FAST : RV_POOL_STOP_GRACEFUL;
    rv__operation_stop(context, how, wait ? call : NULL);
    if (!wait) {
        rv_unixctl_reply(call, "begun");
    }
}

static void
on_reopen(struct rv_unixctl_call *call, void *context)
{
    rv__output_reopen(context);
    rv_unixctl_reply(call, "reopened");
}

static void
on_dump(struct rv_unixctl_call *call, void *context)
{
    struct rv__master *master = context;
    struct rv_buf text;
    rv_buf_init(&text, 1 << 24);
    if (rv_conf_dump(master->conf->conf, &text)) {
        rv_unixctl_reply_error(call, "out of memory");
    } else {
        rv_unixctl_reply(call, rv_buf_string(&text));
    }
    rv_buf_deinit(&text);
}

/* The zone that the first argument names, or NULL with the call answered. */
static struct rv__zone *
zone_argument(struct rv_unixctl_call *call, struct rv__master *master)
{
    const char *name = rv_unixctl_call_arg(call, 0);
    struct rv__zone *zone = rv__zone_find(master, name);
    if (!zone) {
        char text[128];
        snprintf(text, sizeof text, "there is no zone \"%.64s\"", name);
        rv_unixctl_reply_error(call, text);
    }
    return zone;
}

/* zone/fd NAME: where whoever may look into us finds the zone. */
static void
on_zone_fd(struct rv_unixctl_call *call, void *context)
{
    const struct rv__zone *zone = zone_argument(call, context);
    if (zone) {
        char text[64];
        snprintf(text, sizeof text, "/proc/%d/fd/%d", (int)getpid(), zone->fd);
        rv_unixctl_reply(call, text);
    }
}

static void
on_zone_resize(struct rv_unixctl_call *call, void *context)
{
    struct rv_error error;
    int64_t bytes;
    bool is_trimmed = rv_unixctl_call_n_args(call) == 3;
    struct rv__zone *zone = zone_argument(call, context);
    if (!zone) {
        return;
    }
    if (rv_str_parse_size(rv_unixctl_call_arg(call, 1), &bytes)) {
        rv_unixctl_reply_error(call, "the size must be one such as 64MiB");
    } else if (is_trimmed && strcmp(rv_unixctl_call_arg(call, 2), "trimmed")) {
        rv_unixctl_reply_error(call, "the third argument may only be "
                                     "trimmed");
    } else if (rv__zone_resize(zone, (uint64_t)bytes, is_trimmed, &error)) {
        rv_unixctl_reply_error(call, error.text);
    } else {
        char text[RV_STR_SIZE];
        rv_str_format_size((int64_t)zone->info.size_bytes, text);
        rv_unixctl_reply(call, text);
    }
}

/* logs [POSITION]: the lines kept since a position; in JSON with the position
 * to ask for next, which is how `reeve logs -f` follows. */
static void
on_logs(struct rv_unixctl_call *call, void *context)
{
    struct rv__master *master = context;
    const struct rv_buf *ring = &master->ring;
    int64_t from = 0;
    uint64_t start = master->ring_end - ring->length;
    if (rv_unixctl_call_n_args(call)
        && (rv_str_parse_integer(rv_unixctl_call_arg(call, 0), &from)
            || from < 0)) {
        rv_unixctl_reply_error(call, "the position must be a whole number");
        return;
    }
    uint64_t first = RV_MAX((uint64_t)from, start);
    first = RV_MIN(first, master->ring_end);
    const char *text = rv_buf_string(ring) + (first - start);
    if (!rv_unixctl_call_wants_json(call)) {
        rv_unixctl_reply(call, text);
        return;
    }
    json_t *copy = rv_jsonrpc_text(text);
    rv_unixctl_reply_json(call, json_pack("{s:o, s:I}", "text", copy, "next",
                                          (json_int_t)master->ring_end));
}

#if RV_TEST_COMMANDS
static void
on_time_stop(struct rv_unixctl_call *call, void *context)
{
    struct rv__master *master = context;
    rv_loop_clock_stop(&master->loop);
    rv_unixctl_reply(call, "");
}

static void
on_time_warp(struct rv_unixctl_call *call, void *context)
{
    struct rv__master *master = context;
    int64_t ms;
    if (rv_str_parse_integer(rv_unixctl_call_arg(call, 0), &ms) || ms < 0) {
        rv_unixctl_reply_error(call, "time/warp takes milliseconds");
        return;
    }
    rv_loop_clock_warp(&master->loop, ms);
    rv_unixctl_reply(call, "warped");
}
#endif

static const struct {
    const char *name, *usage;
    int min_args, max_args;
    rv_unixctl_handler *handler;
} commands[] = {
    {"status", "[--json]", 0, 1, on_status},
    {"reload", "[SERVICE] [--no-wait]", 0, 2, on_reload},
    {"restart", "[SERVICE] [--no-wait]", 0, 2, on_restart},
    {"scale", "SERVICE N [--no-wait]", 2, 3, on_scale},
    {"stop", "[--now] [--no-wait]", 0, 2, on_stop},
    {"exit", "[--now] [--no-wait]", 0, 2, on_stop},
    {"reopen", "", 0, 0, on_reopen},
    {"dump", "", 0, 0, on_dump},
    {"logs", "[POSITION]", 0, 1, on_logs},
    {"zone/fd", "NAME", 1, 1, on_zone_fd},
    {"zone/resize", "NAME SIZE [trimmed]", 2, 3, on_zone_resize},
#if RV_TEST_COMMANDS
    {"time/stop", "", 0, 0, on_time_stop},
    {"time/warp", "MS", 1, 1, on_time_warp},
#endif
};

static uint64_t
count_workers(void *context)
{
    const struct rv__master *master = context;
    uint64_t n = 0;
    for (int slot = 0; slot < master->max_workers; slot++) {
        n += master->workers[slot] != NULL;
    }
    return n;
}

static uint64_t
count_log_bytes(void *context)
{
    const struct rv__master *master = context;
    return master->ring.length;
}

/* For memory/show. */
static void
register_memory_counts(struct rv__master *master)
{
    const struct rv_memory_provider providers[] = {
        {.name = "log-bytes", .count = count_log_bytes, .context = master},
        {.name = "workers", .count = count_workers, .context = master},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(providers); i++) {
        master->memory_counts[i] = providers[i];
        rv_memory_register(&master->memory_counts[i]);
    }
}

static int
register_commands(struct rv__master *master)
{
    int rc = rv_unixctl_server_init(&master->control);
    for (size_t i = 0; !rc && i < RV_ARRAY_SIZE(commands); i++) {
        rc = rv_unixctl_register(&master->control, commands[i].name,
                                 commands[i].usage, commands[i].min_args,
                                 commands[i].max_args, commands[i].handler,
                                 master);
    }
    rv_unixctl_server_set_version(&master->control,
                                  "reeve (reeve) " RV_VERSION);
    register_memory_counts(master);
    return rc;
}

static int
open_socket(struct rv__master *master, struct rv_error *error)
{
    struct rv_address address = {
        .type = SOCK_STREAM,
        .length = sizeof(struct sockaddr_un),
        .u.un.sun_family = AF_UNIX,
    };
    size_t n = strlen(master->control_path);
    if (n >= sizeof address.u.un.sun_path) {
        return rv_error_set(error, -ENAMETOOLONG,
                            "the control socket's path is longer than %zu "
                            "bytes: %s; set runtime_dir to a shorter one",
                            sizeof address.u.un.sun_path - 1,
                            master->control_path);
    }
    memcpy(address.u.un.sun_path, master->control_path, n + 1);
    struct rv_listen_options options = {.backlog = 4096, .mode = 0600};
    mode_t old = umask(077);
    int rc = rv_listen_open(&address, &options, &master->control_fd, error);
    umask(old);
    if (!rc) {
        rv__master_put(master, "control", master->control_fd);
    }
    return rc;
}

/* The socket of a keeper that died has its pid in its name. */
static void
remove_old_socket(struct rv__master *master, int fd)
{
    struct rv_address old = {.length = sizeof old.u};
    if (!getsockname(fd, &old.u.any, &old.length)
        && old.u.any.sa_family == AF_UNIX) {
        unlink(old.u.un.sun_path);
    }
    rv__master_drop(master, "control");
    rv_fd_close(&fd);
}

static int
take_or_open(struct rv__master *master, struct rv_error *error)
{
    struct rv_address address = {
        .type = SOCK_STREAM,
        .length = sizeof(struct sockaddr_un),
        .u.un.sun_family = AF_UNIX,
    };
    snprintf(address.u.un.sun_path, sizeof address.u.un.sun_path, "%.107s",
             master->control_path);
    int fd = rv__master_take_entry(master, "control");
    if (fd >= 0 && rv_listen_matches(fd, &address)
        && !access(master->control_path, F_OK)) {
        master->control_fd = fd;
        return 0;
    }
    if (fd >= 0) {
        remove_old_socket(master, fd);
    }
    return open_socket(master, error);
}

int
rv__control_open(struct rv__master *master, struct rv_error *error)
{
    const struct rv_conf *conf = master->conf->conf;
    snprintf(master->control_path, sizeof master->control_path,
             "%.180s/%.64s.%d.ctl", master->rundir, conf->name,
             (int)master->keeper_pid);
    int rc = take_or_open(master, error);
    if (rc) {
        return rc;
    }
    struct rv_unixctl_limits limits = RV_UNIXCTL_LIMITS;
    limits.max_connections = (unsigned int)conf->max_control_connections;
    limits.max_request_bytes = (size_t)conf->max_control_message_bytes;
    rc = register_commands(master);
    if (!rc) {
        rc = rv_unixctl_server_start(&master->control, &master->loop,
                                     master->control_fd, &limits);
    }
    return rc ? rv_error_errno(error, rc, "control socket") : 0;
}

void
rv__control_close(struct rv__master *master)
{
    if (master->control.n_commands) {
        rv_unixctl_server_deinit(&master->control);
        for (size_t i = 0; i < RV_ARRAY_SIZE(master->memory_counts); i++) {
            rv_memory_unregister(&master->memory_counts[i]);
        }
    }
    if (master->control_fd >= 0) {
        unlink(master->control_path);
    }
    rv_fd_close(&master->control_fd);
}
