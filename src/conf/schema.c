#include "conf/schema.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The most of anything that is counted in bytes of memory or of a file. */
#define ANY_SIZE INT64_MAX

/* A year: more can only be a mistake. */
#define YEAR_MS (INT64_C(365) * 86400000)

/* The largest zone and the most members, as reeve/zone.h has them. */
#define ZONE_SIZE    (INT64_C(60) << 30)
#define ZONE_MEMBERS 1024

/* The words of each choice, in the order of its enum. */
static const char *const signals_choices[] = {"reeve", "nginx", NULL};
static const char *const level_choices[] = {"off",  "emer", "err", "warn",
                                            "info", "dbg",  NULL};
static const char *const format_choices[] = {"text", "json", NULL};
static const char *const prefix_choices[] = {"auto", "off", NULL};
static const char *const ready_choices[] = {"alive",     "notify",       "tcp",
                                            "http PATH", "exec COMMAND", NULL};
static const char *const restart_choices[] = {"always", "on-failure", "never",
                                              NULL};
static const char *const on_failed_choices[] = {"retry", "exit", NULL};
static const char *const stdin_choices[] = {"null", "listen", NULL};
static const char *const access_choices[] = {"write", "read", NULL};
static const char *const output_choices[] = {"inherit", "null", "file PATH",
                                             NULL};

/* A row of 'struct STRUCT': its section, name, type, member. */
#define AT(SECTION, NAME, TYPE, STRUCT, MEMBER)                      \
  .section = (SECTION), .name = (NAME), .type = RV_CONF_TYPE_##TYPE, \
  .offset = offsetof(struct STRUCT, MEMBER)

#define TOP(NAME, TYPE, MEMBER)    AT("", NAME, TYPE, rv_conf, MEMBER)
#define LOG(NAME, TYPE, MEMBER)    AT("log", NAME, TYPE, rv_conf, MEMBER)
#define LIMITS(NAME, TYPE, MEMBER) AT("limits", NAME, TYPE, rv_conf, MEMBER)
#define SERVICE(NAME, TYPE, MEMBER) \
  AT(RV_CONF_SERVICE, NAME, TYPE, rv_conf_service, MEMBER)
#define BACKOFF(NAME, TYPE, MEMBER) \
  AT(RV_CONF_SERVICE ".backoff", NAME, TYPE, rv_conf_service, MEMBER)
#define RLIMIT(NAME, TYPE, MEMBER) \
  AT(RV_CONF_SERVICE ".limits", NAME, TYPE, rv_conf_service, MEMBER)
#define LISTEN(NAME, TYPE, MEMBER) \
  AT(RV_CONF_LISTEN, NAME, TYPE, rv_conf_listen, MEMBER)
#define ZONE(NAME, TYPE, MEMBER) \
  AT(RV_CONF_ZONE, NAME, TYPE, rv_conf_zone, MEMBER)
#define ZONE_USE(NAME, TYPE, MEMBER) \
  AT(RV_CONF_ZONE_USE, NAME, TYPE, rv_conf_zone_use, MEMBER)

