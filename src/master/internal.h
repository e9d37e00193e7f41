/* What the files of the master share with each other and with nobody else.
 *
 *   main.c       start, the loop, the end
 *   state.c      what a restarted master must know, as one stored memfd
 *   registry.c   the published copy of the worker table
 *   sockets.c    listening sockets
 *   zones.c      memory that workers share
 *   launch.c     fork, and what happens in the child until exec
 *   environment.c  arguments and environment of a worker
 *   worker.c     a worker's process
 *   streams.c    its output
 *   notify.c     what it says by sd_notify
 *   probe.c      readiness probes
 *   output.c     where lines go: terminal, files, the ring for `reeve logs`
 *   apply.c      pool actions -> effects
 *   operation.c  commands that wait: reload, restart, scale, stop, start
 *   control.c    the control socket's commands
 *   status.c     `status`, as a table and as JSON
 *   signals.c    signals -> the same calls as the commands
 */
#ifndef RV_MASTER_INTERNAL_H
#define RV_MASTER_INTERNAL_H

#include <jansson.h>

#include "reeve/error.h"
#include "reeve/list.h"
#include "conf/conf.h"
#include "keeper/client.h"
#include "reeve/loop.h"
#include "master/master.h"
#include "os/notify.h"
#include "os/rundir.h"
#include "pool/pool.h"
#include "reeve/memory.h"
#include "reeve/unixctl.h"
#include "reeve/zone.h"

enum {
    RV__TAIL_BYTES = 4096,     /* Kept of what a worker wrote last. */
    RV__LINE_BYTES = 16384,    /* Longer lines of workers are cut in two. */
    RV__OUTPUT_BYTES = 262144, /* Waiting for a slow terminal or pipe. */
    RV__N_STREAMS = 2,
    RV__PATH = 256,
};

/* A configuration and everyone who still needs it: the master, and each
 * worker that was started by it. */
struct rv__conf_ref {
    int n_refs;
    struct rv_conf *conf;
};

struct rv__conf_ref *rv__conf_ref_create(struct rv_conf *conf);
struct rv__conf_ref *rv__conf_ref_get(struct rv__conf_ref *ref);
void rv__conf_ref_put(struct rv__conf_ref *ref); /* Accepts NULL. */

/* Where lines go: standard output, standard error, or a file. */
struct rv__output {
    struct rv_list node; /* In rv__master.outputs. */
    struct rv__master *master;
    char *path; /* NULL: a standard stream. */
    int fd;
    bool is_file; /* A regular file: never waits. */
    bool may_colour;
    int n_users;
    struct rv_buf queue;
    struct rv_io io; /* Started while the queue waits. */
    uint64_t n_dropped;
    int error; /* Negative errno of the last write; 0: fine. */
};

/* One pipe that a worker writes to. */
struct rv__stream {
    struct rv__worker *worker;
    int fd; /* Our end; -1. */
    struct rv_io io;
    struct rv__output *output;
    struct rv_buf line; /* Not yet ended by a newline. */
};

struct rv__worker {
    struct rv__master *master;
    int slot;
    struct rv__conf_ref *conf;
    const struct rv_conf_service *service; /* In 'conf'. */
    char name[RV_POOL_NAME + 16];          /* "web.0". */
    uint32_t generation;
    bool is_adopted; /* Not our child: the keeper reaps it. */
    pid_t pid;
    uint64_t start_time;
    int pidfd;
    struct rv_io exit_io;
    struct rv_timer exit_timer; /* Adopted: waits for the keeper's report. */
    int notify_fd;
    char notify_name[RV_NOTIFY_NAME];
    struct rv_io notify_io;
    struct rv_timer notify_timer; /* Flooded: reads on after a pause. */
    int launch_fd;                /* Until exec succeeded or failed. */
    struct rv_io launch_io;
    struct rv__stream streams[RV__N_STREAMS];
    struct rv_buf tail;
    char status[RV_NOTIFY_STATUS];
    bool is_told;            /* Was told to leave. */
    struct rv_timer holding; /* Waits for its queue before it is told. */
    struct rv__probe *probe;
    struct rv__zone **zones; /* As its service names them. */
    size_t n_zones;
    int launch_errno;
    char launch_step[32];
};

