/* What a transcript of the pool prints: names of workers, actions, changes of
 * state.  Part of pool_transcript.c, which alone includes it. */
#ifndef RV_TEST_POOL_SCRIPT_H
#define RV_TEST_POOL_SCRIPT_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/buf.h"
#include "base/str.h"
#include "pool/pool.h"

enum { MAX_SLOTS = 64, MAX_SPECS = 8, MAX_WORDS = 32, TEXT_BYTES = 1 << 20 };

/* The states and their successors, as the diagram in pool.h has them. */
static const bool may_follow[RV_POOL_N_STATES][RV_POOL_N_STATES] = {
    [RV_POOL_EMPTY] = {[RV_POOL_STARTING] = true, [RV_POOL_BACKOFF] = true},
    [RV_POOL_STARTING] = {[RV_POOL_READY] = true,
                          [RV_POOL_STOPPING] = true,
                          [RV_POOL_BACKOFF] = true,
                          [RV_POOL_EMPTY] = true},
    [RV_POOL_READY] = {[RV_POOL_DRAINING] = true,
                       [RV_POOL_STOPPING] = true,
                       [RV_POOL_BACKOFF] = true,
                       [RV_POOL_EMPTY] = true},
    [RV_POOL_DRAINING] = {[RV_POOL_STOPPING] = true, [RV_POOL_EMPTY] = true},
    [RV_POOL_STOPPING] = {[RV_POOL_EMPTY] = true},
    [RV_POOL_BACKOFF] = {[RV_POOL_STARTING] = true, [RV_POOL_EMPTY] = true},
};

static const char *const action_names[] = {
    [RV_POOL_START] = "START",         [RV_POOL_DRAIN] = "DRAIN",
    [RV_POOL_TERMINATE] = "TERMINATE", [RV_POOL_KILL] = "KILL",
    [RV_POOL_COMMIT] = "COMMIT",       [RV_POOL_ROLL_BACK] = "ROLL_BACK",
    [RV_POOL_FAILED] = "FAILED",       [RV_POOL_RECOVERED] = "RECOVERED",
    [RV_POOL_FORGET] = "FORGET",       [RV_POOL_EXIT] = "EXIT",
};

static const char *const reason_names[] = {
    [RV_POOL_REASON_NONE] = "none",
    [RV_POOL_REASON_EXITED] = "it ended",
    [RV_POOL_REASON_START_TIMEOUT] = "it was not ready in time",
    [RV_POOL_REASON_WATCHDOG] = "it hangs",
    [RV_POOL_REASON_AGE] = "age",
    [RV_POOL_REASON_MEMORY] = "memory",
    [RV_POOL_REASON_REQUEST] = "it was asked for",
    [RV_POOL_REASON_SLOTS] = "there is no free slot",
    [RV_POOL_REASON_SUPERSEDED] = "another configuration came",
    [RV_POOL_REASON_STOP] = "all is to stop",
};

/* What the transcripts showed, for --coverage. */
struct coverage {
    unsigned int moves[RV_POOL_N_STATES][RV_POOL_N_STATES];
    unsigned int actions[RV_ARRAY_SIZE(action_names)];
    unsigned int reasons[RV_ARRAY_SIZE(reason_names)];
};

/* Who is, or was, in a slot. */
struct occupant {
    enum rv_pool_state state;
    int service, index;
    uint32_t generation;
    uint64_t serial; /* Order of arrival. */
    bool is_done, is_replaced;
    char service_name[RV_POOL_NAME];
};

struct script {
    const char *path;
    int line; /* Of the command under way. */
    struct rv_pool *pool;
    int n_slots;
    uint64_t seed;
    int64_t now_ms;
    struct rv_pool_spec specs[MAX_SPECS];
    char names[MAX_SPECS][RV_POOL_NAME];
    size_t n_specs;
    /* Before and after the call under way. */
    struct occupant before[MAX_SLOTS], after[MAX_SLOTS];
    uint64_t serial;
    char services[2 * MAX_SPECS][RV_POOL_NAME]; /* By the pool's index. */
    struct rv_buf *output;                      /* Of the command under way. */
    struct coverage *coverage;
};

