/* Runs transcripts of the reconnect machine: commands, and what has to come
 * of them.
 *
 *     reconnect_transcript TEXT...             each line is as it should be
 *     reconnect_transcript --coverage TEXT...  and together they show all
 *     reconnect_transcript --update TEXT...    writes what comes into them
 *
 * A text is made of commands, at the start of a line, and of the lines that
 * they are expected to give, which are indented and begin with the time in
 * milliseconds.  Comments begin with '#'.  The clock starts at 0 and moves
 * only by `advance` and `wait`.
 *
 *     enable | disable | force              what the client wants
 *     connecting | connected | failed [ERROR] | lost [ERROR]
 *     listening | listen-error [ERROR]      what happened
 *     activity | received [always]
 *     passive | active                      the mode
 *     run                                   what is to be done now
 *     wait                                  the same, at the deadline
 *     advance FOR                           moves the clock and no more
 *     status                                all that the machine knows
 *     backoff MIN MAX | probe FOR | tries N | free-tries N | quiet
 *     first-backoff FOR | connect-timeout FOR | jitter SEED | ask
 *     as STATE                              a new machine, in that state
 *
 * An ERROR is refused, reset, memory, or closed (as it should be).  A time
 * (FOR) is in milliseconds, or has a unit: 500ms, 10s, 2m.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/buf.h"
#include "base/str.h"
#include "reeve/reconnect.h"

enum { TEXT_BYTES = 1 << 20, MAX_WORDS = 4, MAX_COMMANDS = 32 };

/* How often each thing came up. */
struct coverage {
    unsigned int moves[RV_RECONNECT_N_STATES][RV_RECONNECT_N_STATES];
    unsigned int actions[RV_RECONNECT_N_STATES][RV_RECONNECT_RECEIVE + 1];
    unsigned int commands[MAX_COMMANDS][RV_RECONNECT_N_STATES];
};

struct script {
    const char *path;
    int line;
    struct rv_reconnect machine;
    int64_t now_ms;
    enum rv_reconnect_state state; /* As last printed, as the next two. */
    int64_t backoff_ms;
    unsigned int max_tries;
    bool is_mute;
    struct rv_buf output;
    struct coverage *coverage;
};

/* The words of a command; those that are missing are NULL. */
struct words {
    const char *at[MAX_WORDS];
};

static const char *const action_names[] = {
    [RV_RECONNECT_NOTHING] = "nothing",
    [RV_RECONNECT_CONNECT] = "CONNECT",
    [RV_RECONNECT_DISCONNECT] = "DISCONNECT",
    [RV_RECONNECT_PROBE] = "PROBE",
    [RV_RECONNECT_RECEIVE] = "RECEIVE",
};

RV_NORETURN static void
give_up(const struct script *script, const char *what, const char *word)
{
    fprintf(stderr, "%s:%d: %s \"%s\"\n", script->path, script->line, what,
            word ? word : "");
    exit(2);
}

/* ---- What comes of a command ---- */

static void print(struct script *script, const char *format, ...)
    RV_PRINTF(2, 3);

static void
print(struct script *script, const char *format, ...)
{
    if (!script->is_mute) {
        va_list args;
        va_start(args, format);
        rv_buf_printf(&script->output, "  %-7" PRId64 " ", script->now_ms);
        rv_buf_vprintf(&script->output, format, args);
        rv_buf_puts(&script->output, "\n");
        va_end(args);
    }
}

/* The machine logs each move, so that those within one call are seen, too. */
static void
hear(enum rv_log_level level, const char *text, void *context)
{
    struct script *script = context;
    enum rv_reconnect_state from = script->state;
    enum rv_reconnect_state to = script->machine.state;
    if (script->is_mute) {
        return;
    }
    if (strncmp(text, "entering ", strlen("entering "))) {
        print(script, "%s: %s", rv_log_level_name(level), text);
        return;
    }
    script->coverage->moves[from][to]++;
    print(script, "%s -> %s", rv_reconnect_state_name(from),
          rv_reconnect_state_name(to));
    script->state = to;
}

/* Remembers what was printed, or what needs no word. */
static void
take_note(struct script *script)
{
    script->state = script->machine.state;
    script->backoff_ms = script->machine.backoff_ms;
    script->max_tries = script->machine.max_tries;
}

