#include "reeve/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { RATE_BURST = 30, RATE_PER_MINUTE = 30, LINE_BYTES = 2048 };

static const char *const level_names[RV_LOG_N_LEVELS] = {
    "off", "emer", "err", "warn", "info", "dbg",
};

static const char *const module_names[RV_LOG_N_MODULES] = {
#define MODULE_NAME(SYMBOL, NAME) [SYMBOL] = NAME,
    RV_LOG_MODULES(MODULE_NAME)
#undef MODULE_NAME
};

/* The one log of the process: the exception to "no mutable globals". */
static struct {
    rv_log_sink *sink;
    void *context;
    bool rate_limit_off;
    /* How far each module's level is from the default; so that all zero is
     * the default. */
    int level_offsets[RV_LOG_N_MODULES];
} the_log;

void
rv_log_set_sink(rv_log_sink *sink, void *context)
{
    the_log.sink = sink;
    the_log.context = context;
}

const char *
rv_log_level_name(enum rv_log_level level)
{
    return level_names[level];
}

const char *
rv_log_module_name(enum rv_log_module module)
{
    return module_names[module];
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
rv_log_module_parse(const char *name)
{
    return find_name(module_names, RV_LOG_N_MODULES, name);
}

void
rv_log_set_level(enum rv_log_module module, enum rv_log_level level)
{
    the_log.level_offsets[module] = (int)level - (int)RV_LOG_INFO;
}

enum rv_log_level
rv_log_get_level(enum rv_log_module module)
{
    return (enum rv_log_level)((int)RV_LOG_INFO
                               + the_log.level_offsets[module]);
}

void
rv_log_set_rate_limit(bool enabled)
{
    the_log.rate_limit_off = !enabled;
}

static int64_t
coarse_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Takes a token; false when there is none, and the line is to be dropped. */
static bool
rate_admits(struct rv_log_rate *rate)
{
    if (!rate || the_log.rate_limit_off) {
        return true;
    }
    int64_t now_ms = coarse_now_ms();
    int64_t refill = (now_ms - rate->last_ms) * RATE_PER_MINUTE / 60000;
    if (refill > 0) {
        rate->tokens_used =
            (int)RV_MAX(0, (int64_t)rate->tokens_used - refill);
        rate->last_ms = now_ms;
    }
    if (rate->tokens_used >= RATE_BURST) {
        rate->n_dropped++;
        return false;
    }
    rate->tokens_used++;
    return true;
}

static void
emit(enum rv_log_level level, enum rv_log_module module, const char *text)
{
    struct rv_log_line line = {level, module, text};
    if (the_log.sink) {
        the_log.sink(&line, the_log.context);
    } else {
        fprintf(stderr, "reeve: %s: %s\n", level_names[level], text);
    }
}

void
rv_log_write(enum rv_log_level level, enum rv_log_module module,
             struct rv_log_rate *rate, const char *format, ...)
{
    if (level > rv_log_get_level(module) || !rate_admits(rate)) {
        return;
    }
    char text[LINE_BYTES];
    if (rate && rate->n_dropped) {
        snprintf(text, sizeof text,
                 "held back %u lines like the next one (rate limit)",
                 rate->n_dropped);
        rate->n_dropped = 0;
        emit(level, module, text);
    }
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    emit(level, module, text);
}
