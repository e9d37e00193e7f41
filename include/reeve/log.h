/* Log lines: a level, a module, a text, and up to three destinations.
 *
 * Room: base.  Blocks: only as its destinations do.  Threads: one at a time;
 * a program with several lets one of them log, or takes a lock of its own.
 * Not for signal handlers.
 * Source: Open vSwitch's lib/vlog.c and ovs-appctl(8), whose levels, modules,
 * destinations, patterns and words these are, so that `vlog/list` and
 * `vlog/set` mean the same.
 *
 * A program names its modules itself.  There are no global constructors: a
 * module is known from its first line on, or from rv_log_register() on, so
 * that `vlog/list` shows it from the start.
 *
 *     static struct rv_log_module web = RV_LOG_MODULE("web");
 *     #define RV_LOG_THIS (&web)
 *     ...
 *     rv_log_register(&web);
 *     rv_log_warn("%s sent %zu bytes too many", peer, n);
 *
 * Destinations: the console (standard error) is open from the start; a file
 * and the system log are opened by reeve/log_outputs.h.  Each module has a
 * level for each destination, info at first: less important lines do not go
 * there.  Each destination has a pattern that says what a line looks like:
 *
 *     %A  the program             %B  RFC 5424's priority, a number
 *     %c  the module              %d  the local time
 *     %D  the time in UTC         %E  the host
 *     %m  the message             %n  a newline
 *     %N  the line's number       %p  the level ("WARN")
 *     %P  the process             %r  milliseconds since the log began
 *     %t  the subprogram, "main" if none
 *     %T  "(subprogram)", or nothing
 *     %%  a percent sign
 *
 * and two of our own: %l, the level in small letters, and %j, the message as
 * the inside of a JSON string.  Between the percent sign and the letter may
 * stand `-` (pad on the right), `0` (pad with zeros) and a width.  A time may
 * be followed by a strftime(3) format in braces, in which ### stands for the
 * milliseconds: %D{%H:%M:%S.###}.
 *
 * Rate limit: every call site has a token bucket (30 lines at once, then 30 a
 * minute); when lines were dropped, the next one that passes says how many.
 *
 * Wrong: logging from several threads at once; a module on the stack.
 */
#ifndef REEVE_LOG_H
#define REEVE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/list.h"

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

enum rv_log_destination {
    RV_LOG_CONSOLE,
    RV_LOG_SYSLOG,
    RV_LOG_FILE,
    RV_LOG_N_DESTINATIONS,
    RV_LOG_ANY = RV_LOG_N_DESTINATIONS, /* All of them, where one may say. */
};

/* Lives as long as the process, in the caller's storage. */
struct rv_log_module {
    const char *name;
    struct rv_list node; /* Linked while known. */
    bool is_known;
    bool has_no_rate_limit;
    uint8_t levels[RV_LOG_N_DESTINATIONS];
    /* The least important level that any open destination takes; until the
     * module is known, the least important of all. */
    uint8_t reach;
};

/* Initialises a module.  All members, in order, as C++ wants them. */
#define RV_LOG_MODULE(NAME)                                               \
  {                                                                       \
    (NAME), {NULL, NULL}, false, false, {RV_LOG_OFF}, (uint8_t)RV_LOG_DBG \
  }

/* The library's own modules: RV_LOG_RPC and so on, so that a program can set
 * their levels. */
extern struct rv_log_module rv_log_module_keeper;
extern struct rv_log_module rv_log_module_master;
extern struct rv_log_module rv_log_module_pool;
extern struct rv_log_module rv_log_module_rpc;
extern struct rv_log_module rv_log_module_worker;

#define RV_LOG_KEEPER (&rv_log_module_keeper)
#define RV_LOG_MASTER (&rv_log_module_master)
#define RV_LOG_POOL   (&rv_log_module_pool)
#define RV_LOG_RPC    (&rv_log_module_rpc)
#define RV_LOG_WORKER (&rv_log_module_worker)

