#include "reeve/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

enum {
    RATE_BURST = 30,
    RATE_PER_MINUTE = 30,
    LINE_BYTES = 2048,
    FORMATTED_BYTES = 4096,
    NAME_BYTES = 32,
    MAX_DEPTH = 3,
};

static const char *const level_names[RV_LOG_N_LEVELS] = {
    "off", "emer", "err", "warn", "info", "dbg",
};

static const char *const destination_names[RV_LOG_N_DESTINATIONS] = {
    [RV_LOG_CONSOLE] = "console",
    [RV_LOG_SYSLOG] = "syslog",
    [RV_LOG_FILE] = "file",
};

static const char *const default_patterns[RV_LOG_N_DESTINATIONS] = {
    [RV_LOG_CONSOLE] = "%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c%T|%p|%m",
    [RV_LOG_SYSLOG] = "%05N|%c%T|%p|%m",
    [RV_LOG_FILE] = "%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m",
};

struct rv_log_module rv_log_module_keeper = RV_LOG_MODULE("keeper");
struct rv_log_module rv_log_module_master = RV_LOG_MODULE("master");
struct rv_log_module rv_log_module_pool = RV_LOG_MODULE("pool");
struct rv_log_module rv_log_module_rpc = RV_LOG_MODULE("rpc");
struct rv_log_module rv_log_module_worker = RV_LOG_MODULE("worker");

struct destination {
    struct rv_log_outlet outlet; /* 'write' NULL: none. */
    bool has_outlet, is_closed;
    char *pattern; /* Owned; NULL: the default. */
    uint8_t default_level;
};

/* The one log of the process: the exception to "no mutable globals". */
static struct log {
    bool has_begun;
    struct rv_list modules; /* Sorted by name. */
    struct destination destinations[RV_LOG_N_DESTINATIONS];
    bool has_no_rate_limit; /* For modules that become known. */
    int depth;              /* Outlets at work, one within another. */
    char program[NAME_BYTES], subprogram[NAME_BYTES];
    int facility; /* Plus 1; 0: not set. */
    unsigned int n_lines;
    int64_t began_ms;
} the_log;

static int64_t
clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
begin(void)
{
    if (the_log.has_begun) {
        return;
    }
    the_log.has_begun = true;
    /* A copy: a new title of the process overwrites the original's bytes. */
    if (!the_log.program[0]) {
        rv_log_set_program(program_invocation_short_name);
    }
    the_log.began_ms = clock_ms(CLOCK_MONOTONIC_COARSE);
    rv_list_init(&the_log.modules);
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        the_log.destinations[i].default_level = RV_LOG_INFO;
    }
}

static struct rv_log_module *
module_of(struct rv_list *node)
{
    return RV_CONTAINER_OF(node, struct rv_log_module, node);
}

/* -- Names -- */

const char *
rv_log_level_name(enum rv_log_level level)
{
    return level_names[level];
}

const char *
rv_log_destination_name(enum rv_log_destination destination)
{
    return destination_names[destination];
}

static int
find_name(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        if (!strcasecmp(names[i], name)) {
            return i;
        }
    }
    return -1;
}

int
rv_log_level_parse(const char *name)
{
    return find_name(level_names, RV_LOG_N_LEVELS, name);
}

int
rv_log_destination_parse(const char *name)
{
    return find_name(destination_names, RV_LOG_N_DESTINATIONS, name);
}

void
rv_log_set_program(const char *name)
{
    rv_str_copy(the_log.program, sizeof the_log.program, name);
}

const char *
rv_log_get_program(void)
{
    begin();
    return the_log.program;
}

void
rv_log_set_subprogram(const char *name)
{
    rv_str_copy(the_log.subprogram, sizeof the_log.subprogram, name);
}

int
rv_log_set_facility(const char *name)
{
    int facility = rv_log_facility_parse(name);
    if (facility < 0) {
        return -EINVAL;
    }
    the_log.facility = facility + 1;
    return 0;
}

/* -- Modules and levels -- */

static void
update_reach(struct rv_log_module *module)
{
    module->reach = RV_LOG_OFF;
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        if (rv_log_is_open((enum rv_log_destination)i)) {
            module->reach = RV_MAX(module->reach, module->levels[i]);
        }
    }
}

static void
update_all_reaches(void)
{
    struct rv_list *node;
    begin();
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        update_reach(module_of(node));
    }
}

/* Takes what holds for all modules, or for the one known by the same name. */
static void
take_settings(struct rv_log_module *module, const struct rv_log_module *twin)
{
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        module->levels[i] =
            twin ? twin->levels[i] : the_log.destinations[i].default_level;
    }
    module->has_no_rate_limit =
        twin ? twin->has_no_rate_limit : the_log.has_no_rate_limit;
    update_reach(module);
}

