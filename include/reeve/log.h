/* Log lines: a level, a module, a text.
 *
 * Room: base.  Blocks: only as the sink does.  Threads: one.
 *
 * Modules and levels are those of Open vSwitch's vlog, so that `vlog/list` and
 * `vlog/set` mean the same.  The lines go to one sink, set by the program (see
 * rv_log_set_sink); without one they go to standard error.  This is the one
 * place with mutable file-scope state.
 *
 * Rate limit: every call site has a token bucket (30 lines at once, then 30 a
 * minute); when lines were held back, the next one that passes says how many.
 *
 *     #define RV_LOG_THIS RV_LOG_MASTER
 *     rv_log_warn("worker %s.%d died", service, index);
 */
#ifndef REEVE_LOG_H
#define REEVE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

enum rv_log_level {
    RV_LOG_OFF,
    RV_LOG_EMER,
    RV_LOG_ERR,
    RV_LOG_WARN,
    RV_LOG_INFO,
    RV_LOG_DBG,
    RV_LOG_N_LEVELS,
};

/* One row a module: symbol, name. */
#define RV_LOG_MODULES(X)    \
  X(RV_LOG_CLI, "cli")       \
  X(RV_LOG_CONF, "conf")     \
  X(RV_LOG_KEEPER, "keeper") \
  X(RV_LOG_LOOP, "loop")     \
  X(RV_LOG_MASTER, "master") \
  X(RV_LOG_POOL, "pool")     \
  X(RV_LOG_RPC, "rpc")       \
  X(RV_LOG_WORKER, "worker")

enum rv_log_module {
#define RV_LOG_ENUM(SYMBOL, NAME) SYMBOL,
    RV_LOG_MODULES(RV_LOG_ENUM)
#undef RV_LOG_ENUM
        RV_LOG_N_MODULES,
};

struct rv_log_line {
    enum rv_log_level level;
    enum rv_log_module module;
    const char *text; /* Without a newline at its end. */
};

typedef void rv_log_sink(const struct rv_log_line *, void *context);

/* Sends all lines to 'sink' (NULL: to standard error). */
void rv_log_set_sink(rv_log_sink *sink, void *context);

/* "warn" and the like; "off" to "dbg". */
const char *rv_log_level_name(enum rv_log_level level);
const char *rv_log_module_name(enum rv_log_module module);

/* The level or module of that name (case does not matter); -1 if none. */
int rv_log_level_parse(const char *name);
int rv_log_module_parse(const char *name);

/* Lines above 'level' are dropped.  Default: info. */
void rv_log_set_level(enum rv_log_module module, enum rv_log_level level);
enum rv_log_level rv_log_get_level(enum rv_log_module module);

/* Rate limits on (the default) or off, for all call sites. */
void rv_log_set_rate_limit(bool enabled);

/* A token bucket; zero-initialised is full. */
struct rv_log_rate {
    int64_t last_ms;
    int tokens_used;
    unsigned int n_dropped;
};

void rv_log_write(enum rv_log_level level, enum rv_log_module module,
                  struct rv_log_rate *rate, const char *format, ...)
    RV_PRINTF(4, 5);

#define RV_LOG_AT(LEVEL, ...)                                         \
  do {                                                                \
    static struct rv_log_rate rv_log_rate_here;                       \
    rv_log_write(LEVEL, RV_LOG_THIS, &rv_log_rate_here, __VA_ARGS__); \
  } while (0)

#define rv_log_emer(...)  RV_LOG_AT(RV_LOG_EMER, __VA_ARGS__)
#define rv_log_err(...)   RV_LOG_AT(RV_LOG_ERR, __VA_ARGS__)
#define rv_log_warn(...)  RV_LOG_AT(RV_LOG_WARN, __VA_ARGS__)
#define rv_log_info(...)  RV_LOG_AT(RV_LOG_INFO, __VA_ARGS__)
#define rv_log_debug(...) RV_LOG_AT(RV_LOG_DBG, __VA_ARGS__)

RV_END_DECLARATIONS

#endif