static void
print_changes(struct script *script)
{
    if (script->machine.backoff_ms != script->backoff_ms) {
        print(script, "backoff %" PRId64 " ms", script->machine.backoff_ms);
    }
    if (script->machine.max_tries != script->max_tries) {
        print(script, "%u tries left", script->machine.max_tries);
    }
    take_note(script);
}

/* ---- Arguments ---- */

static int64_t
duration(const struct script *script, const char *text)
{
    int64_t ms;
    if (!text
        || (rv_str_parse_integer(text, &ms)
            && rv_str_parse_duration(text, &ms))) {
        give_up(script, "this is no time:", text);
    }
    return ms;
}

static unsigned int
number(const struct script *script, const char *text)
{
    int64_t n;
    if (!text || rv_str_parse_integer(text, &n) || n < 0 || n > UINT_MAX) {
        give_up(script, "this is no number:", text);
    }
    return (unsigned int)n;
}

static int
error_of(const struct script *script, const char *text)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {
        {"refused", -ECONNREFUSED},
        {"reset", -ECONNRESET},
        {"memory", -ENOMEM},
        {"closed", RV_RECONNECT_CLOSED},
    };
    if (!text) {
        return 0;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(errors); i++) {
        if (!strcmp(text, errors[i].name)) {
            return errors[i].error;
        }
    }
    give_up(script, "there is no error", text);
}

static enum rv_reconnect_state
state_of(const struct script *script, const char *name)
{
    for (int i = 0; name && i < RV_RECONNECT_N_STATES; i++) {
        enum rv_reconnect_state state = (enum rv_reconnect_state)i;
        if (!strcmp(name, rv_reconnect_state_name(state))) {
            return state;
        }
    }
    give_up(script, "there is no state", name);
}

/* ---- Commands that report or ask ---- */

static void
do_enable(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_enable(&script->machine, script->now_ms);
}

static void
do_disable(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_disable(&script->machine, script->now_ms);
}

static void
do_force(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_force(&script->machine, script->now_ms);
}

static void
do_connecting(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_connecting(&script->machine, script->now_ms);
}

static void
do_connected(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_connected(&script->machine, script->now_ms);
}

static void
do_failed(struct script *script, const struct words *words)
{
    rv_reconnect_connect_failed(
        &script->machine, error_of(script, words->at[1]), script->now_ms);
}

static void
do_lost(struct script *script, const struct words *words)
{
    rv_reconnect_disconnected(&script->machine, error_of(script, words->at[1]),
                              script->now_ms);
}

static void
do_listening(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_listening(&script->machine, script->now_ms);
}

static void
do_listen_error(struct script *script, const struct words *words)
{
    rv_reconnect_listen_error(&script->machine, error_of(script, words->at[1]),
                              script->now_ms);
}

static void
do_activity(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_activity(&script->machine, script->now_ms);
}

static void
do_received(struct script *script, const struct words *words)
{
    rv_reconnect_receive_attempted(
        &script->machine, words->at[1] ? RV_RECONNECT_NEVER : script->now_ms);
}

static void
do_passive(struct script *script, const struct words *words)
{
    rv_reconnect_set_passive(&script->machine, *words->at[0] == 'p',
                             script->now_ms);
}

static void
do_run(struct script *script, const struct words *words RV_UNUSED)
{
    enum rv_reconnect_state state = script->machine.state;
    enum rv_reconnect_action action =
        rv_reconnect_run(&script->machine, script->now_ms);
    script->coverage->actions[state][action]++;
    print(script, "%s", action_names[action]);
}

static void
do_wait(struct script *script, const struct words *words)
{
    int64_t deadline_ms =
        rv_reconnect_deadline(&script->machine, script->now_ms);
    if (deadline_ms == RV_RECONNECT_NEVER) {
        print(script, "never");
        return;
    }
    script->now_ms = RV_MAX(script->now_ms, deadline_ms);
    do_run(script, words);
}

static void
do_advance(struct script *script, const struct words *words)
{
    script->now_ms += duration(script, words->at[1]);
}

/* ---- Commands that set or show ---- */

static void
do_backoff(struct script *script, const struct words *words)
{
    rv_reconnect_set_backoff(&script->machine, duration(script, words->at[1]),
                             duration(script, words->at[2]));
}

static void
do_probe(struct script *script, const struct words *words)
{
    rv_reconnect_set_probe_interval(&script->machine,
                                    duration(script, words->at[1]));
}