const struct rv_conf_key rv__conf_keys[] = {
    {TOP("name", NAME, name),
     .help = "Names the pidfile and the control socket. Without it, the name "
             "of the file without its ending."},
    {TOP("runtime_dir", PATH, runtime_dir),
     .help = "The folder of the pidfile and the control socket. Without it, "
             "the usual place of the user."},
    {TOP("signals", SWITCH, nginx_signals), .fallback = "reeve",
     .choices = signals_choices,
     .help = "What TERM and INT mean: a graceful stop with a deadline "
             "(reeve), or nginx's fast stop (nginx)."},
    {TOP("stop_timeout", DURATION, stop_timeout_ms), .fallback = "10s",
     .max = YEAR_MS,
     .help = "How long a graceful stop by TERM or INT may take."},
    {AT("", "log", SECTION, rv_conf, name),
     .help = "The log of reeve itself."},
    {AT("", "limits", SECTION, rv_conf, name),
     .help = "The most that reeve itself uses."},
    {TOP("zones", ZONES, zones),
     .help = "Memory that workers share, by name."},
    {TOP("services", SERVICES, services), .flags = RV_CONF_REQUIRED,
     .help = "The services, by name; at least one."},

    {LOG("file", PATH, log_file),
     .help = "The file that log lines are appended to. Without it, standard "
             "error."},
    {LOG("level", CHOICE, log_level), .fallback = "info",
     .choices = level_choices,
     .help = "The least important lines that are logged."},
    {LOG("format", SWITCH, log_json), .fallback = "text",
     .choices = format_choices,
     .help = "Lines for people, or one JSON object a line."},
    {LOG("prefix", SWITCH, log_prefix_off), .fallback = "auto",
     .choices = prefix_choices,
     .help = "Whether the lines that workers print get their worker's name "
             "in front (auto), or nothing (off)."},

    {LIMITS("processes", INTEGER, max_processes), .fallback = "4096", .min = 1,
     .max = 65536,
     .help = "The most processes of all services together, those of an old "
             "and a new generation counted both."},
    {LIMITS("control_connections", INTEGER, max_control_connections),
     .fallback = "64", .min = 1, .max = 65536,
     .help = "The most connections to the control socket at once."},
    {LIMITS("control_message", SIZE, max_control_message_bytes),
     .fallback = "1MiB", .min = 4096, .max = 64 << 20,
     .help = "The longest message that the control socket takes."},
    {LIMITS("log_ring", SIZE, max_log_ring_bytes), .fallback = "64KiB",
     .min = 4096, .max = 64 << 20,
     .help = "How much of the log is kept in memory for `reeve logs`."},

    {ZONE("size", SIZE, size_bytes), .flags = RV_CONF_REQUIRED, .min = 4096,
     .max = ZONE_SIZE,
     .help = "How much the zone holds, in whole pages of 4 KiB."},
    {ZONE("max_size", SIZE, max_size_bytes), .fallback = "0", .max = ZONE_SIZE,
     .help = "How far `size` may be raised while the zone is there. It costs "
             "address space alone. 0 is `size`."},
    {ZONE("tag", TEXT, tag),
     .help = "Type and version of what the zone holds, up to 63 bytes: a "
             "zone of another tag is never taken for this one."},
    {ZONE("file", PATH, file),
     .help = "A file that holds the zone, so that it is there again after a "
             "stop and a start. Without it, memory."},
    {ZONE("noreuse", BOOLEAN, noreuse), .fallback = "off",
     .help = "Whether each reload gives a new, empty zone to a new "
             "generation of all services that have it."},
    {ZONE("members", INTEGER, members), .fallback = "64", .min = 1,
     .max = ZONE_MEMBERS,
     .help = "The most threads that have the zone attached for writing at "
             "once, those of an old and a new generation counted both."},

    {SERVICE("command", COMMAND, command), .flags = RV_CONF_REQUIRED,
     .help = "The program and its arguments: a list of words, or one text "
             "that is split as a shell splits words, without expanding "
             "anything. `{fd:NAME}` becomes the descriptor of a listen, "
             "`{zone:NAME}` that of a zone."},
    {SERVICE("workers", INTEGER, workers), .fallback = "1", .max = 4096,
     .word = "auto", .word_value = -1,
     .help = "How many processes; `auto` is one for each usable processor."},
    {AT(RV_CONF_SERVICE, "reuseport", BOOLEAN, rv_conf_service, listens),
     .fallback = "off", .flags = RV_CONF_INPUT_ONLY,
     .help = "The default of `reuseport` for each listen."},
    {SERVICE("listen", LISTENS, listens),
     .help = "The sockets of the service: an address, or a list of addresses "
             "and mappings with the keys `listen[].*`."},
    {SERVICE("zones", ZONE_USES, zones),
     .help = "The zones that the workers get: a name, or a list of names and "
             "mappings with the keys `zones[].*`."},
    {SERVICE("environment", ENVIRONMENT, environment),
     .help = "Variables for the workers, beside those that reeve got. "
             "`{fd:NAME}` becomes the descriptor of a listen, `{zone:NAME}` "
             "that of a zone."},
    {SERVICE("clear_environment", BOOLEAN, clear_environment),
     .fallback = "off",
     .help = "Whether workers get none of the variables that reeve got."},
    {SERVICE("directory", PATH, directory),
     .help = "The workers' working directory. Without it, that of reeve."},
    {SERVICE("user", TEXT, user),
     .help = "The user that workers run as. Without it, that of reeve."},
    {SERVICE("group", TEXT, group),
     .help = "The group that workers run as. Without it, that of the user."},
    {SERVICE("umask", OCTAL, umask), .max = 0777, .unset = -1,
     .help = "The workers' file mode creation mask. Without it, that of "
             "reeve."},
    {SERVICE("nice", INTEGER, nice), .min = -20, .max = 19, .unset = INT_MAX,
     .help = "The workers' nice value. Without it, that of reeve."},

    {SERVICE("ready", READY, ready), .fallback = "alive",
     .choices = ready_choices,
     .help = "When a worker counts as ready: it lives for `ready_after` "
             "(alive), says READY=1 (notify), accepts a connection (tcp), "
             "answers GET PATH with 2xx or 3xx (http), or a command exits "
             "with 0 (exec, also as a list of words)."},
    {SERVICE("ready_after", DURATION, ready_after_ms), .fallback = "1s",
     .max = YEAR_MS,
     .help = "How long a worker must live to count as ready, with `ready: "
             "alive`."},
    {SERVICE("soak", DURATION, soak_ms), .fallback = "0", .max = YEAR_MS,
     .help = "How long the workers of a new generation must stay ready "
             "before old ones drain."},
    {SERVICE("start_timeout", DURATION, start_timeout_ms), .fallback = "30s",
     .min = 1, .max = YEAR_MS,
     .help = "A worker that is not ready by then has failed."},

    {SERVICE("stop_signal", SIGNAL, stop_signal), .fallback = "TERM",
     .help = "The signal that tells a worker to finish."},
    {SERVICE("drain_timeout", DURATION, drain_timeout_ms), .fallback = "30s",
     .max = YEAR_MS,
     .help = "How long a worker may take to finish before it is killed."},

    {SERVICE("restart", CHOICE, restart), .fallback = "always",
     .choices = restart_choices,
     .help = "Whether a worker that exited is started again: always, unless "
             "it exited with 0, or never."},
    {AT(RV_CONF_SERVICE, "backoff", SECTION, rv_conf_service, name),
     .help = "The delays between restarts of a worker that fails again and "
             "again; each is about twice the one before."},
    {BACKOFF("min", DURATION, backoff_min_ms), .fallback = "100ms", .min = 1,
     .max = YEAR_MS, .help = "The first delay."},
    {BACKOFF("max", DURATION, backoff_max_ms), .fallback = "30s", .min = 1,
     .max = YEAR_MS, .help = "The longest delay."},
    {SERVICE("max_restarts", INTEGER, max_restarts), .fallback = "10",
     .max = 1000000,
     .help = "More restarts than this within `window` make the service "
             "failed; 0 is no limit."},
    {SERVICE("window", DURATION, window_ms), .fallback = "60s", .min = 1,
     .max = YEAR_MS, .help = "The time in which `max_restarts` are counted."},
    {SERVICE("on_failed", CHOICE, on_failed), .fallback = "retry",
     .choices = on_failed_choices,
     .help = "What to do when the service failed: go on at the longest "
             "delay, or end reeve with the program's status."},

    {SERVICE("batch", INTEGER, batch), .fallback = "0", .max = 4096,
     .help = "How many workers a reload replaces at a time; 0 is all."},
    {SERVICE("watchdog", DURATION, watchdog_ms), .fallback = "0",
     .max = YEAR_MS,
     .help = "A worker that does not say WATCHDOG=1 for so long is replaced; "
             "0 is off."},
    {SERVICE("max_age", DURATION, max_age_ms), .fallback = "0", .max = YEAR_MS,
     .help = "A worker this old is replaced gracefully; 0 is off."},
    {SERVICE("max_memory", SIZE, max_memory_bytes), .fallback = "0",
     .max = ANY_SIZE,
     .help = "A worker with more resident memory is replaced gracefully; 0 "
             "is off."},

    {SERVICE("stdin", CHOICE, in), .fallback = "null",
     .choices = stdin_choices,
     .help = "The workers' standard input: /dev/null, or the one stream "
             "socket of `listen`."},
    {SERVICE("stdout", OUTPUT, out), .fallback = "inherit",
     .choices = output_choices,
     .help = "The workers' standard output: to that of reeve, to /dev/null, "
             "or appended to a file."},
    {SERVICE("stderr", OUTPUT, err), .fallback = "inherit",
     .choices = output_choices,
     .help = "The workers' standard error, as `stdout`."},
    {AT(RV_CONF_SERVICE, "limits", SECTION, rv_conf_service, name),
     .help = "The workers' resource limits (setrlimit(2)). Without them, "
             "those of reeve."},
    {RLIMIT("nofile", COUNT_LIMIT, nofile), .max = ANY_SIZE,
     .help = "Open descriptors (RLIMIT_NOFILE)."},
    {RLIMIT("core", SIZE_LIMIT, core), .max = ANY_SIZE,
     .help = "Size of a core dump (RLIMIT_CORE)."},
    {RLIMIT("memory", SIZE_LIMIT, memory), .max = ANY_SIZE,
     .help = "Address space (RLIMIT_AS)."},
    {RLIMIT("processes", COUNT_LIMIT, processes), .max = ANY_SIZE,
     .help = "Processes of the user (RLIMIT_NPROC)."},

    {LISTEN("address", ADDRESS, address), .flags = RV_CONF_REQUIRED,
     .help = "Where to listen: 8080, 127.0.0.1:8080, [::1]:8080, "
             "unix:/run/x.sock, udp:8080."},
    {LISTEN("name", NAME, name),
     .help = "For LISTEN_FDNAMES and `{fd:NAME}`. Without it, the name of "
             "the service, then NAME-2, NAME-3 and so on."},
    {LISTEN("reuseport", BOOLEAN, reuseport), .fallback = "off",
     .help = "Whether each worker gets a socket of its own among which the "
             "kernel spreads the connections. Without it, that of the "
             "service."},
    {LISTEN("nonblocking", BOOLEAN, nonblocking), .fallback = "off",
     .help = "Whether workers get the socket in non-blocking mode, as by "
             "systemd's NonBlocking=. For programs that expect it so, nginx "
             "among them; most set the mode themselves."},
    {LISTEN("backlog", INTEGER, backlog), .fallback = "4096", .min = 1,
     .max = 65535,
     .help = "The most connections that wait to be accepted (listen(2))."},
    {LISTEN("mode", OCTAL, mode), .max = 0777, .unset = -1,
     .help = "The mode of a unix socket's file. Without it, by the umask of "
             "reeve."},

    {ZONE_USE("name", NAME, name), .flags = RV_CONF_REQUIRED,
     .help = "Which of the configuration's zones."},
    {ZONE_USE("access", SWITCH, is_read_only), .fallback = "write",
     .choices = access_choices,
     .help = "Whether workers may change the zone, or only read it: then the "
             "kernel keeps them from more."},
};

const size_t rv__conf_n_keys = RV_ARRAY_SIZE(rv__conf_keys);

const struct rv_conf_key *
rv__conf_key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        const struct rv_conf_key *key = &rv__conf_keys[i];
        if (!strcmp(key->section, section) && !strcmp(key->name, name)) {
            return key;
        }
    }
    return NULL;
}

void
rv__conf_section_name(const struct rv_conf_key *key, char *name, size_t size)
{
    snprintf(name, size, "%s%s%s", key->section, key->section[0] ? "." : "",
             key->name);
}

void
rv__conf_field_get(const struct rv_conf_key *key, const void *base,
                   void *value, size_t size)
{
    memcpy(value, (const char *)base + key->offset, size);
}

void
rv__conf_field_set(const struct rv_conf_key *key, void *base,
                   const void *value, size_t size)
{
    memcpy((char *)base + key->offset, value, size);
}