void
rv_log_register(struct rv_log_module *module)
{
    struct rv_list *node;
    if (module->is_known) {
        return;
    }
    begin();
    take_settings(module, rv_log_module_find(module->name));
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        if (strcasecmp(module_of(node)->name, module->name) > 0) {
            break;
        }
    }
    rv_list_push_back(node, &module->node); /* Just before 'node'. */
    module->is_known = true;
}

struct rv_log_module *
rv_log_module_find(const char *name)
{
    struct rv_list *node;
    begin();
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        if (!strcasecmp(module_of(node)->name, name)) {
            return module_of(node);
        }
    }
    return NULL;
}

const struct rv_log_module *
rv_log_module_next(const struct rv_log_module *module)
{
    struct rv_list *node;
    begin();
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        if (!module || strcasecmp(module_of(node)->name, module->name) > 0) {
            return module_of(node);
        }
    }
    return NULL;
}

/* Whether 'known' is meant by 'module', which may be NULL for all. */
static bool
is_meant(const struct rv_log_module *known, const struct rv_log_module *module)
{
    return !module || !strcasecmp(known->name, module->name);
}

static void
set_level(const struct rv_log_module *module, int destination, uint8_t level)
{
    struct rv_list *node;
    if (!module) {
        the_log.destinations[destination].default_level = level;
    }
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        struct rv_log_module *known = module_of(node);
        if (is_meant(known, module)) {
            known->levels[destination] = level;
            update_reach(known);
        }
    }
}

void
rv_log_set_level(struct rv_log_module *module,
                 enum rv_log_destination destination, enum rv_log_level level)
{
    begin();
    if (module) {
        rv_log_register(module);
    }
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        if (destination == RV_LOG_ANY || (int)destination == i) {
            set_level(module, i, (uint8_t)level);
        }
    }
}

enum rv_log_level
rv_log_get_level(const struct rv_log_module *module,
                 enum rv_log_destination destination)
{
    begin();
    return (enum rv_log_level)(
        module->is_known ? module->levels[destination]
                         : the_log.destinations[destination].default_level);
}

void
rv_log_set_rate_limit(struct rv_log_module *module, bool enabled)
{
    struct rv_list *node;
    begin();
    if (module) {
        rv_log_register(module);
    } else {
        the_log.has_no_rate_limit = !enabled;
    }
    RV_LIST_FOR_EACH (node, &the_log.modules) {
        if (is_meant(module_of(node), module)) {
            module_of(node)->has_no_rate_limit = !enabled;
        }
    }
}

/* -- Patterns -- */

const char *
rv_log_get_pattern(enum rv_log_destination destination)
{
    const char *pattern = the_log.destinations[destination].pattern;
    return pattern ? pattern : default_patterns[destination];
}

int
rv_log_set_pattern(enum rv_log_destination destination, const char *pattern,
                   struct rv_error *error)
{
    char *copies[RV_LOG_N_DESTINATIONS] = {NULL};
    int rc = rv_log_pattern_check(pattern, error);
    for (int i = 0; !rc && i < RV_LOG_N_DESTINATIONS; i++) {
        if (destination == RV_LOG_ANY || (int)destination == i) {
            copies[i] = strdup(pattern);
            rc = copies[i] ? 0 : rv_error_errno(error, -ENOMEM, "pattern");
        }
    }
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        if (!rc && copies[i]) {
            free(the_log.destinations[i].pattern);
            the_log.destinations[i].pattern = copies[i];
        } else {
            free(copies[i]);
        }
    }
    return rc;
}

/* -- Outlets -- */

void
rv_log_set_outlet(enum rv_log_destination destination,
                  const struct rv_log_outlet *outlet)
{
    struct destination *d = &the_log.destinations[destination];
    struct rv_log_outlet old = d->outlet;
    bool had_open = d->has_outlet && !d->is_closed;
    d->has_outlet = outlet;
    d->outlet = outlet ? *outlet : (struct rv_log_outlet){.write = NULL};
    d->is_closed = false;
    if (had_open && old.close) {
        old.close(old.context);
    }
    if (old.destroy) {
        old.destroy(old.context);
    }
    update_all_reaches();
}

const struct rv_log_outlet *
rv_log_get_outlet(enum rv_log_destination destination)
{
    const struct destination *d = &the_log.destinations[destination];
    return d->has_outlet ? &d->outlet : NULL;
}

void
rv_log_set_sink(rv_log_sink *sink, void *context)
{
    struct rv_log_outlet outlet = {.write = sink, .context = context};
    rv_log_set_outlet(RV_LOG_CONSOLE, sink ? &outlet : NULL);
}

int
rv_log_reopen(enum rv_log_destination destination)
{
    struct destination *d = &the_log.destinations[destination];
    if (!d->outlet.reopen) {
        return -ENOENT;
    }
    int rc = d->outlet.reopen(d->outlet.context);
    if (!rc) {
        d->is_closed = false;
        update_all_reaches();
    }
    return rc;
}

void
rv_log_close(enum rv_log_destination destination)
{
    struct destination *d = &the_log.destinations[destination];
    if (d->has_outlet && !d->is_closed && d->outlet.close) {
        d->outlet.close(d->outlet.context);
    }
    d->is_closed = true;
    update_all_reaches();
}