/* A listening socket, or a group of them, one a worker index. */
struct rv__socket {
    struct rv_list node; /* In rv__master.sockets. */
    struct rv_address address;
    char text[RV_ADDRESS_TEXT]; /* As configured: the key. */
    bool reuseport;
    bool nonblocking;
    int backlog;
    int mode;
    int *fds; /* One, or one a worker index. */
    int n_fds;
    int n_steered;   /* Group: new connections go to the first so many. */
    bool is_growing; /* Until the new indices' workers are ready. */
    bool is_wanted;  /* Scratch, while unwanted ones are collected. */
};

/* A zone, made by the configuration that first named it. */
struct rv__zone {
    struct rv_list node;      /* In rv__master.zones. */
    struct rv_zone_info info; /* Ours; not read again from the zone. */
    uint32_t number;          /* Tells zones of a name apart. */
    char *file;               /* NULL: memory. */
    int fd, read_fd;          /* 'read_fd' cannot write; -1: not needed yet. */
    int n_workers;            /* That have it. */
    bool is_current;          /* The committed configuration has it. */
    bool is_next;             /* The one that is rolled to has it. */
    bool is_made;             /* So is its file, and not committed yet. */
    bool is_noted;            /* The store has an entry that says so. */
    bool is_wanted;           /* Scratch, while a configuration is opened. */
};

enum rv__operation_kind {
    RV__OPERATION_NONE,
    RV__OPERATION_ROLL, /* Reload or restart. */
};

/* The roll under way, and who waits for its end. */
struct rv__operation {
    enum rv__operation_kind kind;
    struct rv_unixctl_call *call; /* NULL: nobody waits. */
    bool is_committed;
    int n_changed;
    int64_t started_ms;
};

/* A `scale` or `stop` that waits; several may. */
struct rv__waiter {
    struct rv_list node;
    struct rv_unixctl_call *call;
    char service[RV_POOL_NAME]; /* "": waits for the end of everything. */
};

struct rv__registry;

struct rv__master {
    struct rv_master_options options;
    struct rv_loop loop;
    struct rv_keeper_client keeper;
    struct rv_io keeper_io;
    pid_t keeper_pid;
    int n_restarts;                     /* Masters before this one. */
    int last_status;                    /* How the last of them ended. */
    uint64_t read_hash, next_read_hash; /* Of the configuration as read. */
    int64_t started_ms;

    int signal_fd;
    struct rv_io signal_io;
    int n_stop_signals;
    int64_t stop_signal_ms;      /* When the last of them came. */
    char log_path[RV__PATH * 2]; /* A daemon's default. */

    struct rv__conf_ref *conf, *next_conf;
    char *source; /* Path of the configuration; NULL: command line. */
    char rundir[RV_RUNDIR_PATH];

    struct rv_pool *pool;
    struct rv_timer pool_timer;
    struct rv__worker **workers; /* By slot. */
    int n_swept;                 /* Slots that may need publishing. */
    int max_workers;
    struct rv__registry *registry;
    int registry_fd, registry_file_fd;
    int state_fd;
    bool is_state_stale;

    struct rv_list sockets;
    struct rv_list zones;
    struct rv_list outputs;
    struct rv__output *standard_output, *log_output;
    struct rv_buf ring; /* The last lines, for `reeve logs`. */
    uint64_t ring_end;  /* Bytes that ever went in. */

    struct rv_unixctl_server control;
    struct rv_memory_provider memory_counts[2];
    int control_fd;
    char control_path[RV__PATH];
    struct rv__operation operation;
    struct rv_list waiters;

    struct rv_timer memory_timer;
    bool is_starting; /* The service was never ready yet. */
    bool is_ending;
    int exit_status;
    struct rv_list entries; /* Store entries not yet taken; at the start. */
    struct rv_list exits;   /* Exits reported before we adopted. */
};

/* main.c */
void rv__master_end(struct rv__master *master, int status);
/* Becomes the keeper, by exec, because there is none. */
void rv__master_become_keeper(struct rv__master *master);
/* Hands each descriptor that is to outlive us to 'callback'. */
typedef void rv__stored_callback(const char *name, int fd, void *context);
void rv__master_for_each_stored(struct rv__master *master,
                                rv__stored_callback *callback, void *context);