static void
do_tries(struct script *script, const struct words *words)
{
    rv_reconnect_set_max_tries(&script->machine, number(script, words->at[1]));
}

static void
do_free_tries(struct script *script, const struct words *words)
{
    rv_reconnect_set_backoff_free_tries(&script->machine,
                                        number(script, words->at[1]));
}

static void
do_quiet(struct script *script, const struct words *words RV_UNUSED)
{
    rv_reconnect_set_quiet(&script->machine, true);
}

static void
do_option(struct script *script, const struct words *words)
{
    struct rv_reconnect_options options = script->machine.options;
    if (!strcmp(words->at[0], "first-backoff")) {
        options.first_backoff_ms = duration(script, words->at[1]);
    } else if (!strcmp(words->at[0], "connect-timeout")) {
        options.connect_timeout_ms = duration(script, words->at[1]);
    } else if (!strcmp(words->at[0], "jitter")) {
        options.has_jitter = true;
        options.seed = number(script, words->at[1]);
    } else {
        options.asks_to_receive = true;
    }
    rv_reconnect_set_options(&script->machine, &options);
}

static void
print_time(struct script *script, const char *what, int64_t at_ms,
           int64_t since_ms)
{
    if (at_ms == RV_RECONNECT_NEVER) {
        print(script, "never %s", what);
    } else {
        print(script, "last %s at %" PRId64 ", %" PRId64 " ms ago", what,
              at_ms, since_ms);
    }
}

static void
do_status(struct script *script, const struct words *words RV_UNUSED)
{
    struct rv_reconnect_stats stats;
    rv_reconnect_get_stats(&script->machine, script->now_ms, &stats);
    print(script, "%s for %" PRId64 " ms, backoff %" PRId64 " ms, %s",
          rv_reconnect_state_name(stats.state), stats.state_elapsed_ms,
          stats.backoff_ms, stats.is_connected ? "connected" : "disconnected");
    print(script, "%u of %u tries, seqno %u, connected for %" PRId64 " ms",
          stats.n_successful, stats.n_attempted, stats.seqno,
          stats.total_connected_ms);
    print(script, "created at %" PRId64 ", last activity at %" PRId64,
          stats.created_ms, stats.last_activity_ms);
    print_time(script, "connected", stats.last_connected_ms,
               stats.since_connect_ms);
    print_time(script, "disconnected", stats.last_disconnected_ms,
               stats.since_disconnect_ms);
}

/* IDLE takes a probe interval to come to, which begins before the clock. */
static void
bring_to(struct rv_reconnect *machine, enum rv_reconnect_state state,
         int64_t now_ms)
{
    int64_t before_ms = now_ms - RV_RECONNECT_PROBE_INTERVAL_MS;
    if (state == RV_RECONNECT_STATE_LISTENING) {
        rv_reconnect_set_passive(machine, true, now_ms);
        rv_reconnect_listening(machine, now_ms);
    } else if (state == RV_RECONNECT_STATE_IDLE) {
        rv_reconnect_connected(machine, before_ms);
        rv_reconnect_activity(machine, before_ms);
        rv_reconnect_run(machine, now_ms);
    } else if (state == RV_RECONNECT_STATE_ACTIVE) {
        rv_reconnect_connected(machine, now_ms);
    } else if (state == RV_RECONNECT_STATE_BACKOFF) {
        rv_reconnect_enable(machine, now_ms);
    } else if (state != RV_RECONNECT_STATE_VOID) {
        rv_reconnect_connecting(machine, now_ms);
    }
    if (state == RV_RECONNECT_STATE_RECONNECT) {
        rv_reconnect_force(machine, now_ms);
    }
}

static void
do_as(struct script *script, const struct words *words)
{
    enum rv_reconnect_state state = state_of(script, words->at[1]);
    rv_reconnect_init(&script->machine, script->now_ms);
    rv_reconnect_set_log(&script->machine, hear, script);
    script->is_mute = true;
    bring_to(&script->machine, state, script->now_ms);
    script->is_mute = false;
    if (script->machine.state != state) {
        give_up(script, "there is no way to", words->at[1]);
    }
    take_note(script);
}

typedef void command_function(struct script *, const struct words *);

