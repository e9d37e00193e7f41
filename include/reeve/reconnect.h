/* When to connect, when to wait, when to ask whether the peer still lives.
 *
 * Room: rpc.  Runs in: anything.  Blocks: never; makes no system call, reads
 * no clock, holds no descriptor.  Threads: one at a time for each machine.
 * Source: the behaviour of Open vSwitch's lib/reconnect.c, whose states,
 * timers and counters these are.
 *
 * The machine never touches a connection.  The client tells it what happened
 * and what time it is, and rv_reconnect_run() says what is to be done:
 *
 *     struct rv_reconnect machine;
 *     rv_reconnect_init(&machine, now_ms);
 *     rv_reconnect_enable(&machine, now_ms);
 *     for (;;) {
 *         switch (rv_reconnect_run(&machine, now_ms)) {
 *         case RV_RECONNECT_CONNECT:
 *             start to connect;
 *             rv_reconnect_connecting(&machine, now_ms);
 *             break;
 *         case RV_RECONNECT_DISCONNECT:
 *             close the connection;
 *             rv_reconnect_disconnected(&machine, 0, now_ms);
 *             break;
 *         case RV_RECONNECT_PROBE:
 *             send something that the peer has to answer;
 *             break;
 *         case RV_RECONNECT_RECEIVE:      // only with 'asks_to_receive'
 *         case RV_RECONNECT_NOTHING:
 *             break;
 *         }
 *         try to receive:
 *             rv_reconnect_receive_attempted(&machine, now_ms);
 *             rv_reconnect_activity(&machine, now_ms) if bytes came;
 *             rv_reconnect_disconnected(&machine, error, now_ms) at its end;
 *         wait until something happens or rv_reconnect_deadline() passes;
 *     }
 *
 * Wrong: to act without telling.  After CONNECT the machine stays in BACKOFF
 * until it is told of the attempt, so that each run says CONNECT again; the
 * same holds for DISCONNECT.  Wrong as well: never to tell of receives.  The
 * machine would believe in no silence: it would wake its client each
 * millisecond once a probe is due, and never send one.
 *
 *                       enable
 *              VOID ---------------> BACKOFF <--------------------+
 *               ^                       |                         |
 *       disable |            connecting | connected, failed       |
 *     (from any)|                       v                         |
 *               |     +----------- CONNECTING ---- disconnected --+
 *               |     |                 |                         |
 *               |     | force           | connected               |
 *               |     v                 v                         |
 *               | RECONNECT <------- ACTIVE ------ disconnected --+
 *               |     |   ^ force    |    ^                       |
 *               |     |   |    probe |    | activity              |
 *               |     |   |          v    |                       |
 *               |     |   +--------- IDLE -------- disconnected --+
 *               |     +------------------------------------------>+
 *               |                                                 |
 *               +---- LISTENING <- listening (passive mode)       |
 *                         +------------- listening failed --------+
 *
 * A report wins over the picture: connecting and listening are believed in
 * every state, and disconnected leads to VOID when no tries are left.
 */
#ifndef REEVE_RECONNECT_H
#define REEVE_RECONNECT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/log.h"

RV_BEGIN_DECLARATIONS

/* A moment that never comes, or a thing that has never been. */
#define RV_RECONNECT_NEVER INT64_MAX

/* As many tries as it takes. */
#define RV_RECONNECT_UNLIMITED UINT_MAX

/* What holds until it is set, and the least that can be set, both in ms. */
enum {
    RV_RECONNECT_MIN_BACKOFF_MS = 1000,
    RV_RECONNECT_MAX_BACKOFF_MS = 8000,
    RV_RECONNECT_PROBE_INTERVAL_MS = 5000,
    RV_RECONNECT_LEAST_MS = 1000,
};

/* In place of an error: the peer closed the connection as it should. */
enum { RV_RECONNECT_CLOSED = 1 };

enum rv_reconnect_state {
    RV_RECONNECT_STATE_VOID,       /* Disabled; does nothing. */
    RV_RECONNECT_STATE_BACKOFF,    /* Waits before the next try. */
    RV_RECONNECT_STATE_CONNECTING, /* A try is under way. */
    RV_RECONNECT_STATE_ACTIVE,     /* Connected; the peer was heard of. */
    RV_RECONNECT_STATE_IDLE,       /* Connected; a probe is unanswered. */
    RV_RECONNECT_STATE_RECONNECT,  /* The client has to disconnect now. */
    RV_RECONNECT_STATE_LISTENING,  /* Passive; waits for a peer. */
    RV_RECONNECT_N_STATES,
};