/* Takes a store entry by name; -1 if there is none. */
int rv__master_take_entry(struct rv__master *master, const char *name);
void rv__master_put(struct rv__master *master, const char *name, int fd);
void rv__master_drop(struct rv__master *master, const char *name);

/* state.c */
/* Stores the committed configuration with its generations. */
void rv__state_save(struct rv__master *master);
struct rv__state_service {
    char name[RV_POOL_NAME];
    uint32_t generation;
};
struct rv__state_zone {
    char name[RV_ZONE_NAME_BYTES];
    uint32_t number;
};
struct rv__state {
    struct rv__state_service *services; /* Owned. */
    size_t n_services;
    struct rv__state_zone *zones; /* Owned. */
    size_t n_zones;
    bool is_paused, is_stopping;
};
/* Reads a stored state.  The caller owns '*confp'. */
int rv__state_load(struct rv__master *master, int fd, struct rv_conf **confp,
                   struct rv__state *state);
void rv__state_deinit(struct rv__state *state);
/* A number that changes with the configuration's dump. */
uint64_t rv__conf_hash(const struct rv_conf *conf);

/* registry.c */
int rv__registry_open(struct rv__master *master, int fd,
                      struct rv_error *error);
void rv__registry_close(struct rv__master *master);
void rv__registry_publish(struct rv__master *master, int number);
/* Rebuilds pool and workers from what the last master published. */
void rv__registry_adopt(struct rv__master *master);
/* Workers of a reeve that died whole; stops them with 'take_over', else an
 * error that names them. */
int rv__registry_check_orphans(struct rv__master *master,
                               struct rv_error *error);

/* sockets.c */
/* Opens (or takes from the store) what 'conf' wants and is not open yet; on
 * failure closes what it opened. */
int rv__sockets_open(struct rv__master *master, const struct rv_conf *conf,
                     struct rv_error *error);
/* Lets new connections go to the sockets of a growing group whose workers are
 * ready by now. */
void rv__sockets_settle(struct rv__master *master);
/* Closes what neither configuration nor a living worker wants. */
void rv__sockets_collect(struct rv__master *master);
struct rv__socket *rv__sockets_find(const struct rv__master *master,
                                    const struct rv_conf_listen *listen);
/* Whether a process besides 'worker' has the socket that 'worker' gets. */
bool rv__sockets_is_shared(const struct rv__worker *worker,
                           const struct rv__socket *s);
/* The descriptor for a worker index; borrowed. */
int rv__socket_fd(const struct rv__socket *s, int index);
/* Before a worker of a removed index is told to leave: keeps new connections
 * away from its sockets.  True while some still wait in their queues. */
bool rv__sockets_hold(struct rv__master *master,
                      const struct rv_conf_service *service, int index);
/* What the store calls it. */
void rv__socket_name(const struct rv__socket *s, int index,
                     char name[RV_KEEPER_NAME]);
void rv__sockets_close_all(struct rv__master *master);
int rv__conf_n_workers(const struct rv_conf_service *service);

/* zones.c */
/* Why zones are opened. */
struct rv__zones_source {
    bool is_reload;                /* `noreuse` makes fresh ones. */
    bool may_grow;                 /* To what is configured. */
    const struct rv__state *state; /* Of the last master; NULL: none. */
};
/* Opens, takes from the store, or keeps, what 'conf' wants; until rv__zones_commit these are the zones of the next configuration.  On
 * failure closes what it opened. */
int rv__zones_open(struct rv__master *master, const struct rv_conf *conf,
                   const struct rv__zones_source *source,
                   struct rv_error *error);
/* The next configuration is the current one now. */
void rv__zones_commit(struct rv__master *master);
/* There is no next configuration any more. */
void rv__zones_roll_back(struct rv__master *master);
/* Closes what neither configuration nor a worker has. */
void rv__zones_collect(struct rv__master *master);
void rv__zones_close_all(struct rv__master *master);
/* Whether a zone of the service is another one in the next configuration. */
bool rv__zones_are_fresh(const struct rv__master *master,
                         const struct rv_conf_service *service);
