/* reeve-test test-reconnect [FILE]
 *
 * Reads commands, a line each, from FILE or standard input, gives them to one
 * reconnect machine, and prints each line, and below it what has changed.
 * The clock starts at 1000 ms and moves only by commands.
 *
 *     enable | disable | force-reconnect
 *     connecting | connected | connect-failed [ERROR]
 *     disconnected [ERROR]             ECONNREFUSED or EOF
 *     passive | listening | listen-error NUMBER
 *     activity | receive-attempted now | receive-attempted LLONG_MAX
 *     run [MS]                         MS later, if given
 *     advance MS
 *     timeout                          to the deadline
 *     set-max-tries N | set-backoff-free-tries N
 *
 * Lines that begin with '#' are comments.
 */
#include "reeve-test.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/reconnect.h"

enum { MAX_WORDS = 8 };

struct script {
    struct rv_reconnect machine;
    int64_t now_ms;
};

/* ---- Commands ---- */

/* 'argument' is the second word, NULL if there is none. */
typedef void line_command(struct script *script, const char *argument);

static int
error_of(const char *argument)
{
    if (!argument) {
        return 0;
    }
    if (!strcmp(argument, "ECONNREFUSED")) {
        return -ECONNREFUSED;
    }
    if (!strcmp(argument, "EOF")) {
        return RV_RECONNECT_CLOSED;
    }
    reeve_test_fatal("unknown error '%s'", argument);
}

/* What is no number counts as 0, as in the original. */
static int64_t
number_of(const char *argument)
{
    return (int)strtol(argument, NULL, 10);
}

static void
do_enable(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_enable(&script->machine, script->now_ms);
}

static void
do_disable(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_disable(&script->machine, script->now_ms);
}

static void
do_force_reconnect(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_force(&script->machine, script->now_ms);
}

static void
do_disconnected(struct script *script, const char *argument)
{
    rv_reconnect_disconnected(&script->machine, error_of(argument),
                              script->now_ms);
}

static void
do_connecting(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_connecting(&script->machine, script->now_ms);
}

static void
do_connect_failed(struct script *script, const char *argument)
{
    rv_reconnect_connect_failed(&script->machine, error_of(argument),
                                script->now_ms);
}

static void
do_connected(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_connected(&script->machine, script->now_ms);
}

static void
do_activity(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_activity(&script->machine, script->now_ms);
}

static void
do_advance(struct script *script, const char *argument)
{
    script->now_ms += number_of(argument);
}

static void
do_run(struct script *script, const char *argument)
{
    static const char *const sentences[] = {
        [RV_RECONNECT_NOTHING] = "",
        [RV_RECONNECT_CONNECT] = "  should connect\n",
        [RV_RECONNECT_DISCONNECT] = "  should disconnect\n",
        [RV_RECONNECT_PROBE] = "  should send probe\n",
        [RV_RECONNECT_RECEIVE] = "  should receive\n",
    };
    if (argument) {
        do_advance(script, argument);
    }
    fputs(sentences[rv_reconnect_run(&script->machine, script->now_ms)],
          stdout);
}

static void
do_timeout(struct script *script, const char *argument RV_UNUSED)
{
    int64_t deadline_ms =
        rv_reconnect_deadline(&script->machine, script->now_ms);
    if (deadline_ms == RV_RECONNECT_NEVER) {
        puts("  no timeout");
        return;
    }
    int64_t rest_ms = RV_MAX(deadline_ms, script->now_ms) - script->now_ms;
    rest_ms = RV_MIN(rest_ms, INT_MAX);
    printf("  advance %" PRId64 " ms\n", rest_ms);
    script->now_ms += rest_ms;
}

static void
do_set_max_tries(struct script *script, const char *argument)
{
    rv_reconnect_set_max_tries(&script->machine,
                               (unsigned int)number_of(argument));
}

static void
do_set_backoff_free_tries(struct script *script, const char *argument)
{
    rv_reconnect_set_backoff_free_tries(&script->machine,
                                        (unsigned int)number_of(argument));
}

static void
do_passive(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_set_passive(&script->machine, true, script->now_ms);
}

static void
do_listening(struct script *script, const char *argument RV_UNUSED)
{
    rv_reconnect_listening(&script->machine, script->now_ms);
}

static void
do_listen_error(struct script *script, const char *argument)
{
    int error = (int)number_of(argument);
    rv_reconnect_listen_error(&script->machine, error > 0 ? -error : 0,
                              script->now_ms);
}

static void
do_receive_attempted(struct script *script, const char *argument)
{
    if (!strcmp(argument, "now")) {
        rv_reconnect_receive_attempted(&script->machine, script->now_ms);
    } else if (!strcmp(argument, "LLONG_MAX")) {
        rv_reconnect_receive_attempted(&script->machine, RV_RECONNECT_NEVER);
    } else {
        reeve_test_fatal("receive-attempted: bad argument %s", argument);
    }
}

static const struct {
    const char *name;
    int least_args, most_args;
    line_command *run;
} commands[] = {
    {"enable", 0, 0, do_enable},
    {"disable", 0, 0, do_disable},
    {"force-reconnect", 0, 0, do_force_reconnect},
    {"disconnected", 0, 1, do_disconnected},
    {"connecting", 0, 0, do_connecting},
    {"connect-failed", 0, 1, do_connect_failed},
    {"connected", 0, 0, do_connected},
    {"activity", 0, 0, do_activity},
    {"run", 0, 1, do_run},
    {"advance", 1, 1, do_advance},
    {"timeout", 0, 0, do_timeout},
    {"set-max-tries", 1, 1, do_set_max_tries},
    {"set-backoff-free-tries", 1, 1, do_set_backoff_free_tries},
    {"passive", 0, 0, do_passive},
    {"listening", 0, 0, do_listening},
    {"listen-error", 1, 1, do_listen_error},
    {"receive-attempted", 1, 1, do_receive_attempted},
};