bool
rv_log_is_open(enum rv_log_destination destination)
{
    const struct destination *d = &the_log.destinations[destination];
    return !d->is_closed && (d->has_outlet || destination == RV_LOG_CONSOLE);
}

/* -- Lines -- */

bool
rv_log_rate_take(struct rv_log_rate *rate, int64_t now_ms)
{
    unsigned int burst = rate->burst ? rate->burst : RATE_BURST;
    int64_t per_minute = rate->per_minute ? rate->per_minute : RATE_PER_MINUTE;
    int64_t refill = (now_ms - rate->refilled_ms) * per_minute / 60000;
    if (refill >= rate->tokens_used) {
        rate->tokens_used = 0;
        rate->refilled_ms = now_ms;
    } else if (refill > 0) {
        rate->tokens_used -= (unsigned int)refill;
        rate->refilled_ms += refill * 60000 / per_minute;
    }
    if (rate->tokens_used >= burst) {
        if (!rate->n_dropped++) {
            rate->first_dropped_ms = now_ms;
        }
        rate->last_dropped_ms = now_ms;
        return false;
    }
    rate->tokens_used++;
    return true;
}

static void
write_to_stderr(const struct rv_log_line *line)
{
    char text[FORMATTED_BYTES];
    size_t n = rv_log_format(rv_log_get_pattern(RV_LOG_CONSOLE), line, text,
                             sizeof text - 1);
    text[n++] = '\n';
    fwrite(text, 1, n, stderr);
}

static void
deliver(const struct rv_log_line *line)
{
    /* An outlet may log that it cannot write; that line may fail too. */
    if (the_log.depth >= MAX_DEPTH) {
        return;
    }
    the_log.depth++;
    for (int i = 0; i < RV_LOG_N_DESTINATIONS; i++) {
        struct destination *d = &the_log.destinations[i];
        if (!rv_log_is_open((enum rv_log_destination)i)
            || line->level > line->module->levels[i]) {
            continue;
        }
        if (d->has_outlet) {
            d->outlet.write(line, d->outlet.context);
        } else {
            write_to_stderr(line);
        }
    }
    the_log.depth--;
}

static void
emit(enum rv_log_level level, const struct rv_log_module *module,
     const char *text)
{
    char host[256] = "";
    struct tm parts = {0};
    int64_t wall_ms = clock_ms(CLOCK_REALTIME);
    time_t seconds = wall_ms / 1000;
    localtime_r(&seconds, &parts);
    gethostname(host, sizeof host - 1);
    struct rv_log_line line = {
        .level = level,
        .module = module,
        .text = text,
        .number = ++the_log.n_lines,
        .wall_ms = wall_ms,
        .uptime_ms = clock_ms(CLOCK_MONOTONIC_COARSE) - the_log.began_ms,
        .utc_offset_s = parts.tm_gmtoff,
        .zone = parts.tm_zone ? parts.tm_zone : "",
        .program = rv_log_get_program(),
        .subprogram = the_log.subprogram,
        .host = host,
        .pid = getpid(),
        .facility = the_log.facility - 1,
    };
    deliver(&line);
}

/* Says what was dropped before the line that now passes. */
static void
emit_dropped(enum rv_log_level level, const struct rv_log_module *module,
             struct rv_log_rate *rate, int64_t now_ms)
{
    char text[160];
    snprintf(text, sizeof text,
             "Dropped %u log messages in last %lld seconds (most recently, "
             "%lld seconds ago) due to excessive rate",
             rate->n_dropped,
             (long long)(now_ms - rate->first_dropped_ms) / 1000,
             (long long)(now_ms - rate->last_dropped_ms) / 1000);
    rate->n_dropped = 0;
    emit(level, module, text);
}

void
rv_log_vwrite(enum rv_log_level level, struct rv_log_module *module,
              struct rv_log_rate *rate, const char *format, va_list args)
{
    int saved_errno = errno;
    char text[LINE_BYTES];
    rv_log_register(module);
    bool passes = rv_log_is_enabled(module, level);
    if (passes && rate && !module->has_no_rate_limit) {
        int64_t now_ms = clock_ms(CLOCK_MONOTONIC_COARSE);
        passes = rv_log_rate_take(rate, now_ms);
        if (passes && rate->n_dropped) {
            emit_dropped(level, module, rate, now_ms);
        }
    }
    if (passes) {
        int length = vsnprintf(text, sizeof text, format, args);
        size_t n = (size_t)RV_MAX(0, RV_MIN(length, LINE_BYTES - 1));
        while (n && text[n - 1] == '\n') {
            n--;
        }
        text[n] = '\0';
        emit(level, module, text);
    }
    errno = saved_errno;
}

void
rv_log_write(enum rv_log_level level, struct rv_log_module *module,
             struct rv_log_rate *rate, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rv_log_vwrite(level, module, rate, format, args);
    va_end(args);
}