/* Keeps the zones of the worker's service for it, until released. */
int rv__zones_hold(struct rv__worker *worker);
void rv__zones_release(struct rv__worker *worker);
/* The descriptor for a worker; borrowed.  Negative errno. */
int rv__zone_worker_fd(struct rv__zone *zone, bool is_read_only);
/* The zone of that name in the committed configuration, or NULL. */
struct rv__zone *rv__zone_find(const struct rv__master *master,
                               const char *name);
/* Makes it larger; or smaller, if 'is_trimmed' says that its tail is out of
 * use. */
int rv__zone_resize(struct rv__zone *zone, uint64_t size_bytes,
                    bool is_trimmed, struct rv_error *error);
/* The entry of the store that says that the zone's file was made for a
 * configuration that is not in force yet. */
void rv__zone_made_name(const struct rv__zone *zone,
                        char name[RV_KEEPER_NAME]);
/* For what the last master stored and nobody took: removes the file that it
 * made for a configuration that it did not live to put in force. */
void rv__zones_bury(const struct rv__master *master, const char *name, int fd);
/* What the store calls it. */
void rv__zone_entry_name(const struct rv__zone *zone,
                         char name[RV_KEEPER_NAME]);
json_t *rv__zones_json(const struct rv__master *master);

/* environment.c */
struct rv__program {
    char **arguments;
    char **environment;
    char *listen_pid; /* In 'environment': the digits, set in the child. */
    char *watchdog_pid;
};
int rv__program_build(const struct rv__worker *worker, int index,
                      uint32_t generation, int n_listens, int probe_port,
                      struct rv__program *program, struct rv_error *error);
void rv__program_free(struct rv__program *program);

/* launch.c */
/* What a child reports to its master when it could not exec. */
struct rv__launch_report {
    int error; /* An errno. */
    char step[32];
};
/* What the child of a fork is to do until exec; all set up by the parent. */
struct rv__launch {
    struct rv__program program;
    const struct rv_conf_service *service;
    int listen_fds[128];
    int n_listens;
    int zone_fds[64]; /* Behind the sockets. */
    int n_zones;
    bool listen_as_stdin;
    int out_fd, err_fd; /* -1: /dev/null. */
    int go_fd;
    uid_t uid;
    gid_t gid;
    bool has_user;
    const char *directory;
};
int rv__launch_prepare(struct rv__worker *worker, struct rv__launch *launch,
                       struct rv_error *error);
void rv__launch_free(struct rv__launch *launch);
RV_NORETURN void rv__launch_child(struct rv__launch *launch);
/* Forks; in the parent 0 or a negative errno. */
int rv__launch_fork(struct rv__worker *worker, struct rv__launch *launch);

/* worker.c */
/* Starts a process for the slot; a failure comes back as its exit. */
void rv__worker_start(struct rv__master *master, int slot);
/* Takes up a process that the last master started; -ESRCH when it is gone. */
int rv__worker_adopt(struct rv__master *master, int slot, pid_t pid,
                     uint64_t start_time);
void rv__worker_signal(struct rv__worker *worker, int signal);
void rv__worker_drain(struct rv__worker *worker);
/* The keeper says that an adopted worker ended. */
void rv__worker_orphan_ended(struct rv__master *master, pid_t pid,
                             uint64_t start_time, int status);
void rv__worker_destroy(struct rv__worker *worker);
const struct rv_pool_worker *rv__worker_pool(const struct rv__worker *worker);

/* streams.c */
void rv__stream_init(struct rv__stream *stream, struct rv__worker *worker);
/* Opens the pipe for stream 'i'; the caller owns the child's end. */
int rv__stream_open(struct rv__worker *worker, int i,
                    const struct rv_conf_output_to *to, int *child_fdp);
/* Writes what is left of a line; 'forget' also takes it out of the store. */
void rv__stream_close(struct rv__stream *stream, bool forget);
/* Whether both streams go to the same place, and so share a pipe. */
bool rv__streams_are_one(const struct rv_conf_service *service);
/* Reads what a worker that ended left behind. */
void rv__streams_drain(struct rv__worker *worker);
/* Takes streams and notify socket out of the store. */
void rv__streams_adopt(struct rv__worker *worker);
/* What the store calls a descriptor of a worker. */
void rv__worker_entry_name(const struct rv__worker *worker, const char *kind,
                           int i, char name[RV_KEEPER_NAME]);