/* "VOID", "BACKOFF" and so on, as Open vSwitch writes them. */
const char *rv_reconnect_state_name(enum rv_reconnect_state state);

/* Whether the machine ever goes from one state to the other in one step. */
bool rv_reconnect_may_follow(enum rv_reconnect_state from,
                             enum rv_reconnect_state to);

enum rv_reconnect_action {
    RV_RECONNECT_NOTHING,
    RV_RECONNECT_CONNECT,    /* Connect, or listen if passive. */
    RV_RECONNECT_DISCONNECT, /* Give the connection, or the try, up. */
    RV_RECONNECT_PROBE,      /* Send what the peer has to answer. */
    RV_RECONNECT_RECEIVE,    /* Try to receive, say so, and run again. */
};

/* Improvements on the original; all off while zero. */
struct rv_reconnect_options {
    /* Backoff begins here instead of at the minimum, and doubles from here.
     * May lie below a second; is cut to the maximum. */
    int64_t first_backoff_ms;
    /* How long a try may take, instead of as long as the backoff. */
    int64_t connect_timeout_ms;
    /* Waits are cut by up to a quarter, at random, so that many clients do
     * not come back at once.  The backoff that is reported and doubled is
     * not cut. */
    bool has_jitter;
    uint64_t seed;
    /* When a probe is due, but no receive was attempted since, run says
     * RECEIVE, once, and the deadline is NEVER until the receive is
     * reported.  The original wakes its client each millisecond instead. */
    bool asks_to_receive;
};

/* Receives each line that the machine would log, without the name of what is
 * connected to.  'text' lives as long as the call.  The callback must not
 * call the machine. */
typedef void rv_reconnect_log(enum rv_log_level level, const char *text,
                              void *context);

/* The caller's storage; read-only outside reconnect.c.  Nothing is owned, so
 * it may be copied, moved and forgotten. */
struct rv_reconnect {
    /* What was set. */
    int64_t min_backoff_ms, max_backoff_ms;
    int64_t probe_interval_ms; /* 0: no probes. */
    bool is_passive;
    enum rv_log_level info; /* Of what is no trouble: info, or debug. */
    rv_reconnect_log *log;
    void *log_context;
    struct rv_reconnect_options options;

    /* Where it stands. */
    enum rv_reconnect_state state;
    int64_t entered_ms;
    int64_t backoff_ms;
    int64_t wait_ms; /* 'backoff_ms' less its jitter. */
    int64_t last_activity_ms;
    int64_t last_connected_ms, last_disconnected_ms; /* May be NEVER. */
    int64_t last_receive_attempt_ms;
    unsigned int max_tries;    /* Left, or RV_RECONNECT_UNLIMITED. */
    unsigned int n_free_tries; /* Without backoff; 0 and 1 mean one. */
    bool was_asked_to_receive; /* Since the last receive. */
    uint64_t random_state;

    /* For statistics alone. */
    int64_t created_ms;
    int64_t total_connected_ms; /* Of connections that have ended. */
    unsigned int n_attempted, n_successful;
    unsigned int seqno;
};

/* ---- Life and settings ---- */

/* Makes a disabled machine with the defaults above. */
void rv_reconnect_init(struct rv_reconnect *machine, int64_t now_ms);

/* Sends log lines to 'log'; NULL (the default) drops them. */
void rv_reconnect_set_log(struct rv_reconnect *machine, rv_reconnect_log *log,
                          void *context);

/* A quiet machine logs at debug what it otherwise logs at info. */
void rv_reconnect_set_quiet(struct rv_reconnect *machine, bool is_quiet);

/* The waits between tries: 'min_ms', doubled up to 'max_ms'.  Each is raised
 * to a second, and 'max_ms' to 'min_ms'; 0 means the default.  A wait under
 * way is cut to the new maximum. */
void rv_reconnect_set_backoff(struct rv_reconnect *machine, int64_t min_ms,
                              int64_t max_ms);

/* How long a connected peer may be silent before it is probed, and then
 * before it is given up.  Raised to a second; 0 or less: no probes. */
void rv_reconnect_set_probe_interval(struct rv_reconnect *machine,
                                     int64_t interval_ms);

/* After so many more tries the machine disables itself. */
void rv_reconnect_set_max_tries(struct rv_reconnect *machine,
                                unsigned int n_tries);