/* One line, with all that a pattern can show. */
struct rv_log_line {
    enum rv_log_level level;
    const struct rv_log_module *module;
    const char *text;    /* Without newlines at its end. */
    unsigned int number; /* From 1; the same for every destination. */
    int64_t wall_ms;     /* Since 1970, in UTC. */
    int64_t uptime_ms;   /* Since the log began. */
    long utc_offset_s;   /* Of the local time. */
    const char *zone;    /* Of the local time: "CET". */
    const char *program, *subprogram; /* Subprogram: "" if none. */
    const char *host;
    long pid;
    int facility;     /* As RFC 5424 numbers them, from 0; -1: not set. */
    bool is_coloured; /* %p and %l red from warn upwards, for terminals. */
};

/* -- What is logged -- */

/* Makes a module known, with the levels that were last set for all modules.
 * Another module of the same name may be known: both follow that name.
 * Idempotent. */
void rv_log_register(struct rv_log_module *module);

/* The first known module of that name (case does not matter), or NULL. */
struct rv_log_module *rv_log_module_find(const char *name);

/* The next known module in the order of names; the first one after NULL, and
 * NULL after the last.  Of several with one name it gives one. */
const struct rv_log_module *
rv_log_module_next(const struct rv_log_module *module);

/* "warn" and the like; "off" to "dbg". */
const char *rv_log_level_name(enum rv_log_level level);

/* "console", "syslog", "file". */
const char *rv_log_destination_name(enum rv_log_destination destination);

/* The level or destination of that name (case does not matter); -1 if none. */
int rv_log_level_parse(const char *name);
int rv_log_destination_parse(const char *name);

/* Lines less important than 'level' do not go to 'destination', or to no
 * destination for RV_LOG_ANY.  'module' NULL: all modules, those that become
 * known later included. */
void rv_log_set_level(struct rv_log_module *module,
                      enum rv_log_destination destination,
                      enum rv_log_level level);

/* The level as it was set, whether or not the destination is open. */
enum rv_log_level rv_log_get_level(const struct rv_log_module *module,
                                   enum rv_log_destination destination);

/* Rate limits on (the default) or off.  'module' NULL: as above. */
void rv_log_set_rate_limit(struct rv_log_module *module, bool enabled);

/* -- What lines look like -- */

/* Sets the pattern of a destination or, for RV_LOG_ANY, of all.  -EINVAL with
 * the reason for a wrong one, -ENOMEM; nothing changes then. */
int rv_log_set_pattern(enum rv_log_destination destination,
                       const char *pattern, struct rv_error *error);

/* The pattern in use; valid until the next set. */
const char *rv_log_get_pattern(enum rv_log_destination destination);

/* Whether 'pattern' is right.  0, or -EINVAL with the reason: an unknown
 * letter, a brace that does not close, a width above 1000, a percent sign at
 * the end. */
int rv_log_pattern_check(const char *pattern, struct rv_error *error);

/* Writes 'line' as 'pattern' says to the 'size' bytes at 'to' (at least 1),
 * cut short where it does not fit, and always with a NUL at its end; no
 * newline is added.  Depends on its arguments alone, but for what a strftime
 * format asks of the locale.  A wrong pattern does no harm.  The number of
 * bytes written, without the NUL. */
size_t rv_log_format(const char *pattern, const struct rv_log_line *line,
                     char *to, size_t size);

/* The names that %A and %T show; copied, cut at 31 bytes.  At first the
 * program's own name, and no subprogram. */
void rv_log_set_program(const char *name);
const char *rv_log_get_program(void);
void rv_log_set_subprogram(const char *name);

/* RFC 5424's facility: "daemon" (the default), "local0" and so on.  -EINVAL
 * for an unknown one. */
int rv_log_set_facility(const char *name);

/* The number of the facility of that name, from 0; -1 if none. */
int rv_log_facility_parse(const char *name);

/* One of the specifications that `vlog/set` and -v take, in which case does
 * not matter:
 *
 *     module:destination:level     in any order, and any may be left out;
 *                                  between them spaces, commas, colons
 *     PATTERN:destination:pattern
 *     FACILITY:facility
 *
 * No level means dbg; ANY stands for every module or destination.  -EINVAL
 * with the reason, in the original's words; nothing changes then. */
int rv_log_set_spec(const char *spec, struct rv_error *error);

/* Says what rv_log_set_spec would say, and changes nothing. */
int rv_log_check_spec(const char *spec, struct rv_error *error);