/* notify.c */
void rv__on_notify(struct rv_io *io, uint32_t events);
void rv__on_notify_pause_over(struct rv_timer *timer);

/* probe.c */
struct rv__probe;
/* Opens the private socket that is probed; its port, 0 if none is needed. */
int rv__probe_create(struct rv__worker *worker, struct rv__probe **probep,
                     struct rv_error *error);
/* The same for a worker that the last master started and probed. */
int rv__probe_adopt(struct rv__worker *worker, struct rv__probe **probep);
int rv__probe_fd(const struct rv__probe *probe);
int rv__probe_port(const struct rv__probe *probe);
void rv__probe_start(struct rv__probe *probe);
void rv__probe_destroy(struct rv__probe *probe);

/* output.c */
int rv__output_init(struct rv__master *master, struct rv_error *error);
void rv__output_deinit(struct rv__master *master);
/* The output for a file (NULL: standard output), shared by all who name it.
 * -ENOMEM, and as open(2). */
int rv__output_get(struct rv__master *master, const char *path,
                   struct rv__output **outputp);
void rv__output_put(struct rv__output *output);
/* Sends what reeve itself says to the configured file from now on. */
int rv__output_set_log(struct rv__master *master, const char *path,
                       struct rv_error *error);
/* Where reeve's own lines go: as configured, or a daemon's default. */
const char *rv__log_path(struct rv__master *master);
/* Writes a line of a worker (a newline is added). */
void rv__output_line(struct rv__output *output, const char *name,
                     const char *line, size_t length);
bool rv__output_is_full(const struct rv__output *output);
/* Lines of text, or of JSON objects. */
void rv__output_set_format(bool is_json);
void rv__output_reopen(struct rv__master *master);
/* Lets go of the terminal. */
void rv__output_detach(struct rv__master *master);

/* apply.c */
/* Lets the pool act on all that happened in this turn. */
void rv__apply(struct rv__master *master);
/* Builds the pool's view of a configuration.  'named' (or NULL) rolls though
 * it did not change, 'all_changed' all. */
int rv__apply_conf(struct rv__master *master, struct rv_conf *conf,
                   const struct rv__state *known, enum rv_pool_how how,
                   const char *named, bool all_changed, int *n_changedp);
/* Makes the log's levels and its size what a configuration says. */
void rv__apply_settings(struct rv__master *master, const struct rv_conf *old,
                        const struct rv_conf *conf);

/* operation.c */
int rv__operation_reload(struct rv__master *master, const char *service,
                         struct rv_unixctl_call *call, bool wait,
                         struct rv_error *error);
int rv__operation_restart(struct rv__master *master, const char *service,
                          struct rv_unixctl_call *call, bool wait,
                          struct rv_error *error);
int rv__operation_scale(struct rv__master *master, const char *service,
                        int n_workers, struct rv_unixctl_call *call,
                        struct rv_error *error);
void rv__operation_stop(struct rv__master *master, enum rv_pool_stop how,
                        struct rv_unixctl_call *call);
void rv__operation_committed(struct rv__master *master);
void rv__operation_rolled_back(struct rv__master *master, const char *why);
/* A worker failed while the service starts for the first time.  Whether that
 * ends the start, which is then logged with 'why'. */
bool rv__operation_start_failed(struct rv__master *master, const char *why);
/* Answers those who wait for what is now true. */
void rv__operation_check(struct rv__master *master);
/* Describes the end of a worker with its last lines of output. */
void rv__describe_failure(struct rv__master *master, int slot,
                          enum rv_pool_reason reason,
                          const struct rv_pool_exit *how, struct rv_buf *text);

/* control.c */
int rv__control_open(struct rv__master *master, struct rv_error *error);
void rv__control_close(struct rv__master *master);

/* status.c */
json_t *rv__status_json(struct rv__master *master);
void rv__status_text(struct rv__master *master, struct rv_buf *text);

/* signals.c */
int rv__signals_open(struct rv__master *master);
void rv__signals_handle(struct rv__master *master, int signal);

#endif