static const struct {
    const char *name;
    command_function *run;
    bool is_of_each_state; /* Has to be shown in every state. */
} commands[] = {
    {"enable", do_enable, true},
    {"disable", do_disable, true},
    {"force", do_force, true},
    {"connecting", do_connecting, true},
    {"connected", do_connected, true},
    {"failed", do_failed, true},
    {"lost", do_lost, true},
    {"listening", do_listening, true},
    {"listen-error", do_listen_error, true},
    {"activity", do_activity, true},
    {"received", do_received, true},
    {"passive", do_passive, true},
    {"active", do_passive, true},
    {"run", do_run, true},
    {"wait", do_wait, true},
    {"status", do_status, true},
    {"advance", do_advance, false},
    {"backoff", do_backoff, false},
    {"probe", do_probe, false},
    {"tries", do_tries, false},
    {"free-tries", do_free_tries, false},
    {"quiet", do_quiet, false},
    {"first-backoff", do_option, false},
    {"connect-timeout", do_option, false},
    {"jitter", do_option, false},
    {"ask", do_option, false},
    {"as", do_as, false},
};

_Static_assert(RV_ARRAY_SIZE(commands) <= MAX_COMMANDS, "room to count");

static void
run_command(struct script *script, const char *line)
{
    char copy[256];
    struct words words = {{NULL}};
    if (!rv_str_copy(copy, sizeof copy, line)) {
        give_up(script, "this line is too long:", line);
    }
    char *rest = copy;
    int n = 0;
    for (char *word; n < MAX_WORDS && (word = strsep(&rest, " "));) {
        words.at[n++] = word;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (!strcmp(words.at[0], commands[i].name)) {
            script->coverage->commands[i][script->machine.state]++;
            commands[i].run(script, &words);
            print_changes(script);
            return;
        }
    }
    give_up(script, "there is no command", words.at[0]);
}

/* ---- Texts ---- */

static void
read_text(const char *path, struct rv_buf *buf)
{
    char chunk[4096];
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) {
        rv_buf_put(buf, chunk, n);
    }
    fclose(file);
}

