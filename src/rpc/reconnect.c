/* The machine that decides when to connect again.  Each state has one row in
 * the table of successors, one deadline, and one action that is due then.
 *
 * Times are added and subtracted with saturation: a moment too far away to
 * be written is NEVER, and no clock can make the arithmetic overflow. */
#include "reeve/reconnect.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/str.h"

#define VOID       RV_RECONNECT_STATE_VOID
#define BACKOFF    RV_RECONNECT_STATE_BACKOFF
#define CONNECTING RV_RECONNECT_STATE_CONNECTING
#define ACTIVE     RV_RECONNECT_STATE_ACTIVE
#define IDLE       RV_RECONNECT_STATE_IDLE
#define RECONNECT  RV_RECONNECT_STATE_RECONNECT
#define LISTENING  RV_RECONNECT_STATE_LISTENING

static const char *const state_names[RV_RECONNECT_N_STATES] = {
    "VOID", "BACKOFF",   "CONNECTING", "ACTIVE",
    "IDLE", "RECONNECT", "LISTENING",
};

#define BIT(STATE) (1U << (STATE))

/* Which states may follow which. */
static const unsigned int successors[RV_RECONNECT_N_STATES] = {
    [VOID] = BIT(BACKOFF) | BIT(CONNECTING) | BIT(LISTENING),
    [BACKOFF] = BIT(VOID) | BIT(CONNECTING) | BIT(LISTENING),
    [CONNECTING] = BIT(VOID) | BIT(BACKOFF) | BIT(ACTIVE) | BIT(RECONNECT)
                   | BIT(LISTENING),
    [ACTIVE] = BIT(VOID) | BIT(BACKOFF) | BIT(CONNECTING) | BIT(IDLE)
               | BIT(RECONNECT) | BIT(LISTENING),
    [IDLE] = BIT(VOID) | BIT(BACKOFF) | BIT(CONNECTING) | BIT(ACTIVE)
             | BIT(RECONNECT) | BIT(LISTENING),
    [RECONNECT] = BIT(VOID) | BIT(BACKOFF) | BIT(CONNECTING) | BIT(LISTENING),
    [LISTENING] = BIT(VOID) | BIT(BACKOFF) | BIT(CONNECTING),
};

static bool
is_in(const struct rv_reconnect *machine, unsigned int states)
{
    return BIT(machine->state) & states;
}

const char *
rv_reconnect_state_name(enum rv_reconnect_state state)
{
    return state_names[state];
}

bool
rv_reconnect_may_follow(enum rv_reconnect_state from,
                        enum rv_reconnect_state to)
{
    return successors[from] & BIT(to);
}

bool
rv_reconnect_is_connected(const struct rv_reconnect *machine)
{
    return is_in(machine, BIT(ACTIVE) | BIT(IDLE));
}

bool
rv_reconnect_is_enabled(const struct rv_reconnect *machine)
{
    return machine->state != VOID;
}

