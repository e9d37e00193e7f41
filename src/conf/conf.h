/* The configuration: what the services should be.
 *
 * Room: conf.  Runs in: master (and command line, for `check` and `dump`).
 * Blocks: only rv_conf_read_file, on a regular file.
 *
 * One table (conf/schema.c) defines every key: name, type, default, range and
 * help.  The parser, the dump, the JSON Schema and the man page's table all
 * come from it.  Text is YAML 1.2, and so JSON as well.
 *
 *     struct rv_conf *conf;
 *     struct rv_conf_errors errors;
 *     rv_conf_errors_init(&errors);
 *     if (rv_conf_parse(text, length, "reeve.yaml", "/etc/reeve", &conf,
 *                       &errors)) {
 *         fputs(rv_buf_string(&errors.text), stderr);   // one line an error
 *     }
 *     rv_conf_errors_deinit(&errors);
 *     ...
 *     rv_conf_destroy(conf);
 *
 * A parsed configuration is a plain value: every string is owned by it, never
 * NULL unless the comment says so, and nothing in it points outside.
 */
#ifndef RV_CONF_CONF_H
#define RV_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "base/address.h"
#include "reeve/buf.h"

enum rv_conf_ready {
    RV_CONF_READY_ALIVE,  /* Survived 'ready_after' (or READY=1 sooner). */
    RV_CONF_READY_NOTIFY, /* READY=1 on NOTIFY_SOCKET. */
    RV_CONF_READY_TCP,    /* A connect to the worker's socket succeeds. */
    RV_CONF_READY_HTTP,   /* GET 'probe_path' answers 2xx or 3xx. */
    RV_CONF_READY_EXEC,   /* 'probe_command' exits 0. */
};

enum rv_conf_restart {
    RV_CONF_RESTART_ALWAYS,
    RV_CONF_RESTART_ON_FAILURE, /* Not after exit status 0. */
    RV_CONF_RESTART_NEVER,
};

enum rv_conf_on_failed {
    RV_CONF_ON_FAILED_RETRY, /* At the longest delay, for ever. */
    RV_CONF_ON_FAILED_EXIT,  /* reeve ends with the program's status. */
};

enum rv_conf_output {
    RV_CONF_OUTPUT_INHERIT, /* Through the master to its own output. */
    RV_CONF_OUTPUT_NULL,
    RV_CONF_OUTPUT_FILE, /* Appended to 'path'. */
};

enum rv_conf_stdin { RV_CONF_STDIN_NULL, RV_CONF_STDIN_LISTEN };

struct rv_conf_listen {
    char *name; /* For LISTEN_FDNAMES and {fd:NAME}; unique in a service. */
    struct rv_address address;
    bool reuseport;   /* One socket per worker index. */
    bool nonblocking; /* Handed over with O_NONBLOCK. */
    int backlog;      /* listen(2). */
    int mode;         /* Of a unix socket's file; -1: by the umask. */
};

struct rv_conf_output_to {
    enum rv_conf_output kind;
    char *path; /* NULL unless RV_CONF_OUTPUT_FILE.  Absolute. */
};

/* Shared memory; reeve/zone.h. */
struct rv_conf_zone {
    char *name;
    int64_t size_bytes;
    int64_t max_size_bytes; /* At least 'size_bytes'. */
    char *tag;              /* NULL: "". */
    char *file;             /* NULL: memory.  Absolute. */
    bool noreuse;           /* A fresh one at each reload; without 'file'. */
    int members;
};

/* A zone that a service's workers get. */
struct rv_conf_zone_use {
    char *name; /* Of one of the configuration's zones; unique. */
    bool is_read_only;
};

/* A resource limit for workers; UINT64_MAX is unlimited. */
struct rv_conf_rlimit {
    bool is_set;
    uint64_t value;
};

struct rv_conf_service {
    char *name;
    char **command; /* NULL-terminated, at least one word. */
    int workers;    /* At least 0; -1 is `auto`: one per usable CPU. */
    struct rv_conf_listen *listens;
    size_t n_listens;
    struct rv_conf_zone_use *zones;
    size_t n_zones;
    char **environment; /* "NAME=value", NULL-terminated; sorted by name. */
    bool clear_environment; /* Start from an empty environment. */
    char *directory;        /* Absolute. NULL: reeve's own. */
    char *user;             /* NULL: reeve's own. */
    char *group;            /* NULL: the user's. */
    int umask;              /* -1: reeve's own. */
    int nice;               /* -20 to 19; INT_MAX: reeve's own. */