static void
run_words(struct script *script, char *const *words, int n_words)
{
    int n_args = n_words - 1;
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (strcmp(words[0], commands[i].name)) {
            continue;
        }
        if (n_args < commands[i].least_args) {
            reeve_test_fatal("'%s' command requires at least %d arguments",
                             words[0], commands[i].least_args);
        }
        if (n_args > commands[i].most_args) {
            reeve_test_fatal("'%s' command takes at most %d arguments",
                             words[0], commands[i].most_args);
        }
        commands[i].run(script, n_args ? words[1] : NULL);
        return;
    }
    reeve_test_fatal("unknown command '%s'; use --help for help", words[0]);
}

/* Cuts 'line' into words at white space. */
static int
split(char *line, char *words[MAX_WORDS])
{
    int n = 0;
    char *rest = line;
    for (char *word; (word = strsep(&rest, " \t\r\n\v\f"));) {
        if (*word && n < MAX_WORDS) {
            words[n++] = word;
        }
    }
    return n;
}

/* ---- What has changed ---- */

/* A time that has passed.  The original keeps 32 bits of it, and so does its
 * text; "never" is all ones in both widths. */
static unsigned int
narrow(int64_t ms)
{
    return (unsigned int)(uint64_t)ms;
}

/* Whether a time that passes by itself did anything else than that. */
static bool
has_jumped(int64_t before_ms, int64_t after_ms, int64_t delta_ms,
           int64_t at_rest_ms)
{
    return narrow(before_ms) != narrow(after_ms) - narrow(delta_ms)
           && (before_ms != at_rest_ms || after_ms != at_rest_ms);
}

static void
print_state(const struct rv_reconnect_stats *before,
            const struct rv_reconnect_stats *after)
{
    if (before->state != after->state
        || before->state_elapsed_ms != after->state_elapsed_ms
        || before->backoff_ms != after->backoff_ms) {
        printf("  in %s for %u ms (%" PRId64 " ms backoff)\n",
               rv_reconnect_state_name(after->state),
               narrow(after->state_elapsed_ms), after->backoff_ms);
    }
    if (before->created_ms != after->created_ms
        || before->last_activity_ms != after->last_activity_ms
        || before->last_connected_ms != after->last_connected_ms) {
        printf("  created %" PRId64 ", last activity %" PRId64
               ", last connected %" PRId64 "\n",
               after->created_ms, after->last_activity_ms,
               after->last_connected_ms);
    }
    if (before->n_successful != after->n_successful
        || before->n_attempted != after->n_attempted
        || before->seqno != after->seqno) {
        printf("  %u successful connections out of %u attempts, seqno %u\n",
               after->n_successful, after->n_attempted, after->seqno);
    }
    if (before->is_connected != after->is_connected) {
        printf("  %sconnected\n", after->is_connected ? "" : "dis");
    }
}

static void
print_times(const struct rv_reconnect_stats *before,
            const struct rv_reconnect_stats *after, int64_t delta_ms)
{
    if (before->last_connected_ms != after->last_connected_ms
        || has_jumped(before->since_connect_ms, after->since_connect_ms,
                      delta_ms, RV_RECONNECT_NEVER)
        || has_jumped(before->total_connected_ms, after->total_connected_ms,
                      delta_ms, 0)) {
        printf("  last connected %u ms ago, connected %u ms total\n",
               narrow(after->since_connect_ms),
               narrow(after->total_connected_ms));
    }
    if (before->last_disconnected_ms != after->last_disconnected_ms
        || has_jumped(before->since_disconnect_ms, after->since_disconnect_ms,
                      delta_ms, RV_RECONNECT_NEVER)) {
        printf("  disconnected at %" PRIu64 " ms (%u ms ago)\n",
               (uint64_t)after->last_disconnected_ms,
               narrow(after->since_disconnect_ms));
    }
}

static void
run_line(struct script *script, char *line)
{
    struct rv_reconnect_stats before;
    struct rv_reconnect_stats after;
    unsigned int tries_before = script->machine.max_tries;
    int64_t then_ms = script->now_ms;
    rv_reconnect_get_stats(&script->machine, then_ms, &before);

    char *words[MAX_WORDS];
    int n_words = split(line, words);
    if (n_words) {
        run_words(script, words, n_words);
    }

    if (script->now_ms != then_ms) {
        printf("\n### t=%" PRId64 " ###\n", script->now_ms);
    }
    rv_reconnect_get_stats(&script->machine, script->now_ms, &after);
    print_state(&before, &after);
    print_times(&before, &after, script->now_ms - then_ms);
    if (script->machine.max_tries != tries_before) {
        printf("  %u tries left\n", script->machine.max_tries);
    }
}

int
test_reconnect(int argc, char **argv)
{
    FILE *input = argc > 1 ? fopen(argv[1], "re") : stdin;
    if (!input) {
        reeve_test_fatal("%s: %s", argv[1], strerror(errno));
    }
    struct script script = {.now_ms = 1000};
    rv_reconnect_init(&script.machine, script.now_ms);
    printf("### t=%" PRId64 " ###\n", script.now_ms);

    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, input) >= 0) {
        fputs(line, stdout);
        if (*line != '#') {
            run_line(&script, line);
        }
    }
    free(line);
    if (input != stdin) {
        fclose(input);
    }
    return EXIT_SUCCESS;
}