static void
write_text(const char *path, const struct rv_buf *buf)
{
    FILE *file = fopen(path, "we");
    if (!file || fwrite(buf->data, 1, buf->length, file) != buf->length
        || fclose(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
}

/* Runs the commands of 'text', which is cut up, and leaves the whole text as
 * it should be in the script's output. */
static void
run_text(struct script *script, char *text)
{
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        script->line++;
        if (!strncmp(line, "  ", 2) || (!rest && !*line)) {
            continue;
        }
        rv_buf_printf(&script->output, "%s\n", line);
        if (*line && *line != '#') {
            run_command(script, line);
        }
    }
}

/* Says where the two texts part, up to a few lines of each. */
static void
print_difference(const char *path, const char *expected, const char *actual)
{
    int line = 1;
    size_t start = 0;
    for (size_t i = 0; expected[i] && expected[i] == actual[i]; i++) {
        if (expected[i] == '\n') {
            start = i + 1;
            line++;
        }
    }
    fprintf(stderr, "%s:%d: expected\n%.300s\n... but there came\n%.300s\n",
            path, line, expected + start, actual + start);
}

static bool
run_file(const char *path, bool is_update, struct coverage *coverage)
{
    struct rv_buf text;
    struct script script = {.path = path, .coverage = coverage};
    rv_buf_init(&text, TEXT_BYTES);
    rv_buf_init(&script.output, TEXT_BYTES);
    read_text(path, &text);
    char *copy = strdup(rv_buf_string(&text));
    if (!copy || text.failed) {
        fprintf(stderr, "%s: too large\n", path);
        exit(2);
    }
    rv_reconnect_init(&script.machine, 0);
    rv_reconnect_set_log(&script.machine, hear, &script);
    take_note(&script);
    run_text(&script, copy);
    const char *actual = rv_buf_string(&script.output);
    bool is_right = !strcmp(rv_buf_string(&text), actual);
    if (is_update && !is_right) {
        write_text(path, &script.output);
    } else if (!is_right) {
        print_difference(path, rv_buf_string(&text), actual);
    }
    free(copy);
    rv_buf_deinit(&text);
    rv_buf_deinit(&script.output);
    return is_right || is_update;
}

/* ---- Coverage ---- */

static bool
report_one(unsigned int n, const char *before, const char *between,
           const char *after)
{
    printf("%7u  %s%s%s%s\n", n, before, between, after, n ? "" : "  MISSING");
    return n;
}

static bool
report_moves(const struct coverage *coverage, enum rv_reconnect_state from)
{
    bool is_complete = true;
    for (int i = 0; i < RV_RECONNECT_N_STATES; i++) {
        enum rv_reconnect_state to = (enum rv_reconnect_state)i;
        if (rv_reconnect_may_follow(from, to)) {
            is_complete &= report_one(coverage->moves[from][to],
                                      rv_reconnect_state_name(from), " -> ",
                                      rv_reconnect_state_name(to));
        }
    }
    return is_complete;
}

#define NOTHING    (1U << RV_RECONNECT_NOTHING)
#define CONNECT    (1U << RV_RECONNECT_CONNECT)
#define DISCONNECT (1U << RV_RECONNECT_DISCONNECT)
#define PROBE      (1U << RV_RECONNECT_PROBE)
#define RECEIVE    (1U << RV_RECONNECT_RECEIVE)

/* What may be due in which state. */
static const unsigned int due[RV_RECONNECT_N_STATES] = {
    [RV_RECONNECT_STATE_VOID] = NOTHING,
    [RV_RECONNECT_STATE_BACKOFF] = NOTHING | CONNECT,
    [RV_RECONNECT_STATE_CONNECTING] = NOTHING | DISCONNECT,
    [RV_RECONNECT_STATE_ACTIVE] = NOTHING | PROBE | RECEIVE,
    [RV_RECONNECT_STATE_IDLE] = NOTHING | DISCONNECT | RECEIVE,
    [RV_RECONNECT_STATE_RECONNECT] = DISCONNECT,
    [RV_RECONNECT_STATE_LISTENING] = NOTHING,
};

static bool
report_actions(const struct coverage *coverage, enum rv_reconnect_state state)
{
    bool is_complete = true;
    for (size_t i = 0; i < RV_ARRAY_SIZE(action_names); i++) {
        unsigned int n = coverage->actions[state][i];
        bool may_be = due[state] & (1U << i);
        if (may_be) {
            is_complete &= report_one(n, rv_reconnect_state_name(state),
                                      ": run says ", action_names[i]);
        } else if (n) {
            printf("%7u  %s: run says %s  WRONG\n", n,
                   rv_reconnect_state_name(state), action_names[i]);
            is_complete = false;
        }
    }
    return is_complete;
}

static bool
report_commands(const struct coverage *coverage, enum rv_reconnect_state state)
{
    bool is_complete = true;
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (commands[i].is_of_each_state) {
            is_complete &= report_one(coverage->commands[i][state],
                                      rv_reconnect_state_name(state), ": ",
                                      commands[i].name);
        }
    }
    return is_complete;
}

/* Commands that no state decides about have to come up somewhere. */
static bool
report_settings(const struct coverage *coverage)
{
    bool is_complete = true;
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        unsigned int n = 0;
        for (size_t k = 0; k < RV_RECONNECT_N_STATES; k++) {
            n += coverage->commands[i][k];
        }
        if (!commands[i].is_of_each_state) {
            is_complete &= report_one(n, "", "", commands[i].name);
        }
    }
    return is_complete;
}

static bool
report(const struct coverage *coverage)
{
    bool is_complete = report_settings(coverage);
    for (int i = 0; i < RV_RECONNECT_N_STATES; i++) {
        enum rv_reconnect_state state = (enum rv_reconnect_state)i;
        is_complete &= report_moves(coverage, state);
        is_complete &= report_actions(coverage, state);
        is_complete &= report_commands(coverage, state);
    }
    return is_complete;
}

int
main(int argc, char **argv)
{
    bool is_update = argc > 1 && !strcmp(argv[1], "--update");
    bool is_coverage = argc > 1 && !strcmp(argv[1], "--coverage");
    int first = is_update || is_coverage ? 2 : 1;
    if (argc <= first) {
        fprintf(stderr, "usage: reconnect_transcript [--coverage | --update]"
                        " TEXT...\n");
        return 64;
    }
    struct coverage coverage = {.moves = {{0}}};
    bool is_right = true;
    for (int i = first; i < argc; i++) {
        is_right &= run_file(argv[i], is_update, &coverage);
    }
    if (is_coverage) {
        is_right &= report(&coverage);
    }
    return is_right ? 0 : 1;
}