    enum rv_conf_ready ready;
    char *probe_path;     /* For http; else NULL. */
    char **probe_command; /* For exec; else NULL. */
    int64_t ready_after_ms;
    int64_t soak_ms;
    int64_t start_timeout_ms;

    int stop_signal;
    int64_t drain_timeout_ms;

    enum rv_conf_restart restart;
    int64_t backoff_min_ms, backoff_max_ms;
    int max_restarts; /* In 'window_ms'; 0: no limit. */
    int64_t window_ms;
    enum rv_conf_on_failed on_failed;

    int batch; /* New workers at a time on a reload; 0: all at once. */

    int64_t watchdog_ms;       /* 0: off. */
    int64_t max_age_ms;        /* 0: off. */
    uint64_t max_memory_bytes; /* Resident; 0: off. */

    enum rv_conf_stdin in;
    struct rv_conf_output_to out, err;

    struct rv_conf_rlimit nofile, core, memory /* RLIMIT_AS */, processes;
};

struct rv_conf {
    char *name;        /* Names the pidfile and the control socket. */
    char *runtime_dir; /* NULL: the default place. Absolute otherwise. */
    bool nginx_signals;
    int64_t stop_timeout_ms; /* TERM: how long a graceful stop may take. */

    char *log_file; /* NULL: standard error. Absolute otherwise. */
    int log_level;  /* enum rv_log_level. */
    bool log_json;
    bool log_prefix_off; /* Workers' lines without "web.0 | " in front. */

    int max_processes;           /* Slots in the registry. */
    int max_control_connections; /* At once. */
    int64_t max_control_message_bytes;
    int64_t max_log_ring_bytes; /* Kept in memory for `reeve logs`. */

    struct rv_conf_zone *zones;
    size_t n_zones;

    struct rv_conf_service *services;
    size_t n_services; /* At least one. */
};

/* What is wrong with a text: lines "FILE:LINE:COLUMN: what; remedy\n", all of
 * them and not just the first, at most 50. */
struct rv_conf_errors {
    struct rv_buf text;
    size_t n;
};

void rv_conf_errors_init(struct rv_conf_errors *errors);
void rv_conf_errors_deinit(struct rv_conf_errors *errors);

/* Reads the text of a configuration.  'source' names it in errors, and
 * relative paths in it are made absolute against 'directory' (absolute).
 * Without `name` in it, the name is that of 'source' as for a file, or
 * "reeve" if 'source' is "-" or begins with "(" or "<".
 * Gives the caller a new '*confp'; -EINVAL with 'errors' filled, or
 * -ENOMEM. */
int rv_conf_parse(const char *text, size_t length, const char *source,
                  const char *directory, struct rv_conf **confp,
                  struct rv_conf_errors *errors);

/* The same for the file at 'path', relative to whose folder its paths are;
 * without `name` in it, the name is the file's without its ending.  Also
 * -ENOENT, -EACCES, ... (with a line in 'errors'), -EFBIG above 4 MiB. */
int rv_conf_read_file(const char *path, struct rv_conf **confp,
                      struct rv_conf_errors *errors);

/* Accepts NULL. */
void rv_conf_destroy(struct rv_conf *conf);

/* Appends the whole configuration as YAML, defaults included, in such a way
 * that parsing it gives the same value and dumping that the same text. */
int rv_conf_dump(const struct rv_conf *conf, struct rv_buf *out);

/* Appends one service's part of the dump.  Two services are the same if and
 * only if these texts are; 'with_workers' false leaves out the number of
 * workers (so that a change of that alone is a scaling, not a new
 * generation). */
int rv_conf_dump_service(const struct rv_conf_service *service,
                         bool with_workers, struct rv_buf *out);

/* Appends 'string' (UTF-8) as one YAML word, quoted unless it is a plain word;
 * for those who make the text of a configuration themselves:
 * rv_buf_puts(&text, "command: ["); rv_conf_quote(argv[0], &text); ... */
int rv_conf_quote(const char *string, struct rv_buf *out);

/* Appends a JSON Schema (draft 2020-12) of the format, from the table. */
int rv_conf_json_schema(struct rv_buf *out);

/* Appends the table of all keys in scdoc's format, for the man page. */
int rv_conf_man_table(struct rv_buf *out);

/* The service of that name, or NULL. */
struct rv_conf_service *rv_conf_find_service(const struct rv_conf *conf,
                                             const char *name);

/* The zone of that name, or NULL. */
struct rv_conf_zone *rv_conf_find_zone(const struct rv_conf *conf,
                                       const char *name);

#endif