static void RV_NORETURN RV_PRINTF(2, 3)
    give_up(const struct script *script, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", script->path, script->line);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

static void RV_PRINTF(2, 3)
    print(struct script *script, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rv_buf_printf(script->output, "  %-7" PRId64 " ", script->now_ms);
    rv_buf_vprintf(script->output, format, args);
    rv_buf_puts(script->output, "\n");
    va_end(args);
}

/* ---- Names of workers ---- */

static bool
share_seat(const struct occupant *a, const struct occupant *b)
{
    return a->state != RV_POOL_EMPTY && b->state != RV_POOL_EMPTY
           && !strcmp(a->service_name, b->service_name)
           && a->index == b->index;
}

/* Counts those on the seat of 'who', apart from itself, before or after the
 * call; and those of its generation that came earlier. */
static void
count_neighbours(const struct script *script, const struct occupant *who,
                 int *n_othersp, int *n_earlierp)
{
    *n_othersp = *n_earlierp = 0;
    for (int i = 0; i < 2 * script->n_slots; i++) {
        int slot = i / 2;
        const struct occupant *other =
            i % 2 ? &script->after[slot] : &script->before[slot];
        bool is_same_as_before =
            i % 2 && script->before[slot].serial == other->serial;
        if (is_same_as_before && script->before[slot].state) {
            continue;
        }
        if (share_seat(who, other) && other->serial != who->serial) {
            ++*n_othersp;
            *n_earlierp += other->generation == who->generation
                           && other->serial < who->serial;
        }
    }
}

static const char *
name_of(const struct script *script, const struct occupant *who,
        struct rv_buf *name)
{
    int n_others;
    int n_earlier;
    count_neighbours(script, who, &n_others, &n_earlier);
    rv_buf_clear(name);
    rv_buf_printf(name, "%s.%d", who->service_name, who->index);
    if (n_others) {
        rv_buf_printf(name, "#%" PRIu32, who->generation);
    }
    for (int i = 0; i < n_earlier; i++) {
        rv_buf_puts(name, "+");
    }
    return rv_buf_string(name);
}

static int
find_worker(const struct script *script, const char *text)
{
    struct rv_buf name;
    rv_buf_init(&name, TEXT_BYTES);
    int found = -1;
    for (int slot = 0; slot < script->n_slots; slot++) {
        const struct occupant *who = &script->after[slot];
        if (who->state != RV_POOL_EMPTY
            && !strcmp(name_of(script, who, &name), text)) {
            found = slot;
        }
    }
    rv_buf_deinit(&name);
    if (found < 0) {
        give_up(script, "there is no worker %s", text);
    }
    return found;
}

/* ---- What a call did ---- */

static void
look(struct script *script)
{
    memcpy(script->before, script->after, sizeof script->before);
    for (int i = 0; i < rv_pool_n_services(script->pool); i++) {
        if (rv_pool_service(script->pool, i)) {
            rv_str_copy(script->services[i], RV_POOL_NAME,
                        rv_pool_service(script->pool, i)->name);
        }
    }
    for (int slot = 0; slot < script->n_slots; slot++) {
        const struct rv_pool_worker *worker =
            rv_pool_worker(script->pool, slot);
        struct occupant *who = &script->after[slot];
        const struct occupant *old = &script->before[slot];
        bool is_same = old->state != RV_POOL_EMPTY
                       && worker->service == old->service
                       && worker->index == old->index
                       && worker->generation == old->generation;
        *who = (struct occupant){.state = worker->state};
        if (worker->state == RV_POOL_EMPTY) {
            continue;
        }
        who->service = worker->service;
        who->index = worker->index;
        who->generation = worker->generation;
        who->is_done = worker->is_done;
        who->is_replaced = worker->is_replaced;
        who->serial = is_same ? old->serial : ++script->serial;
        const struct rv_pool_service *service =
            rv_pool_service(script->pool, worker->service);
        memcpy(who->service_name, service->name, sizeof who->service_name);
    }
}

static const char *
exit_text(const struct rv_pool_exit *how, char text[32])
{
    static const char *const formats[] = {
        [RV_POOL_EXIT_CODE] = "code",
        [RV_POOL_EXIT_SIGNAL] = "signal",
        [RV_POOL_EXIT_NO_START] = "errno",
        [RV_POOL_EXIT_UNKNOWN] = "unknown",
    };
    snprintf(text, 32, "%s %d", formats[how->kind], how->value);
    return text;
}

static void
print_action(struct script *script, const struct rv_pool_action *action)
{
    struct rv_buf name;
    rv_buf_init(&name, TEXT_BYTES);
    const char *type = action_names[action->type];
    const char *worker = "";
    const struct occupant *who = NULL;
    char how[32];
    if (action->slot >= 0) {
        who = &script->after[action->slot];
        who =
            who->state == RV_POOL_EMPTY ? &script->before[action->slot] : who;
        worker = name_of(script, who, &name);
    }
    script->coverage->actions[action->type]++;
    if (action->type == RV_POOL_START) {
        print(script, "%s %s, generation %" PRIu32, type, worker,
              who->generation);
    } else if (action->type == RV_POOL_ROLL_BACK) {
        bool has_ended = action->reason == RV_POOL_REASON_EXITED;
        script->coverage->reasons[action->reason]++;
        print(script, "%s%s%s: %s%s%s", type, who ? " because of " : "",
              worker, reason_names[action->reason], has_ended ? ", " : "",
              has_ended ? exit_text(&action->exit, how) : "");
    } else if (action->type == RV_POOL_FAILED
               || action->type == RV_POOL_EXIT) {
        print(script, "%s %s, %s", type, worker,
              exit_text(&action->exit, how));
    } else if (action->type == RV_POOL_RECOVERED) {
        print(script, "%s %s", type,
              rv_pool_service(script->pool, action->service)->name);
    } else if (action->type == RV_POOL_FORGET) {
        print(script, "%s %s", type, script->services[action->service]);
    } else {
        print(script, "%s%s%s", type, who ? " " : "", worker);
    }
    rv_buf_deinit(&name);
}

static void
note_move(struct script *script, enum rv_pool_state from,
          enum rv_pool_state to)
{
    /* Started by the same call that gave up what it was started for. */
    if (from == RV_POOL_EMPTY && to == RV_POOL_STOPPING) {
        script->coverage->moves[from][RV_POOL_STARTING]++;
        from = RV_POOL_STARTING;
    }
    if (!may_follow[from][to]) {
        give_up(script, "%s -> %s, which the diagram does not have",
                rv_pool_state_name(from), rv_pool_state_name(to));
    }
    script->coverage->moves[from][to]++;
}

static bool
has_moved(const struct script *script, int slot, enum rv_pool_state from,
          enum rv_pool_state to)
{
    const struct occupant *old = &script->before[slot];
    const struct occupant *new = &script->after[slot];
    if (old->state != RV_POOL_EMPTY && new->state != RV_POOL_EMPTY
        && old->serial != new->serial) {
        /* One left and another came. */
        return (from == old->state && to == RV_POOL_EMPTY)
               || (from == RV_POOL_EMPTY && to == new->state);
    }
    return old->state == from && new->state == to &&from != to;
}

/* Prints those that moved from one state to the other, on one line. */
static void
print_moves(struct script *script, enum rv_pool_state from,
            enum rv_pool_state to)
{
    struct rv_buf name;
    struct rv_buf names;
    rv_buf_init(&name, TEXT_BYTES);
    rv_buf_init(&names, TEXT_BYTES);
    for (int slot = 0; slot < script->n_slots; slot++) {
        if (!has_moved(script, slot, from, to)) {
            continue;
        }
        const struct occupant *who =
            to == RV_POOL_EMPTY ? &script->before[slot] : &script->after[slot];
        rv_buf_printf(&names, "%s%s", names.length ? ", " : "",
                      name_of(script, who, &name));
        note_move(script, from, to);
    }
    if (names.length) {
        print(script, "%s: %s -> %s", rv_buf_string(&names),
              rv_pool_state_name(from), rv_pool_state_name(to));
    }
    rv_buf_deinit(&names);
    rv_buf_deinit(&name);
}

/* Prints what the last call did: the actions, then the moves. */
static void
print_changes(struct script *script)
{
    struct rv_pool_action action;
    look(script);
    rv_pool_check(script->pool);
    while (rv_pool_next_action(script->pool, &action)) {
        print_action(script, &action);
    }
    for (int from = 0; from < RV_POOL_N_STATES; from++) {
        for (int to = 0; to < RV_POOL_N_STATES; to++) {
            print_moves(script, (enum rv_pool_state)from,
                        (enum rv_pool_state)to);
        }
    }
}

static void
reconcile(struct script *script)
{
    print_changes(script);
    rv_pool_reconcile(script->pool, script->now_ms);
    print_changes(script);
}

#endif