static int64_t
add(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

static int64_t
subtract(int64_t a, int64_t b)
{
    int64_t difference;
    if (__builtin_sub_overflow(a, b, &difference)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return difference;
}

/* ---- Log ---- */

static void say(const struct rv_reconnect *machine, enum rv_log_level level,
                const char *format, ...) RV_PRINTF(3, 4);

static void
say(const struct rv_reconnect *machine, enum rv_log_level level,
    const char *format, ...)
{
    if (machine->log) {
        char text[160];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        machine->log(level, text, machine->log_context);
    }
}

/* Says what is over, "connection lost" and the like, and why, if there is a
 * reason: then at 'trouble'. */
static void
say_why(const struct rv_reconnect *machine, enum rv_log_level trouble,
        const char *what, int error)
{
    if (error >= 0) {
        say(machine, machine->info, "%s", what);
        return;
    }
    /* INT_MIN has no opposite, and is no errno. */
    const char *reason = error == INT_MIN ? NULL : strerrordesc_np(-error);
    say(machine, trouble, "%s: %s", what, reason ? reason : "unknown error");
}

/* At the longest backoff a peer that is simply away would fill the log, so
 * the tries are silent there. */
static bool
is_silent(const struct rv_reconnect *machine)
{
    return machine->backoff_ms >= machine->max_backoff_ms;
}

static void
say_disconnected(const struct rv_reconnect *machine, int error)
{
    if (rv_reconnect_is_connected(machine)) {
        const char *what = error == RV_RECONNECT_CLOSED
                               ? "connection closed by the peer"
                               : "connection lost";
        say_why(machine, RV_LOG_WARN, what, error);
    } else if (machine->state == LISTENING) {
        say_why(machine, RV_LOG_WARN, "cannot listen", error);
    } else if (machine->state == RECONNECT) {
        say_why(machine, RV_LOG_INFO, "given up as asked", error);
    } else if (!is_silent(machine)) {
        const char *what = machine->is_passive ? "no success in listening"
                                               : "no success in connecting";
        say_why(machine, RV_LOG_INFO, what, error);
    }
}

/* ---- Moves ---- */

static void
move(struct rv_reconnect *machine, enum rv_reconnect_state state,
     int64_t now_ms)
{
    RV_ASSERT(rv_reconnect_may_follow(machine->state, state));
    bool was_connected = rv_reconnect_is_connected(machine);
    if (machine->state == CONNECTING) {
        machine->n_attempted++;
        machine->n_successful += state == ACTIVE;
    }
    machine->state = state;
    if (was_connected != rv_reconnect_is_connected(machine)) {
        machine->seqno++;
        if (was_connected) {
            int64_t lived_ms = subtract(now_ms, machine->last_connected_ms);
            machine->total_connected_ms =
                add(machine->total_connected_ms, lived_ms);
        }
    }
    machine->entered_ms = now_ms;
    machine->was_asked_to_receive = false;
    say(machine, RV_LOG_DBG, "entering %s", state_names[state]);
}

static void
back_off(struct rv_reconnect *machine, int64_t backoff_ms, int64_t now_ms)
{
    machine->backoff_ms = machine->wait_ms = backoff_ms;
    if (machine->options.has_jitter) {
        uint64_t most_ms = (uint64_t)(backoff_ms / 4);
        uint64_t random = rv_random(&machine->random_state);
        machine->wait_ms -= (int64_t)(random % (most_ms + 1));
    }
    move(machine, BACKOFF, now_ms);
}

/* Takes a try from those left; false if there is none. */
static bool
take_try(struct rv_reconnect *machine)
{
    if (!machine->max_tries) {
        return false;
    }
    if (machine->max_tries != RV_RECONNECT_UNLIMITED) {
        machine->max_tries--;
    }
    return true;
}

/* ---- Life and settings ---- */

void
rv_reconnect_init(struct rv_reconnect *machine, int64_t now_ms)
{
    *machine = (struct rv_reconnect){
        .min_backoff_ms = RV_RECONNECT_MIN_BACKOFF_MS,
        .max_backoff_ms = RV_RECONNECT_MAX_BACKOFF_MS,
        .probe_interval_ms = RV_RECONNECT_PROBE_INTERVAL_MS,
        .info = RV_LOG_INFO,
        .state = VOID,
        .entered_ms = now_ms,
        .last_activity_ms = now_ms,
        .last_connected_ms = RV_RECONNECT_NEVER,
        .last_disconnected_ms = RV_RECONNECT_NEVER,
        .last_receive_attempt_ms = now_ms,
        .max_tries = RV_RECONNECT_UNLIMITED,
        .created_ms = now_ms,
    };
}

void
rv_reconnect_set_log(struct rv_reconnect *machine, rv_reconnect_log *log,
                     void *context)
{
    machine->log = log;
    machine->log_context = context;
}

void
rv_reconnect_set_quiet(struct rv_reconnect *machine, bool is_quiet)
{
    machine->info = is_quiet ? RV_LOG_DBG : RV_LOG_INFO;
}

void
rv_reconnect_set_backoff(struct rv_reconnect *machine, int64_t min_ms,
                         int64_t max_ms)
{
    int64_t least_ms = RV_RECONNECT_LEAST_MS;
    machine->min_backoff_ms = RV_MAX(min_ms, least_ms);
    machine->max_backoff_ms =
        max_ms ? RV_MAX(max_ms, least_ms) : RV_RECONNECT_MAX_BACKOFF_MS;
    machine->max_backoff_ms =
        RV_MAX(machine->max_backoff_ms, machine->min_backoff_ms);
    if (machine->state == BACKOFF) {
        machine->backoff_ms =
            RV_MIN(machine->backoff_ms, machine->max_backoff_ms);
        machine->wait_ms = RV_MIN(machine->wait_ms, machine->backoff_ms);
    }
}

void
rv_reconnect_set_probe_interval(struct rv_reconnect *machine,
                                int64_t interval_ms)
{
    machine->probe_interval_ms =
        interval_ms > 0 ? RV_MAX(interval_ms, RV_RECONNECT_LEAST_MS) : 0;
    machine->was_asked_to_receive = false;
}

void
rv_reconnect_set_max_tries(struct rv_reconnect *machine, unsigned int n_tries)
{
    machine->max_tries = n_tries;
}

void
rv_reconnect_set_backoff_free_tries(struct rv_reconnect *machine,
                                    unsigned int n_tries)
{
    machine->n_free_tries = n_tries;
}

void
rv_reconnect_set_passive(struct rv_reconnect *machine, bool is_passive,
                         int64_t now_ms)
{
    if (machine->is_passive == is_passive) {
        return;
    }
    machine->is_passive = is_passive;
    if (is_passive ? is_in(machine, BIT(CONNECTING) | BIT(RECONNECT))
                   : machine->state == LISTENING && take_try(machine)) {
        back_off(machine, 0, now_ms);
    }
}

void
rv_reconnect_set_options(struct rv_reconnect *machine,
                         const struct rv_reconnect_options *options)
{
    int64_t none = 0;
    machine->options = *options;
    machine->options.first_backoff_ms =
        RV_MAX(options->first_backoff_ms, none);
    machine->options.connect_timeout_ms =
        RV_MAX(options->connect_timeout_ms, none);
    machine->random_state = options->seed;
}

/* ---- What the client wants ---- */

void
rv_reconnect_enable(struct rv_reconnect *machine, int64_t now_ms)
{
    if (machine->state == VOID && take_try(machine)) {
        back_off(machine, 0, now_ms);
    }
}

void
rv_reconnect_disable(struct rv_reconnect *machine, int64_t now_ms)
{
    if (machine->state != VOID) {
        move(machine, VOID, now_ms);
    }
}

void
rv_reconnect_force(struct rv_reconnect *machine, int64_t now_ms)
{
    if (is_in(machine, BIT(CONNECTING) | BIT(ACTIVE) | BIT(IDLE))) {
        move(machine, RECONNECT, now_ms);
    }
}

/* ---- What happened ---- */

void
rv_reconnect_connecting(struct rv_reconnect *machine, int64_t now_ms)
{
    if (machine->state == CONNECTING) {
        return;
    }
    bool was_said =
        machine->is_passive ? machine->state == LISTENING : is_silent(machine);
    if (!was_said) {
        say(machine, machine->info, "%s",
            machine->is_passive ? "listening" : "connecting");
    }
    move(machine, CONNECTING, now_ms);
}

void
rv_reconnect_listening(struct rv_reconnect *machine, int64_t now_ms)
{
    if (machine->state != LISTENING) {
        say(machine, machine->info, "listening");
        move(machine, LISTENING, now_ms);
    }
}

void
rv_reconnect_listen_error(struct rv_reconnect *machine, int error,
                          int64_t now_ms)
{
    if (machine->state == LISTENING) {
        rv_reconnect_disconnected(machine, error, now_ms);
    }
}

void
rv_reconnect_connected(struct rv_reconnect *machine, int64_t now_ms)
{
    if (!rv_reconnect_is_connected(machine)) {
        rv_reconnect_connecting(machine, now_ms);
        say(machine, machine->info, "connected");
        move(machine, ACTIVE, now_ms);
        machine->last_connected_ms = now_ms;
    }
}

void
rv_reconnect_connect_failed(struct rv_reconnect *machine, int error,
                            int64_t now_ms)
{
    rv_reconnect_connecting(machine, now_ms);
    rv_reconnect_disconnected(machine, error, now_ms);
}

static int64_t
first_backoff(const struct rv_reconnect *machine)
{
    int64_t first_ms = machine->options.first_backoff_ms;
    return first_ms ? RV_MIN(first_ms, machine->max_backoff_ms)
                    : machine->min_backoff_ms;
}

/* The backoff after a try that came to nothing. */
static int64_t
longer_backoff(const struct rv_reconnect *machine)
{
    int64_t backoff_ms = machine->backoff_ms;
    if (backoff_ms < first_backoff(machine)) {
        return first_backoff(machine);
    }
    if (backoff_ms < machine->max_backoff_ms / 2) {
        char text[RV_STR_DURATION];
        rv_str_format_duration(backoff_ms * 2, text);
        say(machine, machine->info, "next try in %s", text);
        return backoff_ms * 2;
    }
    if (!is_silent(machine)) {
        say(machine, RV_LOG_INFO, "still trying, from now on in silence");
    }
    return machine->max_backoff_ms;
}

/* The backoff after a connection that had lasted, or carried something after
 * at least as long as the backoff before it, starts again from the least. */
static bool
was_worth_it(const struct rv_reconnect *machine)
{
    return rv_reconnect_is_connected(machine)
           && (machine->is_passive
               || subtract(machine->last_activity_ms,
                           machine->last_connected_ms)
                      >= machine->backoff_ms);
}

void
rv_reconnect_disconnected(struct rv_reconnect *machine, int error,
                          int64_t now_ms)
{
    if (is_in(machine, BIT(BACKOFF) | BIT(VOID))) {
        return;
    }
    say_disconnected(machine, error);
    if (rv_reconnect_is_connected(machine)) {
        machine->last_disconnected_ms = now_ms;
    }
    if (!take_try(machine)) {
        move(machine, VOID, now_ms);
    } else if (machine->n_free_tries > 1) {
        machine->n_free_tries--;
        back_off(machine, 0, now_ms);
    } else if (was_worth_it(machine)) {
        back_off(machine, machine->is_passive ? 0 : first_backoff(machine),
                 now_ms);
    } else {
        back_off(machine, longer_backoff(machine), now_ms);
    }
}

void
rv_reconnect_activity(struct rv_reconnect *machine, int64_t now_ms)
{
    if (machine->state == IDLE) {
        move(machine, ACTIVE, now_ms);
    }
    machine->last_activity_ms = now_ms;
    machine->was_asked_to_receive = false;
}

void
rv_reconnect_receive_attempted(struct rv_reconnect *machine, int64_t now_ms)
{
    machine->last_receive_attempt_ms = now_ms;
    machine->was_asked_to_receive = false;
}

/* ---- What is to be done, and when ---- */

/* When the silence of the peer has lasted for the probe interval. */
static int64_t
silence_ends(const struct rv_reconnect *machine)
{
    if (!machine->probe_interval_ms) {
        return RV_RECONNECT_NEVER;
    }
    int64_t since_ms = machine->entered_ms;
    if (machine->state == ACTIVE) {
        since_ms = RV_MAX(since_ms, machine->last_activity_ms);
    }
    return add(since_ms, machine->probe_interval_ms);
}

/* Whether the silence may be the client's own fault: it did not listen. */
static bool
lacks_receive(const struct rv_reconnect *machine, int64_t now_ms)
{
    int64_t end_ms = silence_ends(machine);
    return now_ms >= end_ms && machine->last_receive_attempt_ms < end_ms;
}

static int64_t
silence_deadline(const struct rv_reconnect *machine, int64_t now_ms)
{
    if (!lacks_receive(machine, now_ms)) {
        return silence_ends(machine);
    }
    if (!machine->options.asks_to_receive) {
        return add(now_ms, 1);
    }
    return machine->was_asked_to_receive ? RV_RECONNECT_NEVER
                                         : silence_ends(machine);
}

static int64_t
connect_timeout(const struct rv_reconnect *machine)
{
    return machine->options.connect_timeout_ms
               ? machine->options.connect_timeout_ms
               : RV_MAX(machine->backoff_ms, RV_RECONNECT_LEAST_MS);
}

int64_t
rv_reconnect_deadline(const struct rv_reconnect *machine, int64_t now_ms)
{
    switch (machine->state) {
    case BACKOFF:
        return add(machine->entered_ms, machine->wait_ms);
    case CONNECTING:
        return add(machine->entered_ms, connect_timeout(machine));
    case ACTIVE:
    case IDLE:
        return silence_deadline(machine, now_ms);
    case RECONNECT:
        return machine->entered_ms;
    case VOID:
    case LISTENING:
    case RV_RECONNECT_N_STATES:
        break;
    }
    return RV_RECONNECT_NEVER;
}

/* What is due in ACTIVE and IDLE once the silence has lasted long enough. */
static enum rv_reconnect_action
end_silence(struct rv_reconnect *machine, int64_t now_ms)
{
    if (lacks_receive(machine, now_ms)) {
        machine->was_asked_to_receive = true;
        return RV_RECONNECT_RECEIVE;
    }
    if (machine->state == ACTIVE) {
        int64_t since_ms =
            RV_MAX(machine->last_activity_ms, machine->entered_ms);
        say(machine, RV_LOG_DBG, "silent for %lld ms, probing",
            (long long)subtract(now_ms, since_ms));
        move(machine, IDLE, now_ms);
        return RV_RECONNECT_PROBE;
    }
    char text[RV_STR_DURATION];
    rv_str_format_duration(subtract(now_ms, machine->entered_ms), text);
    say(machine, RV_LOG_ERR, "no answer to a probe within %s", text);
    return RV_RECONNECT_DISCONNECT;
}

enum rv_reconnect_action
rv_reconnect_run(struct rv_reconnect *machine, int64_t now_ms)
{
    int64_t deadline_ms = rv_reconnect_deadline(machine, now_ms);
    if (deadline_ms == RV_RECONNECT_NEVER || now_ms < deadline_ms) {
        return RV_RECONNECT_NOTHING;
    }
    switch (machine->state) {
    case BACKOFF:
        return RV_RECONNECT_CONNECT;
    case CONNECTING:
    case RECONNECT:
        return RV_RECONNECT_DISCONNECT;
    case ACTIVE:
    case IDLE:
        return end_silence(machine, now_ms);
    case VOID:
    case LISTENING:
    case RV_RECONNECT_N_STATES:
        break;
    }
    return RV_RECONNECT_NOTHING;
}

/* ---- What it knows ---- */

static int64_t
elapsed(int64_t since_ms, int64_t now_ms)
{
    return since_ms == RV_RECONNECT_NEVER ? RV_RECONNECT_NEVER
                                          : subtract(now_ms, since_ms);
}

void
rv_reconnect_get_stats(const struct rv_reconnect *machine, int64_t now_ms,
                       struct rv_reconnect_stats *stats)
{
    *stats = (struct rv_reconnect_stats){
        .created_ms = machine->created_ms,
        .last_activity_ms = machine->last_activity_ms,
        .last_connected_ms = machine->last_connected_ms,
        .last_disconnected_ms = machine->last_disconnected_ms,
        .backoff_ms = machine->backoff_ms,
        .seqno = machine->seqno,
        .is_connected = rv_reconnect_is_connected(machine),
        .since_connect_ms = elapsed(machine->last_connected_ms, now_ms),
        .since_disconnect_ms = elapsed(machine->last_disconnected_ms, now_ms),
        .total_connected_ms = machine->total_connected_ms,
        .n_attempted = machine->n_attempted,
        .n_successful = machine->n_successful,
        .state = machine->state,
        .state_elapsed_ms = subtract(now_ms, machine->entered_ms),
    };
    if (stats->is_connected) {
        stats->total_connected_ms =
            add(stats->total_connected_ms, stats->since_connect_ms);
    }
}
