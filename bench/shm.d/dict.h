/* The sides of dict.c: one way to keep keys each.
 *
 * The keys are stored in the order of their numbers, and asked for in another
 * that is no order: keys[] is in that one, so that a key is at hand, as that
 * of a request would be, and what is measured is not how long the benchmark
 * waits for its own memory.
 *
 * A side has 'open', called once in each process; 'fill', called in one
 * process before the others, which stores all keys, with values of
 * VALUE_BYTES or, when told so, with numbers; and a function for each
 * operation that does it 'n_slice' times.
 */
#ifndef BENCH_SHM_DICT_H
#define BENCH_SHM_DICT_H

#include <string.h>

#include "common.h"

enum {
    N_KEYS = 100000, /* At most, and a multiple of: */
    FILL_DEPTH = 50,
    KEY_BYTES = 16,
    VALUE_BYTES = 64,
    SLICE = 992, /* A multiple of MANY_KEYS. */
    MAX_DEPTH = 48,
    MANY_KEYS = 16,
};

/* MANY: gets of MANY_KEYS a call, for sides that have it. */
enum operation { GET, MISS, SET, MANY, INCR, N_OPERATIONS };

struct side;

struct state {
    struct bench_shared *shared;
    const struct side *side;
    unsigned int n, ms, depth;
    enum operation first, last; /* What the processes measure. */
    unsigned int n_keys;
    size_t next; /* Key that is asked for. */
    uint64_t random;
    const char *address; /* Of a server, or a file. */
    int fd;              /* Of the zone. */
    struct rv_zone *zone;
    struct rv_dict *dict;
    struct slot *slots;
    int connection;
    char keys[N_KEYS][KEY_BYTES];
    char misses[N_KEYS][KEY_BYTES];
    char value[VALUE_BYTES];
    char buffer[VALUE_BYTES];
};

struct side {
    const char *name;
    void (*prepare)(struct state *state); /* In the parent. */
    void (*open)(struct state *state);
    void (*fill)(struct state *state, bool numbers);
    void (*slices[N_OPERATIONS])(void *context);
    bool is_server; /* A slice is as many operations as are in flight. */
};

extern const struct side side_reeve, side_table, side_lmdb, side_redis,
    side_memcached;

static inline size_t
any_key(struct state *state)
{
    size_t key = state->next + 1;
    state->next = key < state->n_keys ? key : 0;
    return state->next;
}

/* The slices of a side that has get(state, key), which says whether there
 * was one, set(state, key) and incr(state, key). */
#define SLICES(NAME)                                          \
  static void NAME##_get_slice(void *context)                 \
  {                                                           \
    struct state *state = context;                            \
    for (int i = 0; i < SLICE; i++) {                         \
      if (!NAME##_get(state, state->keys[any_key(state)])) {  \
        bench_die("a key is missing");                        \
      }                                                       \
    }                                                         \
  }                                                           \
  static void NAME##_miss_slice(void *context)                \
  {                                                           \
    struct state *state = context;                            \
    for (int i = 0; i < SLICE; i++) {                         \
      if (NAME##_get(state, state->misses[any_key(state)])) { \
        bench_die("a key too many");                          \
      }                                                       \
    }                                                         \
  }                                                           \
  static void NAME##_set_slice(void *context)                 \
  {                                                           \
    struct state *state = context;                            \
    for (int i = 0; i < SLICE; i++) {                         \
      NAME##_set(state, state->keys[any_key(state)]);         \
    }                                                         \
  }                                                           \
  static void NAME##_incr_slice(void *context)                \
  {                                                           \
    struct state *state = context;                            \
    for (int i = 0; i < SLICE; i++) {                         \
      NAME##_incr(state, state->keys[any_key(state)]);        \
    }                                                         \
  }
#define SLICES_OF(NAME)                                   \
  {                                                       \
    [GET] = NAME##_get_slice, [MISS] = NAME##_miss_slice, \
    [SET] = NAME##_set_slice, [INCR] = NAME##_incr_slice  \
  }

#endif