/* -- Where lines go -- */

typedef void rv_log_sink(const struct rv_log_line *, void *context);

/* What takes a destination's lines. */
struct rv_log_outlet {
    rv_log_sink *write;
    /* Opens again what it writes to, after a rename for instance; 0 or a
     * negative errno.  NULL: there is nothing to open again. */
    int (*reopen)(void *context);
    /* Lets go of what it writes to; reopen() may come later.  May be NULL. */
    void (*close)(void *context);
    /* Frees 'context'; the last call.  May be NULL. */
    void (*destroy)(void *context);
    const char *prefix; /* Before the pattern, as a pattern; NULL: none. */
    void *context;
};

/* Gives a destination's lines to 'outlet' (copied), after the one before was
 * closed and destroyed.  NULL: to none, but for the console, which then is
 * standard error as at first. */
void rv_log_set_outlet(enum rv_log_destination destination,
                       const struct rv_log_outlet *outlet);

/* The outlet; NULL if none was set. */
const struct rv_log_outlet *
rv_log_get_outlet(enum rv_log_destination destination);

/* Sends the console's lines to 'sink' (NULL: to standard error). */
void rv_log_set_sink(rv_log_sink *sink, void *context);

/* Opens again what a destination writes to: after logrotate(8), say.
 * -ENOENT if it has nothing to open, else as the outlet says. */
int rv_log_reopen(enum rv_log_destination destination);

/* Stops logging there until rv_log_reopen() or another outlet.
 * Idempotent. */
void rv_log_close(enum rv_log_destination destination);

/* Whether lines that go to the destination go anywhere. */
bool rv_log_is_open(enum rv_log_destination destination);

/* -- Logging -- */

/* A token bucket: 'per_minute' lines a minute, 'burst' at once; 0 means 30. */
struct rv_log_rate {
    unsigned int per_minute, burst;
    unsigned int tokens_used;
    unsigned int n_dropped; /* Since the last line that passed. */
    int64_t refilled_ms, first_dropped_ms, last_dropped_ms;
};

/* Initialises a bucket. */
#define RV_LOG_RATE(PER_MINUTE, BURST)   \
  {                                      \
    (PER_MINUTE), (BURST), 0, 0, 0, 0, 0 \
  }

/* Takes a token; false if there is none, and the line counts as dropped. */
bool rv_log_rate_take(struct rv_log_rate *rate, int64_t now_ms);

/* Logs if the module's levels and 'rate' (NULL: no limit) let it.  Messages
 * are cut at 2047 bytes.  Keeps errno. */
void rv_log_write(enum rv_log_level level, struct rv_log_module *module,
                  struct rv_log_rate *rate, const char *format, ...)
    RV_PRINTF(4, 5);
void rv_log_vwrite(enum rv_log_level level, struct rv_log_module *module,
                   struct rv_log_rate *rate, const char *format, va_list args)
    RV_PRINTF(4, 0);

/* Whether a line of that level would go anywhere, but for rate limits. */
static inline bool
rv_log_is_enabled(const struct rv_log_module *module, enum rv_log_level level)
{
    return (unsigned int)level <= module->reach;
}

/* The arguments are not evaluated when the level is off. */
#define RV_LOG_AT(LEVEL, ...)                                           \
  do {                                                                  \
    static struct rv_log_rate rv_log_rate_here;                         \
    if (rv_log_is_enabled(RV_LOG_THIS, LEVEL)) {                        \
      rv_log_write(LEVEL, RV_LOG_THIS, &rv_log_rate_here, __VA_ARGS__); \
    }                                                                   \
  } while (0)

#define rv_log_emer(...)  RV_LOG_AT(RV_LOG_EMER, __VA_ARGS__)
#define rv_log_err(...)   RV_LOG_AT(RV_LOG_ERR, __VA_ARGS__)
#define rv_log_warn(...)  RV_LOG_AT(RV_LOG_WARN, __VA_ARGS__)
#define rv_log_info(...)  RV_LOG_AT(RV_LOG_INFO, __VA_ARGS__)
#define rv_log_debug(...) RV_LOG_AT(RV_LOG_DBG, __VA_ARGS__)

RV_END_DECLARATIONS

#endif