/* The next 'n_tries' - 1 failures are not waited for: one for each other
 * remote that a client knows. */
void rv_reconnect_set_backoff_free_tries(struct rv_reconnect *machine,
                                         unsigned int n_tries);

/* Passive: listens instead of connecting.  A try under way in the other mode
 * is given up for a new one at once. */
void rv_reconnect_set_passive(struct rv_reconnect *machine, bool is_passive,
                              int64_t now_ms);

/* Sets all options; negative times count as 0.  A wait that is under way
 * stays as it is. */
void rv_reconnect_set_options(struct rv_reconnect *machine,
                              const struct rv_reconnect_options *options);

/* ---- What the client wants ---- */

/* Lets a disabled machine try at once, if tries are left. */
void rv_reconnect_enable(struct rv_reconnect *machine, int64_t now_ms);

/* To VOID, from any state: for a client that closes for good. */
void rv_reconnect_disable(struct rv_reconnect *machine, int64_t now_ms);

/* If connected or connecting: makes run say DISCONNECT at once. */
void rv_reconnect_force(struct rv_reconnect *machine, int64_t now_ms);

/* ---- What happened ---- */

/* A try to connect (or, if passive, to listen) is under way. */
void rv_reconnect_connecting(struct rv_reconnect *machine, int64_t now_ms);

/* A passive client listens. */
void rv_reconnect_listening(struct rv_reconnect *machine, int64_t now_ms);

/* Accepting failed.  Counts as disconnected while listening, else not. */
void rv_reconnect_listen_error(struct rv_reconnect *machine, int error,
                               int64_t now_ms);

/* The connection stands.  It may be reported before a handshake on it has
 * ended: a connection that carries nothing does not reset the backoff. */
void rv_reconnect_connected(struct rv_reconnect *machine, int64_t now_ms);

/* A try failed, of whatever state.  'error' as below. */
void rv_reconnect_connect_failed(struct rv_reconnect *machine, int error,
                                 int64_t now_ms);

/* The connection, or the try, is over.  'error' is a negative errno,
 * RV_RECONNECT_CLOSED, or 0 for none, which is right when the client itself
 * disconnected. */
void rv_reconnect_disconnected(struct rv_reconnect *machine, int error,
                               int64_t now_ms);

/* The peer was heard of: bytes came, or it took some. */
void rv_reconnect_activity(struct rv_reconnect *machine, int64_t now_ms);

/* The client tried to receive, whether or not anything came.  A probe
 * interval ends only after such a try, so that a client that was busy for
 * long does not blame the peer.  RV_RECONNECT_NEVER turns that off. */
void rv_reconnect_receive_attempted(struct rv_reconnect *machine,
                                    int64_t now_ms);

/* ---- What is to be done, and when ---- */

/* What the client has to do now. */
enum rv_reconnect_action rv_reconnect_run(struct rv_reconnect *machine,
                                          int64_t now_ms);

/* When to run again if nothing happens before; RV_RECONNECT_NEVER.  May lie
 * in the past.  'now_ms' matters only for a probe that is due and waits for
 * a receive: the answer is then a millisecond from now (see
 * 'asks_to_receive'). */
int64_t rv_reconnect_deadline(const struct rv_reconnect *machine,
                              int64_t now_ms);

/* ---- What it knows ---- */

struct rv_reconnect_stats {
    int64_t created_ms;
    int64_t last_activity_ms;
    int64_t last_connected_ms;    /* May be RV_RECONNECT_NEVER. */
    int64_t last_disconnected_ms; /* May be RV_RECONNECT_NEVER. */
    int64_t backoff_ms;
    unsigned int seqno; /* Connections and disconnections together. */
    bool is_connected;
    int64_t since_connect_ms;    /* RV_RECONNECT_NEVER if never. */
    int64_t since_disconnect_ms; /* RV_RECONNECT_NEVER if never. */
    int64_t total_connected_ms;  /* The present connection included. */
    unsigned int n_attempted, n_successful;
    enum rv_reconnect_state state;
    int64_t state_elapsed_ms;
};

void rv_reconnect_get_stats(const struct rv_reconnect *machine, int64_t now_ms,
                            struct rv_reconnect_stats *stats);

/* Whether the state is ACTIVE or IDLE. */
bool rv_reconnect_is_connected(const struct rv_reconnect *machine);

/* Whether the state is any but VOID. */
bool rv_reconnect_is_enabled(const struct rv_reconnect *machine);

RV_END_DECLARATIONS

#endif
